//! Numbers and truth values as Java reads them from a property's text; each function follows one
//! method of the JDK.

/// `Integer.parseInt`: decimal, one optional sign.
pub fn parse_int(text: &str) -> Option<i32> {
    plain_decimal(text).then(|| text.parse().ok()).flatten()
}

/// `Long.parseLong`: decimal, one optional sign.
pub fn parse_long(text: &str) -> Option<i64> {
    plain_decimal(text).then(|| text.parse().ok()).flatten()
}

/// `Long.decode`, which `Long.getLong` uses: also `0x`, `0X` and `#` for hexadecimal, a leading `0`
/// for octal.
pub fn decode_long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (radix, digits) = radix_of(digits);
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A boolean as zoo.cfg's reader takes it: `true` or `false` in any case, nothing else.
pub fn strict_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// `Boolean.parseBoolean`: `true` in any case; everything else is false.
pub fn parse_bool(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn plain_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn radix_of(digits: &str) -> (u32, &str) {
    for prefix in ["0x", "0X", "#"] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return (16, rest);
        }
    }
    match digits.strip_prefix('0') {
        Some(rest) if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_int_is_decimal_only() {
        for (text, wanted) in
            [("0", 0), ("-7", -7), ("+7", 7), ("010", 10), ("2147483647", i32::MAX)]
        {
            assert_eq!(parse_int(text), Some(wanted), "{text}");
        }
        for text in ["", "-", "+-1", "0x10", " 1", "1 ", "1.0", "2147483648", "1_000"] {
            assert_eq!(parse_int(text), None, "{text:?}");
        }
    }

    #[test]
    fn decode_knows_hexadecimal_and_octal() {
        let table = [
            ("0", 0),
            ("10", 10),
            ("0x10", 16),
            ("0XfF", 255),
            ("#1f", 31),
            ("010", 8),
            ("-0x10", -16),
            ("+5", 5),
        ];
        for (text, wanted) in table {
            assert_eq!(decode_long(text), Some(wanted), "{text}");
        }
        assert_eq!(decode_long("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(decode_long("0xfffff"), Some(0xf_ffff));
        for text in ["", "-", "0x", "09", "#", "1k", "9223372036854775808", "--1", "0x+1"] {
            assert_eq!(decode_long(text), None, "{text:?}");
        }
    }

    #[test]
    fn booleans() {
        assert_eq!(strict_bool("TRUE"), Some(true));
        assert_eq!(strict_bool("False"), Some(false));
        assert_eq!(strict_bool("yes"), None);
        assert!(parse_bool("True"));
        assert!(!parse_bool("yes"));
    }
}
