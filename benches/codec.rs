//! The costs of the frontend machine for one request: from the bytes of a frame to the bytes of its
//! reply, and the parts of it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use ringkeeper::codes::{ErrorCode, EventType, OpCode};
use ringkeeper::frontend::{Effect, Frontend, FrontendConfig};
use ringkeeper::handoff::{
    BatchItem, CommitBatch, ConnId, Reply, ReplyBody, ShardId, ToQuorum, ToShard,
};
use ringkeeper::jute::data::{Acl, Stat};
use ringkeeper::jute::{Reader, Writer};
use ringkeeper::proto::{PathWatchRequest, RequestHeader, begin_reply};
use ringkeeper::tree::Tree;
use ringkeeper::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
use ringkeeper::watch::{Modes, WatchTable};
use ringkeeper::zxid::{Now, SessionId, Zxid};

/// A tree of `nodes` children of /bench with 128 bytes each.
fn tree(nodes: u32) -> Tree {
    let mut tree = Tree::new();
    for i in 0..=nodes {
        let path = if i == 0 { "/bench".to_owned() } else { format!("/bench/node{i:08}") };
        let header =
            TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(i64::from(i) + 1), time_ms: 0 };
        let create = Txn::Create(CreateTxn {
            path,
            data: Some(vec![7; 128].into()),
            acl: [Acl::open()].into(),
            kind: CreateKind::Persistent,
            with_stat: false,
            parent_cversion: i as i32,
        });
        tree.apply(&header, &create, None);
    }
    tree
}

fn frame(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    let start = writer.begin_frame();
    body(&mut writer);
    writer.end_frame(start);
    out
}

fn path_request(op: OpCode, path: &str, watch: bool) -> Vec<u8> {
    frame(|writer| {
        writer.i32(5);
        writer.i32(op.0);
        writer.string(path);
        writer.bool(watch);
    })
}

const CONN: ConnId = ConnId { slot: 0, generation: 1 };
const NOW: Now = Now { mono_ms: 1000, wall_ms: 1_700_000_000_000 };

/// A machine with one connection in a session.
fn frontend(tree: &Tree) -> Frontend {
    let config = FrontendConfig { outstanding_max: 0, ..FrontendConfig::default() };
    let mut front = Frontend::new(config, ShardId(0), 0x100_0000_0000_0000, 0);
    front.on_accept(CONN, "127.0.0.1:1".parse().expect("it is an address"), NOW);
    let connect = frame(|writer| {
        writer.i32(0);
        writer.i64(0);
        writer.i32(10_000);
        writer.i64(0);
        writer.buffer(Some(&[0; 16]));
        writer.bool(false);
    });
    receive(&mut front, tree, &connect);
    let Some(Effect::ToQuorum(ToQuorum::CreateSession { origin, session, timeout_ms })) =
        front.poll()
    else {
        panic!("a connect request asks for a session");
    };
    let opened = BatchItem::SessionOpened { origin, session, timeout_ms };
    let mut batch = Some(ToShard::Commit(CommitBatch { zxid: Zxid(0), items: vec![opened] }));
    let hold = front.drain(tree, NOW, || batch.take());
    assert!(hold.is_some(), "one answer is less than a turn's work");
    drain(&mut front);
    front
}

/// One turn in which bytes come.
fn receive(front: &mut Frontend, tree: &Tree, bytes: &[u8]) {
    let Some(mut hold) = front.drain(tree, NOW, || None) else { panic!("nothing waits") };
    front.on_bytes(CONN, bytes, &mut hold);
    while front.serve_next(&mut hold) {}
}

fn drain(front: &mut Frontend) -> usize {
    while front.poll().is_some() {}
    let output = front.output(CONN);
    let len = output.len();
    output.clear();
    front.on_sent(CONN, len);
    len
}

fn reads(c: &mut Criterion) {
    let tree = tree(1000);
    let mut group = c.benchmark_group("frontend");
    for (name, op) in [("getData", OpCode::GET_DATA), ("exists", OpCode::EXISTS)] {
        let mut front = frontend(&tree);
        let sixteen: Vec<u8> = (0..16)
            .flat_map(|i| path_request(op, &format!("/bench/node{:08}", 1 + i * 50), false))
            .collect();
        group.throughput(Throughput::Elements(16));
        group.bench_function(format!("{name}, 16 in one piece"), |b| {
            b.iter(|| {
                receive(&mut front, &tree, black_box(&sixteen));
                drain(&mut front)
            })
        });
        let one = path_request(op, "/bench/node00000500", false);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}, one"), |b| {
            b.iter(|| {
                receive(&mut front, &tree, black_box(&one));
                drain(&mut front)
            })
        });
    }
    let mut front = frontend(&tree);
    let children = path_request(OpCode::GET_CHILDREN2, "/bench", false);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("getChildren2 of 1000", |b| {
        b.iter(|| {
            receive(&mut front, &tree, black_box(&children));
            drain(&mut front)
        })
    });
    group.finish();
}

fn writes(c: &mut Criterion) {
    let tree = tree(10);
    let mut front = frontend(&tree);
    let set_data = frame(|writer| {
        writer.i32(5);
        writer.i32(OpCode::SET_DATA.0);
        writer.string("/bench/node00000001");
        writer.buffer(Some(&[7; 128]));
        writer.i32(-1);
    });
    let sixteen = set_data.repeat(16);
    let reply = Reply {
        conn: CONN,
        xid: 5,
        op: OpCode::SET_DATA,
        zxid: tree.last_zxid(),
        err: ErrorCode::OK,
        body: ReplyBody::Stat(Stat::default()),
        close: false,
    };
    let mut group = c.benchmark_group("frontend");
    group.throughput(Throughput::Elements(16));
    group.bench_function("setData handed over and answered, 16 in one piece", |b| {
        b.iter(|| {
            receive(&mut front, &tree, black_box(&sixteen));
            while let Some(effect) = front.poll() {
                black_box(effect);
            }
            let items = vec![BatchItem::Reply(reply.clone()); 16];
            let mut batch = Some(ToShard::Commit(CommitBatch { zxid: tree.last_zxid(), items }));
            black_box(front.drain(&tree, NOW, || batch.take()));
            drain(&mut front)
        })
    });
    group.finish();
}

fn codec(c: &mut Criterion) {
    let request = path_request(OpCode::GET_DATA, "/bench/node00000500", true);
    let mut group = c.benchmark_group("codec");
    group.bench_function("getData request decoded", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(&request[4..]));
            (RequestHeader::read(&mut reader), PathWatchRequest::read(&mut reader))
        })
    });
    let mut out = Vec::with_capacity(4096);
    let (data, stat) = ([7; 128], Stat::default());
    group.bench_function("getData reply of 128 bytes encoded", |b| {
        b.iter(|| {
            out.clear();
            let mut writer = Writer::new(&mut out);
            let frame = begin_reply(&mut writer, 5, 7, ErrorCode::OK);
            writer.buffer(Some(black_box(&data)));
            stat.write(&mut writer);
            writer.end_frame(frame);
            black_box(&out).len()
        })
    });
    group.finish();
}

fn watches(c: &mut Criterion) {
    let mut table = WatchTable::new();
    for i in 0..100_000u32 {
        table.add(&format!("/bench/node{i:08}"), i % 1000, Modes::DATA);
    }
    let mut group = c.benchmark_group("watch");
    group.bench_function("miss among 100000", |b| {
        b.iter(|| {
            table.trigger(EventType::NodeDataChanged, black_box("/bench/none00000500"), |_| ())
        })
    });
    group.bench_function("set and fired", |b| {
        b.iter(|| {
            table.add(black_box("/bench/other0000500"), 7, Modes::DATA);
            table.trigger(EventType::NodeDataChanged, black_box("/bench/other0000500"), |_| ());
        })
    });
    table.add("/bench", 7, Modes::RECURSIVE);
    group.bench_function("miss with a recursive watch above", |b| {
        b.iter(|| {
            table.trigger(EventType::NodeDataChanged, black_box("/other/none00000500"), |_| ())
        })
    });
    group.finish();
}

criterion_group!(benches, reads, writes, codec, watches);
criterion_main!(benches);
