//! The effect of signals: SIGTERM and SIGINT end the server politely, SIGQUIT logs a report as a
//! JVM does, SIGHUP opens the log's file again, and no other that can be caught ends it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, bounded};
use log::info;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::logging;

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// To end; the signal's name.
    Stop(&'static str),
    /// To log a report.
    Report,
}

/// Takes every signal over from now on. A second signal that asks for the end does not wait for
/// anything. `told_to_stop` is set with the first: a start that is still recovering looks at it.
pub(crate) fn requests(told_to_stop: Arc<AtomicBool>) -> io::Result<Receiver<Request>> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ])?;
    let (sender, receiver) = bounded(REQUESTS_MAX);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGTERM | SIGINT => {
                    told_to_stop.store(true, Ordering::Relaxed);
                    let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                    if stopping || sender.send(Request::Stop(name)).is_err() {
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    stopping = true;
                }
                // A report that finds others waiting adds nothing to them.
                SIGQUIT => drop(sender.try_send(Request::Report)),
                SIGHUP => {
                    logging::reopen();
                    info!("SIGHUP: the log's file is opened again, if there is one");
                }
                SIGUSR1 | SIGUSR2 => {
                    info!("signal {signal} means nothing to this server; SIGQUIT logs a report")
                }
                // A write to a closed pipe, or beyond the limit of file lengths: the write itself
                // fails and is handled.
                _ => {}
            }
        }
    })?;
    Ok(receiver)
}

/// Requests that may wait.
const REQUESTS_MAX: usize = 4;
