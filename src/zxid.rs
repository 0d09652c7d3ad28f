//! Zxid, session id and time: the value types that order everything. No behaviour beyond
//! arithmetic.

use std::fmt;

/// A transaction id: epoch in the high 32 bits, counter in the low 32 (Zab paper, section 3).
///
/// Signed on the wire and on disk, as Apache has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// No transaction: the state of a fresh tree.
    pub const ZERO: Self = Self(0);
    /// No transaction is after it: the end of every history.
    pub const MAX: Self = Self(i64::MAX);
    /// The last epoch that there is: zxids of a later one are negative, and before all others.
    pub const EPOCH_MAX: u32 = i32::MAX as u32;
    /// Said by a server of a quorum that has lost its data: nobody knows what it once had.
    pub const UNKNOWN: Self = Self(-1);

    /// The zxid `counter` steps into `epoch`.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as i64) << 32) | counter as i64)
    }

    /// The leadership period this zxid belongs to.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The position within its epoch; 0 is never a transaction.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of the same epoch. At the end of the counter it runs into the next epoch, as a
    /// standalone Apache does.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A session's 64-bit id; 0 means "no session".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// The id of requests that belong to no session.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// One reading of both clocks, handed to the machines by their shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds: sessions and deadlines go by this one.
    pub mono_ms: i64,
    /// Wall-clock milliseconds since 1970: ctime, mtime and TTLs go by this one.
    pub wall_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_and_counter_split_the_bits() {
        let zxid = Zxid::new(0x12, 0xffff_fff0);
        assert_eq!((zxid.epoch(), zxid.counter()), (0x12, 0xffff_fff0));
        assert_eq!(zxid.to_string(), "0x12fffffff0");
        assert_eq!(Zxid::new(1, u32::MAX).next(), Zxid::new(2, 0));
    }
}
