//! The bytes of marks, and what the scanner says of a file and its entries.

use super::*;

/// Marks on disks were sealed with it.
#[test]
fn seals_are_mixed_as_by_splitmix64() {
    // The first numbers of the reference implementation for the seeds 0 and 1234567.
    assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    let seed = 1_234_567_u64;
    assert_eq!(mix(seed), 6_457_827_717_110_365_317);
    assert_eq!(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), 3_203_168_211_198_807_973);
}

#[test]
fn a_mark_has_a_tag_a_claim_the_length_0_and_a_seal() {
    let mark = tail_mark(NONCE, 4100, 3000, 7).bytes;
    let seal = mix(mix(mix(0xfeed_5eed_cafe) ^ 4100) ^ 3000) ^ 7;
    assert_eq!(mark[..2], *b"RK");
    assert_eq!(mark[2..8], 3000_u64.to_be_bytes()[2..]);
    assert_eq!(mark[8..12], [0; 4]);
    assert_eq!(mark[12..], seal.to_be_bytes());
}

#[test]
fn a_mark_counts_zeros_up_to_16_mib_less_one() {
    let max = (16 << 20) - 1;
    for (zeros, claimed) in [(max - 1, max - 1), (max, max), (max + 1, max), (u64::MAX, max)] {
        let mark = closing_mark(NONCE, 4100, Claim { durable: 3000, zeros });
        let claim = Claim { durable: 3000, zeros: claimed };
        assert_eq!(read_tail_mark(NONCE, 4100, &mark), Some(claim), "{zeros}");
    }
}

#[test]
fn entries_come_with_their_payload_and_place() {
    let file = write(file_header(NONCE), &[vec![100, 50], vec![2000]], 600);
    let mut scanner = Scanner::new(&file.bytes);
    assert_eq!((scanner.nonce(), scanner.durable()), (None, 0), "nothing was read yet");
    let mut at = FILE_HEADER_BYTES as u64;
    for (index, len) in [100, 50, 2000].into_iter().enumerate() {
        let entry = scanner.next_entry().unwrap().expect("there are three");
        assert_eq!((entry.offset, entry.end()), (at, file.ends[index] as u64));
        assert_eq!(entry.payload, payload(index as i64 + 1, len));
        at = entry.end();
    }
    assert_eq!(scanner.next_entry().unwrap(), None);
    assert_eq!(scanner.bytes(), file.bytes.len() as u64);
    // The last mark claims what was durable when the last group was appended.
    assert_eq!((scanner.nonce(), scanner.durable()), (Some(NONCE), file.ends[1] as u64));
}

#[test]
fn a_record_longer_than_a_piece_is_taken_whatever_its_length() {
    for len in [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 1000] {
        let file = write(file_header(NONCE), &[vec![len], vec![100]], 3 * PIECE_BYTES);
        assert_eq!(scan(&file.bytes), (vec![1, 2], ScanEnd::Clean { offset: file.ends[1] as u64 }));
    }
}

#[test]
fn a_header_of_which_the_first_bytes_arrived_is_torn() {
    for arrived in 0..4 {
        let mut file = vec![0; 4096];
        file[..arrived].copy_from_slice(&MAGIC.to_be_bytes()[..arrived]);
        let torn = ScanEnd::TornTail { offset: 0, why: Damage::NoHeader };
        assert_eq!(scan(&file).1, torn, "{arrived}");
    }
    // Two other bytes are those of another file.
    let why = Damage::Magic(0x5a4c_0000);
    assert_eq!(scan(b"ZL\0\0\0\0\0\0\0\0\0\0\0\0\0\0").1, ScanEnd::Corrupt { offset: 0, why });
}

#[test]
fn the_fault_is_said_as_it_is() {
    let whole = write(apache_header(), &[vec![100]], 0).bytes;
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let zeros = [&whole[..16], &[0; 100], &[0xa5; 100]].concat();
    let mut short = apache_header().to_vec();
    append_entry(&mut short, &[7; 31]);
    for (file, why, words) in [
        (whole[..9].to_vec(), Damage::NoHeader, "the file header is missing"),
        (
            b"ZKSN 0123456789 and more".to_vec(),
            Damage::Magic(0x5a4b_534e),
            "the file starts with 0x5a4b534e, not with ZKLG",
        ),
        (zeros, Damage::NotPadding, "an empty record is followed by something other than zeros"),
        // All of its payload is there, and not the end mark.
        (
            whole[..whole.len() - 1].to_vec(),
            Damage::Length(100),
            "the record's length 100 does not fit the file",
        ),
        (changed(128, b"C"), Damage::EndMark, "the record's end mark is missing"),
        (changed(100, b"\0"), Damage::Checksum, "the record's checksum is wrong"),
        (short, Damage::Short(31), "a record of 31 bytes cannot hold a transaction"),
    ] {
        let (ScanEnd::TornTail { why: found, .. } | ScanEnd::Corrupt { why: found, .. }) =
            scan(&file).1
        else {
            panic!("{why:?} is a clean end")
        };
        assert_eq!((found, found.to_string().as_str()), (why, words));
    }
}
