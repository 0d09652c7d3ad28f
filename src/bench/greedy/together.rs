//! All kinds of greedy clients at once, and sessions that expire by the thousand: whatever one of
//! them makes the server do, it does while the others ask for theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;

use super::super::BenchError;
use super::super::args::{GreedyArgs, Kind};
use super::super::engine::Engine;
use super::kinds::{self, target};
use super::rounds::Round;
use super::{Beside, Rates, Shared, in_slots, wait_while};

/// Starts them all, lets the probe rest and work in turn, and ends them.
pub(super) fn run(
    args: &GreedyArgs,
    shared: &Arc<Shared>,
    with: &Beside,
) -> Result<Rates, BenchError> {
    let (tell_ready, ready) = mpsc::channel();
    let kinds = Kind::value_variants().iter().filter(|kind| !NOT_AMONG_THEM.contains(kind));
    let mut all: Vec<_> =
        kinds.map(|kind| start(*kind, args.server, shared, tell_ready.clone())).collect();
    all.push(expiring(args.server, shared, tell_ready));
    // A preparation that fails drops its end of the channel without a word, and is told by its
    // thread.
    let mut rates = Rates::default();
    if ready.iter().count() == all.len() {
        shared.begin();
        rates = in_slots(args, shared, with);
    }
    shared.stop();
    all.into_iter().try_for_each(|greedy| {
        greedy.join().map_err(|_| {
            BenchError::Option("the thread of a greedy client has panicked".to_owned())
        })?
    })?;
    Ok(rates)
}

type Greedy = JoinHandle<Result<(), BenchError>>;

fn start(kind: Kind, server: SocketAddr, shared: &Arc<Shared>, ready: Sender<()>) -> Greedy {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        last_in_line();
        // Whoever is to be told waits for it.
        let of_thread = Arc::clone(&shared);
        let tell = move || {
            let _ = ready.send(());
            drop(ready);
            // Nobody is greedy before all are prepared.
            wait_while(PREPARED_TIME, || !of_thread.begun() && !of_thread.stopped());
        };
        let done = match Round::of(kind) {
            None => kinds::run(kind, server, &shared, tell),
            Some(round) => {
                tell();
                again(&shared, || round.once(server).map(drop))
            }
        };
        let name = || kind.to_possible_value().map_or("".into(), |name| name.get_name().to_owned());
        done.map_err(|error| BenchError::Option(format!("the greedy client {}: {error}", name())))
    })
}

/// Opens sessions, leaves them without a word, and waits until their time is over.
fn expiring(server: SocketAddr, shared: &Arc<Shared>, ready: Sender<()>) -> Greedy {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        last_in_line();
        let _ = ready.send(());
        drop(ready);
        wait_while(PREPARED_TIME, || !shared.begun() && !shared.stopped());
        again(&shared, || {
            let mut left = target(server, SESSIONS_LEFT);
            left.timeout_ms = LEFT_TIMEOUT_MS;
            drop(Engine::connect(&left)?);
            wait_while(LEFT_TIME, || !shared.stopped());
            Ok(())
        })
    })
}

fn again(
    shared: &Shared,
    mut once: impl FnMut() -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    while !shared.stopped() {
        once()?;
        shared.count(1);
    }
    Ok(())
}

/// Puts this thread after the server: a dozen threads without a pause would leave it a small part
/// of a small machine, and long turns would be those of the others.
fn last_in_line() {
    // Whoever may do nothing else may do this; where it fails the figures are worse, not better.
    let _ = rustix::process::setpriority_process(None, 19);
}

/// The kinds that do nothing, or start all others.
const NOT_AMONG_THEM: [Kind; 2] = [Kind::Calm, Kind::All];
/// Sessions that expire at once.
const SESSIONS_LEFT: u32 = 5000;
/// Their timeout: the shortest there is with a tick of two seconds.
const LEFT_TIMEOUT_MS: u32 = 4000;
/// The time that all preparations together may take.
const PREPARED_TIME: Duration = Duration::from_secs(120);
/// The time in which they expire.
const LEFT_TIME: Duration = Duration::from_secs(7);
