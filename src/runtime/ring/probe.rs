//! Checks that io_uring is usable and says how to enable it.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};
use memmap2::MmapMut;

use super::buffers::BufferGroup;

/// Tries everything a [`Ring`](super::Ring) needs, in small, and throws it away again.
pub fn probe() -> Result<(), RingUnavailable> {
    let uring = set_up(8)?;
    let group = BufferGroup::new(8, 64).map_err(RingUnavailable::from_buffers)?;
    group.register(&uring.submitter()).map_err(RingUnavailable::from_buffers)?;
    let mut known = Probe::new();
    uring.submitter().register_probe(&mut known).map_err(RingUnavailable::from_setup)?;
    match OPERATIONS.iter().find(|(code, _)| !known.is_supported(*code)) {
        Some((_, name)) => Err(RingUnavailable::OldKernel { lacks: name, release: release() }),
        None => Ok(()),
    }
}

/// Whether the kernel lets this process lock so many bytes, beside what its user has locked.
pub fn can_lock(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    let Ok(mut memory) = MmapMut::map_anon(bytes) else { return false };
    let Ok(uring) = set_up(8) else { return false };
    let whole = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: bytes };
    // SAFETY: the memory is mapped for longer than the ring is there, which is dropped first.
    let locked = unsafe { uring.submitter().register_buffers(&[whole]) };
    match locked {
        // A ring that is closed gives it back at a time of the kernel's own.
        Ok(()) => uring.submitter().unregister_buffers().is_ok(),
        Err(error) => error.raw_os_error() != Some(libc::ENOMEM),
    }
}

/// A ring with the flags that make a completion loop cheap: only this thread submits, deferred work
/// runs only when this thread asks for completions, and one bad entry does not stop those after it.
pub(super) fn set_up(submissions: u32) -> Result<IoUring, RingUnavailable> {
    if kernel_version(&release()).is_some_and(|version| version < KERNEL_MIN) {
        return Err(RingUnavailable::OldKernel {
            lacks: "single-issuer rings",
            release: release(),
        });
    }
    let submissions = submissions.clamp(8, SUBMISSIONS_MAX).next_power_of_two();
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(submissions * COMPLETIONS_PER_SUBMISSION)
        .dontfork();
    match builder.clone().setup_no_sqarray().build(submissions) {
        // Kernels before 6.6 have no rings without the index array.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(submissions),
        other => other,
    }
    .map_err(RingUnavailable::from_setup)
}

/// The reason why there can be no ring. Each message names the cause and the command that mends it.
#[derive(Debug)]
pub enum RingUnavailable {
    /// The sysctl `kernel.io_uring_disabled` is 1 (only one group may) or 2 (nobody may).
    Disabled {
        /// Its value.
        sysctl: u8,
    },
    /// A seccomp profile or security module refuses the system call.
    Refused,
    /// The kernel knows no io_uring at all, or a container's profile says so.
    Missing {
        /// The kernel's release, as `uname -r` says it.
        release: String,
    },
    /// The kernel is older than 6.1 or lacks a part.
    OldKernel {
        /// The part.
        lacks: &'static str,
        /// The kernel's release, as `uname -r` says it.
        release: String,
    },
    /// The memory of a ring may not be locked.
    LockedMemory {
        /// The limit in force, in bytes.
        limit: Option<u64>,
    },
    /// No descriptor is left.
    Descriptors {
        /// The limit in force.
        limit: Option<u64>,
    },
    /// The sizes asked for are not possible.
    Sizes(io::Error),
    /// Something else.
    Other(io::Error),
}

/// Makes something that locks memory. Where memory is missing it is made again some time later: the
/// kernel frees the rings of a process that has ended, or of this one, at a time of its own. The log
/// says at once that it is waited for.
pub fn awaiting_memory<T, E>(
    make: impl Fn() -> Result<T, E>,
    is_memory: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for look in 0..FREED_LOOKS {
        match make() {
            Err(error) if is_memory(&error) => {
                if look == 0 {
                    say_that_it_waits();
                }
                thread::sleep(FREED_LOOK);
            }
            made => return made,
        }
    }
    make()
}

fn say_that_it_waits() {
    log::info!(
        "the kernel gives no more locked memory now (ulimit -l: {} for all processes of this user \
         together): waiting for up to {} ms, as it frees that of a server that has just ended at a \
         time of its own",
        Limit(limit(rustix::process::Resource::Memlock)),
        (FREED_LOOK * FREED_LOOKS).as_millis()
    );
}

/// How often, and how long apart, memory that is missing is looked for again.
const FREED_LOOKS: u32 = 40;
const FREED_LOOK: Duration = Duration::from_millis(50);

impl RingUnavailable {
    /// Whether memory is missing, which may be freed soon.
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::LockedMemory { .. })
    }

    /// What an error of making rings means.
    pub fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match disabled_sysctl() {
                Some(sysctl @ 1..) => RingUnavailable::Disabled { sysctl },
                _ => RingUnavailable::Refused,
            },
            Some(libc::ENOSYS) => RingUnavailable::Missing { release: release() },
            Some(libc::EINVAL) => RingUnavailable::OldKernel {
                lacks: "rings with deferred task work",
                release: release(),
            },
            Some(libc::ENOMEM) => {
                RingUnavailable::LockedMemory { limit: limit(rustix::process::Resource::Memlock) }
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                RingUnavailable::Descriptors { limit: limit(rustix::process::Resource::Nofile) }
            }
            _ => RingUnavailable::Other(error),
        }
    }

    pub(super) fn from_buffers(error: io::Error) -> Self {
        match error.raw_os_error() {
            None => RingUnavailable::Sizes(error),
            Some(libc::EINVAL) => {
                RingUnavailable::OldKernel { lacks: "provided-buffer rings", release: release() }
            }
            Some(_) => RingUnavailable::from_setup(error),
        }
    }
}

impl fmt::Display for RingUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingUnavailable::Disabled { sysctl } => write!(
                f,
                "io_uring is switched off on this machine (kernel.io_uring_disabled = {sysctl}); \
                 to allow it: sudo sysctl -w kernel.io_uring_disabled=0"
            ),
            RingUnavailable::Refused => write!(
                f,
                "io_uring is refused to this process, by a container's seccomp profile or a \
                 security module; in a container start it with: docker run --security-opt \
                 seccomp=unconfined (or with a profile that allows io_uring_setup, io_uring_enter \
                 and io_uring_register)"
            ),
            RingUnavailable::Missing { release } => write!(
                f,
                "this kernel ({release}) has no io_uring, or a container's seccomp profile hides \
                 it; Linux 6.1 or newer is needed, on Debian: sudo apt install linux-image-amd64; \
                 in a container: docker run --security-opt seccomp=unconfined"
            ),
            RingUnavailable::OldKernel { lacks, release } => write!(
                f,
                "this kernel ({release}) lacks {lacks}; Linux 6.1 or newer is needed, on Debian: \
                 sudo apt install linux-image-amd64"
            ),
            RingUnavailable::LockedMemory { limit } => write!(
                f,
                "the kernel gives no memory for a ring: the locked-memory limit is {} for all \
                 processes of this user together; to raise it: ulimit -l unlimited (systemd: \
                 LimitMEMLOCK=infinity, docker: --ulimit memlock=-1), or run fewer of them; if it \
                 is already unlimited the machine or its control group is out of memory",
                Limit(*limit)
            ),
            RingUnavailable::Descriptors { limit } => {
                write!(
                    f,
                    "no descriptor is left for a ring: the limit is {}; to raise it: ulimit -n \
                     65536",
                    Limit(*limit)
                )
            }
            RingUnavailable::Sizes(error) => {
                write!(f, "a ring of this size is not possible: {error}")
            }
            RingUnavailable::Other(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for RingUnavailable {}

struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "unlimited"),
        }
    }
}

fn limit(resource: rustix::process::Resource) -> Option<u64> {
    rustix::process::getrlimit(resource).current
}

fn disabled_sysctl() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor number of a release such as `6.18.44-amd64`; `None` where it does not begin with
/// two numbers.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

const KERNEL_MIN: (u32, u32) = (6, 1);

const SUBMISSIONS_MAX: u32 = 8192;

const COMPLETIONS_PER_SUBMISSION: u32 = 4;

const OPERATIONS: [(u8, &str); 7] = [
    (opcode::Accept::CODE, "accept"),
    (opcode::RecvMulti::CODE, "receive"),
    (opcode::Send::CODE, "send"),
    (opcode::AsyncCancel2::CODE, "cancellation"),
    (opcode::PollAdd::CODE, "poll"),
    (opcode::Fsync::CODE, "flush"),
    (opcode::Close::CODE, "close"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_from_releases() {
        assert_eq!(kernel_version("6.18.44-fc-v769"), Some((6, 18)));
        assert_eq!(kernel_version("5.10"), Some((5, 10)));
        assert_eq!(kernel_version("linux"), None);
        assert!((5, 19) < KERNEL_MIN && (6, 1) >= KERNEL_MIN && (10, 0) > KERNEL_MIN);
    }

    #[test]
    fn each_refusal_names_what_mends_it() {
        let said =
            |errno| RingUnavailable::from_setup(io::Error::from_raw_os_error(errno)).to_string();
        assert!(said(libc::ENOSYS).contains("Linux 6.1"));
        assert!(said(libc::EINVAL).contains("Linux 6.1"));
        assert!(said(libc::ENOMEM).contains("ulimit -l"));
        assert!(said(libc::EMFILE).contains("ulimit -n"));
        assert!(RingUnavailable::Refused.to_string().contains("seccomp=unconfined"));
        let disabled = RingUnavailable::Disabled { sysctl: 2 }.to_string();
        assert!(disabled.contains("sysctl -w kernel.io_uring_disabled=0"));
    }
}
