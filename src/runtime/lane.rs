//! A bounded lock-free queue into one executor, and the call that wakes it.

use std::sync::OnceLock;

use crossbeam::queue::ArrayQueue;

use super::ring::Waker;

/// Messages for one executor. Many may push; the executor alone pops.
pub struct Lane<T> {
    queue: ArrayQueue<T>,
    waker: OnceLock<Waker>,
}

impl<T> Lane<T> {
    /// A lane that holds up to `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity), waker: OnceLock::new() }
    }

    /// Names the ring to be woken; until then messages wait for the executor's first turn.
    pub fn wake_with(&self, waker: Waker) {
        // A lane leads to one executor for good: a second call names the same one.
        let _ = self.waker.set(waker);
    }

    /// Puts a message in, or gives it back where the lane is full. Call [`Lane::wake`] after the last of a batch.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Makes the executor look at the lane.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// The oldest message.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many messages the lane still takes.
    pub fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }
}
