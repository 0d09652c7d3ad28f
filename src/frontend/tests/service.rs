//! What a shard does when the server's role ends, and when the next one begins.

use super::*;

impl World {
    fn generations(&mut self) -> Vec<u64> {
        self.front.poll().into_iter().for_each(|effect| self.execute(effect));
        self.pump();
        let joined = self.queue.iter().filter_map(|message| match message {
            ToQuorum::Joined { shard, generation } => {
                assert_eq!(*shard, self.front.shard.id);
                Some(*generation)
            }
            _ => None,
        });
        joined.collect()
    }

    /// Sends a connect request of a new client, which is to be closed without an answer.
    fn is_turned_away(&mut self) -> bool {
        let conn = self.accept();
        self.send(conn, &connect_request(0, 10_000, 0, &[0; 16], Some(false)));
        self.is_closed(conn) && self.got(conn).is_empty()
    }
}

fn serving(generation: u64) -> ToShard {
    ToShard::Serving { generation, read_only: false }
}

/// Without a leader those are served who ask for read-only mode, and are told so.
#[test]
fn clients_that_want_to_write_are_turned_away_in_read_only_mode() {
    let mut world = World::new();
    world.deliver(vec![ToShard::NotServing]);
    world.deliver(vec![ToShard::Serving { generation: 1, read_only: true }]);
    world.pump();
    assert!(world.is_turned_away());
    let old = world.accept();
    world.send(old, &connect_request(0, 10_000, 0, &[0; 16], None));
    assert!(world.is_closed(old), "an old client does not know of the mode");
    let reads = world.accept();
    world.send(reads, &connect_request(0, 10_000, 0, &[0; 16], Some(true)));
    let response = &world.got(reads)[0].body;
    assert_eq!(response.last(), Some(&1), "the mode ends the connect response");
}

/// Idle ones too, and whatever they wait for; words go on.
#[test]
fn all_clients_are_disconnected_when_the_role_ends() {
    let mut world = World::new();
    let [idle, writes, reads, closes] = [(); 4].map(|()| world.connect());
    world.create(idle, "/a");
    world.commits_at_once = false;
    world.send(writes, &request(1, OpCode::SET_DATA, &set_data("/a", b"x")));
    world.send(writes, &request(2, OpCode::GET_DATA, &path_watch("/a", true)));
    world.send(reads, &request(1, OpCode::GET_DATA, &path_watch("/a", true)));
    world.got(reads);
    world.send(closes, &request(1, OpCode::CLOSE_SESSION, &[]));
    let [connects, gone, fresh] = [(); 3].map(|()| world.accept());
    world.send(connects, &connect_request(0, 10_000, 0, &[0; 16], Some(false)));
    world.send(gone, &connect_request(0, 10_000, 0, &[0; 16], Some(false)));
    world.front.on_closed(gone);
    world.send(fresh, b"ru");
    assert_eq!(world.front.report().outstanding, 4);
    world.reasons.clear();
    world.deliver(vec![ToShard::NotServing]);
    world.pump();
    for conn in [idle, writes, reads, closes, connects] {
        assert!(world.is_closed(conn), "{conn:?}");
        assert_eq!(world.got(conn), [], "{conn:?} is told nothing");
    }
    assert_eq!(world.reasons, [CloseReason::NotServing; 5]);
    assert_eq!(world.front.report().outstanding, 0);
    assert_eq!(world.front.report().watches.data, 0);
    assert!(world.is_turned_away());
    world.send(fresh, b"ok");
    assert_eq!(world.words, [(*b"ruok", None)], "words go on");
    world.queue.clear();
    assert!(world.generations().is_empty(), "no role has begun");
}

/// What the next role applies of its own log may never be committed: whoever watches hears nothing
/// of it, though a shard that is late closes its connections after that.
#[test]
fn nobody_hears_of_what_is_applied_after_the_end_of_a_role() {
    let mut world = World::new();
    let clients: Vec<ConnId> = (0..600).map(|_| world.connect()).collect();
    for conn in &clients {
        assert_eq!(world.err(*conn, OpCode::EXISTS, &path_watch("/a", true)), -101);
    }
    let mut items = Vec::new();
    let txn = prepare(&world.tree, OpCode::CREATE, &create("/a", b"", &[Acl::open()], 0));
    world.apply(SessionId(1), 0, &txn, &mut items);
    assert!(matches!(items[..], [BatchItem::Event(_), ..]));
    let zxid = world.tree.last_zxid();
    let adopted = || ToShard::Commit(CommitBatch { zxid, items: items.clone() });
    world.deliver(vec![ToShard::NotServing, adopted()]);
    world.deliver(vec![adopted()]);
    world.pump();
    while world.front.has_work() {
        world.deliver(Vec::new());
        world.pump();
    }
    for conn in clients {
        assert!(world.is_closed(conn), "{conn:?}");
        assert_eq!(world.got(conn), [], "{conn:?} is told nothing");
    }
}

/// A shard says that it serves again after all that it has sent before.
#[test]
fn a_shard_joins_the_next_role_once_nobody_of_the_last_one_is_left() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/a");
    world.commits_at_once = false;
    world.send(conn, &request(2, OpCode::SET_DATA, &set_data("/a", b"x")));
    world.deliver(vec![ToShard::NotServing, serving(5)]);
    world.pump();
    assert!(world.is_closed(conn));
    assert_eq!(world.queue.len(), 2);
    assert!(matches!(world.queue.front(), Some(ToQuorum::Request(_))), "what was asked is before");
    assert_eq!(world.generations(), [5]);
    world.queue.clear();
    world.commits_at_once = true;
    let next = world.connect();
    assert_eq!(world.err(next, OpCode::SET_DATA, &set_data("/a", b"y")), 0);
    // Of two roles in a row the shard hears late.
    let roles = [ToShard::NotServing, serving(6), ToShard::NotServing, serving(7)];
    world.commits_at_once = false;
    world.deliver(roles.into());
    assert_eq!(world.generations(), [7]);
    assert!(world.is_closed(next));
    world.queue.clear();
    world.deliver(vec![ToShard::NotServing]);
    assert!(world.is_turned_away());
    world.deliver(vec![serving(8)]);
    assert_eq!(world.generations(), [8]);
    world.commits_at_once = true;
    world.connect();
}

/// Many connections are closed a part in each turn, and until the last of them is closed
/// nobody is served and no new client is taken.
#[test]
fn a_role_of_many_clients_ends_a_part_in_each_turn() {
    let mut world = World::new();
    let clients: Vec<ConnId> = (0..1_500).map(|_| world.connect()).collect();
    let (first, last) = (clients[0], clients[1_499]);
    world.create(first, "/a");
    let mut messages = vec![ToShard::NotServing, serving(1)].into_iter();
    world.commits_at_once = false;
    let (fresh, mut turns) = (world.accept(), 0);
    while turns == 0 || world.front.has_work() {
        let closed = world.closed.len();
        let hold = world.front.drain(&world.tree, world.now, || messages.next());
        if turns == 1 {
            let mut hold = hold.unwrap();
            let read = request(9, OpCode::GET_DATA, &path_watch("/a", false));
            world.front.on_bytes(last, &read, &mut hold);
            let connect = connect_request(0, 10_000, 0, &[0; 16], Some(false));
            world.front.on_bytes(fresh, &connect, &mut hold);
            world.pump();
            assert!(world.is_closed(fresh) && world.got(fresh).is_empty());
            assert!(world.is_closed(last) && world.got(last).is_empty());
        }
        world.pump();
        let closes = world.closed.len() - closed;
        assert!(closes <= 258, "{closes} in one turn");
        turns += 1;
        assert!(world.closed.len() == 1_501 || world.generations().is_empty());
    }
    assert!(turns >= 6);
    assert_eq!((world.closed.len(), world.generations()), (1_501, vec![1]));
}
