//! As much of testcontainers as the test suite of `zookeeper-client` uses. A container is three
//! Ringkeepers where the test has one server, and one where it gives a configuration with members.
//! The suite's configurations and flags are kept; ports and directories of the container become the
//! host's. Whoever runs the suite ends the processes that a test leaves.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);

pub mod clients {
    use crate::{Container, GenericImage, RunnableImage};

    #[derive(Default)]
    pub struct Cli;

    impl Cli {
        pub fn run(&self, image: RunnableImage<GenericImage>) -> Container<'_, GenericImage> {
            Container::run(image)
        }
    }
}

pub mod images {
    pub mod generic {
        pub use crate::GenericImage;
    }
}

pub mod core {
    pub use crate::{Container, Healthcheck, LogStream, RunnableImage, WaitFor};
}

/// How a server is asked whether it is well: here always by `srvr`.
#[derive(Default)]
pub struct Healthcheck;

impl Healthcheck {
    pub fn with_cmd<T>(self, _words: impl Iterator<Item = T>) -> Self {
        self
    }

    pub fn with_interval(self, _interval: Duration) -> Self {
        self
    }

    pub fn with_retries(self, _retries: u32) -> Self {
        self
    }
}

pub enum WaitFor {
    Healthcheck,
}

#[derive(Default)]
pub struct GenericImage {
    variables: HashMap<String, String>,
}

impl GenericImage {
    pub fn new(_name: impl Into<String>, _tag: impl Into<String>) -> Self {
        Self::default()
    }

    pub fn with_env_var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub fn with_healthcheck(self, _check: Healthcheck) -> Self {
        self
    }

    pub fn with_wait_for(self, _what: WaitFor) -> Self {
        self
    }
}

pub struct RunnableImage<I> {
    image: I,
    volumes: HashMap<PathBuf, PathBuf>,
}

impl<I> From<I> for RunnableImage<I> {
    fn from(image: I) -> Self {
        Self { image, volumes: HashMap::new() }
    }
}

impl<I> RunnableImage<I> {
    /// `volume` is a path of the host and the path of the container at which it is seen.
    pub fn with_volume(mut self, volume: (impl AsRef<Path>, impl AsRef<Path>)) -> Self {
        self.volumes.insert(volume.1.as_ref().to_owned(), volume.0.as_ref().to_owned());
        self
    }

    /// Whatever the network: all is on the host.
    pub fn with_network(self, _name: impl Into<String>) -> Self {
        self
    }
}

/// One server's process and what it takes to start it again.
struct Server {
    home: PathBuf,
    flags: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.home.join("log")).unwrap();
        let program = std::env::var("RINGKEEPER_BIN").expect("RINGKEEPER_BIN names the server");
        let mut command = Command::new(program);
        command.arg("server").args(&self.flags).arg(self.home.join("zoo.cfg"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub struct Container<'d, I> {
    servers: Mutex<Vec<Server>>,
    home: PathBuf,
    _image: I,
    _docker: std::marker::PhantomData<&'d ()>,
}

impl Container<'_, GenericImage> {
    fn run(image: RunnableImage<GenericImage>) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let home = PathBuf::from(std::env::var("SUITE_HOME").expect("SUITE_HOME")).join(name);
        let flags = image.image.variables.get("SERVER_JVMFLAGS").cloned().unwrap_or_default();
        let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let given = image.volumes.get(Path::new("/conf/zoo.cfg"));
        let given = given.map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
        let servers = if given.lines().any(|line| line.starts_with("server.")) {
            vec![member(&home, &image.volumes[Path::new("/data")], &given, &flags)]
        } else {
            three(&home, &given, &flags)
        };
        let servers = Mutex::new(servers);
        let this = Self { servers, home, _image: image.image, _docker: Default::default() };
        this.start();
        this
    }
}

impl<I> Container<'_, I> {
    /// A test that panicked meanwhile has poisoned them; they are to be ended all the same.
    fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(&self) {
        let mut servers = self.servers();
        servers.iter_mut().for_each(Server::start);
        for server in servers.iter() {
            // Where there is no port in the configuration the member's own line has it.
            if server.port != 0 {
                await_mode(server.port, |mode| mode != "read-only");
            }
        }
    }

    pub fn stop(&self) {
        self.servers().iter_mut().for_each(Server::end);
    }

    pub fn get_host_port(&self, _port: u16) -> u16 {
        self.servers()[0].port
    }

    pub fn stdout(&self) -> LogStream {
        LogStream { port: self.get_host_port(2181) }
    }
}

impl<I> Drop for Container<'_, I> {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// What the suite waits for in Apache's log, Ringkeeper says by `srvr`.
pub struct LogStream {
    port: u16,
}

impl LogStream {
    pub fn wait_for_message(self, message: &str) -> Result<(), String> {
        assert_eq!(message, "Read-only server started");
        await_mode(self.port, |mode| mode == "read-only");
        Ok(())
    }
}

/// Three servers in the place of one; clients connect to the first, which follows.
fn three(home: &Path, given: &str, flags: &[String]) -> Vec<Server> {
    let ports: Vec<u16> = free_ports(9);
    let members: String = (0..3)
        .map(|i| format!("server.{}=127.0.0.1:{}:{}\n", i + 1, ports[3 * i], ports[3 * i + 1]))
        .collect();
    let kept: String = given
        .lines()
        .filter(|line| !["clientPort=", "dataDir="].iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect();
    let one = |i: usize| {
        let home = home.join((i + 1).to_string());
        let (data, port) = (home.join("data"), ports[3 * i + 2]);
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("myid"), format!("{}\n", i + 1)).unwrap();
        let limits = if kept.contains("initLimit") { "" } else { "initLimit=10\nsyncLimit=5\n" };
        let own =
            format!("clientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={}\n", data.display());
        write_configuration(&home, &format!("{kept}{limits}{own}{members}"));
        Server { home, flags: flags.to_vec(), port, child: None }
    };
    (0..3).map(one).collect()
}

/// A member whose ensemble the test has made up itself.
fn member(home: &Path, data: &Path, given: &str, flags: &[String]) -> Server {
    fs::create_dir_all(home).unwrap();
    write_configuration(
        home,
        &given.replace("dataDir=/data", &format!("dataDir={}", data.display())),
    );
    let id = fs::read_to_string(data.join("myid")).unwrap();
    let own = format!("server.{}=", id.trim());
    let line = given.lines().find(|line| line.starts_with(&own)).expect("a line of its own");
    let port = line.rsplit(|c| c == ';' || c == ':').next().and_then(|port| port.parse().ok());
    Server { home: home.to_owned(), flags: flags.to_vec(), port: port.unwrap_or(0), child: None }
}

fn write_configuration(home: &Path, lines: &str) {
    let more = "tickTime=2000\nadmin.enableServer=false\n4lw.commands.whitelist=*\n";
    fs::write(home.join("zoo.cfg"), format!("{lines}{more}")).unwrap();
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn await_mode(port: u16, holds: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !mode(port).is_some_and(|mode| holds(&mode)) {
        assert!(Instant::now() < deadline, "the server at port {port} does not serve");
        thread::sleep(Duration::from_millis(20));
    }
}

fn mode(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}
