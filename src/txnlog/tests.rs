//! The scanner over whole, cut, torn and damaged files.

mod arrival;
mod format;

use std::io;

use proptest::prelude::*;

use super::*;
use crate::pieces::{PIECE_BYTES, Source};

const NONCE: Nonce = Nonce::new(0xfeed_5eed_cafe);

/// A payload of `len` bytes with this zxid; its other bytes are never 0, so that a lost sector
/// shows.
fn payload(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload: Vec<u8> =
        (0..len.max(PAYLOAD_BYTES_MIN)).map(|at| (at % 251 + 1) as u8).collect();
    payload[ZXID_OFFSET..ZXID_OFFSET + 8].copy_from_slice(&zxid.to_be_bytes());
    payload
}

/// A file of ours as it is on a disk that has got all of it: the entries in groups, a mark after
/// each, padding.
struct Written {
    bytes: Vec<u8>,
    /// The offset at which each entry ends.
    ends: Vec<usize>,
}

fn write(header: [u8; FILE_HEADER_BYTES], groups: &[Vec<usize>], padding: usize) -> Written {
    let payloads: Vec<Vec<Vec<u8>>> = groups
        .iter()
        .scan(0, |zxid, group| {
            let numbered = group.iter().map(|len| {
                *zxid += 1;
                payload(*zxid, *len)
            });
            Some(numbered.collect())
        })
        .collect();
    write_payloads(header, &payloads, padding)
}

fn write_payloads(
    header: [u8; FILE_HEADER_BYTES],
    groups: &[Vec<Vec<u8>>],
    padding: usize,
) -> Written {
    let (mut bytes, mut ends, mut mark) = (header.to_vec(), Vec::new(), Vec::new());
    for group in groups {
        let durable = bytes.len();
        for payload in group {
            append_entry(&mut bytes, payload);
            ends.push(bytes.len());
        }
        mark = mark_of(&bytes, durable);
    }
    let end = bytes.len();
    bytes.resize(end + padding, 0);
    if header == file_header(NONCE) && mark.len() <= padding {
        bytes[end..end + mark.len()].copy_from_slice(&mark);
    }
    Written { bytes, ends }
}

/// The mark after `bytes`, which are durable up to `durable`, and the gap before it.
fn mark_of(bytes: &[u8], durable: usize) -> Vec<u8> {
    let zeros = trailing_zeros(durable as u64, &bytes[durable..]);
    let mut mark = Vec::new();
    tail_mark(NONCE, bytes.len() as u64, durable as u64, zeros).put(&mut mark);
    mark
}

fn apache_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = file_header(NONCE);
    header[8..].fill(0);
    header
}

fn scan(bytes: &[u8]) -> (Vec<i64>, ScanEnd) {
    let mut scanner = Scanner::new(bytes);
    let mut zxids = Vec::new();
    while let Some(entry) = scanner.next_entry().unwrap() {
        zxids.push(entry.zxid.0);
    }
    (zxids, scanner.end().unwrap())
}

fn groups() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(32..900_usize, 1..6), 1..6)
}

/// Groups of entries whose payloads are zeros but for the zxid and some bytes at random.
fn zero_groups() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let payload = (32..2000_usize, prop::collection::vec((any::<u16>(), any::<u8>()), 0..20));
    let groups = prop::collection::vec(prop::collection::vec(payload, 1..5), 1..5);
    groups.prop_map(|groups| {
        let mut zxid = 0_i64;
        let mut payload = |(len, some): (usize, Vec<(u16, u8)>)| {
            zxid += 1;
            let mut payload = vec![0; len];
            some.iter().for_each(|(at, byte)| payload[usize::from(*at) % len] = *byte);
            payload[ZXID_OFFSET..ZXID_OFFSET + 8].copy_from_slice(&zxid.to_be_bytes());
            payload
        };
        groups.into_iter().map(|group| group.into_iter().map(&mut payload).collect()).collect()
    })
}

#[test]
fn names_count_as_apache_counts_them() {
    assert_eq!(file_name(Zxid(0x1_0000_002a)), "log.10000002a");
    for (name, zxid) in [
        ("log.a", 10),
        ("log.A", 10),
        ("log.5.bak", 5),
        ("log.", -1),
        ("log.x", -1),
        ("log.-2", -2),
    ] {
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
        assert_eq!(
            scan(&file_header(NONCE)[..len]).1,
            ScanEnd::TornTail { offset: 0, why: Damage::NoHeader }
        );
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
        // Behind the first entry's durable end: were it believed, the torn entry would count as
        // durable.
        let durable = first.len() as u64 + 200;
        let mut entry = Vec::new();
        append_entry(&mut entry, &payload(2, 2000));
        let at = 1000;
        let offset = (first.len() + at) as u64;
        entry[at..at + TAIL_MARK_BYTES].copy_from_slice(&sealed_mark(
            guess,
            offset,
            Claim { durable, zeros: 0 },
        ));
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
    let mark = tail_mark(NONCE, 4100, 3000, 7).bytes;
    assert_eq!(read_tail_mark(NONCE, 4100, &mark), Some(Claim { durable: 3000, zeros: 7 }));
    assert_eq!(read_tail_mark(NONCE, 4100, &mark[..TAIL_MARK_BYTES - 1]), None);
    assert_eq!(read_tail_mark(NONCE, 4101, &mark), None);
    assert_eq!(read_tail_mark(Nonce::new(1), 4100, &mark), None);
    // The last three bytes are the number of zeros.
    for bit in 0..(TAIL_MARK_BYTES - 3) * 8 {
        let mut bent = mark;
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_tail_mark(NONCE, 4100, &bent), None, "bit {bit}");
    }
    assert_eq!(Nonce::of_header(&file_header(NONCE)), Some(NONCE));
    assert_eq!(Nonce::of_header(&apache_header()), None);
}

#[test]
fn a_mark_that_would_reach_the_end_of_a_sector_stands_in_the_next_one() {
    for end in 4096..4096 + 1024_u64 {
        let mark = tail_mark(NONCE, end, 4000, 0);
        let (at, last) = (end + mark.gap as u64, end as usize + mark.gap + TAIL_MARK_BYTES - 1);
        assert_eq!(at / 512, last as u64 / 512, "{end}: it is in one sector");
        assert_ne!(last % 512, 511, "{end}: the sector ends in a zero");
        assert!(mark.gap + TAIL_MARK_BYTES <= TAIL_ROOM_BYTES);
        assert_eq!(mark.gap > 0, end % 512 >= 492, "{end}");
        // A reader of Apache finds an empty entry.
        assert!(mark.gap == 0 || mark.gap >= ENTRY_HEADER_BYTES);
    }
}

#[test]
fn zeros_are_counted_at_the_ends_of_sectors() {
    for (offset, bytes, zeros) in [
        (0, vec![0; 511], 0),
        (0, vec![0; 512], 512),
        (16, vec![0; 1600], 496 + 512 + 512),
        (500, [vec![1; 4], vec![0; 20]].concat(), 8),
        (500, [vec![0; 11], vec![1; 600]].concat(), 0),
        (511, vec![0; 513], 1 + 512),
    ] {
        assert_eq!(trailing_zeros(offset, &bytes), zeros, "{} bytes at {offset}", bytes.len());
    }
}

#[test]
fn impossible_lengths_do_not_reach_beyond_the_file() {
    for len in [-1, i32::MIN, i32::MAX, 1000] {
        let mut file = write(file_header(NONCE), &[vec![100]], 512).bytes;
        file[16 + 8..16 + 12].copy_from_slice(&i32::to_be_bytes(len));
        let (zxids, end) = scan(&file);
        assert!(zxids.is_empty());
        // The sector with the mark did arrive, and the length stands in it.
        assert!(matches!(end, ScanEnd::Corrupt { offset: 16, .. }), "{len}: {end:?}");
    }
}

#[test]
fn a_record_as_long_as_the_file_is_taken() {
    let file = write(apache_header(), &[vec![5 << 20]], 0).bytes;
    assert_eq!(scan(&file), (vec![1], ScanEnd::Clean { offset: file.len() as u64 }));
}

#[test]
fn every_cut_byte_of_the_tail_leaves_the_entries_before_it() {
    for header in [file_header(NONCE), apache_header()] {
        let file = write(header, &[vec![40, 33], vec![700], vec![90, 64, 32]], 0);
        for cut in FILE_HEADER_BYTES..=file.bytes.len() {
            let whole = file.ends.iter().filter(|end| **end <= cut).count();
            let offset = file.ends[..whole].last().copied().unwrap_or(FILE_HEADER_BYTES);
            for (kind, tail) in
                [("nothing", vec![]), ("zeros", vec![0; 700]), ("garbage", vec![0xa5; 700])]
            {
                let mut bytes = file.bytes[..cut].to_vec();
                bytes.extend(&tail);
                let (zxids, end) = scan(&bytes);
                assert_eq!(
                    zxids,
                    (1..=whole as i64).collect::<Vec<_>>(),
                    "cut at {cut}, then {kind}"
                );
                let offset = offset as u64;
                assert_eq!(end.offset(), offset);
                match end {
                    ScanEnd::Clean { .. } => {
                        assert!(kind != "garbage" && cut as u64 - offset < 5, "{cut} {kind}");
                    }
                    ScanEnd::TornTail { .. } => {}
                    ScanEnd::Corrupt { .. } => {
                        panic!("a cut at {cut}, then {kind}, is no corruption")
                    }
                }
            }
        }
    }
}

/// Data of a client that looks like the end of a log file: a whole entry, that may follow the one
/// that holds it, and marks that claim all of it.
fn forged(zxid: i64, marks_of: Nonce) -> Vec<u8> {
    let mut data = vec![0x5a; 700];
    append_entry(&mut data, &payload(zxid + 1, 40));
    for at in 0..60 {
        data.extend(tail_mark(marks_of, 600 * at, 590 * at, 0).bytes);
        data.extend(closing_mark(marks_of, 9999, Claim::whole(9999)));
    }
    append_entry(&mut data, &payload(zxid + 1, 400));
    append_entry(&mut data, &payload(zxid + 2, 400));
    data.extend([0x5a; 600]);
    data
}

/// A file whose second entry holds `data`, and where the entries end.
fn file_with(header: [u8; FILE_HEADER_BYTES], data: &[u8]) -> (Vec<u8>, usize, usize) {
    let mut bytes = header.to_vec();
    append_entry(&mut bytes, &payload(1, 300));
    let before = bytes.len();
    let mut last = payload(2, 80);
    last.extend(data);
    append_entry(&mut bytes, &last);
    let end = bytes.len();
    (bytes, before, end)
}

#[test]
fn entries_and_marks_inside_a_torn_entry_are_its_data_at_every_cut() {
    let guess = Nonce::new(0xbad);
    for header in [file_header(NONCE), apache_header()] {
        let (bytes, before, end) = file_with(header, &forged(2, guess));
        for cut in before + 1..end {
            for fill in [None, Some(0), Some(0xa5)] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(fill.map_or(cut, |_| end + 2000), fill.unwrap_or(0));
                let (zxids, found) = scan(&torn);
                assert_eq!(zxids, [1], "cut at {cut}, filled with {fill:?}");
                let is_torn =
                    matches!(found, ScanEnd::TornTail { offset, .. } if offset == before as u64);
                // A few bytes of a header that are zeros are padding.
                let is_clean = matches!(found, ScanEnd::Clean { .. }) && cut - before < 5;
                assert!(is_torn || is_clean, "cut at {cut}, filled with {fill:?}: {found:?}");
            }
        }
    }
}

#[test]
fn lost_sectors_of_an_entry_with_forged_data_are_a_torn_tail() {
    let (bytes, before, end) = file_with(file_header(NONCE), &forged(2, Nonce::new(0xbad)));
    let sectors: Vec<usize> = (before / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).collect();
    for lost in 1..1_u32 << sectors.len() {
        let mut image = bytes.clone();
        image.resize(end.next_multiple_of(SECTOR_BYTES) + 4096, 0);
        for (bit, sector) in sectors.iter().enumerate().filter(|(bit, _)| lost >> bit & 1 == 1) {
            let start = (sector * SECTOR_BYTES).max(before);
            image[start..(sector + 1) * SECTOR_BYTES].fill(0);
            assert!(bit < sectors.len());
        }
        let (zxids, found) = scan(&image);
        assert_eq!(zxids, [1], "lost {lost:b}");
        assert!(!matches!(found, ScanEnd::Corrupt { .. }), "lost {lost:b}: {found:?}");
    }
}

/// With the file's own nonce the marks inside the data would prove it: nobody but the server knows
/// it.
#[test]
fn the_nonce_is_what_makes_a_mark_a_proof() {
    let mut data = vec![0x5a; 100];
    let (_, before, _) = file_with(file_header(NONCE), &data);
    let at = (before + ENTRY_OVERHEAD_BYTES - 1 + 80 + data.len()) as u64;
    data.extend(closing_mark(NONCE, at, Claim::whole(at)));
    data.extend([0x5a; 300]);
    let (bytes, before, _) = file_with(file_header(NONCE), &data);
    let torn = &bytes[..at as usize + 100];
    assert!(matches!(scan(torn).1, ScanEnd::Corrupt { offset, .. } if offset == before as u64));
}

#[test]
fn a_file_of_apache_whose_length_field_is_damaged_is_corrupt() {
    let mut bytes = apache_header().to_vec();
    for zxid in 1..=4 {
        append_entry(&mut bytes, &payload(zxid, 200));
    }
    bytes.resize(bytes.len() + 5000, 0);
    let at = FILE_HEADER_BYTES + 213;
    // The entry claims all of what follows, and what follows has a checksum of its own.
    for len in [300_i32, 413, 500, 639, 1000, 5000, 100_000, -1] {
        let mut damaged = bytes.clone();
        damaged[at + 8..at + 12].copy_from_slice(&len.to_be_bytes());
        let (zxids, end) = scan(&damaged);
        assert_eq!(zxids, [1]);
        assert!(
            matches!(end, ScanEnd::Corrupt { offset, .. } if offset == at as u64),
            "{len}: {end:?}"
        );
    }
}

#[test]
fn an_entry_that_cannot_follow_proves_nothing() {
    for zxid in [1, 2, 40, 3 << 32 | 7, 0, -5] {
        let mut bytes = apache_header().to_vec();
        append_entry(&mut bytes, &payload(2, 40));
        let at = bytes.len();
        bytes.extend([0xa5; 60]);
        append_entry(&mut bytes, &payload(zxid, 40));
        let (_, end) = scan(&bytes);
        assert!(
            matches!(end, ScanEnd::TornTail { offset, .. } if offset == at as u64),
            "{zxid:#x}: {end:?}"
        );
    }
}

/// A file that cannot be read from an offset on.
struct Failing<'a>(&'a [u8], u64);

impl Source for Failing<'_> {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        assert!(piece.len() <= PIECE_BYTES, "{} bytes at once", piece.len());
        if offset + piece.len() as u64 > self.1 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.0.read_at(offset, piece)
    }
}

#[test]
fn a_read_error_is_neither_a_torn_tail_nor_damage() {
    let file = write(file_header(NONCE), &[vec![3000; 40], vec![3000; 5]], 100_000).bytes;
    // In the entries, and in the padding, which may hide entries as well.
    for bad in [8192_u64, 100_000, file.len() as u64 - 1] {
        let mut scanner = Scanner::new(Failing(&file, bad));
        let error = scanner.end().expect_err("the file was not read to its end");
        assert!(error.offset.abs_diff(bad) < 4096, "{bad}: {}", error.offset);
    }
    assert!(Scanner::new(Failing(&file, u64::MAX)).end().is_ok());
}

/// The length that an entry claims costs nothing before its checksum was right.
#[test]
fn memory_grows_with_whole_entries_alone() {
    let mut file = write(apache_header(), &[vec![100], vec![100]], 0).bytes;
    let second = FILE_HEADER_BYTES + 113;
    file.resize(64 << 20, 7);
    file[second + 8..second + 12].copy_from_slice(&(60_i32 << 20).to_be_bytes());
    file[second + 12 + (60 << 20)] = END_MARK;
    let mut scanner = Scanner::new(Failing(&file, u64::MAX));
    assert_eq!(scanner.end().unwrap().offset(), second as u64);
}

/// With the sectors of `lost` as they were `before`, the file is no corrupt one, and what was flushed
/// is there.
fn a_torn_tail(
    whole: &Written,
    flushed: &Written,
    before: &[u8],
    lost: u64,
) -> Result<(), TestCaseError> {
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
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read(groups in groups(), padding in 0..2000_usize) {
        let file = write(file_header(NONCE), &groups, padding);
        let (zxids, end) = scan(&file.bytes);
        prop_assert_eq!(zxids.len(), file.ends.len());
        prop_assert_eq!(end, ScanEnd::Clean { offset: *file.ends.last().unwrap() as u64 });
    }

    /// Of what was not flushed, any sectors may be missing: the file never counts as corrupt, and
    /// what was flushed stays.
    #[test]
    fn lost_sectors_of_the_last_group_are_a_torn_tail(groups in groups(), lost in any::<u64>()) {
        let whole = write(file_header(NONCE), &groups, 4096);
        let flushed = write(file_header(NONCE), &groups[..groups.len() - 1], 0);
        let mut before = flushed.bytes.clone();
        before.resize(whole.bytes.len(), 0);
        // The mark after the flushed entries is on disk as well.
        if groups.len() > 1 {
            let durable = write(file_header(NONCE), &groups[..groups.len() - 2], 0).bytes.len();
            let mark = mark_of(&flushed.bytes, durable);
            before[flushed.bytes.len()..flushed.bytes.len() + mark.len()].copy_from_slice(&mark);
        }
        a_torn_tail(&whole, &flushed, &before, lost)?;
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
            let mut image = whole.bytes.clone();
            let at = FILE_HEADER_BYTES + at.index(flushed - FILE_HEADER_BYTES);
            image[at] ^= 1_u8 << bit;
            let (zxids, end) = scan(&image);
            let intact = whole.ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(zxids.len(), intact);
            prop_assert!(matches!(end, ScanEnd::Corrupt { .. }), "bit {} of byte {}: {:?}", bit, at, end);
        }
    }

    /// Of the last group as well: it was flushed as a whole, and its mark with it. Payloads are
    /// full of zeros.
    #[test]
    fn a_flipped_bit_of_the_last_group_is_corruption(
        groups in zero_groups(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let whole = write_payloads(file_header(NONCE), &groups, 600);
        let end = *whole.ends.last().unwrap();
        let at = FILE_HEADER_BYTES + at.index(end - FILE_HEADER_BYTES);
        let mut image = whole.bytes.clone();
        image[at] ^= 1_u8 << bit;
        // A sector whose last byte but zeros is gone looks like one that was lost.
        prop_assume!(image[at] != 0);
        let (zxids, found) = scan(&image);
        let intact = whole.ends.iter().filter(|end| **end <= at).count();
        prop_assert_eq!(zxids.len(), intact);
        prop_assert!(matches!(found, ScanEnd::Corrupt { .. }), "bit {} of byte {}: {:?}", bit, at, found);
    }

    /// And of sectors that were lost, with payloads full of zeros, none makes a file corrupt.
    #[test]
    fn lost_sectors_that_end_in_zeros_are_a_torn_tail(groups in zero_groups(), lost in any::<u64>()) {
        let whole = write_payloads(file_header(NONCE), &groups, 4096);
        let flushed = write_payloads(file_header(NONCE), &groups[..groups.len() - 1], 0);
        let mut before = flushed.bytes.clone();
        if groups.len() > 1 {
            let durable =
                write_payloads(file_header(NONCE), &groups[..groups.len() - 2], 0).bytes.len();
            before.extend(mark_of(&flushed.bytes, durable));
        }
        before.resize(whole.bytes.len(), 0);
        a_torn_tail(&whole, &flushed, &before, lost)?;
    }

    #[test]
    fn any_bytes_are_scanned_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        keep_header in any::<bool>(),
    ) {
        let mut file = if keep_header { file_header(NONCE).to_vec() } else { vec![] };
        file.extend(bytes);
        let (_, end) = scan(&file);
        prop_assert!(end.offset() <= file.len() as u64);
    }

    /// A client writes what it likes into the entry that is torn, at any place.
    #[test]
    fn no_data_makes_a_torn_tail_corruption(
        pieces in prop::collection::vec((0..4_u8, 0..600_usize, 1..8_i64, any::<u64>()), 1..8),
        cut in any::<prop::sample::Index>(),
        fill in prop::option::of(prop::sample::select(vec![0_u8, 0x5a])),
        is_ours in any::<bool>(),
    ) {
        let mut data = Vec::new();
        for (kind, len, zxid, bits) in pieces {
            match kind {
                0 => data.resize(data.len() + len, 0),
                1 => data.resize(data.len() + len, 0x5a),
                2 => append_entry(&mut data, &payload(zxid, len)),
                _ => data.extend(closing_mark(Nonce::new(bits), bits % 5000, Claim::whole(bits % 5000))),
            }
        }
        let header = if is_ours { file_header(NONCE) } else { apache_header() };
        let (mut bytes, before, end) = file_with(header, &data);
        bytes.truncate(before + cut.index(end - before));
        if let Some(fill) = fill {
            bytes.resize(end + 1500, fill);
        }
        let (zxids, found) = scan(&bytes);
        prop_assert!(zxids == [1], "{:?}", zxids);
        prop_assert!(!matches!(found, ScanEnd::Corrupt { .. }), "{:?}", found);
    }
}
