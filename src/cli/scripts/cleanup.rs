//! `zkCleanup.sh`: removes snapshots, and logs before them, that newer snapshots have made
//! superfluous.
//!
//! Beside a server that runs it asks that server what is committed: a member of an ensemble must keep
//! a snapshot that no leader can want cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use crate::cli::ask::{Said, ask};
use crate::codes::VERSION_2;
use crate::runtime::datadir::{DataDir, DataDirError};
use crate::server::words::text::timestamp;
use crate::zxid::Zxid;

use super::site::{Settings, Site};
use super::status::client_port;

/// Does what the words say. Exit code 1: usage, or why nothing was removed.
pub(super) fn run(site: &Site) -> ExitCode {
    let settings = Settings::read(&site.config).unwrap_or_else(|_| Settings::none());
    let purge = match Purge::parse(&settings, &site.words) {
        Ok(purge) => purge,
        Err(why) => {
            if let Some(why) = why {
                say_error!("{why}");
            }
            usage();
            return ExitCode::FAILURE;
        }
    };
    match purge.run(client_port(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say_error!("ringkeeper: {why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Purge {
    /// `dataLogDir`.
    log: PathBuf,
    /// `dataDir`.
    data: PathBuf,
    /// Snapshots to keep.
    keep: usize,
}

impl Purge {
    /// The directories of the configuration, or else those of the words. The error is what to say
    /// before the usage.
    fn parse(settings: &Settings, words: &[String]) -> Result<Self, Option<String>> {
        let of_config = [settings.get("dataLogDir"), settings.get("dataDir")].into_iter().flatten();
        let all: Vec<&str> = of_config.chain(words.iter().map(String::as_str)).collect();
        let (log, data, option, number) = match all[..] {
            [dir, option, number] => (dir, dir, option, number),
            [log, data, option, number] => (log, data, option, number),
            _ => return Err(None),
        };
        for dir in [log, data] {
            if !Path::new(dir).exists() {
                let path = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
                return Err(Some(format!("Path '{}' does not exist. ", path.display())));
            }
        }
        let unparsed = || Some(format!("'{number}' can not be parsed to integer."));
        let keep = number.parse::<i32>().map_err(|_| unparsed())?;
        let too_few = "count should be greater than or equal to 3";
        let keep = usize::try_from(keep).ok().filter(|keep| *keep >= KEEP_MIN);
        let keep = keep.ok_or_else(|| Some(too_few.to_owned()))?;
        if option != "-n" {
            return Err(None);
        }
        Ok(Self { log: log.into(), data: data.into(), keep })
    }

    fn run(&self, server: Option<(String, u16)>) -> Result<(), String> {
        if !self.log.join(VERSION_2).is_dir() || !self.data.join(VERSION_2).is_dir() {
            return Ok(());
        }
        let mut dir = match DataDir::open(&self.data, &self.log, false) {
            Ok(dir) => dir,
            Err(DataDirError::InUse { .. }) => {
                let committed = committed(server)?;
                DataDir::beside(&self.data, &self.log, committed)
                    .map_err(|error| error.to_string())?
            }
            Err(error) => return Err(error.to_string()),
        };
        let times = Times::of([dir.logs(), dir.snapshots()]);
        let removed = dir.purge(self.keep, &mut || {}).map_err(|error| error.to_string())?;
        for name in removed {
            say!("{}", times.removal(&name));
        }
        Ok(())
    }
}

/// What the server that uses the directory has committed.
fn committed(server: Option<(String, u16)>) -> Result<Zxid, String> {
    let refused = |why: &str| {
        format!(
            "a server uses the directory, and {why}: nothing is removed; try again when it serves, \
             or let it purge by itself (autopurge.purgeInterval)"
        )
    };
    let server = server.ok_or_else(|| refused("the configuration does not say where to ask it"))?;
    match ask(&server) {
        Said::Serving { mode, .. } if mode == "standalone" => Ok(Zxid::MAX),
        Said::Serving { mode, zxid, .. } if mode != "read-only" => {
            let digits = zxid.strip_prefix("0x").unwrap_or(&zxid);
            let parsed = i64::from_str_radix(digits, 16);
            parsed.map(Zxid).map_err(|_| refused("its zxid is no number"))
        }
        _ => Err(refused("it does not serve")),
    }
}

/// When the files were written, to be told after they are gone.
struct Times(Vec<(PathBuf, i64)>);

impl Times {
    fn of(dirs: [&Path; 2]) -> Self {
        let files = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        let written = |path: &Path| {
            let since =
                fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok()
        };
        let times = files.filter_map(|file| {
            let path = file.path();
            let ms = written(&path)?;
            Some((path, ms))
        });
        Self(times.collect())
    }

    /// The line about the removal of this file.
    fn removal(&self, name: &str) -> String {
        let found = self.0.iter().find(|(path, _)| path.file_name().is_some_and(|it| it == name));
        let (path, ms) = found.map_or((Path::new(name), 0), |(path, ms)| (path.as_path(), *ms));
        let when = timestamp(ms);
        let when = when.split_once(',').map_or(when.as_str(), |(seconds, _)| seconds);
        format!("Removing file: {when}\t{}", path.display())
    }
}

fn usage() {
    say!(
        "Usage:
PurgeTxnLog dataLogDir [snapDir] -n count
\tdataLogDir -- path to the txn log directory
\tsnapDir -- path to the snapshot directory
\tcount -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3"
    );
}

const KEEP_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_apaches_script_reads_them() {
        let parse = |words: &str| {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            Purge::parse(&Settings::none(), &words)
        };
        let purge =
            |log: &str, data: &str, keep| Purge { log: log.into(), data: data.into(), keep };
        assert_eq!(parse("/ -n 3"), Ok(purge("/", "/", 3)));
        assert_eq!(parse("/tmp / -n 10"), Ok(purge("/tmp", "/", 10)));
        for (words, wanted) in [
            ("", None),
            ("-n 3", None),
            ("/ -m 3", None),
            ("/ -n 2", Some("count should be greater than or equal to 3")),
            ("/ -n -5", Some("count should be greater than or equal to 3")),
            ("/ -n x", Some("'x' can not be parsed to integer.")),
            ("/nowhere -n 3", Some("Path '/nowhere' does not exist. ")),
        ] {
            assert_eq!(parse(words), Err(wanted.map(str::to_owned)), "{words}");
        }
    }

    #[test]
    fn beside_a_server_that_cannot_be_asked_nothing_is_removed() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().to_owned();
        let server = DataDir::open(&dir, &dir, true).expect("nobody has it");
        let purge = Purge { log: dir.clone(), data: dir.clone(), keep: 3 };
        for (asked, why) in [(None, "does not say where"), (Some(("127.0.0.1".into(), 9)), "serve")]
        {
            let refused = purge.run(asked).expect_err("in use");
            assert!(refused.contains(why) && refused.contains("nothing is removed"), "{refused}");
        }
        drop(server);
        assert_eq!(purge.run(None), Ok(()));
    }
}
