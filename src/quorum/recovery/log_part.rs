//! The part of a log that a learner lacks, as it is sent: each transaction as PROPOSAL and COMMIT,
//! to observers like to followers.

use std::fmt;

use bytes::Bytes;

use super::Step;
use crate::packet::Packet;
use crate::zxid::Zxid;

/// The steps of a [`ReadBack`](super::ReadBack) on their way to a learner. No gap is passed over: up
/// to an error it gets the transactions that follow its own.
#[derive(Debug)]
pub struct LogPart {
    /// The learner has all up to this one, or is cut there.
    after: Zxid,
    /// The place in the history up to which it leads without a gap, in what comes of the log.
    last: Option<Zxid>,
    /// What comes now does not follow.
    is_broken: bool,
}

/// Transactions are missing after `after`, or those that come then are of another history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub after: Zxid,
    pub found: Zxid,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after, found } = self;
        write!(f, "the log does not lead from {after} to {found}: nothing is sent of it")
    }
}

impl LogPart {
    /// What comes after `after`.
    pub fn new(after: Zxid) -> Self {
        Self { after, last: None, is_broken: false }
    }

    /// Puts what the learner gets of a step into `out`; whether that is a transaction.
    pub fn take(&mut self, step: Step<'_>, out: &mut Vec<u8>) -> Result<bool, Gap> {
        let entry = match step {
            Step::Break => {
                self.is_broken = true;
                return Ok(false);
            }
            Step::Snapshot(zxid) => return self.come_to(zxid).map(|()| false),
            Step::Entry(_, entry) => entry,
        };
        let zxid = entry.zxid;
        self.come_to(zxid)?;
        if zxid <= self.after {
            return Ok(false);
        }
        let record = Bytes::copy_from_slice(entry.payload);
        Packet::write_committed(zxid, record, out);
        Ok(true)
    }

    /// All has come up to `upto`. The history may end with a snapshot that is named after no
    /// transaction.
    pub fn end(&self, upto: Zxid) -> Result<(), Gap> {
        match self.last == Some(upto) {
            true => Ok(()),
            false => Err(Gap { after: self.after, found: upto }),
        }
    }

    /// The next place: what is sent leads on from `after`, or from where the learner would be cut.
    fn come_to(&mut self, zxid: Zxid) -> Result<(), Gap> {
        let last = self.last.replace(zxid).filter(|_| !self.is_broken);
        self.is_broken = false;
        debug_assert!(last.is_none_or(|last| zxid > last), "{zxid} after {last:?}");
        let leads_on = zxid <= self.after || last.is_some_and(|last| last >= self.after);
        match leads_on {
            true => Ok(()),
            false => Err(Gap { after: last.unwrap_or(self.after), found: zxid }),
        }
    }
}
