//! The simulated world against itself: seeds that pass, traces that repeat, the model against the
//! production tree.

use super::model::Model;
use super::world::World;
use crate::tree::Tree;

#[test]
fn the_model_of_a_fresh_server_is_its_tree() {
    let (model, tree) = (Model::at(0), Tree::new());
    assert_eq!(model.digest(), tree.digest());
    for (path, node) in &model.nodes {
        let found = tree.get(path).expect("a fresh tree has it");
        assert_eq!((found.persisted(), found.data()), (node.stat, node.data.as_deref()), "{path}");
    }
}

#[test]
fn seeds_keep_all_promises_and_repeat_to_the_byte() {
    let run = |seed| {
        let mut world = World::new(seed, None, 30);
        if let Err(violation) = world.run() {
            let tail: Vec<&str> = world.trace.tail().collect();
            panic!("seed {seed}: {violation:?}\n{}", tail.join("\n"));
        }
        world.trace.hash()
    };
    let hashes: Vec<u64> = (1..=20).map(run).collect();
    assert_eq!(hashes, (1..=20).map(run).collect::<Vec<_>>());
    assert_ne!(hashes[0], hashes[1]);
}
