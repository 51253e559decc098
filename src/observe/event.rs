//! Event lines: a fixed lower-case phrase to grep, then `key=value`, on stderr through `log`.
//!
//! `upstream` and `peer` come first and `error` last. A value with a space is quoted, and all is
//! escaped. No line holds a body, a cookie, `Authorization` or a query string: functions here take
//! names, addresses, counts and errors, never a request.
//!
//! A state is logged when it changes, not each time it is met: where requests meet it, an
//! [`OnChange`] decides.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use log::Level;

use super::queue::Notice;
use super::text::{Short, Value};
use crate::health::Tick;
use crate::upstream::{Census, Change, Event, Hand, NoPeer, Panic, PanicTurn, Tier};

/// An event line in the making.
#[derive(Clone, Debug)]
pub struct Line {
    text: String,
}

impl Line {
    /// A line that begins with this phrase.
    #[must_use]
    pub fn new(phrase: &'static str) -> Self {
        Self { text: phrase.to_owned() }
    }

    /// Appends ` key=value`, escaped, and quoted where it has spaces.
    #[must_use]
    pub fn field(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        // Writing into a String cannot fail.
        let _ = write!(self.text, " {key}={}", Value(&value));
        self
    }

    /// Appends ` key=10s`.
    #[must_use]
    pub fn duration(self, key: &'static str, value: Duration) -> Self {
        self.field(key, Short(value))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Prints that a file could not be served, at the level of nginx.
pub fn no_file(error: &dyn fmt::Display) {
    log::error!(target: "robin::files", "{}", Line::new("no file served").field("error", error));
}

/// Prints what changed about a peer.
pub fn peer(upstream: &str, event: &Event) {
    let (level, line) = peer_line(upstream, event);
    log::log!(target: "robin::upstream", level, "{line}");
    for turn in &event.panics {
        let (level, line) = panic_line(upstream, *turn);
        log::log!(target: "robin::upstream", level, "{line}");
    }
}

fn panic_line(upstream: &str, turn: PanicTurn) -> (Level, Line) {
    let line = |phrase| {
        let line = Line::new(phrase).field("upstream", upstream);
        if turn.tier == Tier::Backup { line.field("tier", word(turn.tier)) } else { line }
    };
    match turn.panic {
        Some(Panic { out, of }) => {
            let line = line("panic: too many peers out, using all");
            (Level::Warn, line.field("out", out).field("of", of))
        }
        None => (Level::Info, line("panic is over, using only those that are not out")),
    }
}

fn peer_line(upstream: &str, event: &Event) -> (Level, Line) {
    let line = |phrase| Line::new(phrase).field("upstream", upstream).field("peer", &event.peer);
    match &event.change {
        Change::Joined { tier } => (Level::Info, line("peer joined").field("tier", word(*tier))),
        Change::Left => (Level::Info, line("peer left")),
        Change::Absent => (Level::Info, line("peer absent from dns")),
        Change::Reached => (Level::Info, line("absent peer reached by probe")),
        Change::Found => (Level::Info, line("peer in dns again")),
        Change::Ejected { fails, of, lasts, connect } => {
            let cause = if *connect { "connect" } else { "answer" };
            let mut line = line("peer ejected").field("fails", fails);
            if let Some(of) = of.filter(|of| *of > 0) {
                let rate = u64::from(of - fails) * 100 / u64::from(of);
                line = line.field("of", of).field("rate", format_args!("{rate}%"));
            }
            (Level::Warn, line.duration("for", *lasts).field("cause", cause))
        }
        Change::Connects(true) => (Level::Debug, line("peer takes connects again")),
        Change::Connects(false) => (Level::Debug, line("peer takes no connect")),
        Change::Readmitted => (Level::Info, line("peer readmitted")),
        Change::Passing => (Level::Info, line("peer passes probes")),
        Change::CutOff { connections } => {
            (Level::Warn, line("peer cut off").field("connections", connections))
        }
        Change::Doubted => (Level::Info, line("peer waits for a probe")),
        Change::Told(Hand::Drain) => (Level::Info, line("peer drained by hand")),
        Change::Told(Hand::Down) => (Level::Warn, line("peer taken down by hand")),
        Change::Told(Hand::Off) => (Level::Info, line("peer let go by hand")),
        Change::Failing { error } => (Level::Warn, line("peer fails probes").field("error", error)),
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
        log::error!(target: "robin::upstream", "{}", no_peer_line(upstream, why, peers));
    }
}

fn no_peer_line(upstream: &str, why: NoPeer, peers: &str) -> Line {
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
    let line = met.fold(line.field("peers", count), |line, (key, count)| line.field(key, count));
    if peers.is_empty() { line } else { line.field("reasons", peers) }
}

/// Says that a request found a peer, if the line before said that there was none.
pub fn peer_found(latch: &OnChange, upstream: &str, now: Tick) {
    if latch.changed(SERVING, now) {
        let line = Line::new("peer available again").field("upstream", upstream);
        log::info!(target: "robin::upstream", "{line}");
    }
}

/// Says that a request was not tried again because retries are used up: once in each ten seconds,
/// which is the span that they are counted in.
pub fn retries_spent(latch: &OnChange, upstream: &str, now: Tick) {
    // The span's number is the state; zero is what nobody has told of.
    let span = now.as_millis() / 10_000 % u64::from(u16::MAX);
    if latch.changed(u16::try_from(span).unwrap_or_default() + 1, now) {
        let line = Line::new("retry budget spent").field("upstream", upstream);
        log::warn!(target: "robin::upstream", "{line}");
    }
}

fn discovery_line(phrase: &'static str, upstream: &str, host: &str) -> Line {
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
    let line = refresh_failed_line(upstream, host, peers_kept, next, error);
    log::warn!(target: "robin::discovery", "{line}");
}

fn refresh_failed_line(
    upstream: &str,
    host: &str,
    peers_kept: usize,
    next: Duration,
    error: &dyn fmt::Display,
) -> Line {
    discovery_line("refresh failed, keeping peers", upstream, host)
        .field("peers", peers_kept)
        .duration("next", next)
        .field("error", error)
}

/// Lookups work again after one failed or the name was gone.
pub fn refresh_recovered(upstream: &str, host: &str, peers: usize) {
    let line = discovery_line("refresh recovered", upstream, host).field("peers", peers);
    log::info!(target: "robin::discovery", "{line}");
}

/// A name that had addresses has none any more.
pub fn name_gone(upstream: &str, host: &str, error: &dyn fmt::Display) {
    let line = discovery_line("name has no address any more", upstream, host).field("error", error);
    log::warn!(target: "robin::discovery", "{line}");
}

/// A name has had no address since the start.
pub fn name_unresolved(upstream: &str, host: &str, error: &dyn fmt::Display) {
    let line = discovery_line("name has no address yet", upstream, host).field("error", error);
    log::warn!(target: "robin::discovery", "{line}");
}

/// What the writer of the access log says about itself.
pub(super) fn access_log(notice: Notice) {
    let (level, line) = access_log_line(notice);
    log::log!(target: "robin::access", level, "{line}");
}

fn access_log_line(notice: Notice) -> (Level, Line) {
    match notice {
        Notice::Dropped { lines } => {
            (Level::Warn, Line::new("access log dropped").field("lines", lines))
        }
        Notice::Failing(error) => {
            (Level::Error, Line::new("access log cannot be written").field("error", error))
        }
        Notice::Recovered { lost } => {
            (Level::Info, Line::new("access log is written again").field("lost", lost))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn printed(change: Change) -> String {
        let event = Event::new(SocketAddr::from(([172, 18, 0, 4], 8000)).into(), change);
        let (level, line) = peer_line("flask", &event);
        format!("{level} {line}")
    }

    #[test]
    fn changes_of_a_peer_are_one_line_each() {
        let lasts = Duration::from_secs(10);
        let ejected = Change::Ejected { fails: 3, of: None, lasts, connect: true };
        assert_eq!(
            printed(ejected),
            "WARN peer ejected upstream=flask peer=172.18.0.4:8000 fails=3 for=10s cause=connect"
        );
        assert_eq!(
            printed(Change::Joined { tier: Tier::Backup }),
            "INFO peer joined upstream=flask peer=172.18.0.4:8000 tier=backup"
        );
        assert_eq!(
            printed(Change::Failing { error: "status 503\n".into() }),
            r#"WARN peer fails probes upstream=flask peer=172.18.0.4:8000 error="status 503\x0A""#
        );
    }

    #[test]
    fn an_ejection_for_a_rate_says_which_it_was() {
        let lasts = Duration::from_secs(5);
        let ejected = Change::Ejected { fails: 12, of: Some(30), lasts, connect: false };
        assert_eq!(
            printed(ejected),
            "WARN peer ejected upstream=flask peer=172.18.0.4:8000 fails=12 of=30 rate=60% for=5s \
             cause=answer"
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
