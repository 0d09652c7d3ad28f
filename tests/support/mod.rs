//! The parts that the process tests share: a real server process on a free port, and a client that
//! speaks in raw frames.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use ringkeeper::jute::{Reader, Writer};

/// A server process. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub address: SocketAddr,
    pub home: PathBuf,
    lines: Vec<String>,
}

impl Server {
    /// Starts a server with its configuration and data in `home`, and waits until it answers
    /// `ruok`.
    pub(crate) fn start(home: &Path, more_lines: &[&str]) -> Self {
        let port = free_port();
        let lines = more_lines.iter().map(|line| line.to_string()).collect();
        let mut server = Self::spawn(home, port, lines, &[]);
        server.wait_until_it_answers();
        server
    }

    /// As [`Self::start`], by a shell that runs `before` first: a limit of the process, say.
    pub(crate) fn start_behind(before: &str, home: &Path, more_lines: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("{before} && exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_ringkeeper"),
        ]);
        let lines = more_lines.iter().map(|line| line.to_string()).collect();
        let mut server = Self::spawn_by(shell, home, free_port(), lines, &[]);
        server.wait_until_it_answers();
        server
    }

    /// Starts a process without waiting for it, by a shell that runs `before` first, and as a user
    /// without root's rights, on whom limits bind. The binary is copied to where that user reaches
    /// it.
    pub(crate) fn spawn_limited(before: &str, home: &Path, port: u16, more_lines: &[&str]) -> Self {
        let binary = home.join("ringkeeper");
        fs::copy(env!("CARGO_BIN_EXE_ringkeeper"), &binary)
            .expect("the test's own directory can be written");
        // A plain sh has no limit of processes.
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{before} && exec \"$0\" \"$@\"")]).arg(&binary);
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(home, fs::Permissions::from_mode(0o755))
                .expect("the directory is ours");
            std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY)).expect("root may");
            shell.uid(NOBODY).gid(NOBODY);
        }
        let lines = more_lines.iter().map(|line| line.to_string()).collect();
        Self::spawn_by(shell, home, port, lines, &[])
    }

    /// Starts a process without waiting for it; `flags` stand before the configuration file.
    pub(crate) fn spawn(home: &Path, port: u16, lines: Vec<String>, flags: &[&str]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_ringkeeper")), home, port, lines, flags)
    }

    pub(crate) fn spawn_by(
        mut command: Command,
        home: &Path,
        port: u16,
        lines: Vec<String>,
        flags: &[&str],
    ) -> Self {
        let config = home.join("zoo.cfg");
        let mut text = format!(
            "tickTime=2000\nclientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={}\n4lw.commands.whitelist=*\n",
            home.join("data").display()
        );
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        fs::write(&config, text).expect("the test's own directory can be written");
        command.arg("server").args(flags).arg(&config);
        let mut server = Self::over(command, home, SocketAddr::from(([127, 0, 0, 1], port)));
        server.lines = lines;
        server
    }

    /// Starts the process of `command`, which listens on `address`, with what it says in `home`.
    pub(crate) fn over(mut command: Command, home: &Path, address: SocketAddr) -> Self {
        let log = fs::File::create(home.join("server.log"))
            .expect("the test's own directory can be written");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log);
        let child = command.spawn().expect("the server's binary starts");
        Self { child, address, home: home.to_path_buf(), lines: Vec::new() }
    }

    /// The text that it has printed. A thread of its own prints it, and may be a little behind: this
    /// waits until no more comes for a moment, or a second at most.
    pub(crate) fn log(&self) -> String {
        let read = || fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut said = read();
        loop {
            std::thread::sleep(Duration::from_millis(30));
            let now = read();
            if now == said || Instant::now() > deadline {
                return now;
            }
            said = now;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// Open descriptors.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs").count()
    }

    /// Time on a core since it started, user's and system's.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server runs");
        let (_, behind_name) = stat.rsplit_once(')').expect("the name stands in parentheses");
        let ticks: u64 = behind_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        // Linux tells user space 100 ticks a second everywhere.
        Duration::from_millis(ticks * 10)
    }

    /// Waits for `imok`.
    pub(crate) fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while four_letters(self.address, "ruok").as_deref() != Some("imok") {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_some()
    }

    /// SIGKILL, then a start on the same directory and port.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// A start on the same directory and port, of a server that has ended.
    pub(crate) fn restart(&mut self) {
        let next = Self::spawn(&self.home, self.address.port(), self.lines.clone(), &[]);
        drop(std::mem::replace(self, next));
        self.wait_until_it_answers();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .expect("kill is on every machine");
    }

    /// Lowers the limit of threads of a process that [`Self::spawn_limited`] has started.
    pub(crate) fn allow_no_more_threads(&self) {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--nproc=1:1", "--pid", &self.pid().to_string()]);
        if rustix::process::geteuid().is_root() {
            // Root's rights may end before the processes of others.
            prlimit.uid(NOBODY).gid(NOBODY);
        }
        assert!(prlimit.status().expect("prlimit is on every machine").success());
    }

    /// Lowers the limit of file sizes of the process.
    pub(crate) fn allow_no_longer_files(&self, bytes: u64) {
        let mut prlimit = Command::new("prlimit");
        prlimit.args([&format!("--fsize={bytes}:{bytes}"), "--pid", &self.pid().to_string()]);
        assert!(prlimit.status().expect("prlimit is on every machine").success());
    }

    /// Waits until the server has printed `text`.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log().contains(text) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status} and never said {text:?}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "{text:?} is not said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The exit code of a process that ends by itself within a minute.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is ours") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The user without rights.
const NOBODY: u32 = 65534;

/// A port of 127.0.0.1 that nobody listens on. It is below those that the kernel gives to
/// connections, so that none of them has it before its server listens.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id().wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        // Far from each other: an ensemble takes those that follow.
        let port = 12_000 + (nth % 18_000 * 7_919 % 18_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The answer to a four-letter word; none if nobody answers.
pub(crate) fn four_letters(address: SocketAddr, word: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A connection that speaks in raw frames.
pub(crate) struct RawClient {
    pub stream: TcpStream,
    pub session: i64,
    pub password: Vec<u8>,
    pub timeout_ms: i32,
    next_xid: i32,
}

/// The head of a reply and the record after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawReply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl RawClient {
    /// A connection without a session.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP socket has the option");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a TCP socket has the option");
        Self { stream, session: 0, password: vec![0; 16], timeout_ms: 0, next_xid: 0 }
    }

    /// A new session.
    pub(crate) fn connect(address: SocketAddr, timeout_ms: i32) -> Self {
        let mut client = Self::plain(address);
        client.handshake(timeout_ms, 0, &[0; 16]);
        assert_ne!(client.session, 0, "a new session is never refused");
        client
    }

    /// Renews a session on a new connection; its id is 0 if it was refused.
    pub(crate) fn renew(
        address: SocketAddr,
        timeout_ms: i32,
        session: i64,
        password: &[u8],
    ) -> Self {
        let mut client = Self::plain(address);
        client.handshake(timeout_ms, session, password);
        client
    }

    fn handshake(&mut self, timeout_ms: i32, session: i64, password: &[u8]) {
        self.send_frame(&connect_record(timeout_ms, session, password));
        let answer = self.read_frame().expect("a connect request is answered");
        let mut reader = Reader::new(&answer);
        reader.i32().unwrap();
        self.timeout_ms = reader.i32().unwrap();
        self.session = reader.i64().unwrap();
        self.password = reader.buffer().unwrap().unwrap().to_vec();
    }

    /// Sends bytes as they are. That the server has closed meanwhile is no error.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether the server ends the connection without one more byte.
    pub(crate) fn is_closed_silently(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(err) => err.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Sends one frame.
    pub(crate) fn send_frame(&mut self, body: &[u8]) {
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).expect("the server reads");
    }

    /// The next frame; none at the end of the stream.
    pub(crate) fn read_frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        match self.stream.read_exact(&mut len) {
            Ok(()) => {}
            Err(err)
                if matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
            {
                return None;
            }
            Err(err) => panic!("no frame came: {err}"),
        }
        let mut body = vec![0; i32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Sends a request without waiting for its reply; its xid.
    pub(crate) fn request(&mut self, op: OpCode, record: impl FnOnce(&mut Writer<'_>)) -> i32 {
        self.next_xid += 1;
        let xid = self.next_xid;
        self.request_as(xid, op, record);
        xid
    }

    /// Sends a request under an xid of the caller's choice.
    pub(crate) fn request_as(
        &mut self,
        xid: i32,
        op: OpCode,
        record: impl FnOnce(&mut Writer<'_>),
    ) {
        let mut frame = Vec::new();
        let mut writer = Writer::new(&mut frame);
        writer.i32(xid);
        writer.i32(op.0);
        record(&mut writer);
        self.send_frame(&frame);
    }

    /// The next reply or event; none at the end of the stream.
    pub(crate) fn reply(&mut self) -> Option<RawReply> {
        let frame = self.read_frame()?;
        let mut reader = Reader::new(&frame);
        let (xid, zxid, err) = (reader.i32().ok()?, reader.i64().ok()?, reader.i32().ok()?);
        Some(RawReply { xid, zxid, err, body: reader.rest().to_vec() })
    }

    /// One request and its reply.
    pub(crate) fn call(&mut self, op: OpCode, record: impl FnOnce(&mut Writer<'_>)) -> RawReply {
        let xid = self.request(op, record);
        let reply = self.reply().expect("the server replies");
        assert_eq!(reply.xid, xid);
        reply
    }

    /// Creates a node open to everyone; the error code.
    pub(crate) fn create(&mut self, path: &str, data: &[u8], flags: i32) -> RawReply {
        self.call(OpCode::CREATE, |writer| create_record(writer, path, data, flags))
    }

    /// The data of a node, or the error code.
    pub(crate) fn get(&mut self, path: &str) -> Result<Vec<u8>, i32> {
        let reply = self.call(OpCode::GET_DATA, |writer| {
            writer.string(path);
            writer.bool(false);
        });
        match reply.err {
            0 => Ok(Reader::new(&reply.body).buffer().unwrap().unwrap_or_default().to_vec()),
            err => Err(err),
        }
    }
}

/// A ConnectRequest; session 0 asks for a new one.
pub(crate) fn connect_record(timeout_ms: i32, session: i64, password: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    let mut writer = Writer::new(&mut record);
    writer.i32(0);
    writer.i64(0);
    writer.i32(timeout_ms);
    writer.i64(session);
    writer.buffer(Some(password));
    writer.bool(false);
    record
}

/// A CreateRequest with `OPEN_ACL_UNSAFE`.
pub(crate) fn create_record(writer: &mut Writer<'_>, path: &str, data: &[u8], flags: i32) {
    writer.string(path);
    writer.buffer(Some(data));
    writer.i32(1);
    writer.i32(31);
    writer.string("world");
    writer.string("anyone");
    writer.i32(flags);
}
