//! The floor of a write: how long it takes to make 4 KiB durable in a file that was written before.
//!
//! Two ways, in alternating slots: a plain write followed by a flush of the file's data, and a
//! direct write that is durable by itself. Which is faster depends on the device; the better one is
//! the floor.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memmap2::MmapMut;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use serde_json::json;

use super::BenchError;
use super::args::DurableArgs;
use super::load::pin;
use super::report::{percentiles_json, percentiles_text};

/// Measures both ways in the given directory and prints what each took. The file goes away again.
pub(super) fn measure(args: &DurableArgs) -> Result<(), BenchError> {
    pin(args.core);
    let path = args.dir.join(format!("ringkeeper-durable-write-{}", std::process::id()));
    let measured = measure_at(&path, args);
    let _ = std::fs::remove_file(&path);
    let (flushed, direct) =
        measured.map_err(BenchError::io(format!("durable writes to {}", path.display())))?;
    if flushed.is_empty() {
        return Err(BenchError::Option("nothing was measured: the run was too short".to_owned()));
    }
    let p50 = |latencies: &Histogram<u64>| latencies.value_at_quantile(0.5);
    let direct_wins = direct.as_ref().is_some_and(|direct| p50(direct) < p50(&flushed));
    let (name, floor) = match &direct {
        Some(direct) if direct_wins => (DIRECT, direct),
        _ => (FLUSHED, &flushed),
    };
    if args.json {
        let direct = direct.as_ref().map(percentiles_json);
        let floor = json!({ "way": name, "latency_us": percentiles_json(floor) });
        say!(
            "{}",
            json!({
                "pwrite_fdatasync_us": percentiles_json(&flushed),
                "direct_dsync_us": direct,
                "floor": floor,
            })
        );
    } else {
        say!("durable 4 KiB writes in {}, us", args.dir.display());
        say!("{FLUSHED:<20} {}", percentiles_text(&flushed));
        match &direct {
            Some(direct) => say!("{DIRECT:<20} {}", percentiles_text(direct)),
            None => say!("{DIRECT:<20} not possible on this file system"),
        }
        say!("floor: {name}");
    }
    Ok(())
}

type Measured = (Histogram<u64>, Option<Histogram<u64>>);

fn measure_at(path: &Path, args: &DurableArgs) -> io::Result<Measured> {
    write_zeros(path)?;
    let buffered = OpenOptions::new().write(true).open(path)?;
    let flags = (OFlags::DIRECT | OFlags::CLOEXEC).bits() as i32;
    let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok();
    // Anonymous memory is page-aligned, as direct writes need it.
    let mut block = MmapMut::map_anon(BLOCK)?;
    block.fill(0x5a);
    let mut flushed = Lap::new();
    let mut durable = direct.as_ref().map(|_| Lap::new());
    let deadline = Instant::now() + Duration::from_secs_f64(args.duration.clamp(0.1, 3600.0));
    while flushed.count < args.count && Instant::now() < deadline {
        let slot = SLOT.min(args.count - flushed.count);
        flushed.run(slot, deadline, |at| {
            buffered.write_all_at(&block, at)?;
            buffered.sync_data()
        })?;
        if let (Some(file), Some(lap)) = (&direct, &mut durable) {
            lap.run(slot, deadline, |at| durable_write(file, &block, at))?;
        }
    }
    Ok((flushed.latencies, durable.map(|lap| lap.latencies)))
}

/// Blocks that have been written once cost no allocation afterwards; a log's segments are prepared
/// the same way.
fn write_zeros(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

fn durable_write(file: &File, block: &[u8], at: u64) -> io::Result<()> {
    match rustix::io::pwritev2(file, &[IoSlice::new(block)], at, ReadWriteFlags::DSYNC)? {
        BLOCK => Ok(()),
        short => {
            Err(io::Error::new(io::ErrorKind::WriteZero, format!("only {short} B were written")))
        }
    }
}

/// The writes of one way: block after block, round and round the file.
struct Lap {
    latencies: Histogram<u64>,
    count: u64,
}

impl Lap {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, 600_000_000_000, 3)
            .expect("bounds and digits are in range");
        Lap { latencies, count: 0 }
    }

    fn run(
        &mut self,
        writes: u64,
        deadline: Instant,
        mut write: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..writes {
            let started = Instant::now();
            if started >= deadline {
                break;
            }
            write(self.count * BLOCK as u64 % FILE_BYTES)?;
            self.latencies.saturating_record(started.elapsed().as_nanos() as u64);
            self.count += 1;
        }
        Ok(())
    }
}

const FLUSHED: &str = "pwrite+fdatasync";

const DIRECT: &str = "O_DIRECT+RWF_DSYNC";

const BLOCK: usize = 4096;

const FILE_BYTES: u64 = 64 << 20;

const SLOT: u64 = 250;
