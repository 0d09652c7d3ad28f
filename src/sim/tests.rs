//! The simulated world against itself: seeds that pass, traces that repeat, the model against the
//! production tree.

use super::model::Model;
use super::op::{AclKind, Create, Fill, Mode, Op};
use super::world::World;
use crate::codes::ErrorCode;
use crate::jute::data::Id;
use crate::tree::Tree;
use crate::txn::{Txn, TxnHeader};
use crate::zxid::{SessionId, Zxid};

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

/// A multi in slices may have been judged by its quota before or after what was committed
/// meanwhile, one operation after the other: not the first after it and the second before it.
#[test]
fn a_quota_judges_the_operations_of_a_multi_while_the_tree_moves_on() {
    let user = Id::new("digest", "user");
    let create = |path: &str, data| {
        let (acl, mode) = (AclKind::Open, Mode::Persistent);
        let (sequential, with_stat) = (false, false);
        Op::Create(Create { path: path.to_owned(), data, acl, mode, sequential, with_stat })
    };
    let mut model = Model::at(0);
    model.sessions.insert(1, 1000);
    let apply = |model: &mut Model, op: &Op| {
        let zxid = Zxid(model.zxid + 1);
        let txn = model.decide(op, 1, &[], &user, &[], &Txn::Error(ErrorCode::OK));
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms: 0 };
        assert!(!matches!(txn, Txn::Error(_)), "{op:?} becomes {txn:?}");
        model.apply(&header, &txn, &mut Vec::new());
    };
    // Three nodes are the limit, and there are three.
    let quota = ["", "/zookeeper_limits", "/zookeeper_stats"];
    for path in quota.map(|name| format!("/zookeeper/quota/a{name}")) {
        apply(&mut model, &create(&path, Fill::limits(0)));
    }
    for path in ["/a", "/a/x", "/a/y"] {
        apply(&mut model, &create(path, Fill { byte: 1, len: 1 }));
    }
    let before = model.clone();
    apply(&mut model, &Op::Delete { path: "/a/x".to_owned(), version: -1 });
    let ops = ["/a/1", "/a/2"].map(|path| create(path, Fill { byte: 1, len: 1 }));
    let decide = |shown: &[&Model], became: &Txn| {
        model.decide(&Op::Multi(ops.to_vec()), 1, &[], &user, shown, became)
    };
    let done = decide(&[&model], &Txn::Error(ErrorCode::OK));
    let Txn::Multi(parts) = &done else { panic!("{done:?}") };
    assert!(parts.iter().all(|part| matches!(part, Txn::Create(_))), "there is room for one each");
    let refused = |at: usize| {
        let mut parts = parts.clone();
        parts[at] = Txn::Error(ErrorCode::QUOTA_EXCEEDED);
        parts[at + 1..].fill(Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY));
        Txn::Multi(parts)
    };
    for right in [done.clone(), refused(0)] {
        assert_eq!(decide(&[&before, &model], &right), right);
    }
    assert_eq!(decide(&[&before], &done), refused(0));
    assert_eq!(decide(&[&model], &refused(0)), done);
    assert_eq!(decide(&[&before, &model], &refused(1)), done, "time does not go back");
    assert_eq!(decide(&[&model, &before], &refused(1)), refused(1));
}
