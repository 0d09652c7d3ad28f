//! A table that is copied in slices while it goes on changing: the copy is the table as it was when
//! the copying began.

use std::collections::BTreeMap;

/// The progress of the copying. Whoever changes the table calls [`Self::touch`] before.
#[derive(Debug)]
pub(super) struct Copying<K, V> {
    /// The last key that has been copied.
    after: Option<K>,
    is_done: bool,
    /// The former values of keys that have changed since: `None` if there was none.
    /// Invariant: all keys are above `after`, and there is none once all is done.
    images: BTreeMap<K, Option<V>>,
}

impl<K: Ord + Copy, V> Copying<K, V> {
    /// Begins with the first key above `after`.
    pub(super) fn begin(after: Option<K>) -> Self {
        Self { after, is_done: false, images: BTreeMap::new() }
    }

    /// The last key that has been copied.
    pub(super) fn after(&self) -> Option<K> {
        self.after
    }

    /// Whether all has been copied.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// To be called before the value of `key`, `now`, is changed, added or removed.
    pub(super) fn touch(&mut self, key: K, now: impl FnOnce() -> Option<V>) {
        if !self.is_done && self.after < Some(key) {
            self.images.entry(key).or_insert_with(now);
        }
    }

    /// Copies what follows [`Self::after`], at most `max` steps of it. `live` yields the table from
    /// there on, in the order of its keys, a place that holds nothing as `None`. Returns the steps
    /// taken.
    pub(super) fn copy(
        &mut self,
        live: impl Iterator<Item = (K, Option<V>)>,
        max: usize,
        sink: &mut impl FnMut(K, V),
    ) -> usize {
        let mut live = live.peekable();
        for step in 0..max {
            let of_live = live.peek().map(|(key, _)| *key);
            let of_images = self.images.first_key_value().map(|(key, _)| *key);
            let Some(key) = of_live.into_iter().chain(of_images).min() else {
                self.is_done = true;
                return step;
            };
            let mut value = live.next_if(|(live, _)| *live == key).and_then(|(_, value)| value);
            if of_images == Some(key) {
                value = self.images.pop_first().and_then(|(_, image)| image);
            }
            self.after = Some(key);
            if let Some(value) = value {
                sink(key, value);
            }
        }
        debug_assert!(
            self.images.keys().all(|key| Some(*key) > self.after),
            "images are of keys to come"
        );
        max
    }
}
