//! Bytes of a connection's output that have not left, and how many of them are events.

use std::collections::VecDeque;

/// The output of one connection, counted as a stream of bytes.
///
/// Invariants: `sent <= written`; `events` is the sum of the bytes of `runs`, which are in order,
/// do not overlap and end after `sent`.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    written: u64,
    sent: u64,
    events: usize,
    /// Stretches of events in the stream: where each ends, and its bytes.
    runs: VecDeque<(u64, usize)>,
}

impl Unsent {
    /// Bytes that have not left.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        debug_assert!(self.sent <= self.written, "no more leaves than was written");
        (self.written - self.sent) as usize
    }

    /// Bytes of events that have not left. An event counts until its last byte has.
    pub(super) fn event_bytes(&self) -> usize {
        self.events
    }

    /// A reply has been written.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// An event has been written.
    pub(super) fn add_event(&mut self, bytes: usize) {
        let start = self.written;
        self.written += bytes as u64;
        self.events += bytes;
        match self.runs.back_mut() {
            Some((end, run)) if *end == start && *run < RUN_BYTES_MAX => {
                (*end, *run) = (self.written, *run + bytes)
            }
            _ => self.runs.push_back((self.written, bytes)),
        }
    }

    /// Bytes have left.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        self.sent = self.written.min(self.sent + bytes as u64);
        while let Some((end, run)) = self.runs.front().copied()
            && end <= self.sent
            && !mutant!(EventsNeverRead)
        {
            self.runs.pop_front();
            self.events = self.events.checked_sub(run).expect("events are the sum of their runs");
        }
        if self.runs.is_empty() {
            debug_assert!(self.events == 0, "events are the sum of their runs");
            self.runs = VecDeque::new();
        }
    }
}

/// A stretch of events ends here, so that what has left of a long one is seen.
const RUN_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_count_until_they_have_left_and_replies_do_not() {
        let mut unsent = Unsent::default();
        unsent.add(100);
        unsent.add_event(30);
        unsent.add_event(30);
        unsent.add(40);
        unsent.add_event(30);
        assert_eq!((unsent.bytes(), unsent.event_bytes()), (230, 90));
        unsent.on_sent(159);
        assert_eq!(unsent.event_bytes(), 90);
        unsent.on_sent(1);
        assert_eq!(
            (unsent.bytes(), unsent.event_bytes()),
            (70, 30),
            "others that are unsent do not matter"
        );
        unsent.on_sent(1_000);
        assert_eq!((unsent.bytes(), unsent.event_bytes()), (0, 0));
    }

    #[test]
    fn a_reader_that_keeps_up_is_never_far_behind() {
        let mut unsent = Unsent::default();
        for _ in 0..100_000 {
            unsent.add_event(50);
            unsent.add_event(50);
            // Something is always unsent.
            unsent.on_sent(if unsent.bytes() > 150 { 100 } else { 50 });
            assert!(unsent.event_bytes() <= 2 * RUN_BYTES_MAX);
        }
    }
}
