//! A server of an ensemble: what its life asks for, and what comes of it.
//!
//! What concerns tree and quorum machine is done here, in the turn in which it is asked for; the
//! rest is the world's.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::quorum::member::{Member, MemberEffect, MemberEvent, PeerConn};
use crate::tree::Tree;
use crate::zxid::Zxid;

use super::super::property::Checked;
use super::super::receive_tree::{self, Received};
use super::super::send_tree::{SendTree, TreePiece};
use super::super::store::Store;
use super::{Node, Out, TurnContext};

/// The part of a server that only one of an ensemble has.
#[derive(Debug)]
pub(crate) struct NodeMember {
    machine: Member,
    inputs: VecDeque<PeerInput>,
    incoming: Incoming,
    /// Trees that are being sent.
    sending: BTreeMap<PeerConn, SendTree>,
    /// The disk is giving the log another end: nothing is appended meanwhile.
    log_is_away: bool,
    /// All up to here is committed for certain, while it does not serve.
    committed: Zxid,
    serves: bool,
}

/// What a member hears of.
#[derive(Debug)]
pub(crate) enum PeerInput {
    Event(MemberEvent),
    Bytes(PeerConn, Bytes),
    Gone(PeerConn),
    /// The leader's tree that has come is durable.
    TreeStored,
    /// It could not be stored.
    TreeNotStored(String),
    /// The log ends elsewhere, and another tree belongs to it; or it is as it was.
    Truncated(Zxid, Result<(Box<Tree>, Box<Store>), String>),
    TreeTaken(Zxid, Box<Store>),
}

/// A leader's tree.
#[derive(Debug)]
enum Incoming {
    None,
    Coming {
        zxid: Zxid,
        bytes: Vec<u8>,
    },
    /// It has come, and is being stored or put in place.
    Whole(Box<Received>),
}

impl NodeMember {
    pub(crate) fn new(machine: Member) -> Self {
        Self {
            machine,
            inputs: VecDeque::new(),
            incoming: Incoming::None,
            sending: BTreeMap::new(),
            log_is_away: false,
            committed: Zxid::ZERO,
            serves: false,
        }
    }

    pub(crate) fn log_is_away(&self) -> bool {
        self.log_is_away
    }

    /// All up to here will never be cut off: a snapshot of it is not needed before its end.
    pub(super) fn committed(&self) -> Zxid {
        if self.serves { Zxid::MAX } else { self.committed }
    }
}

impl Node {
    /// Something for the member, to be taken in by the quorum core's next turn.
    pub(crate) fn peer_input(&mut self, input: PeerInput) {
        if let Some(member) = &mut self.member {
            member.inputs.push_back(input);
        }
    }

    /// Whether the quorum core has something to do for the member that no time brings.
    pub(super) fn member_has_work(&self) -> bool {
        self.member.as_ref().is_some_and(|member| {
            !self.quorum.is_applying() && (!member.inputs.is_empty() || member.machine.has_work())
        })
    }

    /// Everything that has come and is due.
    pub(super) fn step_member(&mut self, turn: &mut TurnContext<'_>) -> Checked {
        if self.member.is_none() || self.quorum.is_applying() {
            return Ok(());
        }
        let room = match self.stalled {
            true => 0,
            false if self.store.is_full() && self.quorum.is_leading() => u64::MAX,
            false => self.store.room(self.quorum.pending_bytes()),
        };
        while let Some(input) = self.member.as_mut().and_then(|member| member.inputs.pop_front()) {
            self.take_peer_input(input, turn)?;
        }
        self.receive_tree(turn);
        let packets_max = 1 + turn.rng.below(30);
        let Some(member) = &mut self.member else { return Ok(()) };
        if member.machine.is_due(&self.quorum, room, turn.now) {
            let taken = std::cell::Cell::new(0);
            let is_late = || {
                taken.set(taken.get() + 1);
                taken.get() > packets_max
            };
            member.machine.step(&mut self.quorum, &self.tree, room, is_late, turn.now);
        }
        self.member_effects(turn);
        Ok(())
    }

    fn take_peer_input(&mut self, input: PeerInput, turn: &mut TurnContext<'_>) -> Checked {
        let Some(member) = &mut self.member else { return Ok(()) };
        let event = match input {
            PeerInput::Bytes(conn, bytes) => {
                member.machine.on_bytes(conn, &bytes);
                return Ok(());
            }
            PeerInput::Gone(conn) => {
                member.machine.on_gone(conn, "the connection is gone".to_owned());
                return Ok(());
            }
            PeerInput::Event(event) => event,
            PeerInput::TreeStored => match &mut member.incoming {
                Incoming::Whole(received) => {
                    MemberEvent::TreeReceived { rest: std::mem::take(&mut received.rest) }
                }
                _ => return Ok(()),
            },
            PeerInput::TreeNotStored(why) => {
                member.incoming = Incoming::None;
                MemberEvent::TreeLost { why }
            }
            PeerInput::Truncated(to, outcome) => {
                member.log_is_away = false;
                match outcome {
                    Ok((tree, store)) => {
                        self.store = *store;
                        let before = std::mem::replace(&mut self.tree, *tree);
                        self.tree.succeed(&before);
                        turn.check.on_replaced(&self.tree)?;
                        MemberEvent::Truncated(to)
                    }
                    Err(why) => MemberEvent::CannotTruncate { to, why },
                }
            }
            PeerInput::TreeTaken(zxid, store) => {
                member.log_is_away = false;
                self.store = *store;
                if let Incoming::Whole(received) =
                    std::mem::replace(&mut member.incoming, Incoming::None)
                {
                    let before = std::mem::replace(&mut self.tree, received.tree);
                    self.tree.succeed(&before);
                    turn.check.on_replaced(&self.tree)?;
                }
                MemberEvent::TreeTaken(zxid)
            }
        };
        let Some(member) = &mut self.member else { return Ok(()) };
        member.machine.on_event(event, &mut self.quorum, &self.tree, turn.now);
        self.member_effects(turn);
        Ok(())
    }

    /// What has come of a leader's tree is put together.
    fn receive_tree(&mut self, turn: &mut TurnContext<'_>) {
        let Some(member) = &mut self.member else { return };
        let Incoming::Coming { zxid, bytes } = &mut member.incoming else { return };
        let before = bytes.len();
        member.machine.pass_on_tree(|piece| {
            bytes.extend_from_slice(&piece);
            Ok(())
        });
        if bytes.len() == before {
            return;
        }
        let taken = bytes.len() as u64;
        let received = receive_tree::receive(bytes, *zxid, self.codec);
        let is_whole = matches!(received, Ok(Some(_)));
        member.machine.on_tree_bytes(taken, is_whole, &mut self.quorum, &self.tree, turn.now);
        let lost = match received {
            Ok(None) => return,
            Ok(Some(received)) => {
                turn.out.push(Out::StoreTree);
                member.incoming = Incoming::Whole(Box::new(received));
                None
            }
            Err(why) => {
                member.incoming = Incoming::None;
                Some(MemberEvent::TreeLost { why: why.to_string() })
            }
        };
        if let Some(event) = lost {
            member.machine.on_event(event, &mut self.quorum, &self.tree, turn.now);
        }
    }

    /// The effects of a role go to the member first.
    pub(super) fn member_effects(&mut self, turn: &mut TurnContext<'_>) {
        while let Some(effect) = self.member.as_mut().and_then(|member| member.machine.poll()) {
            self.member_effect(effect, turn);
        }
    }

    pub(super) fn on_lead(
        &mut self,
        effect: crate::zab::LeadEffect,
        turn: &mut TurnContext<'_>,
    ) -> Checked {
        turn.check.on_lead(&effect, &self.tree)?;
        if let Some(member) = &mut self.member {
            member.machine.on_lead(effect, &self.quorum);
        }
        self.member_effects(turn);
        Ok(())
    }

    pub(super) fn on_learn(
        &mut self,
        effect: crate::zab::LearnEffect,
        turn: &mut TurnContext<'_>,
    ) -> Checked {
        turn.check.on_learn(&effect)?;
        if let Some(member) = &mut self.member {
            member.machine.on_learn(effect);
        }
        self.member_effects(turn);
        Ok(())
    }

    fn member_effect(&mut self, effect: MemberEffect, turn: &mut TurnContext<'_>) {
        let Some(member) = &mut self.member else { return };
        match &effect {
            MemberEffect::SendTree { conn, .. } => {
                member.sending.insert(*conn, SendTree::begin(&mut self.tree));
                turn.out.push(Out::TreeBegun(*conn));
                return;
            }
            MemberEffect::Serve { epoch } => {
                turn.trace.say(format_args!("serves epoch {epoch}"));
                let members = &member.machine.server().members;
                self.tree.set_config(members.text(), members.version(), turn.now.wall_ms);
                member.committed = self.tree.last_zxid();
                member.serves = true;
            }
            MemberEffect::Truncate { .. } => member.log_is_away = true,
            MemberEffect::TakeTree => {
                member.log_is_away = true;
                if let Incoming::Whole(received) = &mut member.incoming {
                    received.is_taken = true;
                }
            }
            MemberEffect::ReceiveTree { zxid } => {
                member.incoming = Incoming::Coming { zxid: *zxid, bytes: Vec::new() };
                return;
            }
            MemberEffect::EndRole => {
                member.serves = false;
                for (_, sending) in std::mem::take(&mut member.sending) {
                    sending.give_up(&mut self.tree);
                }
                let stays = matches!(&member.incoming, Incoming::Whole(tree) if tree.is_taken);
                if !stays {
                    member.incoming = Incoming::None;
                }
            }
            MemberEffect::Close { conn } => {
                if let Some(sending) = member.sending.remove(conn) {
                    sending.give_up(&mut self.tree);
                }
            }
            MemberEffect::Tell(news) => return turn.trace.say(format_args!("{news}")),
            _ => {}
        }
        turn.out.push(Out::Member(effect));
    }

    /// The file and the name of the tree that is to be put in place.
    pub(crate) fn tree_to_take(&self) -> Option<(String, crate::snapshot::FileName)> {
        match self.member.as_ref().map(|member| &member.incoming) {
            Some(Incoming::Whole(received)) => Some((received.temporary.clone(), received.name)),
            _ => None,
        }
    }

    /// The name and the bytes of the tree that is to be stored.
    pub(crate) fn tree_to_store(&self) -> Option<(String, Vec<u8>)> {
        match self.member.as_ref().map(|member| &member.incoming) {
            Some(Incoming::Whole(received)) => {
                Some((received.temporary.clone(), received.file.clone()))
            }
            _ => None,
        }
    }

    /// The next piece of a tree that is being sent to a learner; none when all was sent.
    pub(crate) fn tree_piece(&mut self, conn: PeerConn) -> TreePiece {
        let sending = self.member.as_mut().and_then(|member| member.sending.get_mut(&conn));
        let Some(sending) = sending else { return TreePiece::Lost };
        let piece = sending.next(&mut self.tree);
        if let (TreePiece::Last(_) | TreePiece::Lost, Some(member)) = (&piece, &mut self.member) {
            member.sending.remove(&conn);
        }
        piece
    }
}
