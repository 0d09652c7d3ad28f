//! The commands about the session and the ensemble: watches, config, reconfig, version, close.

use std::fs;

use serde_json::json;

use crate::server::words::version;

use super::command::{Call, Command};
use super::failure::Failure;
use super::print::stat_json;
use super::words::Options;

type Done = Result<(), Failure>;

/// The commands of this file.
pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is \
         PERSISTENT_RECURSIVE",
        0,
        add_watch,
    )
    .with(Options::new(&[], &["m"])),
    Command::new("removewatches", "path [-c|-d|-a] [-l]", 2, remove_watches)
        .with(Options::new(&["c", "d", "p", "r", "a", "l"], &[])),
    Command::new("config", "[-c] [-w] [-s]", 1, config).with(Options::new(&["s", "w", "c"], &[])),
    Command::new(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        0,
        reconfig,
    )
    .with(Options::new(&["s"], &["v", "file", "members", "add", "remove"])),
    Command::new("version", "", 0, print_version),
    Command::new("close", "", 0, close),
];

fn add_watch(call: &Call<'_>) -> Done {
    let mode = call.words.value("m").unwrap_or("PERSISTENT_RECURSIVE").to_uppercase();
    let recursive = match mode.as_str() {
        "PERSISTENT" => false,
        "PERSISTENT_RECURSIVE" => true,
        _ => return Err(Failure::new(call.command.usage_text())),
    };
    if call.words.args.len() != 2 {
        return Err(Failure::new(call.command.usage_text()));
    }
    call.zk.add_watch(call.words.arg(1), recursive)?;
    call.out.json(&json!({"path": call.words.arg(1), "mode": mode}));
    Ok(())
}

fn remove_watches(call: &Call<'_>) -> Done {
    let types = [("c", 1), ("d", 2), ("p", 4), ("r", 5), ("a", ANY)];
    let chosen = types.iter().find(|(option, _)| call.words.has(option));
    let watcher_type = chosen.map_or(ANY, |(_, number)| *number);
    call.zk.remove_watches(call.words.arg(1), watcher_type, call.words.has("l"))?;
    call.out.json(&json!({"path": call.words.arg(1)}));
    Ok(())
}

fn config(call: &Call<'_>) -> Done {
    let (data, stat) = call.zk.config(call.words.has("w"))?;
    let text =
        data.map_or_else(|| "null".into(), |data| String::from_utf8_lossy(&data).into_owned());
    call.out.line(&if call.words.has("c") { client_string(&text) } else { text.clone() });
    if call.words.has("s") {
        call.out.stat(&stat);
    }
    let value = json!({"config": text, "clients": client_string(&text), "stat": stat_json(&stat)});
    call.out.json(&value);
    Ok(())
}

/// The version, and the clients' addresses of all servers, as Apache puts them together.
fn client_string(config: &str) -> String {
    let lines = config.lines().filter_map(|line| line.split_once('='));
    let (mut version, mut addresses) = ("", Vec::new());
    for (key, value) in lines.map(|(key, value)| (key.trim(), value.trim())) {
        if key == "version" {
            version = value;
        } else if key.starts_with("server.") {
            let client = value.split(';').nth(1).unwrap_or("");
            addresses.push(match client.contains(':') || client.is_empty() {
                true => client.to_owned(),
                false => format!("0.0.0.0:{client}"),
            });
        }
    }
    format!("{version} {}", addresses.join(","))
}

fn reconfig(call: &Call<'_>) -> Done {
    let words = &call.words;
    let [file, members, add, remove] =
        ["file", "members", "add", "remove"].map(|option| words.value(option));
    let whole = file.is_some() || members.is_some();
    let parts = add.is_some() || remove.is_some();
    if !whole && !parts {
        return Err(Failure::new(call.command.usage_text()));
    }
    let version = match words.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Failure::new("-v must be followed by a long (configuration version)"))?,
    };
    if whole && parts {
        return Err(Failure::new(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)",
        ));
    }
    if file.is_some() && members.is_some() {
        return Err(Failure::new(
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ));
    }
    let read;
    let members = match file {
        None => members.map(str::to_lowercase),
        Some(path) => {
            let text = fs::read_to_string(path);
            read = text.map_err(|_| {
                Failure::new(format!("Error processing {path}{path} (No such file or directory)"))
            })?;
            Some(
                read.lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
        }
    };
    let (add, remove) = (add.map(str::to_lowercase), remove.map(str::to_lowercase));
    let changes = [add.as_deref(), remove.as_deref(), members.as_deref()];
    let (config, stat) = call.zk.reconfig(changes, version)?;
    let config = String::from_utf8_lossy(&config);
    call.out.line(&format!("Committed new configuration:\n{config}"));
    if words.has("s") {
        call.out.stat(&stat);
    }
    call.out.json(&json!({"config": config, "stat": stat_json(&stat)}));
    Ok(())
}

fn print_version(call: &Call<'_>) -> Done {
    if call.words.args.len() > 1 {
        return Err(Failure::new(call.command.usage_text()));
    }
    let version = version::full();
    call.out.both(&format!("ZooKeeper CLI version: {version}"), &json!({"version": version}));
    Ok(())
}

fn close(call: &Call<'_>) -> Done {
    call.zk.session.close();
    call.out.json(&json!({"closed": true}));
    Ok(())
}

/// `WatcherType.Any`.
const ANY: i32 = 3;
