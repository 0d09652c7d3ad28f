//! A leader's tree on this machine: from its first byte to its place.

use std::io;
use std::sync::Arc;

use log::info;

use crate::quorum::Quorum;
use crate::quorum::member::{Member, MemberEvent};
use crate::runtime::SharedTree;
use crate::runtime::lane::WakeHandle;
use crate::runtime::log::Log;
use crate::tree::Tree;
use crate::zxid::{Now, Zxid};

use super::disk::Job;
use super::receive_tree::{ReceiveConfig, ReceiveFailure, Received, TreeReceiver};

/// See the module.
pub(super) enum IncomingTree {
    None,
    /// It is on its way.
    Coming(TreeReceiver),
    /// It has come.
    Whole(TreeReceiver, Box<Received>),
    /// The disk thread puts it in place of the history; the other thread drops the old one.
    Taken(TreeReceiver, Box<Tree>),
}

impl IncomingTree {
    /// The tree at this zxid comes next.
    pub(super) fn begin(
        &mut self,
        config: ReceiveConfig,
        zxid: Zxid,
        waker: Arc<WakeHandle>,
    ) -> io::Result<()> {
        *self = Self::Coming(TreeReceiver::start(config, zxid, move || waker.wake())?);
        Ok(())
    }

    /// What has come of it goes on, and what comes of that is told.
    pub(super) fn go_on(
        &mut self,
        member: &mut Member,
        quorum: &mut Quorum,
        tree: &SharedTree,
        now: Now,
    ) {
        let Self::Coming(receiver) = self else { return };
        member.pass_on_tree(|piece| receiver.offer(piece));
        // Once the outcome is there, these are all that there will be.
        let outcome = receiver.outcome();
        let (taken, is_whole) = (receiver.taken(), receiver.is_whole());
        member.on_tree_bytes(taken, is_whole, quorum, &tree.read(), now);
        if let Some(outcome) = outcome {
            let event = self.end(outcome);
            member.on_event(event, quorum, &tree.read(), now);
        }
    }

    fn end(&mut self, outcome: Result<Received, ReceiveFailure>) -> MemberEvent {
        match (outcome, std::mem::replace(self, Self::None)) {
            (Ok(mut received), Self::Coming(receiver)) => {
                info!(
                    "the leader's tree has come: {} znodes in {} ms",
                    received.nodes,
                    received.took.as_millis()
                );
                let rest = std::mem::take(&mut received.rest);
                *self = Self::Whole(receiver, Box::new(received));
                MemberEvent::TreeReceived { rest }
            }
            (outcome, _) => {
                let why = outcome.err().map(|why| why.to_string()).unwrap_or_default();
                MemberEvent::TreeLost { why }
            }
        }
    }

    /// What the disk does to put the tree in place, with the log; or the log is given back.
    pub(super) fn take(&mut self, log: Box<Log>) -> Result<Job, Box<Log>> {
        match std::mem::replace(self, Self::None) {
            Self::Whole(receiver, received) => {
                let Received { tree, file: from, name: file, .. } = *received;
                *self = Self::Taken(receiver, Box::new(tree));
                Ok(Job::TakeTree { from, file, log })
            }
            _ => Err(log),
        }
    }

    /// The disk has done that: the tree is shown.
    pub(super) fn put_in_place(&mut self, place: &SharedTree) {
        if let Self::Taken(receiver, tree) = std::mem::replace(self, Self::None) {
            receiver.drop_tree(place.replace(*tree));
        }
    }

    /// The disk has not done it, and the role ends.
    pub(super) fn give_up(&mut self) {
        if let Self::Taken(receiver, tree) = std::mem::replace(self, Self::None) {
            receiver.drop_tree(*tree);
        }
    }

    /// The role has ended. What the disk is at is put in place.
    pub(super) fn end_role(&mut self) {
        if !matches!(self, Self::Taken(..)) {
            *self = Self::None;
        }
    }
}
