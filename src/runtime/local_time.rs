//! A moment as the machine's clock on the wall shows it.

use std::ffi::c_char;

/// Milliseconds since 1970 in the form of Java's `Date` (`Fri Nov 27 05:28:44 UTC 2026`), in the
/// zone of the environment's TZ or of the machine. Empty where the system cannot tell it.
pub fn local_time(ms: i64) -> String {
    let seconds: libc::time_t = ms.div_euclid(1000);
    let mut text = [0u8; 64];
    // SAFETY: `tm` is a plain record for which zeroes are valid; both calls get valid pointers to
    // locals, and strftime writes at most the length it is given.
    let length = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const seconds, &raw mut parts).is_null() {
            return String::new();
        }
        let out = text.as_mut_ptr().cast::<c_char>();
        libc::strftime(out, text.len(), c"%a %b %d %H:%M:%S %Z %Y".as_ptr(), &raw const parts)
    };
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::local_time;

    #[test]
    fn the_form_is_javas() {
        let text = local_time(1_700_000_000_000);
        assert!(text.starts_with("Tue Nov 14 ") || text.starts_with("Wed Nov 15 "), "{text}");
        assert!(text.ends_with(" 2023"), "{text}");
        let last = local_time(i64::MAX);
        assert!(last.ends_with(" 292278994"), "the last year of Java's dates: {last}");
    }
}
