//! The tree and the snapshot format: reads, writes, loading and saving, at a thousand nodes (in
//! cache) and a million.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::jute::data::Acl;
use ringkeeper::snapshot::{Codec, Part, Reader, Trailers, Writer};
use ringkeeper::tree::{Loader, Tree};
use ringkeeper::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
use ringkeeper::zxid::{SessionId, Zxid};

/// A tree of `nodes` nodes of 100 bytes below a thousand parents.
struct Grown {
    tree: Tree,
    nodes: usize,
    zxid: i64,
}

impl Grown {
    fn new(nodes: usize) -> Self {
        let mut grown = Self { tree: Tree::new(), nodes, zxid: 0 };
        grown.create("/bench");
        for parent in 0..PARENTS {
            grown.create(&format!("/bench/d{parent:04}"));
        }
        for node in 0..nodes {
            grown.create(&path_of(node));
        }
        grown
    }

    fn apply(&mut self, txn: &Txn) {
        self.zxid += 1;
        let header =
            TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(self.zxid), time_ms: self.zxid };
        black_box(self.tree.apply(&header, txn, None));
    }

    fn create(&mut self, path: &str) {
        self.apply(&create(path.into()));
    }

    /// A thousand paths, far apart.
    fn sample(&self) -> Vec<String> {
        (0..1000).map(|at| path_of(at * 7919 % self.nodes)).collect()
    }

    fn snapshot(&mut self, max_nodes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new();
        let (walk, mut head) = self.tree.begin_snapshot().expect("it is the only walk");
        while self.tree.copy_head(walk, &mut head, max_nodes).expect("the walk goes on") {}
        writer.head(&mut out, &head.sessions, &head.acls);
        loop {
            let cursor =
                self.tree.snapshot_batch(walk, max_nodes, &mut |path, data, acl_index, stat| {
                    writer.node(&mut out, path, data, acl_index, stat);
                });
            let Some(cursor) = cursor.expect("the walk goes on") else { break };
            self.tree.advance_snapshot(walk, cursor);
        }
        self.tree.end_snapshot(walk);
        writer.finish(&mut out, &Trailers::default());
        out
    }
}

fn path_of(node: usize) -> String {
    format!("/bench/d{:04}/n{node:08}", node % PARENTS)
}

fn create(path: String) -> Txn {
    Txn::Create(CreateTxn {
        path,
        data: Some(Bytes::from_static(&[7; 100])),
        acl: [Acl::open()].into(),
        kind: CreateKind::Persistent,
        with_stat: false,
        parent_cversion: -1,
    })
}

fn load(bytes: &[u8]) -> Tree {
    let mut reader = Reader::new(Codec::Plain, bytes);
    let mut loader = Loader::new();
    while let Some(part) = reader.next_part().expect("we have written it") {
        match part {
            Part::Session(session, timeout_ms) => loader.session(session, timeout_ms),
            Part::Acl(index, list) => loader.acl(index, &list),
            Part::Node { path, data, acl_index, stat } => {
                loader.node(&path, data, acl_index, &stat).expect("parents come first");
            }
        }
    }
    loader.finish(Zxid(1))
}

fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    for nodes in [1000, 1_000_000] {
        let mut grown = Grown::new(nodes);
        let paths = grown.sample();
        group.throughput(Throughput::Elements(paths.len() as u64));
        group.bench_function(BenchmarkId::new("getData", nodes), |bencher| {
            bencher.iter(|| {
                for path in &paths {
                    let node = grown.tree.get(path).expect("it is there");
                    black_box((node.data(), node.stat(), node.is_open()));
                }
            });
        });
        let writes: Vec<_> = paths.iter().map(|path| set_data(path.clone())).collect();
        group.bench_function(BenchmarkId::new("setData", nodes), |bencher| {
            bencher.iter(|| writes.iter().for_each(|txn| grown.apply(txn)));
        });
        let creates: Vec<_> = paths.iter().map(|path| create(format!("{path}x"))).collect();
        let deletes: Vec<_> =
            paths.iter().map(|path| Txn::Delete { path: format!("{path}x") }).collect();
        group.bench_function(BenchmarkId::new("create and delete", nodes), |bencher| {
            bencher.iter(|| creates.iter().chain(&deletes).for_each(|txn| grown.apply(txn)));
        });
    }
    group.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let mut grown = Grown::new(1_000_000);
    let bytes: Arc<[u8]> = grown.snapshot(BATCH_NODES).into();
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("write a million nodes", |bencher| {
        bencher.iter(|| black_box(grown.snapshot(BATCH_NODES)))
    });
    drop(grown);
    group.bench_function("load a million nodes", |bencher| {
        bencher.iter_batched(|| bytes.clone(), |bytes| load(&bytes), BatchSize::PerIteration);
    });
    group.finish();
}

fn set_data(path: String) -> Txn {
    let path = path.into();
    Txn::SetData(SetDataTxn { path, data: Some(Bytes::from_static(&[8; 100])), version: 1 })
}

const PARENTS: usize = 1000;
const BATCH_NODES: usize = 512;

criterion_group!(benches, operations, snapshots);
criterion_main!(benches);
