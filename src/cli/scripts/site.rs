//! What Apache's scripts know before they do anything: the directories and files that flags,
//! environment and configuration name.
//!
//! A directory is written as Apache's scripts write it (`/opt/zk/bin/../conf/zoo.cfg`), since what is
//! printed is compared.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::server::config::properties::{Entry, parse, trim};

use super::assignments::{Variables, apply};

/// What a script was called with.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// `$0`.
    pub name: String,
    /// The words after `--config DIR`.
    pub words: Vec<String>,
    /// The environment with what `zookeeper-env.sh` and `java.env` add.
    pub variables: Variables,
    /// The names that these two files set.
    pub assigned: Vec<String>,
    /// The directory of the configuration.
    pub config_dir: String,
    /// The configuration where no word names one.
    pub config: String,
    /// `ZOO_LOG_DIR`.
    pub log_dir: String,
    /// What is to be said about the two files.
    pub remarks: Vec<String>,
}

impl Site {
    /// That of this process: called as `name` with `words`.
    pub(super) fn of_process(name: &str, words: Vec<String>) -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Self::new(name, &directory_of(name), words, variables)
    }

    /// `bin_dir`: the directory of the link or the program.
    pub(super) fn new(
        name: &str,
        bin_dir: &str,
        mut words: Vec<String>,
        variables: Variables,
    ) -> Self {
        let mut site = Self { name: name.to_owned(), variables, ..Self::default() };
        if words.len() > 1 && words[0] == "--config" {
            site.config_dir = words[1].clone();
            words.drain(..2);
        } else if let Some(dir) = site.set("ZOOCFGDIR") {
            site.config_dir = dir.to_owned();
        } else {
            site.config_dir = default_config_dir(bin_dir);
        }
        site.words = words;
        site.take_assignments("zookeeper-env.sh");
        let config = site.set("ZOOCFG").unwrap_or("zoo.cfg").to_owned();
        site.config = site.in_config_dir(&config);
        site.take_assignments("java.env");
        let log_dir = site.set("ZOO_LOG_DIR").map(str::to_owned);
        site.log_dir = log_dir.unwrap_or_else(|| format!("{bin_dir}/../logs"));
        site
    }

    /// A variable that is not empty.
    pub(super) fn set(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The configuration that a verb's second word names, or else the usual one.
    pub(super) fn config_of(&self, word: Option<&str>) -> String {
        let word = word.filter(|word| !word.is_empty());
        word.map_or_else(|| self.config.clone(), |word| self.in_config_dir(word))
    }

    /// A name alone is that of a file in the configuration's directory.
    fn in_config_dir(&self, name: &str) -> String {
        if name.contains('/') { name.to_owned() } else { format!("{}/{name}", self.config_dir) }
    }

    fn take_assignments(&mut self, file: &str) {
        let path = Path::new(&self.config_dir).join(file);
        if !path.is_file() {
            return;
        }
        let text = match read_file(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                self.remarks.push(format!("{}: {error}", path.display()));
                return;
            }
        };
        let before = self.variables.clone();
        let lines = apply(&text, &mut self.variables);
        let is_new = |(name, value): &(&String, &String)| before.get(*name) != Some(value);
        self.assigned.extend(self.variables.iter().filter(is_new).map(|(name, _)| name.clone()));
        let remarks = lines.iter().map(|line| {
            format!(
                "{} line {line} is passed over: plain assignments (NAME=value) are read, and \
                 nothing is run",
                path.display()
            )
        });
        self.remarks.extend(remarks);
    }
}

/// The settings of a configuration file, as the server reads them.
#[derive(Debug)]
pub(super) struct Settings(Vec<Entry>);

impl Settings {
    /// Reads the file.
    pub(super) fn read(path: &str) -> io::Result<Self> {
        let bytes = read_file(Path::new(path))?;
        let entries = parse(&bytes);
        entries.map(Self).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// No settings at all.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// The value that counts, if it is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut entries = self.0.iter().rev();
        let entry = entries.find(|entry| trim(&entry.key) == key)?;
        Some(trim(&entry.value)).filter(|value| !value.is_empty())
    }
}

/// The whole of a small file.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("is larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Where Apache's scripts look, and `/etc/zookeeper` where there is neither.
fn default_config_dir(bin_dir: &str) -> String {
    let beside = format!("{bin_dir}/../conf");
    let below_etc = format!("{bin_dir}/../etc/zookeeper");
    if Path::new(bin_dir).join("../conf").exists() {
        beside
    } else if !Path::new(&below_etc).exists() && Path::new(ETC).exists() {
        ETC.to_owned()
    } else {
        below_etc
    }
}

/// The directory of the link or program that was called as `name`.
fn directory_of(name: &str) -> String {
    let found = if name.contains('/') { Some(PathBuf::from(name)) } else { in_path(name) };
    let found = found.or_else(|| env::current_exe().ok()).unwrap_or_default();
    let dir = found.parent().unwrap_or(Path::new(""));
    let dir = std::path::absolute(Path::new(".").join(dir)).unwrap_or_else(|_| dir.to_owned());
    dir.to_string_lossy().into_owned()
}

/// Where a shell has found it.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut dirs = env::split_paths(&path).map(|dir| dir.join(OsStr::new(name)));
    dirs.find(|file| file.is_file())
}

const ETC: &str = "/etc/zookeeper";
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn site(words: &str, variables: &[(&str, &str)]) -> Site {
        let words = words.split_whitespace().map(str::to_owned).collect();
        let variables =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Site::new("zkServer.sh", "/opt/zk/bin", words, variables)
    }

    #[test]
    fn the_configuration_is_where_apaches_scripts_have_it() {
        let usual = site("start", &[]);
        assert_eq!(usual.log_dir, "/opt/zk/bin/../logs");
        for (words, variables, wanted) in [
            ("--config /c start", &[][..], "/c/zoo.cfg"),
            ("--config /c start other.cfg", &[], "/c/other.cfg"),
            ("--config /c start ./other.cfg", &[], "./other.cfg"),
            ("--config /c start /d/z.cfg", &[], "/d/z.cfg"),
            ("start", &[("ZOOCFGDIR", "/e"), ("ZOOCFG", "a.cfg")], "/e/a.cfg"),
            ("start b.cfg", &[("ZOOCFGDIR", "/e"), ("ZOOCFG", "a.cfg")], "/e/b.cfg"),
            ("--config /c start", &[("ZOOCFGDIR", "/e")], "/c/zoo.cfg"),
        ] {
            let site = site(words, variables);
            assert_eq!(site.words[0], "start", "{words}");
            let word = site.words.get(1).map(String::as_str);
            assert_eq!(site.config_of(word), wanted, "{words}");
        }
    }

    #[test]
    fn the_files_beside_the_configuration_add_to_the_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name, text| fs::write(dir.path().join(name), text).expect("it takes files");
        write("zookeeper-env.sh", "ZOOCFG=mine.cfg\nZOO_LOG_DIR=/var/log/zk\nulimit -n 9\n");
        write("java.env", "export JVMFLAGS=\"-Da=b $JVMFLAGS\"\n");
        let dir = dir.path().to_str().expect("a plain path");
        let site = site(&format!("--config {dir} start"), &[("JVMFLAGS", "-Dc=d")]);
        assert_eq!(site.config, format!("{dir}/mine.cfg"));
        assert_eq!(site.log_dir, "/var/log/zk");
        assert_eq!(site.set("JVMFLAGS"), Some("-Da=b -Dc=d"));
        let mut assigned = site.assigned.clone();
        assigned.sort();
        assert_eq!(assigned, ["JVMFLAGS", "ZOOCFG", "ZOO_LOG_DIR"]);
        assert!(site.remarks[0].contains("zookeeper-env.sh line 3"), "{:?}", site.remarks);
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("zoo.cfg");
        fs::write(&path, "dataDir=/a\n dataDir : /b \nclientPort=\n#x=1\n").expect("a file");
        let settings = Settings::read(path.to_str().expect("a plain path")).expect("it parses");
        assert_eq!(settings.get("dataDir"), Some("/b"));
        assert_eq!((settings.get("clientPort"), settings.get("x")), (None, None));
    }
}
