//! The well-behaved client: one read and one write every 5 ms, one after the other, on a session of
//! its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::super::BenchError;
use super::super::plain::Plain;
use super::super::wire;
use super::frames;

/// The client's thread.
pub(super) struct Probe {
    shared: Arc<Switch>,
    thread: JoinHandle<io::Result<ProbeReport>>,
}

#[derive(Default)]
struct Switch {
    /// Whether it works now; it rests otherwise.
    on: AtomicBool,
    stop: AtomicBool,
}

/// The client's measurements while it worked: latencies in nanoseconds, from sending a request to
/// having its reply. A request that was under way when it was told to rest counts in full.
pub(super) struct ProbeReport {
    pub(super) reads: Histogram<u64>,
    pub(super) writes: Histogram<u64>,
    /// The thread's nice value: below 0 where the system allowed it.
    pub(super) nice: i32,
}

impl Probe {
    /// Opens its session and starts its thread, at rest.
    pub(super) fn start(server: SocketAddr) -> Result<Self, BenchError> {
        let doing = || "the well-behaved client".to_owned();
        let mut client =
            Plain::open(server, SESSION_TIMEOUT_MS).map_err(BenchError::io(doing()))?;
        let created =
            client.ask(&mut frames::create(PATH, &DATA, 0)).map_err(BenchError::io(doing()))?;
        if ![0, frames::NODE_EXISTS].contains(&created) {
            return Err(BenchError::Refused { what: format!("create {PATH}"), code: created });
        }
        let shared = Arc::new(Switch::default());
        let switch = Arc::clone(&shared);
        let thread = thread::spawn(move || work(client, &switch));
        Ok(Probe { shared, thread })
    }

    /// Lets it work, or rest.
    pub(super) fn measure(&self, on: bool) {
        self.shared.on.store(on, Ordering::Relaxed);
    }

    /// Ends it, once its last reply is there.
    pub(super) fn finish(self) -> Result<ProbeReport, BenchError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended =
            self.thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")));
        ended.map_err(BenchError::io("the well-behaved client"))
    }
}

fn work(mut client: Plain, switch: &Switch) -> io::Result<ProbeReport> {
    let histogram = || {
        Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds and digits are in range")
    };
    let mut report = ProbeReport { reads: histogram(), writes: histogram(), nice: first_in_line() };
    let mut read = wire::request(4, |out| {
        wire::put_bytes(out, PATH.as_bytes());
        out.push(0);
    });
    let mut write = frames::set(PATH, &DATA);
    let (mut due, mut pinged) = (Instant::now(), Instant::now());
    while !switch.stop.load(Ordering::Relaxed) {
        if switch.on.load(Ordering::Relaxed) {
            report.reads.saturating_record(timed(&mut client, &mut read)?);
            report.writes.saturating_record(timed(&mut client, &mut write)?);
        } else if pinged.elapsed() > PING_EVERY {
            client.ask(&mut read)?;
            pinged = Instant::now();
        }
        // A turn that took longer is followed by the next at once, not by all that were missed.
        due = (due + PERIOD).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    client.close()?;
    Ok(report)
}

fn timed(client: &mut Plain, frame: &mut [u8]) -> io::Result<u64> {
    let sent = Instant::now();
    match client.ask(frame)? {
        0 => Ok(sent.elapsed().as_nanos() as u64),
        code => Err(io::Error::other(format!("the server answered with error {code}"))),
    }
}

/// Puts this thread before all others, so that its latencies are the server's and not those of the
/// greedy client's thread on the same core. Returns the nice value that it has.
pub(super) fn first_in_line() -> i32 {
    // Needs a privilege; without it the kernel's fair share must do.
    let _ = rustix::process::setpriority_process(None, -20);
    rustix::process::getpriority_process(None).unwrap_or(0)
}

const PATH: &str = "/ringkeeper-probe";

const DATA: [u8; 128] = [b'p'; 128];

const PERIOD: Duration = Duration::from_millis(5);

const PING_EVERY: Duration = Duration::from_secs(5);

const SESSION_TIMEOUT_MS: u32 = 40_000;
