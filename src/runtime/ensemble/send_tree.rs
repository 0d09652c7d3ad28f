//! A tree to a learner that lacks too much: what follows a SNAP packet.
//!
//! The quorum core begins it, under the tree's lock, at the moment of the SNAP; a thread of its own
//! then writes it to the learner's socket, which blocks. In memory is one piece of it.
//!
//! The thread rests after each piece, so that it takes a quarter of a core from those who serve
//! clients, and whoever takes the tree in on the same machine not much more. A tree so large that
//! it would not be there in time is sent with shorter rests; without any where nobody is served, or
//! where much waits for its end.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::snapshot::WireWriter;
use crate::tree::WalkLost;
use crate::zxid::Zxid;

use crate::runtime::SharedTree;
use crate::runtime::clock::thread_figures;
use crate::runtime::tree_walk::{NotNow, TreeWalk};

/// A tree as it was at one moment, to be sent. Until it is sent or dropped, what changes in the
/// tree is put aside for it.
pub struct TreeToSend(TreeWalk);

/// The haste with which a tree is sent.
pub struct Haste<H> {
    /// The time for all of it. Beyond it, and where the nodes that are sent are a smaller part of
    /// all than the time that has passed, the rests are shorter.
    pub within: Duration,
    /// Whether there is no time for rests at all; asked again and again.
    pub hurries: H,
}

/// A tree that has been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTree {
    /// The last transaction in it.
    pub zxid: Zxid,
    pub nodes: u64,
    /// Bytes on the wire, the signature included.
    pub bytes: u64,
    pub took: Duration,
    /// The longest time for which the tree was held.
    pub longest_hold: Duration,
}

impl TreeToSend {
    /// Begins with the tree as it is now. When it is refused, the core may ask again in its next
    /// turn: the SNAP packet may name a zxid before that of the tree, as Apache's does, if what is
    /// committed after the named one follows.
    pub fn begin(tree: &SharedTree) -> Result<Self, NotNow> {
        TreeWalk::begin(tree, false).map(Self)
    }

    /// The last transaction in it.
    pub fn zxid(&self) -> Zxid {
        self.0.head().zxid
    }
}

/// Sends a tree, from the first byte after the SNAP packet to the signature. It waits for `out`;
/// an error of that, or a tree that another took the place of, leaves it unfinished, and the
/// connection is of no use any more.
pub fn send_tree<W: Write, H: Fn() -> bool>(
    tree: TreeToSend,
    out: &mut W,
    haste: Haste<H>,
) -> io::Result<SentTree> {
    let TreeToSend(walk) = tree;
    let (zxid, nodes_all) = (walk.head().zxid, walk.nodes());
    let pace = Pace { haste, began: Instant::now(), nodes_all, rested: thread_figures().worked };
    let mut sender = Sender { out, buffer: Vec::new(), bytes: 0, pace };
    let (nodes, longest_hold) = sender.send(walk)?;
    let took = sender.pace.began.elapsed();
    Ok(SentTree { zxid, nodes, bytes: sender.bytes, took, longest_hold })
}

struct Sender<'a, W, H> {
    out: &'a mut W,
    buffer: Vec<u8>,
    /// Bytes written.
    bytes: u64,
    pace: Pace<H>,
}

impl<W: Write, H: Fn() -> bool> Sender<'_, W, H> {
    /// Returns the number of nodes and the longest hold.
    fn send(&mut self, mut walk: TreeWalk) -> io::Result<(u64, Duration)> {
        while walk.copy_head().map_err(lost)? {
            self.pace.rest(0);
        }
        let head = walk.head();
        WireWriter::new(&mut self.buffer).count(head.sessions.len());
        for session in &head.sessions {
            WireWriter::new(&mut self.buffer).session(session);
            self.flush(PIECE_BYTES)?;
        }
        WireWriter::new(&mut self.buffer).count(head.acls.len());
        for acl in &head.acls {
            WireWriter::new(&mut self.buffer).acl(acl);
            self.flush(PIECE_BYTES)?;
        }
        let mut nodes = 0;
        loop {
            let mut writer = WireWriter::new(&mut self.buffer);
            let goes_on = walk.batch(&mut |path, data, acl_index, stat| {
                writer.node(path, data, acl_index, stat);
                nodes += 1;
            });
            if !goes_on.map_err(lost)? {
                break;
            }
            self.flush(PIECE_BYTES)?;
            self.pace.rest(nodes);
        }
        WireWriter::new(&mut self.buffer).end();
        self.flush(1)?;
        self.out.flush()?;
        Ok((nodes, walk.longest_hold()))
    }

    /// Writes what has gathered, if it is enough.
    fn flush(&mut self, enough: usize) -> io::Result<()> {
        if self.buffer.len() < enough {
            return Ok(());
        }
        self.out.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        Ok(())
    }
}

/// When the thread rests, and for how long.
struct Pace<H> {
    haste: Haste<H>,
    began: Instant,
    /// Nodes of the tree when it was begun, roughly.
    nodes_all: u64,
    /// This thread's work until the end of the last rest.
    rested: Duration,
}

impl<H: Fn() -> bool> Pace<H> {
    /// Waits until what the thread has done is paid for, once that is worth a rest.
    fn rest(&mut self, nodes: u64) {
        let worked = thread_figures().worked.saturating_sub(self.rested);
        if worked < WORK_PER_REST {
            return;
        }
        let rests = self.rests(nodes, self.began.elapsed());
        if rests > 0 {
            thread::sleep(worked * rests);
        }
        self.rested = thread_figures().worked;
    }

    /// The length of a rest when so many nodes were sent after this time, in times of the work
    /// before it.
    fn rests(&self, nodes: u64, after: Duration) -> u32 {
        if (self.haste.hurries)() {
            return 0;
        }
        let in_time = self.haste.within.as_nanos() * u128::from(nodes);
        let is_late = after.as_nanos() * u128::from(self.nodes_all.max(1)) > in_time;
        // At the beginning nobody can be late.
        if is_late && after > LATE_AFTER { RESTS_MIN } else { RESTS }
    }
}

fn lost(lost: WalkLost) -> io::Error {
    io::Error::other(lost)
}

/// Bytes that are written at once: about a batch. Whoever takes them in works no longer at a
/// stretch either.
const PIECE_BYTES: usize = 32 << 10;
/// A batch may bring a node of many megabytes; the memory of that is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;
/// About a batch. Whoever works longer at a stretch is noticed by those who write.
const WORK_PER_REST: Duration = Duration::from_micros(60);
/// Rests in times of the work before them: those of a tree that comes in time, and of one that is
/// late.
const RESTS: u32 = 3;
const RESTS_MIN: u32 = 1;
/// Before this nothing can be said about the time that the whole tree takes.
const LATE_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::data::Acl;
    use crate::tree::Tree;
    use crate::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
    use crate::zxid::SessionId;

    const HURRY: Haste<fn() -> bool> = Haste { within: Duration::MAX, hurries: || true };

    /// A tree that comes in time is sent with long rests, a late one with shorter ones, and none
    /// where there is a hurry.
    #[test]
    fn rests_get_shorter_the_later_it_is() {
        let pace = |hurries| Pace {
            haste: Haste { within: Duration::from_secs(10), hurries: move || hurries },
            began: Instant::now(),
            nodes_all: 1000,
            rested: Duration::ZERO,
        };
        let seconds = Duration::from_secs;
        assert_eq!(pace(false).rests(0, Duration::from_millis(1)), RESTS);
        assert_eq!(pace(false).rests(500, seconds(4)), RESTS);
        assert_eq!(pace(false).rests(500, seconds(6)), RESTS_MIN);
        assert_eq!(pace(false).rests(1000, seconds(11)), RESTS_MIN);
        assert_eq!(pace(true).rests(1000, seconds(1)), 0);
        let empty = Pace { nodes_all: 0, ..pace(false) };
        assert_eq!(empty.rests(0, seconds(1)), RESTS_MIN);
    }

    /// Takes some bytes, and then fails.
    struct Failing(usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let len = bytes.len().min(self.0);
            self.0 -= len;
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Whatever happens to it, nothing is put aside for it afterwards: as many can begin as before.
    #[test]
    fn a_failed_send_ends_its_walk() {
        let tree = SharedTree::new(Tree::new());
        for taken in 0..100 {
            let to_send = TreeToSend::begin(&tree).unwrap();
            let error = send_tree(to_send, &mut Failing(taken), HURRY).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            drop(TreeToSend::begin(&tree).unwrap());
        }
        let all: Vec<_> = std::iter::from_fn(|| TreeToSend::begin(&tree).ok()).collect();
        assert_eq!(TreeToSend::begin(&tree).err(), Some(NotNow::Walks));
        drop(all);
        assert!(TreeToSend::begin(&tree).is_ok());
    }

    #[test]
    fn a_tree_that_was_replaced_is_not_sent() {
        let tree = SharedTree::new(Tree::new());
        let to_send = TreeToSend::begin(&tree).unwrap();
        drop(tree.replace(Tree::new()));
        let other = TreeToSend::begin(&tree).unwrap();
        let mut out = Vec::new();
        assert!(send_tree(to_send, &mut out, HURRY).is_err());
        assert!(!out.ends_with(b"BenWasHere"));
        assert_eq!(send_tree(other, &mut out, HURRY).unwrap().nodes, 4);
        assert!(out.ends_with(b"BenWasHere"));
    }

    /// The choice between the log and the tree rests on how long the tree would be.
    #[test]
    fn the_tree_says_about_how_long_it_is_when_it_is_sent() {
        let mut tree = Tree::new();
        for nth in 1..=2000 {
            let txn = Txn::Create(CreateTxn {
                path: format!("/node{nth}"),
                data: Some(vec![7; nth as usize % 300].into()),
                acl: [Acl::open()].into(),
                kind: CreateKind::Persistent,
                with_stat: false,
                parent_cversion: nth,
            });
            let zxid = Zxid(i64::from(nth));
            tree.apply(&TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms: 1 }, &txn, None);
        }
        let said = tree.snapshot_bytes();
        let to_send = TreeToSend::begin(&SharedTree::new(tree)).unwrap();
        let sent = send_tree(to_send, &mut io::sink(), HURRY).unwrap().bytes;
        assert!(said.abs_diff(sent) < sent / 50, "{said} bytes, and {sent} were sent");
    }
}
