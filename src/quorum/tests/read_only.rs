//! A member without a leader, where read-only mode is on.

use super::*;
use crate::handoff::NotOpened;
use crate::zab::{QuorumSet, ServerId};

/// What the shards are told next.
fn told(quorum: &mut Quorum) -> Vec<ToShard> {
    let effects = std::iter::from_fn(|| quorum.poll());
    let messages = effects.map(|effect| match effect {
        Effect::ToShard(_, message) => message,
        other => panic!("{other:?}"),
    });
    messages.collect()
}

fn looking(read_only_mode: bool, tree: &Tree, now: Now) -> Quorum {
    let config = QuorumConfig { read_only_mode, local_sessions: true, ..QuorumConfig::default() };
    looking_as(config, tree, now)
}

fn looking_as(config: QuorumConfig, tree: &Tree, now: Now) -> Quorum {
    let mut quorum = Quorum::member(config, tree, 7, now);
    quorum.look(now);
    assert!(matches!(told(&mut quorum)[..], [ToShard::NotServing]));
    quorum
}

#[test]
fn reads_are_answered_once_no_leader_is_found() {
    let (tree, mut now) = (Tree::new(), Now { mono_ms: 50_000, wall_ms: 0 });
    let mut quorum = looking(true, &tree, now);
    now.mono_ms += 1999;
    quorum.on_tick(now);
    assert!(told(&mut quorum).is_empty());
    now.mono_ms += 1;
    quorum.on_tick(now);
    let [ToShard::Serving { generation, read_only: true }] = told(&mut quorum)[..] else {
        panic!("it does not serve")
    };
    assert_eq!(quorum.report().role, RoleName::ReadOnly);
    let conn = ConnId { slot: 0, generation: 0 };
    let origin = Origin { shard: ShardId(0), conn, xid: 3 };
    let (session, timeout_ms) = (SessionId(0x100), 10_000);
    quorum.on_message(ToQuorum::Joined { shard: ShardId(0), generation }, &tree, now);
    quorum.on_message(ToQuorum::CreateSession { origin, session, timeout_ms }, &tree, now);
    quorum.on_message(ToQuorum::Renew { origin, session, timeout_ms }, &tree, now);
    for op in [OpCode::SYNC, OpCode::MULTI, OpCode::CLOSE_SESSION] {
        let (record, auth) = (Bytes::new(), Arc::from([]));
        let request = Request { origin, session, op, record, auth };
        quorum.on_message(ToQuorum::Request(request), &tree, now);
    }
    let all = told(&mut quorum);
    assert!(matches!(all[1], ToShard::Renewed { valid: true, .. }), "this server knows it");
    let items = all.iter().filter_map(|message| match message {
        ToShard::Commit(commit) => Some(&commit.items[0]),
        _ => None,
    });
    let items: Vec<_> = items.collect();
    assert!(matches!(items[0], BatchItem::SessionOpened { .. }));
    let replies = items[1..].iter().map(|item| match item {
        BatchItem::Reply(reply) => (reply.err.0, reply.close),
        other => panic!("{other:?}"),
    });
    assert_eq!(replies.collect::<Vec<_>>(), [(-119, false), (-119, false), (0, true)]);
    assert_eq!(quorum.last_logged(), Zxid::ZERO, "nothing is written");
    quorum.on_message(ToQuorum::Renew { origin, session, timeout_ms }, &tree, now);
    assert!(matches!(told(&mut quorum)[..], [ToShard::Renewed { valid: false, .. }]));
}

/// Whether a session of the ensemble lives, and may begin, is for a leader to say: no answer would
/// be a true one (`RENEW_GLOBAL_SESSION_IN_RO_MODE`).
#[test]
fn sessions_of_the_ensemble_are_sent_away() {
    let (mut tree, [known, unknown]) = (Tree::new(), [0x100, 0x101].map(SessionId));
    let mut now = Now { mono_ms: 50_000, wall_ms: 0 };
    let header = TxnHeader { session: known, cxid: 0, zxid: Zxid(1), time_ms: 0 };
    tree.apply(&header, &Txn::CreateSession { timeout_ms: 10_000 }, None);
    for local_sessions in [false, true] {
        let config =
            QuorumConfig { read_only_mode: true, local_sessions, ..QuorumConfig::default() };
        let mut quorum = looking_as(config, &tree, now);
        now.mono_ms += 2000;
        quorum.on_tick(now);
        let [ToShard::Serving { generation, .. }] = told(&mut quorum)[..] else { panic!() };
        let conn = ConnId { slot: 0, generation: 0 };
        let (origin, timeout_ms) = (Origin { shard: ShardId(0), conn, xid: 0 }, 10_000);
        let create = ToQuorum::CreateSession { origin, session: SessionId(0x102), timeout_ms };
        let renewals =
            [known, unknown].map(|session| ToQuorum::Renew { origin, session, timeout_ms });
        quorum.on_message(ToQuorum::Joined { shard: ShardId(0), generation }, &tree, now);
        for message in renewals.into_iter().chain([create]) {
            quorum.on_message(message, &tree, now);
        }
        let told = told(&mut quorum).into_iter().map(|message| match message {
            ToShard::NotOpened { why: NotOpened::NoLeader, .. } => "away",
            ToShard::Renewed { valid: false, .. } => "expired",
            ToShard::Commit(_) => "opened",
            other => panic!("{other:?}"),
        });
        let expected = if local_sessions { ["away", "expired", "opened"] } else { ["away"; 3] };
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

/// A session that is made then ends as every other when nobody hears of its client.
#[test]
fn sessions_expire_without_a_leader() {
    let (tree, mut now) = (Tree::new(), Now { mono_ms: 50_000, wall_ms: 0 });
    let mut quorum = looking(true, &tree, now);
    let mut advance = |quorum: &mut Quorum, heard_of: &[SessionId]| {
        now.mono_ms += 1000;
        let heard_of: Vec<_> = heard_of.iter().map(|session| (*session, now.mono_ms)).collect();
        quorum.on_touches(&heard_of);
        quorum.on_tick(now);
        if quorum.has_work() {
            quorum.work(&tree, now, &mut Budget::new(u64::MAX));
        }
        (told(quorum), now)
    };
    advance(&mut quorum, &[]);
    let (begun, now) = advance(&mut quorum, &[]);
    let [ToShard::Serving { generation, .. }] = begun[..] else { panic!("it does not serve") };
    let conn = ConnId { slot: 0, generation: 0 };
    let (origin, timeout_ms) = (Origin { shard: ShardId(0), conn, xid: 0 }, 10_000);
    quorum.on_message(ToQuorum::Joined { shard: ShardId(0), generation }, &tree, now);
    let [kept, lost] = [0x100, 0x101].map(SessionId);
    for session in [kept, lost] {
        quorum.on_message(ToQuorum::CreateSession { origin, session, timeout_ms }, &tree, now);
    }
    told(&mut quorum);
    let all = (0..20).flat_map(|_| advance(&mut quorum, &[kept]).0);
    let ended = all.flat_map(|message| match message {
        ToShard::Commit(commit) => commit.items,
        other => panic!("{other:?}"),
    });
    let ended: Vec<_> = ended.collect();
    let [BatchItem::SessionClosed { session }] = ended[..] else { panic!("{ended:?}") };
    assert_eq!(session, lost);
}

/// It ends when there is a leader, and without the setting it does not begin.
#[test]
fn it_ends_with_the_search_for_a_leader() {
    let (tree, mut now) = (Tree::new(), Now { mono_ms: 50_000, wall_ms: 0 });
    let mut quorum = looking(false, &tree, now);
    now.mono_ms += 100_000;
    quorum.on_tick(now);
    assert!(told(&mut quorum).is_empty());
    let mut quorum = looking(true, &tree, now);
    now.mono_ms += 2000;
    quorum.on_tick(now);
    assert!(matches!(told(&mut quorum)[..], [ToShard::Serving { .. }]));
    let voters = [1, 2, 3].map(ServerId).into();
    let majority = QuorumSet::Majority;
    let members =
        Members::new(voters, Default::default(), majority, Zxid::ZERO, Bytes::new()).unwrap();
    let zab = ZabSettings { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 };
    let me = ServerId(1);
    let server = EnsembleServer {
        me,
        members,
        zab,
        syncs: SyncLimits::default(),
        epoch_wait_ms_max: None,
        accepted_epoch: 0,
        current_epoch: 0,
    };
    quorum.learn(&server, false, &tree, now);
    assert!(matches!(quorum.poll(), Some(Effect::ToShard(_, ToShard::NotServing))));
    now.mono_ms += 100_000;
    quorum.on_tick(now);
    assert!(!quorum.is_serving());
}
