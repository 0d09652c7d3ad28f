//! The allocator's habits.
//!
//! glibc keeps small pieces that were freed as they are, by the hundred thousand, until something
//! large is freed: then it joins them all at once, and the thread that happened to free it stands
//! still for up to ten milliseconds. Told not to keep them it joins each as it is freed.

/// Has pieces joined as they are freed, from now on and on all threads. To be called before there
/// are any.
pub fn join_at_once() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes two numbers and leaves what is allocated as it is.
        let set = unsafe { libc::mallopt(libc::M_MXFAST, 0) };
        if set != 1 {
            log::debug!("the allocator goes on to keep small pieces for later");
        }
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    /// Bytes of freed pieces that are not joined.
    fn kept() -> usize {
        // SAFETY: the call takes nothing and returns numbers.
        unsafe { libc::mallinfo2() }.fsmblks
    }

    #[test]
    fn freed_pieces_are_not_kept_for_later() {
        join_at_once();
        let before = kept();
        let pieces: Vec<Box<[u64; 6]>> = (0..100_000).map(|n| Box::new([n; 6])).collect();
        drop(pieces);
        assert!(kept() <= before + 100_000, "{} bytes after {before}", kept());
    }
}
