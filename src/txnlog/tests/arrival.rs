//! What tells damage from a crash: the sectors after a bad entry, and whether they arrived.

use super::*;

/// A file of ours with entries of 300, 900 and 400 bytes and no mark.
fn without_mark() -> (Vec<u8>, usize) {
    let mut file = write(file_header(NONCE), &[vec![300, 900, 400]], 0);
    file.bytes.resize(8192, 0);
    (file.bytes, file.ends[0])
}

fn corrupt(at: usize) -> ScanEnd {
    ScanEnd::Corrupt { offset: at as u64, why: Damage::Checksum }
}

fn torn(at: usize) -> ScanEnd {
    ScanEnd::TornTail { offset: at as u64, why: Damage::Checksum }
}

#[test]
fn an_entry_after_a_bad_one_proves_it_if_the_sectors_between_arrived() {
    let (mut bytes, bad) = without_mark();
    bytes[600] ^= 1;
    assert_eq!(scan(&bytes), (vec![1], corrupt(bad)));
    // A sector that ends in a zero may be one that was lost.
    bytes[1000..1024].fill(0);
    assert_eq!(scan(&bytes), (vec![1], torn(bad)));
}

/// The entry that did not arrive has more zeros at the end of its sector than the mark that stands
/// there has after it: a count of the zeros alone says that nothing is missing.
#[test]
fn an_older_mark_says_that_the_sector_where_it_stands_was_lost() {
    let mut bytes = file_header(NONCE).to_vec();
    append_entry(&mut bytes, &payload(1, 463));
    let bad = bytes.len();
    assert_eq!(bad, 492, "the mark after the first entry stands in the next sector");
    let older = mark_of(&bytes, FILE_HEADER_BYTES);
    let mut zeros = vec![0; 600];
    zeros[ZXID_OFFSET + 7] = 2;
    append_entry(&mut bytes, &zeros);
    let mark = mark_of(&bytes, bad);
    bytes.extend(mark);
    bytes.resize(4096, 0);

    let mut damaged = bytes.clone();
    damaged[800] = 1;
    assert_eq!(scan(&damaged), (vec![1], corrupt(bad)), "every sector arrived");
    let mut lost = bytes;
    lost[512..1024].fill(0);
    lost[512..512 + TAIL_MARK_BYTES].copy_from_slice(&older[20..]);
    assert!(matches!(scan(&lost).1, ScanEnd::TornTail { offset: 492, .. }), "{:?}", scan(&lost));
}

/// The crash took a sector of the append after it, so that the mark before that one stands there
/// again. The last mark says that the entry was flushed.
#[test]
fn a_flushed_entry_that_is_damaged_is_damage_whatever_a_crash_took_after_it() {
    let groups = [vec![300], vec![900], vec![2000]];
    let mut bytes = write(file_header(NONCE), &groups, 600).bytes;
    let flushed = write(file_header(NONCE), &groups[..2], 600);
    bytes[1024..1536].copy_from_slice(&flushed.bytes[1024..1536]);
    let bad = flushed.ends[0];
    bytes[1000..1024].fill(0);
    assert_eq!(scan(&bytes), (vec![1], corrupt(bad)));
    let mut scanner = Scanner::new(&bytes);
    scanner.end().unwrap();
    assert_eq!(scanner.durable(), bad as u64, "no more than what is whole");
}

#[test]
fn lost_sectors_are_looked_for_piece_by_piece() {
    let mut file = write(file_header(NONCE), &[vec![300], vec![2 * PIECE_BYTES]], 600);
    file.bytes[1000] ^= 1;
    // It takes no more than a piece at once.
    let end = Scanner::new(Failing(&file.bytes, u64::MAX)).end().unwrap();
    assert_eq!(end, corrupt(file.ends[0]));
}

/// Zeros that something follows are no padding.
#[test]
fn what_stands_after_zeros_is_no_clean_end() {
    for header in [file_header(NONCE), apache_header()] {
        let file = write(header, &[vec![100]], 600);
        let end = file.ends[0] as u64;
        let mut bytes = file.bytes;
        bytes[500] = 0xa5;
        let (zxids, found) = scan(&bytes);
        assert_eq!((zxids, found.offset()), (vec![1], end));
        assert!(!matches!(found, ScanEnd::Clean { .. }), "{found:?}");
    }
}
