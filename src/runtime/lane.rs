//! A bounded lock-free queue into one executor, and the handle that wakes it.

use std::sync::OnceLock;

use super::ring::Waker;
use super::sync::ArrayQueue;

/// Wakes one executor, once its ring is known.
#[derive(Default)]
pub struct WakeHandle {
    waker: OnceLock<Waker>,
}

impl WakeHandle {
    /// Names the ring to be woken. The executor looks at everything in its first turn anyway.
    pub fn wake_with(&self, waker: Waker) {
        // A handle leads to one executor for good: a second call names the same one.
        let _ = self.waker.set(waker);
    }

    /// Makes the executor take a turn.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// Messages for one executor. Many may push; the executor alone pops.
pub struct Lane<T> {
    queue: ArrayQueue<T>,
    waker: WakeHandle,
}

impl<T> Lane<T> {
    /// A lane that holds up to `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity), waker: WakeHandle::default() }
    }

    /// Names the ring to be woken; until then messages wait for the executor's first turn.
    pub fn wake_with(&self, waker: Waker) {
        self.waker.wake_with(waker);
    }

    /// Puts a message in, or gives it back where the lane is full. Call [`Lane::wake`] after the
    /// last of a batch.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Makes the executor look at the lane.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// The oldest message.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The number of messages that the lane still takes.
    pub fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }
}
