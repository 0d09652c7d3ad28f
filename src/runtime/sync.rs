//! Where threads of the runtime meet: atomics, locks and the queue between cores.
//!
//! They are those of std and crossbeam. With the feature `loom` they are loom's, which goes over
//! the interleavings of a test and over what weakly ordered memory may show in each
//! (`runtime::loom_tests`); such a build serves nobody. crossbeam's queue knows nothing of loom, so
//! a stand-in takes its place there. It promises less: whoever does not synchronise with the one
//! who pushed may find the queue empty.
//! With the feature `tsan` the tree's lock is one that ThreadSanitizer sees into: it does not see
//! into std, which comes compiled.

#[cfg(not(feature = "loom"))]
mod real {
    pub use std::sync::atomic::{AtomicBool, AtomicU8};
    pub use std::sync::{Mutex, MutexGuard};

    pub use crossbeam::queue::ArrayQueue;
    #[cfg(not(feature = "tsan"))]
    pub use crossbeam::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

    /// A loop's sleep in the kernel, which the kernel itself ends.
    #[derive(Debug, Default)]
    pub struct Sleep(());

    impl Sleep {
        /// The kernel is told by the descriptor.
        pub fn interrupt(&self) {}
    }
}
#[cfg(not(feature = "loom"))]
pub use real::*;

#[cfg(all(feature = "tsan", not(feature = "loom")))]
mod seen {
    use std::sync::LockResult;

    pub use spin::{
        RwLockReadGuard as ShardedLockReadGuard, RwLockWriteGuard as ShardedLockWriteGuard,
    };

    /// A lock that spins. It is never poisoned.
    #[derive(Debug, Default)]
    pub struct ShardedLock<T>(spin::RwLock<T>);

    impl<T> ShardedLock<T> {
        /// A lock around `value`.
        pub fn new(value: T) -> Self {
            Self(spin::RwLock::new(value))
        }

        /// Keeps the writer out.
        pub fn read(&self) -> LockResult<ShardedLockReadGuard<'_, T>> {
            Ok(self.0.read())
        }

        /// Keeps all others out.
        pub fn write(&self) -> LockResult<ShardedLockWriteGuard<'_, T>> {
            Ok(self.0.write())
        }
    }
}
#[cfg(all(feature = "tsan", not(feature = "loom")))]
pub use seen::*;

#[cfg(feature = "loom")]
mod model {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::PoisonError;
    use std::sync::atomic::Ordering;

    use loom::sync::Condvar;
    use loom::sync::atomic::AtomicUsize;

    pub use loom::sync::atomic::{AtomicBool, AtomicU8};
    pub use loom::sync::{Mutex, MutexGuard};
    pub use loom::sync::{
        RwLock as ShardedLock, RwLockReadGuard as ShardedLockReadGuard,
        RwLockWriteGuard as ShardedLockWriteGuard,
    };

    /// A loop's sleep in the kernel: a poll that fires once for each interruption.
    #[derive(Debug, Default)]
    pub struct Sleep {
        fired: Mutex<bool>,
        interrupted: Condvar,
    }

    impl Sleep {
        /// Ends the sleep under way, or the next one.
        pub fn interrupt(&self) {
            *self.fired.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.interrupted.notify_one();
        }

        /// Sleeps until it is interrupted.
        pub fn wait(&self) {
            let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
            while !*fired {
                fired = self.interrupted.wait(fired).unwrap_or_else(PoisonError::into_inner);
            }
            *fired = false;
        }
    }

    /// Stands in for crossbeam's queue.
    #[derive(Debug)]
    pub struct ArrayQueue<T> {
        capacity: usize,
        /// The number of them. Whoever reads an old number finds nothing.
        len: AtomicUsize,
        items: Mutex<VecDeque<T>>,
    }

    impl<T> ArrayQueue<T> {
        /// A queue of this capacity.
        pub fn new(capacity: usize) -> Self {
            Self { capacity, len: AtomicUsize::new(0), items: Mutex::new(VecDeque::new()) }
        }

        /// Puts one in, or gives it back.
        pub fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            drop(items);
            self.len.fetch_add(1, Ordering::Release);
            Ok(())
        }

        /// The oldest.
        pub fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let item = self.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            self.len.fetch_sub(1, Ordering::AcqRel);
            Some(item)
        }

        /// Whether it looks empty.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// The number there seem to be.
        pub fn len(&self) -> usize {
            self.len.load(Ordering::Acquire)
        }

        /// The number that it takes.
        pub fn capacity(&self) -> usize {
            self.capacity
        }
    }

    /// A mistake of order that loom must find.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Misorder {
        /// Whoever wakes looks whether the loop sleeps before it says that there is something.
        WakeLooksFirst,
        /// The loop looks whether it was notified, and says afterwards that it sleeps.
        ParkLooksFirst,
        /// The loop takes up its work without having seen what was pushed before it was notified.
        UnparkAcquiresNothing,
        /// Readers are let in before the events of a batch are in the queues of the shards.
        ShowThenHandOver,
        /// A shard says that it watches after it has given the tree back.
        WatchingSaidLate,
        /// Limits of connections are looked at under one lock and counted under another.
        CountedApart,
    }

    thread_local! {
        /// loom runs all threads of a test on one.
        static PLANTED: Cell<Option<Misorder>> = const { Cell::new(None) };
    }

    impl Misorder {
        /// Whether it is planted.
        pub fn is_planted(self) -> bool {
            PLANTED.get() == Some(self)
        }

        /// Plants one for the tests of this thread.
        #[cfg(test)]
        pub fn plant(self) {
            PLANTED.set(Some(self));
        }
    }
}
#[cfg(feature = "loom")]
pub use model::*;
