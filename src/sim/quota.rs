//! Quotas in the model: the statistics that a server keeps for itself, and what a hard limit
//! refuses.
//!
//! The simulated clients make a quota's two nodes in one multi and remove them in one, and no quota
//! stands below another: then the statistics are simply the sums over what is there.

use crate::codes::ErrorCode;

use super::model::Model;
use super::op::Fill;

impl Model {
    /// Writes the statistics of every quota as they are now.
    pub(crate) fn refresh_quotas(&mut self) {
        for root in ROOTS {
            let stats = path(root, STATS);
            if self.nodes.contains_key(&path(root, LIMITS)) && self.nodes.contains_key(&stats) {
                let (count, bytes) = self.used(root);
                if let Some(node) = self.nodes.get_mut(&stats) {
                    node.data = Some(format!("count={count},bytes={bytes}").into_bytes().into());
                }
            }
        }
    }

    /// Whether `at` may grow by so many nodes and bytes in this state.
    pub(crate) fn check_quota(&self, at: &str, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        let Some(root) = ROOTS.iter().find(|root| is_at_or_below(at, root)) else { return Ok(()) };
        let Some(limits) = self.nodes.get(&path(root, LIMITS)) else { return Ok(()) };
        let Some((count_max, bytes_max)) =
            Fill::limits_of(limits.data.as_deref().unwrap_or_default())
        else {
            return Ok(());
        };
        let used = self.used(root);
        let exceeds = |max: i64, used: i64, more: i64| more != 0 && max >= 0 && used + more > max;
        match exceeds(count_max, used.0, count) || exceeds(bytes_max, used.1, bytes) {
            true => Err(ErrorCode::QUOTA_EXCEEDED),
            false => Ok(()),
        }
    }

    /// Nodes and bytes of data at and below `root`.
    fn used(&self, root: &str) -> (i64, i64) {
        let all = self.nodes.iter().filter(|(at, _)| is_at_or_below(at, root));
        let bytes = all
            .clone()
            .map(|(_, node)| node.data.as_ref().map_or(0, bytes::Bytes::len) as i64)
            .sum();
        (all.count() as i64, bytes)
    }
}

/// The path of one of the nodes of a quota.
pub(crate) fn path(root: &str, name: &str) -> String {
    format!("/zookeeper/quota{root}{name}")
}

fn is_at_or_below(at: &str, root: &str) -> bool {
    at.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The nodes that may have a quota.
pub(crate) const ROOTS: [&str; 2] = ["/a", "/b"];
/// The node with the limits.
pub(crate) const LIMITS: &str = "/zookeeper_limits";
/// The node with the statistics.
pub(crate) const STATS: &str = "/zookeeper_stats";
