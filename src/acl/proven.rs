//! The ids of a connection, ready to be looked for in a list.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::jute::data::Id;

use super::ip;

/// Proven ids by scheme. A list of n entries and m ids cost n log m looks, not n times m.
pub(super) struct Proven<'a> {
    digests: Digests<'a>,
    addresses: Vec<IpAddr>,
}

enum Digests<'a> {
    /// Looked through one by one.
    Few(&'a [Id]),
    Many(BTreeSet<&'a str>),
}

impl<'a> Proven<'a> {
    pub(super) fn of(ids: &'a [Id]) -> Self {
        let of_scheme = |scheme: &'static str| ids.iter().filter(move |id| *id.scheme == *scheme);
        let addresses = of_scheme("ip").filter_map(|id| ip::parse(&id.id)).collect();
        let digests = if ids.len() <= FEW {
            Digests::Few(ids)
        } else {
            Digests::Many(of_scheme("digest").map(|id| &*id.id).collect())
        };
        Self { digests, addresses }
    }

    /// Whether the connection has proven this digest.
    pub(super) fn has_digest(&self, digest: &str) -> bool {
        match &self.digests {
            Digests::Few(ids) => ids.iter().any(|id| &*id.scheme == "digest" && *id.id == *digest),
            Digests::Many(digests) => digests.contains(digest),
        }
    }

    /// Whether the connection comes from this address, or from the range.
    pub(super) fn is_in(&self, range: &str) -> bool {
        ip::any_in(&self.addresses, range)
    }
}

/// So many ids are looked through faster than a set of them is made.
const FEW: usize = 8;
