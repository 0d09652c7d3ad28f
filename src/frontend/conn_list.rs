//! Lists of connections to be looked at later.

use std::collections::VecDeque;

use crate::handoff::ConnId;

use super::connection::{Connection, Connections, ListMark};

/// Connections in the order in which they came, each at most once.
///
/// Invariant: a connection carries the list's mark exactly while the list holds it. The list alone
/// sets and takes the mark. Entries of connections that are gone are skipped.
#[derive(Debug)]
pub(super) struct ConnList {
    mark: ListMark,
    ids: VecDeque<ConnId>,
}

impl ConnList {
    /// An empty list. No two lists may share a mark.
    pub(super) fn new(mark: ListMark) -> Self {
        Self { mark, ids: VecDeque::new() }
    }

    /// Puts a connection at the tail, unless it is listed already.
    #[inline]
    pub(super) fn push(&mut self, conn: &mut Connection) {
        if conn.marks.set(self.mark) {
            self.ids.push_back(conn.id);
        }
    }

    /// Takes the connection at the head.
    pub(super) fn pop<'c>(
        &mut self,
        connections: &'c mut Connections,
    ) -> Option<&'c mut Connection> {
        while let Some(id) = self.ids.pop_front() {
            if connections.get(id).is_some() {
                let conn = connections.get(id)?;
                let was_listed = conn.marks.take(self.mark);
                debug_assert!(was_listed, "a listed connection carries the mark");
                return Some(conn);
            }
        }
        None
    }

    /// The number of entries, those of connections that are gone included.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zxid::Now;

    fn connection(slot: u32) -> Connection {
        let peer = ([10, 0, 0, 1], 4000).into();
        Connection::new(
            ConnId { slot, generation: 0 },
            peer,
            [].into(),
            Now { mono_ms: 0, wall_ms: 0 },
        )
    }

    #[test]
    fn a_connection_stands_in_a_list_once_and_in_order_and_not_when_it_is_gone() {
        let mut connections = Connections::default();
        (0..3).for_each(|slot| connections.insert(connection(slot)));
        let (mut ready, mut slow) = (ConnList::new(ListMark::Ready), ConnList::new(ListMark::Slow));
        for slot in [2, 0, 1, 2, 0] {
            ready.push(connections.at(slot).unwrap());
            slow.push(connections.at(slot).unwrap());
        }
        assert_eq!((ready.len(), slow.len()), (3, 3));
        assert_eq!(ready.pop(&mut connections).map(|conn| conn.id.slot), Some(2));
        ready.push(connections.at(2).unwrap());
        connections.remove(ConnId { slot: 0, generation: 0 });
        let slots = std::iter::from_fn(|| ready.pop(&mut connections).map(|conn| conn.id.slot));
        assert_eq!(slots.collect::<Vec<_>>(), [1, 2]);
        assert!(ready.is_empty() && slow.len() == 3);
    }
}
