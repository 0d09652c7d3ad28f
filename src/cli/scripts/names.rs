//! Apache's names, and the subcommands that answer to them.

use std::ffi::OsString;
use std::path::Path;

/// A name of Apache's.
#[derive(Debug)]
pub(super) struct Name {
    /// The script's, which may also stand for the subcommand, with `.sh` and without.
    pub script: &'static str,
    /// The words of the subcommand.
    pub words: &'static [&'static str],
}

/// Every name there is. One whose subcommand is not in this version is no name.
pub(super) const NAMES: &[Name] = &[
    Name { script: "zkServer.sh", words: &["zkServer"] },
    Name { script: "zkServer-initialize.sh", words: &["zkServer-initialize"] },
    Name { script: "zkCleanup.sh", words: &["zkCleanup"] },
    Name { script: "zkCli.sh", words: &["cli"] },
    Name { script: "zkTxnLogToolkit.sh", words: &["tools", "zkTxnLogToolkit"] },
    Name { script: "zkSnapShotToolkit.sh", words: &["tools", "zkSnapShotToolkit"] },
    Name { script: "zkSnapshotComparer.sh", words: &["tools", "zkSnapshotComparer"] },
    Name {
        script: "zkSnapshotRecursiveSummaryToolkit.sh",
        words: &["tools", "zkSnapshotRecursiveSummaryToolkit"],
    },
];

impl Name {
    /// Whether the program has the subcommand.
    pub(super) fn is_there(&self, program: &clap::Command) -> bool {
        let mut command = Some(program);
        for word in self.words {
            command = command.and_then(|command| command.find_subcommand(word));
        }
        command.is_some()
    }
}

/// The program's arguments with a name of Apache's, which it was called by or which stands in the
/// subcommand's place, replaced by the words of the subcommand.
pub(crate) fn expand(arguments: Vec<OsString>, program: &clap::Command) -> Vec<OsString> {
    let called = arguments.first().and_then(|word| Path::new(word).file_name());
    let called = called.and_then(|name| find(name.to_str()?, program));
    let typed = arguments.get(1).and_then(|word| find(word.to_str()?, program));
    let (name, rest) = match (called, typed) {
        (Some(name), _) => (name, 1),
        (None, Some(name)) => (name, 2),
        (None, None) => return arguments,
    };
    let words = name.words.iter().map(OsString::from);
    let program = arguments[..1].iter().cloned();
    program.chain(words).chain(arguments[rest..].iter().cloned()).collect()
}

fn find(word: &str, program: &clap::Command) -> Option<&'static Name> {
    let is_it = |name: &&Name| {
        name.script == word || name.script.strip_suffix(".sh").is_some_and(|tidy| tidy == word)
    };
    NAMES.iter().find(is_it).filter(|name| name.is_there(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> clap::Command {
        let tools = clap::Command::new("tools").subcommand(clap::Command::new("zkTxnLogToolkit"));
        clap::Command::new("ringkeeper")
            .subcommand(clap::Command::new("zkServer"))
            .subcommand(clap::Command::new("cli"))
            .subcommand(tools)
    }

    fn expanded(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let words = expand(arguments, &program()).into_iter();
        words.map(|word| word.into_string().expect("text")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_stands_for_its_subcommand() {
        for (line, wanted) in [
            ("/opt/zk/bin/zkServer.sh start", "/opt/zk/bin/zkServer.sh zkServer start"),
            ("zkServer.sh --config /c start", "zkServer.sh zkServer --config /c start"),
            ("zkServer start", "zkServer zkServer start"),
            ("ringkeeper zkServer.sh stop", "ringkeeper zkServer stop"),
            ("ringkeeper zkServer stop", "ringkeeper zkServer stop"),
            ("zkCli.sh -server a:1 ls /", "zkCli.sh cli -server a:1 ls /"),
            ("ringkeeper zkCli ls /", "ringkeeper cli ls /"),
            ("zkTxnLogToolkit.sh log.1", "zkTxnLogToolkit.sh tools zkTxnLogToolkit log.1"),
            ("ringkeeper server zkServer.sh", "ringkeeper server zkServer.sh"),
            ("ringkeeper", "ringkeeper"),
        ] {
            assert_eq!(expanded(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_name_without_its_subcommand_is_none() {
        assert_eq!(expanded("ringkeeper zkCleanup.sh -n 3"), "ringkeeper zkCleanup.sh -n 3");
        assert_eq!(expanded("zkSnapShotToolkit.sh x"), "zkSnapShotToolkit.sh x");
    }
}
