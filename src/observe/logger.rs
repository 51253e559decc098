//! Where event lines go and what they look like there.
//!
//! By default that is stderr, in robin's own form: `2026-11-21T06:40:11.123+00:00 WARN peer ejected …`,
//! and `RUST_LOG` takes the place of the filter, `robin=info`. Where there is an error log they go
//! there instead, in nginx's form, from the level on that it names: `2026/11/21 06:40:11 [warn]
//! 17#17: peer ejected …`. For machines (`event_format: json`) a line is one JSON object in either
//! place (`machine`). A thread of its own writes, so that whoever reads too slowly
//! makes no request wait. A reload may lead the lines elsewhere, or change their form.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::event::Line;
use super::queue::{Notice, Queue};
use super::sink::Sink;
use super::stamp::{error_time, event_time, local_zone};
use super::{counters, machine};
use crate::config::model::EventFormat;
use crate::config::open_failed;

/// What is logged unless `RUST_LOG` says otherwise: our own lines from INFO on. The libraries
/// below us speak of single connections, which we report in our own words.
const DEFAULT_FILTER: &str = "robin=info";

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The logger of the process, once there is one.
static EVENTS: OnceLock<Events> = OnceLock::new();

/// Where event lines go, and what they look like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where they go.
    pub place: Place,
    /// For people or for machines.
    pub format: EventFormat,
}

/// Where event lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To stderr; for people in robin's own form.
    Stderr,
    /// To a file; for people in nginx's form.
    ErrorLog {
        /// The file.
        path: PathBuf,
        /// The least level that is written.
        level: LevelFilter,
    },
}

/// The event log; writes what is left when it is dropped.
#[must_use = "dropping it ends the log"]
#[derive(Debug)]
pub struct EventLog(());

/// Starts the event log. A file that cannot be opened is told on stderr, where the lines go then.
/// Later calls do nothing.
pub fn start(target: &Target) -> EventLog {
    let output = Output::new(target).unwrap_or_else(|error| {
        let failed = open_failed(&target.name(), &error);
        let _ = writeln!(io::stderr(), "nginx: [alert] could not open error log file: {failed}");
        Output::stderr(target.format)
    });
    let events = EVENTS.get_or_init(|| Events(ArcSwap::from_pointee(output)));
    if log::set_logger(events).is_ok() {
        log::set_max_level(events.0.load().filter.filter());
    }
    EventLog(())
}

/// Leads the lines elsewhere; does nothing where they go there already.
///
/// # Errors
/// Where the file cannot be opened: lines go where they went before.
pub fn redirect(target: &Target) -> io::Result<()> {
    let Some(events) = EVENTS.get() else { return Ok(()) };
    if events.0.load().target == *target {
        return Ok(());
    }
    let output = Output::new(target)?;
    log::set_max_level(output.filter.filter());
    let before = events.0.swap(Arc::new(output));
    // A thread that holds the old output still may lose a line: better than to wait for it.
    let _ = before.close();
    Ok(())
}

impl Drop for EventLog {
    fn drop(&mut self) {
        if let Some(events) = EVENTS.get() {
            // What could not be written in time cannot be told of either.
            let _ = events.0.load().close();
        }
    }
}

impl Target {
    /// Standard error, for people.
    pub const STDERR: Self = Self { place: Place::Stderr, format: EventFormat::Text };

    fn name(&self) -> String {
        match &self.place {
            Place::Stderr => "stderr".to_owned(),
            Place::ErrorLog { path, .. } => path.display().to_string(),
        }
    }
}

/// The logger: hands each record to the output of the moment.
struct Events(ArcSwap<Output>);

impl Log for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let output = self.0.load();
        if !output.filter.matches(record) {
            return;
        }
        let line = output.line(record);
        match &output.queue {
            Some(queue) => queue.push(line.into_bytes().into()),
            None => drop(io::stderr().write_all(line.as_bytes())),
        }
    }

    fn flush(&self) {}
}

/// One place that lines go to.
struct Output {
    target: Target,
    filter: env_logger::Logger,
    /// None where no thread could be started: whoever logs then writes.
    queue: Option<Queue>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Output {
    fn new(target: &Target) -> io::Result<Self> {
        let format = target.format;
        let Place::ErrorLog { path, level } = &target.place else {
            return Ok(Self::stderr(format));
        };
        let tell = move |notice| event_log(format, notice);
        let queue =
            Queue::start("error-log", Sink::open(path)?, &counters::EVENT_LINES_LOST, tell)?;
        let filter = format!("robin={level}");
        let filter = env_logger::Builder::from_env(environment(&filter)).build();
        Ok(Self { target: target.clone(), filter, queue: Some(queue) })
    }

    fn stderr(format: EventFormat) -> Self {
        let tell = move |notice| event_log(format, notice);
        let queue = Queue::start("event-log", io::stderr(), &counters::EVENT_LINES_LOST, tell);
        Self {
            target: Target { place: Place::Stderr, format },
            filter: env_logger::Builder::from_env(environment(DEFAULT_FILTER)).build(),
            queue: queue.ok(),
        }
    }

    fn line(&self, record: &Record<'_>) -> String {
        match (&self.target.place, self.target.format) {
            (Place::ErrorLog { .. }, EventFormat::Text) => {
                error_line(SystemTime::now(), nginx_level(record.level()), record.args())
            }
            (_, format) => own_line(format, SystemTime::now(), local_zone(), record),
        }
    }

    /// Writes what is left; false where that takes too long.
    fn close(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.close(LAST_LINES))
    }
}

/// A line in robin's own form, for people or for machines.
pub(super) fn own_line(
    format: EventFormat,
    at: SystemTime,
    zone: TimeZone,
    record: &Record<'_>,
) -> String {
    let at = event_time(at, zone);
    match format {
        EventFormat::Text => format!("{at} {} {}\n", record.level(), record.args()),
        EventFormat::Json => machine::line(&at, record),
    }
}

/// A line as nginx writes it to its error log.
#[must_use]
pub fn error_line(at: SystemTime, level: &str, text: impl fmt::Display) -> String {
    let (time, process) = (error_time(at, local_zone()), std::process::id());
    let thread = THREAD.with(|id| *id);
    format!("{time} [{level}] {process}#{thread}: {text}\n")
}

thread_local! {
    /// The system's number of this thread.
    static THREAD: u32 = std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|link| link.file_name()?.to_str()?.parse().ok())
        .unwrap_or_else(std::process::id);
}

fn nginx_level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "notice",
        Level::Debug => "info",
        Level::Trace => "debug",
    }
}

/// What of our own nginx's name for a level lets through; none where it is no such name.
#[must_use]
pub fn level_filter(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "debug" => LevelFilter::Trace,
        "info" => LevelFilter::Debug,
        "notice" => LevelFilter::Info,
        "warn" => LevelFilter::Warn,
        "error" => LevelFilter::Error,
        // Lines of ours are no worse than errors.
        "crit" | "alert" | "emerg" => LevelFilter::Off,
        _ => return None,
    })
}

fn environment(filter: &str) -> env_logger::Env<'_> {
    env_logger::Env::default().default_filter_or(filter)
}

/// Says what the writer of the event log has met: on stderr itself, on its own thread.
fn event_log(format: EventFormat, notice: Notice) {
    let Some((level, line)) = event_log_line(notice) else { return };
    let record = |record: &Record<'_>| own_line(format, SystemTime::now(), local_zone(), record);
    let _ = io::stderr().write_all(line.as_record("robin::events", level, record).as_bytes());
}

pub(super) fn event_log_line(notice: Notice) -> Option<(Level, Line)> {
    match notice {
        // Nobody reads what would say so.
        Notice::Failing(_) => None,
        Notice::Dropped { lines } => {
            Some((Level::Warn, Line::new("event log dropped").number("lines", lines)))
        }
        Notice::Recovered { lost } => {
            Some((Level::Info, Line::new("event log is written again").number("lost", lost)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_lines_are_printed_by_default() {
        // A variable that nobody sets, so that the test does not depend on RUST_LOG.
        let env = env_logger::Env::new().filter_or("ROBIN_TEST_NO_SUCH_FILTER", DEFAULT_FILTER);
        let logger = env_logger::Builder::from_env(env).build();
        let printed = |target: &str, level| {
            logger.matches(&Record::builder().target(target).level(level).build())
        };
        assert!(printed("robin::upstream", Level::Info));
        assert!(!printed("robin::upstream", Level::Debug));
        assert!(!printed("some_library::proxy", Level::Error));
    }

    #[test]
    fn a_line_of_the_error_log_has_nginxs_form() {
        let line = error_line(SystemTime::now(), nginx_level(Level::Warn), "peer ejected");
        let (stamp, rest) = line.split_at("2026/11/21 10:00:00".len());
        assert!(stamp.bytes().all(|b| b.is_ascii_digit() || b"/ :".contains(&b)), "{line}");
        let start = format!(" [warn] {}#", std::process::id());
        assert!(rest.starts_with(&start) && rest.ends_with(": peer ejected\n"), "{line}");
    }

    #[test]
    fn a_level_lets_through_what_is_as_bad_or_worse() {
        let lets = |name, level| level_filter(name).expect("a level of nginx's") >= level;
        assert!(lets("error", Level::Error) && !lets("error", Level::Warn));
        assert!(lets("notice", Level::Info) && !lets("warn", Level::Info));
        assert!(!lets("crit", Level::Error));
        assert_eq!(level_filter("verbose"), None);
    }
}
