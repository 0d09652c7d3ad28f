//! The words after `ringkeeper server`, read as a JVM's command line: `-D` flags anywhere, a JVM's
//! own flags and ZooKeeper's main classes passed over; what is left are the server's arguments.

use std::fmt;

use crate::server::config::{Flag, Origin};

/// The meaning of the words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// `-D` flags in order.
    pub flags: Vec<Flag>,
    /// The configuration file, or port, directory and so on.
    pub arguments: Vec<String>,
}

/// A flag that neither a JVM nor the server has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownFlag(String);

impl fmt::Display for UnknownFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no flag of the server; settings are given as -Dkey=value or in a configuration \
             file",
            self.0
        )
    }
}

impl std::error::Error for UnknownFlag {}

impl CommandLine {
    /// Sorts the words.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, UnknownFlag> {
        let mut line = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if let Some(property) = word.strip_prefix("-D") {
                line.flags.extend(Flag::parse(property, Origin::CommandLine));
            } else if FLAGS_WITH_A_VALUE.contains(&word.as_str()) {
                words.next();
            } else if word.len() > 1 && word.starts_with('-') {
                is_jvm_flag(&word).then_some(()).ok_or(UnknownFlag(word))?;
            } else if !(line.arguments.is_empty() && word.starts_with(MAIN_CLASSES)) {
                line.arguments.push(word);
            }
        }
        Ok(line)
    }
}

fn is_jvm_flag(word: &str) -> bool {
    JVM_FLAGS.contains(&word) || JVM_FLAG_FAMILIES.iter().any(|family| word.starts_with(family))
}

/// ZooKeeperServerMain, quorum.QuorumPeerMain.
const MAIN_CLASSES: &str = "org.apache.zookeeper.server.";
const FLAGS_WITH_A_VALUE: [&str; 11] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--enable-native-access",
    "--patch-module",
];
const JVM_FLAGS: [&str; 12] = [
    "-server",
    "-client",
    "-ea",
    "-da",
    "-esa",
    "-dsa",
    "-enableassertions",
    "-disableassertions",
    "-enablesystemassertions",
    "-disablesystemassertions",
    "-d64",
    "-showversion",
];
const JVM_FLAG_FAMILIES: [&str; 15] = [
    "-X",
    "-ea:",
    "-da:",
    "-verbose",
    "-javaagent:",
    "-agentlib:",
    "-agentpath:",
    "--class-path=",
    "--module-path=",
    "--add-modules=",
    "--add-opens=",
    "--add-exports=",
    "--add-reads=",
    "--enable-native-access=",
    "--illegal-access=",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Vec<String>, Vec<String>), UnknownFlag> {
        let line = CommandLine::parse(line.split_whitespace().map(str::to_owned))?;
        let flags = line.flags.into_iter().map(|flag| format!("{}={}", flag.property, flag.value));
        Ok((flags.collect(), line.arguments))
    }

    #[test]
    fn flags_stand_anywhere_and_a_jvms_own_are_passed_over() {
        for (line, flags, arguments) in [
            ("", &[][..], &[][..]),
            ("zoo.cfg", &[], &["zoo.cfg"]),
            ("-Da=b zoo.cfg -Dc", &["a=b", "c="], &["zoo.cfg"]),
            ("2181 /d -Da=b 2000 10", &["a=b"], &["2181", "/d", "2000", "10"]),
            (
                "-Xmx1g -XX:+UseG1GC -server -verbose:gc -javaagent:/x.jar zoo.cfg",
                &[],
                &["zoo.cfg"],
            ),
            ("-cp /a/*:/b --add-opens java.base/a=b --add-opens=x zoo.cfg", &[], &["zoo.cfg"]),
            ("org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg", &[], &["zoo.cfg"]),
            (
                "-Da=b org.apache.zookeeper.server.ZooKeeperServerMain 2181 /d",
                &["a=b"],
                &["2181", "/d"],
            ),
        ] {
            let owned =
                |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            assert_eq!(parse(line), Ok((owned(flags), owned(arguments))), "{line:?}");
        }
    }

    #[test]
    fn an_unknown_flag_is_named() {
        for line in ["--port 2181", "-p2181", "-config zoo.cfg"] {
            let refused = parse(line).expect_err("no such flag").to_string();
            assert!(refused.starts_with(line.split(' ').next().expect("a word")), "{refused}");
        }
    }
}
