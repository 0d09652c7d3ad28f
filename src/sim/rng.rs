//! The world's only source of chance: xoshiro256** seeded by splitmix64. Same seed, same numbers,
//! on every machine.

use crate::splitmix;

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut mix = seed;
        Self { state: std::array::from_fn(|_| splitmix::next(&mut mix)) }
    }

    /// A stream of its own, so that one part's draws do not shift another's.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index of a list of `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True `per_mille` times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed means the same world for ever. The first row is the published output of xoshiro256**.
    #[test]
    fn streams_are_what_they_have_always_been() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let drawn = [(); 5].map(|()| rng.next());
        assert_eq!(
            drawn,
            [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360]
        );
        let mut rng = Rng::new(42);
        let drawn = [(); 3].map(|()| rng.next());
        assert_eq!(drawn, [0x1578_0b2e_0c2e_c716, 0x6104_d986_6d11_3a7e, 0xae17_5332_39e4_99a1]);
        assert_eq!(rng.fork().next(), 0x2a5a_2808_3cf1_c6e8);
        let mut rng = Rng::new(7);
        assert_eq!([(); 4].map(|()| rng.below(1000)), [700, 278, 839, 981]);
        let mut rng = Rng::new(7);
        assert_eq!([(); 4].map(|()| rng.between(3, 9)), [7, 4, 8, 9]);
    }

    #[test]
    fn a_seed_gives_its_stream_and_bounds_hold() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| rng.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|n| (3..=9).contains(n)));
        assert!((3..=9).all(|n| draw(1).contains(&n)));
    }
}
