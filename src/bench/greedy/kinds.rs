//! The kinds of greedy clients: what each sends, and what must be there before.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use super::super::BenchError;
use super::super::args::Kind;
use super::super::engine::{Engine, Target};
use super::super::preload::Preload;
use super::super::wire::{Tree, put_bytes};
use super::flood::{Flood, send_all};
use super::{Shared, frames, words};

/// Creates the 100,000 znodes of a tree, unless they are there.
pub(super) fn prepare_tree(server: SocketAddr, tree: &Tree) -> Result<(), BenchError> {
    let mut engine = Engine::connect(&target(server, 1))?;
    let payload = [b'g'; 128];
    Preload { tree, nodes: NODES, batch: 100, payload: &payload, quiet: true }.run(&mut engine)?;
    engine.close()
}

/// Prepares, calls `ready`, and works until it is to stop.
pub(super) fn run(
    kind: Kind,
    server: SocketAddr,
    shared: &Shared,
    ready: impl FnOnce(),
) -> Result<(), BenchError> {
    // Sessions that only hold something; they last as long as this.
    let mut others = match kind {
        Kind::Cons => Engine::connect(&target(server, 1000))?,
        _ => Engine::connect(&target(server, 1))?,
    };
    match kind {
        Kind::Dump => send_all(&mut others, 16, ephemerals("dump"))?,
        Kind::Wchp => send_all(&mut others, 4, watches(&tree()))?,
        _ => {}
    }
    match kind {
        Kind::Dump | Kind::Wchp | Kind::Cons => {
            ready();
            let word = kind
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_owned());
            words::ask(&word, server, shared)?;
            others.close()
        }
        Kind::Sessions => {
            ready();
            words::open_and_close(server, shared)
        }
        Kind::Calm => {
            ready();
            while !shared.stopped() {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        _ => flood(kind, server, shared, ready),
    }
}

fn flood(
    kind: Kind,
    server: SocketAddr,
    shared: &Shared,
    ready: impl FnOnce(),
) -> Result<(), BenchError> {
    let mut engine = Engine::connect(&target(server, 1))?;
    match kind {
        Kind::Ephemerals => send_all(&mut engine, 16, ephemerals("list"))?,
        Kind::Acl => {
            let node = frames::create_with_long_acl(LONG_ACL, ACL_ENTRIES);
            send_all(&mut engine, 1, std::iter::once(node))?;
            send_all(
                &mut engine,
                16,
                (0..ACL_IDS).map(|id| frames::add_auth(&format!("u{id:04}"))),
            )?;
        }
        _ => {}
    }
    let (window, frames) = requests(kind);
    ready();
    // The end of a session with 100,000 ephemerals must not fall into what is measured next.
    let patient = matches!(kind, Kind::Ephemerals);
    engine.run(&mut Flood { frames, shared, next: 0, patient }, window, None)?;
    if patient { engine.close() } else { Ok(()) }
}

/// The requests that are sent without waiting, and their number.
fn requests(kind: Kind) -> (u32, Vec<Vec<u8>>) {
    let tree = tree();
    let some =
        |each: &dyn Fn(&str) -> Vec<u8>| (0..1000).map(|n| each(&tree.node_path(n * 97))).collect();
    match kind {
        Kind::Set => (4000, some(&|path| frames::set(path, &[b's'; 128]))),
        Kind::Get => (4000, some(&|path| frames::read(frames::GET_DATA, path, false))),
        Kind::Count => (200, vec![frames::of_path(frames::GET_ALL_CHILDREN_NUMBER, &tree.root)]),
        Kind::Children => (20, vec![frames::read(frames::GET_CHILDREN, &tree.dir_path(0), false)]),
        Kind::Multi => (
            4,
            vec![frames::multi(frames::MULTI, frames::SET_DATA, FRAME_BYTES, |out, n| {
                frames::put_set(out, &tree.node_path(n % NODES), b"x");
                true
            })],
        ),
        Kind::MultiRead => (
            4,
            vec![frames::multi(frames::MULTI_READ, frames::GET_DATA, FRAME_BYTES, |out, n| {
                put_bytes(out, tree.node_path(n % NODES).as_bytes());
                out.push(0);
                true
            })],
        ),
        Kind::MultiReadOver => (
            1,
            vec![frames::multi(frames::MULTI_READ, frames::GET_CHILDREN, FRAME_BYTES, |out, n| {
                put_bytes(out, tree.dir_path(0).as_bytes());
                out.push(0);
                n < 5000
            })],
        ),
        Kind::Ephemerals => (10, vec![frames::of_path(frames::GET_EPHEMERALS, "/")]),
        Kind::Acl => (20, vec![frames::read(frames::GET_DATA, LONG_ACL, false)]),
        Kind::SetWatches => (SET_WATCHES_FRAMES, watches(&tree).collect()),
        _ => (1, Vec::new()),
    }
}

/// The frames that create 100,000 ephemeral znodes, a hundred to a multi.
pub(super) fn ephemerals(name: &str) -> impl Iterator<Item = Vec<u8>> {
    let root = format!("{}-{name}", tree().root);
    let parent = std::iter::once(frames::create(&root, b"", 0));
    parent.chain((0..NODES / 100).map(move |batch| {
        frames::multi(frames::MULTI, frames::CREATE, FRAME_BYTES, |out, n| {
            frames::put_create(out, &format!("{root}/e{:06}", batch * 100 + n), b"", 1);
            n < 100
        })
    }))
}

/// The frames that watch the 100,000 znodes and as many again that are not there: 8 MB.
pub(super) fn watches(tree: &Tree) -> impl Iterator<Item = Vec<u8>> {
    let mut first = 0;
    (0..SET_WATCHES_FRAMES).map(move |_| {
        let (frame, count) =
            frames::set_watches(SET_WATCHES_BYTES, first, |n| tree.node_path(n % NODES));
        first += count;
        frame
    })
}

/// The tree of 100,000 znodes under one parent that most kinds work on.
pub(super) fn tree() -> Tree {
    Tree { root: "/ringkeeper-greedy".to_owned(), fanout: NODES }
}

/// The same for those who delete it.
pub(super) fn tree_to_delete() -> Tree {
    Tree { root: "/ringkeeper-greedy-delete".to_owned(), fanout: NODES }
}

/// The way that the greedy client's sessions are opened.
pub(super) fn target(server: SocketAddr, sessions: u32) -> Target {
    Target {
        servers: vec![server],
        sessions,
        timeout_ms: 40_000,
        spin: Duration::ZERO,
        echo: false,
        one_by_one: false,
    }
}

/// Znodes of the tree, ephemerals of a session, watches.
pub(super) const NODES: u64 = 100_000;

/// As much as a server takes in one frame, or nearly.
const FRAME_BYTES: usize = 1_000_000;

/// A Java client cuts what it must set again after a reconnect into frames of this size.
const SET_WATCHES_BYTES: usize = 128 << 10;

const SET_WATCHES_FRAMES: u32 = 64;

const LONG_ACL: &str = "/ringkeeper-greedy-acl";

const ACL_ENTRIES: u32 = 10_000;

const ACL_IDS: u32 = 1000;
