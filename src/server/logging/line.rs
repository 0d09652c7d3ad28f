//! The forms of a log line.
//!
//! Text is that of the pattern in Apache's `logback.xml`, since collectors and scripts parse it:
//!
//! ```text
//! 2026-11-26 01:02:03,456 [myid:3] - INFO  [main:server::start@204] - clients: 127.0.0.1:2181
//! ```
//!
//! Time (UTC, ISO 8601 with milliseconds), the server's id in its ensemble (nothing of a server of
//! its own), level, thread, module with line, text. The journal of systemd keeps the time itself:
//! there the number of the level stands in its place, which the journal takes off.
//!
//! JSON is one object a line, with the same in it.
//!
//! A line is one line: signs in the text that do not print are escaped, and a text that is too long
//! is cut.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, Record};

use crate::server::words::text::timestamp;
use crate::shown::Shown;

use super::levels::short;

/// The form of every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With the time.
    Text,
    /// For the journal of systemd.
    Journal,
    /// One object a line.
    Json,
}

/// Makes lines.
#[derive(Debug, Clone)]
pub(crate) struct LineMaker {
    pub form: Form,
    /// The server's id in its ensemble.
    pub server: Option<i64>,
}

impl LineMaker {
    /// The line of a record that was made now on this thread.
    pub(crate) fn of_record(&self, record: &Record<'_>) -> String {
        let thread = std::thread::current();
        let said = Said {
            wall_ms: wall_ms(),
            level: record.level(),
            thread: thread.name().unwrap_or("unnamed"),
            module: short(record.module_path().unwrap_or_default()),
            line: record.line().unwrap_or_default(),
        };
        self.line(&said, record.args())
    }

    fn line(&self, said: &Said<'_>, text: &fmt::Arguments<'_>) -> String {
        let text = text.to_string();
        match self.form {
            Form::Text => format!("{} {}", timestamp(said.wall_ms), self.rest(said, &text)),
            Form::Journal => format!("<{}>{}", priority(said.level), self.rest(said, &text)),
            Form::Json => self.json(said, &text),
        }
    }

    fn rest(&self, said: &Said<'_>, text: &str) -> String {
        let Said { level, thread, module, line, .. } = said;
        let server = self.server.map(|id| id.to_string()).unwrap_or_default();
        let text = Shown::cut(text, TEXT_BYTES_MAX);
        format!("[myid:{server}] - {level:<5} [{thread}:{module}@{line}] - {text}\n")
    }

    fn json(&self, said: &Said<'_>, text: &str) -> String {
        let Said { level, thread, module, line, wall_ms } = said;
        let time = timestamp(*wall_ms).replace(' ', "T").replace(',', ".");
        let server = self.server.map(|id| format!("\"myid\":{id},")).unwrap_or_default();
        let quoted = |text: String| serde_json::Value::from(text);
        let text = quoted(Shown::cut(text, TEXT_BYTES_MAX).to_string());
        let thread = quoted((*thread).to_owned());
        format!(
            "{{\"time\":\"{time}Z\",\"level\":\"{level}\",{server}\"thread\":{thread},\
             \"module\":\"{module}\",\"line\":{line},\"text\":{text}}}\n"
        )
    }
}

/// What a line says beside its text.
struct Said<'a> {
    wall_ms: i64,
    level: Level,
    thread: &'a str,
    module: &'a str,
    line: u32,
}

/// The level's number in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The bytes of a text that are written.
const TEXT_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Form, server: Option<i64>, text: &str) -> String {
        let said = Said {
            wall_ms: 1_795_654_923_456,
            level: Level::Info,
            thread: "main",
            module: "server::start",
            line: 7,
        };
        LineMaker { form, server }.line(&said, &format_args!("{text}"))
    }

    #[test]
    fn a_line_has_the_form_of_apaches() {
        let wanted = "2026-11-26 01:02:03,456 [myid:] - INFO  [main:server::start@7] - clients\n";
        assert_eq!(line(Form::Text, None, "clients"), wanted);
        let of_member = wanted.replace("[myid:]", "[myid:3]");
        assert_eq!(line(Form::Text, Some(3), "clients"), of_member);
    }

    #[test]
    fn the_journal_gets_a_level_in_place_of_the_time() {
        let wanted = "<6>[myid:] - INFO  [main:server::start@7] - clients\n";
        assert_eq!(line(Form::Journal, None, "clients"), wanted);
    }

    #[test]
    fn an_object_holds_the_same() {
        let line = line(Form::Json, Some(3), "a \"b\"\u{1b}\n");
        let read: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        let wanted = serde_json::json!({
            "time": "2026-11-26T01:02:03.456Z", "level": "INFO", "myid": 3, "thread": "main",
            "module": "server::start", "line": 7, "text": "a \"b\"\\u001b\\u000a",
        });
        assert_eq!(read, wanted);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_text_makes_no_second_line_and_no_long_one() {
        let forged = "a\n2026-11-26 01:02:03,456 [myid:] - ERROR [x:y@1] - b";
        for form in [Form::Text, Form::Journal, Form::Json] {
            let forged = line(form, None, forged);
            assert_eq!(forged.lines().count(), 1, "{forged}");
            let long = line(form, None, &"x".repeat(1 << 20));
            assert!(long.len() < TEXT_BYTES_MAX + 200 && long.contains("(1048576 bytes)"));
        }
    }
}
