//! UTF-8 as Java decodes it: as many U+FFFD per bad sequence as `new String(bytes, UTF_8)` puts.

use std::borrow::Cow;

/// The text that the bytes of a jute `ustring` stand for.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(decode_utf8_like_java(bytes)),
    }
}

/// Decodes bytes that are not valid UTF-8, replacing each malformed part by U+FFFD the way the JDK
/// does.
///
/// It differs from Rust's own lossy decoding in surrogates (one replacement for all three bytes)
/// and at a cut end.
pub fn decode_utf8_like_java(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&lead) = bytes.get(at) {
        let (decoded, used) = decode_one(lead, bytes.get(at + 1..).unwrap_or(&[]));
        out.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
        at += used;
    }
    out
}

/// One code point: the character (none if malformed) and how many bytes it takes up.
fn decode_one(lead: u8, next: &[u8]) -> (Option<char>, usize) {
    match lead {
        0x00..=0x7f => (Some(char::from(lead)), 1),
        0xc2..=0xdf => decode_two(lead, next),
        0xe0..=0xef => decode_three(lead, next),
        0xf0..=0xf7 => decode_four(lead, next),
        _ => (None, 1),
    }
}

fn decode_two(lead: u8, next: &[u8]) -> (Option<char>, usize) {
    match next {
        [b, ..] if is_continuation(*b) => {
            (char::from_u32(u32::from(lead & 0x1f) << 6 | low(*b)), 2)
        }
        _ => (None, 1),
    }
}

fn decode_three(lead: u8, next: &[u8]) -> (Option<char>, usize) {
    let second_is_bad = |b: u8| (lead == 0xe0 && b & 0xe0 == 0x80) || !is_continuation(b);
    match next {
        [] => (None, 1),
        [b, ..] if second_is_bad(*b) => (None, 1),
        [_] => (None, 2),
        [_, c, ..] if !is_continuation(*c) => (None, 2),
        // A surrogate decodes to no char and takes all three bytes.
        [b, c, ..] => (char::from_u32(u32::from(lead & 0x0f) << 12 | low(*b) << 6 | low(*c)), 3),
    }
}

fn decode_four(lead: u8, next: &[u8]) -> (Option<char>, usize) {
    let second_is_bad = |b: u8| {
        lead > 0xf4
            || (lead == 0xf0 && !(0x90..=0xbf).contains(&b))
            || (lead == 0xf4 && b & 0xf0 != 0x80)
            || !is_continuation(b)
    };
    match next {
        [] => (None, 1),
        [b, ..] if second_is_bad(*b) => (None, 1),
        // At the end of the bytes the JDK replaces everything that is left by one character.
        [_] => (None, 2),
        [_, c, ..] if !is_continuation(*c) => (None, 2),
        [_, _] => (None, 3),
        [_, _, d, ..] if !is_continuation(*d) => (None, 3),
        [b, c, d, ..] => {
            let code = u32::from(lead & 0x07) << 18 | low(*b) << 12 | low(*c) << 6 | low(*d);
            (char::from_u32(code), 4)
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

fn low(byte: u8) -> u32 {
    u32::from(byte & 0x3f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_text_is_unchanged() {
        for text in
            ["", "a", "é", "\u{800}", "\u{ffff}", "\u{10000}", "\u{10ffff}", "héllo wörld ✓"]
        {
            assert_eq!(decode_utf8_like_java(text.as_bytes()), text);
        }
    }

    #[test]
    fn replacements_are_counted_as_the_jdk_does() {
        // Counts taken from `new String(bytes, UTF_8).length()` on a JDK 17.
        let cases: [(&[u8], usize); 10] = [
            (&[0xff], 1),
            (&[0xc0, 0x80], 2),
            (&[0xc3], 1),
            (&[0xe0, 0x80, 0x80], 3),
            (&[0xe2, 0x82], 1),
            (&[0xed, 0xa0, 0x80], 1),
            (&[0xf0, 0x80, 0x80, 0x80], 4),
            (&[0xf0, 0x9f, 0x98], 1),
            (&[0xf5, 0x80, 0x80, 0x80], 4),
            (&[0xf4, 0x90, 0x80, 0x80], 4),
        ];
        for (bytes, count) in cases {
            assert_eq!(decode_utf8_like_java(bytes), "\u{fffd}".repeat(count), "{bytes:x?}");
        }
    }
}
