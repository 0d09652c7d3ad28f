//! Which operation comes next, on which znode: weights and a small generator of random numbers,
//! seeded.

use std::str::FromStr;

use super::wire::Op;

/// Operations with their weights, as `get=90,set=10` says.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    weights: Vec<(Op, u32)>,
    total: u32,
}

impl Mix {
    /// The operation that falls to a random number.
    pub(super) fn choose(&self, random: u64) -> Op {
        if let [(only, _)] = self.weights[..] {
            return only;
        }
        let mut left = (((random >> 32) * u64::from(self.total)) >> 32) as u32;
        for &(op, weight) in &self.weights {
            if left < weight {
                return op;
            }
            left -= weight;
        }
        self.weights[0].0
    }

    /// The operations that it may choose.
    pub(super) fn ops(&self) -> impl Iterator<Item = Op> + '_ {
        self.weights.iter().map(|&(op, _)| op)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let op = Op::ALL.into_iter().find(|op| op.name() == name.trim()).ok_or_else(|| {
                let known: Vec<_> = Op::ALL.iter().map(|op| op.name()).collect();
                format!("no operation is called {name:?}; there are {}", known.join(", "))
            })?;
            let weight =
                weight.trim().parse().ok().filter(|weight| (0..=1_000_000).contains(weight));
            match weight
                .ok_or_else(|| format!("{part:?}: the weight must be a number up to 1000000"))?
            {
                0 => {}
                weight => weights.push((op, weight)),
            }
        }
        match weights.iter().map(|&(_, weight)| weight).sum() {
            0 => Err("every weight is 0".into()),
            total => Ok(Mix { weights, total }),
        }
    }
}

/// xorshift64*: fast, good enough to pick znodes with.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_to() {
        let mix: Mix = "get=90,set=10".parse().expect("a good mix");
        let mut random = Random::new(7);
        let sets = (0..100_000).filter(|_| mix.choose(random.next()) == Op::Set).count();
        assert!((9_500..10_500).contains(&sets), "{sets} of 100000");
    }

    #[test]
    fn bad_mixes_say_what_is_wrong() {
        assert!("fetch=1".parse::<Mix>().unwrap_err().contains("get, exists"));
        assert!("get=x".parse::<Mix>().unwrap_err().contains("weight"));
        assert!("get=0".parse::<Mix>().unwrap_err().contains("every weight"));
        assert!("get".parse::<Mix>().is_ok());
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut random = Random::new(1);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
    }
}
