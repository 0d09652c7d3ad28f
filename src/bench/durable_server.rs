//! The floor of saturated writes: a bare server that appends a record of the size of a setData's to
//! a file, a group at a time, and answers when the group is durable. It has no tree and no
//! sessions.
//!
//! A group is whatever has come in while the group before it was on its way. The last block of a
//! group is written again with the next one, as in a log without gaps. The three ways differ in how
//! a group gets to the disk, the two spaces in whether that place was written before.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::limits;
use crate::runtime::pages::Pages;
use crate::runtime::ring::{Event, Ring, Token};
use crate::txnlog::Appending;

use super::BenchError;
use super::args::{DurableServerArgs, Space, Way};
use super::durable_files::{Files, Group, Writer, start_writer};
use super::load::pin;
use super::serving::{self, Replies, Service, Xid, xid_of};

/// Serves until the time is over or a signal ends the process.
pub(super) fn serve(args: &DurableServerArgs) -> Result<(), BenchError> {
    pin(args.core);
    let name = format!("durable server, {:?}, space {:?}", args.way, args.space);
    serving::serve(
        &name,
        args.listen,
        Duration::ZERO,
        args.duration,
        |ring| DurableServer::open(args, ring),
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

impl DurableServer {
    fn open(args: &DurableServerArgs, ring: &Ring) -> Result<Self, BenchError> {
        let log = Log::open(args, ring)
            .map_err(BenchError::io(format!("preparing files in {}", args.dir.display())))?;
        let (arrived, on_the_way, written) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { log, arrived, on_the_way, written, syncing: None })
    }

    /// The group that the writer had is written.
    fn on_written(&mut self, answers: &mut Vec<(Token, Xid)>) {
        let into = if self.log.way == Way::Overlapped { &mut self.written } else { answers };
        into.append(&mut self.on_the_way);
    }
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
        if let Event::Synced { result, .. } = event {
            result.map_err(|error| BenchError::Io {
                doing: "flushing".to_owned(),
                error: error.into(),
            })?;
            answers.extend(self.syncing.take().into_iter().flatten());
        }
        Ok(())
    }

    fn turn(&mut self, ring: &mut Ring, answers: &mut Vec<(Token, Xid)>) -> Result<(), BenchError> {
        if self.log.collect().map_err(BenchError::io("writing"))? {
            self.on_written(answers);
        }
        if self.log.way == Way::Mapped {
            if self.syncing.is_none() && !self.arrived.is_empty() {
                self.log.store().map_err(BenchError::io("storing"))?;
                self.log.sync(ring)?;
                self.syncing = Some(mem::take(&mut self.arrived));
            }
            return Ok(());
        }
        if self.syncing.is_none() && !self.written.is_empty() {
            self.log.sync(ring)?;
            self.syncing = Some(mem::take(&mut self.written));
        }
        // A flush covers one file, so what is written goes first where the next group needs
        // another one.
        let is_flushed = self.syncing.is_none() && self.written.is_empty();
        if self.on_the_way.is_empty()
            && !self.arrived.is_empty()
            && (is_flushed || !self.log.needs_next_file())
        {
            self.log.write().map_err(BenchError::io("writing"))?;
            self.on_the_way = mem::take(&mut self.arrived);
        }
        Ok(())
    }
}

struct Log {
    way: Way,
    files: Files,
    /// Bytes of the group to come.
    staged: Vec<u8>,
    /// The parts of a direct way; none where groups are stored.
    direct: Option<Direct>,
}

struct Direct {
    writer: Writer,
    /// Memory of no write; none while the one write is on its way.
    pages: Option<Pages>,
    /// The bytes of the last block that is not full.
    tail: Vec<u8>,
}

impl Log {
    fn open(args: &DurableServerArgs, ring: &Ring) -> io::Result<Self> {
        let DurableServerArgs { way, space, .. } = *args;
        let path = args.dir.join(format!("ringkeeper-durable-server-{}", std::process::id()));
        let default = match space {
            Space::Old => OLD_BYTES,
            Space::New => limits::LOG_PREALLOC_BYTES,
        };
        let bytes = args.file_mib.map_or(default, |mebibytes| u64::from(mebibytes) << 20);
        let (appending, direct) = match way {
            Way::Mapped => (Appending::Mapped, None),
            Way::Direct | Way::Overlapped => {
                let pages = Pages::zeroed(bytes.min(GROUP_BYTES_MAX) as usize)?;
                let writer = start_writer(ring.waker())?;
                let direct = Direct { writer, pages: Some(pages), tail: Vec::new() };
                (Appending::Direct, Some(direct))
            }
        };
        let files = Files::open(path, appending, space, bytes)?;
        Ok(Log { way, files, staged: Vec::new(), direct })
    }

    fn stage(&mut self, bytes: &[u8]) {
        self.staged.extend_from_slice(bytes);
    }

    /// Stores what is staged into the map.
    fn store(&mut self) -> io::Result<()> {
        self.files.place(self.staged.len())?;
        self.files.current().store(self.files.at(), &self.staged)?;
        self.files.advance(self.staged.len());
        self.staged.clear();
        Ok(())
    }

    /// Whether what is staged does not fit into the current file.
    fn needs_next_file(&self) -> bool {
        let (at, size) = (self.files.at(), self.files.current().bytes());
        at + self.group_bytes_max() as u64 > size
    }

    /// The most that the next group can take up.
    fn group_bytes_max(&self) -> usize {
        let tail = self.direct.as_ref().map_or(0, |direct| direct.tail.len());
        tail + self.staged.len() + BLOCK
    }

    /// Begins to write what is staged, together with the last block if it is not full.
    fn write(&mut self) -> io::Result<()> {
        let elsewhere = self.files.place(self.group_bytes_max())?;
        let Some(Direct { writer, pages, tail }) = &mut self.direct else { return Ok(()) };
        let Some(mut pages) = pages.take() else { return Ok(()) };
        if elsewhere {
            tail.clear();
        }
        let (kept, used) = (tail.len(), tail.len() + self.staged.len());
        let bytes = used.next_multiple_of(BLOCK);
        assert!(bytes <= pages.len(), "a group fits into its memory");
        pages[..kept].copy_from_slice(tail);
        pages[kept..used].copy_from_slice(&self.staged);
        pages[used..bytes].fill(0);
        let full = used / BLOCK * BLOCK;
        tail.clear();
        tail.extend_from_slice(&pages[full..used]);
        self.staged.clear();
        let (file, at) = (self.files.current().clone(), self.files.at());
        writer.begin(Group { file, at, pages, bytes, durable: self.way == Way::Direct });
        self.files.advance(full);
        Ok(())
    }

    /// Whether the write that was on its way has ended.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(direct) = &mut self.direct else { return Ok(false) };
        let lost = |_| io::Error::other("the thread that writes has ended");
        let Some((pages, written)) = direct.writer.poll().map_err(lost)? else { return Ok(false) };
        direct.pages = Some(pages);
        written.map(|()| true)
    }

    fn sync(&self, ring: &mut Ring) -> Result<(), BenchError> {
        Ok(ring.sync(LOG, self.files.current().as_fd())?)
    }
}

const LOG: Token = Token::new(u32::MAX - 1, 0);

const BLOCK: usize = 4096;

/// Bytes of the file where space is old.
const OLD_BYTES: u64 = 256 << 20;

/// The most that a group may hold.
const GROUP_BYTES_MAX: u64 = 32 << 20;

/// The bytes that the log record of a setData holds beyond its request: checksum, length, header of
/// the transaction and digest instead of xid and operation.
const RECORD_MORE_BYTES: usize = 45;
