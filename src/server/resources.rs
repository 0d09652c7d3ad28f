//! The resources that the system grants this process: open files, threads, lengths of files. What
//! the server keeps of them for itself, and what it says where they are too little. Looked at
//! when it starts, before it leaves anything on the disk.

use std::fmt;
use std::sync::mpsc;
use std::thread;

use log::{info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::runtime::ring::{self, can_lock};
use crate::runtime::shard::ACCEPTS;

use super::process;

/// A limit that no server can run with, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TooLittle {
    /// Open files: the limit, and the least that is needed.
    OpenFiles { limit: u64, needed: u64 },
    /// Bytes of locked memory: the limit, and the least that is needed.
    LockedMemory { limit: u64, needed: u64 },
    /// Threads: how many could be started of those that are needed, and the limit in force.
    Threads { started: usize, needed: usize, limit: Option<u64> },
    /// Bytes of a file: the limit, and the least that is needed.
    FileBytes { limit: u64, needed: u64 },
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenFiles { limit, needed } => write!(
                f,
                "the limit of open files is {limit}, and log, snapshots, rings and some \
                 connections need {needed}; to raise it: ulimit -n 65536 (systemd: \
                 LimitNOFILE=65536, docker: --ulimit nofile=65536)"
            ),
            Self::LockedMemory { limit, needed } => write!(
                f,
                "the limit of locked memory is {limit} bytes for all processes of this user \
                 together, and the executors of this server need {needed}; to raise it: ulimit -l \
                 unlimited (systemd: LimitMEMLOCK=infinity, docker: --ulimit memlock=-1), or ask \
                 for fewer by ringkeeper.shards"
            ),
            Self::Threads { started, needed, limit } => {
                write!(f, "the system lets only {started} of {needed} threads be started")?;
                if let Some(limit) = limit {
                    write!(f, " (the limit of this user's processes is {limit})")?;
                }
                f.write_str(
                    "; to raise it: ulimit -u 4096 (systemd: LimitNPROC=4096 and TasksMax=4096, \
                     docker: --pids-limit 4096)",
                )
            }
            Self::FileBytes { limit, needed } => write!(
                f,
                "no file may be longer than {limit} bytes, and a file of the transaction log \
                 needs {needed}; to raise it: ulimit -f unlimited (systemd: LimitFSIZE=infinity, \
                 docker: --ulimit fsize=-1)"
            ),
        }
    }
}

impl std::error::Error for TooLittle {}

/// Raises the limit of open files to the most that this process may have, as a JVM does; the limit
/// in force before.
pub(crate) fn raise_open_files() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        // Where that is refused the limit stays as it is, and what follows reads it.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    before.current
}

/// Raises the limit of locked memory to the most that this process may have, and to what glommio
/// wants to find if that may be done.
pub(crate) fn raise_locked_memory() -> Result<(), TooLittle> {
    let granted = |limit: Option<u64>| limit.is_none_or(|limit| limit >= LOCKED_BYTES);
    let limit = getrlimit(Resource::Memlock);
    if limit.current == limit.maximum && granted(limit.current) {
        return Ok(());
    }
    // Raising the hard limit takes root's rights; whether it was done is read back.
    let maximum = if granted(limit.maximum) { limit.maximum } else { Some(LOCKED_BYTES) };
    let _ = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < LOCKED_BYTES => {
            Err(TooLittle::LockedMemory { limit, needed: LOCKED_BYTES })
        }
        _ => Ok(()),
    }
}

/// As many of the wanted executors as the kernel locks memory for. It counts the rings of all
/// processes of the user against the limit, unless they have CAP_IPC_LOCK: only trying tells.
/// One executor is not looked at: its rings say themselves what they lack.
pub(crate) fn executors_within_locked_memory(wanted: usize) -> usize {
    let fits = |executors: usize| can_lock(locked_by(executors));
    if wanted <= 1 || fits_soon(|| fits(wanted)) {
        return wanted;
    }
    // The largest that fits, by halves.
    let (mut fit, mut too_many) = (1, wanted);
    while too_many - fit > 1 {
        let middle = fit + (too_many - fit) / 2;
        if fits(middle) { fit = middle } else { too_many = middle }
    }
    fit
}

/// What so many executors lock beside each other.
fn locked_by(executors: usize) -> u64 {
    executors as u64 * EXECUTOR_LOCKED + SPARE_LOCKED
}

/// Whether it fits now, or as soon as memory that the kernel has not freed yet is back.
fn fits_soon(fits: impl Fn() -> bool) -> bool {
    ring::awaiting_memory(|| fits().then_some(()).ok_or(()), |()| true).is_ok()
}

/// The refusal of a server whose executors were asked for by number.
pub(crate) fn too_little_locked_memory(executors: usize) -> TooLittle {
    let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    TooLittle::LockedMemory { limit, needed: locked_by(executors) }
}

/// Whether the limit of open files leaves room for a server with this many executors and a few
/// connections; asked before anything is opened that needs descriptors.
pub(crate) fn check_open_files(executors: usize) -> Result<(), TooLittle> {
    room_for_connections(process::max_files(), files_taken(executors)).map(drop)
}

/// The number of connections that the limit of open files leaves room for, beside what is open now,
/// what `executors` open when they start, and what is kept for log, snapshots and peers. Never more
/// than `asked` (`maxCnxns`; 0 is no limit).
pub(crate) fn connections_max(executors: usize, asked: u32) -> Result<u32, TooLittle> {
    let limit = process::max_files();
    let taken = files_taken(executors);
    let room = room_for_connections(limit, taken)?;
    match asked {
        0 => info!(
            "open files: {limit} may be open, {taken} are kept for log, snapshots, rings and \
             peers; at most {room} connections are taken (maxCnxns is not set)"
        ),
        asked if asked > room => warn!(
            "maxCnxns is {asked}, and the limit of {limit} open files leaves room for {room} \
             connections: no more are taken. To raise it: ulimit -n {}",
            u64::from(asked) + taken
        ),
        asked => info!(
            "open files: {limit} may be open, at most {asked} of them by connections (maxCnxns)"
        ),
    }
    Ok(if asked == 0 { room } else { asked.min(room) })
}

/// Descriptors that are open now, and those that are kept for what is no connection.
fn files_taken(executors: usize) -> u64 {
    process::open_files() + executors as u64 * EXECUTOR_FILES + KEPT_FILES
}

fn room_for_connections(limit: u64, taken: u64) -> Result<u32, TooLittle> {
    let room = limit.saturating_sub(taken);
    if room < CONNECTIONS_LEAST {
        return Err(TooLittle::OpenFiles { limit, needed: taken + CONNECTIONS_LEAST });
    }
    Ok(u32::try_from(room).unwrap_or(u32::MAX))
}

/// Starts as many threads as a server with this many executors has, and lets them end: a server
/// that finds the last of them refused would stand half started.
pub(crate) fn probe_threads(executors: usize) -> Result<(), TooLittle> {
    let needed = executors + THREADS_BESIDE;
    let mut held = Vec::with_capacity(needed);
    for started in 0..needed {
        let (release, released) = mpsc::channel::<()>();
        // It ends when the sender is dropped.
        let begin = move || released.recv().unwrap_or_default();
        match thread::Builder::new().name("probe".into()).spawn(begin) {
            Ok(thread) => held.push((release, thread)),
            Err(_) => {
                return Err(TooLittle::Threads {
                    started,
                    needed,
                    limit: getrlimit(Resource::Nproc).current,
                });
            }
        }
    }
    let threads: Vec<_> =
        held.into_iter().map(|(release, thread)| (drop(release), thread).1).collect();
    for thread in threads {
        // It does nothing that could panic.
        let _ = thread.join();
    }
    Ok(())
}

/// The refusal where the very first thread was not granted.
pub(crate) fn no_thread() -> TooLittle {
    TooLittle::Threads {
        started: 0,
        needed: THREADS_BESIDE,
        limit: getrlimit(Resource::Nproc).current,
    }
}

/// The longest that a log file may become: `wanted`, or what the limit of file lengths
/// (`ulimit -f`) leaves of it.
pub(crate) fn log_file_bytes(wanted: u64, needed: u64) -> Result<u64, TooLittle> {
    match getrlimit(Resource::Fsize).current {
        None => Ok(wanted),
        Some(limit) if limit < needed => Err(TooLittle::FileBytes { limit, needed }),
        Some(limit) => {
            warn!(
                "no file may be longer than {limit} bytes (ulimit -f): log files stay below it, \
                 and a snapshot that would be longer fails"
            );
            Ok(wanted.min(limit / MEBIBYTE * MEBIBYTE))
        }
    }
}

/// Descriptors that one executor opens: its raw ring, an event, a listener, the rings and events of
/// glommio, and the connections that it has accepted and not counted yet.
const EXECUTOR_FILES: u64 = 16 + ACCEPTS as u64;
/// Locked memory below which glommio makes no executor.
const LOCKED_BYTES: u64 = 512 << 10;
/// Bytes that the kernel locks for an executor: its raw ring, and glommio's rings and buffers.
const EXECUTOR_LOCKED: u64 = 360 << 10;
/// Bytes for the ring of elections, and those of a snapshot that is taken now and then.
const SPARE_LOCKED: u64 = 256 << 10;
/// Descriptors kept for the files of the log (current, spare, retired), a snapshot with its
/// executor, purges, words, and the peers of an ensemble.
const KEPT_FILES: u64 = 96;
/// With fewer connections than this a server is no use.
const CONNECTIONS_LEAST: u64 = 16;
/// Threads beside the executors: signals, words, snapshots, log files, purge, a report, and some of
/// the kernel's own.
const THREADS_BESIDE: usize = 10;
const MEBIBYTE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_is_left() {
        assert_eq!(room_for_connections(1024, 150), Ok(874));
        assert_eq!(room_for_connections(u64::MAX, 150), Ok(u32::MAX));
        assert_eq!(
            room_for_connections(100, 150),
            Err(TooLittle::OpenFiles { limit: 100, needed: 166 })
        );
    }

    #[test]
    fn each_limit_names_what_raises_it() {
        for (error, remedy) in [
            (TooLittle::OpenFiles { limit: 64, needed: 166 }, "ulimit -n"),
            (TooLittle::LockedMemory { limit: 1, needed: 2 }, "ulimit -l"),
            (TooLittle::Threads { started: 0, needed: 11, limit: Some(1) }, "ulimit -u"),
            (TooLittle::FileBytes { limit: 1, needed: 2 }, "ulimit -f"),
        ] {
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn threads_that_are_granted_end_again() {
        assert_eq!(probe_threads(2), Ok(()));
    }
}
