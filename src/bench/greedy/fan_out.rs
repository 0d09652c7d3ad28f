//! Fan-out: one znode that thousands of sessions watch is changed; how long does the writer wait
//! for its own reply, and how long does the last session wait for its event?

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::super::BenchError;
use super::super::args::FanOutArgs;
use super::super::engine::Engine;
use super::super::plain::Plain;
use super::flood::send_all;
use super::kinds::target;
use super::{frames, median, probe, raise_file_limit, rounds};

/// Runs the rounds and prints their medians and the worst of them.
pub(in super::super) fn run(args: &FanOutArgs) -> Result<(), BenchError> {
    raise_file_limit();
    let mut watchers = Engine::connect(&target(args.server, args.watchers))?;
    let mut writer = Plain::open(args.server, 40_000).map_err(BenchError::io("the writer"))?;
    let created =
        writer.ask(&mut frames::create(PATH, b"", 0)).map_err(BenchError::io("the writer"))?;
    if ![0, frames::NODE_EXISTS].contains(&created) {
        return Err(BenchError::Refused { what: format!("create {PATH}"), code: created });
    }
    let (go, may_go) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || write(writer, &may_go, &tell));
    let (mut replies, mut lasts) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let watch = || frames::read(frames::GET_DATA, PATH, true);
        send_all(&mut watchers, 1, std::iter::repeat_with(watch).take(args.watchers as usize))?;
        thread::sleep(REST);
        let gone = |_| BenchError::Option("the writer's thread has ended".to_owned());
        go.send(()).map_err(|_| gone(mpsc::RecvError))?;
        rounds::listen(&mut watchers, u64::from(args.watchers))?;
        let last = Instant::now();
        let wrote = told.recv().map_err(gone)?.map_err(BenchError::io("the writer"))?;
        replies.push(wrote.replied.duration_since(wrote.sent).as_secs_f64() * 1e3);
        lasts.push(last.duration_since(wrote.sent).as_secs_f64() * 1e3);
    }
    print(args, &replies, &lasts);
    Ok(())
}

/// When the write went out and when its reply was there.
struct Wrote {
    sent: Instant,
    replied: Instant,
}

/// Changes the znode each time it is told to.
fn write(mut writer: Plain, may_go: &Receiver<()>, tell: &Sender<std::io::Result<Wrote>>) {
    probe::first_in_line();
    let mut set = frames::set(PATH, &[b'w'; 16]);
    while may_go.recv().is_ok() {
        let sent = Instant::now();
        let wrote = writer.ask(&mut set).map(|_| Wrote { sent, replied: Instant::now() });
        if tell.send(wrote).is_err() {
            return;
        }
    }
}

fn print(args: &FanOutArgs, replies: &[f64], lasts: &[f64]) {
    let worst = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    if args.json {
        let report = json!({
            "watchers": args.watchers,
            "reply_ms": { "median": median(replies), "max": worst(replies), "all": replies },
            "last_event_ms": { "median": median(lasts), "max": worst(lasts), "all": lasts },
        });
        say!("{report}");
        return;
    }
    say!("{} watchers, {} rounds, ms", args.watchers, args.rounds);
    say!("writer's reply  median {:.2}  max {:.2}", median(replies), worst(replies));
    say!("last event      median {:.2}  max {:.2}", median(lasts), worst(lasts));
}

const PATH: &str = "/ringkeeper-fan-out";

/// Rest between setting the watches and the change.
const REST: std::time::Duration = std::time::Duration::from_millis(300);
