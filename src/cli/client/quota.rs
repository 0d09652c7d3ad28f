//! The commands about quotas: setquota, listquota, delquota.

use std::collections::BTreeMap;

use serde_json::json;

use crate::codes::ErrorCode;
use crate::jute::data::Acl;

use super::command::{Call, Command};
use super::failure::{Failure, ZkError};
use super::words::Options;
use super::zk::{NewNode, Zk, mode};

type Done = Result<(), Failure>;

/// The commands of this file.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("setquota", "-n|-b|-N|-B val path", 2, set_quota).with(Options {
        flags: &[],
        valued: NAMES,
        group: GROUP,
        group_required: true,
    }),
    Command::new("listquota", "path", 2, list_quota),
    Command::new("delquota", "[-n|-b|-N|-B] path", 2, del_quota).with(Options {
        flags: NAMES,
        valued: &[],
        group: GROUP,
        group_required: false,
    }),
];

/// Limits or usage: `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`, -1 for none.
struct Track(BTreeMap<String, i64>);

impl Track {
    fn parse(data: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.trim_end_matches('=').parse().unwrap_or(-1)))
        });
        Self(pairs.collect())
    }

    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let rest = self.0.iter().filter(|(name, _)| *name != "count" && *name != "bytes");
        let rest: String = rest.map(|(name, value)| format!(";{name}={value}")).collect();
        if !rest.is_empty() {
            // The sign that old readers stop at.
            text.push('=');
        }
        text + &rest
    }
}

fn set_quota(call: &Call<'_>) -> Done {
    let path = call.words.arg(1);
    if path.starts_with(QUOTA) {
        call.out.err(&format!("cannot set a quota under the path: {QUOTA}"));
        return Ok(());
    }
    let mut wanted = Vec::new();
    for (option, field) in FIELDS {
        let Some(text) = call.words.value(option) else { continue };
        let count = field.starts_with("count");
        let value = if count { text.parse::<i32>().map(i64::from) } else { text.parse::<i64>() };
        let problem = match value {
            Err(_) => "NumberFormatException happens when parsing the option value",
            Ok(value) if count && value <= 0 => "the num quota must be greater than zero",
            Ok(value) if value < 0 => "the bytes quota must be greater than or equal to zero",
            Ok(value) => {
                wanted.push((field, value));
                continue;
            }
        };
        call.out.err(problem);
        return Ok(());
    }
    if call.zk.exists(path, false)?.is_none() {
        return Err(Failure::new(format!("{path} does not exist.")));
    }
    no_quota_below(call.zk, path)?;
    no_quota_above(call.zk, path)?;
    write_quota(call, path, &wanted)?;
    call.out
        .json(&json!({"path": path, "set": wanted.iter().copied().collect::<BTreeMap<_, _>>()}));
    Ok(())
}

fn write_quota(call: &Call<'_>, path: &str, wanted: &[(&str, i64)]) -> Done {
    let zk = call.zk;
    let mut place = String::new();
    for part in format!("{QUOTA}{path}").split('/').filter(|part| !part.is_empty()) {
        place = format!("{place}/{part}");
        make(zk, &place, None)?;
    }
    let (limits_path, usage_path) = (format!("{place}/{LIMITS}"), format!("{place}/{USAGE}"));
    let there = zk.exists(&limits_path, false)?.is_some();
    let mut limits = if there {
        Track::parse(zk.get(&limits_path, false)?.0.as_deref())
    } else {
        Track(FIELDS.iter().map(|(_, field)| ((*field).to_owned(), -1)).collect())
    };
    for (field, value) in wanted {
        limits.0.insert((*field).to_owned(), *value);
    }
    if !there {
        make(zk, &limits_path, Some(limits.text().as_bytes()))?;
        make(zk, &usage_path, Some(b"count=0,bytes=0"))?;
    }
    let usage = Track::parse(zk.get(&usage_path, false)?.0.as_deref());
    for (what, hard) in [("count", "countHardLimit"), ("bytes", "byteHardLimit")] {
        let used = usage.get(what);
        if [what, hard].iter().any(|limit| (0..used).contains(&limits.get(limit))) {
            call.out.line(&format!(
                "[Warning]: the {what} quota you create is less than the existing {what}:{used}"
            ));
        }
    }
    if there {
        zk.set(&limits_path, Some(limits.text().as_bytes()), -1)?;
    }
    Ok(())
}

fn make(zk: &Zk, path: &str, data: Option<&[u8]>) -> Result<(), ZkError> {
    if zk.exists(path, false)?.is_some() {
        return Ok(());
    }
    let acl = [Acl::open()];
    let node = NewNode { path, data, acl: &acl, mode: mode::PERSISTENT, ttl_ms: 0 };
    match zk.create(&node) {
        Err(ZkError::Code(ErrorCode::NODE_EXISTS, _)) => Ok(()),
        other => other.map(drop),
    }
}

fn no_quota_below(zk: &Zk, path: &str) -> Done {
    let own = format!("{QUOTA}{path}");
    let mut found = None;
    let walked = zk.walk(own.trim_end_matches('/'), false, &mut |place| {
        let limits = place.strip_suffix(LIMITS).and_then(|place| place.strip_suffix('/'));
        if let Some(place) = limits.filter(|place| *place != own) {
            found.get_or_insert_with(|| place[QUOTA.len()..].to_owned());
        }
    });
    match walked {
        Err(error) if !error.is_no_node() => return Err(error.into()),
        _ => {}
    }
    found.map_or(Ok(()), |below| {
        Err(Failure::new(format!("{path} has a child {below} which has a quota")))
    })
}

fn no_quota_above(zk: &Zk, path: &str) -> Done {
    for (end, _) in path.match_indices('/').skip(1) {
        let above = &path[..end];
        match zk.children(&format!("{QUOTA}{above}"), false) {
            Err(error) if error.is_no_node() => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok((names, _)) if names.iter().any(|name| name == LIMITS) => {
                let text = format!("{path} has a parent {above} which has a quota");
                return Err(Failure::new(text));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn list_quota(call: &Call<'_>) -> Done {
    let path = call.words.arg(1);
    call.out.err(&format!("absolute path is {QUOTA}{path}/{LIMITS}"));
    let read = |name: &str| call.zk.get(&format!("{QUOTA}{path}/{name}"), false);
    let tracks = read(LIMITS).and_then(|(limits, _)| Ok((limits, read(USAGE)?.0)));
    match tracks {
        Err(error) if error.is_no_node() => {
            call.out.err(&format!("quota for {path} does not exist."));
            call.out.json(&json!({"path": path, "quota": null}));
        }
        Err(error) => return Err(error.into()),
        Ok((limits, usage)) => {
            let (limits, usage) = (Track::parse(limits.as_deref()), Track::parse(usage.as_deref()));
            call.out.line(&format!("Output quota for {path} {}", limits.text()));
            call.out.line(&format!("Output stat for {path} {}", usage.text()));
            call.out.json(&json!({"path": path, "quota": limits.0, "usage": usage.0}));
        }
    }
    Ok(())
}

fn del_quota(call: &Call<'_>) -> Done {
    let path = call.words.arg(1);
    let limits_path = format!("{QUOTA}{path}/{LIMITS}");
    if call.zk.exists(&limits_path, false)?.is_none() {
        let value = json!({"path": path, "deleted": false});
        call.out.both(&format!("Quota does not exist for {path}"), &value);
        return Ok(());
    }
    let mut limits = Track::parse(call.zk.get(&limits_path, false)?.0.as_deref());
    let chosen: Vec<_> = FIELDS.iter().filter(|(option, _)| call.words.has(option)).collect();
    if chosen.is_empty() {
        let mut place = format!("{QUOTA}{path}");
        for name in call.zk.children(&place, false)?.0 {
            call.zk.delete(&format!("{place}/{name}"), -1)?;
        }
        while place != QUOTA && call.zk.children(&place, false)?.0.is_empty() {
            call.zk.delete(&place, -1)?;
            place.truncate(place.rfind('/').unwrap_or(0));
        }
    } else {
        for (_, field) in chosen {
            limits.0.insert((*field).to_owned(), -1);
        }
        call.zk.set(&limits_path, Some(limits.text().as_bytes()), -1)?;
    }
    call.out.json(&json!({"path": path, "deleted": true}));
    Ok(())
}

const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const USAGE: &str = "zookeeper_stats";
const NAMES: &[&str] = &["n", "b", "N", "B"];
const GROUP: &[(&str, &str)] = &[
    ("n", "num soft quota"),
    ("b", "bytes soft quota"),
    ("N", "num hard quota"),
    ("B", "bytes hard quota"),
];
const FIELDS: [(&str, &str); 4] =
    [("n", "count"), ("b", "bytes"), ("N", "countHardLimit"), ("B", "byteHardLimit")];
