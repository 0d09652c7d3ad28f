//! A thread that waits in the kernel for another one, a task at a time.
//!
//! Tasks are handed over under a lock and a condition and not by a channel: a channel looks out for
//! the next task before it sleeps, and takes the processor from the thread that is to give it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The thread has ended although nobody ended it.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

/// The thread, as the one that gives it tasks sees it. At most one task is under way. Dropping it
/// waits for the end of that.
pub struct Worker<T, R> {
    shared: Arc<Shared<T, R>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<T, R> {
    state: Mutex<State<T, R>>,
    /// There is a task, or will be none; or there is an outcome, or will be none.
    changed: Condvar,
}

/// Invariant: there is no task while there is an outcome.
struct State<T, R> {
    task: Option<T>,
    outcome: Option<R>,
    /// No task follows.
    closed: bool,
    /// The thread has ended.
    ended: bool,
}

impl<T: Send + 'static, R: Send + 'static> Worker<T, R> {
    /// Starts the thread. `wake` is called after each task and when the thread ends.
    pub fn start(
        name: &str,
        mut work: impl FnMut(T) -> R + Send + 'static,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let state = State { task: None, outcome: None, closed: false, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let end = End { shared: shared.clone(), wake };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            super::slice::shorten();
            while let Some(task) = end.shared.next() {
                let outcome = work(task);
                end.shared.lock().outcome = Some(outcome);
                end.shared.changed.notify_one();
                (end.wake)();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl<T, R> Worker<T, R> {
    /// Gives the thread a task. The outcome of the one before has been taken.
    pub fn begin(&self, task: T) {
        let mut state = self.shared.lock();
        // Of a thread that is lost the last task stays here; `poll` says what happened.
        assert!(state.ended || (state.task.is_none() && state.outcome.is_none()), "one at a time");
        state.task = Some(task);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// The outcome of the task, if it has ended.
    pub fn poll(&self) -> Result<Option<R>, Lost> {
        let mut state = self.shared.lock();
        match state.outcome.take() {
            None if state.ended => Err(Lost),
            outcome => Ok(outcome),
        }
    }

    /// Waits for the outcome of the task that was begun.
    pub fn wait(&self) -> Result<R, Lost> {
        let is_busy = |state: &mut State<T, R>| state.outcome.is_none() && !state.ended;
        let state = self.shared.changed.wait_while(self.shared.lock(), is_busy);
        state.unwrap_or_else(PoisonError::into_inner).outcome.take().ok_or(Lost)
    }
}

impl<T, R> Drop for Worker<T, R> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                log::error!("the thread {name} has panicked");
            }
        }
    }
}

impl<T, R> Shared<T, R> {
    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next task; `None` when there is none and no more follow.
    fn next(&self) -> Option<T> {
        let is_idle = |state: &mut State<T, R>| state.task.is_none() && !state.closed;
        let state = self.changed.wait_while(self.lock(), is_idle);
        state.unwrap_or_else(PoisonError::into_inner).task.take()
    }
}

/// Dropped as the thread's last act, by a panic too: whoever is woken finds that it has ended.
struct End<T, R> {
    shared: Arc<Shared<T, R>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl<T, R> Drop for End<T, R> {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        (self.wake)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn each_task_has_its_outcome_and_a_panic_is_seen() {
        let (woken, wakes) = channel();
        let wake = Arc::new(move || woken.send(()).unwrap_or_default());
        let double = |task: u32| if task == 0 { panic!("asked for by the test") } else { task * 2 };
        let worker = Worker::start("test", double, wake).unwrap();
        for task in 1..100 {
            worker.begin(task);
            wakes.recv().unwrap();
            assert_eq!((worker.poll(), worker.poll()), (Ok(Some(task * 2)), Ok(None)));
        }
        worker.begin(0);
        wakes.recv().unwrap();
        assert_eq!(worker.poll(), Err(Lost));
        worker.begin(1);
        assert_eq!(worker.poll(), Err(Lost), "what is given to it later has no outcome");
    }

    #[test]
    fn an_outcome_can_be_waited_for_and_so_can_the_loss_of_the_thread() {
        let double = |task: u32| if task == 0 { panic!("asked for by the test") } else { task * 2 };
        let worker = Worker::start("test", double, Arc::new(|| ())).unwrap();
        for task in 1..1000 {
            worker.begin(task);
            assert_eq!(worker.wait(), Ok(task * 2));
        }
        worker.begin(0);
        assert_eq!(worker.wait(), Err(Lost));
    }

    #[test]
    fn a_task_that_was_begun_is_done_before_the_end() {
        let (tell, told) = channel();
        let worker = Worker::start("test", move |task: u32| tell.send(task), Arc::new(|| ()));
        let worker = worker.unwrap();
        worker.begin(7);
        drop(worker);
        assert_eq!(told.iter().collect::<Vec<_>>(), [7]);
    }
}
