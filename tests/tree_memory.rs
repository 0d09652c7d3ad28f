//! The memory of a znode, measured on the whole process. It is alone in its file, so that no other
//! test shares its memory.

use std::fs;

use ringkeeper::jute::data::Acl;
use ringkeeper::tree::Tree;
use ringkeeper::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
use ringkeeper::zxid::SessionId;

#[test]
fn a_znode_takes_160_bytes_beside_name_and_data_at_most() {
    let data = vec![7; DATA_BYTES];
    let before = resident_bytes();
    let mut tree = Tree::new();
    for parent in 0..PARENTS {
        create(&mut tree, format!("/{parent:04}"), &data);
    }
    for node in 0..NODES {
        create(&mut tree, format!("/{:04}/n{node:08}", node % PARENTS), &data);
    }
    let per_node = (resident_bytes() - before) as f64 / NODES as f64;
    let overhead = per_node - (DATA_BYTES + "n00000000".len()) as f64;
    println!(
        "{NODES} znodes of {DATA_BYTES} bytes: {per_node:.1} bytes each, {overhead:.1} beside \
         name and data"
    );
    assert_eq!(tree.node_count(), NODES + PARENTS + 5);
    assert!(overhead < 160.0, "{overhead:.1}");
}

fn create(tree: &mut Tree, path: String, data: &[u8]) {
    let zxid = tree.last_zxid().next();
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time_ms: 1 };
    let data = Some(data.to_vec().into());
    let acl = vec![Acl::open()];
    let kind = CreateKind::Persistent;
    let create =
        CreateTxn { path, data, acl: acl.into(), kind, with_stat: false, parent_cversion: -1 };
    assert!(tree.apply(&header, &Txn::Create(create), None).err.is_ok());
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("the second field is a number");
    pages * rustix::param::page_size()
}

const NODES: usize = 1_000_000;
const PARENTS: usize = 1000;
const DATA_BYTES: usize = 100;
