//! Several walks of one tree, and what ends them.

use super::super::walk::{WALKS_MAX, WalkLost};
use super::*;

/// The paths and data that the walk gives out from where it is.
fn rest_of(tree: &mut Tree, walk: WalkId, head: &mut SnapshotHead) -> Vec<(String, Vec<u8>)> {
    while tree.copy_head(walk, head, 100).unwrap() {}
    let mut nodes = Vec::new();
    loop {
        let mut sink = |path: &str, data: Option<&[u8]>, _, _: &StatPersisted| {
            nodes.push((path.to_owned(), data.unwrap_or_default().to_vec()));
        };
        match tree.snapshot_batch(walk, 1, &mut sink).unwrap() {
            Some(cursor) => tree.advance_snapshot(walk, cursor),
            None => break,
        }
    }
    drop(tree.end_snapshot(walk));
    nodes
}

fn data_of<'a>(nodes: &'a [(String, Vec<u8>)], path: &str) -> Option<&'a str> {
    let found = nodes.iter().find(|(of, _)| of == path);
    found.map(|(_, data)| std::str::from_utf8(data).unwrap())
}

#[test]
fn as_many_walks_as_may_be_each_show_their_moment() {
    let mut driven = Driven::new();
    driven.create("/a");
    let texts = ["0", "1", "2", "3", "4", "5", "6", "7"];
    assert_eq!(texts.len(), WALKS_MAX);
    let mut walks = Vec::new();
    for text in texts {
        driven.apply(&set_data("/a", Some(text), 0));
        walks.push(driven.tree.begin_snapshot().unwrap());
    }
    assert!(driven.tree.begin_snapshot().is_none());
    driven.apply(&delete("/a"));
    driven.create("/b");
    // The node that was deleted is put aside once for those that see it alike: the last one alone.
    for (text, (walk, mut head)) in texts.into_iter().zip(walks) {
        let nodes = rest_of(&mut driven.tree, walk, &mut head);
        assert_eq!((data_of(&nodes, "/a"), data_of(&nodes, "/b")), (Some(text), None));
    }
    assert!(driven.tree.begin_snapshot().is_some());
}

/// What has passed a node pays nothing for it any more, and nobody keeps anything at the end.
#[test]
fn an_image_is_kept_for_those_alone_that_have_not_passed_the_node() {
    let mut driven = Driven::new();
    driven.create("/a");
    let (first, mut first_head) = driven.tree.begin_snapshot().unwrap();
    let (second, mut second_head) = driven.tree.begin_snapshot().unwrap();
    while driven.tree.copy_head(first, &mut first_head, 100).unwrap() {}
    driven.tree.advance_snapshot(first, u32::MAX);
    driven.apply(&set_data("/a", Some("new"), 1));
    let kept = |tree: &Tree, walk: WalkId| tree.images_kept(walk);
    // The node itself; its parent is not changed.
    assert_eq!((kept(&driven.tree, first), kept(&driven.tree, second)), (Some(0), Some(1)));
    let (third, mut third_head) = driven.tree.begin_snapshot().unwrap();
    driven.apply(&delete("/a"));
    // The node and its parent, for the third; the parent for the second.
    assert_eq!((kept(&driven.tree, second), kept(&driven.tree, third)), (Some(2), Some(2)));
    let nodes = rest_of(&mut driven.tree, second, &mut second_head);
    assert_eq!(data_of(&nodes, "/a"), Some("data"));
    let nodes = rest_of(&mut driven.tree, third, &mut third_head);
    assert_eq!(data_of(&nodes, "/a"), Some("new"));
    assert_eq!(driven.tree.snapshot_batch(third, 1, &mut |_, _, _, _| {}), Err(WalkLost));
}

/// A walk of a tree whose place another took finds no walk there, whoever walks that one.
#[test]
fn a_walk_ends_with_its_tree() {
    let mut before = Tree::new();
    let (lost, mut head) = before.begin_snapshot().unwrap();
    let mut tree = Tree::new();
    tree.succeed(&before);
    let (walk, _) = tree.begin_snapshot().unwrap();
    assert_ne!(walk, lost);
    assert_eq!(tree.copy_head(lost, &mut head, 1), Err(WalkLost));
    assert_eq!(tree.snapshot_batch(lost, 1, &mut |_, _, _, _| {}), Err(WalkLost));
    tree.advance_snapshot(lost, 1);
    drop(tree.end_snapshot(lost));
    assert!(tree.copy_head(walk, &mut head, 1).is_ok(), "it is another's");
}

#[test]
#[should_panic(expected = "between two transactions")]
fn no_walk_begins_amid_a_multi() {
    let mut driven = Driven::new();
    let header = driven.header();
    let txns = [create("/a", CreateKind::Persistent), create("/b", CreateKind::Persistent)];
    let mut parts = MultiParts::default();
    let part = driven.tree.apply_part(&header, (&txns, &[]), &mut parts, None, |_| true);
    assert!(part.is_none());
    driven.tree.begin_snapshot();
}

/// A walk that begins while nodes of a session that has departed are still there shows none of
/// them; one that has begun before shows all.
#[test]
fn departed_nodes_are_of_the_time_before() {
    let mut driven = Driven::new();
    let paths = ["/a", "/b", "/c"];
    for path in paths {
        driven.apply(&create(path, CreateKind::Ephemeral));
    }
    let (before, mut before_head) = driven.tree.begin_snapshot().unwrap();
    let header = driven.header();
    driven.tree.depart(&header);
    assert_eq!(driven.tree.reap(1), 1);
    let (after, mut after_head) = driven.tree.begin_snapshot().unwrap();
    assert!(!driven.tree.is_reaping());
    let shown = rest_of(&mut driven.tree, before, &mut before_head);
    assert!(paths.iter().all(|path| data_of(&shown, path) == Some("data")));
    let shown = rest_of(&mut driven.tree, after, &mut after_head);
    assert!(paths.iter().all(|path| data_of(&shown, path).is_none()));
}
