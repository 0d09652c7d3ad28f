//! Whatever comes when, the machines' assertions hold, what one has shown to clients is what all
//! show, and in calm weather all come together.

use super::ensemble::Ensemble;

#[test]
fn members_come_together_whatever_comes_when() {
    let (mut served, mut trees, mut cuts) = (0, 0, 0);
    for seed in 1..=40 {
        let mut ensemble = Ensemble::new(seed, 3);
        (0..1_500).for_each(|_| ensemble.round());
        ensemble.is_calm = true;
        let mut left = 6_000;
        while !ensemble.has_come_together() {
            assert!(left > 0, "seed {seed}: they do not come together");
            left -= 1;
            ensemble.round();
        }
        served += ensemble.committed.len();
        (trees, cuts) = (trees + ensemble.trees, cuts + ensemble.cuts);
    }
    assert!(served > 1_000 && trees > 10 && cuts > 5, "{served}, {trees} trees, {cuts} cuts");
}
