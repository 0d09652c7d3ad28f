//! Apache's scripts: the names that they have there, what they take, the lines that other scripts
//! look for, and their exit codes.
//!
//! | file | holds |
//! |---|---|
//! | [`names`] | the names, and which subcommand answers to each |
//! | [`link`] | `ringkeeper link`: the names as links |
//! | [`site`] | flags, environment and configuration, as `zkEnv.sh` puts them together |
//! | [`assignments`] | `zookeeper-env.sh` and `java.env` |
//! | [`zk_server`] | `zkServer.sh` and its verbs; [`start`], [`stop`], [`status`] have the longer ones |
//! | [`service`] | the server that they are about |
//! | [`pid_file`] | whose number the pid file has |
//! | [`initialize`] | `zkServer-initialize.sh` |
//! | [`cleanup`] | `zkCleanup.sh` |
//! | [`check`] | `ringkeeper check` and `ringkeeper config` |
//! | [`in_force`] | the settings in force, and where each is from |
//! | [`health`] | `ringkeeper health` |

mod assignments;
mod check;
mod cleanup;
mod health;
mod in_force;
mod initialize;
mod link;
mod names;
mod pid_file;
mod service;
mod site;
mod start;
mod status;
mod stop;
mod zk_server;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

pub use check::{CheckArgs, ConfigArgs, check, config};
pub use health::{HealthArgs, health};
pub use link::{LinkArgs, link};
pub(super) use names::expand;

use site::Site;

/// The words of a script, which reads them itself.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct ScriptArgs {
    /// As Apache's script takes them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<OsString>,
}

/// `zkServer.sh`.
pub fn zk_server(args: ScriptArgs) -> ExitCode {
    zk_server::run(args.site())
}

/// `zkServer-initialize.sh`.
pub fn zk_server_initialize(args: ScriptArgs) -> ExitCode {
    initialize::run(&args.site())
}

/// `zkCleanup.sh`.
pub fn zk_cleanup(args: ScriptArgs) -> ExitCode {
    cleanup::run(&args.site())
}

impl ScriptArgs {
    fn site(self) -> Site {
        let text = |word: OsString| word.to_string_lossy().into_owned();
        let name = std::env::args_os().next().map_or_else(|| "ringkeeper".into(), text);
        Site::of_process(&name, self.words.into_iter().map(text).collect())
    }
}
