//! What a server is at, and what it has in each role.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::disk::{Disk, Job, Shown};
use crate::codes::OpCode;
use crate::packet::{PacketStream, RequestPacket};
use crate::txnlog::Durable;
use crate::zab::{Leading, LearnerConn, Learning, Logged, ServerId};
use crate::zxid::{SessionId, Zxid};

/// What the server is at.
pub(super) enum Role {
    /// A role has ended: what it asked of the disk ends first.
    Resting,
    Looking,
    /// It has a leader and no connection to it yet.
    Dialing {
        leader: ServerId,
        next_at: i64,
        until: i64,
    },
    Leading(Box<LeadingRole>),
    Learning(Box<LearningRole>),
}

/// What a server has while it leads.
pub(super) struct LeadingRole {
    pub(super) machine: Leading,
    pub(super) streams: BTreeMap<LearnerConn, PacketStream>,
    pub(super) committed: Zxid,
    /// Syncs that wait for a quorum's answer, each with the number of the question.
    pub(super) syncs: Vec<(u64, Sync)>,
    /// When a quorum last answered, in milliseconds.
    pub(super) confirmed_ms: i64,
}

/// A client's sync.
#[derive(Clone, Copy)]
pub(super) enum Sync {
    /// Of a client of the leader: what was committed anywhere when it was asked.
    Own(Zxid),
    /// Of a client of a learner.
    Of(LearnerConn),
}

/// What a server has while it learns.
pub(super) struct LearningRole {
    pub(super) machine: Learning,
    pub(super) conn: u64,
    pub(super) stream: PacketStream,
    /// A tree is awaited on the stream, and what has come of it.
    pub(super) is_loading: bool,
    pub(super) tree: Vec<u8>,
    /// What was committed when each sync was asked for, the oldest first.
    pub(super) syncs: VecDeque<Zxid>,
    /// For mistakes: the log has been cut, and what has not been written since.
    pub(super) is_cut: bool,
    pub(super) held: Vec<Logged>,
}

impl LearningRole {
    pub(super) fn new(machine: Learning, conn: u64) -> Self {
        Self {
            machine,
            conn,
            stream: PacketStream::new(1 << 20),
            is_loading: false,
            tree: Vec::new(),
            syncs: VecDeque::new(),
            is_cut: false,
            held: Vec::new(),
        }
    }

    /// A client's sync goes to the leader.
    pub(super) fn sync(&mut self, me: ServerId, committed: Zxid) {
        self.syncs.push_back(committed);
        self.machine.forward(RequestPacket {
            session: SessionId(me.0),
            cxid: 1,
            op: OpCode::SYNC,
            record: Bytes::new(),
            auth: None,
        });
    }

    /// What a tree that has not come whole would look like.
    pub(super) fn partial_tree(&self) -> Option<Shown> {
        let is_partial = self.is_loading && self.tree.len() >= 16;
        is_partial.then(|| Shown { hash: 0, ..tree(&self.tree) })
    }

    /// The disk has done what it was asked for, or has not.
    pub(super) fn on_job(
        &mut self,
        job: Job,
        is_done: bool,
        disk: &mut Disk,
        shown: &mut Shown,
        now_ms: i64,
    ) {
        match job {
            Job::Flush(upto) if !self.holds() => {
                self.machine.on_durable(Durable::recovered(upto), now_ms);
            }
            Job::Flush(_) => {}
            Job::AcceptedEpoch(epoch) => self.machine.on_accepted_epoch(epoch, now_ms),
            Job::CurrentEpoch(epoch) => {
                // It has the leader's history.
                disk.is_unknown = false;
                if mutant!(TruncatedMemoryAhead) {
                    self.held.drain(..).for_each(|logged| disk.append(logged));
                    disk.durable = disk.entries.len();
                }
                self.machine.on_current_epoch(epoch, now_ms);
            }
            Job::Truncate(to) => {
                *shown = disk.end();
                self.is_cut = true;
                self.machine.on_truncated(to, is_done, now_ms);
            }
            Job::Tree(tree) => {
                if is_done {
                    *shown = tree;
                }
                self.machine.on_tree(is_done.then_some(tree.zxid), now_ms);
            }
        }
    }

    /// Takes in what has come of the tree; whether it is whole, and being stored.
    pub(super) fn load(&mut self, disk: &mut Disk, done_at: i64, now_ms: i64) -> bool {
        let rest = self.stream.take_rest();
        self.tree.extend(&rest);
        let is_whole = self.tree.len() >= TREE_BYTES;
        if !rest.is_empty() {
            self.machine.on_tree_bytes(is_whole, now_ms);
        }
        if is_whole {
            self.is_loading = false;
            self.stream.put_back(&self.tree[TREE_BYTES..]);
            disk.ask(Job::Tree(tree(&self.tree)), done_at);
        }
        is_whole
    }

    /// A mistake: transactions of the synchronization are held back (S02, S13).
    pub(super) fn is_late(&self) -> bool {
        if mutant!(DiffLoggedLate) {
            return true;
        }
        self.is_cut && mutant!(TruncatedMemoryAhead)
    }

    /// The same: flushes are not told while some are held back.
    fn holds(&self) -> bool {
        self.is_late() && !self.held.is_empty()
    }
}

/// What the bytes of a tree say.
fn tree(bytes: &[u8]) -> Shown {
    let number = |at: usize| {
        let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
        i64::from_be_bytes(eight.unwrap_or_default())
    };
    Shown { zxid: Zxid(number(0)), hash: number(8) as u64 }
}

/// Zxid, hash, and what stands for the nodes.
pub(super) const TREE_BYTES: usize = 400;
