//! Something long on its way to a learner: a thread of its own writes it straight to the socket.
//!
//! A learner that takes nothing for as long as it may ends the feed. What a feed holds, as the
//! walk of a tree and all that changes meanwhile, is held no longer than that for nobody.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Writes something long to a socket, on a thread of its own.
pub type Feed = Box<dyn FnOnce(&mut FeedSocket) -> io::Result<()> + Send>;

/// The socket, as a feed sees it: a write waits until the learner has taken something.
pub struct FeedSocket {
    socket: TcpStream,
    /// How long a write waits.
    patience: Duration,
    progress: Arc<Progress>,
}

/// What a feed and the core tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that the socket has taken.
    taken: AtomicU64,
    /// So much waits for the end of the feed that it should not take its time.
    is_urgent: AtomicBool,
}

impl Progress {
    /// Bytes that the socket has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether much waits for the end of the feed.
    pub fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::Relaxed)
    }

    pub(super) fn set_urgent(&self, is_urgent: bool) {
        self.is_urgent.store(is_urgent, Ordering::Relaxed);
    }
}

impl FeedSocket {
    /// A connected stream, whose other end must take something within `patience`, again and again.
    /// What the ring sends there is not concerned: it never waits inside the socket.
    pub(super) fn new(
        socket: OwnedFd,
        patience: Duration,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let patience = patience.max(PATIENCE_MIN);
        let socket = TcpStream::from(socket);
        socket.set_write_timeout(Some(patience))?;
        Ok(Self { socket, patience, progress })
    }

    /// What the core says meanwhile.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Write for FeedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Ok(taken) => {
                self.progress.taken.fetch_add(taken as u64, Ordering::Relaxed);
                Ok(taken)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!("it has taken nothing for {} ms", self.patience.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The kernel takes no time for without end.
const PATIENCE_MIN: Duration = Duration::from_millis(1);
