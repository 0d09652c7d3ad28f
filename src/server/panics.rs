//! A thread that panics must not leave a server that hangs: the server ends, and names the thread.
//!
//! It is the process's panic hook, so no thread can be forgotten, whoever starts it.

use std::panic;
use std::thread;

use crossbeam::channel::{Receiver, bounded};
use log::error;

use super::logging;

/// Logs every panic from now on; the channel tells the name of the first thread that has had one it
/// does not survive.
pub(crate) fn watch() -> Receiver<String> {
    let (sender, receiver) = bounded(1);
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        error!("thread {name}: {info}");
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
            let trace = std::backtrace::Backtrace::force_capture().to_string();
            trace.lines().for_each(|line| error!("thread {name}: {line}"));
        }
        // It may be the last words: a second panic on its way out ends the process.
        logging::flush();
        if !SURVIVORS.contains(&name) {
            // The first one is enough.
            let _ = sender.try_send(name.to_owned());
        }
    }));
    receiver
}

/// Threads that catch a panic and go on with the next request.
const SURVIVORS: [&str; 2] = ["words", "report"];

/// Panics on the thread that calls it if a test asks for that by the environment variable
/// `RINGKEEPER_PANIC`, which names the thread. Builds without debug assertions do not know the
/// variable.
pub(crate) fn panic_if_asked() {
    // A destructor that runs while a panic unwinds must not panic again.
    if cfg!(debug_assertions)
        && !thread::panicking()
        && let Some(asked) = std::env::var_os("RINGKEEPER_PANIC")
        && thread::current().name().is_some_and(|name| asked == name)
    {
        panic!("asked for by RINGKEEPER_PANIC");
    }
}
