//! Frames of Apache's servers (`tests/golden/ensemble`) are read and written back; hostile bytes
//! are refused.

use std::path::PathBuf;

use bytes::Bytes;

use super::*;
use crate::codes::OpCode;
use crate::jute::Reader;
use crate::splitmix;
use crate::zxid::{SessionId, Zxid};

/// One line of the golden file.
struct Frame {
    kind: String,
    bytes: Vec<u8>,
}

fn frames(port: &str) -> Vec<Frame> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ensemble/frames.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let frame = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] != port {
            return None;
        }
        let hex = words[3].as_bytes().chunks(2);
        let bytes = hex.map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 16).unwrap());
        Some(Frame { kind: words[2].into(), bytes: bytes.collect() })
    };
    text.lines().filter_map(frame).collect()
}

fn written(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write(&mut out);
    out
}

/// The packet that all of `bytes` are.
fn whole(bytes: &[u8]) -> Packet {
    let mut stream = PacketStream::new(MAX);
    stream.push(bytes);
    let packet = stream.next_packet().unwrap().unwrap();
    assert!(stream.take_rest().is_empty());
    packet
}

#[test]
fn s54_packets_of_apache_read_and_write_back() {
    let frames = frames("quorum");
    assert_eq!(frames.len(), 156);
    for frame in frames {
        let packet = whole(&frame.bytes);
        assert_eq!(written(&packet), frame.bytes, "{} {packet:?}", frame.kind);
        let name = format!("{packet:?}").to_ascii_uppercase();
        let named = name.replace("PONG", "PING").replace("REVALIDATED", "REVALIDATE");
        assert!(named.starts_with(&frame.kind), "{} is {name}", frame.kind);
        if let Packet::Proposal { zxid, record } | Packet::Inform { zxid, record } = packet {
            // Session and cxid stand before it.
            assert_eq!(Reader::new(&record[12..]).i64(), Ok(zxid.0));
        }
    }
}

/// All frames as one stream, cut into pieces at random: the same packets.
#[test]
fn a_stream_may_be_cut_anywhere() {
    let frames = frames("quorum");
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.clone()).collect();
    let wanted: Vec<Packet> = frames.iter().map(|frame| whole(&frame.bytes)).collect();
    let mut random = 7;
    for longest in [1, 3, 40, 5_000] {
        let (mut stream, mut got, mut at) = (PacketStream::new(MAX), Vec::new(), 0);
        while at < bytes.len() {
            let len = 1 + splitmix::next(&mut random) as usize % longest;
            let end = bytes.len().min(at + len);
            stream.push(&bytes[at..end]);
            at = end;
            while let Some(packet) = stream.next_packet().unwrap() {
                got.push(packet);
            }
        }
        assert!(got == wanted, "pieces of at most {longest}");
    }
}

/// What follows a SNAP is a tree: it can be taken out of the stream, and what comes after it be
/// put back.
#[test]
fn a_tree_is_taken_out_of_the_stream() {
    let mut stream = PacketStream::new(MAX);
    stream.push(&written(&Packet::Snap { zxid: Zxid(5) }));
    stream.push(b"tree");
    stream.push(&written(&Packet::UpToDate));
    assert_eq!(stream.next_packet(), Ok(Some(Packet::Snap { zxid: Zxid(5) })));
    let rest = stream.take_rest();
    let (tree, after) = rest.split_at(4);
    assert_eq!(tree, b"tree");
    stream.put_back(after);
    assert_eq!(stream.next_packet(), Ok(Some(Packet::UpToDate)));
    assert_eq!(stream.next_packet(), Ok(None));
}

#[test]
fn types_that_no_recording_holds() {
    let info = LearnerInfo {
        accepted_epoch: 3,
        current_epoch: Some(2),
        server_id: Some(-7),
        protocol: LearnerInfo::PROTOCOL,
        config_version: Zxid::new(1, 4),
    };
    let record = Bytes::from_static(b"header and record");
    for packet in [
        Packet::InformAndActivate { zxid: Zxid::new(1, 9), designated: 3, record },
        Packet::ObserverInfo(info),
        Packet::FollowerInfo(LearnerInfo {
            server_id: None,
            protocol: 0,
            config_version: Zxid::ZERO,
            ..info
        }),
        Packet::NewLeader { zxid: Zxid::new(4, 0), config: None },
        Packet::Unknown { kind: 77 },
    ] {
        assert_eq!(whole(&written(&packet)), packet);
    }
}

/// Apache before 3.4.6 sends a shorter LearnerInfo.
#[test]
fn short_forms_of_the_learner_info() {
    let long = written(&Packet::FollowerInfo(LearnerInfo {
        accepted_epoch: 1,
        current_epoch: None,
        server_id: Some(9),
        protocol: 0x1_0000,
        config_version: Zxid(6),
    }));
    for (len, protocol, version) in [(20, 0x1_0000, 6), (12, 0x1_0000, 0), (8, 0, 0)] {
        let mut bytes = long[..12].to_vec();
        bytes.extend((len as i32).to_be_bytes());
        bytes.extend(&long[16..16 + len]);
        bytes.extend((-1i32).to_be_bytes());
        let Packet::FollowerInfo(info) = whole(&bytes) else { panic!("another type") };
        assert_eq!(
            (info.server_id, info.protocol, info.config_version.0),
            (Some(9), protocol, version)
        );
    }
}

/// Bad lengths are refused before the bytes that they promise have come.
#[test]
fn bad_lengths_are_refused_at_once() {
    let head = |len: i32| {
        let mut bytes = vec![0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend(len.to_be_bytes());
        bytes
    };
    let refused = |bytes: &[u8]| {
        let mut stream = PacketStream::new(MAX);
        stream.push(bytes);
        stream.next_packet()
    };
    let too_long = PacketError::TooLong { kind: 2, len: MAX as u64 + 1, max: MAX };
    assert_eq!(refused(&head(MAX as i32 + 1)), Err(too_long));
    assert_eq!(refused(&head(MAX as i32)), Ok(None));
    assert!(matches!(refused(&head(-2)), Err(PacketError::Malformed(_))));
    // A proposal without a record; a request that ends in its header.
    let mut empty = head(-1);
    empty.extend((-1i32).to_be_bytes());
    assert_eq!(refused(&empty), Err(PacketError::Data { kind: 2, len: 0 }));
    // Two thousand million ids: each string is refused or takes its bytes from the stream.
    let mut many = head(0);
    many.extend(i32::MAX.to_be_bytes());
    let mut stream = PacketStream::new(MAX);
    stream.push(&many);
    let bytes = (0..MAX).find(|_| {
        stream.push(&[0; 4]);
        stream.next_packet().is_err()
    });
    assert_eq!(bytes, Some(MAX / 4), "ids without end are refused");
}

/// No bytes make it panic; whatever is read is written back and read again as the same.
#[test]
fn random_damage_is_refused_or_read() {
    let frames = frames("quorum");
    let mut random = 11;
    for round in 0..20_000 {
        let mut bytes = frames[round % frames.len()].bytes.clone();
        for _ in 0..1 + splitmix::next(&mut random) % 3 {
            let at = splitmix::next(&mut random) as usize % bytes.len();
            bytes[at] = splitmix::next(&mut random) as u8;
        }
        let mut stream = PacketStream::new(MAX);
        stream.push(&bytes);
        while let Ok(Some(packet)) = stream.next_packet() {
            if !matches!(packet, Packet::Unknown { .. }) {
                assert_eq!(whole(&written(&packet)), packet);
            }
        }
    }
}

#[test]
fn notifications_of_apache_read_and_write_back() {
    let frames: Vec<Frame> =
        frames("election").into_iter().filter(|frame| frame.kind == "NOTIF").collect();
    assert_eq!(frames.len(), 37);
    for frame in frames {
        let message = Bytes::from(frame.bytes[4..].to_vec());
        let notification = Notification::read(&message).unwrap();
        let mut out = Vec::new();
        notification.write(&mut out);
        assert_eq!(out, frame.bytes, "{notification:?}");
        assert!(notification.config.starts_with(b"server.1="), "{notification:?}");
    }
}

#[test]
fn s54_notifications_of_every_version() {
    let mut out = Vec::new();
    let now = Notification {
        state: PeerState::Leading,
        leader: 3,
        zxid: Zxid::new(5, 1),
        round: 9,
        peer_epoch: 6,
        version: 2,
        config: Bytes::from_static(b"version=0"),
    };
    now.write(&mut out);
    let message = Bytes::from(out.split_off(4));
    assert_eq!(Notification::read(&message), Ok(now.clone()));
    let old = Notification { version: 0, config: Bytes::new(), ..now };
    for (len, peer_epoch) in [(28, 5), (36, 6), (40, 6)] {
        let read = Notification::read(&message.slice(..len));
        assert_eq!(read, Ok(Notification { peer_epoch, ..old.clone() }), "{len}");
    }
    for len in [0, 3, 4, 27, 29, 35, 46, 52] {
        let read = Notification::read(&message.slice(..len));
        assert_eq!(read, Err(NotificationError::Length(len)));
    }
    let mut state = message.to_vec();
    state[3] = 4;
    assert_eq!(Notification::read(&Bytes::from(state)), Err(NotificationError::State(4)));
}

#[test]
fn greetings_of_apache_read_and_write_back() {
    let frames: Vec<Frame> =
        frames("election").into_iter().filter(|frame| frame.kind == "INIT").collect();
    assert_eq!(frames.len(), 6);
    for frame in frames {
        let whole = frame.bytes.len();
        for len in 0..whole {
            assert_eq!(Greeting::read(&frame.bytes[..len]), Ok(None));
        }
        let (greeting, taken) = Greeting::read(&frame.bytes).unwrap().unwrap();
        assert_eq!(taken, whole);
        let mut out = Vec::new();
        greeting.write(&mut out);
        // One address in the form for several is read, and not written.
        let is_odd = frame.bytes[7] == 1 && greeting.addresses.len() == 1;
        assert_eq!(out[8..], frame.bytes[8..], "{greeting:?}");
        assert_eq!(out == frame.bytes, !is_odd, "{greeting:?}");
    }
}

#[test]
fn greetings_that_are_none() {
    let greeting = |version: i64, address: &str| {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(7i64.to_be_bytes());
        bytes.extend((address.len() as i32).to_be_bytes());
        bytes.extend(address.as_bytes());
        Greeting::read(&bytes)
    };
    assert_eq!(greeting(-65534, "h:1"), Err(GreetingError::Version(-65534)));
    assert_eq!(greeting(-65536, ""), Err(GreetingError::Length(0)));
    assert_eq!(greeting(-65536, &"h".repeat(2049)), Err(GreetingError::Length(2049)));
    for address in ["h", "h:", ":1", "h:99999", "::1:5", "h:1|", "h:1|i"] {
        assert_eq!(greeting(-65535, address), Err(GreetingError::Addresses), "{address}");
    }
    for address in ["h:1", "[::1]:5", "h:1|i:2|[::]:3"] {
        assert!(greeting(-65535, address).is_ok(), "{address}");
    }
    // Before 3.5 there was a server id and no more.
    let (old, taken) = Greeting::read(&[0, 0, 0, 0, 0, 0, 0, 5, 9, 9]).unwrap().unwrap();
    assert_eq!((old.server_id, taken), (5, 8));
    let mut out = Vec::new();
    old.write(&mut out);
    assert_eq!(out, 5i64.to_be_bytes());
}

/// The record of a forwarded request is the client's own, byte by byte.
#[test]
fn a_request_carries_the_clients_bytes() {
    let create =
        frames("quorum").into_iter().map(|frame| whole(&frame.bytes)).find_map(
            |packet| match packet {
                Packet::Request(request) if request.op == OpCode::CREATE => Some(request),
                _ => None,
            },
        );
    let create = create.unwrap();
    let path = Reader::new(&create.record).string().unwrap().unwrap().into_owned();
    assert!(path.starts_with('/'), "{path}");
    assert_ne!(create.session, SessionId::NONE);
    let auth = create.auth.unwrap();
    assert_eq!((&*auth[0].scheme, &*auth[0].id), ("ip", "127.0.0.1"));
}

const MAX: usize = 4096;

/// The last of several acknowledgements is taken, whatever comes after it; the start of an epoch,
/// another epoch, an earlier one and half of one are not passed over.
#[test]
fn acknowledgements_that_follow_at_once_are_one() {
    let ack = |epoch: u32, counter: u32| Packet::Ack { zxid: Zxid::new(epoch, counter) };
    let last = |packets: &[Packet]| {
        let mut stream = PacketStream::new(MAX);
        packets.iter().for_each(|packet| stream.push(&written(packet)));
        let Ok(Some(Packet::Ack { zxid })) = stream.next_packet() else { panic!("no ACK") };
        (stream.last_ack(zxid), stream)
    };
    let (zxid, mut stream) = last(&[ack(1, 1), ack(1, 2), ack(1, 5), Packet::Sync]);
    assert_eq!((zxid, stream.next_packet()), (Zxid::new(1, 5), Ok(Some(Packet::Sync))));
    assert_eq!(stream.buffered(), 0);
    for [first, next] in [
        [ack(1, 0), ack(1, 1)],
        [ack(1, 1), ack(2, 0)],
        [ack(1, 1), ack(2, 1)],
        [ack(1, 2), ack(1, 2)],
        [ack(1, 2), ack(1, 1)],
    ] {
        let (zxid, mut stream) = last(&[first.clone(), next.clone()]);
        assert_eq!(Packet::Ack { zxid }, first);
        assert_eq!(stream.next_packet(), Ok(Some(next)));
    }
    let (_, mut stream) = last(&[ack(1, 1)]);
    let bytes = written(&ack(1, 2));
    stream.push(&bytes[..19]);
    assert_eq!(stream.last_ack(Zxid::new(1, 1)), Zxid::new(1, 1));
    assert_eq!(stream.next_packet(), Ok(None));
    stream.push(&bytes[19..]);
    assert_eq!(stream.next_packet(), Ok(Some(ack(1, 2))));
}

/// The same of COMMITs, which are one only if each is of the transaction after the one before.
#[test]
fn commits_that_follow_each_other_are_one() {
    let commit = |epoch: u32, counter: u32| Packet::Commit { zxid: Zxid::new(epoch, counter) };
    let last = |packets: &[Packet]| {
        let mut stream = PacketStream::new(MAX);
        packets.iter().for_each(|packet| stream.push(&written(packet)));
        let Ok(Some(Packet::Commit { zxid })) = stream.next_packet() else { panic!("no COMMIT") };
        (stream.last_commit(zxid), stream)
    };
    let (zxid, mut stream) = last(&[commit(1, 1), commit(1, 2), commit(1, 3), Packet::Sync]);
    assert_eq!((zxid, stream.next_packet()), (Zxid::new(1, 3), Ok(Some(Packet::Sync))));
    for [first, next] in [
        [commit(1, 1), commit(1, 3)],
        [commit(1, 2), commit(1, 2)],
        [commit(1, 2), commit(1, 1)],
        [commit(1, u32::MAX), commit(2, 0)],
        [commit(1, 1), commit(2, 1)],
        [commit(1, 1), Packet::Ack { zxid: Zxid::new(1, 2) }],
        [commit(1, 1), Packet::Inform { zxid: Zxid::new(1, 2), record: Bytes::new() }],
    ] {
        let (zxid, mut stream) = last(&[first.clone(), next.clone()]);
        assert_eq!(Packet::Commit { zxid }, first);
        assert_eq!(stream.next_packet(), Ok(Some(next)));
    }
    let lowest = Zxid(i64::MIN);
    let mut stream = PacketStream::new(MAX);
    stream.push(&written(&Packet::Commit { zxid: lowest }));
    assert_eq!(stream.last_commit(lowest), lowest, "it comes after nothing");
    assert_eq!(stream.next_packet(), Ok(Some(Packet::Commit { zxid: lowest })));
}
