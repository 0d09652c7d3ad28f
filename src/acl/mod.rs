//! Access control: the schemes world, auth, digest, ip and super, and the judgement of lists. It
//! knows neither nodes nor connections: lists and proven ids come in, a verdict goes out.
//!
//! The rules are those of `ZooKeeperServer.checkACL` and `PrepRequestProcessor.fixupACL`.

mod algorithm;
mod ids;
mod ip;
mod proven;
mod secret;
mod verdicts;

pub(crate) use algorithm::DigestAlgorithm;
pub(crate) use ids::{add_id, digest_id, masked};
pub(crate) use ip::ip_id;
pub(crate) use secret::Secret;
pub(crate) use verdicts::Verdicts;

use proven::Proven;

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::codes::{ErrorCode, perms};
use crate::jute::data::{Acl, Id};
use crate::jute::decode_utf8_like_java;
use crate::proto::RequestAcl;

/// The switches of access control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclConfig {
    /// `zookeeper.skipACL=yes`: everyone may do everything.
    pub skip: bool,
    /// `DigestAuthenticationProvider.enabled` (3.9): without it there is no digest scheme.
    pub digest: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`, `user:base64(hash(user:password))`.
    pub super_digest: Option<Secret>,
}

impl Default for AclConfig {
    fn default() -> Self {
        Self {
            skip: false,
            digest: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
        }
    }
}

impl AclConfig {
    /// Whether a connection that has proven `ids` may do any of `perm` on a node with this list.
    pub fn permits(&self, list: &[Acl], perm: i32, ids: &[Id]) -> bool {
        self.skip
            || list.is_empty()
            || grants_to_world(list, perm)
            || is_super(ids)
            || self.grants(list, perm, ids)
    }

    /// The ids that `addauth` proves: those to add to the connection, none for `ip`, which it has
    /// already.
    ///
    /// Digest never fails: there is no list of users. Errors: AUTH_FAILED for any other scheme and
    /// for null data.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        data: Option<&[u8]>,
    ) -> Result<Vec<Id>, ErrorCode> {
        match (scheme, data) {
            (Some("ip"), _) => Ok(Vec::new()),
            (Some("digest"), Some(data)) if self.digest => Ok(self.prove_digest(data)),
            _ => Err(ErrorCode::AUTH_FAILED),
        }
    }

    fn prove_digest(&self, data: &[u8]) -> Vec<Id> {
        let text = match std::str::from_utf8(data) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(decode_utf8_like_java(data)),
        };
        let id = self.digest_algorithm.id(text.as_bytes());
        let is_super = self.super_digest.as_ref().map(Secret::expose) == Some(&*id.id);
        is_super.then(|| Id::new("super", "")).into_iter().chain([id]).collect()
    }

    fn grants(&self, list: &[Acl], perm: i32, ids: &[Id]) -> bool {
        let proven = Proven::of(ids);
        list.iter().filter(|acl| acl.perms & perm != 0).any(|acl| match &*acl.id.scheme {
            "digest" if self.digest => proven.has_digest(&acl.id.id),
            "ip" => proven.is_in(&acl.id.id),
            _ => false,
        })
    }

    /// The form of a valid id of a scheme. `None` stands for Java's null, which the providers choke
    /// on.
    fn is_valid(&self, scheme: &str, id: Option<&str>) -> Result<bool, ErrorCode> {
        match scheme {
            "world" => id.map(|id| id == "anyone").ok_or(ErrorCode::MARSHALLING_ERROR),
            "digest" if self.digest => id.map(is_valid_digest).ok_or(ErrorCode::MARSHALLING_ERROR),
            "ip" => id.map(ip::is_valid).ok_or(ErrorCode::MARSHALLING_ERROR),
            _ => Ok(false),
        }
    }
}

/// The list that a create or setACL stores: duplicates removed, `auth` replaced by the proven ids.
///
/// Errors: INVALID_ACL for a null or empty list, an unknown scheme, an id its scheme refuses,
/// `auth` without a proven id; MARSHALLING_ERROR for a null id where the scheme must look at it.
pub(crate) fn fixup(
    request: Option<&[RequestAcl<'_>]>,
    ids: &[Id],
    config: &AclConfig,
) -> Result<Vec<Acl>, ErrorCode> {
    let request = request.unwrap_or_default();
    let mut list = Vec::with_capacity(request.len());
    let repeats = repeats(request);
    for (at, acl) in request.iter().enumerate() {
        if repeats.get(at) == Some(&true) {
            continue;
        }
        let scheme = acl.scheme.as_deref().ok_or(ErrorCode::INVALID_ACL)?;
        if scheme == "auth" {
            let before = list.len();
            let proven = ids.iter().filter(|id| config.digest && &*id.scheme == "digest");
            list.extend(proven.map(|id| Acl { perms: acl.perms, id: id.clone() }));
            if list.len() == before {
                return Err(ErrorCode::INVALID_ACL);
            }
        } else if config.is_valid(scheme, acl.id.as_deref())? {
            list.push(Acl {
                perms: acl.perms,
                id: Id::new(scheme, acl.id.as_deref().unwrap_or_default()),
            });
        } else {
            return Err(ErrorCode::INVALID_ACL);
        }
    }
    if list.is_empty() { Err(ErrorCode::INVALID_ACL) } else { Ok(list) }
}

/// Which entries say what an earlier one says; nothing for a list of one.
///
/// They are sorted by a hash, and by what they say where that is the same: nobody can choose
/// entries for which this takes longer than sorting them.
fn repeats(request: &[RequestAcl<'_>]) -> Vec<bool> {
    if request.len() < 2 {
        return Vec::new();
    }
    let says = |at: usize| {
        let acl = &request[at];
        (acl.perms, acl.scheme.as_deref(), acl.id.as_deref())
    };
    let hasher = FixedState::with_seed(0);
    let mut order: Vec<(u64, usize)> =
        (0..request.len()).map(|at| (hasher.hash_one(says(at)), at)).collect();
    order.sort_unstable_by(|(hash, at), (other_hash, other)| {
        let by_hash = hash.cmp(other_hash);
        by_hash.then_with(|| says(*at).cmp(&says(*other))).then_with(|| at.cmp(other))
    });
    let mut repeats = vec![false; request.len()];
    for pair in order.windows(2) {
        let [(hash, at), (other_hash, other)] = [pair[0], pair[1]];
        repeats[other] = hash == other_hash && says(at) == says(other);
    }
    repeats
}

/// The answer of getACL to these ids: the list, or, without ADMIN, the list with its password
/// hashes taken out; `None` if they may not see it at all.
pub(crate) fn shown(list: &[Acl], ids: &[Id], config: &AclConfig) -> Option<Vec<Acl>> {
    if !config.permits(list, perms::READ | perms::ADMIN, ids) {
        None
    } else if config.permits(list, perms::ADMIN, ids) {
        Some(list.to_vec())
    } else {
        Some(list.iter().map(masked).collect())
    }
}

/// The common case first: nearly every list has `world:anyone`.
fn grants_to_world(list: &[Acl], perm: i32) -> bool {
    list.iter()
        .any(|acl| acl.perms & perm != 0 && &*acl.id.scheme == "world" && &*acl.id.id == "anyone")
}

fn is_super(ids: &[Id]) -> bool {
    ids.iter().any(|id| &*id.scheme == "super")
}

/// Two parts around ':', as `String.split` counts them: empty ones at the end are none.
fn is_valid_digest(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    !trimmed.is_empty() && trimmed.split(':').count() == 2
}

#[cfg(test)]
mod tests;
