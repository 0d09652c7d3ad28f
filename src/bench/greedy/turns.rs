//! What a server counts of its own turns, as the word mntr tells it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::BenchError;
use super::super::plain::CONNECT_TIME;

/// Turns of the server's executors above 5 ms. `None` where the server counts none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turns(Option<Counts>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    long: u64,
    /// Those that may have worked that long.
    worked: u64,
    /// Microseconds, since the server's start.
    longest_us: u64,
    most_work_us: u64,
}

impl Turns {
    /// Asks the server.
    pub(super) fn read(server: SocketAddr) -> Result<Self, BenchError> {
        let text = mntr(server).map_err(BenchError::io("the word mntr"))?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
            found.and_then(|value| value.trim().parse().ok())
        };
        let counts = || {
            Some(Counts {
                long: value("zk_ringkeeper_long_turns")?,
                worked: value("zk_ringkeeper_long_turns_worked")?,
                longest_us: value("zk_ringkeeper_longest_turn_us")?,
                most_work_us: value("zk_ringkeeper_most_work_of_a_turn_us")?,
            })
        };
        Self(counts())
    }

    /// The turns since `before`; the longest remain those since the server's start.
    pub(super) fn since(self, before: &Self) -> Self {
        let since = |now: Counts, before: Counts| Counts {
            long: now.long.saturating_sub(before.long),
            worked: now.worked.saturating_sub(before.worked),
            ..now
        };
        Self(self.0.zip(before.0).map(|(now, before)| since(now, before)))
    }

    /// Its part of a report.
    pub(super) fn json(&self) -> Value {
        self.0.map_or(Value::Null, |counts| {
            json!({
                "long": counts.long,
                "worked": counts.worked,
                "longest_us": counts.longest_us,
                "most_work_us": counts.most_work_us,
            })
        })
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("the server counts none"),
            Some(Counts { long, worked, longest_us, most_work_us }) => write!(
                f,
                "{long} of the server above 5 ms, of which {worked} worked that long; since its \
                 start: the longest {longest_us} us, the most work {most_work_us} us"
            ),
        }
    }
}

fn mntr(server: SocketAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&server, CONNECT_TIME)?;
    socket.set_read_timeout(Some(ANSWER_TIME))?;
    socket.write_all(b"mntr")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

const ANSWER_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_from_a_moment_on() {
        let text = |long: u64, worked: u64| {
            format!(
                "zk_avg_latency\t0.0\nzk_ringkeeper_long_turns\t{long}\n\
                 zk_ringkeeper_long_turns_worked\t{worked}\nzk_ringkeeper_longest_turn_us\t9000\n\
                 zk_ringkeeper_most_work_of_a_turn_us\t6000\n"
            )
        };
        let (before, now) = (Turns::of(&text(3, 1)), Turns::of(&text(10, 2)));
        let counts = Counts { long: 7, worked: 1, longest_us: 9000, most_work_us: 6000 };
        assert_eq!(now.since(&before), Turns(Some(counts)));
        assert_eq!(Turns::of("zk_avg_latency\t0.0\n").json(), Value::Null);
    }
}
