//! What a learner gets, over all small cases.

use super::*;

/// All that is committed: two epochs, of which the first has three transactions.
const COMMITTED: [Zxid; 5] =
    [Zxid::new(1, 1), Zxid::new(1, 2), Zxid::new(1, 3), Zxid::new(3, 1), Zxid::new(3, 2)];

fn logged(zxid: Zxid) -> Logged {
    Logged { zxid, record: Bytes::from(zxid.0.to_be_bytes().to_vec()) }
}

/// A leader of epoch 4 with the first `all` of them, the last `in_memory` of which are in memory.
fn history(all: usize, in_memory: usize) -> History {
    let before = (all - in_memory).checked_sub(1).map_or(Zxid::ZERO, |last| COMMITTED[last]);
    let mut history = History::new(before, 500, 1 << 20);
    let latest = &COMMITTED[all - in_memory..all];
    latest.iter().for_each(|zxid| history.push(logged(*zxid), Zxid::ZERO));
    let current = history.last().epoch();
    history.begin(current, 4);
    history
}

/// What the log says that holds the entries of `kept`.
fn reach(kept: &[Zxid], base: Zxid, peer: Zxid) -> LogReach {
    let floor = kept.iter().rev().find(|zxid| **zxid <= peer).copied();
    let floor = floor.or((base <= peer).then_some(base));
    let next = kept.iter().find(|zxid| **zxid > peer).copied();
    LogReach { floor, next, is_too_long: false }
}

/// S18, ZOOKEEPER-3526, ZOOKEEPER-4352: every history of up to five transactions, every part of it in
/// memory and in the log, and every end of a learner's log: after what it gets the learner has the
/// leader's history and nothing else, and nothing is cut that the two have in common.
#[test]
fn s18_every_learner_gets_exactly_the_history_of_its_leader() {
    let (mut diffs, mut cuts, mut trees, mut refused) = (0, 0, 0, 0);
    for all in 0..=COMMITTED.len() {
        for (in_memory, in_log) in (0..=all).flat_map(|m| (0..=all).map(move |l| (m, l))) {
            let history = history(all, in_memory);
            let (base, kept) = match (all - in_log).checked_sub(1) {
                Some(last) => (COMMITTED[last], &COMMITTED[last + 1..all]),
                None => (Zxid::ZERO, &COMMITTED[..all]),
            };
            for (peer, own) in learners() {
                let plan = history.plan_from_log(peer, reach(kept, base, peer));
                let leaders = &COMMITTED[..all];
                let (keeps, from) = match plan {
                    SyncPlan::Snap => {
                        trees += 1;
                        continue;
                    }
                    SyncPlan::AskLog => panic!("the log was looked at"),
                    SyncPlan::Diff { after } => {
                        diffs += 1;
                        (own.clone(), after)
                    }
                    // Who has no such entry does not cut, and gets the tree.
                    SyncPlan::Trunc { to } if to != Zxid::ZERO && !own.contains(&to) => {
                        refused += 1;
                        continue;
                    }
                    SyncPlan::Trunc { to } => {
                        cuts += 1;
                        let kept: Vec<Zxid> = own.iter().copied().filter(|z| *z <= to).collect();
                        assert!(kept.last().copied().unwrap_or(Zxid::ZERO) == to, "an entry of it");
                        let common = own.iter().zip(leaders).take_while(|(o, l)| o == l).count();
                        assert_eq!(kept.len(), common, "no more is cut than differs");
                        (kept, to)
                    }
                };
                let sent = sent(&history, kept, from);
                let then = [keeps, sent].concat();
                assert_eq!(then, leaders, "{all} {in_memory} {in_log}: {peer} gets {plan:?}");
            }
        }
    }
    let counts = [diffs, cuts, trees, refused];
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

/// What a leader sends after `after`: what is before its memory from the log, then the rest.
fn sent(history: &History, log: &[Zxid], after: Zxid) -> Vec<Zxid> {
    let before = history.before();
    let from_log = log.iter().copied().filter(|zxid| after < *zxid && *zxid <= before);
    from_log.chain(history.after(after).map(|logged| logged.zxid)).collect()
}

/// The ends of learners' logs with all that is in them: what is committed, then up to two
/// transactions of some leader that nobody else has.
fn learners() -> Vec<(Zxid, Vec<Zxid>)> {
    let mut all = Vec::new();
    for common in 0..=COMMITTED.len() {
        let own = COMMITTED[..common].to_vec();
        let last = own.last().copied().unwrap_or(Zxid::ZERO);
        for extra in 0..=2 {
            for epoch in [last.epoch(), 2] {
                // A leader of that epoch goes on after `last`.
                let first = match epoch == last.epoch() {
                    true => last.0 + 1,
                    false => Zxid::new(epoch, 1).0,
                };
                let more = (0..extra).map(|nth| Zxid(first + nth));
                let own: Vec<Zxid> = own.iter().copied().chain(more).collect();
                let is_other = own.get(common).is_none_or(|next| !COMMITTED.contains(next));
                if epoch >= last.epoch() && last.epoch() > 0 && is_other {
                    all.push((own.last().copied().unwrap_or(Zxid::ZERO), own));
                }
            }
        }
    }
    all.push((Zxid::ZERO, Vec::new()));
    all
}
