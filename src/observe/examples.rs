//! One example of every event, of the block and of the summary: what `docs/events.md` describes, in
//! both forms, pinned by `tests/golden/events.txt` and `tests/golden/events.jsonl`.
//!
//! `UPDATE_GOLDEN=1` writes what is printed now. A key that is renamed or gone is a breaking change.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use log::Level;
use log::kv::Value;

use super::event::{self, Line};
use super::logger::{event_log_line, own_line};
use super::queue::Notice;
use super::view::{LeftView, PeerView, ProbeView, State, UpstreamView};
use super::{dashboard, event::Field};
use crate::config::model::EventFormat;
use crate::health::Tick;
use crate::limits::Sum;
use crate::upstream::{
    Census, Change, Distribution, Event, Figures, Hand, NoPeer, Panic, PanicTurn, StatusCounts,
    Tier,
};

const FORMATS: [(EventFormat, &str); 2] =
    [(EventFormat::Text, "events.txt"), (EventFormat::Json, "events.jsonl")];

/// What a limit has done.
const SUM: Sum = Sum { refused: 4711, delayed: 12, dry_run: 0 };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_243_211_123)
}

fn changed(change: Change, was: &'static str, lasting: u64, reason: &str) -> (Level, Line) {
    of_peer(change, Some((was, seconds(lasting))), reason)
}

/// What does not change how the peer stands.
fn told(change: Change, reason: &str) -> (Level, Line) {
    of_peer(change, None, reason)
}

fn of_peer(change: Change, was: Option<(&'static str, Duration)>, reason: &str) -> (Level, Line) {
    let figures = Figures {
        reason: reason.into(),
        requests: 1200,
        failures: 3,
        in_flight: 2,
        probe: Some(Ok(Duration::from_millis(4))),
    };
    let peer = SocketAddr::from(([172, 18, 0, 4], 5252)).into();
    event::peer_line("back-end", &Event { peer, change, was, figures, panics: Vec::new() })
}

fn peers() -> Vec<(Level, Line)> {
    let lasts = seconds(10);
    let joined = Event {
        peer: SocketAddr::from(([172, 18, 0, 4], 5252)).into(),
        change: Change::Joined { tier: Tier::Primary },
        was: None,
        figures: Figures { reason: "waiting for first probe".into(), ..Figures::default() },
        panics: Vec::new(),
    };
    let refused = Event {
        change: Change::Failing { error: "connect refused".into() },
        was: Some(("up", seconds(192))),
        figures: Figures {
            reason: "failing probes: connect refused".into(),
            requests: 1200,
            failures: 3,
            in_flight: 0,
            probe: Some(Err("connect refused".into())),
        },
        ..joined.clone()
    };
    let connect = Change::Ejected { fails: 1, of: None, lasts, connect: true };
    let share = Change::Ejected { fails: 12, of: Some(30), lasts, connect: false };
    vec![
        event::peer_line("back-end", &joined),
        changed(Change::Passing, "waiting", 2, "up"),
        event::peer_line("back-end", &refused),
        changed(connect, "up", 192, "ejected for connect, 10s left"),
        changed(share, "up", 192, "ejected for answer, 12 of 30 failed, 10s left"),
        told(Change::Connects(false), "ejected for connect, 9s left"),
        told(Change::Connects(true), "ejected for connect, 3s left"),
        changed(Change::Readmitted, "ejected", 8, "up"),
        changed(Change::Doubted, "up", 61, "waiting for first probe"),
        changed(Change::Absent, "up", 61, "absent from DNS"),
        changed(Change::Reached, "absent", 1, "up, though absent from DNS"),
        changed(Change::Found, "absent", 31, "up"),
        changed(Change::Told(Hand::Drain), "up", 61, "draining by hand"),
        changed(Change::Told(Hand::Down), "draining", 30, "down by hand"),
        changed(Change::Told(Hand::Off), "down", 30, "up"),
        changed(Change::Left, "up", 7200, "left DNS"),
        told(Change::CutOff { connections: 2 }, "left DNS"),
    ]
}

fn upstreams() -> Vec<(Level, Line)> {
    let census = Census { peers: 3, ejected: 2, failing: 1, ..Census::default() };
    let panic = PanicTurn { tier: Tier::Primary, panic: Some(Panic { out: 4, of: 5 }) };
    let over = PanicTurn { tier: Tier::Backup, panic: None };
    let reasons = "172.18.0.4:5252 ejected for connect, 7s left";
    let host = |phrase| event::discovery_line(phrase, "back-end", "back-end");
    let gone = "no such name (NXDOMAIN)";
    vec![
        event::panic_line("back-end", panic),
        event::panic_line("back-end", over),
        (Level::Error, event::no_peer_line("back-end", NoPeer::Unavailable(census), reasons)),
        (Level::Info, event::peer_found_line("back-end")),
        (Level::Warn, event::retries_spent_line("back-end")),
        (Level::Error, event::limited_line(event::Stop::Requests, "api", 1000)),
        (Level::Error, event::limited_line(event::Stop::RequestsDryRun, "api", 1000)),
        (Level::Warn, event::limited_line(event::Stop::Delay, "api", 250)),
        (Level::Warn, event::limited_line(event::Stop::DelayDryRun, "api", 250)),
        (Level::Error, event::limited_line(event::Stop::Connections, "clients", 0)),
        (Level::Error, event::limited_line(event::Stop::ConnectionsDryRun, "clients", 0)),
        (Level::Error, event::limited_sum_line("api", SUM, seconds(60))),
        (
            Level::Warn,
            event::refresh_failed_line("back-end", "back-end", 3, seconds(1), &"timed out"),
        ),
        (Level::Info, host("refresh recovered").number("peers", 3_u64)),
        (Level::Warn, host("name has no address any more").field("error", gone)),
        (Level::Warn, host("name has no address yet").field("error", gone)),
    ]
}

/// What `serve/` says of the process; the same as there.
fn process() -> Vec<(Level, Line)> {
    let line = Line::new;
    let signal = |phrase| line(phrase).field("signal", "SIGTERM");
    vec![
        (
            Level::Info,
            line("started")
                .field("version", "0.1.0")
                .field("listen", "0.0.0.0:80")
                .number("threads", 2_u64),
        ),
        (
            Level::Info,
            line("reloaded").field("listen", "0.0.0.0:80").field("changed", "upstreams added: api"),
        ),
        (Level::Info, line("upgrading, another process starts").number("pid", 4711)),
        (Level::Info, line("another process serves").number("pid", 4711)),
        (
            Level::Error,
            line("reload refused, serving on as before")
                .field("error", "unknown key `x` in robin.yaml:3"),
        ),
        (Level::Info, line("log files reopened")),
        (Level::Info, signal("draining")),
        (Level::Info, signal("stopping")),
        (Level::Warn, signal("requests cut off")),
        (Level::Info, line("ended")),
    ]
}

fn logs() -> Vec<(Level, Line)> {
    let failing = Notice::Failing(std::io::Error::other("no space left on device"));
    let access = [Notice::Dropped { lines: 17 }, failing, Notice::Recovered { lost: 40 }];
    let events = [Notice::Dropped { lines: 17 }, Notice::Recovered { lost: 40 }];
    let access = access.into_iter().map(event::access_log_line);
    access.chain(events.into_iter().filter_map(event_log_line)).collect()
}

fn stack() -> Vec<UpstreamView> {
    let up = |address| PeerView {
        state: State::Up,
        words: "up".into(),
        reason: "up".into(),
        lasting: seconds(192),
        requests: 600,
        p50_ms: Some(3.75),
        p99_ms: Some(31.0),
        last_probe: Some(ProbeView::Passed { took: Duration::from_millis(4) }),
        statuses: StatusCounts { success: 600, ..StatusCounts::default() },
        ..PeerView::plain(address)
    };
    let ejected = PeerView {
        state: State::Ejected,
        words: "ejected for connect, 7s left".into(),
        reason: "ejected for connect, 7s left".into(),
        lasting: seconds(3),
        failures: 3,
        ejections: 1,
        ..up("172.18.0.5:5252")
    };
    let left = LeftView {
        address: "172.18.0.6:5252".into(),
        tier: Tier::Primary,
        reason: "left DNS".into(),
        lasting: seconds(62),
        requests: 600,
        history: None,
    };
    let statuses = StatusCounts { success: 1197, server_error: 3, ..StatusCounts::default() };
    let peers = vec![PeerView { in_flight: 2, ..up("172.18.0.4:5252") }, ejected];
    let back_end = UpstreamView {
        name: "back-end".into(),
        statuses,
        retries: 4,
        peers,
        ..UpstreamView::default()
    };
    let trouble = Some("no such name (NXDOMAIN)".into());
    let api = UpstreamView { name: "api".into(), trouble, ..UpstreamView::default() };
    vec![UpstreamView { left: vec![left], ..back_end }, api]
}

fn dashboards(format: EventFormat) -> String {
    let print = |record: &log::Record<'_>| own_line(format, at(), TimeZone::UTC, record);
    let stack = stack();
    let block = dashboard::block(&stack);
    let views = Value::from_serde(&stack);
    let block = dashboard::in_record(dashboard::BLOCK, views, None, format_args!("{block}"), print);
    let mut sums = dashboard::Sums::new(Tick::from_millis(0));
    let mut times = Distribution::default();
    times.counts[3] = 1200;
    let (since, sums) = sums.take(
        &stack,
        |at| if at == 0 { times.clone() } else { Distribution::default() },
        Tick::from_millis(60_000),
    );
    let text = dashboard::summary::line(&stack, &sums);
    let sums = Value::from_serde(&sums);
    let text = format_args!("{text}");
    block + &dashboard::in_record(dashboard::SUMMARY, sums, Some(since), text, print)
}

fn printed(format: EventFormat) -> String {
    let lines = [peers(), upstreams(), process(), logs()].concat();
    let lines = lines.iter().map(|(level, line)| {
        line.as_record("robin", *level, |record| own_line(format, at(), TimeZone::UTC, record))
    });
    let library = log::Record::builder()
        .level(Level::Warn)
        .target("a_library::part")
        .args(format_args!("what a \"library\" says"))
        .build();
    let library = own_line(format, at(), TimeZone::UTC, &library);
    lines.collect::<String>() + &library + &dashboards(format)
}

#[test]
fn every_event_is_printed_like_this() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (format, name) in FORMATS {
        let printed = printed(format);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(folder.join(name), &printed).expect("the file can be written");
        }
        let expected = fs::read_to_string(folder.join(name)).expect("the golden file");
        assert_eq!(printed, expected, "{name}");
    }
}

#[test]
fn each_line_for_machines_is_one_object_with_time_level_and_event() {
    for line in printed(EventFormat::Json).lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in ["ts", "level", "event"] {
            assert!(object[key].is_string(), "{key}: {line}");
        }
    }
}

#[test]
fn what_others_send_cannot_end_a_line_or_an_object() {
    for evil in ["a\"b\\c\n\u{1b}[2J\u{0}", "é\u{2028}\u{ffff}", "\",\"level\":\"ERROR"] {
        let line = Line::new("peer fails probes").field("upstream", evil).field("error", evil);
        let json = line.as_record(evil, Level::Warn, |record| {
            own_line(EventFormat::Json, at(), TimeZone::UTC, record)
        });
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        let object: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&object["error"], &object["level"]), (&evil.into(), &"WARN".into()));
    }
}

/// Every phrase in the sources has its row in docs/events.md, with every key of its example.
#[test]
fn every_event_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/events.md")).expect("the page");
    let row = |phrase: &str| {
        let begin = format!("| `{phrase}` ");
        page.lines().find(|row| row.starts_with(&begin)).map(str::to_owned)
    };
    let mut missing: Vec<String> = Vec::new();
    let mut phrases = Vec::new();
    phrases_of(&root.join("src"), &mut phrases);
    assert!(phrases.len() > 30, "{phrases:?}");
    missing.extend(phrases.into_iter().filter(|phrase| row(phrase).is_none()));
    for (_, line) in [peers(), upstreams(), process(), logs()].concat() {
        let Some(row) = row(line.phrase()) else {
            missing.push(line.phrase().to_owned());
            continue;
        };
        for (key, field) in line.fields() {
            let millis = match field {
                Field::Time(millis, _) => Some(*millis),
                _ => None,
            };
            for key in [Some(*key), millis].into_iter().flatten() {
                // What every event of a peer has is described once, above the table.
                let shared = page.contains(&format!("| `{key}` "));
                if !row.contains(&format!("`{key}`")) && !shared {
                    missing.push(format!("{}: {key}", line.phrase()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/events.md: {missing:#?}");
}

/// What stands in quotes behind whatever begins a line.
fn phrases_of(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("a readable entry").path();
        if path.ends_with("tests.rs") || path.ends_with("examples.rs") {
            continue;
        }
        if path.is_dir() {
            phrases_of(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for begin in ["Line::new(\"", " line(\"", "discovery_line(\""] {
            let parts = text.split(begin).skip(1);
            let quoted = parts.filter_map(|part| part.split('"').next()).map(str::to_owned);
            found.extend(
                quoted.filter(|phrase| !path.ends_with("examples.rs") && !phrase.is_empty()),
            );
        }
    }
}
