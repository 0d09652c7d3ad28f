//! Which history the files belong to: truncation and a leader's tree give it another end, and what
//! was begun before that must not be finished after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::zxid::Zxid;

/// The histories of a server, one after the other. Clones are of the same server.
#[derive(Clone, Debug, Default)]
pub struct Histories(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The number of the history.
    current: u64,
    /// Changes that are under way.
    changes: usize,
    /// All up to here is committed, for all that is known: without end while the server serves, as
    /// what a serving server shows is committed. One that looks for a leader may show what no quorum
    /// has.
    committed: Zxid,
    /// The end of the history when it began to serve last.
    served: Zxid,
}

/// Of a server on its own: what it has logged is committed.
impl Default for State {
    fn default() -> Self {
        Self { current: 0, changes: 0, committed: Zxid::MAX, served: Zxid::ZERO }
    }
}

/// The history is being changed until this is dropped.
#[derive(Debug)]
pub struct HistoryChange(Histories);

impl Histories {
    /// The number of the history, by which it is known later; none while it is being changed.
    pub fn current(&self) -> Option<u64> {
        let state = self.lock();
        (state.changes == 0).then_some(state.current)
    }

    /// Does something that is right only in this history, which is not changed meanwhile. None if
    /// it was changed before.
    pub fn within<T>(&self, history: u64, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        (state.changes == 0 && state.current == history).then(act)
    }

    /// Begins to change the history.
    pub fn change(&self) -> HistoryChange {
        let mut state = self.lock();
        (state.current, state.changes) = (state.current + 1, state.changes + 1);
        HistoryChange(self.clone())
    }

    /// A member begins to serve; all up to `last` is committed, and so is all that it will show.
    pub fn begin_serving(&self, last: Zxid) {
        let mut state = self.lock();
        (state.committed, state.served) = (Zxid::MAX, last);
    }

    /// It does not serve.
    pub fn end_serving(&self) {
        let mut state = self.lock();
        state.committed = state.served;
    }

    /// Whether it serves.
    pub fn is_serving(&self) -> bool {
        self.committed() == Zxid::MAX
    }

    /// All up to here is committed: a snapshot after it may have to go.
    pub fn committed(&self) -> Zxid {
        self.lock().committed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HistoryChange {
    fn drop(&mut self) {
        self.0.lock().changes -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_in_a_history_is_not_finished_in_another() {
        let histories = Histories::default();
        let before = histories.current().unwrap();
        assert_eq!(histories.within(before, || 7), Some(7));
        let change = histories.change();
        assert_eq!((histories.current(), histories.within(before, || 7)), (None, None));
        drop(change);
        let after = histories.current().unwrap();
        assert_eq!(
            (histories.within(before, || 7), histories.within(after, || 7)),
            (None, Some(7))
        );
    }

    #[test]
    fn what_a_member_shows_is_committed_while_it_serves() {
        let histories = Histories::default();
        assert_eq!(histories.committed(), Zxid::MAX);
        histories.end_serving();
        assert_eq!((histories.committed(), histories.is_serving()), (Zxid::ZERO, false));
        histories.begin_serving(Zxid(7));
        assert_eq!((histories.committed(), histories.is_serving()), (Zxid::MAX, true));
        histories.end_serving();
        assert_eq!(histories.committed(), Zxid(7));
    }
}
