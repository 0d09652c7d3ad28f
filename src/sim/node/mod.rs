//! The simulated server: the machines, the queues between them, and their shell.
//!
//! A core takes its turn as the production shell does: a shard takes the tree, empties its queue,
//! goes on with what waited, takes in bytes; the quorum core empties its queue, starts appends and
//! flushes, and commits: what a batch means to the shards is in their queues before the tree is
//! given back. When turns come is the world's choice.

mod files;
mod member;
mod messages;
mod quorum_turn;
mod settings;
mod shard_turn;

use std::collections::{BTreeMap, VecDeque};

use crate::frontend::{CloseReason, Frontend};
use crate::handoff::{ConnId, LateTouches, ShardId, ToQuorum, ToShard, TouchReport};
use crate::quorum::member::{Member, MemberEffect, PeerConn};
use crate::quorum::{Quorum, Stillness};
use crate::session;
use crate::snapshot::Codec;
use crate::tree::Tree;
use crate::zxid::{Now, SessionId};

use super::defect::Defect;
use super::disk::Disk;
use super::judge::Judge;
use super::lane::Lane;
use super::rng::Rng;
use super::snap::Snap;
use super::store::Store;
use super::swarm::Swarm;
use super::trace::Trace;
use member::NodeMember;
use settings::{frontend_config, quorum_config};

pub(crate) use member::PeerInput;

/// The running server.
#[derive(Debug)]
pub(crate) struct Node {
    pub tree: Tree,
    pub quorum: Quorum,
    /// There where it is a server of an ensemble.
    pub member: Option<Box<NodeMember>>,
    shards: Vec<SimShard>,
    touches: VecDeque<TouchReport>,
    on_the_way: OnTheWay,
    stillness: Stillness,
    /// The shard whose requests are taken first.
    first_shard: usize,
    requests_per_turn: usize,
    codec: Codec,
    pub store: Store,
    pub snap: Option<Snap>,
    /// A flush has failed: the process is about to end.
    pub failed: bool,
    /// Requests wait for the next file of the log.
    stalled: bool,
    /// The disk is at work, and the world knows.
    stepping: bool,
    defect: Option<Defect>,
    /// The latest time that the wall clock has shown; the time of `Defect::WallClockExpiry` alone.
    wall_ms_max: i64,
    links: BTreeMap<(u16, u32, u32), usize>,
    snapshots_wanted: u64,
}

#[derive(Debug)]
struct SimShard {
    front: Frontend,
    late_touches: LateTouches,
    to_quorum: Lane<ToQuorum>,
    /// Messages that found that lane full.
    backlog: VecDeque<ToQuorum>,
    inbox: Lane<ToShard>,
    inputs: VecDeque<(usize, Input)>,
    free_slots: Vec<u32>,
    slots: u32,
}

/// Messages to the shards that are in no lane yet.
#[derive(Debug, Default)]
struct OnTheWay {
    /// Messages that found a lane full, oldest first.
    backlog: VecDeque<(ShardId, ToShard)>,
    /// The messages that a defect hands over too late.
    held_back: Vec<(ShardId, ToShard)>,
}

/// The input of a shard from its connections.
#[derive(Debug)]
pub(crate) enum Input {
    Accept,
    Bytes(Vec<u8>),
    Closed,
    Sent(usize),
}

/// The place of a connection on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub shard: u16,
    pub conn: ConnId,
    pub paused: bool,
}

/// The requests of a turn to the world.
#[derive(Debug)]
pub(crate) enum Out {
    /// Bytes for a client.
    Output(usize, Vec<u8>),
    /// The server ends the connection after its output.
    Close(usize, CloseReason),
    /// A core has something to do.
    WakeShard(usize),
    WakeQuorum,
    /// A flush, or a snapshot, has begun.
    FlushBegun,
    SnapshotBegun,
    /// Something for other servers, for the disk, or about elections.
    Member(MemberEffect),
    /// A tree is on its way to a learner.
    TreeBegun(PeerConn),
    /// A leader's tree has come, and is to be stored.
    StoreTree,
}

/// The state that the turns share with the world.
pub(crate) struct TurnContext<'a> {
    pub now: Now,
    pub check: &'a mut dyn Judge,
    pub disk: &'a mut Disk,
    pub trace: &'a mut Trace,
    pub rng: &'a mut Rng,
    /// By link: where it is served.
    pub places: &'a mut Vec<Option<Place>>,
    pub out: Vec<Out>,
}

impl Node {
    /// A server over a recovered tree; `last_session` is the highest session id that was found.
    pub(crate) fn new(
        swarm: &Swarm,
        tree: Tree,
        store: Store,
        defect: Option<Defect>,
        now: Now,
        last_session: Option<SessionId>,
        seed: u64,
    ) -> Self {
        let quorum = Quorum::new(quorum_config(swarm), &tree, seed, now);
        let first = session::first_id(now.wall_ms, session::SERVER_ID, last_session);
        Self::with(swarm, tree, quorum, store, defect, first, seed)
    }

    /// The same of an ensemble.
    pub(crate) fn member(
        swarm: &Swarm,
        tree: Tree,
        store: Store,
        member: Member,
        now: Now,
        last_session: Option<SessionId>,
        seed: u64,
    ) -> Self {
        let quorum = Quorum::member(quorum_config(swarm), &tree, seed, now);
        let byte = member.server().me.0 as u8;
        let first = session::first_id(now.mono_ms, byte, last_session);
        let mut node = Self::with(swarm, tree, quorum, store, None, first, seed);
        node.member = Some(Box::new(NodeMember::new(member)));
        node
    }

    fn with(
        swarm: &Swarm,
        tree: Tree,
        quorum: Quorum,
        store: Store,
        defect: Option<Defect>,
        first: i64,
        seed: u64,
    ) -> Self {
        let shard = |id| SimShard {
            front: Frontend::new(frontend_config(swarm), ShardId(id), first, seed),
            late_touches: LateTouches::default(),
            to_quorum: Lane::new(swarm.lane_max),
            backlog: VecDeque::new(),
            inbox: Lane::new(swarm.lane_max),
            inputs: VecDeque::new(),
            free_slots: Vec::new(),
            slots: 0,
        };
        Self {
            quorum,
            tree,
            member: None,
            shards: (0..swarm.shards).map(shard).collect(),
            touches: VecDeque::new(),
            on_the_way: OnTheWay::default(),
            stillness: Stillness::default(),
            first_shard: 0,
            requests_per_turn: swarm.requests_per_turn,
            codec: swarm.codec,
            store,
            snap: None,
            failed: false,
            stalled: false,
            stepping: false,
            defect,
            wall_ms_max: i64::MIN,
            links: BTreeMap::new(),
            snapshots_wanted: 0,
        }
    }

    /// Gives an input of a connection to the shard that serves it.
    pub(crate) fn input(&mut self, link: usize, shard: u16, input: Input) {
        self.shards[usize::from(shard)].inputs.push_back((link, input));
    }
}
