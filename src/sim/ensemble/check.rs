//! The judge of an ensemble: one history, which only grows, and which nobody loses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::disk::{Disk, Shown};
use crate::zab::ServerId;
use crate::zxid::Zxid;

/// A promise that did not hold. Numbers are those of docs/properties.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Violation {
    /// Two leaders of one epoch (P1).
    TwoLeaders { epoch: u32, first: ServerId, second: ServerId },
    /// A leader that lacks what was committed (P10).
    LeaderLacks { leader: ServerId, zxid: Zxid },
    /// Something was committed that no quorum has on its disks (P18).
    NotDurable { zxid: Zxid },
    /// A server shows what is not the committed history (P2, P5).
    ShowsAnother { server: ServerId, zxid: Zxid },
    /// What a leader committed is not what follows the committed history (P4, P6).
    CommitsAnother { leader: ServerId, zxid: Zxid },
    /// A sync was answered without something that had been committed before it was asked (C7).
    StaleSync { server: ServerId, committed: Zxid, known: Zxid },
    /// A server told another one what does not hold on its own disk (P13, P14), or got what has no
    /// place where it stands.
    Promise { server: ServerId, what: String },
    /// Faults have ended, and the servers do not come together (L1, L5).
    NotTogether { what: String },
}

impl Violation {
    /// Its name alone.
    pub(in crate::sim) fn name(&self) -> &'static str {
        match self {
            Self::TwoLeaders { .. } => "TwoLeaders",
            Self::LeaderLacks { .. } => "LeaderLacks",
            Self::NotDurable { .. } => "NotDurable",
            Self::ShowsAnother { .. } => "ShowsAnother",
            Self::CommitsAnother { .. } => "CommitsAnother",
            Self::StaleSync { .. } => "StaleSync",
            Self::Promise { .. } => "Promise",
            Self::NotTogether { .. } => "NotTogether",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoLeaders { epoch, first, second } => {
                write!(f, "servers {first} and {second} both lead epoch {epoch}")
            }
            Self::LeaderLacks { leader, zxid } => {
                write!(f, "server {leader} leads and lacks {zxid}, which was committed")
            }
            Self::NotDurable { zxid } => {
                write!(f, "{zxid} was committed, and no quorum has it on its disks")
            }
            Self::ShowsAnother { server, zxid } => {
                write!(
                    f,
                    "server {server} shows {zxid} with a history that is not the committed one"
                )
            }
            Self::CommitsAnother { leader, zxid } => {
                write!(f, "server {leader} commits {zxid}, which does not follow the history")
            }
            Self::Promise { server, what } => write!(f, "server {server} {what}"),
            Self::StaleSync { server, committed, known } => write!(
                f,
                "server {server} answers a sync with {known}; {committed} was committed before"
            ),
            Self::NotTogether { what } => write!(f, "the servers do not come together: {what}"),
        }
    }
}

/// The committed history, and who led when.
#[derive(Debug, Default)]
pub(super) struct Judge {
    leaders: BTreeMap<u32, ServerId>,
    /// The tree after each committed transaction.
    states: Vec<Shown>,
    pub(super) commits: usize,
}

impl Judge {
    /// The tree after the last committed transaction.
    pub(super) fn last(&self) -> Shown {
        self.states.last().copied().unwrap_or_default()
    }

    fn at(&self, zxid: Zxid) -> Option<Shown> {
        let at = self.states.partition_point(|state| state.zxid < zxid);
        self.states.get(at).copied().filter(|state| state.zxid == zxid)
    }

    /// A leader begins: its whole history is committed from here on.
    pub(super) fn on_begin(
        &mut self,
        leader: ServerId,
        epoch: u32,
        disk: &Disk,
        quorum_has: impl Fn(Shown) -> bool,
    ) -> Result<(), Violation> {
        if let Some(first) = self.leaders.insert(epoch, leader) {
            return Err(Violation::TwoLeaders { epoch, first, second: leader });
        }
        // A leader may hear late that it had a quorum: later ones may have begun before it.
        let is_latest = self.leaders.last_key_value().is_some_and(|(latest, _)| *latest == epoch);
        let earlier = self.states.partition_point(|state| state.zxid.epoch() < epoch);
        let last = earlier.checked_sub(1).map_or(Shown::default(), |last| self.states[last]);
        let of_leader = disk.durable_at(last.zxid);
        if of_leader.is_none_or(|state| state.zxid == last.zxid && state != last) {
            return Err(Violation::LeaderLacks { leader, zxid: last.zxid });
        }
        if !is_latest {
            return self.on_shown(leader, disk.durable_end());
        }
        for entry in disk.after(last.zxid) {
            self.states.push(entry.shown);
        }
        if disk.base.zxid > self.last().zxid {
            self.states.push(disk.base);
        }
        if !quorum_has(self.last()) {
            return Err(Violation::NotDurable { zxid: self.last().zxid });
        }
        Ok(())
    }

    /// A leader commits one transaction more, after which its tree is `state`. A leader that is
    /// deposed and does not know it yet may commit what its successor has committed too.
    pub(super) fn on_commit(
        &mut self,
        leader: ServerId,
        state: Shown,
        quorum_has: impl Fn(Shown) -> bool,
    ) -> Result<(), Violation> {
        let zxid = state.zxid;
        if zxid <= self.last().zxid {
            let is_known = self.at(zxid) == Some(state);
            return if is_known { Ok(()) } else { Err(Violation::CommitsAnother { leader, zxid }) };
        }
        if self.leaders.last_key_value().is_none_or(|(epoch, _)| *epoch != zxid.epoch()) {
            return Err(Violation::CommitsAnother { leader, zxid });
        }
        self.states.push(state);
        self.commits += 1;
        if quorum_has(state) { Ok(()) } else { Err(Violation::NotDurable { zxid }) }
    }

    /// A server that serves clients shows this.
    pub(super) fn on_shown(&self, server: ServerId, shown: Shown) -> Result<(), Violation> {
        let is_right = shown == Shown::default() || self.at(shown.zxid) == Some(shown);
        let zxid = shown.zxid;
        if is_right { Ok(()) } else { Err(Violation::ShowsAnother { server, zxid }) }
    }
}

/// The voters, each with its group and its weight: the judge counts by itself. A plain majority is
/// one group of equal weights.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Voters(pub(in crate::sim) Vec<(ServerId, i64, u64)>);

impl Voters {
    /// Whether some are more than half of the weight in more than half of the groups.
    pub(in crate::sim) fn is_quorum(&self, has: impl Fn(ServerId) -> bool) -> bool {
        let groups: BTreeSet<i64> = self.0.iter().map(|(_, group, _)| *group).collect();
        let weigh = |of: i64, counts: &dyn Fn(ServerId) -> bool| -> u64 {
            let some = self.0.iter().filter(|(id, group, _)| *group == of && counts(*id));
            some.map(|(_, _, weight)| *weight).sum()
        };
        let heavy = || groups.iter().filter(|group| weigh(**group, &|_| true) > 0);
        let won = heavy().filter(|group| 2 * weigh(**group, &has) > weigh(**group, &|_| true));
        2 * won.count() > heavy().count()
    }

    /// Whether the disks of a quorum hold a state. One that was lost held it once.
    pub(super) fn have<'a>(
        &self,
        disk: impl Fn(ServerId) -> Option<&'a Disk>,
        state: Shown,
    ) -> bool {
        self.is_quorum(|id| {
            disk(id).is_some_and(|disk| {
                let found = disk.durable_at(state.zxid);
                let is_there = |found: Shown| found == state || found.zxid > state.zxid;
                disk.is_unknown || found.is_some_and(is_there)
            })
        })
    }
}
