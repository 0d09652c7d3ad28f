//! Whole snapshots: what is written reads back, and damage of any kind is found.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::jute::Malformed;
use crate::jute::data::{Acl, StatPersisted};
use crate::pieces::{PIECE_BYTES, Source};
use crate::zxid::SessionId;

const DIGEST: ZxidDigest = ZxidDigest { zxid: Zxid(7), version: 2, digest: -3 };

fn every_trailer() -> [Trailers; 4] {
    let last_zxid = Some(Zxid(9));
    [
        Trailers::default(),
        Trailers { digest: None, last_zxid },
        Trailers { digest: Some(DIGEST), last_zxid: None },
        Trailers { digest: Some(DIGEST), last_zxid },
    ]
}

fn stat(czxid: i64) -> StatPersisted {
    StatPersisted { czxid, cversion: -5, ephemeral_owner: i64::MIN, ..StatPersisted::default() }
}

fn written(trailers: &Trailers) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new();
    let list: Arc<[Acl]> = Arc::from([Acl::open()]);
    writer.head(&mut out, &[(SessionId(5), 4000), (SessionId(-6), 30_000)], &[(3, list)]);
    writer.node(&mut out, "", Some(b""), -1, &stat(0));
    writer.node(&mut out, "/a", None, 3, &stat(1));
    writer.node(&mut out, "/a/é", Some(b"data"), 4, &stat(2));
    writer.finish(&mut out, trailers);
    out
}

/// The parts in words, and the trailers.
fn read(bytes: &[u8]) -> Result<(Vec<String>, Trailers), SnapshotError> {
    read_from(Codec::Plain, bytes)
}

fn read_from(codec: Codec, source: impl Source) -> Result<(Vec<String>, Trailers), SnapshotError> {
    let mut reader = Reader::new(codec, source);
    let mut parts = Vec::new();
    while let Some(part) = reader.next_part()? {
        parts.push(format!("{part:?}"));
    }
    Ok((parts, reader.trailers().expect("the end was reached")))
}

/// The error in a snapshot, with its place.
fn corrupt(bytes: &[u8]) -> (u64, Corrupt) {
    match read(bytes) {
        Err(SnapshotError::Corrupt { offset, why }) => (offset, why),
        other => panic!("not corrupt: {other:?}"),
    }
}

#[test]
fn what_is_written_reads_back_with_any_trailers() {
    for trailers in every_trailer() {
        let bytes = written(&trailers);
        let (parts, read_trailers) = read(&bytes).unwrap();
        assert_eq!(read_trailers, trailers);
        let node = |path: &'static str, data: Option<&'static [u8]>, acl_index, czxid| Part::Node {
            path: path.into(),
            data,
            acl_index,
            stat: stat(czxid),
        };
        let expected = [
            Part::Session(SessionId(5), 4000),
            Part::Session(SessionId(-6), 30_000),
            Part::Acl(3, vec![Acl::open()]),
            node("", Some(b""), -1, 0),
            node("/a", None, 3, 1),
            node("/a/é", Some(b"data"), 4, 2),
        ];
        assert_eq!(parts, expected.map(|part| format!("{part:?}")));
        assert!(is_candidate(Codec::Plain, &[], &bytes[bytes.len() - 5..], bytes.len() as u64));
    }
}

#[test]
fn a_digest_of_version_1_is_read_but_not_expected() {
    for with_zxid in [false, true] {
        let mut bytes = written(&Trailers::default());
        bytes.extend(7i64.to_be_bytes());
        bytes.extend(1i32.to_be_bytes());
        bytes.extend(4i32.to_be_bytes());
        bytes.extend(b"00ff");
        seal(&mut bytes);
        if with_zxid {
            bytes.extend(9i64.to_be_bytes());
            seal(&mut bytes);
        }
        let (_, trailers) = read(&bytes).unwrap();
        assert_eq!(trailers.digest, Some(ZxidDigest { zxid: Zxid(7), version: 1, digest: 255 }));
        assert_eq!(trailers.last_zxid, with_zxid.then_some(Zxid(9)));
        assert_eq!(trailers.digest_to_expect(Zxid(7)), None);
    }
}

#[test]
fn a_digest_counts_from_the_zxid_of_the_file_on() {
    let trailers = Trailers { digest: Some(DIGEST), last_zxid: None };
    assert_eq!(trailers.digest_to_expect(Zxid(7)), Some((Zxid(7), -3)));
    assert_eq!(trailers.digest_to_expect(Zxid(8)), None);
    let none = Trailers { digest: Some(ZxidDigest { zxid: Zxid(0), ..DIGEST }), last_zxid: None };
    assert_eq!(none.digest_to_expect(Zxid(0)), None);
}

#[test]
fn every_cut_and_every_flipped_bit_is_found() {
    for trailers in every_trailer() {
        let bytes = written(&trailers);
        for len in 0..bytes.len() {
            match read(&bytes[..len]) {
                // Cut exactly after a seal it is a whole snapshot of an older form.
                Ok((_, read_trailers)) => assert_ne!(read_trailers, trailers),
                Err(SnapshotError::Corrupt { offset, .. }) => assert!(offset <= len as u64),
                Err(other) => panic!("{other}"),
            }
        }
        for at in (0..bytes.len()).filter(|at| !(4..16).contains(at)) {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                // Nothing looks at a seal's own "/"; only the next seal covers it.
                let is_last_mark = at == bytes.len() - 1;
                assert!(read(&damaged).is_err() || is_last_mark, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn errors_name_the_place() {
    let bytes = written(&Trailers::default());
    assert_eq!(corrupt(b"ZKLG\0\0\0\0"), (0, Corrupt::Magic(0x5a4b_4c47)));
    assert_eq!(corrupt(&bytes[..30]), (20, Corrupt::Malformed(Malformed::Cut("int"))));
    let text = read(&bytes[..30]).unwrap_err().to_string();
    assert!(text.contains("offset 20") && text.contains("older snapshot"), "{text}");
    let mut trailing = bytes.clone();
    trailing.extend([0; 12]);
    assert!(read(&trailing).is_err());
    trailing.extend([0; 10_000]);
    assert!(read(&trailing).is_err());
}

#[test]
fn a_snapshot_without_a_root_is_none() {
    for first in [&b"/"[..], b"/a"] {
        let mut bytes = Vec::new();
        Writer::new().head(&mut bytes, &[], &[]);
        bytes.extend((first.len() as i32).to_be_bytes());
        bytes.extend(first);
        bytes.extend([0; 200]);
        assert_eq!(corrupt(&bytes), (24, Corrupt::NoRoot));
    }
}

#[test]
fn huge_counts_and_lengths_fail_at_once() {
    for at in [16, 20] {
        let mut bytes = Vec::new();
        Writer::new().head(&mut bytes, &[], &[]);
        bytes[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(corrupt(&bytes).1, Corrupt::Malformed(_)));
    }
    let mut bytes = Vec::new();
    Writer::new().head(&mut bytes, &[], &[]);
    bytes.extend(i32::MAX.to_be_bytes());
    assert_eq!(corrupt(&bytes), (24, Corrupt::TooLong));
}

/// A file that tells how much of it was asked for at once, and fails from an offset on.
struct Watched<'a> {
    bytes: &'a [u8],
    bad: usize,
    longest: &'a Cell<usize>,
}

impl Source for Watched<'_> {
    fn bytes(&self) -> u64 {
        self.bytes.bytes()
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        self.longest.set(self.longest.get().max(piece.len()));
        if offset as usize + piece.len() > self.bad {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.bytes.read_at(offset, piece)
    }
}

/// The plain bytes of a snapshot of `nodes` nodes of 1,000 bytes each.
fn large(nodes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new();
    writer.head(&mut out, &[], &[]);
    writer.node(&mut out, "", None, -1, &stat(0));
    for node in 0..nodes {
        writer.node(&mut out, &format!("/{node}"), Some(&[b'n'; 1000]), -1, &stat(1));
    }
    writer.finish(&mut out, &Trailers::default());
    out
}

#[test]
fn the_memory_of_reading_does_not_grow_with_the_file() {
    let plain = large(20_000);
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        let (bytes, longest) = (packed(codec, &plain), Cell::new(0));
        let mut reader =
            Reader::new(codec, Watched { bytes: &bytes, bad: usize::MAX, longest: &longest });
        let (mut parts, mut capacity) = (0, 0);
        while reader.next_part().unwrap().is_some() {
            parts += 1;
            capacity = capacity.max(reader.piece_capacity());
        }
        assert_eq!((parts, reader.offset()), (20_001, plain.len() as u64));
        assert!(capacity <= 4 * PIECE_BYTES, "{codec:?}: {capacity} bytes for {}", plain.len());
        assert!(longest.get() <= PIECE_BYTES, "{codec:?}: {} bytes read at once", longest.get());
    }
}

#[test]
fn a_part_longer_than_a_piece_is_read() {
    let mut plain = Vec::new();
    let mut writer = Writer::new();
    writer.head(&mut plain, &[], &[]);
    writer.node(&mut plain, "", None, -1, &stat(0));
    writer.node(&mut plain, "/large", Some(&vec![1; 5 * PIECE_BYTES]), -1, &stat(1));
    writer.node(&mut plain, "/small", None, -1, &stat(2));
    writer.finish(&mut plain, &Trailers::default());
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        assert_eq!(read_from(codec, packed(codec, &plain)).unwrap().0.len(), 3, "{codec:?}");
    }
}

#[test]
fn a_read_error_in_the_middle_is_no_damage() {
    let plain = large(1_000);
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        let (bytes, longest) = (packed(codec, &plain), Cell::new(0));
        let bad = bytes.len() / 2;
        match read_from(codec, Watched { bytes: &bytes, bad, longest: &longest }) {
            Err(SnapshotError::Read(error)) => {
                assert_eq!(
                    (error.offset, error.error.raw_os_error()),
                    (bad as u64 / 4096 * 4096, Some(5))
                );
            }
            other => panic!("{codec:?}: {:?}", other.map(|(parts, _)| parts.len())),
        }
    }
}

#[test]
fn names() {
    let parsed = |zxid, codec| Some(FileName { zxid: Zxid(zxid), codec });
    assert_eq!(FileName::parse("snapshot.1a"), parsed(0x1a, Codec::Plain));
    assert_eq!(FileName::parse("snapshot.0.gz"), parsed(0, Codec::Gzip));
    assert_eq!(FileName::parse("snapshot.200000001.snappy"), parsed(0x2_0000_0001, Codec::Snappy));
    assert_eq!(FileName::parse("snapshot.5.tmp"), parsed(5, Codec::Plain));
    for other in [
        "snapshot",
        "snapshot.",
        "snapshot.x",
        "log.5",
        "snapshot.ffffffffffffffffff",
        "snapshots.1",
        "",
    ] {
        assert_eq!(FileName::parse(other), None, "{other:?}");
    }
    for name in ["snapshot.0", "snapshot.100000002.gz", "snapshot.ff.snappy"] {
        assert_eq!(FileName::parse(name).unwrap().to_string(), name);
    }
}

#[test]
fn packed_snapshots_unpack() {
    let plain = large(300);
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        let bytes = packed(codec, &plain);
        assert!(
            is_candidate(codec, &bytes[..8], &[0, 0, 0, 1, b'/'], bytes.len() as u64),
            "{codec:?}"
        );
        assert_eq!(read_from(codec, &bytes).unwrap().0.len(), 301);
        for cut in [0, 1, 3, 9, 20, bytes.len() / 2, bytes.len() - 1] {
            match read_from(codec, &bytes[..cut]) {
                Err(SnapshotError::Corrupt { .. } | SnapshotError::Packed { .. }) => {}
                other => {
                    panic!("{codec:?} cut at {cut}: {:?}", other.map(|(parts, _)| parts.len()))
                }
            }
        }
        if codec != Codec::Plain {
            // Two streams, one after the other, are one.
            let (front, back) = plain.split_at(7000);
            let both = [packed(codec, front), packed(codec, back)].concat();
            assert_eq!(read_from(codec, both).unwrap().0.len(), 301);
        }
    }
}

#[test]
fn a_snappy_block_that_promises_too_much_is_not_believed() {
    let mut bytes = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06".to_vec();
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert!(matches!(read_from(Codec::Snappy, bytes), Err(SnapshotError::Packed { .. })));
    let bytes = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff".to_vec();
    assert!(matches!(read_from(Codec::Snappy, bytes), Err(SnapshotError::Packed { .. })));
}

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = Encoder::new(codec);
    plain.chunks(1000).for_each(|chunk| encoder.write(chunk, &mut packed));
    encoder.finish(&mut packed);
    packed
}

fn seal(bytes: &mut Vec<u8>) {
    let sum = i64::from(simd_adler32::adler32(&bytes.as_slice()));
    bytes.extend(sum.to_be_bytes());
    bytes.extend([0, 0, 0, 1, b'/']);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, codec in 0..3) {
        let codec = [Codec::Plain, Codec::Gzip, Codec::Snappy][codec as usize];
        let _any = read(&bytes);
        let _any = read_from(codec, &bytes);
        let headed = [&b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"[..], &bytes].concat();
        let _any = read(&headed);
        let headed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &bytes].concat();
        let _any = read_from(Codec::Snappy, &headed);
    }
}
