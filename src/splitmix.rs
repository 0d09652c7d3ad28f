//! SplitMix64: numbers that nobody needs to be unable to guess, the same from the same state.

/// The next number of the stream, and the state moved on.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    /// The first numbers of the reference implementation from the state 1234567.
    #[test]
    fn it_is_splitmix64() {
        let mut state = 1_234_567;
        let first = [0; 3].map(|_: u64| super::next(&mut state));
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
