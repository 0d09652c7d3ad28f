//! The floor of saturated writes: a bare server that appends a record of the size of a setData's to
//! a file that was written before, a group at a time, and answers when the group is durable. It has
//! no tree and no sessions.
//!
//! A group is whatever has come in while the group before it was on its way. The last block of a
//! group is written again with the next one, as in a log without gaps. The three ways differ in how
//! a group gets to the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::runtime::mapping::MappedFile;
use crate::runtime::ring::{Event, Pages, Ring, Token};

use super::BenchError;
use super::args::{DurableServerArgs, Way};
use super::load::pin;
use super::serving::{self, Replies, Service, Xid, xid_of};

/// Serves until the time is over or a signal ends the process. The file has no name, so it goes
/// with the process.
pub(super) fn serve(args: &DurableServerArgs) -> Result<(), BenchError> {
    pin(args.core);
    let path = args.dir.join(format!("ringkeeper-durable-server-{}", std::process::id()));
    let log = Log::open(&path, args.way, u64::from(args.file_mib) << 20)
        .map_err(BenchError::io(format!("preparing {}", path.display())))?;
    let floor = DurableServer {
        log,
        arrived: Vec::new(),
        on_the_way: Vec::new(),
        written: Vec::new(),
        syncing: None,
    };
    let name = format!("durable server, {:?}", args.way);
    serving::serve(
        &name,
        args.listen,
        Duration::ZERO,
        args.duration,
        floor,
        Replies::new(args.payload),
    )
}

struct DurableServer {
    log: Log,
    /// Requests whose bytes are staged.
    arrived: Vec<(Token, Xid)>,
    /// Requests whose group is being written.
    on_the_way: Vec<(Token, Xid)>,
    /// Requests whose group is written and not flushed; only the overlapped way has any.
    written: Vec<(Token, Xid)>,
    /// Requests whose group is being flushed, while a flush is on its way.
    syncing: Option<Vec<(Token, Xid)>>,
}

impl Service for DurableServer {
    fn frame(&mut self, conn: Token, head: &[u8], _out: &mut Vec<u8>) {
        self.arrived.push((conn, xid_of(head)));
        self.log.stage(&[0; RECORD_MORE_BYTES]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.log.stage(bytes);
    }

    fn event(&mut self, event: Event, answers: &mut Vec<(Token, Xid)>) -> Result<(), BenchError> {
        match event {
            Event::Written { pages, written, .. } => {
                self.log
                    .on_written(pages, written.map_err(io::Error::from))
                    .map_err(BenchError::io("writing"))?;
                let into =
                    if self.log.way == Way::Overlapped { &mut self.written } else { answers };
                into.append(&mut self.on_the_way);
            }
            Event::Synced { result, .. } => {
                result.map_err(|error| BenchError::Io {
                    doing: "flushing".to_owned(),
                    error: error.into(),
                })?;
                answers.extend(self.syncing.take().into_iter().flatten());
            }
            _ => {}
        }
        Ok(())
    }

    fn turn(&mut self, ring: &mut Ring) -> Result<(), BenchError> {
        match self.log.way {
            Way::Mapped => {
                if self.syncing.is_none() && !self.arrived.is_empty() {
                    self.log.store();
                    self.log.sync(ring)?;
                    self.syncing = Some(mem::take(&mut self.arrived));
                }
            }
            Way::Direct | Way::Overlapped => {
                if self.syncing.is_none() && !self.written.is_empty() {
                    self.log.sync(ring)?;
                    self.syncing = Some(mem::take(&mut self.written));
                }
                if self.on_the_way.is_empty() && !self.arrived.is_empty() {
                    self.log.write(ring)?;
                    self.on_the_way = mem::take(&mut self.arrived);
                }
            }
        }
        Ok(())
    }
}

/// A file of fixed length, gone through round and round.
struct Log {
    way: Way,
    file: Target,
    file_bytes: u64,
    /// Bytes of the group to come.
    staged: Vec<u8>,
    /// The offset at which the next group begins.
    at: u64,
    /// The direct ways: memory of no write, and the bytes of the last block that is not full.
    pages: VecDeque<Pages>,
    tail: Vec<u8>,
}

enum Target {
    Mapped(MappedFile),
    Direct(File),
}

impl Log {
    fn open(path: &Path, way: Way, file_bytes: u64) -> io::Result<Self> {
        let file = zeroed(path, file_bytes)?;
        let file = match way {
            Way::Mapped => Target::Mapped(MappedFile::new(file)?),
            Way::Direct | Way::Overlapped => {
                let flags = (OFlags::DIRECT | OFlags::CLOEXEC).bits() as i32;
                Target::Direct(OpenOptions::new().write(true).custom_flags(flags).open(path)?)
            }
        };
        std::fs::remove_file(path)?;
        let pages = VecDeque::from([Pages::zeroed(file_bytes.min(PAGES_BYTES_MAX) as usize)?]);
        Ok(Log { way, file, file_bytes, staged: Vec::new(), at: 0, pages, tail: Vec::new() })
    }

    fn stage(&mut self, bytes: &[u8]) {
        self.staged.extend_from_slice(bytes);
    }

    /// Goes back to the file's start where a group of this many bytes would not fit.
    fn wrap(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        assert!(bytes <= self.file_bytes.min(PAGES_BYTES_MAX), "a group is smaller than the file");
        if self.at + bytes > self.file_bytes {
            self.at = 0;
            self.tail.clear();
        }
    }

    fn store(&mut self) {
        self.wrap(self.staged.len());
        let Target::Mapped(file) = &mut self.file else { return };
        file.store(self.at as usize, &self.staged);
        self.at += self.staged.len() as u64;
        self.staged.clear();
    }

    /// Begins to write what is staged, together with the last block if it is not full.
    fn write(&mut self, ring: &mut Ring) -> Result<(), BenchError> {
        self.wrap(self.tail.len() + self.staged.len() + BLOCK);
        let (Target::Direct(file), Some(mut pages)) = (&self.file, self.pages.pop_front()) else {
            return Ok(());
        };
        let (tail, used) = (self.tail.len(), self.tail.len() + self.staged.len());
        pages[..tail].copy_from_slice(&self.tail);
        pages[tail..used].copy_from_slice(&self.staged);
        let bytes = used.next_multiple_of(BLOCK);
        pages[used..bytes].fill(0);
        let full = used / BLOCK * BLOCK;
        self.tail.clear();
        self.tail.extend_from_slice(&pages[full..used]);
        self.staged.clear();
        let durable = self.way == Way::Direct;
        ring.write(LOG, file.as_fd(), pages, bytes as u32, self.at, durable)?;
        self.at += full as u64;
        Ok(())
    }

    fn on_written(&mut self, pages: Pages, written: io::Result<usize>) -> io::Result<()> {
        self.pages.push_back(pages);
        match written? {
            short if short % BLOCK != 0 || short == 0 => {
                Err(io::Error::other("a direct write ended early"))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self, ring: &mut Ring) -> Result<(), BenchError> {
        let file = match &self.file {
            Target::Mapped(file) => file.as_fd(),
            Target::Direct(file) => file.as_fd(),
        };
        Ok(ring.sync(LOG, file)?)
    }
}

/// Blocks that have been written once cost no allocation afterwards. In small writes, because after
/// a large one the page cache keeps large folios, of which a flush writes every byte again for each
/// small store.
fn zeroed(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let zeros = [0; BLOCK];
    for _ in 0..bytes / BLOCK as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

const LOG: Token = Token::new(u32::MAX - 1, 0);

const BLOCK: usize = 4096;

/// The most that a group may hold.
const PAGES_BYTES_MAX: u64 = 32 << 20;

/// What the log record of a setData holds more than its request: checksum, length, header of the
/// transaction and digest instead of xid and operation.
const RECORD_MORE_BYTES: usize = 45;
