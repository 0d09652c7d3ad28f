//! The scanner over whole, cut, torn and damaged files.

use proptest::prelude::*;

use super::*;

const NONCE: Nonce = Nonce::new(0xfeed_5eed_cafe);

/// A payload of `len` bytes with this zxid; its other bytes are never 0, so that a lost sector shows.
fn payload(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..len.max(PAYLOAD_BYTES_MIN)).map(|at| (at % 251 + 1) as u8).collect();
    payload[ZXID_OFFSET..ZXID_OFFSET + 8].copy_from_slice(&zxid.to_be_bytes());
    payload
}

/// A file of ours as it is on a disk that has got all of it: the entries in groups, a mark behind each, padding.
struct Written {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<usize>,
}

fn write(header: [u8; FILE_HEADER_BYTES], groups: &[Vec<usize>], padding: usize) -> Written {
    let (mut bytes, mut ends, mut mark) = (header.to_vec(), Vec::new(), None);
    let mut zxid = 0;
    let mut durable = FILE_HEADER_BYTES as u64;
    for group in groups {
        for len in group {
            zxid += 1;
            append_entry(&mut bytes, &payload(zxid, *len));
            ends.push(bytes.len());
        }
        mark = tail_mark(NONCE, bytes.len() as u64, durable);
        durable = bytes.len() as u64;
    }
    let end = bytes.len();
    bytes.resize(end + padding, 0);
    if let Some(mark) = mark.filter(|mark| header == file_header(NONCE) && mark.len() <= padding) {
        bytes[end..end + mark.len()].copy_from_slice(&mark);
    }
    Written { bytes, ends }
}

fn apache_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = file_header(NONCE);
    header[8..].fill(0);
    header
}

fn scan(bytes: &[u8]) -> (Vec<i64>, ScanEnd) {
    let mut scanner = Scanner::new(bytes);
    let zxids = scanner.by_ref().map(|entry| entry.zxid.0).collect();
    (zxids, scanner.end())
}

fn groups() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(32..900_usize, 1..6), 1..6)
}

#[test]
fn names_count_as_apache_counts_them() {
    assert_eq!(file_name(Zxid(0x1_0000_002a)), "log.10000002a");
    for (name, zxid) in [("log.a", 10), ("log.A", 10), ("log.5.bak", 5), ("log.", -1), ("log.x", -1), ("log.-2", -2)] {
        assert_eq!(zxid_of_name(name), Some(Zxid(zxid)), "{name}");
    }
    assert_eq!(zxid_of_name("snapshot.5"), None);
    assert_eq!(zxid_of_name("logs.5"), None);
}

#[test]
fn an_entry_has_apaches_bytes() {
    let mut out = Vec::new();
    append_entry(&mut out, &payload(7, 32));
    assert_eq!(out.len(), 45);
    // Computed with java.util.zip.Adler32's definition, byte by byte.
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &out[12..44] {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    assert_eq!(out[..8], u64::from(b << 16 | a).to_be_bytes());
    assert_eq!((&out[8..12], out[44]), (&[0, 0, 0, 32][..], b'B'));
    assert_eq!(first_entry(&out), Some((45, Zxid(7))));
    assert_eq!(first_entry(&out[..44]), None);
}

#[test]
fn a_header_alone_is_a_clean_file_and_less_is_torn() {
    assert_eq!(scan(&file_header(NONCE)), (vec![], ScanEnd::Clean { offset: 16 }));
    for len in 0..16 {
        assert_eq!(scan(&file_header(NONCE)[..len]).1, ScanEnd::TornTail { offset: 0, why: Damage::NoHeader });
    }
    assert_eq!(scan(&[0; 4096]).1, ScanEnd::TornTail { offset: 0, why: Damage::NoHeader });
    let foreign = scan(b"ZKSN 0123456789 and more").1;
    assert_eq!(foreign, ScanEnd::Corrupt { offset: 0, why: Damage::Magic(0x5a4b_534e) });
}

#[test]
fn a_lost_header_before_whole_entries_is_corruption() {
    let mut file = write(file_header(NONCE), &[vec![100, 100]], 512).bytes;
    file[..16].fill(0);
    assert_eq!(scan(&file).1, ScanEnd::Corrupt { offset: 0, why: Damage::NoHeader });
}

/// A client fills its data with what would be marks, if it knew the file's nonce.
#[test]
fn marks_inside_of_data_count_only_with_the_nonce() {
    let first = write(file_header(NONCE), &[vec![300]], 0).bytes;
    for (guess, is_known) in [(Nonce::new(0), false), (NONCE, true)] {
        // Behind the first entry's durable end: were it believed, the torn entry would count as durable.
        let durable = first.len() as u64 + 200;
        let mut entry = Vec::new();
        append_entry(&mut entry, &payload(2, 2000));
        let at = 1000;
        let offset = (first.len() + at) as u64;
        entry[at..at + TAIL_MARK_BYTES].copy_from_slice(&tail_mark(guess, offset, durable).unwrap());
        // The end of the entry did not arrive.
        let len = entry.len();
        entry[len - 600..].fill(0);
        let file = [&first[..], &entry, &[0; 512]].concat();
        let (zxids, end) = scan(&file);
        assert_eq!(zxids, [1]);
        assert_eq!(matches!(end, ScanEnd::Corrupt { .. }), is_known, "{end:?}");
    }
}

#[test]
fn a_mark_counts_where_it_stands_and_as_it_was_written() {
    let mark = tail_mark(NONCE, 4100, 3000).unwrap();
    assert_eq!(read_tail_mark(NONCE, 4100, &mark), Some(3000));
    assert_eq!(read_tail_mark(NONCE, 4100, &mark[..TAIL_MARK_BYTES - 1]), None);
    assert_eq!(read_tail_mark(NONCE, 4101, &mark), None);
    assert_eq!(read_tail_mark(Nonce::new(1), 4100, &mark), None);
    for bit in 0..TAIL_MARK_BYTES * 8 {
        let mut bent = mark;
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_tail_mark(NONCE, 4100, &bent), None, "bit {bit}");
    }
    let crosses: Vec<u64> = (0..1024).filter(|at| tail_mark(NONCE, *at, 0).is_none()).collect();
    assert_eq!(crosses, (493..512).chain(1005..1024).collect::<Vec<u64>>());
    assert_eq!(Nonce::of_header(&file_header(NONCE)), Some(NONCE));
    assert_eq!(Nonce::of_header(&apache_header()), None);
}

#[test]
fn impossible_lengths_do_not_reach_beyond_the_file() {
    for len in [-1, i32::MIN, i32::MAX, 1000] {
        let mut file = write(file_header(NONCE), &[vec![100]], 512).bytes;
        file[16 + 8..16 + 12].copy_from_slice(&i32::to_be_bytes(len));
        let (zxids, end) = scan(&file);
        assert!(zxids.is_empty());
        assert!(matches!(end, ScanEnd::TornTail { offset: 16, .. }), "{len}: {end:?}");
    }
}

#[test]
fn a_record_as_long_as_the_file_is_taken() {
    let file = write(apache_header(), &[vec![5 << 20]], 0).bytes;
    assert_eq!(scan(&file), (vec![1], ScanEnd::Clean { offset: file.len() }));
}

#[test]
fn every_cut_byte_of_the_tail_leaves_the_entries_before_it() {
    for header in [file_header(NONCE), apache_header()] {
        let file = write(header, &[vec![40, 33], vec![700], vec![90, 64, 32]], 0);
        for cut in FILE_HEADER_BYTES..=file.bytes.len() {
            let whole = file.ends.iter().filter(|end| **end <= cut).count();
            let offset = file.ends[..whole].last().copied().unwrap_or(FILE_HEADER_BYTES);
            for (kind, tail) in [("nothing", vec![]), ("zeros", vec![0; 700]), ("garbage", vec![0xa5; 700])] {
                let mut bytes = file.bytes[..cut].to_vec();
                bytes.extend(&tail);
                let (zxids, end) = scan(&bytes);
                assert_eq!(zxids, (1..=whole as i64).collect::<Vec<_>>(), "cut at {cut}, then {kind}");
                assert_eq!(end.offset(), offset);
                match end {
                    ScanEnd::Clean { .. } => assert!(kind != "garbage" && cut - offset < 5, "{cut} {kind}"),
                    ScanEnd::TornTail { .. } => {}
                    ScanEnd::Corrupt { .. } => panic!("a cut at {cut}, then {kind}, is no corruption"),
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(groups in groups(), padding in 0..2000_usize) {
        let file = write(file_header(NONCE), &groups, padding);
        let (zxids, end) = scan(&file.bytes);
        prop_assert_eq!(zxids.len(), file.ends.len());
        prop_assert_eq!(end, ScanEnd::Clean { offset: *file.ends.last().unwrap() });
    }

    /// Of what was not flushed, any sectors may be missing: the file never counts as corrupt, and what was flushed stays.
    #[test]
    fn lost_sectors_of_the_last_group_are_a_torn_tail(groups in groups(), lost in any::<u64>()) {
        let whole = write(file_header(NONCE), &groups, 4096);
        let flushed = write(file_header(NONCE), &groups[..groups.len() - 1], 0);
        let mut before = flushed.bytes.clone();
        before.resize(whole.bytes.len(), 0);
        // The mark behind the flushed entries is on disk as well.
        if groups.len() > 1 {
            let durable = write(file_header(NONCE), &groups[..groups.len() - 2], 0).bytes.len() as u64;
            if let Some(mark) = tail_mark(NONCE, flushed.bytes.len() as u64, durable) {
                before[flushed.bytes.len()..flushed.bytes.len() + mark.len()].copy_from_slice(&mark);
            }
        }
        let mut image = whole.bytes.clone();
        let first = flushed.bytes.len() / SECTOR_BYTES;
        for (bit, sector) in (first..image.len().div_ceil(SECTOR_BYTES)).enumerate() {
            if lost >> (bit % 64) & 1 == 1 {
                let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(image.len());
                image[range.clone()].copy_from_slice(&before[range]);
            }
        }
        let (zxids, end) = scan(&image);
        prop_assert!(zxids.len() >= flushed.ends.len(), "flushed entries are gone: {:?}", end);
        prop_assert!(!matches!(end, ScanEnd::Corrupt { .. }), "a crash is no corruption: {:?}", end);
    }

    /// A flipped bit before the last group is corruption, and never a clean or a torn end.
    #[test]
    fn a_flipped_bit_before_the_last_group_is_corruption(
        groups in groups(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        prop_assume!(groups.len() > 1);
        for header in [file_header(NONCE), apache_header()] {
            let whole = write(header, &groups, 600);
            let flushed = write(header, &groups[..groups.len() - 1], 0).bytes.len();
            // Where a mark would cross a sector there is none, and only what ends in no zero can be told.
            prop_assume!(tail_mark(NONCE, *whole.ends.last().unwrap() as u64, 0).is_some());
            let mut image = whole.bytes.clone();
            let at = FILE_HEADER_BYTES + at.index(flushed - FILE_HEADER_BYTES);
            image[at] ^= 1_u8 << bit;
            let (zxids, end) = scan(&image);
            let intact = whole.ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(zxids.len(), intact);
            prop_assert!(matches!(end, ScanEnd::Corrupt { .. }), "bit {} of byte {}: {:?}", bit, at, end);
        }
    }

    #[test]
    fn any_bytes_are_scanned_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        keep_header in any::<bool>(),
    ) {
        let mut file = if keep_header { file_header(NONCE).to_vec() } else { vec![] };
        file.extend(bytes);
        let (_, end) = scan(&file);
        prop_assert!(end.offset() <= file.len());
    }
}
