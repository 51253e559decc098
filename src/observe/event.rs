//! Event lines: a fixed lower-case phrase to grep, then `key=value`, on stderr through `log`.
//!
//! `upstream` and `peer` come first and `error` last. A value with a space is quoted, and all is
//! escaped. No line holds a body, a cookie, `Authorization` or a query string: functions here take
//! names, addresses, counts and errors, never a request.
//!
//! A state is logged when it changes, not each time it is met: where requests meet it, an
//! [`OnChange`] decides.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use log::Level;

use super::latest;
use super::queue::Notice;
use super::text::{Short, Value};
use crate::health::Tick;
use crate::limits::Sum;
use crate::upstream::{Census, Change, Event, Figures, Hand, NoPeer, Panic, PanicTurn, Tier};

/// An event line in the making.
#[derive(Clone, Debug)]
pub struct Line {
    phrase: &'static str,
    fields: Vec<(&'static str, Field)>,
}

/// What a key stands before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// A time: for a person with its unit; for a machine in milliseconds, with a key that says so.
    Time(&'static str, Duration),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Value(text).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Time(_, time) => Short(*time).fmt(f),
        }
    }
}

impl Line {
    /// A line that begins with this phrase.
    #[must_use]
    pub fn new(phrase: &'static str) -> Self {
        Self { phrase, fields: Vec::new() }
    }

    /// Appends ` key=value`, escaped, and quoted where it has spaces.
    #[must_use]
    pub fn field(self, key: &'static str, value: impl fmt::Display) -> Self {
        self.with(key, Field::Text(value.to_string()))
    }

    /// Appends ` key=17`.
    #[must_use]
    pub fn number(self, key: &'static str, value: impl TryInto<u64>) -> Self {
        self.with(key, Field::Number(value.try_into().unwrap_or(u64::MAX)))
    }

    /// Appends ` key=10s`, or for machines `millis_key` and 10000.
    #[must_use]
    pub fn duration(self, key: &'static str, millis_key: &'static str, value: Duration) -> Self {
        self.with(key, Field::Time(millis_key, value))
    }

    fn with(mut self, key: &'static str, value: Field) -> Self {
        self.fields.push((key, value));
        self
    }

    /// The phrase that it begins with.
    #[must_use]
    pub fn phrase(&self) -> &'static str {
        self.phrase
    }

    /// Its keys and what stands behind them, in order.
    #[must_use]
    pub fn fields(&self) -> &[(&'static str, Field)] {
        &self.fields
    }

    /// Prints it as a record of `target`, and keeps it for whoever asks what has happened lately
    /// ([`latest`]).
    pub fn print(&self, target: &'static str, level: Level) {
        latest::keep(level, self);
        self.print_only(target, level);
    }

    /// Prints it, no more: for what may happen with each request.
    fn print_only(&self, target: &'static str, level: Level) {
        if level <= log::max_level() {
            self.as_record(target, level, |record| log::logger().log(record));
        }
    }

    /// Lends it as a log record, as the macros do; they take no list of keys that is not known when
    /// they are written.
    pub(super) fn as_record<T>(
        &self,
        target: &str,
        level: Level,
        take: impl FnOnce(&log::Record<'_>) -> T,
    ) -> T {
        let mut record = log::Record::builder();
        let record = record.level(level).target(target).key_values(self);
        take(&record.args(format_args!("{self}")).build())
    }

    /// Prints it as an error.
    pub fn error(&self, target: &'static str) {
        self.print(target, Level::Error);
    }

    /// Prints it as a warning.
    pub fn warn(&self, target: &'static str) {
        self.print(target, Level::Warn);
    }

    /// Prints it as a piece of news.
    pub fn info(&self, target: &'static str) {
        self.print(target, Level::Info);
    }
}

/// The keys as the log crate hands them on: `event` is the phrase.
impl log::kv::Source for Line {
    fn visit<'kvs>(
        &'kvs self,
        visitor: &mut dyn log::kv::VisitSource<'kvs>,
    ) -> Result<(), log::kv::Error> {
        visitor.visit_pair("event".into(), self.phrase.into())?;
        for (key, value) in &self.fields {
            match value {
                Field::Text(text) => visitor.visit_pair((*key).into(), text.as_str().into())?,
                Field::Number(number) => visitor.visit_pair((*key).into(), (*number).into())?,
                Field::Time(key, time) => {
                    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                    visitor.visit_pair((*key).into(), millis.into())?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase)?;
        self.fields.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

/// Prints that a file could not be served, at the level of nginx.
pub fn no_file(error: &dyn fmt::Display) {
    Line::new("no file served").field("error", error).print_only("robin::files", Level::Error);
}

/// Prints what changed about a peer.
pub fn peer(upstream: &str, event: &Event) {
    let (level, line) = peer_line(upstream, event);
    line.print("robin::upstream", level);
    for turn in &event.panics {
        let (level, line) = panic_line(upstream, *turn);
        line.print("robin::upstream", level);
    }
}

pub(super) fn panic_line(upstream: &str, turn: PanicTurn) -> (Level, Line) {
    let line = |phrase| {
        let line = Line::new(phrase).field("upstream", upstream);
        if turn.tier == Tier::Backup { line.field("tier", word(turn.tier)) } else { line }
    };
    match turn.panic {
        Some(Panic { out, of }) => {
            let line = line("panic: too many peers out, using all");
            (Level::Warn, line.number("out", out).number("of", of))
        }
        None => (Level::Info, line("panic is over, using only those that are not out")),
    }
}

pub(super) fn peer_line(upstream: &str, event: &Event) -> (Level, Line) {
    let line = |phrase| Line::new(phrase).field("upstream", upstream).field("peer", &event.peer);
    let (level, line) = match &event.change {
        Change::Joined { tier } => (Level::Info, line("peer joined").field("tier", word(*tier))),
        Change::Left => (Level::Info, line("peer left")),
        Change::Absent => (Level::Info, line("peer absent from dns")),
        Change::Reached => (Level::Info, line("absent peer reached by probe")),
        Change::Found => (Level::Info, line("peer in dns again")),
        Change::Ejected { fails, of, lasts, connect } => {
            let cause = if *connect { "connect" } else { "answer" };
            let mut line = line("peer ejected").number("fails", *fails);
            if let Some(of) = of.filter(|of| *of > 0) {
                let rate = u64::from(of - fails) * 100 / u64::from(of);
                line = line.number("of", of).field("rate", format_args!("{rate}%"));
            }
            (Level::Warn, line.duration("for", "for_ms", *lasts).field("cause", cause))
        }
        Change::Connects(true) => (Level::Debug, line("peer takes connects again")),
        Change::Connects(false) => (Level::Debug, line("peer takes no connect")),
        Change::Readmitted => (Level::Info, line("peer readmitted")),
        Change::Passing => (Level::Info, line("peer passes probes")),
        Change::CutOff { connections } => {
            (Level::Warn, line("peer cut off").number("connections", *connections))
        }
        Change::Doubted => (Level::Info, line("peer waits for a probe")),
        Change::Told(Hand::Drain) => (Level::Info, line("peer drained by hand")),
        Change::Told(Hand::Down) => (Level::Warn, line("peer taken down by hand")),
        Change::Told(Hand::Off) => (Level::Info, line("peer let go by hand")),
        Change::Failing { .. } => (Level::Warn, line("peer fails probes")),
    };
    let line = figures(line, event);
    match &event.change {
        Change::Failing { error } => (level, line.field("error", error)),
        _ => (level, line),
    }
}

/// How the peer stood before and for how long, how it stands now, and what it has done so far.
fn figures(line: Line, event: &Event) -> Line {
    let Figures { reason, requests, failures, in_flight, probe } = &event.figures;
    let line = match event.was {
        Some((was, lasting)) => line.field("was", was).duration("was_for", "was_for_ms", lasting),
        None => line,
    };
    let line = line.field("reason", reason).number("requests", *requests);
    let line = line.number("failures", *failures).number("in_flight", *in_flight);
    match probe {
        None => line,
        Some(Ok(took)) => {
            line.field("probe", "passed").duration("probe_took", "probe_took_ms", *took)
        }
        Some(Err(_)) => line.field("probe", "failed"),
    }
}

fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::Primary => "primary",
        Tier::Backup => "backup",
    }
}

/// Whether a state differs from the one last logged, for many threads at once and without a lock.
///
/// Two states that alternate with each request (a peer at `max_conns`) must not fill the log, so
/// a change is let through at most once a second; one that comes too early is looked at again
/// when it is next met.
#[derive(Debug, Default)]
pub struct OnChange {
    /// The state last logged in the upper 16 bits, the moment before which nothing is logged in
    /// the others.
    word: AtomicU64,
}

impl OnChange {
    const QUIET: Duration = Duration::from_secs(1);
    const TIME_BITS: u32 = 48;

    /// Whether `state` is to be logged now; of many threads one is told so. The state before the
    /// first call is 0.
    pub fn changed(&self, state: u16, now: Tick) -> bool {
        let word = self.word.load(Relaxed);
        let (last, quiet_until) = (word >> Self::TIME_BITS, word & ((1 << Self::TIME_BITS) - 1));
        if last == u64::from(state) || now.as_millis() < quiet_until {
            return false;
        }
        let next = u64::from(state) << Self::TIME_BITS | now.after(Self::QUIET).as_millis();
        self.word.compare_exchange(word, next, Relaxed, Relaxed).is_ok()
    }
}

const SERVING: u16 = 0;
const NOT_SERVING: u16 = 1;

/// Says that a request found no peer, unless that was said and has not changed since.
/// `peers` is the reason of each of them.
pub fn no_peer(latch: &OnChange, upstream: &str, why: NoPeer, peers: &str, now: Tick) {
    if latch.changed(NOT_SERVING, now) {
        no_peer_line(upstream, why, peers).error("robin::upstream");
    }
}

pub(super) fn no_peer_line(upstream: &str, why: NoPeer, peers: &str) -> Line {
    let line = Line::new("no peer available").field("upstream", upstream);
    let census = match why {
        NoPeer::NoAddresses => Census::default(),
        NoPeer::Unavailable(census) => census,
    };
    let Census { peers: count, ejected, down, draining, absent, failing, waiting, full, tried } =
        census;
    let counts = [
        ("ejected", ejected),
        ("failing", failing),
        ("waiting", waiting),
        ("absent", absent),
        ("full", full),
        ("tried", tried),
        ("down", down),
        ("draining", draining),
    ];
    let met = counts.into_iter().filter(|(_, count)| *count > 0);
    let line = met.fold(line.number("peers", count), |line, (key, count)| line.number(key, count));
    if peers.is_empty() { line } else { line.field("reasons", peers) }
}

/// Says that a request found a peer, if the line before said that there was none.
pub fn peer_found(latch: &OnChange, upstream: &str, now: Tick) {
    if latch.changed(SERVING, now) {
        peer_found_line(upstream).info("robin::upstream");
    }
}

pub(super) fn peer_found_line(upstream: &str) -> Line {
    Line::new("peer available again").field("upstream", upstream)
}

/// Says that a request was not tried again because retries are used up: once in each ten seconds,
/// which is the span that they are counted in.
pub fn retries_spent(latch: &OnChange, upstream: &str, now: Tick) {
    // The span's number is the state; zero is what nobody has told of.
    let span = now.as_millis() / 10_000 % u64::from(u16::MAX);
    if latch.changed(u16::try_from(span).unwrap_or_default() + 1, now) {
        retries_spent_line(upstream).warn("robin::upstream");
    }
}

pub(super) fn retries_spent_line(upstream: &str) -> Line {
    Line::new("retry budget spent").field("upstream", upstream)
}

pub(super) fn discovery_line(phrase: &'static str, upstream: &str, host: &str) -> Line {
    Line::new(phrase).field("upstream", upstream).field("host", host)
}

/// A lookup failed; the peers that are known stay.
pub fn refresh_failed(
    upstream: &str,
    host: &str,
    peers_kept: usize,
    next: Duration,
    error: &dyn fmt::Display,
) {
    refresh_failed_line(upstream, host, peers_kept, next, error).warn("robin::discovery");
}

pub(super) fn refresh_failed_line(
    upstream: &str,
    host: &str,
    peers_kept: usize,
    next: Duration,
    error: &dyn fmt::Display,
) -> Line {
    discovery_line("refresh failed, keeping peers", upstream, host)
        .number("peers", peers_kept)
        .duration("next", "next_ms", next)
        .field("error", error)
}

/// Lookups work again after one failed or the name was gone.
pub fn refresh_recovered(upstream: &str, host: &str, peers: usize) {
    let line = discovery_line("refresh recovered", upstream, host).number("peers", peers);
    line.info("robin::discovery");
}

/// A name that had addresses has none any more.
pub fn name_gone(upstream: &str, host: &str, error: &dyn fmt::Display) {
    let line = discovery_line("name has no address any more", upstream, host).field("error", error);
    line.warn("robin::discovery");
}

/// A name has had no address since the start.
pub fn name_unresolved(upstream: &str, host: &str, error: &dyn fmt::Display) {
    let line = discovery_line("name has no address yet", upstream, host).field("error", error);
    line.warn("robin::discovery");
}

/// What a limit has done to a request. The words are nginx's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Refused: too many requests a second.
    Requests,
    /// It would have been.
    RequestsDryRun,
    /// Delayed.
    Delay,
    /// It would have been.
    DelayDryRun,
    /// Refused: too many requests at once.
    Connections,
    /// It would have been.
    ConnectionsDryRun,
}

/// Says that a zone has stopped a request, the first in a while; `excess` is in thousandths of a request.
pub fn limited(stop: Stop, zone: &str, excess: u64, level: Level) {
    limited_line(stop, zone, excess).print("robin::limits", level);
}

pub(super) fn limited_line(stop: Stop, zone: &str, excess: u64) -> Line {
    let (phrase, counts) = match stop {
        Stop::Requests => ("limiting requests", true),
        Stop::RequestsDryRun => ("limiting requests, dry run", true),
        Stop::Delay => ("delaying request", true),
        Stop::DelayDryRun => ("delaying request, dry run", true),
        Stop::Connections => ("limiting connections", false),
        Stop::ConnectionsDryRun => ("limiting connections, dry run", false),
    };
    let line = Line::new(phrase).field("zone", zone);
    if counts {
        return line.field("excess", format_args!("{}.{:03}", excess / 1000, excess % 1000));
    }
    line
}

/// Says how many requests a zone has stopped since the last line.
pub fn limited_sum(zone: &str, sum: Sum, span: Duration, level: Level) {
    limited_sum_line(zone, sum, span).print("robin::limits", level);
}

pub(super) fn limited_sum_line(zone: &str, sum: Sum, span: Duration) -> Line {
    let line = Line::new("limited").field("zone", zone).number("refused", sum.refused);
    let line = line.number("delayed", sum.delayed).number("dry_run", sum.dry_run);
    line.duration("in", "in_ms", span)
}

/// What the writer of the access log says about itself.
pub(super) fn access_log(notice: Notice) {
    let (level, line) = access_log_line(notice);
    line.print("robin::access", level);
}

pub(super) fn access_log_line(notice: Notice) -> (Level, Line) {
    match notice {
        Notice::Dropped { lines } => {
            (Level::Warn, Line::new("access log dropped").number("lines", lines))
        }
        Notice::Failing(error) => {
            (Level::Error, Line::new("access log cannot be written").field("error", error))
        }
        Notice::Recovered { lost } => {
            (Level::Info, Line::new("access log is written again").number("lost", lost))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn event(change: Change) -> Event {
        let figures = Figures { reason: "up".into(), requests: 7, ..Figures::default() };
        let peer = SocketAddr::from(([172, 18, 0, 4], 8000)).into();
        Event { peer, change, was: None, figures, panics: Vec::new() }
    }

    fn printed(change: Change) -> String {
        let (level, line) = peer_line("flask", &event(change));
        format!("{level} {line}")
    }

    #[test]
    fn changes_of_a_peer_are_one_line_each() {
        let lasts = Duration::from_secs(10);
        let ejected = Change::Ejected { fails: 3, of: None, lasts, connect: true };
        assert_eq!(
            printed(ejected),
            "WARN peer ejected upstream=flask peer=172.18.0.4:8000 fails=3 for=10s cause=connect \
             reason=up requests=7 failures=0 in_flight=0"
        );
        assert_eq!(
            printed(Change::Joined { tier: Tier::Backup }),
            "INFO peer joined upstream=flask peer=172.18.0.4:8000 tier=backup reason=up requests=7 \
             failures=0 in_flight=0"
        );
        assert_eq!(
            printed(Change::Failing { error: "status 503\n".into() }),
            "WARN peer fails probes upstream=flask peer=172.18.0.4:8000 reason=up requests=7 \
             failures=0 in_flight=0 error=\"status 503\\x0A\""
        );
    }

    #[test]
    fn an_ejection_for_a_rate_says_which_it_was() {
        let lasts = Duration::from_secs(5);
        let ejected = Change::Ejected { fails: 12, of: Some(30), lasts, connect: false };
        assert_eq!(
            printed(ejected),
            "WARN peer ejected upstream=flask peer=172.18.0.4:8000 fails=12 of=30 rate=60% for=5s \
             cause=answer reason=up requests=7 failures=0 in_flight=0"
        );
    }

    #[test]
    fn a_change_says_what_was_before_and_for_how_long() {
        let figures = Figures {
            reason: "failing probes: connect refused".into(),
            requests: 40,
            failures: 2,
            in_flight: 1,
            probe: Some(Ok(Duration::from_millis(4))),
        };
        let was = Some(("up", Duration::from_secs(192)));
        let event = Event { was, figures, ..event(Change::Passing) };
        assert_eq!(
            peer_line("flask", &event).1.to_string(),
            "peer passes probes upstream=flask peer=172.18.0.4:8000 was=up was_for=3m12s \
             reason=\"failing probes: connect refused\" requests=40 failures=2 in_flight=1 \
             probe=passed probe_took=4ms"
        );
    }

    #[test]
    fn panic_is_told_when_it_begins_and_ends() {
        let told = |tier, panic| {
            let (level, line) = panic_line("flask", PanicTurn { tier, panic });
            format!("{level} {line}")
        };
        assert_eq!(
            told(Tier::Primary, Some(Panic { out: 4, of: 5 })),
            "WARN panic: too many peers out, using all upstream=flask out=4 of=5"
        );
        assert_eq!(
            told(Tier::Backup, None),
            "INFO panic is over, using only those that are not out upstream=flask tier=backup"
        );
    }

    #[test]
    fn an_outage_names_only_what_was_met() {
        let census = Census { peers: 3, ejected: 2, down: 1, ..Census::default() };
        let line = no_peer_line("flask", NoPeer::Unavailable(census), "a down").to_string();
        let expected =
            "no peer available upstream=flask peers=3 ejected=2 down=1 reasons=\"a down\"";
        assert_eq!(line, expected);
        let line = no_peer_line("flask", NoPeer::NoAddresses, "").to_string();
        assert_eq!(line, "no peer available upstream=flask peers=0");
    }

    #[test]
    fn a_failed_refresh_says_what_is_kept_and_when_the_next_is() {
        let next = Duration::from_secs(5);
        let line = refresh_failed_line("flask", "backend", 3, next, &"no such host").to_string();
        let expected = "refresh failed, keeping peers upstream=flask host=backend peers=3 next=5s \
                        error=\"no such host\"";
        assert_eq!(line, expected);
    }

    #[test]
    fn trouble_with_the_access_log_is_told() {
        let (level, line) = access_log_line(Notice::Dropped { lines: 17 });
        assert_eq!(format!("{level} {line}"), "WARN access log dropped lines=17");
    }

    #[test]
    fn a_state_is_let_through_when_it_changes_and_not_each_time() {
        let at = Tick::from_millis;
        let latch = OnChange::default();
        assert!(!latch.changed(SERVING, at(0)), "serving is what is expected");
        assert!(latch.changed(NOT_SERVING, at(1)), "the first outage is told at once");
        assert!(!latch.changed(NOT_SERVING, at(5000)));
        assert!(latch.changed(SERVING, at(5000)));
    }

    #[test]
    fn states_that_alternate_are_told_once_a_second() {
        let latch = OnChange::default();
        let told = |millis| latch.changed((millis % 2) as u16, Tick::from_millis(millis));
        assert_eq!((1..=3000).filter(|millis| told(*millis)).count(), 3);
    }

    #[test]
    fn one_of_many_threads_tells_a_change() {
        let latch = OnChange::default();
        let tell = || latch.changed(NOT_SERVING, Tick::from_millis(7));
        let told = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(tell)).collect();
            threads.into_iter().filter_map(|t| t.join().ok()).filter(|told| *told).count()
        });
        assert_eq!(told, 1);
    }
}
