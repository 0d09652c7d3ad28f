//! From proposal to commit: the bytes of the log on their way to the disk, and the answers that
//! wait for them.
//!
//! A proposal's turn comes once the role has committed it and a flush of this server has covered
//! it. The one does not follow from the other: a leader's own disk may be the last of a quorum, or
//! not be needed for it. One flush is in flight at most; what comes meanwhile forms the next group,
//! so that the disk sets the pace and no timer does.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Effect, QuorumConfig};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{Origin, Reply, ShardId};
use crate::room::Room;
use crate::splitmix;
use crate::tree::Known;
use crate::txn::{Txn, TxnDigest, TxnHeader, write_log_record};
use crate::txnlog::{Durable, PendingFlush, begin_entry, end_entry};
use crate::zxid::{SessionId, Zxid};

/// A transaction on its way, and whom its outcome is for.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) header: TxnHeader,
    pub(super) txn: Txn,
    /// The nodes that are known already: of a multi, those of each of its sub-transactions.
    pub(super) known: KnownNodes,
    /// The digest logged with it.
    pub(super) digest: Option<i64>,
    pub(super) answer: Answer,
    /// It ends a session with very many ephemerals, which [`Tree::depart`] applies.
    pub(super) departs: bool,
}

/// The part that [`Tree::apply_known`](crate::tree::Tree::apply_known) need not find out again.
#[derive(Debug)]
pub(super) enum KnownNodes {
    One(Known),
    Each(Vec<Known>),
}

impl KnownNodes {
    /// Nothing is known.
    pub(super) const NOTHING: Self =
        Self::One(Known { node: None, parent: None, digest: None, parent_digest: None });

    pub(super) fn all(&self) -> &[Known] {
        match self {
            Self::One(known) => std::slice::from_ref(known),
            Self::Each(all) => all,
        }
    }
}

/// The receiver of a proposal's outcome.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Nobody: the server's own.
    Nobody,
    Request {
        origin: Origin,
        op: OpCode,
    },
    /// The same where the transaction is an error, and the client is told this one; its connection
    /// goes on.
    Refused {
        origin: Origin,
        op: OpCode,
        err: ErrorCode,
    },
    Session {
        origin: Origin,
        timeout_ms: i32,
    },
}

/// One place in the order of commits.
#[derive(Debug)]
pub(super) enum PipelineEntry {
    Proposal(Proposal),
    /// An answer that is decided, and only waits for its turn.
    Answer {
        after: Zxid,
        /// The round of questions to a quorum that it waits for, 0 for none.
        round: u64,
        shard: ShardId,
        reply: Reply,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pipeline {
    entries: VecDeque<PipelineEntry>,
    /// Encoded entries not yet handed to the shell.
    /// Invariant: there are some exactly if `appended < proposed`.
    bytes: Vec<u8>,
    /// The zxid of the first of them.
    first: Zxid,
    /// The last zxid that has become a log entry. Invariant: no entry of `entries` is after it.
    proposed: Zxid,
    /// The last zxid whose entry was handed to the shell.
    /// Invariant: `durable <= appended <= proposed`.
    appended: Zxid,
    /// The zxid that the flush in flight covers. Invariant: `durable < flushing <= appended`.
    flushing: Option<Zxid>,
    /// The last zxid that a completed flush has covered.
    durable: Durable<Zxid>,
    /// The last zxid that the role has committed. Invariant: `committed <= proposed`; it may be
    /// before `durable` or after it.
    committed: Zxid,
    /// The last round of questions that a quorum has answered.
    confirmed: u64,
    /// A flush has failed: nothing moves from then on, and the invariants above are void.
    failed: bool,
    /// Bytes that the log still takes beyond `bytes`.
    room: u64,
    roll: Roll,
    /// Buffers that came back.
    spare: Vec<Vec<u8>>,
    /// Room of the next group's buffer, where none has come back.
    group_room: Room,
}

impl Pipeline {
    /// Everything up to `durable` is committed.
    pub(super) fn new(config: &QuorumConfig, durable: Durable<Zxid>, seed: u64) -> Self {
        let last = durable.get();
        Self {
            entries: VecDeque::new(),
            bytes: Vec::new(),
            first: last,
            proposed: last,
            appended: last,
            flushing: None,
            durable,
            committed: last,
            confirmed: 0,
            failed: false,
            room: u64::MAX,
            roll: Roll::new(config, seed),
            spare: Vec::new(),
            group_room: Room::new(SPARE_BYTES_MAX),
        }
    }

    /// Encodes a proposal at the end of the log. What its going over a limit asks for goes to
    /// `effects`.
    pub(super) fn propose(&mut self, proposal: Proposal, effects: &mut VecDeque<Effect>) {
        let room = self.room;
        let len = self.put(proposal, effects, |bytes, Proposal { header, txn, digest, .. }| {
            let digest = digest.map(|tree| TxnDigest { version: DIGEST_VERSION, tree });
            write_log_record(bytes, header, txn, digest);
        });
        debug_assert!(len <= room, "{len} bytes were proposed where {room} find room");
    }

    /// A transaction of the leader goes to the end of the log, byte for byte. Whether there is room
    /// is not this server's decision: where there is none, appending fails.
    pub(super) fn log(
        &mut self,
        proposal: Proposal,
        record: &[u8],
        effects: &mut VecDeque<Effect>,
    ) {
        self.put(proposal, effects, |bytes, _| bytes.extend_from_slice(record));
    }

    /// A transaction of the leader that is applied here and not logged: nothing of it is on the
    /// disk, and a start lacks it.
    pub(super) fn pass(&mut self, proposal: Proposal) {
        let zxid = proposal.header.zxid;
        assert!(self.is_settled(), "nothing is logged where something is not");
        assert!(zxid > self.proposed, "zxids only rise");
        (self.first, self.proposed, self.appended) = (zxid, zxid, zxid);
        self.durable = Durable::waived(zxid);
        self.entries.push_back(PipelineEntry::Proposal(proposal));
        self.assert_order();
    }

    /// Returns the length of the entry.
    fn put(
        &mut self,
        proposal: Proposal,
        effects: &mut VecDeque<Effect>,
        encode: impl FnOnce(&mut Vec<u8>, &Proposal),
    ) -> u64 {
        self.assert_order();
        assert!(proposal.header.zxid > self.proposed, "zxids only rise");
        if self.bytes.is_empty() {
            self.first = proposal.header.zxid;
            if self.bytes.capacity() == 0 {
                let new = || Vec::with_capacity(self.group_room.bytes());
                self.bytes = self.spare.pop().unwrap_or_else(new);
            }
        }
        let start = begin_entry(&mut self.bytes);
        encode(&mut self.bytes, &proposal);
        end_entry(&mut self.bytes, start);
        let len = (self.bytes.len() - start) as u64;
        assert!(self.first > self.appended, "what is appended follows what was");
        self.proposed = proposal.header.zxid;
        self.room = self.room.saturating_sub(len);
        self.entries.push_back(PipelineEntry::Proposal(proposal));
        let due = self.roll.note(len);
        if due.new_file {
            effects.extend(self.take_append());
            effects.push_back(Effect::RollLog);
        }
        if due.snapshot {
            effects.push_back(Effect::TakeSnapshot);
        }
        self.assert_order();
        len
    }

    /// An answer that goes out once everything proposed so far is committed.
    pub(super) fn answer(&mut self, shard: ShardId, reply: Reply) {
        self.answer_in_round(0, shard, reply);
    }

    /// The same once a quorum has answered a round of questions, too.
    pub(super) fn answer_in_round(&mut self, round: u64, shard: ShardId, reply: Reply) {
        let after = self.proposed;
        if mutant!(RefusalOvertakes) {
            let after = self.frontier();
            let early = PipelineEntry::Answer { after, round, shard, reply };
            return self.entries.push_front(early);
        }
        self.entries.push_back(PipelineEntry::Answer { after, round, shard, reply });
        self.assert_order();
    }

    /// An answer that goes out once everything up to `after` is committed.
    pub(super) fn answer_after(&mut self, after: Zxid, shard: ShardId, reply: Reply) {
        let at = self.entries.partition_point(|entry| entry.zxid() <= after);
        self.entries.insert(at, PipelineEntry::Answer { after, round: 0, shard, reply });
        self.assert_order();
    }

    /// A quorum has answered all questions up to this round.
    pub(super) fn on_confirmed(&mut self, round: u64) {
        assert!(round >= self.confirmed, "rounds are answered in order");
        self.confirmed = round;
    }

    /// The role has ended: nobody gets an answer any more. What is logged stays.
    pub(super) fn forget_askers(&mut self) {
        self.entries.retain_mut(|entry| match entry {
            PipelineEntry::Proposal(proposal) => {
                proposal.answer = Answer::Nobody;
                true
            }
            PipelineEntry::Answer { .. } => false,
        });
        self.confirmed = 0;
    }

    /// The log and the tree end with `last`: it was cut there, or another tree has taken its place.
    pub(super) fn restart_at(&mut self, last: Durable<Zxid>) {
        assert!(self.is_settled(), "nothing is on its way while the log is cut");
        self.entries.clear();
        let zxid = last.get();
        (self.first, self.proposed, self.appended, self.committed) = (zxid, zxid, zxid, zxid);
        self.durable = last;
        self.assert_order();
    }

    /// Whether all that was proposed is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.flushing.is_none() && self.durable.get() == self.proposed
    }

    /// Whether a transaction up to `zxid` is still to be applied.
    pub(super) fn has_until(&self, zxid: Zxid) -> bool {
        self.entries.front().is_some_and(|entry| entry.zxid() <= zxid)
    }

    /// The next entry whose turn has come.
    pub(super) fn next_committable(&mut self) -> Option<PipelineEntry> {
        if self.entries.front().is_some_and(|entry| self.is_committable(entry)) {
            self.entries.pop_front()
        } else {
            None
        }
    }

    /// The proposal that [`Self::next_committable`] gives next, if it gives one.
    pub(super) fn committable_proposal(&self) -> Option<&Proposal> {
        match self.entries.front() {
            Some(entry @ PipelineEntry::Proposal(proposal)) if self.is_committable(entry) => {
                Some(proposal)
            }
            _ => None,
        }
    }

    /// If that is the end of a session with many ephemerals, it is to depart.
    pub(super) fn depart_next(&mut self, has_many: impl Fn(SessionId) -> bool) {
        if self.has_committable()
            && let Some(PipelineEntry::Proposal(proposal)) = self.entries.front_mut()
            && matches!(proposal.txn, Txn::CloseSession { .. })
        {
            proposal.departs = proposal.departs || has_many(proposal.header.session);
        }
    }

    /// Whether there is such an entry.
    pub(super) fn has_committable(&self) -> bool {
        self.entries.front().is_some_and(|entry| self.is_committable(entry))
    }

    /// Their number.
    pub(super) fn committable(&self) -> usize {
        if !self.has_committable() {
            0
        } else {
            self.entries.partition_point(|entry| entry.zxid() <= self.frontier())
        }
    }

    /// This many bytes more may be proposed.
    pub(super) fn set_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Bytes of entries that are not handed over yet.
    pub(super) fn unappended(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether an entry of this many bytes still finds room.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        !self.failed && self.room >= bytes as u64
    }

    /// Bytes that the log still takes.
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// A flush that covers everything up to `upto` has ended.
    pub(super) fn on_flushed(&mut self, upto: Durable<Zxid>) {
        if self.failed {
            return;
        }
        self.assert_order();
        assert_eq!(self.flushing, Some(upto.get()), "the flush that ends is the one in flight");
        self.flushing = None;
        self.durable = upto;
        self.assert_order();
    }

    /// The role has committed everything up to `upto`.
    pub(super) fn on_committed(&mut self, upto: Zxid) {
        assert!(upto >= self.committed, "{upto} is committed, and {} was", self.committed);
        self.committed = upto;
        self.assert_order();
    }

    /// A flush has failed: what is on the disk is unknown from here on, so nothing more is ever
    /// answered.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.entries.clear();
        self.bytes.clear();
    }

    /// Ends the group of entries that has come together: it is appended, and flushed if no flush is
    /// in flight.
    pub(super) fn end_group(&mut self, effects: &mut VecDeque<Effect>) {
        if self.failed {
            return;
        }
        self.assert_order();
        let append = self.take_append();
        let is_late = mutant!(LateGroupNotFlushed) && append.is_none();
        effects.extend(append);
        if self.flushing.is_none() && self.appended > self.durable.get() && !is_late {
            self.flushing = Some(self.appended);
            effects.push_back(Effect::Flush(PendingFlush::of(self.appended)));
        }
        self.assert_order();
    }

    /// Takes back the buffer of an Append.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last zxid that has become a log entry.
    pub(super) fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The last zxid that a completed flush has covered.
    pub(super) fn durable(&self) -> Zxid {
        self.durable.get()
    }

    /// The last zxid that the role has committed.
    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    /// All up to here is committed and durable here, and may be shown.
    pub(super) fn frontier(&self) -> Zxid {
        self.committed.min(self.durable.get())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    fn is_committable(&self, entry: &PipelineEntry) -> bool {
        let frontier = if mutant!(CommitBeforeFlush) { self.appended } else { self.frontier() };
        let round = match entry {
            PipelineEntry::Proposal(_) => 0,
            PipelineEntry::Answer { round, .. } => *round,
        };
        !self.failed && entry.zxid() <= frontier && round <= self.confirmed
    }

    /// The invariants of the fields.
    fn assert_order(&self) {
        if self.failed {
            return;
        }
        let durable = self.durable.get();
        assert!(durable <= self.appended, "durable {durable}, appended {}", self.appended);
        assert!(
            self.appended <= self.proposed,
            "appended {}, proposed {}",
            self.appended,
            self.proposed
        );
        assert_eq!(
            self.bytes.is_empty(),
            self.appended == self.proposed,
            "what is proposed is appended next"
        );
        let (committed, proposed) = (self.committed, self.proposed);
        assert!(committed <= proposed, "committed {committed}, proposed {proposed}");
        assert!(self.flushing.is_none_or(|upto| durable < upto && upto <= self.appended));
        let last = self.entries.back().map(PipelineEntry::zxid);
        assert!(
            last.is_none_or(|last| last <= self.proposed),
            "nothing waits for what was not proposed"
        );
    }

    fn take_append(&mut self) -> Option<Effect> {
        if self.bytes.is_empty() {
            return None;
        }
        assert!(self.appended < self.first && self.first <= self.proposed, "entries in order");
        self.appended = self.proposed;
        self.group_room.filled(self.bytes.len());
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        Some(Effect::Append { first: self.first, last: self.proposed, bytes })
    }
}

impl PipelineEntry {
    fn zxid(&self) -> Zxid {
        match self {
            Self::Proposal(proposal) => proposal.header.zxid,
            Self::Answer { after, .. } => *after,
        }
    }
}

/// When a snapshot is due: after half a limit and a random half, so that the servers of an ensemble
/// do not all take theirs at once (`SyncRequestProcessor.shouldSnapshot`). And when the log goes
/// over to a new file before the one that it has is full: by a limit of its own alone. Where Apache
/// begins a new file with each snapshot, too, a start reads over what the file has before it, and
/// so do Apache's readers.
#[derive(Debug)]
struct Roll {
    count_max: u64,
    bytes_max: u64,
    file_bytes_max: u64,
    count_limit: u64,
    bytes_limit: u64,
    /// Since the last snapshot fell due.
    count: u64,
    bytes: u64,
    /// Since a new file was last asked for.
    file_bytes: u64,
    random: u64,
}

/// What an entry brings with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    new_file: bool,
    snapshot: bool,
}

impl Roll {
    fn new(config: &QuorumConfig, seed: u64) -> Self {
        let mut roll = Self {
            count_max: config.snap_count.max(2),
            bytes_max: config.snap_size_bytes,
            file_bytes_max: config.log_file_bytes_max,
            count_limit: 0,
            bytes_limit: 0,
            count: 0,
            bytes: 0,
            file_bytes: 0,
            random: seed,
        };
        roll.on_snapshot();
        roll
    }

    /// An entry of this many bytes was written.
    fn note(&mut self, bytes: u64) -> Due {
        self.count += 1;
        self.bytes += bytes;
        self.file_bytes += bytes;
        let snapshot =
            self.count > self.count_limit || (self.bytes_max > 0 && self.bytes > self.bytes_limit);
        if snapshot {
            self.on_snapshot();
        }
        let new_file = self.file_bytes_max > 0 && self.file_bytes > self.file_bytes_max;
        if new_file {
            self.file_bytes = 0;
        }
        Due { new_file, snapshot }
    }

    fn on_snapshot(&mut self) {
        (self.count, self.bytes) = (0, 0);
        self.count_limit = self.half_and_more(self.count_max);
        self.bytes_limit = self.half_and_more(self.bytes_max);
        assert!(self.count_limit >= self.count_max / 2 && self.count_limit < self.count_max);
        assert!(self.bytes_limit <= self.bytes_max, "half, and at most another half");
    }

    fn half_and_more(&mut self, max: u64) -> u64 {
        max / 2 + if max < 2 { 0 } else { splitmix::next(&mut self.random) % (max / 2) }
    }
}

/// The version of digests since 3.6.
const DIGEST_VERSION: i32 = 2;
const SPARE_BUFFERS_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 1 << 20;
