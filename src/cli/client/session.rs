//! A session with an ensemble, over plain sockets: one thread of its own connects, reads, pings and
//! connects again; requests are written by who asks.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::codes::{ErrorCode, OpCode};
use crate::jute::{Reader, Writer};
use crate::proto::xid;

use super::address::Address;
use super::event::{Event, Notice, State, kind_name};
use super::watches::{Kind, Watches};

/// The connection went before the answer came (`KeeperException.Code.CONNECTIONLOSS`).
pub(super) const CONNECTION_LOSS: ErrorCode = ErrorCode(-4);

/// How a session is opened.
pub(super) struct Opening {
    pub address: Address,
    /// The session timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// Whether a server that only reads will do.
    pub read_only: bool,
}

/// A watch that an answer sets.
pub(super) type NewWatch = Option<(Kind, String)>;

type Listener = Box<dyn Fn(Notice) + Send + Sync>;
type Answer = Result<Vec<u8>, ErrorCode>;

/// A session; dropping it leaves the server to expire it, [`Session::close`] ends it.
pub(super) struct Session(Arc<Shared>);

struct Shared {
    opening: Opening,
    listener: Listener,
    inner: Mutex<Inner>,
    /// Told at each change of the state and after each attempt to connect.
    changed: Condvar,
}

struct Inner {
    state: State,
    /// The user ends the session: that the server then ends the connection is no news.
    closing: bool,
    stream: Option<TcpStream>,
    pending: VecDeque<Pending>,
    next_xid: i32,
    /// Attempts to connect that have failed.
    failures: u64,
    id: i64,
    password: Vec<u8>,
    last_zxid: i64,
    last_sent: Instant,
    auth: Vec<(String, Vec<u8>)>,
    watches: Watches,
}

struct Pending {
    xid: i32,
    answer: mpsc::Sender<Answer>,
    watch: NewWatch,
}

impl Session {
    /// Begins to connect, and returns at once.
    pub(super) fn open(opening: Opening, listener: Listener) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            opening,
            listener,
            inner: Mutex::new(Inner {
                state: State::Connecting,
                closing: false,
                stream: None,
                pending: VecDeque::new(),
                next_xid: 1,
                failures: 0,
                id: 0,
                password: vec![0; 16],
                last_zxid: 0,
                last_sent: Instant::now(),
                auth: Vec::new(),
                watches: Watches::default(),
            }),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("session".into()).spawn(move || own.run())?;
        Ok(Self(shared))
    }

    /// Where it stands.
    pub(super) fn state(&self) -> State {
        self.0.lock().state
    }

    /// Waits for a server; whether one came within `patience`.
    pub(super) fn wait_connected(&self, patience: Duration) -> bool {
        let waits = |inner: &mut Inner| inner.state == State::Connecting;
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), patience, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.state.is_connected()
    }

    /// The server's path of one's own.
    pub(super) fn outside(&self, path: &str) -> String {
        self.0.opening.address.chroot.outside(path)
    }

    /// One's own path of the server's.
    pub(super) fn inside(&self, path: &str) -> String {
        self.0.opening.address.chroot.inside(path)
    }

    /// Asks and waits for the answer's record; waits for a server first, for one attempt.
    pub(super) fn ask(
        &self,
        op: OpCode,
        watch: NewWatch,
        record: impl FnOnce(&mut Writer<'_>),
    ) -> Answer {
        self.send(op, watch, record)?.recv().unwrap_or(Err(CONNECTION_LOSS))
    }

    /// Asks; the answer comes through the channel.
    pub(super) fn send(
        &self,
        op: OpCode,
        watch: NewWatch,
        record: impl FnOnce(&mut Writer<'_>),
    ) -> Result<mpsc::Receiver<Answer>, ErrorCode> {
        let inner = self.0.lock();
        let failures = inner.failures;
        let waits =
            |inner: &mut Inner| inner.state == State::Connecting && inner.failures == failures;
        let waited = self.0.changed.wait_while(inner, waits);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner);
        match inner.state {
            State::Closed => return Err(ErrorCode::SESSION_EXPIRED),
            State::AuthFailed => return Err(ErrorCode::AUTH_FAILED),
            State::Connecting => return Err(CONNECTION_LOSS),
            State::Connected | State::ConnectedReadOnly => {}
        }
        let xid = inner.next_xid;
        inner.next_xid = xid.checked_add(1).unwrap_or(1);
        let (answer, receiver) = mpsc::channel();
        inner.pending.push_back(Pending { xid, answer, watch });
        inner.write(xid, op, record);
        Ok(receiver)
    }

    /// Proves who the user is, now and after each reconnect. The answer is not waited for.
    pub(super) fn add_auth(&self, scheme: &str, auth: Vec<u8>) {
        let mut inner = self.0.lock();
        if inner.state.is_connected() {
            inner.write(xid::AUTH, OpCode::AUTH, |writer| write_auth(writer, scheme, &auth));
        }
        inner.auth.push((scheme.to_owned(), auth));
    }

    /// Forgets the watches of a type below `path`, and tells of each that was there. Whether one
    /// was.
    pub(super) fn forget_watches(&self, watcher_type: i32, path: &str) -> bool {
        let mut inner = self.0.lock();
        let state = if inner.state.is_connected() { "SyncConnected" } else { "Disconnected" };
        let kinds = inner.watches.remove(watcher_type, path);
        drop(inner);
        for kind in &kinds {
            let path = Some(path.to_owned());
            (self.0.listener)(Notice::Event(Event { state, kind, path, zxid: -1 }));
        }
        !kinds.is_empty()
    }

    /// Ends the session at the server, and tells of it.
    pub(super) fn close(&self) {
        if !self.state().is_alive() {
            return;
        }
        self.0.lock().closing = true;
        if self.state().is_connected()
            && let Ok(answer) = self.send(OpCode::CLOSE_SESSION, None, |_| {})
        {
            drop(answer.recv_timeout(CLOSE_PATIENCE));
        }
        self.0.end(State::Closed);
        (self.0.listener)(Notice::Event(Event::session("Closed")));
    }
}

impl Inner {
    fn write(&mut self, xid: i32, op: OpCode, record: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let frame = writer.begin_frame();
        writer.i32(xid);
        writer.i32(op.0);
        record(&mut writer);
        writer.end_frame(frame);
        self.last_sent = Instant::now();
        // A failure shows at the reading end, which then fails all that is pending.
        if let Some(stream) = &mut self.stream
            && stream.write_all(&out).is_err()
        {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: from host to host, until the session has ended.
    fn run(&self) {
        let hosts = &self.opening.address.hosts;
        // Clients spread over the servers without a word between them.
        let start = usize::try_from(std::process::id()).unwrap_or(0);
        for attempt in start.. {
            let (host, port) = &hosts[attempt % hosts.len()];
            let failed = match self.connect(host, *port) {
                Ok((stream, timeout)) => {
                    let reason = self.read(stream, timeout);
                    self.lose(&format!("Connection to {host}:{port} lost: {reason}"));
                    false
                }
                Err(error) => {
                    let failures = self.lock().failures;
                    if failures < 3 && self.lock().state.is_alive() {
                        let text = format!("No connection to {host}:{port}: {error}");
                        (self.listener)(Notice::Link(text));
                    }
                    self.lock().failures += 1;
                    true
                }
            };
            self.changed.notify_all();
            let inner = self.lock();
            if !inner.state.is_alive() || inner.closing {
                return;
            }
            drop(inner);
            if failed && attempt % hosts.len() == hosts.len() - 1 {
                thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// Connects and shakes hands. The connection and the timeout agreed on.
    fn connect(&self, host: &str, port: u16) -> Result<(TcpStream, Duration), String> {
        let hosts = u32::try_from(self.opening.address.hosts.len()).unwrap_or(1);
        let asked = Duration::from_millis(u64::try_from(self.opening.timeout_ms).unwrap_or(30_000));
        let patience = (asked / hosts).max(Duration::from_millis(200));
        let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut last = Err("the name has no address".to_owned());
        for address in addresses {
            last = TcpStream::connect_timeout(&address, patience).map_err(|e| e.to_string());
            if last.is_ok() {
                break;
            }
        }
        let mut stream = last?;
        let hello = self.greeting();
        let answer = (|| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience))?;
            stream.write_all(&hello)?;
            let mut head = [0; 4];
            stream.read_exact(&mut head)?;
            let mut body = vec![0; u32::from_be_bytes(head).min(GREETING_BYTES_MAX) as usize];
            stream.read_exact(&mut body)?;
            Ok(body)
        })()
        .map_err(|error: io::Error| error.to_string())?;
        self.greeted(stream, &answer)
    }

    fn greeting(&self) -> Vec<u8> {
        let inner = self.lock();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let frame = writer.begin_frame();
        writer.i32(0);
        writer.i64(inner.last_zxid);
        writer.i32(self.opening.timeout_ms);
        writer.i64(inner.id);
        writer.buffer(Some(&inner.password));
        writer.bool(self.opening.read_only);
        writer.end_frame(frame);
        out
    }

    fn greeted(&self, stream: TcpStream, answer: &[u8]) -> Result<(TcpStream, Duration), String> {
        let mut reader = Reader::new(answer);
        let read = (|| {
            reader.i32()?;
            Ok((reader.i32()?, reader.i64()?, reader.buffer()?.unwrap_or_default().to_vec()))
        })();
        let (timeout_ms, id, password) =
            read.map_err(|error: crate::jute::Malformed| format!("no ZooKeeper answers: {error}"))?;
        if timeout_ms <= 0 {
            self.end(State::Closed);
            (self.listener)(Notice::Event(Event::session("Expired")));
            return Err("the session has expired".into());
        }
        let read_only = reader.bool().unwrap_or(false);
        let own = stream.try_clone().map_err(|error| error.to_string())?;
        let mut inner = self.lock();
        if !inner.state.is_alive() {
            return Err("closed".into());
        }
        inner.stream = Some(own);
        (inner.id, inner.password) = (id, password);
        inner.state = if read_only { State::ConnectedReadOnly } else { State::Connected };
        for (scheme, auth) in std::mem::take(&mut inner.auth) {
            inner.write(xid::AUTH, OpCode::AUTH, |writer| write_auth(writer, &scheme, &auth));
            inner.auth.push((scheme, auth));
        }
        if !inner.watches.is_empty() {
            let watches = std::mem::take(&mut inner.watches);
            let zxid = inner.last_zxid;
            inner.write(xid::SET_WATCHES, OpCode::SET_WATCHES2, |writer| {
                writer.i64(zxid);
                watches.write(writer, |path| self.opening.address.chroot.outside(path));
            });
            inner.watches = watches;
        }
        drop(inner);
        let peer = stream.peer_addr().map_or_else(|_| String::new(), |peer| peer.to_string());
        (self.listener)(Notice::Link(format!("Connected to {peer}, session 0x{id:x}")));
        let state = if read_only { "ConnectedReadOnly" } else { "SyncConnected" };
        (self.listener)(Notice::Event(Event::session(state)));
        self.changed.notify_all();
        Ok((stream, Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(1))))
    }

    /// Reads until the connection ends; the reason.
    fn read(&self, mut stream: TcpStream, timeout: Duration) -> String {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 64 << 10];
        let mut last_heard = Instant::now();
        if let Err(error) = stream.set_read_timeout(Some((timeout / 6).max(SHORTEST_WAIT))) {
            return error.to_string();
        }
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return "the server closed it".into(),
                Ok(count) => {
                    last_heard = Instant::now();
                    bytes.extend_from_slice(&piece[..count]);
                    if let Err(reason) = self.frames(&mut bytes) {
                        return reason;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return error.to_string(),
            }
            if last_heard.elapsed() > timeout * 2 / 3 {
                return "no word from the server in two thirds of the session timeout".into();
            }
            let mut inner = self.lock();
            if inner.last_sent.elapsed() > timeout / 3 {
                inner.write(xid::PING, OpCode::PING, |_| {});
            }
        }
    }

    /// Takes whole frames off the front of `bytes`.
    fn frames(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let mut taken = 0;
        while let Some((head, rest)) = bytes[taken..].split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*head);
            let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
            let length = length.ok_or("a frame of an impossible length")?;
            let Some(frame) = rest.get(..length) else { break };
            self.frame(frame).map_err(|error| error.to_string())?;
            taken += 4 + length;
        }
        bytes.drain(..taken);
        Ok(())
    }

    fn frame(&self, frame: &[u8]) -> Result<(), crate::jute::Malformed> {
        let mut reader = Reader::new(frame);
        let (xid, zxid, error) = (reader.i32()?, reader.i64()?, ErrorCode(reader.i32()?));
        match xid {
            xid::PING | xid::SET_WATCHES => {}
            xid::AUTH if error.is_ok() => {}
            xid::AUTH => {
                self.end(State::AuthFailed);
                (self.listener)(Notice::Event(Event::session("AuthFailed")));
            }
            xid::EVENT => {
                let (kind, _) = (reader.i32()?, reader.i32()?);
                let path = reader.string()?.unwrap_or_default();
                let path = self.opening.address.chroot.inside(&path);
                self.lock().watches.spend(kind, &path);
                let (state, kind) = ("SyncConnected", kind_name(kind));
                (self.listener)(Notice::Event(Event { state, kind, path: Some(path), zxid }));
            }
            _ => self.answer(xid, zxid, error, reader.rest()),
        }
        Ok(())
    }

    fn answer(&self, xid: i32, zxid: i64, error: ErrorCode, record: &[u8]) {
        let mut inner = self.lock();
        if zxid > 0 {
            inner.last_zxid = zxid;
        }
        // Answers come in the order of their requests.
        let Some(pending) = inner.pending.pop_front().filter(|pending| pending.xid == xid) else {
            return;
        };
        if let Some((kind, path)) = pending.watch {
            match kind {
                Kind::Data if error == ErrorCode::NO_NODE => {}
                Kind::Exists if error.is_ok() => inner.watches.add(Kind::Data, path),
                Kind::Exists if error == ErrorCode::NO_NODE => inner.watches.add(kind, path),
                kind if error.is_ok() => inner.watches.add(kind, path),
                _ => {}
            }
        }
        drop(pending.answer.send(if error.is_ok() { Ok(record.to_vec()) } else { Err(error) }));
    }

    /// The connection is gone: what waits for an answer learns it.
    fn lose(&self, reason: &str) {
        let mut inner = self.lock();
        inner.stream = None;
        inner.pending.clear();
        if !inner.state.is_alive() || inner.closing {
            return;
        }
        inner.state = State::Connecting;
        drop(inner);
        (self.listener)(Notice::Event(Event::session("Disconnected")));
        (self.listener)(Notice::Link(format!("{reason}; connecting again")));
    }

    /// The session is over.
    fn end(&self, state: State) {
        let mut inner = self.lock();
        inner.state = state;
        inner.pending.clear();
        if let Some(stream) = inner.stream.take() {
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(inner);
        self.changed.notify_all();
    }
}

fn write_auth(writer: &mut Writer<'_>, scheme: &str, auth: &[u8]) {
    writer.i32(0);
    writer.string(scheme);
    writer.buffer(Some(auth));
}

const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const GREETING_BYTES_MAX: u32 = 4096;
/// Far above what a server sends; only a stranger at the port sends more.
const FRAME_BYTES_MAX: usize = 256 << 20;
