//! Sessions as numbers: ids, passwords, timeouts and when they end. Which connection serves one is
//! the frontend's business, which ones exist is the tree's.
//!
//! Ids and passwords are bit for bit those of Apache's server (`SessionTrackerImpl`,
//! `ZooKeeperServer.generatePasswd`), so that a client can carry its session from one kind of
//! server to the other.

mod expiry;

pub(crate) use expiry::ExpiryQueue;

use crate::zxid::SessionId;

/// The first session id that a run of a server gives out, at `elapsed_ms` monotonic milliseconds:
/// the server id in the top byte, then 40 bits of the time, then 16 zero bits.
///
/// `last` is the highest id that earlier runs are known to have given out. The time begins anew
/// with each boot of the machine, so the ids go on after `last` where the time's would not be above
/// it: a client that comes back with an ended session finds no other one in its place.
pub(crate) fn first_id(elapsed_ms: i64, server_id: u8, last: Option<SessionId>) -> i64 {
    let of_time = (elapsed_ms << 24) as u64 >> 8;
    let after_last = match last.filter(|_| !mutant!(SessionIdsFollowClock)) {
        Some(last) if server_of(last) == server_id => (last.0 & NUMBER_BITS) as u64 + 1,
        _ => 0,
    };
    // After the last number of all there is none: then the time's are as good as any.
    let number = of_time.max(after_last) as i64;
    let number = if number > NUMBER_BITS { of_time as i64 } else { number };
    let id = number | (i64::from(server_id) << SERVER_SHIFT);
    // The owner of every container cannot be a session too.
    if id == i64::MIN { id + 1 } else { id }
}

/// The id of the server that has given out this session's id.
pub(crate) fn server_of(session: SessionId) -> u8 {
    (session.0 >> SERVER_SHIFT) as u8
}

/// The password of a session: what Java's `Random` makes of the id.
pub(crate) fn password(session: SessionId) -> [u8; 16] {
    let mut random = JavaRandom::new(session.0 ^ PASSWORD_SEED);
    let mut password = [0; 16];
    for four in password.chunks_exact_mut(4) {
        four.copy_from_slice(&random.next_int().to_le_bytes());
    }
    password
}

/// Whether `given` is the password of `session`. It looks at every byte, however early they differ.
pub(crate) fn password_is(session: SessionId, given: &[u8]) -> bool {
    let right = password(session);
    given.len() == right.len() && right.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The timeout that a client gets for the one it asks for, all in milliseconds.
pub(crate) fn negotiate(asked_ms: i32, min_ms: i32, max_ms: i32) -> i32 {
    asked_ms.max(min_ms).min(max_ms)
}

/// `java.util.Random`: a linear congruential generator of 48 bits, its results the high ones.
struct JavaRandom {
    state: u64,
}

impl JavaRandom {
    fn new(seed: i64) -> Self {
        Self { state: (seed as u64 ^ MULTIPLIER) & MASK }
    }

    fn next_int(&mut self) -> i32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        (self.state >> 16) as i32
    }
}

/// The server id of a standalone server, as Apache's.
pub(crate) const SERVER_ID: u8 = 1;
const SERVER_SHIFT: u32 = 56;
/// The bits of a session id below the server's.
const NUMBER_BITS: i64 = (1 << SERVER_SHIFT) - 1;
/// The constant that the server mixes into the seed (`ZooKeeperServer.superSecret`).
const PASSWORD_SEED: i64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_server_and_time() {
        assert_eq!(first_id(0, 1, None), 0x0100_0000_0000_0000);
        assert_eq!(first_id(0x12_3456_789a, 1, None), 0x0112_3456_789a_0000);
        // More time than 40 bits can hold does not reach the server's byte.
        assert_eq!(first_id(0x7f12_3456_789a, 3, None), 0x0312_3456_789a_0000);
        assert_eq!(first_id(0, 128, None), i64::MIN + 1);
    }

    #[test]
    fn ids_go_on_after_the_last_one_where_the_time_has_gone_back() {
        let last = |id: u64| Some(SessionId(id as i64));
        for (elapsed_ms, server_id, last, first) in [
            // Back, where it was, and further.
            (0, 1, last(0x0100_0000_0005_0007), 0x0100_0000_0005_0008_u64),
            (5, 1, last(0x0100_0000_0005_0000), 0x0100_0000_0005_0001),
            (6, 1, last(0x0100_0000_0005_ffff), 0x0100_0000_0006_0000),
            (5, 1, last(0x0100_0000_0005_ffff), 0x0100_0000_0006_0000),
            // Ids with the sign bit, and those of another server.
            (5, 200, last(0xc800_0000_0007_0000), 0xc800_0000_0007_0001),
            (5, 1, last(0x0200_0000_0007_0000), 0x0100_0000_0005_0000),
            (5, 1, last(0), 0x0100_0000_0005_0000),
            // None is left after the last of all.
            (5, 1, last(0x01ff_ffff_ffff_fffe), 0x01ff_ffff_ffff_ffff),
            (5, 1, last(0x01ff_ffff_ffff_ffff), 0x0100_0000_0005_0000),
        ] {
            assert_eq!(first_id(elapsed_ms, server_id, last), first as i64, "{last:?}");
        }
        assert_eq!(server_of(SessionId(0xc8ff_0000_0000_0001_u64 as i64)), 200);
    }

    /// Made with OpenJDK 17: `new Random(id ^ 0xB3415C00L).nextBytes(new byte[16])`.
    #[test]
    fn passwords_are_javas() {
        let cases: [(u64, u128); 4] = [
            (1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (0x0100_0049_3101_0000, 0x8507_ce98_2ee3_ab3b_6bda_b3d0_276a_162d),
            (i64::MAX as u64, 0x20f6_2cb5_648d_c2d7_7147_1c8a_2486_a9ee),
            (0xff00_0000_0000_0001, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
        ];
        for (id, expected) in cases {
            let session = SessionId(id as i64);
            assert_eq!(password(session), expected.to_be_bytes(), "{session}");
            assert!(password_is(session, &expected.to_be_bytes()));
            assert!(!password_is(session, &(expected ^ 1).to_be_bytes()));
            assert!(!password_is(session, &[]));
            // Two bytes that are wrong in the same way do not make up for each other.
            assert!(!password_is(session, &(expected ^ 0x0101).to_be_bytes()));
        }
    }

    #[test]
    fn timeouts_are_clamped() {
        for (asked, got) in [
            (i32::MIN, 4000),
            (-1, 4000),
            (0, 4000),
            (4001, 4001),
            (40_001, 40_000),
            (i32::MAX, 40_000),
        ] {
            assert_eq!(negotiate(asked, 4000, 40_000), got);
        }
    }
}
