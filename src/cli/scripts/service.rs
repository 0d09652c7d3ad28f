//! The server that `zkServer.sh` is about: its configuration, its files, its command.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use rustix::system::uname;

use crate::codes::VERSION_2;

use super::site::{Settings, Site};

/// What a verb works with.
#[derive(Debug)]
pub(super) struct Server {
    pub site: Site,
    /// The configuration file.
    pub config: String,
    /// What it says; nothing where it cannot be read.
    pub settings: Settings,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
    /// `-D` flags that the environment asks for, beside those of `SERVER_JVMFLAGS` and `JVMFLAGS`.
    flags: Vec<String>,
}

impl Server {
    pub(super) fn new(site: Site) -> Self {
        let config = site.config_of(site.words.get(1).map(String::as_str));
        let (settings, unreadable) = match Settings::read(&config) {
            Ok(settings) => (settings, None),
            Err(error) => (Settings::none(), Some(format!("cannot read {config}: {error}"))),
        };
        Self { site, config, settings, unreadable, flags: Vec::new() }
    }

    /// With `ZOO_DATADIR_AUTOCREATE_DISABLE` the directories must be there.
    pub(super) fn check_directories(&mut self) -> Result<(), String> {
        if self.site.set("ZOO_DATADIR_AUTOCREATE_DISABLE").is_none() {
            return Ok(());
        }
        let data = self.settings.get("dataDir").unwrap_or_default();
        let dirs = [("data", Some(data)), ("txnlog", self.settings.get("dataLogDir"))];
        for (what, dir) in dirs {
            let Some(dir) = dir else { continue };
            if !PathBuf::from(dir).join(VERSION_2).is_dir() {
                return Err(format!(
                    "ZooKeeper {what} directory is missing at {dir} fix the path or run initialize"
                ));
            }
        }
        self.flags.push("-Dzookeeper.datadir.autocreate=false".to_owned());
        Ok(())
    }

    /// `ZOOPIDFILE`, or the usual one in `dataDir`. The error says what is missing for that.
    pub(super) fn pid_file(&self) -> Result<PathBuf, String> {
        if let Some(file) = self.site.set("ZOOPIDFILE") {
            return Ok(file.into());
        }
        let no_dir = || {
            let why = self.unreadable.clone();
            why.unwrap_or_else(|| format!("dataDir is not set in {}", self.config))
        };
        let dir = self.settings.get("dataDir").ok_or_else(no_dir)?;
        Ok(PathBuf::from(dir).join("zookeeper_server.pid"))
    }

    /// Where a server in the background puts what it says.
    pub(super) fn out_file(&self) -> PathBuf {
        PathBuf::from(format!("{}/{}.out", self.site.log_dir, self.log_name()))
    }

    /// The server's command. The flags of `SERVER_JVMFLAGS` and `JVMFLAGS` go by the environment,
    /// which not everybody can read.
    pub(super) fn command(&self) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("server").args(self.server_flags()).arg(&self.config);
        for name in &self.site.assigned {
            command.env(name, self.site.variables.get(name).map_or("", String::as_str));
        }
        Ok(command)
    }

    pub(super) fn server_flags(&self) -> Vec<String> {
        let log_file = self.site.set("ZOO_LOG_FILE").map(str::to_owned);
        let log_file = log_file.unwrap_or_else(|| format!("{}.log", self.log_name()));
        let mut flags = self.flags.clone();
        flags.push(format!("-Dzookeeper.log.dir={}", self.site.log_dir));
        flags.push(format!("-Dzookeeper.log.file={log_file}"));
        flags
    }

    fn log_name(&self) -> String {
        let user = self.site.set("USER").unwrap_or_default();
        let host = self.site.set("HOSTNAME").map(str::to_owned);
        let host = host.unwrap_or_else(|| uname().nodename().to_string_lossy().into_owned());
        format!("zookeeper-{user}-server-{host}")
    }
}

/// Says the beginning of a line; its end follows when it is known.
pub(super) fn say_begun(text: &str) {
    let mut out = std::io::stdout();
    // A reader that has gone does not end the work.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::super::assignments::Variables;
    use super::*;

    #[test]
    fn files_have_the_names_that_apaches_script_gives_them() {
        let variables = [("USER", "zk"), ("HOSTNAME", "h1"), ("ZOO_LOG_DIR", "/l")];
        let variables: Variables =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let words = vec!["start".to_owned(), "/nowhere/zoo.cfg".to_owned()];
        let site = Site::new("zkServer.sh", "/opt/zk/bin", words, variables);
        let server = Server::new(site);
        assert_eq!(server.out_file(), PathBuf::from("/l/zookeeper-zk-server-h1.out"));
        let flags = ["-Dzookeeper.log.dir=/l", "-Dzookeeper.log.file=zookeeper-zk-server-h1.log"];
        assert_eq!(server.server_flags(), flags);
        assert!(
            server.pid_file().expect_err("no dataDir").contains("cannot read /nowhere/zoo.cfg")
        );
    }
}
