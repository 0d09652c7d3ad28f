//! Latencies in milliseconds: their ends, their sum, and how they spread.

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub last: u32,
    pub min: u32,
    pub max: u32,
    pub sum: u64,
    pub count: u64,
}

impl Latency {
    /// Counts one more.
    #[inline]
    pub(super) fn add(&mut self, ms: u32) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.last = ms;
        self.sum += u64::from(ms);
        self.count += 1;
    }

    /// Adds those of another shard.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.last = other.last;
        self.sum += other.sum;
        self.count += other.count;
    }
}

/// Latencies with their quantiles: exact below 16 ms, above in steps of a quarter of a power of
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencySpread {
    /// Their ends and sum.
    pub latency: Latency,
    /// The number that fell into each step. Invariant: they add up to `latency.count`.
    steps: [u64; STEPS],
}

impl Default for LatencySpread {
    fn default() -> Self {
        Self { latency: Latency::default(), steps: [0; STEPS] }
    }
}

impl LatencySpread {
    /// Counts one more.
    #[inline]
    pub(super) fn add(&mut self, ms: u32) {
        self.latency.add(ms);
        self.steps[step_of(ms)] += 1;
    }

    /// Adds those of another shard.
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.steps.iter_mut().zip(&other.steps).for_each(|(step, more)| *step += more);
    }

    /// The latency that `per_mille` of a thousand do not exceed; 0 without any.
    pub fn quantile(&self, per_mille: u64) -> u32 {
        debug_assert_eq!(self.steps.iter().sum::<u64>(), self.latency.count);
        let wanted = (self.latency.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let step = self.steps.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        step.map_or(0, |step| highest_in(step).min(self.latency.max))
    }
}

fn step_of(ms: u32) -> usize {
    if ms < EXACT {
        return ms as usize;
    }
    let power = ms.ilog2();
    let quarter = (ms >> (power - 2)) & 3;
    let step = EXACT + (power - EXACT.ilog2()) * 4 + quarter;
    (step as usize).min(STEPS - 1)
}

/// The largest latency of a step.
fn highest_in(step: usize) -> u32 {
    let step = step as u32;
    if step < EXACT {
        return step;
    }
    let (power, quarter) = ((step - EXACT) / 4 + EXACT.ilog2(), (step - EXACT) % 4);
    ((4 + quarter + 1) << (power - 2)) - 1
}

/// Below this each millisecond is a step.
const EXACT: u32 = 16;
/// The last one takes everything from 14 minutes on.
const STEPS: usize = EXACT as usize + 16 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_step_that_is_not_below_it() {
        for ms in (0..2000).chain([65_535, 65_536, 917_503]) {
            let highest = highest_in(step_of(ms));
            assert!(highest >= ms && highest - ms <= ms / 4, "{ms}: {highest}");
        }
        assert_eq!(step_of(u32::MAX), STEPS - 1);
    }

    #[test]
    fn quantiles_are_those_of_all_shards() {
        let (mut one, mut other) = (LatencySpread::default(), LatencySpread::default());
        (0..990).for_each(|_| one.add(0));
        (0..9).for_each(|_| other.add(7));
        other.add(400);
        one.merge(&other);
        let quantiles = [500, 950, 990, 999, 1000].map(|per_mille| one.quantile(per_mille));
        assert_eq!(quantiles, [0, 0, 0, 7, 400]);
        assert_eq!((one.latency.count, one.latency.sum, one.latency.max), (1000, 463, 400));
        assert_eq!(LatencySpread::default().quantile(999), 0);
    }
}
