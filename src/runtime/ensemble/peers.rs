//! The connections between a leader and its learners, on the quorum core's own ring.
//!
//! What is to be sent waits in order; what has come together goes with one system call, which does
//! not wait. The ring sends what the socket had no room for then: a send of the ring's ends with a
//! completion, and so would cost another turn of the loop each time. Something long, as a tree or a
//! part of the log, is a [`Feed`]: a thread of its own writes it straight to the socket, while what
//! comes after it waits here. The more of that there is, the less time the feed may take.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes};
use crossbeam::queue::SegQueue;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};

use crate::quorum::member::PeerConn;
use crate::runtime::lane::WakeHandle;
use crate::runtime::ring::{
    Event, HIGH_SLOTS, OpKind, ReceiveStop, Ring, RingError, Token, UserData,
};

use super::feed::{Feed, FeedSocket, Progress};

/// What has come from another server.
pub enum FromPeer {
    /// With a buffer that [`Peers::recycle`] takes back.
    Bytes(PeerConn, Vec<u8>),
    /// The connection is gone, and why.
    Gone(PeerConn, String),
}

/// See the module.
pub struct Peers {
    slots: Vec<Slot>,
    slot_of: BTreeMap<PeerConn, u32>,
    last: u64,
    came: VecDeque<FromPeer>,
    /// The ends of feeds.
    fed: Arc<SegQueue<(PeerConn, io::Result<()>)>>,
    waker: Arc<WakeHandle>,
    /// How long a learner may take nothing of a feed.
    patience: Duration,
    /// Connections for which the ring has something to do.
    due: Vec<u32>,
    /// Buffers for what comes.
    received: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    peer: Option<Peer>,
}

struct Peer {
    conn: PeerConn,
    descriptor: OwnedFd,
    address: SocketAddr,
    out: VecDeque<Out>,
    /// Bytes in `out`. Invariant: at most [`UNSENT_BYTES_MAX`], or the connection is closed.
    unsent: usize,
    /// A send is with the ring, or a feed with its thread.
    sending: bool,
    feeding: bool,
    /// Of the feed under way, or the next one.
    progress: Arc<Progress>,
    /// Bytes of feeds that were told as taken.
    taken: u64,
    receiving: bool,
    /// Nothing is received for now.
    paused: bool,
    /// It goes as soon as the ring holds nothing of it.
    is_gone: bool,
    is_due: bool,
    /// The buffer of the last send.
    spare: Vec<u8>,
}

enum Out {
    Bytes(Bytes),
    Feed(Feed),
}

impl Peers {
    /// No connection yet. `waker` wakes the quorum core when a feed has ended; a feed of which
    /// nothing is taken for as long as `patience` fails.
    pub fn new(waker: Arc<WakeHandle>, patience: Duration) -> Self {
        Self {
            slots: Vec::new(),
            slot_of: BTreeMap::new(),
            last: 0,
            came: VecDeque::new(),
            fed: Arc::default(),
            waker,
            patience,
            due: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Takes a connected socket in, which blocks.
    pub fn insert(&mut self, descriptor: OwnedFd, address: SocketAddr) -> PeerConn {
        self.last += 1;
        let conn = PeerConn(self.last);
        let free = self.slots.iter().position(|slot| slot.peer.is_none());
        let nth = free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.slots[nth].peer = Some(Peer {
            conn,
            descriptor,
            address,
            out: VecDeque::new(),
            unsent: 0,
            sending: false,
            feeding: false,
            progress: Arc::default(),
            taken: 0,
            receiving: false,
            paused: false,
            is_gone: false,
            is_due: false,
            spare: Vec::new(),
        });
        self.slot_of.insert(conn, nth as u32);
        self.is_due(nth as u32);
        conn
    }

    /// Where the other end is.
    pub fn address(&self, conn: PeerConn) -> Option<SocketAddr> {
        self.peer(conn).map(|peer| peer.address)
    }

    /// Sends whole packets after all that was sent before.
    pub fn send(&mut self, conn: PeerConn, bytes: Bytes) {
        let Some(nth) = self.slot_of.get(&conn).copied() else { return };
        let Some(peer) = &mut self.slots[nth as usize].peer else { return };
        peer.unsent += bytes.len();
        peer.out.push_back(Out::Bytes(bytes));
        if peer.unsent > UNSENT_BYTES_MAX {
            let why = format!("{} bytes wait for it, and it does not read", peer.unsent);
            return self.gone(conn, why);
        }
        if peer.feeding {
            peer.progress.set_urgent(peer.unsent > URGENT_BYTES);
        }
        self.is_due(nth);
    }

    /// The same for something long.
    pub fn feed(&mut self, conn: PeerConn, feed: Feed) {
        let Some(nth) = self.slot_of.get(&conn).copied() else { return };
        if let Some(peer) = &mut self.slots[nth as usize].peer {
            peer.out.push_back(Out::Feed(feed));
        }
        self.is_due(nth);
    }

    /// The connections that have taken something of a feed since the last call.
    pub fn taking(&mut self) -> Vec<PeerConn> {
        let peers = self.slots.iter_mut().filter_map(|slot| slot.peer.as_mut());
        let taking = peers.filter_map(|peer| {
            let taken = peer.progress.taken();
            let before = std::mem::replace(&mut peer.taken, taken);
            (before != taken && !peer.is_gone).then_some(peer.conn)
        });
        taking.collect()
    }

    /// Nothing more is received from it, or again.
    pub fn pause(&mut self, conn: PeerConn, is_paused: bool) {
        let Some(nth) = self.slot_of.get(&conn).copied() else { return };
        if let Some(peer) = &mut self.slots[nth as usize].peer
            && peer.paused != is_paused
        {
            peer.paused = is_paused;
            self.is_due(nth);
        }
    }

    /// The connection is closed; nothing of it is told from here on.
    pub fn close(&mut self, conn: PeerConn) {
        self.came.retain(|came| !matches!(came, FromPeer::Bytes(from, _) if *from == conn));
        self.end(conn);
    }

    /// The connection is at its end, for the reason that is told after all that has come.
    fn gone(&mut self, conn: PeerConn, why: String) {
        self.came.push_back(FromPeer::Gone(conn, why));
        self.end(conn);
    }

    fn end(&mut self, conn: PeerConn) {
        let Some(nth) = self.slot_of.remove(&conn) else { return };
        if let Some(peer) = &mut self.slots[nth as usize].peer {
            peer.is_gone = true;
            peer.out.clear();
            // Whoever is at work on the socket, a feed among them, ends.
            let _ = shutdown(&peer.descriptor, Shutdown::Both);
            self.is_due(nth);
        }
    }

    /// All connections are closed.
    pub fn close_all(&mut self) {
        let all: Vec<PeerConn> = self.slot_of.keys().copied().collect();
        all.into_iter().for_each(|conn| self.close(conn));
        self.came.clear();
    }

    /// What has come next.
    pub fn poll(&mut self) -> Option<FromPeer> {
        self.came.pop_front()
    }

    /// Takes back the buffer of what has come.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.received.len() < RECEIVED_MAX {
            bytes.clear();
            self.received.push(bytes);
        }
    }

    /// Whether [`Self::poll`] or [`Self::turn`] has something.
    pub fn has_work(&self) -> bool {
        !self.came.is_empty() || !self.fed.is_empty() || !self.due.is_empty()
    }

    /// A completion of the ring, given back if it is none of these connections'.
    pub fn on_event(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Received { conn, chunk, armed } if is_ours(conn) => {
                if let Some((nth, peer)) = self.of_token(conn) {
                    peer.receiving = armed;
                    let conn = peer.conn;
                    if !peer.is_gone {
                        let mut bytes = self.received.pop().unwrap_or_default();
                        bytes.extend_from_slice(&chunk);
                        self.came.push_back(FromPeer::Bytes(conn, bytes));
                    }
                    if !armed {
                        self.is_due(nth);
                    }
                }
            }
            Event::ReceiveStopped { conn, cause } if is_ours(conn) => {
                self.on_receive_stopped(conn, cause);
            }
            Event::Sent { conn, buffer, sent } if is_ours(conn) => {
                self.on_sent(conn, buffer, sent.map_err(io::Error::from));
            }
            other => return Some(other),
        }
        None
    }

    /// Asks the ring for everything that is due.
    pub fn turn(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        while let Some((conn, end)) = self.fed.pop() {
            self.on_fed(conn, end);
        }
        let mut due = std::mem::take(&mut self.due);
        for nth in due.drain(..) {
            self.turn_one(nth, ring)?;
        }
        if self.due.is_empty() {
            self.due = due;
        }
        Ok(())
    }

    fn turn_one(&mut self, nth: u32, ring: &mut Ring) -> Result<(), RingError> {
        let slot = &mut self.slots[nth as usize];
        let name = Token::new(HIGH_SLOTS + nth, slot.generation);
        let Some(peer) = &mut slot.peer else { return Ok(()) };
        peer.is_due = false;
        if peer.is_gone {
            if peer.receiving {
                ring.cancel(UserData::new(OpKind::Receive, name))?;
            }
            if !peer.sending && !peer.feeding && !peer.receiving {
                slot.generation = name.next_generation().generation();
                slot.peer = None;
            }
            return Ok(());
        }
        if peer.paused && peer.receiving {
            ring.cancel(UserData::new(OpKind::Receive, name))?;
        }
        if !peer.paused && !peer.receiving {
            peer.receiving = true;
            ring.receive(name, peer.descriptor.as_fd())?;
        }
        if peer.sending || peer.feeding {
            return Ok(());
        }
        if let Err(error) = peer.send_now() {
            let conn = peer.conn;
            self.gone(conn, error.to_string());
            return Ok(());
        }
        match peer.out.front() {
            None => Ok(()),
            Some(Out::Bytes(_)) => {
                let buffer = peer.take_batch();
                peer.sending = true;
                ring.send(name, peer.descriptor.as_fd(), buffer)
            }
            Some(Out::Feed(_)) => {
                let fed = self.fed.clone();
                peer.begin_feed(self.patience, fed, self.waker.clone());
                Ok(())
            }
        }
    }

    fn on_receive_stopped(&mut self, name: Token, cause: ReceiveStop) {
        let Some((nth, peer)) = self.of_token(name) else { return };
        peer.receiving = false;
        let (conn, is_gone) = (peer.conn, peer.is_gone);
        self.is_due(nth);
        let why = match cause {
            ReceiveStop::Closed => "it has closed the connection".to_owned(),
            ReceiveStop::Failed(error) => error.to_string(),
            ReceiveStop::NoBuffers | ReceiveStop::Cancelled => return,
        };
        if !is_gone {
            self.gone(conn, why);
        }
    }

    fn on_sent(&mut self, name: Token, buffer: Vec<u8>, sent: io::Result<usize>) {
        let Some((nth, peer)) = self.of_token(name) else { return };
        peer.sending = false;
        let is_whole = sent.as_ref().is_ok_and(|sent| *sent == buffer.len());
        let (conn, is_gone) = (peer.conn, peer.is_gone);
        if buffer.capacity() <= SPARE_BYTES_MAX {
            peer.spare = buffer;
        }
        self.is_due(nth);
        if !is_whole && !is_gone {
            let why = sent.err().map_or("it broke off".to_owned(), |error| error.to_string());
            self.gone(conn, why);
        }
    }

    fn on_fed(&mut self, conn: PeerConn, end: io::Result<()>) {
        let of_conn = |slot: &Slot| slot.peer.as_ref().is_some_and(|peer| peer.conn == conn);
        let Some(nth) = self.slots.iter().position(of_conn) else { return };
        let Some(peer) = &mut self.slots[nth].peer else { return };
        peer.feeding = false;
        let is_gone = peer.is_gone;
        self.is_due(nth as u32);
        if let (Err(error), false) = (end, is_gone) {
            self.gone(conn, format!("synchronization: {error}"));
        }
    }

    fn peer(&self, conn: PeerConn) -> Option<&Peer> {
        self.slots[*self.slot_of.get(&conn)? as usize].peer.as_ref()
    }

    fn of_token(&mut self, name: Token) -> Option<(u32, &mut Peer)> {
        let nth = name.slot - HIGH_SLOTS;
        let slot = self.slots.get_mut(nth as usize)?;
        let is_it = slot.generation == name.generation();
        slot.peer.as_mut().filter(|_| is_it).map(|peer| (nth, peer))
    }

    fn is_due(&mut self, nth: u32) {
        if let Some(peer) = &mut self.slots[nth as usize].peer
            && !peer.is_due
        {
            peer.is_due = true;
            self.due.push(nth);
        }
    }
}

impl Peer {
    /// Sends what the socket has room for, up to the next feed, and no more than is done in a
    /// moment. What is left is the ring's.
    fn send_now(&mut self) -> Result<(), Errno> {
        let mut in_all = 0;
        while in_all < AT_ONCE_BYTES_MAX {
            let mut next = self.out.iter().map_while(Out::bytes).fuse().peekable();
            if next.peek().is_none() {
                return Ok(());
            }
            let mut len = 0;
            let parts: [IoSlice<'_>; PARTS_MAX] = std::array::from_fn(|_| {
                let part = next.next().map_or(&[][..], |bytes| &bytes[..]);
                len += part.len();
                IoSlice::new(part)
            });
            let (mut nothing, flags) = (SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
            match sendmsg(&self.descriptor, &parts, &mut nothing, flags | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.forget_sent(sent);
                    in_all += sent;
                    if sent < len {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// So many bytes of the front are with the kernel.
    fn forget_sent(&mut self, mut sent: usize) {
        self.unsent -= sent;
        while let Some(Out::Bytes(bytes)) = self.out.front_mut() {
            if bytes.len() > sent {
                return bytes.advance(sent);
            }
            sent -= bytes.len();
            self.out.pop_front();
        }
        assert_eq!(sent, 0, "what was sent was there");
    }

    /// What has come together, up to the next feed.
    fn take_batch(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        while let Some(Out::Bytes(bytes)) = self.out.front()
            && (buffer.is_empty() || buffer.len() + bytes.len() <= SEND_BYTES_MAX)
        {
            buffer.extend_from_slice(bytes);
            self.unsent -= bytes.len();
            self.out.pop_front();
        }
        buffer
    }

    /// Hands the socket to a thread that writes what comes next.
    fn begin_feed(
        &mut self,
        patience: Duration,
        fed: Arc<SegQueue<(PeerConn, io::Result<()>)>>,
        waker: Arc<WakeHandle>,
    ) {
        let Some(Out::Feed(feed)) = self.out.pop_front() else { return };
        self.feeding = true;
        self.progress.set_urgent(self.unsent > URGENT_BYTES);
        let (conn, socket) = (self.conn, self.descriptor.try_clone());
        let progress = self.progress.clone();
        let (fed_there, waker_there) = (fed.clone(), waker.clone());
        let run = move || {
            let end = socket.and_then(|socket| {
                let mut out = FeedSocket::new(socket, patience, progress)?;
                feed(&mut out)
            });
            fed_there.push((conn, end));
            waker_there.wake();
        };
        if let Err(error) = thread::Builder::new().name("feeder".into()).spawn(run) {
            fed.push((conn, Err(error)));
            waker.wake();
        }
    }
}

impl Out {
    fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Feed(_) => None,
        }
    }
}

fn is_ours(name: Token) -> bool {
    name.slot >= HIGH_SLOTS
}

/// Bytes that may wait for one server: it has stopped reading long before.
const UNSENT_BYTES_MAX: usize = 512 << 20;
/// Parts of one system call that sends.
const PARTS_MAX: usize = 16;
/// Bytes after which no further system call sends in the same turn.
const AT_ONCE_BYTES_MAX: usize = 1 << 20;
/// Buffers that are kept for what comes.
const RECEIVED_MAX: usize = 16;
/// Bytes of one send of the ring, unless the first part is longer.
const SEND_BYTES_MAX: usize = 256 << 10;
/// A send buffer above this size is given back after use.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// Bytes that wait for the end of a feed from which on it should not take its time.
const URGENT_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ring::{RingConfig, Wait};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    struct World {
        ring: Ring,
        peers: Peers,
    }

    impl World {
        fn new() -> Self {
            Self::with(Duration::from_secs(600))
        }

        fn with(patience: Duration) -> Self {
            let ring = Ring::new(RingConfig::default()).unwrap();
            let waker = Arc::new(WakeHandle::default());
            waker.wake_with(ring.waker());
            Self { ring, peers: Peers::new(waker, patience) }
        }

        fn pair(&mut self) -> (PeerConn, TcpStream) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, address) = listener.accept().unwrap();
            (self.peers.insert(ours.into(), address), theirs)
        }

        fn turn(&mut self) {
            self.peers.turn(&mut self.ring).unwrap();
            self.ring.turn(Wait::For(Duration::from_millis(1))).unwrap();
            while let Some(event) = self.ring.next_event() {
                assert!(self.peers.on_event(event).is_none());
            }
        }
    }

    /// What is sent after a feed comes after all of it, and nothing is lost or comes twice.
    #[test]
    fn a_feed_has_its_place_among_what_is_sent() {
        let mut world = World::new();
        let (conn, mut theirs) = world.pair();
        let long: Vec<u8> = (0..3_000_000_u32).map(|nth| nth as u8).collect();
        world.peers.send(conn, Bytes::from_static(b"before"));
        let feed = long.clone();
        world.peers.feed(conn, Box::new(move |out| out.write_all(&feed)));
        world.peers.send(conn, Bytes::from_static(b"after"));
        world.peers.send(conn, Bytes::from_static(b"wards"));
        let expected = [&b"before"[..], &long, b"afterwards"].concat();
        let reader = thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            theirs.read_exact(&mut got).unwrap();
            assert!(got == expected);
        });
        while !reader.is_finished() {
            world.turn();
        }
        reader.join().unwrap();
    }

    /// Many parts, and more than a socket takes at once: all of it comes, in order, with what the
    /// ring has sent in between.
    #[test]
    fn what_finds_no_room_comes_later_and_in_order() {
        let mut world = World::new();
        let (conn, mut theirs) = world.pair();
        let mut expected = Vec::new();
        for nth in 0..300_u32 {
            let part = vec![nth as u8; 1 + (nth as usize * 7919) % 100_000];
            expected.extend_from_slice(&part);
            world.peers.send(conn, part.into());
            if nth % 50 == 0 {
                world.turn();
            }
        }
        let waits = world.peers.peer(conn).unwrap();
        assert!(waits.sending && waits.unsent > 0, "the socket is full");
        let reader = thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            theirs.read_exact(&mut got).unwrap();
            assert!(got == expected);
            theirs
        });
        while !reader.is_finished() {
            world.turn();
        }
        let _theirs = reader.join().unwrap();
        world.turn();
        assert_eq!(world.peers.peer(conn).unwrap().unsent, 0);
    }

    /// A small packet is with the kernel when the turn is over: no completion is awaited.
    #[test]
    fn a_packet_costs_no_completion() {
        let mut world = World::new();
        let (conn, mut theirs) = world.pair();
        world.turn();
        world.peers.send(conn, Bytes::from_static(b"now"));
        world.peers.turn(&mut world.ring).unwrap();
        assert!(!world.peers.has_work() && !world.peers.peer(conn).unwrap().sending);
        let mut got = [0; 3];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"now");
    }

    #[test]
    fn what_comes_is_told_and_so_is_the_end() {
        let mut world = World::new();
        let (conn, mut theirs) = world.pair();
        theirs.write_all(b"hello").unwrap();
        drop(theirs);
        let mut got = Vec::new();
        loop {
            world.turn();
            match world.peers.poll() {
                Some(FromPeer::Bytes(from, chunk)) => {
                    assert_eq!(from, conn);
                    got.extend_from_slice(&chunk);
                }
                Some(FromPeer::Gone(from, _)) => {
                    assert_eq!(from, conn);
                    break;
                }
                None => {}
            }
        }
        assert_eq!(got, b"hello");
    }

    /// A connection that is closed while a feed is stuck in it ends the feed, and its slot is free.
    #[test]
    fn a_feed_that_nobody_reads_ends_with_its_connection() {
        let mut world = World::new();
        let (conn, _theirs) = world.pair();
        world.peers.feed(
            conn,
            Box::new(|out| {
                loop {
                    out.write_all(&[0; 4096])?
                }
            }),
        );
        (0..20).for_each(|_| world.turn());
        world.peers.close(conn);
        while world.peers.slots[0].peer.is_some() {
            world.turn();
        }
        assert!(world.peers.poll().is_none());
    }

    /// Whoever takes nothing more holds what a feed holds for so long and no longer.
    #[test]
    fn a_feed_of_which_nothing_is_taken_fails() {
        let mut world = World::with(Duration::from_millis(50));
        let (conn, mut theirs) = world.pair();
        let held = Arc::new(());
        let of_feed = held.clone();
        world.peers.feed(
            conn,
            Box::new(move |out| {
                let _held = of_feed;
                loop {
                    out.write_all(&[0; 4096])?
                }
            }),
        );
        let mut some = vec![0; 1 << 20];
        while world.peers.taking().is_empty() {
            world.turn();
        }
        theirs.read_exact(&mut some).unwrap();
        let why = loop {
            world.turn();
            match world.peers.poll() {
                Some(FromPeer::Gone(gone, why)) => break (gone, why),
                other => assert!(other.is_none()),
            }
        };
        assert_eq!((why.0, Arc::strong_count(&held)), (conn, 1));
        assert!(why.1.contains("nothing for 50 ms"), "{}", why.1);
        while world.peers.slots[0].peer.is_some() {
            world.turn();
        }
        assert!(world.peers.taking().is_empty());
    }

    /// The more waits for its end, the less time a feed may take.
    #[test]
    fn a_feed_is_urgent_when_much_waits_for_its_end() {
        let mut world = World::new();
        let (conn, _theirs) = world.pair();
        let (told, tell) = std::sync::mpsc::channel();
        world.peers.feed(
            conn,
            Box::new(move |out| {
                told.send(out.progress().clone()).unwrap();
                loop {
                    out.write_all(&[0; 4096])?
                }
            }),
        );
        world.turn();
        let progress = tell.recv().unwrap();
        world.peers.send(conn, Bytes::from(vec![0; URGENT_BYTES]));
        assert!(!progress.is_urgent());
        world.peers.send(conn, Bytes::from_static(b"more"));
        assert!(progress.is_urgent());
        world.peers.close(conn);
    }

    /// A pause stops what comes, and nothing of it is lost.
    #[test]
    fn a_pause_keeps_bytes_in_the_connection() {
        let mut world = World::new();
        let (conn, mut theirs) = world.pair();
        world.turn();
        world.peers.pause(conn, true);
        (0..5).for_each(|_| world.turn());
        theirs.write_all(b"later").unwrap();
        (0..5).for_each(|_| world.turn());
        assert!(world.peers.poll().is_none());
        world.peers.pause(conn, false);
        loop {
            world.turn();
            if let Some(FromPeer::Bytes(_, chunk)) = world.peers.poll() {
                assert_eq!(&chunk[..], b"later");
                break;
            }
        }
    }
}
