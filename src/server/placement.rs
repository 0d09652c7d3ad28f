//! Which core does what: how many shards there are, and whether the quorum core has a thread of its
//! own.

use crate::runtime::executor::ExecutorSpec;

use super::config::{Config, PlacementPolicy};

/// The executors of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// One per shard. Where the quorum core has no executor of its own it shares that of shard 0.
    pub shards: Vec<ExecutorSpec>,
    /// The quorum core's own executor.
    pub quorum: Option<ExecutorSpec>,
}

impl Placement {
    /// The number of executors.
    pub(crate) fn executors(&self) -> usize {
        self.shards.len() + usize::from(self.quorum.is_some())
    }

    /// The same with so few shards that there are at most that many executors, but one shard at
    /// least.
    pub(crate) fn limited(mut self, executors: usize) -> Self {
        let shards = executors.saturating_sub(usize::from(self.quorum.is_some()));
        self.shards.truncate(shards.max(1));
        self
    }
}

/// The placement that `config` asks for on the cores this process may run on.
pub(crate) fn of(config: &Config) -> Placement {
    let all = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id);
    let wanted =
        |cpu: &usize| config.cores.cores.is_empty() || config.cores.cores.contains(&(*cpu as u32));
    let cpus: Vec<usize> = all.filter(wanted).collect();
    place(&cpus, config.cores.shards as usize, config.cores.placement)
}

/// Places `shards` shards (0 chooses) on the cores `cpus`.
///
/// With one or two cores everything that is hot shares one executor, which the kernel may move:
/// there is a client, a disk and an operating system beside it. From three cores on the quorum core
/// has a core to itself, one is left to the background, and each shard is pinned to one of the
/// rest.
pub(crate) fn place(cpus: &[usize], shards: usize, policy: PlacementPolicy) -> Placement {
    let small = cpus.len() <= CORES_SHARED_MAX;
    let shared = match policy {
        PlacementPolicy::Shared => true,
        PlacementPolicy::Dedicated => false,
        PlacementPolicy::Auto | PlacementPolicy::Unpinned => small && shards <= 1,
    };
    let pinned = match policy {
        PlacementPolicy::Unpinned => false,
        PlacementPolicy::Auto => !small,
        PlacementPolicy::Shared | PlacementPolicy::Dedicated => true,
    };
    let count = match shards {
        0 if shared => 1,
        0 => cpus.len().saturating_sub(CORES_SHARED_MAX).max(1),
        asked => asked,
    };
    let cpu = |nth: usize| cpus.get(nth).copied().filter(|_| pinned);
    let first_shard = usize::from(!shared);
    let spec =
        |shard| ExecutorSpec { name: format!("shard-{shard}"), cpu: cpu(first_shard + shard) };
    Placement {
        shards: (0..count).map(spec).collect(),
        quorum: (!shared).then(|| ExecutorSpec { name: "quorum".into(), cpu: cpu(0) }),
    }
}

/// Up to this many cores the quorum core and the shard share an executor.
const CORES_SHARED_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_executors_are_fewer_shards() {
        let cpus: Vec<usize> = (0..32).collect();
        let placement = place(&cpus, 0, PlacementPolicy::Auto);
        assert_eq!(placement.executors(), 31);
        assert_eq!(placement.clone().limited(40), placement);
        let fewer = placement.clone().limited(20);
        assert_eq!((fewer.shards.len(), fewer.executors()), (19, 20));
        assert_eq!(
            (&fewer.shards[..], &fewer.quorum),
            (&placement.shards[..19], &placement.quorum)
        );
        assert_eq!(placement.limited(0).shards.len(), 1);
    }

    #[test]
    fn small_machines_share_one_executor() {
        for cores in [1, 2] {
            let placement = place(&(0..cores).collect::<Vec<_>>(), 0, PlacementPolicy::Auto);
            assert_eq!((placement.shards.len(), placement.quorum), (1, None));
            assert_eq!(placement.shards[0].cpu, None);
        }
    }

    #[test]
    fn larger_ones_pin_the_quorum_core_and_leave_one_core_free() {
        let placement = place(&[0, 1, 2, 3, 4, 5, 6, 7], 0, PlacementPolicy::Auto);
        assert_eq!(placement.quorum.unwrap().cpu, Some(0));
        assert_eq!(
            placement.shards.iter().map(|spec| spec.cpu.unwrap()).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(place(&[0, 1, 2], 0, PlacementPolicy::Auto).shards.len(), 1);
    }

    #[test]
    fn a_shard_count_that_is_asked_for_is_kept() {
        let placement = place(&[0, 1], 3, PlacementPolicy::Dedicated);
        assert_eq!(placement.shards.len(), 3);
        assert_eq!(placement.quorum.unwrap().cpu, Some(0));
        assert_eq!(
            placement.shards[2].cpu, None,
            "more shards than cores: the kernel spreads them"
        );
        assert_eq!(place(&[0, 1], 2, PlacementPolicy::Shared).quorum, None);
    }
}
