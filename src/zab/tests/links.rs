//! The connections for votes by single situations, and over wires that are slow and break.

use super::*;

fn notification(leader: i64) -> Notification {
    looking(leader, Zxid::ZERO, 1, 0)
}

fn link_effects(links: &mut Links) -> Vec<LinkEffect> {
    std::iter::from_fn(|| links.poll()).collect()
}

fn links(me: i64) -> Links {
    Links::new(ServerId(me), vec![format!("h{me}:3888")], members(3, 1), 1_000)
}

fn greeting(id: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let addresses = vec![format!("h{id}:3888")];
    crate::packet::Greeting { server_id: id, addresses }.write(&mut out);
    out
}

fn caller(ids: &[i64]) -> Caller {
    Caller { members: ids.iter().copied().map(ServerId).collect() }
}

/// The connection of the larger id lives: the smaller one greets, hangs up, and is dialled back.
#[test]
fn the_larger_id_dials() {
    let (conn, back) = (VoteConn(1), VoteConn(2));
    let mut small = links(1);
    small.send(ServerId(2), &notification(1));
    assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
    small.on_dialled(ServerId(2), conn, 0);
    let close = LinkEffect::Close { conn, why: CloseLink::Smaller };
    let greets = LinkEffect::Send { conn, bytes: greeting(1).into() };
    assert_eq!(link_effects(&mut small), [greets, close.clone()]);

    let mut large = links(2);
    large.on_accepted(conn, caller(&[1]), 0);
    large.on_bytes(conn, &greeting(1)[..7]);
    assert_eq!(link_effects(&mut large), []);
    large.on_bytes(conn, &greeting(1)[7..]);
    assert_eq!(link_effects(&mut large), [close, LinkEffect::Dial { to: ServerId(1) }]);
    large.on_dialled(ServerId(1), back, 0);

    // What was to be sent goes over the connection that came back.
    small.on_accepted(back, caller(&[2]), 0);
    small.on_bytes(back, &greeting(2));
    let sent = link_effects(&mut small);
    assert!(matches!(&sent[..], [LinkEffect::Send { conn, .. }] if *conn == back), "{sent:?}");
}

/// What was sent over a connection that is lost is said again over the next one: the sender may
/// have nothing new to say for a minute.
#[test]
fn a_lost_connection_is_dialled_again() {
    let (conn, next) = (VoteConn(1), VoteConn(2));
    let mut large = links(2);
    large.send(ServerId(1), &notification(2));
    large.on_dialled(ServerId(1), conn, 0);
    link_effects(&mut large);
    large.on_closed(conn, 5_000);
    assert_eq!(link_effects(&mut large), [LinkEffect::Dial { to: ServerId(1) }]);
    large.on_dialled(ServerId(1), next, 5_000);
    let sent = link_effects(&mut large);
    let on_next =
        |effect: &LinkEffect| matches!(effect, LinkEffect::Send { conn, .. } if *conn == next);
    assert_eq!(sent.iter().filter(|effect| on_next(effect)).count(), 2, "{sent:?}");
    // Where nobody answers it waits until there is something to say.
    large.on_closed(next, 10_000);
    large.on_dial_failed(ServerId(1));
    link_effects(&mut large);
    large.on_closed(next, 15_000);
    assert_eq!((link_effects(&mut large), large.wakes_at()), (vec![], None));
}

/// Somebody who hangs up at once, each time, is dialled once in a second in the end.
#[test]
fn connections_that_do_not_last_are_dialled_ever_more_rarely() {
    let mut large = links(2);
    large.send(ServerId(1), &notification(2));
    link_effects(&mut large);
    let (mut now_ms, mut dials) = (0, 0);
    while now_ms < 60_000 {
        dials += 1;
        let conn = VoteConn(dials);
        large.on_dialled(ServerId(1), conn, now_ms);
        large.on_closed(conn, now_ms);
        assert!(!link_effects(&mut large).contains(&LinkEffect::Dial { to: ServerId(1) }));
        // Something new to say makes it no sooner.
        large.send(ServerId(1), &notification(2));
        assert_eq!(link_effects(&mut large), []);
        now_ms = large.wakes_at().unwrap();
        large.on_time(now_ms);
        assert_eq!(link_effects(&mut large), [LinkEffect::Dial { to: ServerId(1) }]);
    }
    assert!((60..80).contains(&dials), "{dials}");
}

/// A smaller id that has lost its connection looks whether anybody is there. A Ringkeeper is
/// greeted only if it does not dial, anybody else at once (`receiveConnection` warns of who says
/// nothing).
#[test]
fn the_smaller_id_waits_to_be_dialled_again() {
    let (conn, probe, back) = (VoteConn(1), VoteConn(2), VoteConn(3));
    let lost = |is_ringkeeper| {
        let mut small = links(1);
        let mut said = notification(2);
        if is_ringkeeper {
            said.config = Notification::config_of_ringkeeper(&said.config);
        }
        let mut bytes = Vec::new();
        said.write(&mut bytes);
        small.send(ServerId(2), &notification(1));
        small.on_accepted(conn, caller(&[2]), 0);
        small.on_bytes(conn, &greeting(2));
        small.on_bytes(conn, &bytes);
        link_effects(&mut small);
        small.on_dialled(ServerId(2), VoteConn(9), 1);
        let hangs_up = LinkEffect::Close { conn: VoteConn(9), why: CloseLink::Smaller };
        assert_eq!(link_effects(&mut small), [hangs_up], "it is connected: no greeting");
        small.on_closed(conn, 5_000);
        assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
        small
    };
    let mut small = lost(false);
    small.on_dialled(ServerId(2), probe, 5_000);
    assert!(matches!(link_effects(&mut small)[0], LinkEffect::Send { conn, .. } if conn == probe));
    assert_eq!(small.wakes_at(), None, "its answer is awaited");

    let mut small = lost(true);
    small.on_dialled(ServerId(2), probe, 5_000);
    let why = CloseLink::Smaller;
    assert_eq!(link_effects(&mut small), [LinkEffect::Close { conn: probe, why }]);
    small.on_time(small.wakes_at().unwrap());
    assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
    small.on_dialled(ServerId(2), probe, 5_100);
    assert!(matches!(link_effects(&mut small)[0], LinkEffect::Send { conn, .. } if conn == probe));

    let mut small = lost(true);
    small.on_dialled(ServerId(2), probe, 5_000);
    small.on_accepted(back, caller(&[2]), 5_001);
    small.on_bytes(back, &greeting(2));
    link_effects(&mut small);
    small.on_time(60_000);
    assert_eq!((link_effects(&mut small), small.wakes_at()), (vec![], None));
}

/// Two servers that begin, or lose their connection, at the same time: however their dials cross,
/// they come to one connection, after a few.
#[test]
fn crossing_dials_come_to_one_connection() {
    for seed in 0..2_000 {
        let mut wire = Wire::new(seed);
        for round in 0..3 {
            wire.dials = 0;
            for me in [1, 2] {
                wire.links[me].send(ServerId(3 - me as i64), &notification(me as i64));
            }
            wire.run();
            assert!(wire.dials <= 12, "seed {seed}, round {round}: {} dials", wire.dials);
            for me in [1, 2] {
                wire.links[me].send(ServerId(3 - me as i64), &notification(me as i64));
                let sent = link_effects(&mut wire.links[me]);
                assert!(matches!(sent[..], [LinkEffect::Send { .. }]), "seed {seed}: {sent:?}");
            }
            // Whatever there is breaks, after it has lasted or before.
            wire.now_ms += [10, 10_000][round & 1];
            wire.break_all();
        }
    }
}

/// Two servers and what is on the way between them: late, and in order on each connection.
struct Wire {
    random: u64,
    now_ms: i64,
    /// By id; the first is not used.
    links: [Links; 3],
    /// When, at whom, what. Invariant: of one connection and server in order.
    on_the_way: VecDeque<(i64, usize, VoteConn, OnWire)>,
    /// Until when each connection's last arrival is at each server.
    last_ms: BTreeMap<(VoteConn, usize), i64>,
    ended: BTreeSet<(VoteConn, usize)>,
    dials: u64,
    conns: u64,
}

#[derive(Debug)]
enum OnWire {
    Dialled,
    Accepted,
    Bytes(Bytes),
    Closed,
}

impl Wire {
    fn new(seed: u64) -> Self {
        Self {
            random: seed,
            now_ms: 0,
            links: [links(3), links(1), links(2)],
            on_the_way: VecDeque::new(),
            last_ms: BTreeMap::new(),
            ended: BTreeSet::new(),
            dials: 0,
            conns: 0,
        }
    }

    fn put(&mut self, at: usize, conn: VoteConn, what: OnWire) {
        let late_ms = (splitmix::next(&mut self.random) % 8) as i64;
        let last_ms = self.last_ms.entry((conn, at)).or_default();
        *last_ms = (self.now_ms + late_ms).max(*last_ms);
        let when = *last_ms;
        let place = self.on_the_way.partition_point(|(at, ..)| *at <= when);
        self.on_the_way.insert(place, (when, at, conn, what));
    }

    /// Until nothing is on the way and nobody waits.
    fn run(&mut self) {
        loop {
            (1..=2).for_each(|me| self.carry_out(me));
            let wakes = (1..=2).filter_map(|me| self.links[me].wakes_at()).min();
            let arrives = self.on_the_way.front().map(|(when, ..)| *when);
            let Some(next_ms) = wakes.into_iter().chain(arrives).min() else { return };
            self.now_ms = self.now_ms.max(next_ms);
            if let Some((_, at, conn, what)) =
                self.on_the_way.pop_front_if(|(when, ..)| *when <= self.now_ms)
            {
                self.arrive(at, conn, what);
            }
            (1..=2).for_each(|me| self.links[me].on_time(self.now_ms));
        }
    }

    fn arrive(&mut self, at: usize, conn: VoteConn, what: OnWire) {
        if self.ended.contains(&(conn, at)) {
            return;
        }
        let other = ServerId(3 - at as i64);
        let links = &mut self.links[at];
        match what {
            OnWire::Dialled => links.on_dialled(other, conn, self.now_ms),
            OnWire::Accepted => {
                links.on_accepted(conn, Caller { members: vec![other] }, self.now_ms);
            }
            OnWire::Bytes(bytes) => links.on_bytes(conn, &bytes),
            OnWire::Closed => {
                self.ended.insert((conn, at));
                links.on_closed(conn, self.now_ms);
            }
        }
    }

    fn carry_out(&mut self, me: usize) {
        while let Some(effect) = self.links[me].poll() {
            match effect {
                LinkEffect::Dial { .. } => {
                    self.dials += 1;
                    self.conns += 1;
                    let conn = VoteConn(self.conns);
                    self.put(3 - me, conn, OnWire::Accepted);
                    self.put(me, conn, OnWire::Dialled);
                }
                LinkEffect::Send { conn, bytes } => self.put(3 - me, conn, OnWire::Bytes(bytes)),
                LinkEffect::Close { conn, .. } => {
                    self.ended.insert((conn, me));
                    self.put(3 - me, conn, OnWire::Closed);
                }
                LinkEffect::Received { .. } | LinkEffect::Peer { .. } => {}
            }
        }
    }

    fn break_all(&mut self) {
        for conn in (1..=self.conns).map(VoteConn) {
            [1, 2].into_iter().for_each(|at| self.put(at, conn, OnWire::Closed));
        }
    }
}

/// Whoever is no member, or calls itself one from elsewhere, gets nothing and takes nothing down
/// (B29).
#[test]
fn strangers_take_no_connection_down() {
    let mut large = links(2);
    let live = VoteConn(1);
    large.on_accepted(live, caller(&[3]), 0);
    large.on_bytes(live, &greeting(3));
    link_effects(&mut large);
    for (number, id, from) in
        [(2, 9, caller(&[])), (3, 3, caller(&[])), (4, 1, caller(&[3])), (5, 2, caller(&[2]))]
    {
        let conn = VoteConn(number);
        large.on_accepted(conn, from, 0);
        large.on_bytes(conn, &greeting(id));
        let why = CloseLink::Stranger { id };
        assert_eq!(link_effects(&mut large), [LinkEffect::Close { conn, why }]);
    }
    large.send(ServerId(3), &notification(3));
    let sent = link_effects(&mut large);
    assert!(matches!(&sent[..], [LinkEffect::Send { conn, .. }] if *conn == live), "{sent:?}");
}

/// Callers that say nothing are bounded in number and time; bad lengths end a connection, bad
/// messages do not (S50: ZOOKEEPER-3769).
#[test]
fn hostile_bytes_end_their_own_connection_at_most() {
    let mut links = links(2);
    for number in 0..1_000 {
        links.on_accepted(VoteConn(number), caller(&[3]), 0);
    }
    let closed = link_effects(&mut links);
    let oldest = LinkEffect::Close { conn: VoteConn(0), why: CloseLink::Silent };
    assert_eq!((closed.len(), &closed[0]), (936, &oldest));
    // A server that comes among them is heard.
    links.on_bytes(VoteConn(999), &greeting(3));
    assert_eq!(links.server_at(VoteConn(999)), Some(ServerId(3)));
    assert_eq!((links.server_at(VoteConn(998)), links.wakes_at()), (None, Some(1_000)));
    link_effects(&mut links);
    links.on_time(1_000);
    assert_eq!((link_effects(&mut links).len(), links.wakes_at()), (63, None));
    let conn = VoteConn(5_000);
    links.on_accepted(conn, caller(&[3]), 0);
    links.on_bytes(conn, &greeting(3));
    link_effects(&mut links);
    links.on_bytes(conn, &[0, 0, 0, 3, 1, 2, 3]);
    assert_eq!(link_effects(&mut links), []);
    let mut bytes = Vec::new();
    notification(3).write(&mut bytes);
    links.on_bytes(conn, &bytes);
    let got = link_effects(&mut links);
    assert!(matches!(&got[..], [LinkEffect::Received { from: ServerId(3), .. }]), "{got:?}");
    for len in [0i32, -1, (512 << 10) + 1, i32::MAX] {
        let conn = VoteConn(6_000 + i64::from(len) as u64 % 1_000);
        links.on_accepted(conn, caller(&[3]), 0);
        links.on_bytes(conn, &greeting(3));
        link_effects(&mut links);
        links.on_bytes(conn, &len.to_be_bytes());
        let why = CloseLink::Length { len };
        assert_eq!(link_effects(&mut links), [LinkEffect::Close { conn, why }]);
    }
}
