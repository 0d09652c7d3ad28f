//! `zkServer-initialize.sh`: an empty data directory, with the marker that lets a member of an
//! ensemble vote although it has no data.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::codes::VERSION_2;
use crate::runtime::datadir::{DataDir, DataDirError};

use super::pid_file::{Named, look};
use super::site::{Settings, Site};

/// Does what the words say. Exit code 1: usage, or why nothing was made.
pub(super) fn run(site: &Site) -> ExitCode {
    let options = match Options::parse(site) {
        Ok(options) => options,
        Err(unknown) => {
            if let Some(word) = unknown {
                say!("{word}");
            }
            usage(site);
            return ExitCode::FAILURE;
        }
    };
    match initialize(site, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say!("{why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    config: String,
    my_id: Option<String>,
    force: bool,
}

impl Options {
    /// The error is what to say before the usage.
    fn parse(site: &Site) -> Result<Self, Option<String>> {
        let mut options = Self { config: site.config.clone(), my_id: None, force: false };
        let mut words = site.words.iter().map(String::as_str);
        // An empty word ends them, as in Apache's script.
        while let Some(word) = words.next().filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if !value.is_empty() => (name, Some(value)),
                _ => (word, None),
            };
            let mut value = || {
                let value = value.or_else(|| words.next()).map(str::to_owned);
                value.ok_or_else(|| Some(format!("No value: {word}")))
            };
            match name {
                "--configfile" => options.config = value()?,
                "--myid" => options.my_id = Some(value()?),
                "--force" => options.force = true,
                "-h" | "--help" => return Err(None),
                _ => return Err(Some(format!("Unknown option: {word}"))),
            }
        }
        Ok(options)
    }
}

fn usage(site: &Site) {
    say!(
        "usage: {} <parameters>
  Optional parameters:
     -h                                                    Display this message
     --help                                                Display this message
     --configfile={:<40} ZooKeeper config file
     --myid=#                                              Set the myid to be used, if any (1-255)
     --force                                               Force creation of the data/txnlog dirs",
        site.name,
        site.config
    );
}

fn initialize(site: &Site, options: &Options) -> Result<(), String> {
    let config = &options.config;
    if !Path::new(config).exists() {
        return Err(format!("Unable to find config file at {config}"));
    }
    let settings = Settings::read(config).map_err(|error| format!("{config}: {error}"))?;
    let data = settings.get("dataDir").map(PathBuf::from);
    let data = data.ok_or_else(|| format!("Unable to determine dataDir from {config}"))?;
    let log = settings.get("dataLogDir").map(PathBuf::from);
    if let Some(id) = options.my_id.as_deref().filter(|id| id.parse::<u64>().is_err()) {
        return Err(format!("myid must be a whole number, not {id:?}; nothing is changed"));
    }
    if options.force {
        say!("Force enabled, data/txnlog directories will be re-initialized");
    } else {
        for (what, dir) in [("data", Some(&data)), ("txnlog", log.as_ref())] {
            if let Some(dir) = dir.filter(|dir| dir.join(VERSION_2).is_dir()) {
                return Err(format!(
                    "ZooKeeper {what} directory already exists at {} (or use --force to force \
                     re-initialization)",
                    dir.display()
                ));
            }
        }
    }
    refuse_while_in_use(site, config, &data, log.as_deref())?;
    for dir in [Some(&data), log.as_ref()].into_iter().flatten() {
        make_empty(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    write_marks(&data, log.as_deref(), options.my_id.as_deref())
        .map_err(|error| format!("{}: {error}", data.display()))
}

/// Nothing is removed under a server that runs: Ringkeeper's has locked its directories, and Apache's
/// is known by its pid file.
fn refuse_while_in_use(
    site: &Site,
    config: &str,
    data: &Path,
    log: Option<&Path>,
) -> Result<(), String> {
    let usual = data.join("zookeeper_server.pid");
    let pid_file = site.set("ZOOPIDFILE").map_or(usual, PathBuf::from);
    if let Ok(Named::Server(process)) = look(&pid_file, Path::new(config)) {
        return Err(format!("process {} is the server of {config}; stop it first", process.pid));
    }
    let log = log.unwrap_or(data);
    if !data.join(VERSION_2).is_dir() && !log.join(VERSION_2).is_dir() {
        return Ok(());
    }
    match DataDir::open(data, log, true) {
        Err(error @ DataDirError::InUse { .. }) => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn make_empty(dir: &Path) -> io::Result<()> {
    let is_there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    fs::remove_file(dir.join("myid")).or_else(|error| ignore_unless(is_there(&error), error))?;
    let removed = fs::remove_dir_all(dir.join(VERSION_2));
    removed.or_else(|error| ignore_unless(is_there(&error), error))?;
    fs::create_dir_all(dir.join(VERSION_2))
}

fn ignore_unless(counts: bool, error: io::Error) -> io::Result<()> {
    if counts { Err(error) } else { Ok(()) }
}

fn write_marks(data: &Path, log: Option<&Path>, my_id: Option<&str>) -> io::Result<()> {
    let path = data.join("myid");
    match my_id {
        Some(id) => {
            say!("Using myid of {id}");
            fs::write(path, format!("{id}\n"))?;
        }
        None => say!(
            "No myid provided, be sure to specify it in {} if using non-standalone",
            path.display()
        ),
    }
    // Apache's script makes it in dataDir alone, and servers look for it in dataLogDir.
    let dirs = [Some(data), log];
    dirs.into_iter().flatten().try_for_each(|dir| fs::write(dir.join("initialize"), ""))
}

#[cfg(test)]
mod tests {
    use super::super::assignments::Variables;
    use super::*;

    fn site(words: &str) -> Site {
        let words = words.split_whitespace().map(str::to_owned).collect();
        Site::new("zkServer-initialize.sh", "/opt/zk/bin", words, Variables::new())
    }

    #[test]
    fn words_are_read_as_apaches_script_reads_them() {
        let options = |config: &str, my_id: Option<&str>, force| Options {
            config: config.into(),
            my_id: my_id.map(str::to_owned),
            force,
        };
        let usual = "/opt/zk/bin/../etc/zookeeper/zoo.cfg";
        for (words, wanted) in [
            ("", Ok(options(usual, None, false))),
            ("--configfile /c --myid 3 --force", Ok(options("/c", Some("3"), true))),
            ("--configfile=/c --myid=3", Ok(options("/c", Some("3"), false))),
            ("--help", Err(None)),
            ("-x", Err(Some("Unknown option: -x".to_owned()))),
            ("--myid", Err(Some("No value: --myid".to_owned()))),
        ] {
            if !Path::new("/etc/zookeeper").exists() || !words.is_empty() {
                assert_eq!(Options::parse(&site(words)), wanted, "{words}");
            }
        }
    }

    #[test]
    fn directories_are_made_empty_and_not_under_a_server() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        let config = path("zoo.cfg");
        let (data, log) = (path("data"), path("log"));
        let text = format!("dataDir={}\ndataLogDir={}\n", data.display(), log.display());
        fs::write(&config, text).expect("a file");
        let config = config.to_str().expect("a plain path");
        let run = |words: &str| {
            let site = site(&format!("--configfile {config} {words}"));
            initialize(&site, &Options::parse(&site).expect("its words"))
        };
        run("--myid 7").expect("nothing is there yet");
        assert_eq!(fs::read_to_string(data.join("myid")).expect("a file"), "7\n");
        for file in [data.join("initialize"), log.join("initialize")] {
            assert!(file.exists(), "{}", file.display());
        }
        assert!(run("").expect_err("it is there").starts_with("ZooKeeper data directory already"));
        fs::write(data.join("version-2/snapshot.0"), "x").expect("a file");
        assert!(run("--force --myid x").expect_err("no number").starts_with("myid must be"));
        let server = DataDir::open(&data, &log, true).expect("nobody has it");
        assert!(run("--force").expect_err("a server has it").contains("in use"));
        drop(server);
        assert!(data.join("version-2/snapshot.0").exists());
        run("--force").expect("nobody has it");
        assert!(!data.join("version-2/snapshot.0").exists() && !data.join("myid").exists());
        let site = site("--configfile /nowhere");
        let options = Options::parse(&site).expect("its words");
        let why = initialize(&site, &options).expect_err("no file");
        assert_eq!(why, "Unable to find config file at /nowhere");
    }
}
