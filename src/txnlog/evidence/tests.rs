//! Which entries after a bad one count, and how long the search for them goes on.

use super::*;

const NONCE: Nonce = Nonce::new(0xfeed_5eed_cafe);
/// Where the bad entry starts.
const OFFSET: u64 = 16;

fn entry(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; len];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    let mut out = Vec::new();
    append_entry(&mut out, &payload);
    out
}

/// The evidence in `bytes`, which begin at the bad entry, and the bytes summed after `summed`.
fn search(nonce: Option<Nonce>, last: Option<i64>, bytes: &[u8], summed: u64) -> (Evidence, u64) {
    let file = [&[0x5a; OFFSET as usize], bytes].concat();
    let mut window = Window::new(&file);
    let last = last.map(Zxid);
    let bad = BadEntry::read(&mut window, last, OFFSET).unwrap();
    let window = &mut window;
    let found = Evidence::default();
    let mut search = Search { window, nonce, last, bad, offset: OFFSET, summed, found };
    let mut at = OFFSET;
    while let Some(next) = search.look(at).unwrap() {
        at = next;
    }
    (search.found, search.summed - summed)
}

/// Whether an entry with this zxid counts, with 60 bytes between the last whole entry and it.
fn counts(last: Option<i64>, zxid: i64) -> bool {
    let bytes = [vec![0xa5; 60], entry(zxid, 40)].concat();
    let found = search(None, last, &bytes, 0).0.entry;
    assert!(found.is_none_or(|at| at == OFFSET + 60), "{found:?}");
    found.is_some()
}

#[test]
fn an_entry_counts_if_no_more_than_fit_are_missing_before_it() {
    // One entry at most fits into 60 bytes.
    for (zxid, does) in [(2, false), (3, true), (4, true), (5, false)] {
        assert_eq!(counts(Some(2), zxid), does, "{zxid}");
    }
}

#[test]
fn an_entry_of_a_later_epoch_counts_if_it_is_among_the_first() {
    let (epoch, last) = (1 << 32, (1 << 32) + 7);
    for (zxid, does) in [
        (1, false),
        (epoch + 1, false),
        (2 * epoch, false),
        (2 * epoch + 1, true),
        (2 * epoch + 2, true),
        (2 * epoch + 3, false),
        (9 * epoch + 1, true),
    ] {
        assert_eq!(counts(Some(last), zxid), does, "{zxid:#x}");
    }
}

#[test]
fn the_first_entry_of_a_file_may_have_any_zxid_but_0() {
    for (zxid, does) in [(-5, false), (0, false), (1, true), ((7 << 32) + 9, true)] {
        assert_eq!(counts(None, zxid), does, "{zxid:#x}");
    }
}

/// The head of an entry with `len` bytes of payload, and the payload, in which an entry starts at
/// `at` from the start of the first one; it may reach beyond it.
fn holding(head: &[u8], len: usize, at: usize) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes[8..12].copy_from_slice(&(len as i32).to_be_bytes());
    bytes.resize(at, 0x5a);
    bytes.extend(entry(3, 40));
    bytes.resize(bytes.len().max(len + 100), 0x5a);
    bytes
}

#[test]
fn of_a_file_of_ours_no_entry_inside_the_bad_one_counts() {
    let head = &entry(2, 40)[..44];
    // The bad entry's zxid is none that may follow: its length is what says where its data ends.
    let strange = &entry(9, 40)[..44];
    let end = 500 + ENTRY_OVERHEAD_BYTES;
    for (at, does) in [(100, false), (end - 1, false), (end, true), (end + 30, true)] {
        for head in [head, strange] {
            let found = search(Some(NONCE), Some(1), &holding(head, 500, at), 0).0.entry;
            assert_eq!(found, does.then_some(OFFSET + at as u64), "at {at}");
        }
    }
}

#[test]
fn of_a_file_of_ours_the_search_for_entries_ends_after_so_many_bytes() {
    let bytes = [vec![0xa5; 60], entry(3, 40)].concat();
    for (summed, does) in [(SUMMED_BYTES_MAX, true), (SUMMED_BYTES_MAX + 1, false)] {
        let (found, more) = search(Some(NONCE), Some(2), &bytes, summed);
        assert_eq!((found.entry.is_some(), more > 0), (does, does));
    }
}

/// Of a file of another server, data that looks like an entry is summed along with what is before
/// it, and no crash leaves so many of them.
#[test]
fn inside_a_bad_entry_an_entry_counts_once_so_many_bytes_were_summed() {
    let bytes = holding(&entry(2, 40)[..44], 500, 100);
    for (summed, does) in [(0, false), (SUMMED_BYTES_MAX - 40, false), (SUMMED_BYTES_MAX, true)] {
        assert_eq!(search(None, Some(1), &bytes, summed).0.entry.is_some(), does, "{summed}");
    }
    let before = 100 - ENTRY_OVERHEAD_BYTES as u64;
    assert_eq!(search(None, Some(1), &bytes, 0).1, 40 + before);
}
