//! Some worlds in every test run.

use super::*;

#[test]
fn worlds_of_whole_servers_keep_their_promises() {
    let (mut commits, mut crashes) = (0, 0);
    for seed in 1..=12 {
        let mut world = Servers::new(seed, 0);
        if let Err(violation) = world.run() {
            panic!("seed {seed}: {:?}: {}", violation.property, violation.what);
        }
        commits += world.commits();
        crashes += world.crashes;
    }
    assert!(commits > 1_000, "{commits} commits");
    assert!(crashes > 50, "{crashes} crashes");
}

/// Rule 10: same seed, same trace.
#[test]
fn a_seed_is_one_world_of_whole_servers() {
    let hash = || {
        let mut world = Servers::new(5, 0);
        let outcome = world.run();
        assert!(outcome.is_ok(), "{outcome:?}");
        world.trace.hash()
    };
    assert_eq!(hash(), hash());
}
