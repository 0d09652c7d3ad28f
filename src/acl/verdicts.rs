//! Verdicts that were found lately: a client that asks for the same node again and again, with a
//! thousand ids and under a list of tens of thousands of entries, is judged once.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::jute::data::{Acl, Id};

use super::AclConfig;

/// The last verdicts that took long to find.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    recent: VecDeque<Verdict>,
    /// Entries of lists gone through so far.
    looked: u64,
}

/// It holds list and ids, so that neither can become another one under the same address.
#[derive(Debug)]
struct Verdict {
    list: Arc<[Acl]>,
    ids: Arc<[Id]>,
    perm: i32,
    permits: bool,
}

impl Verdicts {
    /// [`AclConfig::permits`], found or remembered. Always ask with the same `config`.
    pub(crate) fn permits(
        &mut self,
        config: &AclConfig,
        list: &Arc<[Acl]>,
        perm: i32,
        ids: &Arc<[Id]>,
    ) -> bool {
        if list.len() < LONG {
            return config.permits(list, perm, ids);
        }
        let is_it = |known: &&Verdict| {
            known.perm == perm && Arc::ptr_eq(&known.list, list) && Arc::ptr_eq(&known.ids, ids)
        };
        if let Some(known) = self.recent.iter().find(is_it) {
            return known.permits;
        }
        self.looked += list.len() as u64;
        let permits = config.permits(list, perm, ids);
        if self.recent.len() == VERDICTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Verdict { list: list.clone(), ids: ids.clone(), perm, permits });
        permits
    }
}

/// Shorter lists are gone through each time.
const LONG: usize = 32;
/// Verdicts that are remembered; the lists of as many nodes may outlive them.
const VERDICTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::perms;

    fn digest(nth: usize) -> Id {
        Id::new("digest", &format!("user{nth}:hash"))
    }

    fn list(entries: usize) -> Arc<[Acl]> {
        (0..entries).map(|nth| Acl { perms: perms::READ, id: digest(nth) }).collect()
    }

    /// 1,000 requests under the same list of 10,000 entries go through it once.
    #[test]
    fn the_same_question_is_answered_once() {
        let (config, list) = (AclConfig::default(), list(10_000));
        let ids: Arc<[Id]> = (9_500..10_500).map(digest).collect();
        let strangers: Arc<[Id]> = (20_000..21_000).map(digest).collect();
        let mut verdicts = Verdicts::default();
        for _ in 0..1000 {
            assert!(verdicts.permits(&config, &list, perms::READ, &ids));
            assert!(!verdicts.permits(&config, &list, perms::WRITE, &ids));
            assert!(!verdicts.permits(&config, &list, perms::READ, &strangers));
        }
        assert_eq!(verdicts.looked, 30_000);
    }

    /// A list that is gone and another one in its place are told apart, and memory has a bound.
    #[test]
    fn what_is_remembered_is_bounded_and_not_confused() {
        let config = AclConfig::default();
        let ids: Arc<[Id]> = [digest(0)].into_iter().collect();
        let mut verdicts = Verdicts::default();
        for nth in 0..1000 {
            let entries =
                (0..100).map(|entry| Acl { perms: perms::READ, id: digest(entry + nth % 2) });
            assert_eq!(
                verdicts.permits(&config, &entries.collect(), perms::READ, &ids),
                nth % 2 == 0
            );
        }
        assert!(verdicts.recent.len() <= VERDICTS_MAX);
    }
}
