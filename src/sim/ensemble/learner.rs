//! A server that learns: a follower or an observer.

use bytes::Bytes;

use super::check::Violation;
use super::coverage;
use super::disk::{Disk, Job};
use super::net::Arrival;
use super::role::Role;
use super::server::Server;
use super::shared::Shared;
use crate::packet::{Packet, PacketStream};
use crate::txnlog::Durable;
use crate::zab::{LearnEffect, Leave, Logged, Stage};
use crate::zxid::{SessionId, Zxid};

impl Server {
    pub(super) fn step_learning(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        let Role::Learning(role) = &mut self.role else { return Ok(()) };
        let (now, now_ms, conn) = (shared.now, shared.now_ms(), role.conn);
        role.machine.on_time(now_ms);
        while let Some(arrival) = shared.net.next(conn, self.id, now) {
            match arrival {
                Arrival::Closed => role.machine.on_closed(),
                Arrival::Bytes(bytes) => role.stream.push(&bytes),
            }
        }
        loop {
            self.carry_out_learning(shared)?;
            let Role::Learning(role) = &mut self.role else { return Ok(()) };
            if role.is_loading && !role.load(&mut self.disk, shared.flush_done(self.id), now_ms) {
                return Ok(());
            }
            if self.fuse == Some(0) || !role.machine.wants_packets() {
                return Ok(());
            }
            match role.stream.next_packet() {
                Ok(Some(packet)) => role.machine.on_packet(packet, now_ms),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.broke(format!("got no packet: {error:?}"))),
            }
        }
    }

    fn carry_out_learning(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        while self.lives() {
            let Role::Learning(role) = &mut self.role else { break };
            let Some(effect) = role.machine.poll() else { break };
            match effect {
                LearnEffect::Send { bytes } => {
                    let (stage, conn) = (role.machine.stage(), role.conn);
                    keeps_promises(&self.disk, stage, &bytes).map_err(|what| self.broke(what))?;
                    shared.send(conn, self.id, &bytes);
                }
                LearnEffect::StoreAcceptedEpoch { epoch } => {
                    if epoch <= self.disk.accepted_epoch {
                        return Err(self.broke(format!("accepts epoch {epoch} after a later one")));
                    }
                    self.disk.ask(Job::AcceptedEpoch(epoch), shared.flush_done(self.id));
                }
                LearnEffect::StoreCurrentEpoch { epoch } => {
                    self.disk.ask(Job::CurrentEpoch(epoch), shared.flush_done(self.id));
                }
                LearnEffect::Truncate { to } => {
                    shared.coverage.note(coverage::TRUNC);
                    self.disk.ask(Job::Truncate(to), shared.flush_done(self.id));
                }
                LearnEffect::LoadTree { .. } => {
                    role.is_loading = true;
                    role.tree.clear();
                }
                LearnEffect::Append { logged } => self.append(logged, shared),
                LearnEffect::Apply { upto } => self.apply(upto),
                LearnEffect::Serve { epoch } => {
                    role.held.drain(..).for_each(|logged| self.disk.append(logged));
                    self.brought.1 = self.disk.end().zxid;
                    self.election.serves(epoch);
                }
                LearnEffect::Ping { zxid } => {
                    let session = SessionId(self.id.0);
                    role.machine.pong(zxid, vec![(session, 1_000)]);
                    role.machine.revalidate(session, 1_000);
                }
                LearnEffect::Synced { after } => {
                    let asked = role.syncs.pop_front().unwrap_or(Zxid::ZERO);
                    if asked > after {
                        let (server, committed, known) = (self.id, asked, after);
                        return Err(Violation::StaleSync { server, committed, known });
                    }
                }
                LearnEffect::Revalidated { .. } => {}
                LearnEffect::Leave { why } => {
                    shared.trace.say(format_args!("{} leaves: {why}", self.id));
                    self.rest(shared);
                    is_legal(&why).map_err(|what| self.broke(what))?;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, logged: Logged, shared: &mut Shared) {
        let Role::Learning(role) = &mut self.role else { return };
        if role.machine.stage() < Stage::Persisting {
            if self.brought.1 >= self.brought.0 {
                self.brought = (self.disk.end().zxid, Zxid::ZERO);
            }
            if role.is_late() {
                let upto = Durable::recovered(logged.zxid);
                if mutant!(TruncatedMemoryAhead) {
                    self.shown = self.shown.after(&logged);
                }
                role.held.push(logged);
                return role.machine.on_durable(upto, shared.now_ms());
            }
        }
        let is_there = self.disk.end().zxid >= logged.zxid;
        if !(is_there && mutant!(ToldFromMemory)) {
            self.disk.append(logged);
        }
        self.disk.flush(shared.flush_done(self.id));
    }

    /// All that is committed up to `upto` is shown.
    fn apply(&mut self, upto: Zxid) {
        for entry in self.disk.after(self.shown.zxid).iter().filter(|e| e.shown.zxid <= upto) {
            self.shown = self.shown.after(&entry.logged);
        }
    }
}

/// What is acknowledged is on the disk: an epoch (P14), a history with its epoch, a transaction
/// (P13).
fn keeps_promises(disk: &Disk, stage: Stage, bytes: &Bytes) -> Result<(), String> {
    let mut stream = PacketStream::new(1 << 20);
    stream.push(bytes);
    while let Ok(Some(packet)) = stream.next_packet() {
        match packet {
            Packet::AckEpoch { .. } if stage == Stage::StoringAccepted => {
                return Err("acknowledges an epoch before it has stored it".to_owned());
            }
            Packet::Ack { zxid } if zxid.counter() == 0 => {
                if disk.current_epoch < zxid.epoch() {
                    return Err(format!("acknowledges {zxid} before it has stored that epoch"));
                }
                if stage == Stage::HasHistory && disk.durable_at(disk.end().zxid).is_none() {
                    return Err(format!("acknowledges {zxid} before its history is durable"));
                }
            }
            Packet::Ack { zxid } if disk.durable_at(zxid).is_none() => {
                return Err(format!("acknowledges {zxid}, which is not on its disk"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Among our own servers nobody sends what has no place.
fn is_legal(why: &Leave) -> Result<(), String> {
    match why {
        Leave::Unexpected { .. } | Leave::Gap { .. } | Leave::CommitOutOfOrder { .. } => {
            Err(format!("got what has no place there: {why}"))
        }
        _ => Ok(()),
    }
}
