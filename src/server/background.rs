//! What is never on the path of a request: snapshots, and the purge of what they have made superfluous.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam::channel::Sender;
use log::{info, warn};

use crate::runtime::SharedTree;
use crate::runtime::datadir::DataDir;
use crate::runtime::snapshotter::{SnapshotFailure, Snapshotter, SnapshotterConfig, Taken};
use crate::snapshot::Codec;

use super::config::{Compression, Config};
use super::panics::panic_if_asked;

/// The background of a server. It also holds the data directory's lock: nobody else may use the data while this lives.
pub struct Background {
    snapshotter: Snapshotter,
    _data: Arc<Mutex<DataDir>>,
}

impl Background {
    /// Starts its threads.
    pub fn start(config: &Config, data: DataDir, tree: SharedTree) -> io::Result<Self> {
        let snapshotter = Snapshotter::start(snapshotter_config(config, &data), tree, log_snapshot)?;
        let data = Arc::new(Mutex::new(data));
        if let Some(interval_s) = config.autopurge.interval_s {
            start_purge(data.clone(), config.autopurge.retain as usize, Duration::from_secs(interval_s))?;
        }
        Ok(Self { snapshotter, _data: data })
    }

    /// Each `()` asks for a snapshot.
    pub fn snapshots(&self) -> Sender<()> {
        self.snapshotter.requests()
    }
}

/// How snapshots are to be written.
pub fn snapshotter_config(config: &Config, data: &DataDir) -> SnapshotterConfig {
    SnapshotterConfig {
        codec: match config.snapshot_compression {
            Compression::None => Codec::Plain,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
        },
        digest: config.digest_enabled,
        last_zxid: config.serialize_last_processed_zxid,
        ..SnapshotterConfig::new(data.snapshots().to_owned())
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
