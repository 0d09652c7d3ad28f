//! Apache ZooKeeper's servers, as members of an ensemble. They need Java: `tests/apache/ensemble`.

// Each of the tests that use it needs a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// One of Apache's servers. It is killed when dropped.
pub(crate) struct Apache {
    child: Child,
    log: PathBuf,
}

impl Apache {
    /// Starts server `id` of `servers` voters at `host`, whose ports are `base`, `base` + 100 and 200
    /// + id, with its files below `home`.
    pub(crate) fn start(home: &Path, host: &str, id: i64, servers: i64, base: u16) -> Self {
        let lib = std::env::var("APACHE_LIB").expect("run this by tests/apache/ensemble");
        let data = home.join(format!("{id}"));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("myid"), id.to_string()).unwrap();
        let lines = (1..=servers).map(|id| {
            let (quorum, election) = (base + 100 + id as u16, base + 200 + id as u16);
            format!("server.{id}={host}:{quorum}:{election}:participant\n")
        });
        let config = format!(
            "tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={}\n\
             clientPortAddress={host}\nadmin.enableServer=false\n{}",
            data.display(),
            base + id as u16,
            lines.collect::<String>()
        );
        let file = home.join(format!("{id}.cfg"));
        fs::write(&file, config).unwrap();
        let log = home.join(format!("{id}.log"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new("java")
            .args(["-Xmx256m", "-cp", &lib])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(file)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// What its log says that no server of a healthy ensemble says.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let bad = ["mismatch", "UNMATCHED", "Got zxid", "FATAL"];
        // Whoever leads, Apache's warns of the first zxid of an epoch, and of a leader that does
        // not listen yet.
        let is_first = |line: &str| line.contains("expected 0x1") || line.contains("tries=");
        let complains = |line: &&str| bad.iter().any(|word| line.contains(word)) && !is_first(line);
        log.lines().filter(complains).map(str::to_owned).collect()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a server has said last, for a failure.
pub(crate) fn tail(home: &Path, id: i64) -> String {
    let log = fs::read_to_string(home.join(format!("{id}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
