//! Names of operations: what the kernel hands back with each completion, packed into its 64 bits.
//! It knows no ring and no descriptor.

use std::fmt;

/// Whose operation it is: a slot of the caller's table and the generation of what lives in it.
///
/// A slot is used again after its tenant has gone; completions that still carry the old generation
/// then show themselves as stale. The generation has 24 bits and wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    /// The index into the caller's table.
    pub slot: u32,
    generation: u32,
}

/// The slots from here on belong to a second table beside the first: on one ring run the clients of a
/// shard and the servers that the quorum core talks to.
pub const HIGH_SLOTS: u32 = 1 << 31;

impl Token {
    /// The token of `slot` in its `generation`, of which the low 24 bits count.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Token { slot, generation: generation & GENERATION_MAX }
    }

    /// The generation, at most 24 bits wide.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The token of the next tenant of the same slot.
    pub const fn next_generation(self) -> Self {
        Token::new(self.slot, self.generation + 1)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The kind of operation that a completion ends or continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpKind {
    /// Accept of one connection.
    Accept = 1,
    /// Multishot receive into provided buffers.
    Receive = 2,
    /// Send of one buffer, whole.
    Send = 3,
    /// Cancellation of another operation.
    Cancel = 4,
    /// The ring's own poll of its wake descriptor.
    Wake = 5,
    /// Flush of a file's data.
    Sync = 6,
    /// Close of a descriptor.
    Close = 7,
    /// Multishot poll of a descriptor for input.
    Poll = 8,
}

impl OpKind {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => OpKind::Accept,
            2 => OpKind::Receive,
            3 => OpKind::Send,
            4 => OpKind::Cancel,
            5 => OpKind::Wake,
            6 => OpKind::Sync,
            7 => OpKind::Close,
            8 => OpKind::Poll,
            _ => return None,
        })
    }
}

/// The 64 bits that go with an operation: kind (8), generation (24), slot (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserData {
    /// The kind of operation.
    pub kind: OpKind,
    /// Whose operation it is.
    pub token: Token,
}

impl UserData {
    /// Names the operation `kind` of `token`.
    pub const fn new(kind: OpKind, token: Token) -> Self {
        UserData { kind, token }
    }

    /// The packed form.
    pub const fn to_bits(self) -> u64 {
        (self.kind as u64) << 56 | (self.token.generation as u64) << 32 | self.token.slot as u64
    }

    /// The reverse of [`UserData::to_bits`]; `None` for bits that no operation of this ring
    /// carries.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let Some(kind) = OpKind::from_bits((bits >> 56) as u8) else {
            return None;
        };
        Some(UserData { kind, token: Token::new(bits as u32, (bits >> 32) as u32) })
    }
}

const GENERATION_MAX: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_round_trip_at_the_edges() {
        for slot in [0, 1, u32::MAX] {
            for generation in [0, 1, GENERATION_MAX] {
                for bits in 1..=8 {
                    let kind = OpKind::from_bits(bits).expect("kinds 1 to 8 exist");
                    let named = UserData::new(kind, Token::new(slot, generation));
                    assert_eq!(UserData::from_bits(named.to_bits()), Some(named));
                }
            }
        }
        assert_eq!(UserData::from_bits(0), None);
        assert_eq!(UserData::from_bits(u64::MAX), None);
    }

    #[test]
    fn generation_wraps_within_its_bits() {
        let last = Token::new(7, GENERATION_MAX);
        assert_eq!(last.next_generation(), Token::new(7, 0));
        assert_ne!(last.next_generation(), last);
    }
}
