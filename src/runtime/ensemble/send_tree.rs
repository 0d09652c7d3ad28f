//! A tree to a learner that lacks too much: what follows a SNAP packet.
//!
//! The quorum core begins it, under the tree's lock, at the moment of the SNAP; a thread of its own
//! then writes it to the learner's socket, which blocks. In memory is one piece of it. The thread
//! rests for as long as it has worked, so that it takes at most half a core from those who serve
//! clients.

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
pub fn send_tree(tree: TreeToSend, out: &mut impl Write) -> io::Result<SentTree> {
    let started = Instant::now();
    let TreeToSend(walk) = tree;
    let zxid = walk.head().zxid;
    let rested = thread_figures().worked;
    let mut sender = Sender { out, buffer: Vec::new(), bytes: 0, rested };
    let (nodes, longest_hold) = sender.send(walk)?;
    Ok(SentTree { zxid, nodes, bytes: sender.bytes, took: started.elapsed(), longest_hold })
}

struct Sender<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    /// Bytes written.
    bytes: u64,
    /// This thread's work until the end of the last rest.
    rested: Duration,
}

impl<W: Write> Sender<'_, W> {
    /// Returns the number of nodes and the longest hold.
    fn send(&mut self, mut walk: TreeWalk) -> io::Result<(u64, Duration)> {
        while walk.copy_head().map_err(lost)? {
            self.rest();
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
            self.rest();
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

    /// Waits for as long as the thread has worked, once that is worth a rest.
    fn rest(&mut self) {
        let worked = thread_figures().worked.saturating_sub(self.rested);
        if worked >= WORK_PER_REST {
            thread::sleep(worked);
            self.rested = thread_figures().worked;
        }
    }
}

fn lost(lost: WalkLost) -> io::Error {
    io::Error::other(lost)
}

/// Bytes that are written at once: a few batches.
const PIECE_BYTES: usize = 128 << 10;
/// A batch may bring a node of many megabytes; the memory of that is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;
/// About a batch. Whoever works longer at a stretch is noticed by those who write.
const WORK_PER_REST: Duration = Duration::from_micros(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

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
            let error = send_tree(to_send, &mut Failing(taken)).unwrap_err();
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
        assert!(send_tree(to_send, &mut out).is_err());
        assert!(!out.ends_with(b"BenWasHere"));
        assert_eq!(send_tree(other, &mut out).unwrap().nodes, 4);
        assert!(out.ends_with(b"BenWasHere"));
    }
}
