//! The role of the moment, in the terms of the four-letter words.

use crate::quorum::{QuorumStats, RoleName, ZabState};

use crate::runtime::ensemble::elections::Standing;

use super::config::ensemble::EnsembleConfig;
use super::words::Mode;
use super::words::report::{EnsembleReport, LeaderReport, ProposalSizes};

pub(crate) fn mode(stats: &QuorumStats) -> Mode {
    match stats.role {
        RoleName::Looking => Mode::Looking,
        RoleName::ReadOnly => Mode::ReadOnly,
        RoleName::Standalone => Mode::Standalone,
        RoleName::Leading => Mode::Leader,
        RoleName::Following => Mode::Follower,
        RoleName::Observing => Mode::Observer,
    }
}

/// Of a leader; -1 where nothing is proposed yet, as in Apache's.
pub(crate) fn proposal_sizes(stats: &QuorumStats) -> Option<ProposalSizes> {
    let is_told = |bytes: usize| i64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let told = |bytes| is_told(bytes).unwrap_or(-1);
    let sizes = stats.proposal_sizes;
    (stats.role == RoleName::Leading).then(|| ProposalSizes {
        last: told(sizes.last),
        min: told(sizes.min),
        max: told(sizes.max),
    })
}

/// For `mntr` of a member of an ensemble.
pub(crate) fn report(
    stats: &QuorumStats,
    ensemble: &EnsembleConfig,
    standing: Option<&Standing>,
    now_ms: i64,
) -> EnsembleReport {
    let is_observer = stats.role == RoleName::Observing;
    let takes_observers =
        stats.role == RoleName::Following && ensemble.observer_master_port().is_some();
    EnsembleReport {
        peer_state: peer_state(stats),
        quorum_size: ensemble.voters() as u64,
        observer_master: standing.filter(|_| is_observer).and_then(|all| all.master).map(|id| id.0),
        own_observers: takes_observers.then_some(stats.learners.synced_observers as u64),
        leader: (stats.role == RoleName::Leading).then(|| leader(stats, now_ms)),
        roles: stats.roles,
    }
}

fn leader(stats: &QuorumStats, now_ms: i64) -> LeaderReport {
    let count = |count: usize| count as u64;
    let learners = &stats.learners;
    let without_vote = count(learners.synced_non_voting_followers);
    LeaderReport {
        learners: count(learners.learners),
        synced_followers: count(learners.synced_followers) + without_vote,
        synced_non_voting_followers: without_vote,
        synced_observers: count(learners.synced_observers),
        pending_syncs: count(stats.pending_syncs),
        uptime_ms: u64::try_from(now_ms - stats.role_since_ms).unwrap_or(0),
    }
}

/// For the report in the log: the role, and what the election is at.
pub(crate) fn lines(stats: &QuorumStats, standing: &Standing, now_ms: i64) -> Vec<String> {
    let epoch = stats.epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
    let serves = if stats.serving { "clients are served" } else { "no client is served" };
    let since_s = (now_ms - stats.role_since_ms) / 1000;
    let mut lines = vec![
        format!("  {}{epoch}, for {since_s} s; {serves}", peer_state(stats)),
        format!("  vote: server {}, round {}", standing.vote.leader, standing.round),
    ];
    if stats.role == RoleName::Leading {
        let learners = &stats.learners;
        let observers = learners.synced_observers;
        lines.push(format!(
            "  {} learners; in sync: {} followers, {} followers without a vote, {observers} observers",
            learners.learners, learners.synced_followers, learners.synced_non_voting_followers
        ));
    }
    if !standing.unreachable.is_empty() {
        let ids: Vec<String> = standing.unreachable.iter().map(ToString::to_string).collect();
        lines.push(format!("  not reached when last dialled: server {}", ids.join(", ")));
    }
    lines
}

/// What Apache calls the state and the phase of Zab.
fn peer_state(stats: &QuorumStats) -> String {
    let state = match stats.role {
        RoleName::Looking | RoleName::ReadOnly | RoleName::Standalone => "looking",
        RoleName::Leading => "leading",
        RoleName::Following => "following",
        RoleName::Observing => "observing",
    };
    let phase = match stats.zab_state {
        ZabState::Election => "election",
        ZabState::Discovery => "discovery",
        ZabState::Synchronization => "synchronization",
        ZabState::Broadcast => "broadcast",
    };
    format!("{state} - {phase}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_apaches_names() {
        for (role, zab_state, wanted, state) in [
            (RoleName::Looking, ZabState::Election, "leaderelection", "looking - election"),
            (RoleName::Leading, ZabState::Broadcast, "leader", "leading - broadcast"),
            (RoleName::Following, ZabState::Discovery, "follower", "following - discovery"),
            (
                RoleName::Observing,
                ZabState::Synchronization,
                "observer",
                "observing - synchronization",
            ),
        ] {
            let stats = QuorumStats { role, zab_state, ..QuorumStats::default() };
            assert_eq!((mode(&stats).name(), &*peer_state(&stats)), (wanted, state));
            assert_eq!(proposal_sizes(&stats).is_some(), role == RoleName::Leading);
        }
        assert_eq!(mode(&QuorumStats::default()).name(), "standalone");
    }

    #[test]
    fn sizes_before_the_first_proposal_are_below_0() {
        let mut stats = QuorumStats { role: RoleName::Leading, ..QuorumStats::default() };
        let none = ProposalSizes { last: -1, min: -1, max: -1 };
        assert_eq!(proposal_sizes(&stats), Some(none));
        (stats.proposal_sizes.last, stats.proposal_sizes.min, stats.proposal_sizes.max) = (7, 5, 9);
        assert_eq!(proposal_sizes(&stats), Some(ProposalSizes { last: 7, min: 5, max: 9 }));
    }

    /// Apache counts those without a vote among the followers.
    #[test]
    fn followers_without_a_vote_are_followers() {
        let mut stats = QuorumStats { role: RoleName::Leading, ..QuorumStats::default() };
        stats.learners.synced_followers = 2;
        stats.learners.synced_non_voting_followers = 1;
        stats.role_since_ms = 100;
        let leader = leader(&stats, 350);
        let followers = (leader.synced_followers, leader.synced_non_voting_followers);
        assert_eq!((followers, leader.uptime_ms), ((3, 1), 250));
    }
}
