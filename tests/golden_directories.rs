//! Directories left by real Apache servers (`tests/golden/README.md`), recovered from every
//! snapshot in them: the digest after each transaction, and at the end all that a client saw just
//! before the server was killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringkeeper::jute::data::{Acl, Stat};
use ringkeeper::snapshot::{
    Codec, FileName, Part, Reader, Trailers, Writer, ZxidDigest, is_candidate,
};
use ringkeeper::tree::{Loader, Tree};
use ringkeeper::txn::read_log_record;
use ringkeeper::txnlog::{Scanner, zxid_of_name};
use ringkeeper::zxid::{SessionId, Zxid};
use serde_json::Value;

const DIRECTORIES: [&str; 7] =
    ["3.4.14", "3.4.14-logs-only", "3.8.6", "3.9.5", "3.9.5-fuzzy", "3.9.5-gz", "3.9.5-snappy"];

#[test]
fn every_snapshot_leads_to_what_clients_saw() {
    let mut compared = 0;
    for name in DIRECTORIES {
        let directory = golden().join(name);
        let oracle: Value =
            serde_json::from_slice(&fs::read(directory.join("oracle.json")).unwrap()).unwrap();
        let mut snapshots: Vec<_> =
            file_names(&directory).iter().filter_map(|name| FileName::parse(name)).collect();
        snapshots.sort_by_key(|name| name.zxid);
        if snapshots.is_empty() {
            compared += replay(&directory, &mut Tree::new(), &Trailers::default(), Zxid::ZERO);
        }
        for file in &snapshots {
            let what = format!("{name}/{file}");
            let (mut tree, trailers) = load(&directory, file);
            assert_eq!(tree.last_zxid(), file.zxid);
            compared += replay(&directory, &mut tree, &trailers, file.zxid);
            let whole_at = trailers.digest_to_expect(file.zxid).map_or(file.zxid, |(zxid, _)| zxid);
            compare(&what, &tree, &oracle, whole_at);
            compare_copy(&what, &mut tree);
        }
    }
    assert!(compared > 1000, "only {compared} digests were there to compare");
}

#[test]
fn logs_alone_lead_there_too() {
    let directory = golden().join("3.4.14-logs-only");
    let oracle: Value =
        serde_json::from_slice(&fs::read(directory.join("oracle.json")).unwrap()).unwrap();
    let mut tree = Tree::new();
    replay(&directory, &mut tree, &Trailers::default(), Zxid::ZERO);
    compare("3.4.14-logs-only", &tree, &oracle, Zxid::ZERO);
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("version-2")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn load(directory: &Path, file: &FileName) -> (Tree, Trailers) {
    let packed = fs::read(directory.join("version-2").join(file.to_string())).unwrap();
    let tail = &packed[packed.len() - 5..];
    assert!(is_candidate(file.codec, &packed[..8], tail, packed.len() as u64), "{file}");
    let (tree, trailers) = load_bytes(file.codec, &packed, file.zxid);
    if let Some((zxid, digest)) = trailers.digest_to_expect(file.zxid)
        && zxid == file.zxid
    {
        assert_eq!(tree.digest(), digest, "{file}");
    }
    (tree, trailers)
}

fn load_bytes(codec: Codec, bytes: &[u8], zxid: Zxid) -> (Tree, Trailers) {
    let mut reader = Reader::new(codec, bytes);
    let mut loader = Loader::new();
    while let Some(part) = reader.next_part().unwrap() {
        match part {
            Part::Session(session, timeout_ms) => loader.session(session, timeout_ms),
            Part::Acl(index, list) => loader.acl(index, &list),
            Part::Node { path, data, acl_index, stat } => {
                loader.node(&path, data, acl_index, &stat).unwrap()
            }
        }
    }
    (loader.finish(zxid), reader.trailers().unwrap())
}

/// Applies all logs from `after` on; returns how many digests were compared.
fn replay(directory: &Path, tree: &mut Tree, trailers: &Trailers, after: Zxid) -> usize {
    let expected = trailers.digest_to_expect(after);
    tree.set_whole_at(expected.map_or(after, |(zxid, _)| zxid));
    let mut names: Vec<_> = file_names(directory)
        .iter()
        .filter_map(|name| Some((zxid_of_name(name)?, name.clone())))
        .collect();
    names.sort();
    let mut compared = 0;
    for (_, name) in names {
        let bytes = fs::read(directory.join("version-2").join(&name)).unwrap();
        let mut scanner = Scanner::new(&bytes);
        while let Some(entry) = scanner.next_entry().unwrap() {
            let record = read_log_record(entry.payload).unwrap();
            let zxid = record.header.zxid;
            if zxid <= after {
                continue;
            }
            tree.apply(&record.header, &record.txn, None);
            if !tree.is_whole() {
                continue;
            }
            if let Some((_, digest)) = expected.filter(|(whole_at, _)| *whole_at == zxid) {
                assert_eq!(tree.digest(), digest, "{name}: {zxid}, of the snapshot");
                compared += 1;
            }
            if let Some(digest) = record.digest {
                assert_eq!(
                    tree.digest(),
                    digest.tree,
                    "{}/{name}: {zxid} {:?}",
                    directory.display(),
                    record.txn
                );
                compared += 1;
            }
        }
    }
    compared
}

fn compare(what: &str, tree: &Tree, oracle: &Value, whole_at: Zxid) {
    assert_eq!(tree.last_zxid().0, oracle["zxid"].as_i64().unwrap(), "{what}");
    assert_eq!(format!("{:x}", tree.digest()), oracle["tree_digest"].as_str().unwrap(), "{what}");
    let nodes = oracle["nodes"].as_object().unwrap();
    // What the recording server showed and 3.9.5 shows otherwise: with 3.4's logs alone,
    // /zookeeper/config is there.
    let changed = oracle["differs_under_3.9.5"].as_object().unwrap();
    for (path, expected) in
        nodes.iter().filter(|(path, _)| !changed.contains_key(*path)).chain(changed)
    {
        let node = tree.get(path).unwrap_or_else(|| panic!("{what}: {path} is missing"));
        let data = expected["data"].as_str().map(|data| BASE64_STANDARD.decode(data).unwrap());
        assert_eq!(node.data(), data.as_deref(), "{what}: {path}");
        assert_eq!(node.stat(), stat_of(&expected["stat"]), "{what}: {path}");
        let acl: Vec<_> = node.acl().iter().map(acl_text).collect();
        let expected_acl: Vec<_> =
            expected["acl"].as_array().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(acl, expected_acl, "{what}: {path}");
        assert_eq!(node.children().count(), node.num_children() as usize, "{what}: {path}");
    }
    let added = changed.keys().filter(|path| !nodes.contains_key(*path)).count();
    assert_eq!(tree.node_count() - 1, nodes.len() + added, "{what}");
    let mut sessions = BTreeMap::new();
    for session in oracle["sessions"].as_array().unwrap() {
        let id = i64::from_str_radix(session["id"].as_str().unwrap(), 16).unwrap();
        sessions.insert(SessionId(id), session["timeout"].as_i64().unwrap() as i32);
        let mut ephemerals: Vec<_> = session["ephemerals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap())
            .collect();
        ephemerals.sort_unstable();
        assert_eq!(tree.ephemerals_of(SessionId(id)), ephemerals, "{what}");
    }
    assert_eq!(tree.sessions().collect::<BTreeMap<_, _>>(), sessions, "{what}");
    let history: Vec<_> =
        tree.digest_history().map(|(zxid, digest)| format!("{zxid:x}: {digest}")).collect();
    for line in oracle["hash"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if line.is_empty() {
            continue;
        }
        let zxid = i64::from_str_radix(line.split(':').next().unwrap(), 16).unwrap();
        assert!(zxid <= whole_at.0 || history.contains(&line.into()), "{what}: {line}");
    }
    assert!(tree.digest_history().all(|(zxid, _)| zxid >= whole_at), "{what}");
}

/// A snapshot that we write of it reads back as the same tree.
fn compare_copy(what: &str, tree: &mut Tree) {
    let (walk, mut head) = tree.begin_snapshot().unwrap();
    while tree.copy_head(walk, &mut head, 7).unwrap() {}
    let mut writer = Writer::new();
    let mut bytes = Vec::new();
    writer.head(&mut bytes, &head.sessions, &head.acls);
    loop {
        let cursor = tree.snapshot_batch(walk, 7, &mut |path, data, acl_index, stat| {
            writer.node(&mut bytes, path, data, acl_index, stat);
        });
        let Some(cursor) = cursor.unwrap() else { break };
        tree.advance_snapshot(walk, cursor);
    }
    tree.end_snapshot(walk);
    let digest = ZxidDigest { zxid: head.zxid, version: 2, digest: head.digest };
    writer.finish(&mut bytes, &Trailers { digest: Some(digest), last_zxid: Some(head.zxid) });
    let (copy, _) = load_bytes(Codec::Plain, &bytes, head.zxid);
    assert_eq!((copy.digest(), copy.node_count()), (tree.digest(), tree.node_count()), "{what}");
    assert_eq!(copy.data_size(), tree.data_size(), "{what}");
    assert_eq!(copy.ephemeral_owners(), tree.ephemeral_owners(), "{what}");
    assert!(copy.sessions().eq(tree.sessions()), "{what}");
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        let (node, same) = (tree.get(&path).unwrap(), copy.get(&path).unwrap());
        assert_eq!(
            (node.data(), node.persisted(), node.acl()),
            (same.data(), same.persisted(), same.acl())
        );
        paths.extend(node.children().map(|name| format!("{path}/{name}")));
    }
}

fn acl_text(acl: &Acl) -> String {
    serde_json::json!([acl.perms, acl.id.scheme, acl.id.id]).to_string()
}

fn stat_of(stat: &Value) -> Stat {
    let long = |key: &str| stat[key].as_i64().unwrap();
    let int = |key: &str| long(key) as i32;
    Stat {
        czxid: long("czxid"),
        mzxid: long("mzxid"),
        ctime: long("ctime"),
        mtime: long("mtime"),
        version: int("version"),
        cversion: int("cversion"),
        aversion: int("aversion"),
        ephemeral_owner: long("ephemeralOwner"),
        data_length: int("dataLength"),
        num_children: int("numChildren"),
        pzxid: long("pzxid"),
    }
}
