//! The thread of elections beside live servers of Apache ZooKeeper's. It needs Java and takes half a
//! minute, so `tests/apache/ensemble` runs it and `cargo test` does not.

#[path = "support/apache.rs"]
mod apache;
#[path = "support/news.rs"]
mod news;

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use apache::{Apache, tail};
use news::next_news;
use ringkeeper::packet::{Membership, Packet, PacketStream, PeerState, ServerAddress};
use ringkeeper::runtime::ensemble::elections::{Elections, ElectionsConfig, Names, News, Order};
use ringkeeper::runtime::ensemble::ports::{PeerAddresses, PeerListeners};
use ringkeeper::runtime::lane::WakeHandle;
use ringkeeper::zab::{ElectionSettings, Members, ServerId};
use ringkeeper::zxid::Zxid;

/// No other test is at this address.
const HOST: &str = "127.21.3.9";
const BASE: u16 = 22_500;

fn address(id: i64) -> ServerAddress {
    let (quorum_port, election_port) = (BASE + 100 + id as u16, BASE + 200 + id as u16);
    ServerAddress { host: HOST.to_owned(), quorum_port, election_port }
}

/// Server `me` of three.
fn start(me: i64) -> Elections {
    let lines = [1, 2, 3].map(|id| {
        let ServerAddress { quorum_port, election_port, .. } = address(id);
        (format!("server.{id}"), format!("{HOST}:{quorum_port}:{election_port}"))
    });
    let lines = lines.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let config = ElectionsConfig {
        me: ServerId(me),
        members: Members::try_from(&Membership::of_lines(lines).unwrap()).unwrap(),
        addresses: [1, 2, 3].map(|id| (ServerId(id), vec![address(id)])).into(),
        election: ElectionSettings::default(),
        connect_ms: 5_000,
        greeting_ms: 5_000,
        leader_ms: 10_000,
        retry_delay_ms: 100,
        probe_ms: None,
        keep_alive: false,
        networks: Vec::new(),
        names_all_addresses: false,
        names: Names::default(),
    };
    let own = PeerAddresses {
        me: ServerId(me),
        own: vec![address(me)],
        listen_on_all: false,
        bind_tries: 3,
        keep_alive: false,
        observer_master_port: None,
    };
    let listeners = PeerListeners::bind(&own).unwrap();
    Elections::start(config, listeners, Arc::new(WakeHandle::default())).unwrap()
}

fn news_of(elections: &Elections, home: &Path) -> News {
    next_news(elections, || format!("\n1: {}\n2: {}", tail(home, 1), tail(home, 2)))
}

/// Looks until the leader is the one that is wanted: Apache's servers that have just lost theirs say
/// what they did before.
fn elected(elections: &Elections, home: &Path, wanted: i64) -> PeerState {
    let began = Instant::now();
    loop {
        elections.tell(Order::Look { zxid: Zxid::ZERO, epoch: 0, stands: true });
        let news = news_of(elections, home);
        let News::Elected { state, vote, round } = news else { panic!("{news:?}") };
        println!("{state} {vote:?} of round {round} after {} ms", began.elapsed().as_millis());
        if vote.leader == ServerId(wanted) {
            return state;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{vote:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// The first packet of a learner, or of a leader.
fn first_packet(stream: &mut TcpStream) -> Packet {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut packets = PacketStream::new(1 << 20);
    loop {
        if let Some(packet) = packets.next_packet().unwrap() {
            return packet;
        }
        let mut some = [0; 4096];
        let len = stream.read(&mut some).unwrap();
        assert!(len > 0, "the connection has ended");
        packets.push(&some[..len]);
    }
}

#[test]
#[ignore = "needs Java: tests/apache/ensemble"]
fn the_thread_elects_with_apaches_servers() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let apache = |id| Apache::start(home, HOST, id, 3, BASE);

    // Server 3 and one of Apache's have nothing logged: the larger id leads, and the learner comes.
    let first = apache(1);
    let elections = start(3);
    elections.tell(Order::Look { zxid: Zxid::ZERO, epoch: 0, stands: true });
    let news = news_of(&elections, home);
    let News::Elected { state: PeerState::Leading, vote, .. } = news else { panic!("{news:?}") };
    assert_eq!(vote.leader, ServerId(3));
    elections.tell(Order::TakeLearners { is_wanted: true });
    let news = news_of(&elections, home);
    let News::Learner { socket, .. } = news else { panic!("{news:?}") };
    let packet = first_packet(&mut TcpStream::from(socket));
    assert!(matches!(packet, Packet::FollowerInfo { .. }), "{packet:?}");
    drop(elections);

    // Two of Apache's are an ensemble when it comes back: it follows, and reaches their leader.
    let second = apache(2);
    let elections = start(3);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(elected(&elections, home, 2), PeerState::Following);
    elections.tell(Order::Dial { leader: ServerId(2), attempt: 1 });
    let news = news_of(&elections, home);
    assert!(matches!(news, News::LeaderConnected { attempt: 1, .. }), "{news:?}");
    drop(news);

    // Their leader is lost. The other one has a newer history, and leads.
    drop(second);
    assert_eq!(elected(&elections, home, 1), PeerState::Following);
    elections.tell(Order::Dial { leader: ServerId(1), attempt: 2 });
    let news = news_of(&elections, home);
    assert!(matches!(news, News::LeaderConnected { attempt: 2, .. }), "{news:?}");
    assert_eq!(first.complaints(), [""; 0]);
}
