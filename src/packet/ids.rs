//! The ids of clients, as they come again and again with their requests.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::jute::data::Id;
use crate::jute::{Malformed, Reader};

/// The lists of ids that one peer has sent, by their bytes: each is decoded once.
#[derive(Debug)]
pub(super) struct KnownIds {
    /// Invariant: at most [`LISTS_MAX`], each of at most [`LIST_BYTES_MAX`] bytes.
    lists: HashMap<Box<[u8]>, Arc<[Id]>, FixedState>,
}

impl Default for KnownIds {
    fn default() -> Self {
        Self { lists: HashMap::with_hasher(FixedState::with_seed(0)) }
    }
}

impl KnownIds {
    /// Reads the ids that are the rest of a packet; `None` for null.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Option<Arc<[Id]>>, Malformed> {
        let bytes = reader.rest();
        if bytes == NULL {
            return Ok(None);
        }
        if let Some(known) = self.lists.get(bytes) {
            return Ok(Some(known.clone()));
        }
        let Some(count) = reader.count()? else { return Ok(None) };
        let mut ids = Vec::with_capacity(count.min(reader.rest().len() / ID_BYTES_MIN));
        for _ in 0..count {
            let scheme = reader.string()?.unwrap_or_default();
            let id = reader.string()?.unwrap_or_default();
            ids.push(Id::new(&scheme, &id));
        }
        let ids: Arc<[Id]> = ids.into();
        if bytes.len() <= LIST_BYTES_MAX {
            if self.lists.len() >= LISTS_MAX {
                self.lists.clear();
            }
            self.lists.insert(bytes.into(), ids.clone());
        }
        Ok(Some(ids))
    }
}

/// A null vector.
const NULL: [u8; 4] = [0xff; 4];
/// Two empty strings.
const ID_BYTES_MIN: usize = 8;
/// Lists that are kept: those of most of the clients of a busy learner.
const LISTS_MAX: usize = 1 << 10;
/// A longer list is decoded each time.
const LIST_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Writer;

    fn bytes(ids: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.len(ids.len());
        for (scheme, id) in ids {
            writer.string(scheme);
            writer.string(id);
        }
        bytes
    }

    fn read(known: &mut KnownIds, bytes: &[u8]) -> Option<Arc<[Id]>> {
        known.read(&mut Reader::new(bytes)).unwrap()
    }

    /// Lists that differ in a byte are two lists, and the same one is decoded once.
    #[test]
    fn a_list_that_comes_again_is_the_same() {
        let mut known = KnownIds::default();
        let one = read(&mut known, &bytes(&[("ip", "127.0.0.1")])).unwrap();
        let other = read(&mut known, &bytes(&[("ip", "127.0.0.2")])).unwrap();
        let again = read(&mut known, &bytes(&[("ip", "127.0.0.1")])).unwrap();
        assert_eq!(*one, [Id::new("ip", "127.0.0.1")]);
        assert_eq!(*other, [Id::new("ip", "127.0.0.2")]);
        assert!(Arc::ptr_eq(&one, &again));
        assert_eq!(read(&mut known, &NULL), None);
        assert_eq!(read(&mut known, &bytes(&[])).as_deref(), Some(&[][..]));
    }

    /// Whatever comes, what is kept has a bound, and a list that was dropped is decoded anew.
    #[test]
    fn what_is_kept_has_a_bound() {
        let mut known = KnownIds::default();
        for nth in 0..3 * LISTS_MAX {
            let name = nth.to_string();
            let ids = read(&mut known, &bytes(&[("digest", &name)])).unwrap();
            assert_eq!(&*ids[0].id, name);
            assert!(known.lists.len() <= LISTS_MAX);
        }
        let kept = known.lists.len();
        let long = "x".repeat(LIST_BYTES_MAX);
        assert_eq!(&*read(&mut known, &bytes(&[("digest", &long)])).unwrap()[0].id, long);
        assert_eq!(known.lists.len(), kept);
    }

    /// A list that is cut is an error each time.
    #[test]
    fn a_list_that_is_cut_is_not_kept() {
        let whole = bytes(&[("ip", "127.0.0.1"), ("digest", "a")]);
        let mut known = KnownIds::default();
        for end in 0..whole.len() {
            assert!(known.read(&mut Reader::new(&whole[..end])).is_err(), "{end}");
        }
        assert_eq!(known.lists.len(), 0);
    }
}
