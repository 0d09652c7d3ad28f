//! Greedy clients that open connections without a pause: for a four letter word, or for a session.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::super::BenchError;
use super::super::plain::{CONNECT_TIME, Plain};
use super::Shared;

/// Asks for `word` again and again on some threads, each answer read to its end.
pub(super) fn ask(word: &str, server: SocketAddr, shared: &Shared) -> Result<(), BenchError> {
    on_threads(shared, || {
        let mut socket = TcpStream::connect_timeout(&server, CONNECT_TIME)?;
        socket.set_read_timeout(Some(ANSWER_TIME))?;
        socket.write_all(word.as_bytes())?;
        match io::copy(&mut socket, &mut io::sink())? {
            0 => Err(io::Error::other("the answer is empty")),
            _ => Ok(()),
        }
    })
    .map_err(BenchError::io(word))
}

/// Opens and closes sessions as fast as they come.
pub(super) fn open_and_close(server: SocketAddr, shared: &Shared) -> Result<(), BenchError> {
    on_threads(shared, || Plain::open(server, 30_000)?.close())
        .map_err(BenchError::io("opening and closing sessions"))
}

/// Does `once` until it is to stop. A connection that fails counts as an error and is tried again,
/// unless nothing ever succeeds.
fn on_threads(shared: &Shared, once: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    once()?;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !shared.stopped() {
                    match once() {
                        Ok(()) => shared.count(1),
                        Err(_) => {
                            shared.errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    Ok(())
}

const THREADS: usize = 4;

const ANSWER_TIME: Duration = Duration::from_secs(60);
