//! Bare flushes beside the load: how long the disk alone takes to make 4 KiB durable meanwhile.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::super::BenchError;
use super::probe;

/// The thread that flushes.
pub(super) struct Flushes {
    switch: Arc<Switch>,
    thread: JoinHandle<io::Result<Histogram<u64>>>,
}

#[derive(Default)]
struct Switch {
    /// Whether it works now; it rests otherwise.
    on: AtomicBool,
    stop: AtomicBool,
}

impl Flushes {
    /// Makes a file in `dir` and starts the thread, at rest. The file has no name any more.
    pub(super) fn start(dir: &Path) -> Result<Self, BenchError> {
        let path = dir.join(format!("ringkeeper-bare-flush-{}", std::process::id()));
        let prepared = prepare(&path);
        let _ = std::fs::remove_file(&path);
        let file =
            prepared.map_err(BenchError::io(format!("bare flushes in {}", dir.display())))?;
        let switch = Arc::new(Switch::default());
        let of_thread = Arc::clone(&switch);
        let thread = thread::spawn(move || work(&file, &of_thread));
        Ok(Self { switch, thread })
    }

    /// Lets it work, or rest.
    pub(super) fn measure(&self, on: bool) {
        self.switch.on.store(on, Ordering::Relaxed);
    }

    /// Ends it. Nanoseconds of each flush.
    pub(super) fn finish(self) -> Result<Histogram<u64>, BenchError> {
        self.switch.stop.store(true, Ordering::Relaxed);
        let ended =
            self.thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")));
        ended.map_err(BenchError::io("bare flushes"))
    }
}

/// A file whose blocks are all there, so that a flush writes data alone.
fn prepare(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    for page in 0..PAGES {
        file.write_all_at(&[1; PAGE_BYTES], page * PAGE_BYTES as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn work(file: &File, switch: &Switch) -> io::Result<Histogram<u64>> {
    let mut took =
        Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds and digits are in range");
    probe::first_in_line();
    let mut page = 0;
    while !switch.stop.load(Ordering::Relaxed) {
        if switch.on.load(Ordering::Relaxed) {
            let began = Instant::now();
            file.write_all_at(&[page as u8; PAGE_BYTES], page * PAGE_BYTES as u64)?;
            file.sync_data()?;
            took.saturating_record(began.elapsed().as_nanos() as u64);
            page = (page + 1) % PAGES;
        }
        thread::sleep(PERIOD);
    }
    Ok(took)
}

const PAGE_BYTES: usize = 4096;
const PAGES: u64 = 256;
/// Seldom enough to be no load of its own.
const PERIOD: Duration = Duration::from_millis(20);
