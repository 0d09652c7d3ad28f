//! The raw ring: io_uring as the server's shards and the load generator drive it.
//!
//! One thread owns a [`Ring`] and runs a completion loop on it:
//!
//! ```text
//! loop {
//!     ring.turn(Wait::For(next_deadline))?;           // one system call: submit, wait, collect
//!     while let Some(event) = ring.next_event() { .. } // decode in place, queue operations
//!     // one send per connection that has something to say
//! }
//! ```
//!
//! Receives are multishot into one group of provided buffers, accepts one by one, a send carries
//! everything a connection has to say, and other threads wake the loop through a [`Waker`]. No
//! operation allocates. One file per kernel operation; each holds how it is asked for and how its
//! completion reads.
//!
//! A descriptor passed to an operation must stay open until the next turn has submitted it; after
//! that the kernel holds the file itself. Sockets must be blocking ones: on a non-blocking socket
//! the kernel fails an operation that it would otherwise have waited for.
//!
//! A process that dies leaves its ring to the kernel, which tears it down in the background: for
//! some milliseconds an accept may still hold the port of a listener, so whoever binds it again
//! should try for a while.
//!
//! All `unsafe` code serves three invariants: received bytes are read only between the completion
//! that names their buffer and its return ([`buffers`]); sent bytes are owned by the ring until
//! their completion ([`send`]); and all outlive whatever the kernel still does with them, because
//! dropping the ring first cancels that.

mod accept;
mod buffers;
mod cancel;
mod close;
mod event;
mod poll;
mod probe;
mod receive;
mod send;
mod sync;
#[cfg(test)]
mod tests;
mod token;
mod wake;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};
use rustix::io::Errno;

use buffers::BufferGroup;
use send::SendTable;

pub use buffers::Chunk;
pub use event::{Event, ReceiveStop};
pub use probe::{RingUnavailable, awaiting_memory, can_lock, probe};
pub use token::{HIGH_SLOTS, OpKind, Token, UserData};
pub use wake::Waker;

/// Sizes of a ring. The defaults suit a shard with thousands of connections.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Operations that can be queued between two turns without an extra system call; rounded up to
    /// a power of two.
    pub submissions: u32,
    /// Provided receive buffers, a power of two up to 32,768.
    pub receive_buffers: u16,
    /// Bytes of each receive buffer: the most that one completion delivers.
    pub receive_buffer_bytes: u32,
    /// The time for which a turn looks out for completions before it sleeps, while they keep coming
    /// that fast. It saves the cost of a wake-up, which in a virtual machine is tens of
    /// microseconds, and keeps the core busy meanwhile: zero where the loop has no core of its own.
    pub spin: Duration,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig {
            submissions: 1024,
            receive_buffers: 256,
            receive_buffer_bytes: 8 << 10,
            spin: Duration::ZERO,
        }
    }
}

/// The time that a turn may sleep when nothing has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: submit, collect, return.
    Poll,
    /// Until something completes, a [`Waker`] wakes the loop, or the time is over.
    For(Duration),
    /// Until something completes or a [`Waker`] wakes the loop.
    Forever,
}

/// One io_uring instance, owned by the thread that made it.
pub struct Ring {
    // Declared first: closed before the memory below it goes.
    uring: IoUring,
    group: Rc<BufferGroup>,
    sends: SendTable,
    waker: Waker,
    batch: Batch,
    /// Of a call that collects completions.
    collecting: EnterFlags,
    spin: Spin,
}

/// Whether to look out for completions before sleeping.
struct Spin {
    window: Duration,
    /// Whether the last sleep was so short that looking out would about have been enough.
    pays: bool,
}

impl Ring {
    /// Sets a ring up on this thread. Run [`probe`] first: it tells a person what to mend.
    pub fn new(config: RingConfig) -> Result<Self, RingUnavailable> {
        awaiting_memory(|| Self::set_up(config), RingUnavailable::is_memory)
    }

    fn set_up(config: RingConfig) -> Result<Self, RingUnavailable> {
        let uring = probe::set_up(config.submissions)?;
        let group = BufferGroup::new(config.receive_buffers, config.receive_buffer_bytes)
            .and_then(|group| group.register(&uring.submitter()).map(|()| group))
            .map_err(RingUnavailable::from_buffers)?;
        let waker = Waker::new().map_err(RingUnavailable::from_setup)?;
        let collecting = if uring.params().is_feature_no_iowait() {
            EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::GETEVENTS
        };
        let sends = SendTable::default();
        let spin = Spin { window: config.spin, pays: false };
        let mut ring = Ring { uring, group, sends, waker, batch: Batch::new(), collecting, spin };
        ring.arm_wake().map_err(|error| RingUnavailable::from_setup(error.into()))?;
        Ok(ring)
    }

    /// A handle by which other threads wake this loop.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Submits what is queued, sleeps as `wait` allows if nothing has completed, and collects
    /// completions: one system call. Returns early where another thread has called [`Waker::wake`]
    /// since the last turn, so whoever pushes to a queue of this loop and then wakes it will be
    /// noticed after this call.
    pub fn turn(&mut self, wait: Wait) -> Result<(), RingError> {
        let sleeps = wait != Wait::Poll && self.batch.is_empty();
        if sleeps && !self.spin.window.is_zero() {
            return self.spin_and_sleep(wait);
        }
        self.sleep(sleeps, wait)
    }

    /// Submits what is queued, without waiting for the next turn: for what the disk can do while
    /// this thread goes on with other work.
    pub fn submit(&mut self) -> Result<(), RingError> {
        enter(&mut self.uring, EnterFlags::empty(), 0, &SubmitArgs::new())
    }

    /// The next completion, or `None` when this turn's are used up.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let cqe = match self.batch.pop() {
                Some(cqe) => cqe,
                None => {
                    self.batch.refill(self.uring.completion());
                    self.batch.pop()?
                }
            };
            if let Some(event) = self.decode(cqe) {
                return Some(event);
            }
        }
    }

    /// Operations that the next turn submits.
    #[cfg(test)]
    pub(super) fn queued(&mut self) -> usize {
        self.uring.submission().len()
    }

    /// Whether completions are waiting in the kernel because the queue was full. They are not lost;
    /// the loop is too slow, or its queue too small.
    #[cfg(test)]
    fn overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    fn decode(&mut self, cqe: Cqe) -> Option<Event> {
        let UserData { kind, token } = UserData::from_bits(cqe.user_data)?;
        match kind {
            OpKind::Receive => Some(receive::decode(token, cqe, &self.group)),
            OpKind::Send => Some(send::decode(token, cqe, &mut self.sends)),
            OpKind::Accept => Some(accept::decode(token, cqe)),
            OpKind::Poll => Some(poll::decode(token, cqe)),
            OpKind::Sync => Some(Event::Synced { token, result: cqe.result().map(drop) }),
            OpKind::Close => cqe.result().err().map(|error| Event::CloseFailed { token, error }),
            OpKind::Cancel => None,
            OpKind::Wake => {
                if !cqe.more() && cqe.result() != Err(Errno::CANCELED) {
                    // The queue was full when it fired. A push can fail only if the kernel takes
                    // nothing in at all, which the next turn will report.
                    let _ = self.arm_wake();
                }
                None
            }
        }
    }

    /// Submits, and sleeps if that is wanted and nobody has woken the loop since its last turn.
    fn sleep(&mut self, wanted: bool, wait: Wait) -> Result<(), RingError> {
        let Self { uring, collecting, waker, .. } = self;
        waker.sleep(wanted, |sleeps| match wait {
            Wait::For(time) if sleeps => {
                let timespec = Timespec::from(time);
                enter(uring, *collecting, 1, &SubmitArgs::new().timespec(&timespec))
            }
            _ => enter(uring, *collecting, usize::from(sleeps), &SubmitArgs::new()),
        })
    }

    /// Submits, looks out for completions while they are likely to come soon, and sleeps if none
    /// has come. The loop counts as parked only then, so that waking it while it looks out costs no
    /// system call.
    fn spin_and_sleep(&mut self, wait: Wait) -> Result<(), RingError> {
        self.enter(0, &SubmitArgs::new())?;
        if !self.uring.completion().is_empty() {
            self.waker.unpark();
            return Ok(());
        }
        let idle_since = Instant::now();
        while self.spin.pays && idle_since.elapsed() < self.spin.window {
            // The kernel says so when it has work that our asking for completions would do.
            if self.uring.submission().taskrun() || self.waker.notified() {
                return self.sleep(false, wait);
            }
            std::hint::spin_loop();
        }
        let left = match wait {
            Wait::For(time) => Wait::For(time.saturating_sub(idle_since.elapsed())),
            other => other,
        };
        let slept = self.sleep(true, left);
        self.spin.pays = idle_since.elapsed() < self.spin.window * 2;
        slept
    }

    fn arm_wake(&mut self) -> Result<(), RingError> {
        let entry = self.waker.poll_entry();
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }

    /// Queues an entry; submits first where the queue is full.
    ///
    /// # Safety
    ///
    /// Memory that the entry names must stay valid until its completion, or until the ring has been
    /// dropped.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<(), RingError> {
        // SAFETY: the caller's promise.
        if unsafe { self.uring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.enter(0, &SubmitArgs::new())?;
        // SAFETY: the caller's promise.
        unsafe { self.uring.submission().push(entry) }.map_err(|_| RingError::SubmissionsStuck)
    }

    fn enter(&mut self, want: usize, args: &SubmitArgs<'_, '_>) -> Result<(), RingError> {
        enter(&mut self.uring, self.collecting, want, args)
    }
}

/// Submits what is queued and waits for this many completions.
fn enter(
    uring: &mut IoUring,
    flags: EnterFlags,
    want: usize,
    args: &SubmitArgs<'_, '_>,
) -> Result<(), RingError> {
    let queued = uring.submission().len() as u32;
    let flags = EnterFlags::EXT_ARG | flags;
    let submitter = uring.submitter();
    // SAFETY: the arguments live across the call, and the flags say what they are.
    let entered = unsafe { submitter.enter(queued, want as u32, flags.bits(), Some(args)) };
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // Time is over; a signal came; completions must be consumed before more can be
            // submitted.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(RingError::Enter(error)),
        },
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Nothing may be left that reads or writes our memory: submit what is queued, cancel all
        // there is, and run the cancellations. Events are dropped, and with them sockets that
        // nobody looked at.
        let _ = self.enter(0, &SubmitArgs::new());
        let _ = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any().all());
        let _ = self.enter(0, &SubmitArgs::new());
        while self.next_event().is_some() {}
        // A buffer that is still in flight after all that is better leaked than freed.
        std::mem::take(&mut self.sends).leak();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("completions", &self.batch.len).finish_non_exhaustive()
    }
}

/// The reason why an operation could not be queued or submitted.
#[derive(Debug)]
pub enum RingError {
    /// The kernel refused the system call itself.
    Enter(io::Error),
    /// The queue is full and the kernel took nothing from it.
    SubmissionsStuck,
    /// The slot already has a send in flight; here is the buffer back.
    SendInFlight {
        /// Whose send.
        conn: Token,
        /// The bytes that were to be sent.
        buffer: Vec<u8>,
    },
    /// A send is longer than 4 GiB.
    SendTooLong {
        /// Its length.
        bytes: usize,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Enter(error) => write!(f, "io_uring_enter: {error}"),
            RingError::SubmissionsStuck => {
                write!(f, "io_uring: the kernel takes no more submissions")
            }
            RingError::SendInFlight { conn, .. } => {
                write!(f, "connection {conn:?} has a send in flight already")
            }
            RingError::SendTooLong { bytes } => {
                write!(f, "a send of {bytes} B is longer than the 4 GiB one can have")
            }
        }
    }
}

impl std::error::Error for RingError {}

impl From<RingError> for io::Error {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Enter(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// One completion as the kernel wrote it.
#[derive(Clone, Copy)]
struct Cqe {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Cqe {
    fn result(self) -> Result<u32, Errno> {
        u32::try_from(self.result).map_err(|_| Errno::from_raw_os_error(self.result.wrapping_neg()))
    }

    fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// Completions copied off the shared queue in one go, so that its slots are free before they are
/// looked at.
struct Batch {
    entries: Box<[MaybeUninit<cqueue::Entry>; BATCH]>,
    next: usize,
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Batch { entries: Box::new([const { MaybeUninit::uninit() }; BATCH]), next: 0, len: 0 }
    }

    fn is_empty(&self) -> bool {
        self.next == self.len
    }

    fn refill(&mut self, mut queue: cqueue::CompletionQueue<'_>) {
        self.len = queue.fill(&mut self.entries[..]).len();
        self.next = 0;
    }

    fn pop(&mut self) -> Option<Cqe> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `refill` initialised the first `len` entries, and `next` is below `len`.
        let entry = unsafe { self.entries[self.next].assume_init_ref() };
        self.next += 1;
        Some(Cqe { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() })
    }
}

const BATCH: usize = 256;
