//! Printing: Apache's lines for people and scripts, or one line of JSON per command.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::codes::perms;
use crate::jute::data::{Acl, Stat};
use crate::runtime::local_time;

use super::failure::Failure;

/// Where a command's answer goes.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// JSON instead of lines.
    pub json: bool,
}

impl Out {
    /// A line of the answer.
    pub(super) fn line(self, text: &str) {
        if !self.json {
            say!("{text}");
        }
    }

    /// A line to standard error.
    pub(super) fn err(self, text: &str) {
        if !self.json {
            say_error!("{text}");
        }
    }

    /// The answer as JSON.
    pub(super) fn json(self, value: &Value) {
        if self.json {
            say!("{value}");
        }
    }

    /// Both forms of an answer of one line.
    pub(super) fn both(self, line: &str, value: &Value) {
        self.line(line);
        self.json(value);
    }

    /// A node's statistics.
    pub(super) fn stat(self, stat: &Stat) {
        self.line(stat_text(stat).trim_end());
    }

    /// A failure, to standard error; as JSON it is the answer.
    pub(super) fn failure(self, failure: &Failure) {
        self.err(&failure.text);
        self.json(&json!({"error": failure.text, "exit": failure.exit, "code": failure.code}));
    }
}

fn stat_text(stat: &Stat) -> String {
    format!(
        "cZxid = 0x{:x}\nctime = {}\nmZxid = 0x{:x}\nmtime = {}\npZxid = 0x{:x}\ncversion = {}\n\
         dataVersion = {}\naclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\n\
         numChildren = {}\n",
        stat.czxid,
        local_time(stat.ctime),
        stat.mzxid,
        local_time(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// A node's statistics; times in milliseconds since 1970, ids as Apache's tools write them.
pub(super) fn stat_json(stat: &Stat) -> Value {
    json!({
        "cZxid": format!("0x{:x}", stat.czxid),
        "ctime": stat.ctime,
        "mZxid": format!("0x{:x}", stat.mzxid),
        "mtime": stat.mtime,
        "pZxid": format!("0x{:x}", stat.pzxid),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": format!("0x{:x}", stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// Data as JSON: as text where it is text, as base64 under another name where it is not.
pub(super) fn data_json(data: Option<&[u8]>) -> Value {
    use base64::Engine as _;
    match data.map(|data| (str::from_utf8(data), data)) {
        None => json!({"data": null}),
        Some((Ok(text), _)) => json!({"data": text}),
        Some((Err(_), data)) => {
            json!({"base64": base64::engine::general_purpose::STANDARD.encode(data)})
        }
    }
}

/// `scheme:id:perms`, as it is typed.
pub(super) fn acl_word(acl: &Acl) -> String {
    format!("{}:{}:{}", acl.id.scheme, acl.id.id, perm_letters(acl.perms))
}

/// The letters of a permission mask, in Apache's order.
pub(super) fn perm_letters(mask: i32) -> String {
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    letters.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, letter)| letter).collect()
}

/// Data as a hexadecimal table, as netty draws it; nothing for no bytes.
pub(super) fn hex_table(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut text = String::from(
        "         +-------------------------------------------------+\n\
         \x20        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n",
    );
    text.push_str(rule);
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, " {byte:02x}");
            hex
        });
        let shown: String = bytes.iter().map(|byte| shown_byte(*byte)).collect();
        let _ = write!(text, "\n|{:08x}|{hex:<48} |{shown:<16}|", row * 16);
    }
    text + "\n" + rule
}

fn shown_byte(byte: u8) -> char {
    if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hexadecimal_table_is_nettys() {
        let wanted = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 68 65 6c 6c 6f 0a                               |hello.          |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_table(b"hello\n"), wanted);
        assert_eq!(hex_table(b""), "");
    }
}
