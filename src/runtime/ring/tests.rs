//! The ring against real sockets, files and threads.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn this_machine_has_rings() {
    probe().expect("tests need io_uring");
}

#[test]
fn accepts_receives_and_sends_back() {
    let mut ring = ring(RingConfig::default());
    let listener = listener();
    ring.accept(LISTENER, listener.as_fd()).unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"ruok").unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).unwrap();
        answer
    });
    let mut socket = None;
    let buffer = loop {
        match wait(&mut ring) {
            Event::Accepted { listener, socket: accepted } => {
                assert_eq!(listener, LISTENER);
                ring.receive(CONN, accepted.as_fd()).unwrap();
                socket = Some(accepted);
            }
            Event::Received { conn, chunk, armed } => {
                assert!(armed && conn == CONN && &*chunk == b"ruok");
                let socket = socket.as_ref().expect("accepted before it received");
                ring.send(CONN, socket.as_fd(), b"imok".to_vec()).unwrap();
                assert!(ring.sending(CONN.slot));
            }
            Event::Sent { conn, buffer, sent } => {
                assert!(conn == CONN && sent == Ok(4));
                break buffer;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(buffer, b"imok");
    assert!(!ring.sending(CONN.slot));
    assert_eq!(client.join().unwrap(), *b"imok");
    assert!(matches!(
        wait(&mut ring),
        Event::ReceiveStopped { conn: CONN, cause: ReceiveStop::Closed }
    ));
}

#[test]
fn chunks_held_run_the_buffers_dry_and_their_return_lets_receiving_go_on() {
    let mut ring =
        ring(RingConfig { receive_buffers: 2, receive_buffer_bytes: 4, ..RingConfig::default() });
    let (mut near, far) = pair();
    near.write_all(b"abcdefghij").unwrap();
    ring.receive(CONN, far.as_fd()).unwrap();
    let (mut held, mut bytes) = (Vec::new(), Vec::new());
    loop {
        match wait(&mut ring) {
            Event::Received { chunk, .. } => {
                bytes.extend_from_slice(&chunk);
                held.push(chunk);
            }
            Event::ReceiveStopped { cause, .. } => break assert_eq!(cause, ReceiveStop::NoBuffers),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((held.len(), bytes.as_slice()), (2, &b"abcdefgh"[..]));
    assert_eq!(
        (&*held[0], &*held[1]),
        (&b"abcd"[..], &b"efgh"[..]),
        "held bytes are not overwritten"
    );
    held.clear();
    ring.receive(CONN, far.as_fd()).unwrap();
    let Event::Received { chunk, .. } = wait(&mut ring) else { panic!("nothing received") };
    assert_eq!(&*chunk, b"ij");
}

#[test]
fn buffers_come_round_many_times() {
    let mut ring =
        ring(RingConfig { receive_buffers: 4, receive_buffer_bytes: 64, ..RingConfig::default() });
    let (mut near, far) = pair();
    ring.receive(CONN, far.as_fd()).unwrap();
    for round in 0u32..70_000 / 64 {
        near.write_all(&round.to_be_bytes().repeat(16)).unwrap();
        let mut got = Vec::new();
        while got.len() < 64 {
            match wait(&mut ring) {
                Event::Received { chunk, armed, .. } => {
                    got.extend_from_slice(&chunk);
                    assert!(armed);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, round.to_be_bytes().repeat(16));
    }
}

#[test]
fn a_second_send_of_a_slot_is_refused_with_its_buffer() {
    let mut ring = ring(RingConfig::default());
    let (_near, far) = pair();
    ring.send(CONN, far.as_fd(), b"one".to_vec()).unwrap();
    match ring.send(CONN, far.as_fd(), b"two".to_vec()) {
        Err(RingError::SendInFlight { conn, buffer }) => assert!(conn == CONN && buffer == b"two"),
        other => panic!("{other:?}"),
    }
    let Event::Sent { buffer, sent, .. } = wait(&mut ring) else { panic!("not sent") };
    assert_eq!((buffer.as_slice(), sent), (&b"one"[..], Ok(3)));
}

#[test]
fn a_send_larger_than_the_socket_waits_for_its_reader() {
    let mut ring = ring(RingConfig::default());
    let (mut near, far) = pair();
    let sent_bytes = 8 << 20;
    ring.send(CONN, far.as_fd(), vec![7; sent_bytes]).unwrap();
    ring.turn(Wait::Poll).unwrap();
    assert!(ring.next_event().is_none(), "no socket buffer holds 8 MiB");
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; sent_bytes];
        near.read_exact(&mut bytes).unwrap();
        bytes.iter().all(|&byte| byte == 7)
    });
    let Event::Sent { sent, .. } = wait(&mut ring) else { panic!("not sent") };
    assert_eq!(sent, Ok(sent_bytes));
    assert!(reader.join().unwrap());
}

#[test]
fn cancelling_ends_a_receive_and_a_stuck_send() {
    let mut ring = ring(RingConfig::default());
    let (_near, far) = pair();
    ring.receive(CONN, far.as_fd()).unwrap();
    ring.turn(Wait::Poll).unwrap();
    ring.cancel(UserData::new(OpKind::Receive, CONN)).unwrap();
    assert!(matches!(wait(&mut ring), Event::ReceiveStopped { cause: ReceiveStop::Cancelled, .. }));

    ring.send(CONN, far.as_fd(), vec![1; 8 << 20]).unwrap();
    ring.turn(Wait::Poll).unwrap();
    ring.cancel_all(CONN, far.as_fd()).unwrap();
    let Event::Sent { buffer, sent, .. } = wait(&mut ring) else { panic!("not ended") };
    assert_eq!(buffer.len(), 8 << 20);
    assert_ne!(sent, Ok(8 << 20));
}

#[test]
fn a_connection_cut_while_sending_gives_the_buffer_back() {
    let mut ring = ring(RingConfig::default());
    let (near, far) = pair();
    ring.send(CONN, far.as_fd(), vec![1; 8 << 20]).unwrap();
    ring.turn(Wait::Poll).unwrap();
    drop(near);
    let Event::Sent { buffer, sent, .. } = wait(&mut ring) else { panic!("not ended") };
    assert_eq!(buffer.len(), 8 << 20);
    assert_ne!(sent, Ok(8 << 20));
}

#[test]
fn dropping_a_ring_with_work_in_flight_frees_nothing_the_kernel_uses() {
    for _ in 0..20 {
        let mut ring = ring(RingConfig { receive_buffers: 2, ..RingConfig::default() });
        let (mut near, far) = pair();
        ring.receive(CONN, far.as_fd()).unwrap();
        ring.send(CONN, far.as_fd(), vec![3; 4 << 20]).unwrap();
        ring.turn(Wait::Poll).unwrap();
        drop(ring);
        // The peer still reads what had been sent before, and nothing but that.
        far.shutdown(Shutdown::Both).unwrap();
        let mut bytes = Vec::new();
        near.read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 3));
    }
}

#[test]
fn a_wake_before_the_turn_and_one_during_it_both_end_it() {
    let mut ring = ring(RingConfig::default());
    let waker = ring.waker();
    for _ in 0..3 {
        waker.wake();
        ring.turn(Wait::Forever).unwrap();
        assert!(ring.next_event().is_none());
    }
    for _ in 0..100 {
        let waker = waker.clone();
        let other = thread::spawn(move || waker.wake());
        ring.turn(Wait::Forever).unwrap();
        other.join().unwrap();
        while ring.next_event().is_some() {}
        ring.turn(Wait::Poll).unwrap();
    }
}

#[test]
fn no_wake_is_lost_between_two_threads() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut ring = ring(RingConfig::default());
    let waker = ring.waker();
    let pushed = Arc::new(AtomicU64::new(0));
    let taken = Arc::new(AtomicU64::new(0));
    let producer = {
        let (pushed, taken) = (Arc::clone(&pushed), Arc::clone(&taken));
        thread::spawn(move || {
            for n in 1..=20_000 {
                pushed.store(n, Ordering::Release);
                waker.wake();
                while taken.load(Ordering::Acquire) < n {
                    thread::yield_now();
                }
            }
        })
    };
    while taken.load(Ordering::Relaxed) < 20_000 {
        let started = Instant::now();
        ring.turn(Wait::For(Duration::from_secs(5))).unwrap();
        assert!(started.elapsed() < Duration::from_secs(4), "a wake-up was lost");
        while ring.next_event().is_some() {}
        taken.store(pushed.load(Ordering::Acquire), Ordering::Release);
    }
    producer.join().unwrap();
}

#[test]
fn a_spinning_loop_notices_replies_and_wakes_and_sleeps_when_nothing_comes() {
    let mut ring = ring(RingConfig { spin: Duration::from_millis(2), ..RingConfig::default() });
    let (mut near, far) = pair();
    let mut answered = far.try_clone().unwrap();
    ring.receive(CONN, near.as_fd()).unwrap();
    let peer = thread::spawn(move || {
        let mut byte = [0];
        while answered.read_exact(&mut byte).is_ok() {
            answered.write_all(&byte).unwrap();
        }
    });
    for _ in 0..500 {
        near.write_all(b"x").unwrap();
        assert!(matches!(wait(&mut ring), Event::Received { armed: true, .. }));
    }
    let waker = ring.waker();
    let other = thread::spawn(move || waker.wake());
    ring.turn(Wait::Forever).unwrap();
    other.join().unwrap();
    while ring.next_event().is_some() {}
    ring.turn(Wait::Poll).unwrap();
    let started = Instant::now();
    ring.turn(Wait::For(Duration::from_millis(50))).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(49) && ring.next_event().is_none());
    near.shutdown(Shutdown::Both).unwrap();
    drop(far);
    peer.join().unwrap();
}

#[test]
fn a_turn_sleeps_no_longer_than_it_was_told() {
    let mut ring = ring(RingConfig::default());
    let started = Instant::now();
    ring.turn(Wait::For(Duration::from_millis(20))).unwrap();
    let slept = started.elapsed();
    assert!(slept >= Duration::from_millis(19) && slept < Duration::from_secs(2), "{slept:?}");
    ring.turn(Wait::Poll).unwrap();
    assert!(ring.next_event().is_none());
}

#[test]
fn flush_of_a_file_and_of_something_that_is_none() {
    let mut ring = ring(RingConfig::default());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"zxid").unwrap();
    ring.sync(CONN, file.as_fd()).unwrap();
    assert!(matches!(wait(&mut ring), Event::Synced { token: CONN, result: Ok(()) }));
    let (near, _far) = pair();
    ring.sync(CONN, near.as_fd()).unwrap();
    assert!(matches!(wait(&mut ring), Event::Synced { token: CONN, result: Err(Errno::INVAL) }));
}

#[test]
fn close_is_silent_and_the_peer_notices() {
    let mut ring = ring(RingConfig::default());
    let (mut near, far) = pair();
    ring.close(CONN, far.into()).unwrap();
    ring.turn(Wait::Poll).unwrap();
    assert!(ring.next_event().is_none());
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
}

#[test]
fn poll_reports_each_input() {
    let mut ring = ring(RingConfig::default());
    let (mut near, far) = pair();
    ring.poll(CONN, far.as_fd()).unwrap();
    for _ in 0..3 {
        near.write_all(b"x").unwrap();
        assert!(matches!(wait(&mut ring), Event::Readable { token: CONN, armed: true }));
    }
}

#[test]
fn more_operations_than_the_queue_holds_are_all_done() {
    let mut ring = ring(RingConfig { submissions: 8, ..RingConfig::default() });
    let (mut near, far) = pair();
    for slot in 0..1000 {
        ring.send(Token::new(slot, 0), far.as_fd(), vec![9]).unwrap();
    }
    let mut seen = 0;
    while seen < 1000 {
        assert!(matches!(wait(&mut ring), Event::Sent { sent: Ok(1), .. }));
        seen += 1;
    }
    assert!(!ring.overflowed());
    let mut bytes = [0; 1000];
    near.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [9; 1000]);
}

#[test]
fn accepting_ends_when_cancelled_and_can_be_armed_again() {
    let mut ring = ring(RingConfig::default());
    let listener = listener();
    ring.accept(LISTENER, listener.as_fd()).unwrap();
    ring.turn(Wait::Poll).unwrap();
    ring.cancel(UserData::new(OpKind::Accept, LISTENER)).unwrap();
    let Event::AcceptFailed { error, .. } = wait(&mut ring) else { panic!("not cancelled") };
    assert_eq!(error, Errno::CANCELED);
    ring.accept(LISTENER, listener.as_fd()).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(matches!(wait(&mut ring), Event::Accepted { .. }));
}

fn ring(config: RingConfig) -> Ring {
    Ring::new(config).expect("tests need io_uring")
}

/// A burst takes no more descriptors than were asked for: the next connection waits in the backlog.
#[test]
fn each_accept_takes_one_connection() {
    let mut ring = ring(RingConfig::default());
    let listener = listener();
    let clients: Vec<_> =
        (0..5).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
    ring.accept(LISTENER, listener.as_fd()).unwrap();
    ring.accept(Token::new(0, 1), listener.as_fd()).unwrap();
    for _ in 0..10 {
        ring.turn(Wait::For(Duration::from_millis(5))).unwrap();
    }
    let taken = std::iter::from_fn(|| ring.next_event()).count();
    assert_eq!(taken, 2, "of {} connections", clients.len());
}

/// The next event, within a time that no test should need.
fn wait(ring: &mut Ring) -> Event {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(event) = ring.next_event() {
            return event;
        }
        assert!(Instant::now() < deadline, "nothing completes");
        ring.turn(Wait::For(Duration::from_secs(1))).unwrap();
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = listener();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

const LISTENER: Token = Token::new(0, 0);

const CONN: Token = Token::new(3, 1);
