//! Which servers a world has.

use bytes::Bytes;

use super::check::Voters;
use crate::sim::rng::Rng;
use crate::zab::{Members, QuorumSet, ServerId};
use crate::zxid::Zxid;

/// Voters, observers, and which voters are a quorum; `text` is what their tree says of them.
pub(in crate::sim) fn members(rng: &mut Rng, text: &'static [u8]) -> (Members, Voters) {
    let voters = *rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
    let observers = *rng.pick(&[0, 0, 0, 1, 2]);
    let ids = |from: i64, to: i64| (from..=to).map(ServerId);
    let grouped = voters >= 5 && rng.chance(300);
    let in_groups = ids(1, voters).map(|id| match grouped {
        true => (id, id.0 % 3, *rng.pick(&[0, 1, 1, 1, 2])),
        false => (id, 0, 1),
    });
    let in_groups = Voters(in_groups.collect());
    let quorums = match grouped {
        true => QuorumSet::Groups {
            group_of: in_groups.0.iter().map(|(id, group, _)| (*id, *group)).collect(),
            weights: in_groups.0.iter().map(|(id, _, weight)| (*id, *weight)).collect(),
        },
        false => QuorumSet::Majority,
    };
    let make = |quorums| {
        let observers = ids(voters + 1, voters + observers).collect();
        Members::new(
            ids(1, voters).collect(),
            observers,
            quorums,
            Zxid::ZERO,
            Bytes::from_static(text),
        )
    };
    match make(quorums) {
        Ok(members) => (members, in_groups),
        // No group has a weight.
        Err(_) => {
            let members = make(QuorumSet::Majority).expect("voters are an ensemble");
            (members, Voters(ids(1, voters).map(|id| (id, 0, 1)).collect()))
        }
    }
}
