//! The arguments of `ringkeeper bench`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::mix::Mix;

/// Drive a ZooKeeper server with load and report throughput, latency, CPU time and memory.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// A floor, or a load of a special kind.
    #[command(subcommand)]
    pub(super) floor: Option<Floor>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
}

/// The commands beside plain load: floors to hold a server's figures against, and special loads.
#[derive(Subcommand, Debug)]
pub(super) enum Floor {
    /// Answer the load generator's frames with replies of a server's size, and do nothing else.
    EchoServer(EchoArgs),
    /// Answer setData when a record of its size is durable, and do nothing else.
    DurableServer(DurableServerArgs),
    /// Measure how long a durable 4 KiB write into a written file takes, in two ways.
    DurableWrite(DurableArgs),
    /// Run a greedy client beside one that reads and writes now and then, and say what either
    /// suffers.
    Greedy(GreedyArgs),
    /// Change a znode that thousands of sessions watch, and time the writer's reply and the last
    /// event.
    FanOut(FanOutArgs),
}

#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// Address of the server, or of several, with commas; session by session they take turns.
    #[arg(long, default_value = "127.0.0.1:2181", value_delimiter = ',')]
    pub(super) server: Vec<SocketAddr>,
    /// Sessions, each on its own connection.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) sessions: u32,
    /// Requests outstanding per session; in an open loop the most that may be.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) outstanding: u32,
    /// Operations and their weights, of get, exists, children, set, create, delete:
    /// `get=90,set=10`.
    #[arg(long, default_value = "get=100")]
    pub(super) mix: Mix,
    /// Bytes of data per znode.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) payload: u32,
    /// Znodes that the load works on.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) nodes: u64,
    /// Znodes per parent.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) fanout: u64,
    /// The parent of everything.
    #[arg(long, default_value = "/ringkeeper-bench")]
    pub(super) root: String,
    /// Znodes to create before the load where they are missing; as many as --nodes unless given. 0
    /// for none.
    #[arg(long)]
    pub(super) preload: Option<u64>,
    /// Creates per multi while preloading; 1 for plain creates.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) preload_batch: u64,
    /// Seconds of measured load. 0 to preload only.
    #[arg(long, default_value_t = 10.0)]
    pub(super) duration: f64,
    /// Stop after this many measured operations, if that comes first.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub(super) ops: u64,
    /// Stop when the standard input ends, if that comes first.
    #[arg(long)]
    pub(super) until_eof: bool,
    /// Seconds of load before measuring.
    #[arg(long, default_value_t = 2.0)]
    pub(super) warmup: f64,
    /// Open loop: this many requests per second on a fixed schedule, latency counted from the
    /// scheduled start.
    #[arg(long)]
    pub(super) rate: Option<f64>,
    /// The server's process, to report its CPU time and memory; of several, with commas, the sums.
    #[arg(long, value_delimiter = ',')]
    pub(super) pid: Vec<u32>,
    /// The core to run on.
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// Microseconds to look out for completions before sleeping.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(super) spin: u64,
    /// Session timeout in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub(super) timeout: u32,
    /// Send every request by itself, as most clients do, instead of all that are due in one piece.
    #[arg(long)]
    pub(super) one_by_one: bool,
    /// Drive a bare echo server: no handshake, no tree.
    #[arg(long)]
    pub(super) echo: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Print no progress.
    #[arg(long)]
    pub(super) quiet: bool,
    /// Seed of the random choices.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

#[derive(Args, Debug)]
pub(super) struct EchoArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:2199")]
    pub(super) listen: SocketAddr,
    /// Bytes of data in the reply to a getData.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) payload: u32,
    /// The core to run on.
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// Microseconds to look out for completions before sleeping.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(super) spin: u64,
    /// Seconds after which to stop.
    #[arg(long, default_value_t = 3600.0)]
    pub(super) duration: f64,
}

#[derive(Args, Debug)]
pub(super) struct DurableServerArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:2198")]
    pub(super) listen: SocketAddr,
    /// The way that records get to the disk.
    #[arg(long, value_enum, default_value_t = Way::Direct)]
    pub(super) way: Way,
    /// Where they go.
    #[arg(long, value_enum, default_value_t = Space::Old)]
    pub(super) space: Space,
    /// The directory for its files, on the device that is measured.
    #[arg(long, default_value = ".")]
    pub(super) dir: PathBuf,
    /// MiB of a file; 256 where space is old, 64 where it is new.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) file_mib: Option<u32>,
    /// Bytes of data in the reply to a getData.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) payload: u32,
    /// The core to run on.
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// Seconds after which to stop.
    #[arg(long, default_value_t = 3600.0)]
    pub(super) duration: f64,
}

#[derive(Args, Debug)]
pub(super) struct DurableArgs {
    /// The directory whose device is measured.
    #[arg(long, default_value = ".")]
    pub(super) dir: PathBuf,
    /// Writes per way.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) count: u64,
    /// Seconds after which to stop, counted or not.
    #[arg(long, default_value_t = 30.0)]
    pub(super) duration: f64,
    /// The core to run on.
    #[arg(long)]
    pub(super) core: Option<usize>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct GreedyArgs {
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:2181")]
    pub(super) server: SocketAddr,
    /// The work of the greedy client.
    #[arg(long, value_enum)]
    pub(super) kind: Kind,
    /// Intervals of each sort, the greedy client alone and both together, in turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) slots: u32,
    /// Seconds of each interval.
    #[arg(long, default_value_t = 1.5)]
    pub(super) slot_seconds: f64,
    /// Measure bare flushes in this directory while both work: what is the disk's.
    #[arg(long, value_name = "DIR")]
    pub(super) flush_in: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct FanOutArgs {
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:2181")]
    pub(super) server: SocketAddr,
    /// Sessions that watch the one znode.
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) watchers: u32,
    /// The number of times that the znode is changed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The way that a group gets to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// Stores into a mapping of the file, then one fdatasync.
    Mapped,
    /// One direct write that is durable by itself.
    Direct,
    /// A direct write, then an fdatasync while the next group's write is on its way.
    Overlapped,
}

/// The place that groups are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Space {
    /// One file that was written before, gone through round and round.
    Old,
    /// File after file, made as the log makes them: reserved, zeroed at leisure.
    New,
}

/// The work of the greedy client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Nothing.
    Calm,
    /// setData of 128 B, 4,000 in a row.
    Set,
    /// getData of 128 B, 4,000 in a row.
    Get,
    /// getAllChildrenNumber of 100,000 znodes, 200 in a row.
    Count,
    /// getChildren of 100,000 children, 20 in a row.
    Children,
    /// multi of a million bytes of setData, 4 in a row.
    Multi,
    /// multiRead of a million bytes of getData, 4 in a row.
    MultiRead,
    /// multiRead of 5,000 times 100,000 children, which no server answers.
    MultiReadOver,
    /// getEphemerals of a session with 100,000, 10 in a row.
    Ephemerals,
    /// getData of a znode with 10,000 ids in its ACL by a connection with 1,000, 20 in a row.
    Acl,
    /// setWatches of 8 MB, again and again.
    SetWatches,
    /// Closing a session with 100,000 ephemerals.
    Close,
    /// Deleting 100,000 znodes that are watched.
    Delete,
    /// The word dump, with a session of 100,000 ephemerals, on four connections.
    Dump,
    /// The word wchp, with 100,000 watches, on four connections.
    Wchp,
    /// The word cons, with 1,000 sessions, on four connections.
    Cons,
    /// Opening and closing sessions on four connections.
    Sessions,
    /// All of these at once, and 5,000 sessions that expire together again and again.
    All,
}
