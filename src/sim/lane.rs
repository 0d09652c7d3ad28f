//! A bounded queue between two simulated cores, as the runtime's lanes are: what finds it full is
//! given back, and its sender keeps it in a backlog.

use std::collections::VecDeque;

/// Messages for one core.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    queue: VecDeque<T>,
    /// Messages that it holds at most.
    max: usize,
}

impl<T> Lane<T> {
    /// An empty lane that holds up to `max` messages.
    pub(crate) fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), max }
    }

    /// Puts a message in, or gives it back where the lane is full.
    pub(crate) fn push(&mut self, message: T) -> Result<(), T> {
        if self.queue.len() >= self.max {
            return Err(message);
        }
        self.queue.push_back(message);
        Ok(())
    }

    /// Moves what waits in the sender's backlog into the lane, as far as there is room.
    pub(crate) fn take_backlog(&mut self, backlog: &mut VecDeque<T>) {
        let room = self.max.saturating_sub(self.queue.len()).min(backlog.len());
        self.queue.extend(backlog.drain(..room));
    }

    /// The oldest message.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.queue.pop_front()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= self.max
    }
}
