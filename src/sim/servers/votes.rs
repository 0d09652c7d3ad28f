//! What one server has of an election: its port and the machine.

use crate::sim::ensemble::votes::{Surroundings, Votes as Port};
use crate::zab::{Election, ElectionEffect, ElectionSettings, Members, ServerId};

/// See the module. Lost when the server is killed.
pub(super) struct Votes {
    port: Port,
    pub(super) election: Election,
}

impl Votes {
    pub(super) fn new(id: ServerId, members: &Members) -> Self {
        let election = Election::new(id, members.clone(), ElectionSettings::default());
        Self { port: Port::new(id, members), election }
    }

    /// When it has something to do without anything coming, in milliseconds.
    pub(super) fn wakes_at(&self) -> i64 {
        self.election.wakes_at().unwrap_or(i64::MAX).min(self.port.wakes_at())
    }

    /// Everything that has come and is due. Returns what was elected.
    pub(super) fn step(&mut self, around: &mut Surroundings<'_>) -> Vec<ElectionEffect> {
        self.election.on_time(around.now_us / 1000);
        self.port.take_in(&mut self.election, around);
        self.carry_out(around)
    }

    /// Carries out what the machines want.
    pub(super) fn carry_out(&mut self, around: &mut Surroundings<'_>) -> Vec<ElectionEffect> {
        let mut elected = Vec::new();
        loop {
            self.port.carry_out(&mut self.election, around);
            match self.election.poll() {
                Some(ElectionEffect::Send { to, notification }) => {
                    self.port.links.send(to, &notification);
                }
                Some(effect) => elected.push(effect),
                None => return elected,
            }
        }
    }
}
