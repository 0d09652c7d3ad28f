//! The costs of the log to the quorum core: encoding an entry, appending a group, making it
//! durable, scanning a file.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::runtime::log::{Log, LogConfig};
use ringkeeper::txnlog::{Nonce, Scanner, append_entry, file_header};
use ringkeeper::zxid::Zxid;

/// A payload like that of setData with 128 bytes.
fn payload(zxid: i64) -> Vec<u8> {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    payload
}

fn open(dir: &tempfile::TempDir) -> Log {
    Log::open(dir.path().to_owned(), LogConfig::default(), Zxid::ZERO, Arc::new(|| ()))
        .expect("a temporary directory can be used")
}

/// Appends one entry, waiting for the next segment if the benchmark outruns it. The log looks at
/// the zxid that it is told, not at the one in the entry.
fn append(log: &mut Log, entry: &[u8], last: &mut Zxid) {
    while log.room(0) < entry.len() as u64 {
        log.flush_blocking().expect("the disk takes a flush");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    *last = last.next();
    log.append(entry.to_vec().into(), *last).expect("there is room");
}

fn formats(c: &mut Criterion) {
    let payload = payload(1);
    let mut out = Vec::new();
    let mut group = c.benchmark_group("txnlog");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append_entry", |b| {
        b.iter(|| {
            out.clear();
            append_entry(&mut out, black_box(&payload));
        });
    });
    let mut file = file_header(Nonce::new(1)).to_vec();
    (1..=10_000).for_each(|zxid| append_entry(&mut file, &self::payload(zxid)));
    file.resize(file.len() + (1 << 20), 0);
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("scan", |b| b.iter(|| Scanner::new(black_box(&file)).end().unwrap()));
    group.finish();
}

fn mapped(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(std::env::var("LOG_DIR").unwrap_or_else(|_| ".".into()))
        .expect("a directory");
    let (mut log, mut last) = (open(&dir), Zxid::ZERO);
    let mut entry = Vec::new();
    append_entry(&mut entry, &payload(1));
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append", |b| b.iter(|| append(&mut log, black_box(&entry), &mut last)));
    log.flush_blocking().expect("the disk takes a flush");
    group.bench_function("append+flush", |b| {
        b.iter_batched(
            || (),
            |()| {
                append(&mut log, &entry, &mut last);
                log.flush_blocking().expect("the disk takes a flush");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    log.close().expect("the log can be closed");
}

const PAYLOAD_BYTES: usize = 220;

criterion_group!(benches, formats, mapped);
criterion_main!(benches);
