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
pub struct Crew {
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
    crew: Crew,
    shards: Vec<Arc<ControlLane>>,
    // Snapshots, purge and the lock on the data live as long as the server.
    _background: Background,
}

/// Why a server ends.
pub enum Ending {
    Signal(&'static str),
    Failure(Result<(), ExecutorError>),
}

impl Running {
    /// Takes over what has been started.
    pub fn new(crew: Crew, shards: Vec<Arc<ControlLane>>, background: Background) -> Self {
        Self { crew, shards, _background: background }
    }

    /// Waits for a signal, or for an executor that fails.
    pub fn wait(&self, signals: &Receiver<&'static str>) -> Ending {
        select! {
            recv(signals) -> signal => Ending::Signal(signal.unwrap_or("signal")),
            recv(self.crew.ended) -> ended => Ending::Failure(ended.unwrap_or(Ok(()))),
        }
    }

    /// Ends the server: after a signal what is in flight is finished, after a failure nothing is tried any more.
    pub fn stop(self, why: Ending) -> Result<(), StartError> {
        match why {
            Ending::Failure(failure) => Err(StartError::failed(failure)),
            Ending::Signal(signal) => {
                log::info!("{signal}: finishing what is in flight");
                self.shards.iter().for_each(|shard| shard.send(Control::Drain));
                self.crew.stop_shards.store(true, Ordering::Release);
                self.await_ends(self.crew.shard_executors)?;
                self.crew.stop_core.store(true, Ordering::Release);
                self.await_ends(self.crew.threads.len() - self.crew.shard_executors)?;
                log::info!("stopped");
                Ok(())
            }
        }
    }

    fn await_ends(&self, count: usize) -> Result<(), StartError> {
        for _ in 0..count {
            match self.crew.ended.recv_timeout(DRAIN_TIME) {
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
