//! A server that serves, until something ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, select};

use crate::runtime::executor::ExecutorError;
use crate::runtime::shard::{Control, ControlLane};

use super::background::Background;
use super::signals::Request;
use super::start_error::StartError;
use super::status::StatusReporter;

/// The running executors.
pub(crate) struct Executors {
    pub threads: Vec<JoinHandle<()>>,
    /// One message from each executor when it ends.
    pub ended: Receiver<Result<(), ExecutorError>>,
    /// Tells the executors of shards to end when they are drained.
    pub stop_shards: Arc<AtomicBool>,
    /// Tells the quorum core's own executor, if it has one.
    pub stop_core: Arc<AtomicBool>,
    pub shard_executors: usize,
}

/// See the module's head.
pub(crate) struct Running {
    executors: Executors,
    shards: Vec<Arc<ControlLane>>,
    // Snapshots, purge and the lock on the data live as long as the server.
    _background: Background,
    /// Names a thread that has panicked.
    panicked: Receiver<String>,
    reporter: StatusReporter,
}

/// The reason why a server ends.
pub(crate) enum StopCause {
    /// It was asked to, by the signal of this name.
    Signal(&'static str),
    /// An executor ended.
    Failure(Result<(), ExecutorError>),
    /// A thread of this name panicked.
    Panic(String),
}

impl Running {
    /// Takes over what has been started.
    pub(crate) fn new(
        executors: Executors,
        shards: Vec<Arc<ControlLane>>,
        background: Background,
        panicked: Receiver<String>,
        reporter: StatusReporter,
    ) -> Self {
        Self { executors, shards, _background: background, panicked, reporter }
    }

    /// Waits for a signal that asks for the end, or for a thread that fails; meanwhile reports are
    /// written.
    pub(crate) fn wait(&self, requests: &Receiver<Request>) -> StopCause {
        loop {
            select! {
                recv(requests) -> request => match request {
                    Ok(Request::Report) => self.reporter.begin(),
                    Ok(Request::Stop(signal)) => return StopCause::Signal(signal),
                    // The thread of the signals is gone, which only a panic can do: that is told as
                    // well.
                    Err(_) => return StopCause::Panic("signals".into()),
                },
                recv(self.panicked) -> thread => return StopCause::Panic(thread.unwrap_or_default()),
                recv(self.executors.ended) -> ended => return StopCause::Failure(ended.unwrap_or(Ok(()))),
            }
        }
    }

    /// Ends the server: after a signal what is in flight is finished, after a failure nothing is
    /// tried again.
    pub(crate) fn stop(self, why: StopCause) -> Result<(), StartError> {
        match why {
            StopCause::Failure(failure) => Err(StartError::Executor(failure.err())),
            StopCause::Panic(thread) => Err(StartError::ThreadPanicked(thread)),
            StopCause::Signal(signal) => {
                log::info!("{signal}: finishing what is in flight");
                self.shards.iter().for_each(|shard| shard.send(Control::Drain));
                self.executors.stop_shards.store(true, Ordering::Release);
                self.await_ends(self.executors.shard_executors)?;
                self.executors.stop_core.store(true, Ordering::Release);
                self.await_ends(self.executors.threads.len() - self.executors.shard_executors)?;
                log::info!("stopped");
                Ok(())
            }
        }
    }

    fn await_ends(&self, count: usize) -> Result<(), StartError> {
        for _ in 0..count {
            match self.executors.ended.recv_timeout(DRAIN_TIME) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(StartError::Executor(Some(failure))),
                Err(_) => log::warn!("clients take too long to end: closing their connections"),
            }
        }
        Ok(())
    }
}

/// The time that what is in flight may take to finish.
const DRAIN_TIME: Duration = Duration::from_secs(5);
