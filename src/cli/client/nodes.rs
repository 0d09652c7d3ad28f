//! The commands about nodes: create, delete, deleteall, get, ls, set, stat, sync and two counts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::codes::ErrorCode;
use crate::jute::data::Acl;

use super::access::parse_acls;
use super::command::{Call, Command};
use super::failure::{Failure, ZkError};
use super::path::child;
use super::print::{data_json, hex_table, stat_json};
use super::words::Options;
use super::zk::{NewNode, mode, succeeded};

type Done = Result<(), Failure>;

/// The commands of this file.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", 2, create)
        .with(Options::new(&["e", "s", "c"], &["t"])),
    Command::new("delete", "[-v version] path", 2, delete).with(Options::new(&[], &["v"])),
    Command::new("deleteall", "path [-b batch size]", 2, delete_all)
        .with(Options::new(&[], &["b"])),
    Command {
        name: "set",
        usage: "path data [-s] [-v version] [-b]",
        about: " -b         Supply data in base64 format\n -s         Print znode stats \
                additionally\n -v <arg>   Set with an expected version",
        options: Options::new(&["s", "b"], &["v"]),
        words_min: 3,
        watch_now: None,
        run: set,
    },
    Command {
        name: "get",
        usage: "[-s] [-w] [-b] [-x] path",
        about: " -b   Output data in base64 format\n -s   Print znode stats additionally\n -w   \
                Watch for changes on the znode\n -x   Output data in hexdump format",
        options: Options::new(&["s", "w", "b", "x"], &[]),
        words_min: 2,
        watch_now: Some("get [-s] [-w] path"),
        run: get,
    },
    Command {
        watch_now: Some("ls [-w] path"),
        ..Command::new("ls", "[-s] [-w] [-R] path", 0, ls)
            .with(Options::new(&["?", "s", "w", "R"], &[]))
    },
    Command {
        watch_now: Some("stat [-w] path"),
        ..Command::new("stat", "[-w] path", 2, stat).with(Options::new(&["w"], &[]))
    },
    Command::new("sync", "path", 2, sync),
    Command::new("getAllChildrenNumber", "path", 2, descendants),
    Command::new("getEphemerals", "path", 0, ephemerals),
];

fn create(call: &Call<'_>) -> Done {
    let words = &call.words;
    let [e, s, c, t] = ["e", "s", "c", "t"].map(|option| words.has(option));
    let refuse = |text: &str| Err(Failure::new(text));
    if c && (e || s) {
        return refuse(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        );
    }
    let Ok(ttl_ms) = words.value("t").unwrap_or("0").parse::<i64>() else {
        return refuse("-t argument must be a long value");
    };
    if t && e {
        return refuse("TTLs cannot be used with Ephemeral znodes");
    }
    if t && c {
        return refuse("TTLs cannot be used with Container znodes");
    }
    if t && !(1..=TTL_MAX_MS).contains(&ttl_ms) {
        let text = format!("ttl must be positive and cannot be larger than: {TTL_MAX_MS}");
        return Err(Failure::new(text));
    }
    let mode = match (e, s, t) {
        (true, true, _) => mode::EPHEMERAL_SEQUENTIAL,
        (true, false, _) => mode::EPHEMERAL,
        (_, true, true) => mode::TTL_SEQUENTIAL,
        (_, true, false) => mode::SEQUENTIAL,
        (_, _, true) => mode::TTL,
        _ if c => mode::CONTAINER,
        _ => mode::PERSISTENT,
    };
    let data = words.args.get(2).map(String::as_bytes);
    let acl = match words.args.get(3) {
        Some(text) => parse_acls(text, call.out),
        None => vec![Acl::open()],
    };
    let node = NewNode { path: words.arg(1), data, acl: &acl, mode, ttl_ms };
    match call.zk.create(&node) {
        Ok(path) => {
            call.out.err(&format!("Created {path}"));
            call.out.json(&json!({"created": path}));
            Ok(())
        }
        Err(error) => {
            match &error {
                ZkError::Code(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION, _) => {
                    call.out.err("Unable to create ephemeral node on a local session");
                }
                ZkError::Code(ErrorCode::INVALID_ACL, _) => call.out.err(&error.message()),
                _ => {}
            }
            Err(error.into())
        }
    }
}

fn delete(call: &Call<'_>) -> Done {
    if call.words.args.len() > 2 {
        call.out.err(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' \
             instead.",
        );
    }
    call.zk.delete(call.words.arg(1), call.version()?)?;
    call.out.json(&json!({"deleted": call.words.arg(1)}));
    Ok(())
}

fn delete_all(call: &Call<'_>) -> Done {
    let batch = call.words.value("b").unwrap_or("1000").parse::<i32>();
    let Ok(batch) = batch else {
        return Err(Failure::new("-b argument must be an int value"));
    };
    let path = call.words.arg(1);
    let mut paths = vec![path.to_owned()];
    let mut next = 0;
    while let Some(parent) = paths.get(next).cloned() {
        let (names, _) = call.zk.children(&parent, false)?;
        paths.extend(names.iter().map(|name| child(&parent, name)));
        next += 1;
    }
    paths.reverse();
    let mut whole = true;
    match usize::try_from(batch).ok().filter(|batch| *batch > 0) {
        None => {
            for path in &paths {
                call.zk.delete(path, -1)?;
            }
        }
        Some(batch) => {
            for batch in paths.chunks(batch) {
                whole = whole && succeeded(call.zk.delete_all(batch)?.recv());
            }
        }
    }
    if !whole {
        call.out.err("Failed to delete some node(s) in the subtree!");
    }
    call.out.json(&json!({"path": path, "nodes": paths.len(), "whole": whole}));
    Ok(())
}

fn set(call: &Call<'_>) -> Done {
    let text = call.words.arg(2);
    let data = if call.words.has("b") {
        STANDARD.decode(text).map_err(|error| Failure::new(format!("no base64: {error}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let stat = call.zk.set(call.words.arg(1), Some(&data), call.version()?)?;
    if call.words.has("s") {
        call.out.stat(&stat);
    }
    call.out.json(&stat_json(&stat));
    Ok(())
}

fn get(call: &Call<'_>) -> Done {
    let (data, stat) = call.zk.get(call.words.arg(1), call.words.has("w"))?;
    let shown = data.as_deref().unwrap_or(b"null");
    call.out.line(&if call.words.has("x") {
        hex_table(shown)
    } else if call.words.has("b") {
        STANDARD.encode(shown)
    } else {
        String::from_utf8_lossy(shown).into_owned()
    });
    if call.words.has("s") {
        call.out.stat(&stat);
    }
    let mut value = data_json(data.as_deref());
    value["stat"] = stat_json(&stat);
    call.out.json(&value);
    Ok(())
}

fn ls(call: &Call<'_>) -> Done {
    if call.words.has("?") {
        call.out
            .line("usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n -w   watch");
    }
    if call.words.args.len() < 2 {
        return Err(Failure::new(call.command.usage_text()));
    }
    let (path, watch) = (call.words.arg(1), call.words.has("w"));
    if call.words.has("R") {
        let mut paths = Vec::new();
        call.zk.walk(path, watch, &mut |path| {
            call.out.line(path);
            if call.out.json {
                paths.push(path.to_owned());
            }
        })?;
        call.out.json(&json!({"paths": paths}));
        return Ok(());
    }
    let (names, stat) = call.zk.children(path, watch)?;
    call.out.line(&format!("[{}]", names.join(", ")));
    if call.words.has("s") {
        call.out.stat(&stat);
    }
    call.out.json(&json!({"children": names, "stat": stat_json(&stat)}));
    Ok(())
}

fn stat(call: &Call<'_>) -> Done {
    let path = call.words.arg(1);
    let stat = call.zk.exists(path, call.words.has("w"))?;
    let missing = || ZkError::Code(ErrorCode::NO_NODE, Some(path.to_owned()));
    let stat = stat.ok_or_else(missing)?;
    call.out.stat(&stat);
    call.out.json(&stat_json(&stat));
    Ok(())
}

fn sync(call: &Call<'_>) -> Done {
    match call.zk.sync(call.words.arg(1)) {
        Err(ZkError::Code(code, _)) => {
            let text = format!("Sync has failed. rc={code}");
            call.out.both(&text, &json!({"synced": false, "code": code.0}));
        }
        Err(error) => return Err(error.into()),
        Ok(()) => call.out.both("Sync is OK", &json!({"synced": true})),
    }
    Ok(())
}

fn descendants(call: &Call<'_>) -> Done {
    let count = call.zk.descendants(call.words.arg(1))?;
    call.out.both(&count.to_string(), &json!({"count": count}));
    Ok(())
}

fn ephemerals(call: &Call<'_>) -> Done {
    let prefix = call.words.args.get(1).map_or("/", String::as_str);
    let paths = call.zk.ephemerals(prefix)?;
    call.out.both(&format!("[{}]", paths.join(", ")), &json!({"ephemerals": paths}));
    Ok(())
}

/// Five bytes of milliseconds: what an ephemeral owner has room for.
const TTL_MAX_MS: i64 = 0xff_ffff_ffff;
