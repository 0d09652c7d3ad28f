//! The form of a log line: that of the pattern in Apache's `logback.xml`, since collectors and
//! scripts parse it.
//!
//! ```text
//! 2026-11-26 01:02:03,456 [myid:3] - INFO  [main:server::start@204] - clients: 127.0.0.1:2181
//! ```
//!
//! Time (UTC, ISO 8601 with milliseconds), the server's id in its ensemble (nothing of a server of
//! its own), level, thread, module with line, text.
//! A line is one line: control characters in the text, which a client may have chosen, are escaped.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use env_logger::{Builder, Env};
use log::Record;

use crate::server::words::text::{one_line, timestamp};

/// Logs to standard error from now on: `info` and above of its own, or what `RUST_LOG` says.
pub(crate) fn open() {
    // glommio warns where it does without registered buffers: locked memory is short, no more.
    let filter = "info,glommio_ng=error";
    let mut builder = Builder::from_env(Env::default().default_filter_or(filter));
    let server = || SERVER.get().map_or("", String::as_str);
    builder.format(move |out, record| write_line(out, server(), record, wall_ms())).init();
}

/// From now on lines name this server of an ensemble.
pub(crate) fn name_server(id: i64) {
    // A process is one server.
    let _ = SERVER.set(id.to_string());
}

static SERVER: OnceLock<String> = OnceLock::new();

fn write_line(
    out: &mut impl Write,
    server: &str,
    record: &Record<'_>,
    wall_ms: i64,
) -> io::Result<()> {
    let thread = std::thread::current();
    let module = record.module_path().unwrap_or_default();
    writeln!(
        out,
        "{} [myid:{server}] - {:<5} [{}:{}@{}] - {}",
        timestamp(wall_ms),
        record.level(),
        thread.name().unwrap_or("unnamed"),
        module.strip_prefix("ringkeeper::").unwrap_or(module),
        record.line().unwrap_or_default(),
        one_line(&record.args().to_string())
    )
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(server: &str, text: &str) -> String {
        let mut out = Vec::new();
        let mut builder = Record::builder();
        let builder = builder.level(log::Level::Info).line(Some(7));
        let record = builder.module_path(Some("ringkeeper::server::start"));
        write_line(
            &mut out,
            server,
            &record.args(format_args!("{text}")).build(),
            1_795_654_923_456,
        )
        .expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_has_the_form_of_apaches() {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let wanted = format!(
            "2026-11-26 01:02:03,456 [myid:] - INFO  [{thread}:server::start@7] - clients: here\n"
        );
        assert_eq!(line("", "clients: here"), wanted);
        let of_member = wanted.replace("[myid:]", "[myid:3]");
        assert_eq!(line("3", "clients: here"), of_member);
    }

    #[test]
    fn a_text_makes_no_second_line() {
        let forged = line("", "a\n2026-11-26 01:02:03,456 [myid:] - ERROR [x:y@1] - b");
        assert_eq!(forged.lines().count(), 1, "{forged}");
        assert!(forged.contains("a\\u000a2026"), "{forged}");
    }
}
