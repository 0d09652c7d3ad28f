//! Answers the four-letter words, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use crossbeam::channel::Receiver;

use crate::runtime::shard::{Control, ControlLane, WordRequest};

use super::config::WordList;
use super::panics::panic_if_asked;
use super::stats::StatsCollector;
use super::words::{TRACE_MASK_DEFAULT, Word, answer, refusal};

/// See the module's head.
pub(crate) struct WordResponder {
    stats: Arc<StatsCollector>,
    /// Which words are answered.
    allowed: WordList,
    /// The queues that the answers go to.
    shards: Vec<Arc<ControlLane>>,
    /// The mask that `gtmk` tells and `stmk` sets.
    trace_mask: AtomicI64,
}

impl WordResponder {
    /// A responder that answers `allowed` from `stats`.
    pub(crate) fn new(
        stats: Arc<StatsCollector>,
        allowed: WordList,
        shards: Vec<Arc<ControlLane>>,
    ) -> Self {
        Self { stats, allowed, shards, trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT) }
    }

    /// Answers until the shards are gone.
    pub(crate) fn open(self, requests: Receiver<WordRequest>) -> std::io::Result<()> {
        let run = move || {
            for request in requests {
                self.respond(&request);
            }
        };
        thread::Builder::new().name("words".into()).spawn(run).map(drop)
    }

    /// A panic ends this one answer, which is then empty, and not the thread: monitoring goes on.
    fn respond(&self, request: &WordRequest) {
        let Some(word) = Word::from_bytes(request.word) else { return };
        let bytes = catch_unwind(AssertUnwindSafe(|| self.answer(word, request.argument)))
            .unwrap_or_default();
        let shard = &self.shards[usize::from(request.shard.0)];
        shard.send(Control::WordAnswer { conn: request.conn, bytes });
    }

    fn answer(&self, word: Word, argument: Option<i64>) -> Vec<u8> {
        if word == Word::Dirs {
            panic_if_asked();
        }
        if !self.allowed.allows(word.name()) {
            return refusal(word);
        }
        let mut reports = self.stats.gather(word.needs());
        match (word, argument) {
            (Word::Stmk, Some(mask)) => self.trace_mask.store(mask, Ordering::Relaxed),
            // Apache reads beyond the end and closes without an answer.
            (Word::Stmk, None) => return Vec::new(),
            (Word::Srst, _) if reports.serving => self.stats.reset_server(),
            (Word::Crst, _) if reports.serving => self.stats.reset_connections(),
            _ => {}
        }
        reports.trace_mask = self.trace_mask.load(Ordering::Relaxed);
        answer(word, &reports)
    }
}
