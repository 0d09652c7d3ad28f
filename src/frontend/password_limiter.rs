//! Wrong passwords of living sessions, by the address they come from (B15). Those of ended sessions
//! do not count: after a long outage all clients behind one address come back with them.

use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The number of wrong passwords that each address may still try.
#[derive(Debug)]
pub(super) struct PasswordLimiter {
    addresses: HashMap<IpAddr, TokenBucket, FixedState>,
}

/// Tokens left, and the monotonic milliseconds up to which they have been filled.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: u32,
    filled_ms: i64,
}

impl PasswordLimiter {
    pub(super) fn new(seed: u64) -> Self {
        Self { addresses: HashMap::with_hasher(FixedState::with_seed(seed)) }
    }

    /// Whether passwords from this address are still looked at.
    pub(super) fn may_try(&mut self, address: IpAddr, now_ms: i64) -> bool {
        let Some(bucket) = self.addresses.get_mut(&address) else { return true };
        bucket.fill(now_ms);
        bucket.tokens > 0
    }

    /// A wrong one has come. When the table is full of such addresses, those that have been quiet
    /// are forgotten; if none has, it is the newcomer that is not counted.
    pub(super) fn count(&mut self, address: IpAddr, now_ms: i64) {
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, bucket| {
                bucket.fill(now_ms);
                bucket.tokens < TOKENS
            });
        }
        if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&address) {
            let bucket = self
                .addresses
                .entry(address)
                .or_insert(TokenBucket { tokens: TOKENS, filled_ms: now_ms });
            bucket.tokens = bucket.tokens.saturating_sub(1);
        }
    }
}

impl TokenBucket {
    fn fill(&mut self, now_ms: i64) {
        let tokens = (now_ms - self.filled_ms).max(0) / TOKEN_MS;
        if tokens > 0 {
            self.filled_ms += tokens * TOKEN_MS;
            self.tokens = u32::try_from(tokens)
                .map_or(TOKENS, |tokens| self.tokens.saturating_add(tokens).min(TOKENS));
        }
    }
}

/// Wrong passwords in a row before an address has to wait.
const TOKENS: u32 = 100;
/// Milliseconds after which it may try one more.
const TOKEN_MS: i64 = 100;
/// Addresses that are kept count of.
const ADDRESSES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_its_tokens_and_others_do_not() {
        let mut password_limiter = PasswordLimiter::new(0);
        let [bad, good]: [IpAddr; 2] =
            ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        for _ in 0..TOKENS {
            assert!(password_limiter.may_try(bad, 5));
            password_limiter.count(bad, 5);
        }
        assert!(
            !password_limiter.may_try(bad, 5 + TOKEN_MS - 1) && password_limiter.may_try(good, 5)
        );
        assert!(password_limiter.may_try(bad, 5 + TOKEN_MS));
        password_limiter.count(bad, 5 + TOKEN_MS);
        assert!(!password_limiter.may_try(bad, 5 + TOKEN_MS));
        assert!(password_limiter.may_try(bad, i64::MAX / 2));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut password_limiter = PasswordLimiter::new(0);
        for i in 0..2 * ADDRESSES_MAX as u32 {
            password_limiter.count(IpAddr::from(i.to_be_bytes()), 0);
        }
        assert_eq!(password_limiter.addresses.len(), ADDRESSES_MAX);
        password_limiter.count(IpAddr::from([9, 9, 9, 9]), 1_000_000);
        assert_eq!(password_limiter.addresses.len(), 1, "the quiet ones are forgotten");
    }
}
