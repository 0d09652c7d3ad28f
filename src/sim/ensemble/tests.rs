//! Some worlds in every test run.

use super::*;

#[test]
fn worlds_keep_their_promises() {
    let mut commits = 0;
    for seed in 1..=20 {
        let mut world = Ensemble::new(seed, 0);
        if let Err(violation) = world.run() {
            panic!("seed {seed}: {violation}");
        }
        commits += world.commits();
    }
    assert!(commits > 1_000, "{commits} commits");
}

/// Rule 10: same seed, same trace.
#[test]
fn a_seed_is_one_world() {
    let hash = || {
        let mut world = Ensemble::new(7, 0);
        world.run().unwrap();
        world.trace().hash()
    };
    assert_eq!(hash(), hash());
}
