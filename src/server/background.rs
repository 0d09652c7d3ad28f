//! Work that is never on the path of a request: snapshots, and the purge of what they have made
//! superfluous.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam::channel::Sender;
use log::{info, warn};

use crate::runtime::SharedTree;
use crate::runtime::datadir::DataDir;
use crate::runtime::snapshotter::{SnapshotFailure, Snapshotter, Taken};

use super::config::Config;
use super::panics::panic_if_asked;
use super::words::report::SnapshotFigures;

/// The background of a server. It also holds the data directory's lock: nobody else may use the
/// data while this lives.
pub(crate) struct Background {
    snapshotter: Snapshotter,
    record: Arc<SnapshotRecord>,
    _data: Arc<Mutex<DataDir>>,
}

impl Background {
    /// Starts its threads.
    pub(crate) fn start(config: &Config, data: DataDir, tree: SharedTree) -> io::Result<Self> {
        let record = Arc::new(SnapshotRecord::default());
        let done = {
            let record = record.clone();
            move |taken| {
                record.note(&taken);
                log_snapshot(taken);
            }
        };
        let (dir, settings) = (data.snapshots().to_owned(), config.snapshots.clone());
        let snapshotter = Snapshotter::start(dir, settings, tree, data.histories(), done)?;
        let data = Arc::new(Mutex::new(data));
        if let Some(interval_s) = config.autopurge.interval_s {
            start_purge(
                data.clone(),
                config.autopurge.retain as usize,
                Duration::from_secs(interval_s),
            )?;
        }
        Ok(Self { snapshotter, record, _data: data })
    }

    /// The record of snapshots since the start.
    pub(crate) fn record(&self) -> Arc<SnapshotRecord> {
        self.record.clone()
    }

    /// Each `()` asks for a snapshot.
    pub(crate) fn snapshots(&self) -> Sender<()> {
        self.snapshotter.requests()
    }
}

/// The record of snapshots since the start; written by the thread that takes them, read for the
/// words.
#[derive(Debug, Default)]
pub(crate) struct SnapshotRecord(Mutex<SnapshotFigures>);

impl SnapshotRecord {
    /// The figures so far.
    pub(crate) fn figures(&self) -> SnapshotFigures {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, taken: &Result<Taken, SnapshotFailure>) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(taken) => {
                figures.times.add(u64::try_from(taken.took.as_millis()).unwrap_or(u64::MAX))
            }
            Err(_) => figures.failed += 1,
        }
    }
}

fn log_snapshot(taken: Result<Taken, SnapshotFailure>) {
    panic_if_asked();
    match taken {
        Ok(Taken { name, bytes, took, longest_hold, .. }) => info!(
            "{name}: {} MiB in {:.1} s, the writer waited {} us at most",
            bytes >> 20,
            took.as_secs_f64(),
            longest_hold.as_micros()
        ),
        Err(failure) => warn!("no snapshot: {failure}"),
    }
}

/// At the start and at each interval, as Apache does.
fn start_purge(data: Arc<Mutex<DataDir>>, keep: usize, interval: Duration) -> io::Result<()> {
    let purge = move || {
        loop {
            panic_if_asked();
            let mut dir = data.lock().unwrap_or_else(PoisonError::into_inner);
            match dir.purge(keep, &mut || thread::sleep(PURGE_REST)) {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => info!("autopurge: removed {}", removed.join(", ")),
                Err(err) => warn!("autopurge: {err}"),
            }
            drop(dir);
            thread::sleep(interval);
        }
    };
    thread::Builder::new().name("purge".into()).spawn(purge).map(drop)
}

/// Between two pieces of reading a snapshot back.
const PURGE_REST: Duration = Duration::from_millis(2);
