//! Which addresses a server takes clients on, whatever the machine makes of IPv6.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Server, four_letters, free_port};

/// A server with this `clientPortAddress` line, or none; started by `command`.
fn spawn(mut command: Command, home: &Path, port: u16, address: Option<&str>) -> Server {
    let config = home.join("zoo.cfg");
    let line = address.map(|address| format!("clientPortAddress={address}\n")).unwrap_or_default();
    let text = format!(
        "clientPort={port}\ndataDir={}\n4lw.commands.whitelist=*\n{line}",
        home.join("data").display()
    );
    fs::write(&config, text).unwrap();
    command.arg("server").arg(&config).stdin(Stdio::null());
    Server::over(command, home, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn ringkeeper() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
}

fn answers(address: &str, port: u16) -> bool {
    let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
    four_letters(address, "ruok").as_deref() == Some("imok")
}

/// Without an address, with IPv4's wildcard, IPv6's, and one address of IPv6.
#[test]
fn each_address_means_what_it_says() {
    for (address, over_4, over_6) in [
        (None, true, true),
        (Some("0.0.0.0"), true, false),
        (Some("[::]"), true, true),
        (Some("::1"), false, true),
    ] {
        let (home, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut server = spawn(ringkeeper(), home.path(), port, address);
        server.wait_for_log("clients: ");
        if over_4 {
            server.wait_until_it_answers();
        }
        assert_eq!(
            TcpStream::connect(("127.0.0.1", port)).is_ok(),
            over_4,
            "{address:?}:\n{}",
            server.log()
        );
        assert_eq!(answers("[::1]", port), over_6, "{address:?}:\n{}", server.log());
        assert_eq!(server.terminate(), Some(0), "{}", server.log());
    }
}

/// A kernel without IPv6 (`ipv6.disable=1`): `socket(AF_INET6)` fails, which a filter of system
/// calls does as well.
#[test]
fn a_kernel_without_ipv6_is_served_over_ipv4() {
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = spawn(without_ipv6(), home.path(), port, None);
    server.wait_until_it_answers();
    assert!(server.log().contains(&format!("clients: 0.0.0.0:{port}")), "{}", server.log());
    assert_eq!(server.terminate(), Some(0), "{}", server.log());

    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = spawn(without_ipv6(), home.path(), port, Some("[::1]"));
    assert_eq!(server.wait(), Some(1), "{}", server.log());
    assert!(server.log().contains("this kernel has no IPv6"), "{}", server.log());
}

/// The program under a filter that answers `socket(AF_INET6, ...)` with EAFNOSUPPORT.
fn without_ipv6() -> Command {
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let unless_equal = |k, jf| libc::sock_filter { code: 0x15, jt: 0, jf, k };
    // Loads the call's number, and if it is socket its first argument.
    let filter = [
        statement(0x20, 0),
        unless_equal(libc::SYS_socket as u32, 3),
        statement(0x20, 16),
        unless_equal(libc::AF_INET6 as u32, 1),
        statement(0x06, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        statement(0x06, libc::SECCOMP_RET_ALLOW),
    ];
    let mut command = ringkeeper();
    let install = move || {
        let program =
            libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program outlives the calls, which only read it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
    command
}

/// On a machine where an IPv6 socket takes no clients of IPv4 unless it is told to. In a network of
/// its own, which takes root.
#[test]
fn bindv6only_does_not_shut_ipv4_out() {
    let test = || {
        // SAFETY: the call concerns this thread alone, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            fs::write("/dev/stderr", "\nlistening: SKIPPED bindv6only, which needs root\n")
                .unwrap();
            return;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()));
        fs::write("/proc/sys/net/ipv6/bindv6only", "1").unwrap();
        assert!(Path::new("/proc/self/ns/net").exists());
        let (home, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut server = spawn(ringkeeper(), home.path(), port, None);
        server.wait_until_it_answers();
        assert!(answers("[::1]", port), "{}", server.log());
        assert_eq!(server.terminate(), Some(0), "{}", server.log());
    };
    std::thread::spawn(test).join().unwrap();
}
