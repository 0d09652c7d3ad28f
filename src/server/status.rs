//! The report that SIGQUIT writes to the log, as a JVM writes its threads: threads, queues,
//! turns that were long, counters that are not 0.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use log::{info, warn};

use super::logging;
use super::stats::StatsCollector;
use super::words::{Reports, Word, answer};

/// Writes reports, one at a time.
pub(crate) struct StatusReporter {
    stats: Arc<StatsCollector>,
    busy: Arc<AtomicBool>,
}

impl StatusReporter {
    /// A reporter over what `stats` gathers.
    pub(crate) fn new(stats: Arc<StatsCollector>) -> Self {
        Self { stats, busy: Arc::default() }
    }

    /// Begins a report on a thread of its own, unless one is being written: a core that hangs
    /// delays it by seconds.
    pub(crate) fn begin(&self) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (stats, busy) = (self.stats.clone(), self.busy.clone());
        let write = move || {
            lines(&stats).iter().for_each(|line| info!("{line}"));
            busy.store(false, Ordering::Release);
        };
        if let Err(error) = thread::Builder::new().name("report".into()).spawn(write) {
            self.busy.store(false, Ordering::Release);
            warn!("no thread for a report: {error}");
        }
    }
}

fn lines(stats: &StatsCollector) -> Vec<String> {
    let mut lines = vec!["report (SIGQUIT): threads".to_owned()];
    lines.extend(threads());
    let ensemble = stats.ensemble();
    if !ensemble.is_empty() {
        lines.push("report: ensemble".to_owned());
        lines.extend(ensemble);
    }
    lines.push("report: queues".to_owned());
    lines.extend(stats.queues());
    lines.push("report: log".to_owned());
    lines.extend(log_lines());
    lines.push("report: turns".to_owned());
    lines.extend(stats.long_turns());
    lines.push("report: counters that are not 0, as the word mntr names them".to_owned());
    // Also where nobody is served.
    let reports = Reports { serving: true, ..stats.gather(Word::Mntr.needs()) };
    let counters = answer(Word::Mntr, &reports);
    let text = String::from_utf8_lossy(&counters);
    lines.extend(text.lines().filter(|line| !is_zero(line)).map(|line| line.replace('\t', " ")));
    lines.push("report: end".to_owned());
    lines
}

fn is_zero(line: &str) -> bool {
    line.split_once('\t').is_some_and(|(_, value)| matches!(value, "0" | "0.0"))
}

fn log_lines() -> Vec<String> {
    let level = |(module, level): (String, _)| match module.as_str() {
        "" => format!("  level {level}"),
        module => format!("  level {level} of {module}"),
    };
    let mut lines: Vec<String> = logging::levels().into_iter().map(level).collect();
    lines.push(format!("  {} lines lost since the start", logging::lost_lines()));
    lines
}

/// One line for each thread: name, kernel's id, state, time on a core, and where it waits in the
/// kernel.
fn threads() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<String> = entries.filter_map(|entry| thread_line(&entry.path())).collect();
    threads.sort();
    threads
}

fn thread_line(directory: &std::path::Path) -> Option<String> {
    let id = directory.file_name()?.to_string_lossy().into_owned();
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let waits_in = fs::read_to_string(directory.join("wchan")).unwrap_or_default();
    Some(format!(
        "  {name} (thread {id}): state {}, {} ms on a core{}",
        fields.first()?,
        ticks * MS_PER_TICK,
        if matches!(waits_in.as_str(), "" | "0") {
            String::new()
        } else {
            format!(", waits in {waits_in}")
        }
    ))
}

/// Linux counts 100 ticks a second for user space everywhere.
const MS_PER_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_its_line() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        let wait = move || {
            // A thread has its name once it runs.
            begun.send(()).expect("the test waits");
            stopped.recv().unwrap_or_default();
        };
        let thread = thread::Builder::new().name("a (b) c".into()).spawn(wait);
        begins.recv().expect("it begins");
        let lines = threads();
        drop(stop);
        thread.expect("it starts").join().expect("it ends");
        assert!(lines.iter().any(|line| line.starts_with("  a (b) c (thread ")), "{lines:?}");
    }
}
