//! Messages from the quorum core to a shard, and what defects make of them.

use crate::handoff::{BatchItem, ShardId, ToShard};

use super::super::defect::Defect;
use super::super::rng::Rng;
use super::{OnTheWay, Out, SimShard};

/// Puts a message into a shard's inbox, as the defect has it.
pub(super) fn push_to_shard(
    defect: Option<Defect>,
    shards: &mut [SimShard],
    on_the_way: &mut OnTheWay,
    shard: ShardId,
    mut message: ToShard,
    rng: &mut Rng,
    out: &mut Vec<Out>,
) {
    bend(defect, &mut message, rng);
    if defect == Some(Defect::CommitAfterTree) && matches!(message, ToShard::Commit(_)) {
        on_the_way.held_back.push((shard, message));
        out.push(Out::WakeQuorum);
        return;
    }
    let refused = match on_the_way.backlog.is_empty() {
        true => shards[usize::from(shard.0)].inbox.push(message).err(),
        false => Some(message),
    };
    on_the_way.backlog.extend(refused.map(|message| (shard, message)));
    out.push(Out::WakeShard(usize::from(shard.0)));
}

/// A message to a shard, as the defects change it.
fn bend(defect: Option<Defect>, message: &mut ToShard, rng: &mut Rng) {
    let commit = match message {
        ToShard::Renewed { valid, .. } => {
            *valid |= defect == Some(Defect::RenewUnknownSession);
            return;
        }
        ToShard::NotOpened { .. } | ToShard::Serving { .. } | ToShard::NotServing => return,
        ToShard::Commit(commit) => commit,
    };
    let items = &mut commit.items;
    match defect {
        Some(Defect::LostEvent) => {
            items.retain(|item| !matches!(item, BatchItem::Event(_)) || !rng.chance(50))
        }
        Some(Defect::SessionOutlivesClose) => {
            items.retain(|item| !matches!(item, BatchItem::SessionClosed { .. }))
        }
        Some(Defect::EventTwice) => {
            if let Some(at) = items.iter().position(|item| matches!(item, BatchItem::Event(_))) {
                items.insert(at, items[at].clone());
            }
        }
        Some(Defect::EventAfterReply) => {
            swap(items, |a, b| matches!((a, b), (BatchItem::Event(_), BatchItem::Reply(_))))
        }
        Some(Defect::ReplyReorder) => swap(items, |a, b| match (a, b) {
            (BatchItem::Reply(a), BatchItem::Reply(b)) => a.conn == b.conn,
            _ => false,
        }),
        _ => {}
    }
}

fn swap(items: &mut [BatchItem], wrong: impl Fn(&BatchItem, &BatchItem) -> bool) {
    if let Some(at) = items.windows(2).position(|pair| wrong(&pair[0], &pair[1])) {
        items.swap(at, at + 1);
    }
}
