//! A server that serves, until something ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, select};

use crate::runtime::executor::ExecutorError;
use crate::runtime::shard::{Control, ControlLane};

use super::background::Background;
use super::preflight::StartError;

/// The running executors.
pub struct Executors {
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
pub struct Running {
    executors: Executors,
    shards: Vec<Arc<ControlLane>>,
    // Snapshots, purge and the lock on the data live as long as the server.
    _background: Background,
}

/// Why a server ends.
pub enum StopCause {
    Signal(&'static str),
    Failure(Result<(), ExecutorError>),
}

impl Running {
    /// Takes over what has been started.
    pub fn new(executors: Executors, shards: Vec<Arc<ControlLane>>, background: Background) -> Self {
        Self { executors, shards, _background: background }
    }

    /// Waits for a signal, or for an executor that fails.
    pub fn wait(&self, signals: &Receiver<&'static str>) -> StopCause {
        select! {
            recv(signals) -> signal => StopCause::Signal(signal.unwrap_or("signal")),
            recv(self.executors.ended) -> ended => StopCause::Failure(ended.unwrap_or(Ok(()))),
        }
    }

    /// Ends the server: after a signal what is in flight is finished, after a failure nothing is tried any more.
    pub fn stop(self, why: StopCause) -> Result<(), StartError> {
        match why {
            StopCause::Failure(failure) => Err(StartError::failed(failure)),
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
                Ok(failure) => return Err(StartError::failed(failure)),
                Err(_) => log::warn!("clients take too long to end: closing their connections"),
            }
        }
        Ok(())
    }
}

/// How long what is in flight may take to finish.
const DRAIN_TIME: Duration = Duration::from_secs(5);
