//! The tree that the load works on: created where it is missing, pipelined, many znodes to a multi.

use std::collections::VecDeque;
use std::time::Instant;

use super::BenchError;
use super::engine::{Asked, Engine, Phase, Reply, Work};
use super::wire::{self, Op, Tree};

/// The amount to create.
pub(super) struct Preload<'a> {
    pub(super) tree: &'a Tree,
    pub(super) nodes: u64,
    /// Creates per multi.
    pub(super) batch: u64,
    pub(super) payload: &'a [u8],
    pub(super) quiet: bool,
}

impl Preload<'_> {
    /// Creates root, parents and znodes, unless the last of them is there already.
    pub(super) fn run(&self, engine: &mut Engine) -> Result<(), BenchError> {
        let Some(last) = self.nodes.checked_sub(1) else { return Ok(()) };
        let mut look = Look { path: self.tree.node_path(last), asked: false, found: None };
        engine.run(&mut look, 1, None)?;
        if look.found == Some(true) {
            return Ok(());
        }
        let started = Instant::now();
        let roots: Vec<_> = self.tree.root.match_indices('/').map(|(at, _)| at).skip(1).collect();
        let roots: Vec<_> = roots.into_iter().chain([self.tree.root.len()]).collect();
        let root = |n: u64| self.tree.root[..roots[n as usize]].to_owned();
        engine.run(&mut Creates::new(roots.len() as u64, 1, &[], root).in_order(), 16, None)?;
        let dirs = self.tree.dir(last) + 1;
        engine.run(&mut Creates::new(dirs, 1, &[], |dir| self.tree.dir_path(dir)), 64, None)?;
        let mut leaves =
            Creates::new(self.nodes, self.batch, self.payload, |node| self.tree.node_path(node));
        leaves.progress = (!self.quiet).then_some(0);
        engine.run(&mut leaves, (256 / self.batch).clamp(4, 64) as u32, None)?;
        if !self.quiet {
            let seconds = started.elapsed().as_secs_f64();
            say_error!(
                "preloaded {} znodes in {seconds:.1} s, {:.0}/s",
                self.nodes,
                self.nodes as f64 / seconds
            );
        }
        Ok(())
    }
}

/// Asks once whether a path is there.
struct Look {
    path: String,
    asked: bool,
    found: Option<bool>,
}

impl Work for Look {
    fn request(&mut self, _session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        if std::mem::replace(&mut self.asked, true) {
            return None;
        }
        wire::append_path(out, xid, Op::Exists, &self.path);
        Some(Asked { op: Op::Exists, tag: 0 })
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        self.found = Some(match reply.error {
            0 => true,
            NO_NODE => false,
            code => {
                return Err(BenchError::Refused { what: format!("exists {}", self.path), code });
            }
        });
        Ok(())
    }

    fn turn(&mut self, _now_ns: u64) -> Phase {
        if self.found.is_some() { Phase::Drain } else { Phase::Issue }
    }
}

/// Creates `total` paths; those that are there already are fine.
struct Creates<'a, F> {
    path: F,
    payload: &'a [u8],
    total: u64,
    batch: u64,
    next: u64,
    done: u64,
    /// Znodes of refused multis, to be created one by one.
    again: VecDeque<u64>,
    /// Whether only one session may ask, so that the server keeps to the order.
    in_order: bool,
    /// Where progress was told last, in nanoseconds, if it is to be.
    progress: Option<u64>,
}

impl<'a, F: Fn(u64) -> String> Creates<'a, F> {
    fn new(total: u64, batch: u64, payload: &'a [u8], path: F) -> Self {
        let again = VecDeque::new();
        Creates {
            path,
            payload,
            total,
            batch,
            next: 0,
            done: 0,
            again,
            in_order: false,
            progress: None,
        }
    }

    fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    fn batch_at(&self, start: u64) -> std::ops::Range<u64> {
        start..(start + self.batch).min(self.total)
    }
}

impl<F: Fn(u64) -> String> Work for Creates<'_, F> {
    fn request(&mut self, session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        if self.in_order && session != 0 {
            return None;
        }
        let single = self
            .again
            .pop_front()
            .or_else(|| (self.batch == 1 && self.next < self.total).then_some(self.next));
        if let Some(node) = single {
            self.next = self.next.max(node + 1);
            wire::append_create(out, xid, &(self.path)(node), self.payload);
            return Some(Asked { op: Op::Create, tag: node });
        }
        if self.next >= self.total {
            return None;
        }
        let batch = self.batch_at(self.next);
        let start = std::mem::replace(&mut self.next, batch.end);
        wire::append_multi(out, xid, batch.map(&self.path), self.payload);
        Some(Asked { op: Op::Multi, tag: start })
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        let Asked { op, tag } = reply.asked;
        match (op, reply.error) {
            // A multi that failed says so in its first result.
            (Op::Multi, 0) if reply.first == MULTI_ERROR => self.again.extend(self.batch_at(tag)),
            (Op::Multi, 0) => self.done += self.batch_at(tag).count() as u64,
            (Op::Create, 0 | NODE_EXISTS) => self.done += 1,
            (_, code) => {
                return Err(BenchError::Refused {
                    what: format!("create {}", (self.path)(tag)),
                    code,
                });
            }
        }
        Ok(())
    }

    fn turn(&mut self, now_ns: u64) -> Phase {
        if let Some(told) = self.progress.filter(|told| now_ns - told >= 1_000_000_000) {
            if told > 0 {
                say_error!("preloading: {} of {} znodes", self.done, self.total);
            }
            self.progress = Some(now_ns);
        }
        if self.done == self.total { Phase::Drain } else { Phase::Issue }
    }
}

const NO_NODE: i32 = -101;

const NODE_EXISTS: i32 = -110;

const MULTI_ERROR: i32 = -1;
