//! The commands about who may do what: addauth, getAcl, setAcl and whoami.

use serde_json::json;

use crate::codes::perms;
use crate::jute::data::{Acl, Id};

use super::command::{Call, Command};
use super::failure::{Failure, ZkError};
use super::print::{Out, acl_word, perm_letters, stat_json};
use super::words::Options;

type Done = Result<(), Failure>;

/// The commands of this file.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("addauth", "scheme auth", 2, add_auth),
    Command::new("getAcl", "[-s] path", 2, get_acl).with(Options::new(&["s"], &[])),
    Command::new("setAcl", "[-s] [-v version] [-R] path acl", 3, set_acl)
        .with(Options::new(&["s", "R"], &["v"])),
    Command::new("whoami", "", 0, who_am_i),
];

/// Reads `scheme:id:perms,...`. What is malformed is said and left out, as Apache does it.
pub(super) fn parse_acls(text: &str, out: Out) -> Vec<Acl> {
    let mut acls = Vec::new();
    // As Java splits: empty parts at the end do not count.
    for word in text.trim_end_matches(',').split(',') {
        let parts = word.split_once(':').and_then(|(scheme, rest)| {
            rest.rsplit_once(':').map(|(id, letters)| (scheme, id, letters))
        });
        let Some((scheme, id, letters)) = parts else {
            out.err(&format!("{word} does not have the form scheme:id:perm"));
            continue;
        };
        let mut mask = 0;
        for letter in letters.chars() {
            mask |= match letter {
                'r' => perms::READ,
                'w' => perms::WRITE,
                'c' => perms::CREATE,
                'd' => perms::DELETE,
                'a' => perms::ADMIN,
                _ => {
                    out.err(&format!("Unknown perm type: {letter}"));
                    0
                }
            };
        }
        acls.push(Acl { perms: mask, id: Id::new(scheme, id) });
    }
    acls
}

fn add_auth(call: &Call<'_>) -> Done {
    let auth = call.words.args.get(2).map_or(&b""[..], |text| text.as_bytes());
    call.zk.session.add_auth(call.words.arg(1), auth.to_vec());
    call.out.json(&json!({"scheme": call.words.arg(1)}));
    Ok(())
}

fn get_acl(call: &Call<'_>) -> Done {
    let (acls, stat) = call.zk.acl(call.words.arg(1))?;
    for acl in &acls {
        let letters = perm_letters(acl.perms);
        call.out.line(&format!("'{},'{}\n: {letters}", acl.id.scheme, acl.id.id));
    }
    if call.words.has("s") {
        call.out.stat(&stat);
    }
    let words: Vec<_> = acls.iter().map(acl_word).collect();
    call.out.json(&json!({"acl": words, "stat": stat_json(&stat)}));
    Ok(())
}

fn set_acl(call: &Call<'_>) -> Done {
    let path = call.words.arg(1);
    let acls = parse_acls(call.words.arg(2), call.out);
    let version = call.version()?;
    if !call.words.has("R") {
        let stat = call.zk.set_acl(path, &acls, version)?;
        if call.words.has("s") {
            call.out.stat(&stat);
        }
        call.out.json(&stat_json(&stat));
        return Ok(());
    }
    let mut paths = Vec::new();
    call.zk.walk(path, false, &mut |path| paths.push(path.to_owned()))?;
    let mut failed = Vec::new();
    for path in &paths {
        match call.zk.set_acl(path, &acls, version) {
            Ok(_) => {}
            Err(error @ ZkError::Path(_)) => return Err(error.into()),
            Err(error) => failed.push(error.message()),
        }
    }
    if !failed.is_empty() {
        call.out.line(&failed.join("\n"));
    }
    call.out.json(&json!({"nodes": paths.len() - failed.len(), "failed": failed}));
    Ok(())
}

fn who_am_i(call: &Call<'_>) -> Done {
    let users = call.zk.who_am_i()?;
    call.out.line("Auth scheme: User");
    for (scheme, user) in &users {
        call.out.line(&format!("{scheme}: {user}"));
    }
    let users: Vec<_> =
        users.iter().map(|(scheme, user)| json!({"scheme": scheme, "user": user})).collect();
    call.out.json(&json!({"users": users}));
    Ok(())
}
