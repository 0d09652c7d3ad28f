//! Ids that a connection has proven: how they are made, kept and shown.

use crate::jute::data::{Acl, Id};

use super::algorithm::DigestAlgorithm;

/// The id of scheme `digest` that `user:password` proves where nothing else than SHA-1 is asked
/// for.
pub(crate) fn digest_id(user_password: &[u8]) -> Id {
    DigestAlgorithm::Sha1.id(user_password)
}

/// Adds an id to those of a connection, unless it is there: false then. The ids stand in the order
/// in which Java's hash set would list them, which `auth` entries and whoAmI let clients see
/// (exactly so below twelve ids).
pub(crate) fn add_id(ids: &mut Vec<Id>, id: Id) -> bool {
    if ids.contains(&id) {
        return false;
    }
    ids.push(id);
    let slots = table_size(ids.len());
    ids.sort_by_key(|id| slot(id, slots));
    true
}

/// An entry as getACL shows it to those who have no ADMIN: the hash of a digest becomes `x`.
pub(crate) fn masked(acl: &Acl) -> Acl {
    match acl.id.id.split_once(':') {
        Some((user, _)) if &*acl.id.scheme == "digest" => Acl {
            perms: acl.perms,
            id: Id { scheme: acl.id.scheme.clone(), id: format!("{user}:x").into() },
        },
        _ => acl.clone(),
    }
}

/// The number of slots of a `ConcurrentHashMap` with this many entries: it grows when it is three
/// quarters full.
fn table_size(entries: usize) -> u32 {
    let mut slots = 16u32;
    while entries >= (slots - (slots >> 2)) as usize && slots < 1 << 30 {
        slots *= 2;
    }
    slots
}

fn slot(id: &Id, slots: u32) -> u32 {
    let hash = 17i32.wrapping_mul(37).wrapping_add(java_hash(&id.scheme));
    let hash = hash.wrapping_mul(37).wrapping_add(java_hash(&id.id)) as u32;
    (hash ^ (hash >> 16)) & (slots - 1)
}

fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_ids_are_those_of_the_documentation() {
        // `DigestAuthenticationProvider super:admin` prints this.
        assert_eq!(&*digest_id(b"super:admin").id, "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        assert_eq!(digest_id(b"nocolon").id.split(':').next().unwrap(), "nocolon");
        assert_eq!(digest_id(b"a:b:c").id.split(':').next().unwrap(), "a");
        assert_eq!(&*digest_id(b"").id, ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    }

    /// The order that OpenJDK 17's `ConcurrentHashMap` gives `ip:127.0.0.1` and `digest:user0:pw0`,
    /// `user1:pw1` and so on.
    #[test]
    fn ids_stand_in_the_order_of_javas_hash_set() {
        let mut ids = Vec::new();
        assert!(add_id(&mut ids, Id::new("ip", "127.0.0.1")));
        for user in 0..10 {
            assert!(add_id(&mut ids, Id::new("digest", &format!("user{user}:pw{user}"))));
            assert!(!add_id(&mut ids, Id::new("digest", &format!("user{user}:pw{user}"))));
        }
        let names: Vec<&str> = ids.iter().map(|id| id.id.split(':').next().unwrap()).collect();
        let expected = [
            "user8",
            "127.0.0.1",
            "user7",
            "user9",
            "user0",
            "user1",
            "user2",
            "user3",
            "user4",
            "user5",
            "user6",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_hash_of_a_digest_is_masked_and_nothing_else() {
        let digest = Acl { perms: 1, id: Id::new("digest", "u:hash") };
        assert_eq!(&*masked(&digest).id.id, "u:x");
        let ip = Acl { perms: 1, id: Id::new("ip", "0:0:0:0:0:0:0:1") };
        assert_eq!(masked(&ip), ip);
    }
}
