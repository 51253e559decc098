//! All that is known of the process at one moment: what the status page, `status.json`, the metrics and
//! `robin top` show.
//!
//! The names of the fields are a public format: adding is free, renaming is a breaking change. Times
//! are milliseconds and say so in their names; counts begin with the process.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::counters::{self, ACCESS_LINES_LOST, EVENT_LINES_LOST, OWN, RELOADS, RELOADS_REFUSED};
use super::history;
use super::latest::{self, EventView};
use super::view::UpstreamView;
use crate::upstream::StatusCounts;

/// When the process began to serve.
static BEGAN: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// All that is known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The version of robin.
    pub version: String,
    /// The moment, in milliseconds since 1970.
    pub now_ms: u64,
    /// How long the process has served.
    pub uptime_ms: u64,
    /// Connections of clients that were accepted.
    pub connections_accepted: u64,
    /// Those that are open.
    pub connections_open: u64,
    /// Requests that have begun.
    pub requests: u64,
    /// Those that are being answered.
    pub requests_in_flight: u64,
    /// Requests that were handed to no upstream, by what their clients got.
    pub own: StatusCounts,
    /// Lines of access logs that were lost.
    pub access_lines_lost: u64,
    /// Event lines that were lost.
    pub event_lines_lost: u64,
    /// Configurations that were read again and are served.
    pub reloads: u64,
    /// Configurations that were read again and refused.
    pub reloads_refused: u64,
    /// The upstreams, in order of the configuration, then those that only requests name.
    pub upstreams: Vec<UpstreamView>,
    /// What has happened lately, the newest last.
    pub events: Vec<EventView>,
}

/// The process begins to serve.
pub fn begin() {
    LazyLock::force(&BEGAN);
}

impl StatusView {
    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a view has text keys and finite numbers")
    }

    /// What is known now, with these upstreams.
    #[must_use]
    pub fn of(mut upstreams: Vec<UpstreamView>) -> Self {
        history::fill(&mut upstreams);
        let now = SystemTime::now();
        let since = |then| {
            let since: Duration = now.duration_since(then).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let (connections_accepted, connections_open) = counters::connections();
        let (requests, requests_in_flight) = counters::requests();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: since(SystemTime::UNIX_EPOCH),
            uptime_ms: since(*BEGAN),
            connections_accepted,
            connections_open,
            requests,
            requests_in_flight,
            own: OWN.statuses.read(),
            access_lines_lost: ACCESS_LINES_LOST.read(),
            event_lines_lost: EVENT_LINES_LOST.read(),
            reloads: RELOADS.read(),
            reloads_refused: RELOADS_REFUSED.read(),
            upstreams,
            events: latest::events(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::history::HistoryView;
    use crate::observe::view::{
        LeftView, LookupView, PeerView, ProbeView, ProbesView, QueueView, State, VerdictView,
    };
    use crate::upstream::Tier;

    fn status() -> StatusView {
        let left = LeftView {
            address: "172.18.0.7:5252".into(),
            tier: Tier::Primary,
            reason: "left DNS".into(),
            lasting: Duration::from_secs(61),
            requests: 12,
            history: None,
        };
        let history = HistoryView {
            from_ms: 1_789_999_980_000,
            requests: vec![30, 16],
            failures: vec![1, 0],
            server_errors: vec![0, 2],
            states: vec![Some(State::Ejected), Some(State::Up)],
            out_ms: vec![9_750, 0],
        };
        let passed = Some(ProbeView::Passed { took: Duration::from_millis(4) });
        let probes = ProbesView {
            state: VerdictView::Passing,
            lasting: Duration::from_secs(192),
            in_a_row: 96,
            last: passed.clone(),
            age_ms: Some(700),
        };
        let peer = PeerView {
            history: Some(history),
            probes: Some(probes),
            last_probe: passed,
            ..PeerView::plain("172.18.0.4:5252")
        };
        let lookup = LookupView {
            host: "back-end".into(),
            good: 60,
            bad: 1,
            age_ms: Some(420),
            addresses: 1,
            error: None,
        };
        let event = json!({
            "at_ms": 1_790_000_000_000_u64, "level": "WARN", "event": "peer left",
            "text": "peer left upstream=back-end peer=172.18.0.7:5252",
            "fields": { "upstream": "back-end", "peer": "172.18.0.7:5252" },
        });
        StatusView {
            version: "1.2.3".into(),
            now_ms: 1_790_000_060_000,
            uptime_ms: 3_600_000,
            requests: 50,
            own: StatusCounts { success: 3, client_error: 1, ..StatusCounts::default() },
            upstreams: vec![UpstreamView {
                name: "back-end".into(),
                queue: Some(QueueView { waiting: 0, max: 100, refused: 0 }),
                statuses: StatusCounts { success: 46, ..StatusCounts::default() },
                lookups: vec![lookup],
                peers: vec![peer],
                left: vec![left],
                ..UpstreamView::default()
            }],
            events: vec![serde_json::from_value(event).expect("it is an event")],
            ..StatusView::default()
        }
    }

    #[test]
    fn the_keys_of_the_json_are_these() {
        let json = serde_json::to_string_pretty(&status()).expect("it can be written");
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/status.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden, json.clone() + "\n").expect("the file can be written");
        }
        let expected = std::fs::read_to_string(golden).expect("the golden file");
        assert_eq!(json + "\n", expected);
        let again: StatusView = serde_json::from_str(&expected).expect("it can be read");
        let sent: StatusView = serde_json::from_str(&status().to_json()).expect("it can be read");
        assert_eq!(again, sent);
    }

    /// All keys of a value and what is inside of it, but for those of events' fields.
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    found.push(key.clone());
                    if key != "fields" {
                        keys(value, found);
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_key_is_explained() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.md");
        let docs = std::fs::read_to_string(docs).expect("it is part of the repository");
        let mut all = Vec::new();
        keys(&serde_json::to_value(status()).expect("it can be written"), &mut all);
        let missing: Vec<&String> =
            all.iter().filter(|key| !docs.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "{missing:?} are not in docs/status.md");
    }
}
