//! Waking a loop that sleeps in the kernel from another thread.
//!
//! The loop is running, parked, or notified. A wake-up costs a system call only when the loop is
//! parked, so a producer may call [`Waker::wake`] after every push. The order is the usual one: the
//! producer pushes and then wakes; the loop parks and then the kernel waits; a loop that was
//! notified meanwhile does not wait. `runtime/loom_tests` goes over the interleavings.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use io_uring::{opcode, squeue, types};

use super::super::sync::{AtomicU8, Sleep};
use super::token::{OpKind, Token, UserData};

/// Wakes one ring's loop. Cheap to clone, and may be used from any thread, also after the ring has
/// gone.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    event: OwnedFd,
    sleep: Sleep,
}

impl Waker {
    /// Makes the loop's next [`turn`](super::Ring::turn), or the one it sleeps in, return at once.
    pub fn wake(&self) {
        if misordered!(WakeLooksFirst) && self.shared.state.load(Ordering::Acquire) != PARKED {
            return;
        }
        if self.shared.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            // The counter never comes near its limit, the only case in which the write could fail
            // or block.
            let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
            self.shared.sleep.interrupt();
        }
    }

    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the result is checked before it becomes an owned
        // descriptor.
        let event = unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        let (state, sleep) = (AtomicU8::new(RUNNING), Sleep::default());
        Ok(Waker { shared: Arc::new(Shared { state, event, sleep }) })
    }

    /// The end of a turn's waiting: `enter` goes into the kernel, and sleeps there if it is given
    /// true. That is so if the loop `wants` to sleep and was not notified since its last turn. After
    /// this the loop looks at everything that it was notified of.
    pub(in crate::runtime) fn sleep<R>(&self, wants: bool, enter: impl FnOnce(bool) -> R) -> R {
        let entered = enter(wants && self.park());
        self.unpark();
        entered
    }

    /// Announces that the loop is about to sleep; false if it was notified since its last turn and
    /// must not.
    fn park(&self) -> bool {
        if misordered!(ParkLooksFirst) {
            let may_sleep = self.shared.state.load(Ordering::Acquire) == RUNNING;
            self.shared.state.store(PARKED, Ordering::Release);
            return may_sleep;
        }
        self.shared
            .state
            .compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether the loop has been notified since its last turn.
    pub(super) fn notified(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Announces that the loop runs, and that it will look at everything it was notified of.
    pub(super) fn unpark(&self) {
        if misordered!(UnparkAcquiresNothing) {
            return self.shared.state.store(RUNNING, Ordering::Release);
        }
        self.shared.state.swap(RUNNING, Ordering::AcqRel);
    }

    /// A waker without a ring.
    #[cfg(all(test, feature = "loom"))]
    pub(in crate::runtime) fn in_test() -> Self {
        Self::new().expect("a descriptor")
    }

    /// Stands for the kernel in loom's world: sleeps until it is interrupted.
    #[cfg(all(test, feature = "loom"))]
    pub(in crate::runtime) fn sleep_in_kernel(&self) {
        self.shared.sleep.wait();
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Multishot poll of the wake descriptor. It is edge-triggered, so the counter need not be read
    /// back.
    pub(super) fn poll_entry(&self) -> squeue::Entry {
        opcode::PollAdd::new(types::Fd(self.descriptor().as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(UserData::new(OpKind::Wake, Token::new(0, 0)).to_bits())
    }
}

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;
