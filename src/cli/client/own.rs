//! Commands that Apache's shell does not have: tree, du, find and cp.

use std::collections::BTreeMap;

use serde_json::json;

use crate::codes::ErrorCode;

use super::command::{Call, Command};
use super::failure::{Failure, ZkError};
use super::path::child;
use super::words::Options;
use super::zk::{NewNode, mode};

type Done = Result<(), Failure>;

/// The commands of this file.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("tree", "[-d depth] path", 2, tree).with(Options::new(&[], &["d"])),
    Command::new("du", "[-d depth] path", 2, du).with(Options::new(&[], &["d"])),
    Command::new(
        "find",
        "path [-name pattern] [-owner session] [-size bytes] [-children count]",
        2,
        find,
    )
    .with(Options::new(&[], &["name", "owner", "size", "children"])),
    Command::new("cp", "[-r] source target", 3, copy).with(Options::new(&["r"], &[])),
];

fn number<T: std::str::FromStr>(call: &Call<'_>, option: &str) -> Result<Option<T>, Failure> {
    let parse = |text: &str| {
        text.parse().map_err(|_| Failure::new(format!("-{option} {text}: a number is wanted")))
    };
    call.words.value(option).map(parse).transpose()
}

fn tree(call: &Call<'_>) -> Done {
    let depth = number(call, "d")?.unwrap_or(usize::MAX);
    let root = call.words.arg(1);
    // Depth first; what is below a node stands under its line.
    let mut shown = Vec::new();
    let mut stack = vec![(root.to_owned(), root.to_owned(), String::new(), 0)];
    while let Some((path, line, indent, level)) = stack.pop() {
        call.out.line(&line);
        shown.push(json!({"path": path, "depth": level}));
        if level >= depth {
            continue;
        }
        let names = match call.zk.children(&path, false) {
            Ok((names, _)) => names,
            Err(error) if error.is_no_node() && level > 0 => continue,
            Err(error) => return Err(error.into()),
        };
        for (index, name) in names.iter().enumerate().rev() {
            let last = index + 1 == names.len();
            let (branch, below) =
                if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            let line = format!("{indent}{branch}{name}");
            stack.push((child(&path, name), line, format!("{indent}{below}"), level + 1));
        }
    }
    call.out.json(&json!({"nodes": shown}));
    Ok(())
}

/// Nodes and bytes below each node, itself counted, down to the depth asked for.
fn du(call: &Call<'_>) -> Done {
    let depth = number(call, "d")?.unwrap_or(1usize);
    let root = call.words.arg(1).to_owned();
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let level = |path: &str| path.trim_end_matches('/').matches('/').count();
    let root_level = level(&root);
    let mut paths = Vec::new();
    call.zk.walk(&root, false, &mut |path| paths.push(path.to_owned()))?;
    for path in &paths {
        let Some(stat) = call.zk.exists(path, false)? else { continue };
        let bytes = u64::try_from(stat.data_length).unwrap_or(0);
        let mut above = path.as_str();
        loop {
            if level(above) <= root_level + depth {
                let sum = sums.entry(above.to_owned()).or_default();
                *sum = (sum.0 + 1, sum.1 + bytes);
            }
            if above == root {
                break;
            }
            above = super::path::split(above).0;
        }
    }
    for (path, (nodes, bytes)) in &sums {
        call.out.line(&format!("{nodes:>10} {bytes:>14} {path}"));
    }
    let rows: Vec<_> = sums
        .iter()
        .map(|(path, (nodes, bytes))| json!({"path": path, "nodes": nodes, "bytes": bytes}))
        .collect();
    call.out.json(&json!({"below": rows}));
    Ok(())
}

/// Nodes with a name like a pattern, of an owner, of at least a size or a number of children.
fn find(call: &Call<'_>) -> Done {
    let (size, count) = (number::<i32>(call, "size")?, number::<i32>(call, "children")?);
    let owner = call.words.value("owner").map(|text| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16)
            .map_err(|_| Failure::new(format!("-owner {text}: a session id is wanted (0x1234...)")))
    });
    let owner = owner.transpose()?;
    let mut paths = Vec::new();
    call.zk.walk(call.words.arg(1), false, &mut |path| paths.push(path.to_owned()))?;
    if let Some(pattern) = call.words.value("name") {
        paths.retain(|path| like(pattern, super::path::split(path).1));
    }
    if size.is_some() || count.is_some() || owner.is_some() {
        let mut kept = Vec::new();
        for path in paths {
            let Some(stat) = call.zk.exists(&path, false)? else { continue };
            if size.is_none_or(|size| stat.data_length >= size)
                && count.is_none_or(|count| stat.num_children >= count)
                && owner.is_none_or(|owner| stat.ephemeral_owner.cast_unsigned() == owner)
            {
                kept.push(path);
            }
        }
        paths = kept;
    }
    paths.iter().for_each(|path| call.out.line(path));
    call.out.json(&json!({"paths": paths}));
    Ok(())
}

/// Whether `name` is like `pattern`, where `*` stands for any letters and `?` for one.
fn like(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[n] => {
                (p, n) = (p + 1, n + 1);
            }
            _ => match star {
                // The last star takes one letter more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

/// Copies a node, with -r all below it: data and ACLs. What belongs to a session is passed over.
fn copy(call: &Call<'_>) -> Done {
    let (source, target) = (call.words.arg(1), call.words.arg(2));
    let mut paths = vec![source.to_owned()];
    if call.words.has("r") {
        if target.strip_prefix(source).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Failure::new(format!("{target} lies below {source}")));
        }
        paths.clear();
        call.zk.walk(source, false, &mut |path| paths.push(path.to_owned()))?;
    }
    let (mut copied, mut left) = (0, 0);
    for path in &paths {
        let (data, stat) = call.zk.get(path, false)?;
        if stat.ephemeral_owner != 0 {
            left += 1;
            continue;
        }
        let (acl, _) = call.zk.acl(path)?;
        let to = format!("{target}{}", &path[source.trim_end_matches('/').len()..]);
        let node = NewNode {
            path: &to,
            data: data.as_deref(),
            acl: &acl,
            mode: mode::PERSISTENT,
            ttl_ms: 0,
        };
        match call.zk.create(&node) {
            Err(ZkError::Code(ErrorCode::NODE_EXISTS, _)) if path != source => {}
            other => drop(other?),
        }
        copied += 1;
    }
    let text = format!("{copied} copied, {left} of sessions or with a lifetime left out");
    call.out.both(&text, &json!({"copied": copied, "left": left}));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn patterns_with_stars_and_question_marks() {
        for (pattern, name, wanted) in [
            ("lock-*", "lock-0000000001", true),
            ("*-??1", "a-b-001", true),
            ("*a*b", "xaxbxb", true),
            ("a?", "a", false),
            ("", "", true),
            ("b*", "ab", false),
        ] {
            assert_eq!(like(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
