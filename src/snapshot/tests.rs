//! Whole snapshots: what is written reads back, and damage of any kind is found.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::jute::Malformed;
use crate::jute::data::{Acl, StatPersisted};
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

fn read(bytes: &[u8]) -> Result<(Vec<Part<'_>>, Trailers), SnapshotError> {
    let mut reader = Reader::new(bytes)?;
    let mut parts = Vec::new();
    while let Some(part) = reader.next_part()? {
        parts.push(part);
    }
    Ok((parts, reader.trailers().expect("the end was reached")))
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
        assert_eq!(parts, expected);
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
                // Cut exactly behind a seal it is a whole snapshot of an older form.
                Ok((_, read_trailers)) => assert_ne!(read_trailers, trailers),
                Err(error) => assert!(error.offset <= len as u64),
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
    assert_eq!(read(b"ZKLG\0\0\0\0").unwrap_err(), SnapshotError { offset: 0, why: Corrupt::Magic(0x5a4b_4c47) });
    let cut = read(&bytes[..30]).unwrap_err();
    assert_eq!(cut, SnapshotError { offset: 20, why: Corrupt::Malformed(Malformed::Cut("int")) });
    let text = cut.to_string();
    assert!(text.contains("offset 20") && text.contains("older snapshot"), "{text}");
    let mut trailing = bytes.clone();
    trailing.extend([0; 12]);
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
        assert_eq!(read(&bytes).unwrap_err(), SnapshotError { offset: 24, why: Corrupt::NoRoot });
    }
}

#[test]
fn huge_counts_fail_at_once() {
    for at in [16, 20] {
        let mut bytes = Vec::new();
        Writer::new().head(&mut bytes, &[], &[]);
        bytes[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(read(&bytes).unwrap_err().why, Corrupt::Malformed(_)));
    }
}

#[test]
fn names() {
    let parsed = |zxid, codec| Some(FileName { zxid: Zxid(zxid), codec });
    assert_eq!(FileName::parse("snapshot.1a"), parsed(0x1a, Codec::Plain));
    assert_eq!(FileName::parse("snapshot.0.gz"), parsed(0, Codec::Gzip));
    assert_eq!(FileName::parse("snapshot.200000001.snappy"), parsed(0x2_0000_0001, Codec::Snappy));
    assert_eq!(FileName::parse("snapshot.5.tmp"), parsed(5, Codec::Plain));
    for other in ["snapshot", "snapshot.", "snapshot.x", "log.5", "snapshot.ffffffffffffffffff", "snapshots.1", ""] {
        assert_eq!(FileName::parse(other), None, "{other:?}");
    }
    for name in ["snapshot.0", "snapshot.100000002.gz", "snapshot.ff.snappy"] {
        assert_eq!(FileName::parse(name).unwrap().to_string(), name);
    }
}

#[test]
fn packed_snapshots_unpack_and_stay_within_bounds() {
    let plain: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        let packed = packed(codec, &plain);
        assert!(is_candidate(codec, &packed[..8], &[0, 0, 0, 1, b'/'], packed.len() as u64), "{codec:?}");
        assert_eq!(decompress(codec, &packed, plain.len()).as_ref(), Ok(&plain));
        let bytes_max = plain.len() - 1;
        assert_eq!(decompress(codec, &packed, bytes_max), Err(Decompress::TooLarge { bytes_max }));
        if codec != Codec::Plain {
            let twice = [&packed[..], &packed].concat();
            assert_eq!(decompress(codec, &twice, usize::MAX - 1).unwrap().len(), 2 * plain.len());
            let cut = decompress(codec, &packed[..packed.len() - 1], usize::MAX - 1);
            assert!(matches!(cut, Err(Decompress::Damaged { .. })), "{codec:?}: {:?}", cut.map(|plain| plain.len()));
        }
    }
}

#[test]
fn a_snappy_block_that_promises_too_much_is_not_believed() {
    let mut bytes = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06".to_vec();
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert!(matches!(decompress(Codec::Snappy, &bytes, usize::MAX), Err(Decompress::Damaged { .. })));
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
        let _any = decompress(codec, &bytes, 1 << 20);
        let headed = [&b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"[..], &bytes].concat();
        let _any = read(&headed);
        let headed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &bytes].concat();
        let _any = decompress(Codec::Snappy, &headed, 1 << 20);
    }
}
