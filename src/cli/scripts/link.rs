//! `ringkeeper link`: Apache's names as links to this program.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::names::NAMES;

/// Make links with the names of Apache's scripts, which this program answers to.
#[derive(Args, Debug)]
pub struct LinkArgs {
    /// Where they are made, as a new bin/ beside conf/ and logs/.
    dir: PathBuf,
    /// Replace what has these names already.
    #[arg(long)]
    force: bool,
}

/// Makes a link for each name that `program` answers to. Exit code 0: all are there; 1: one is not,
/// and why.
pub fn link(args: &LinkArgs, program: &clap::Command) -> ExitCode {
    let made = std::env::current_exe().and_then(|target| {
        fs::create_dir_all(&args.dir)?;
        make_links(&target, args, program)
    });
    match made {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say_error!("ringkeeper: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether all are there.
fn make_links(target: &Path, args: &LinkArgs, program: &clap::Command) -> io::Result<bool> {
    let mut all = true;
    for name in NAMES.iter().filter(|name| name.is_there(program)) {
        let path = args.dir.join(name.script);
        match fs::symlink_metadata(&path) {
            Ok(_) if fs::read_link(&path).is_ok_and(|found| found == target) => {}
            Ok(_) if !args.force => {
                all = false;
                say_error!(
                    "ringkeeper: {} is there and is no link to {}; --force replaces it",
                    path.display(),
                    target.display()
                );
                continue;
            }
            Ok(_) => replace(target, &path)?,
            Err(_) => symlink(target, &path)?,
        }
        say!("{} -> {}", path.display(), target.display());
    }
    Ok(all)
}

/// At no time is there nothing by this name.
fn replace(target: &Path, path: &Path) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    symlink(target, &new)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_already_stays_unless_it_is_forced() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().to_owned();
        let program = clap::Command::new("ringkeeper")
            .subcommand(clap::Command::new("zkServer"))
            .subcommand(clap::Command::new("zkCleanup"));
        let target = Path::new("/usr/bin/ringkeeper");
        let links = |force| make_links(target, &LinkArgs { dir: dir.clone(), force }, &program);
        fs::write(dir.join("zkServer.sh"), "#!/bin/sh\n").expect("a file");
        assert!(!links(false).expect("a directory"));
        assert_eq!(fs::read_link(dir.join("zkCleanup.sh")).expect("a link"), target);
        assert!(fs::read_link(dir.join("zkServer.sh")).is_err());
        assert!(links(true).expect("a directory") && links(false).expect("a directory"));
        assert_eq!(fs::read_link(dir.join("zkServer.sh")).expect("a link"), target);
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 2);
    }
}
