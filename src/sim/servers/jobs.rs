//! What a member wants of its disk: one job after the other, each done in one event, in the middle
//! of which the machine may stop.

use crate::quorum::member::{MemberEvent, PeerConn};
use crate::quorum::recovery::{
    LogPart, ReadBack, RecoveryError, Step, TakingOver, Truncation, reach,
};
use crate::sim::disk::{Disk, DiskError};
use crate::sim::node::{Node, PeerInput};
use crate::sim::property::Checked;
use crate::sim::recover::Files;
use crate::zab::{LearnerConn, LogReach};
use crate::zxid::Zxid;
use bytes::Bytes;

use super::{Event, Servers, coverage};

/// See the module.
#[derive(Debug)]
pub(super) enum Job {
    AcceptedEpoch(u32),
    CurrentEpoch(u32),
    Truncate(Zxid),
    StoreTree,
    TakeTree,
    AskLog { of: LearnerConn, peer: Zxid, upto: Zxid },
}

impl Job {
    /// What its disk is at meanwhile.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::AcceptedEpoch(_) => "storing the accepted epoch",
            Self::CurrentEpoch(_) => "storing the current epoch",
            Self::Truncate(_) => "a truncation",
            Self::StoreTree => "storing a tree",
            Self::TakeTree => "putting a tree in place",
            Self::AskLog { .. } => "a look at the log",
        }
    }
}

/// How a job has ended.
enum End {
    Told(PeerInput),
    Nothing,
    /// The machine has stopped, or the server must end.
    Stopped,
}

impl Servers {
    pub(super) fn ask_disk(&mut self, at: usize, job: Job) {
        self.servers[at].jobs.push_back(job);
        if self.servers[at].jobs.len() == 1 {
            self.next_job(at);
        }
    }

    fn next_job(&mut self, at: usize) {
        let slow = !self.calm && self.rng.chance(self.swarm.slow_flush);
        let times = if slow { 50 } else { 3 };
        let delay = 1 + self.rng.below(self.flush_delay(at) * times);
        self.after(delay, Event::Job(at, self.servers[at].generation));
    }

    pub(super) fn job(&mut self, at: usize) -> Checked {
        let Some(job) = self.servers[at].jobs.pop_front() else { return Ok(()) };
        let Some(mut node) = self.servers[at].node.take() else { return Ok(()) };
        let stops = !self.calm && self.rng.chance(self.weather.job_crash);
        let fuse = stops.then(|| self.rng.below(14));
        self.servers[at].disk.set_fuse(fuse);
        self.say(at, format_args!("disk: {job:?}"));
        let name = job.name();
        let end = self.carry_out_job(at, &mut node, job);
        self.servers[at].disk.set_fuse(None);
        self.servers[at].node = Some(node);
        match end {
            End::Told(input) => self.peer_input(at, input),
            End::Nothing => {}
            End::Stopped => {
                self.history.coverage.crash_in(name);
                self.crash(at, false);
                return Ok(());
            }
        }
        if !self.servers[at].jobs.is_empty() {
            self.next_job(at);
        }
        Ok(())
    }

    fn carry_out_job(&mut self, at: usize, node: &mut Node, job: Job) -> End {
        let disk = &mut self.servers[at].disk;
        match job {
            Job::AcceptedEpoch(epoch) => match write_epoch(disk, ACCEPTED, epoch) {
                Err(_) => End::Stopped,
                Ok(()) => {
                    self.history.servers[at].accepted_epoch = epoch;
                    End::Told(PeerInput::Event(MemberEvent::AcceptedEpoch(epoch)))
                }
            },
            Job::CurrentEpoch(epoch) => match write_epoch(disk, CURRENT, epoch) {
                Err(_) => End::Stopped,
                Ok(()) => {
                    self.history.servers[at].current_epoch = epoch;
                    End::Told(PeerInput::Event(MemberEvent::CurrentEpoch(epoch)))
                }
            },
            Job::Truncate(to) => self.truncate(at, node, to),
            Job::StoreTree => {
                let Some((name, bytes)) = node.tree_to_store() else { return End::Nothing };
                let stored = disk.create(&name).and_then(|()| disk.write(&name, 0, &bytes));
                match stored.and_then(|()| disk.flush(&name)) {
                    Ok(()) => End::Told(PeerInput::TreeStored),
                    Err(DiskError::Full) => match disk.unlink(&name) {
                        Ok(()) => End::Told(PeerInput::TreeNotStored("no space".to_owned())),
                        Err(_) => End::Stopped,
                    },
                    Err(_) => End::Stopped,
                }
            }
            Job::TakeTree => self.take_tree(at, node),
            Job::AskLog { of, peer, upto } => {
                let reach = log_reach(disk, peer, upto);
                End::Told(PeerInput::Event(MemberEvent::LogReach(of, reach)))
            }
        }
    }

    /// All of the log is flushed, and nobody takes a snapshot any more.
    fn still(&mut self, at: usize, node: &mut Node) -> Result<(), DiskError> {
        let disk = &mut self.servers[at].disk;
        if let Some(snap) = node.snap.take() {
            snap.give_up(&mut node.tree, disk)?;
        }
        node.store.flush_all(disk, &mut self.rng)?;
        let last = node.quorum.last_logged();
        self.history.on_durable(at, last);
        Ok(())
    }

    fn truncate(&mut self, at: usize, node: &mut Node, to: Zxid) -> End {
        if self.still(at, node).is_err() {
            return End::Stopped;
        }
        let settings = self.truncation_settings(at);
        let mut files = Files::of(&mut self.servers[at].disk);
        let prepared = Truncation::prepare(&mut files, &settings, to);
        if files.stopped {
            return End::Stopped;
        }
        let truncation = match prepared {
            Ok(truncation) => truncation,
            Err(why) => return End::Told(PeerInput::Truncated(to, Err(why.to_string()))),
        };
        self.history.servers[at].changes_to = Some(to.0);
        let disk = &mut self.servers[at].disk;
        if node.store.close(disk, &mut self.rng).is_err() {
            return End::Stopped;
        }
        let recovered = match truncation.carry_out(&mut Files::of(disk)) {
            Ok(recovered) => recovered,
            Err(_) => return End::Stopped,
        };
        self.history.coverage.note(coverage::TRUNC);
        let mut store = self.new_store(at, to);
        match store.open(&mut self.servers[at].disk, &mut self.rng) {
            Ok(()) => {
                let outcome = Ok((Box::new(recovered.tree), Box::new(store)));
                End::Told(PeerInput::Truncated(to, outcome))
            }
            Err(_) => End::Stopped,
        }
    }

    fn take_tree(&mut self, at: usize, node: &mut Node) -> End {
        let Some((from, name)) = node.tree_to_take() else { return End::Nothing };
        if self.still(at, node).is_err() {
            return End::Stopped;
        }
        let disk = &mut self.servers[at].disk;
        let mut files = Files::of(disk);
        let Ok(taking) = TakingOver::prepare(&mut files, &from, name) else {
            // Nothing but a crash makes it fail here.
            return End::Stopped;
        };
        self.history.servers[at].changes_to = Some(name.zxid.0);
        if node.store.close(disk, &mut self.rng).is_err() {
            return End::Stopped;
        }
        let taken: Result<(), RecoveryError> = taking.carry_out(&mut Files::of(disk));
        if taken.is_err() {
            return End::Stopped;
        }
        self.servers[at].is_lost = false;
        let mut store = self.new_store(at, name.zxid);
        match store.open(&mut self.servers[at].disk, &mut self.rng) {
            Ok(()) => End::Told(PeerInput::TreeTaken(name.zxid, Box::new(store))),
            Err(_) => End::Stopped,
        }
    }

    /// A part of the log goes to a learner.
    pub(super) fn send_log(&mut self, at: usize, conn: PeerConn, after: Zxid, upto: Zxid) {
        let fails = !self.calm && self.rng.chance(self.weather.read_fails);
        if fails {
            self.history.coverage.note(coverage::LOG_NOT_READ);
        }
        match log_part(&self.servers[at].disk, after, upto).filter(|_| !fails) {
            Some(bytes) => {
                self.history.coverage.note(coverage::LOG_DIFF);
                self.send_peer(at, conn, &Bytes::from(bytes));
                self.release_held(at, conn);
            }
            None => {
                self.say(at, format_args!("the log does not lead from {after} to {upto}"));
                self.close_peer(at, conn);
            }
        }
    }
}

fn read_back(disk: &Disk, from: Zxid) -> (ReadBack, Vec<&[u8]>) {
    let (logs, snapshots): (Vec<String>, Vec<String>) =
        disk.list().into_iter().partition(|name| name.starts_with("log."));
    let back = ReadBack::new(logs, &snapshots, from);
    let files = back.names().map(|name| disk.read(name).unwrap_or_default()).collect();
    (back, files)
}

fn log_reach(disk: &Disk, peer: Zxid, upto: Zxid) -> LogReach {
    let (back, files) = read_back(disk, peer);
    let found = reach(&back, peer, upto, None, || true, |nth| Ok(files[nth]));
    let nowhere = LogReach { floor: None, next: None, is_too_long: false };
    found.ok().flatten().unwrap_or(nowhere)
}

/// The packets of the transactions after `after` and up to `upto`, if the log leads from there.
fn log_part(disk: &Disk, after: Zxid, upto: Zxid) -> Option<Vec<u8>> {
    let (back, files) = read_back(disk, after);
    let (mut part, mut bytes, mut leads) = (LogPart::new(after), Vec::new(), true);
    let take = |step: Step<'_>| {
        leads = part.take(step, &mut bytes).is_ok();
        leads
    };
    let walked = back.walk(upto, |nth| Ok(files[nth]), take);
    (walked.is_ok() && leads && part.end(upto).is_ok()).then_some(bytes)
}

/// The epoch that a file holds; 0 without one.
pub(super) fn read_epoch(disk: &Disk, name: &str) -> u32 {
    let text = disk.read(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes a file hold a number, as production does.
pub(super) fn write_epoch(disk: &mut Disk, name: &str, epoch: u32) -> Result<(), DiskError> {
    let unfinished = format!("{name}.tmp");
    disk.create(&unfinished)?;
    disk.write(&unfinished, 0, epoch.to_string().as_bytes())?;
    disk.flush(&unfinished)?;
    disk.rename(&unfinished, name)?;
    disk.flush_dir()
}

pub(super) const ACCEPTED: &str = "acceptedEpoch";
pub(super) const CURRENT: &str = "currentEpoch";
