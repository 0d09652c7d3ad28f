//! Data directories of real Apache servers (`tests/golden/README.md` says how they were made).

use std::path::Path;

use serde_json::Value;

use super::*;

fn golden(name: &str) -> (Files, Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let mut files = Files::default();
    for entry in std::fs::read_dir(root.join("version-2")).unwrap() {
        let entry = entry.unwrap();
        files.put(&entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
    }
    (files, serde_json::from_slice(&std::fs::read(root.join("oracle.json")).unwrap()).unwrap())
}

fn hex(value: &Value) -> i64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap() as i64
}

fn check(name: &str, settings: RecoverySettings) -> RecoveryReport {
    let (mut files, oracle) = golden(name);
    let recovered =
        recover(&mut files, &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
    let tree = &recovered.tree;
    assert_eq!(recovered.last_zxid.0, oracle["zxid"].as_i64().unwrap(), "{name}");
    assert_eq!(tree.digest(), hex(&oracle["tree_digest"]), "{name}: digest");
    let mut sessions: Vec<_> =
        tree.sessions().map(|(id, timeout)| (id.0, i64::from(timeout))).collect();
    let expected = oracle["sessions"].as_array().unwrap();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|session| (hex(&session["id"]), session["timeout"].as_i64().unwrap()))
        .collect();
    sessions.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sessions, expected, "{name}: sessions");
    for (path, node) in oracle["nodes"].as_object().unwrap() {
        let found = tree.get(path).unwrap_or_else(|| panic!("{name}: no node {path}"));
        let stat = &node["stat"];
        assert_eq!(found.stat().mzxid, stat["mzxid"].as_i64().unwrap(), "{name}: {path}");
        assert_eq!(
            i64::from(found.stat().version),
            stat["version"].as_i64().unwrap(),
            "{name}: {path}"
        );
        assert_eq!(found.acl().len(), node["acl"].as_array().unwrap().len(), "{name}: {path}");
    }
    assert_eq!(recovered.report.digest_mismatches, 0, "{name}");
    // A second start, on what the first one has left, finds the same.
    assert_eq!(
        recover(&mut files, &settings).unwrap().tree.digest(),
        tree.digest(),
        "{name}: second start"
    );
    recovered.report
}

#[test]
fn directories_of_apache_are_recovered() {
    for name in ["3.4.14", "3.8.6", "3.9.5", "3.9.5-gz", "3.9.5-snappy"] {
        let report = check(name, settings());
        assert!(report.rejected.is_empty() && report.records > 0, "{name}: {report:?}");
    }
}

#[test]
fn a_fuzzy_snapshot_is_completed_by_the_log() {
    let report = check("3.9.5-fuzzy", settings());
    assert!(report.records > 1000, "{report:?}");
}

#[test]
fn logs_of_3_4_alone_need_to_be_trusted() {
    let (mut files, _) = golden("3.4.14-logs-only");
    assert!(matches!(recover(&mut files, &settings()), Err(RecoveryError::LogsOnly { .. })));
    check("3.4.14-logs-only", RecoverySettings { trust_empty: true, ..settings() });
}

#[test]
fn every_torn_tail_of_an_apache_log_is_survived() {
    let (files, _) = golden("3.9.5");
    let last = files.get("log.f5").clone();
    let mut ends = Vec::new();
    let mut scanner = crate::txnlog::Scanner::new(&last);
    while let Some(entry) = scanner.next_entry().unwrap() {
        ends.push((entry.end() as usize, entry.zxid));
    }
    let end = ends.last().unwrap().0;
    for cut in 0..end {
        let whole = ends.iter().filter(|(end, _)| *end <= cut).map(|(_, zxid)| *zxid).next_back();
        for fill in [None, Some(0), Some(0xa5)] {
            let mut torn = files.clone();
            torn.change("log.f5", |bytes| {
                bytes.truncate(cut);
                bytes.resize(if fill.is_some() { last.len() } else { cut }, fill.unwrap_or(0));
            });
            if cut < 4 && fill == Some(0xa5) {
                // No crash puts anything but the magic, or zeros, to the beginning.
                assert!(recover(&mut torn, &settings()).is_err());
                continue;
            }
            let recovered = recover(&mut torn, &settings())
                .unwrap_or_else(|error| panic!("{cut} {fill:?}: {error}"));
            assert_eq!(
                recovered.last_zxid,
                whole.unwrap_or(Zxid(0xf4)),
                "cut at {cut}, filled with {fill:?}"
            );
            let again = recover(&mut torn, &settings()).unwrap();
            assert_eq!(
                (again.last_zxid, again.report.cut),
                (recovered.last_zxid, None),
                "cut at {cut}"
            );
        }
    }
}
