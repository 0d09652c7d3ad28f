//! The program from outside: what it refuses, with which reason and exit code.

use std::path::PathBuf;
use std::process::{Command, Output};

fn ringkeeper(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command
        .args(arguments)
        .env_remove("JVMFLAGS")
        .env_remove("SERVER_JVMFLAGS")
        .env_remove("RUST_LOG");
    command.output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn zoo_cfg(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the test's directory takes files");
    path
}

#[test]
fn usage_and_configuration_end_in_2_with_the_reason() {
    for (arguments, reason) in [
        (&["server", "/nowhere/zoo.cfg"][..], "cannot read /nowhere/zoo.cfg"),
        (&["server", "1", "2", "3", "4", "5"], "5 arguments fit no form of the command"),
        (&["server", "port", "/d"], "port must be a whole number"),
        (&["server", "--port", "2181"], "--port is no flag of the server"),
        (&["sever"], "unrecognized subcommand"),
    ] {
        let output = ringkeeper(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{arguments:?} said {}", stderr(&output));
    }
}

#[test]
fn an_ensemble_without_what_it_needs_is_refused() {
    let cfg = zoo_cfg(
        "ensemble.cfg",
        "dataDir=/d\nclientPort=0\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n",
    );
    let output = ringkeeper(&["server", "-Xmx1g", cfg.to_str().expect("a plain path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("initLimit is not set, and an ensemble needs it"));
}

#[test]
fn help_says_what_the_server_takes() {
    let output = ringkeeper(&["server", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("[CONFIGFILE | PORT DATADIR [TICKTIME] [MAXCNXNS]]")
    );
}
