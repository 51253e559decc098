//! What is known of upstreams and peers at one moment, as it is shown: by the dashboard, by
//! `robin peers`, and as the JSON of `robin peers --json`.
//!
//! The names of the fields are a public format, pinned by `the_keys_of_the_json_are_these`: adding is free,
//! renaming is a breaking change. Times are milliseconds and say so in their names.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::HistoryView;
pub use super::sides::{CauseView, ProbesView, TrafficView, VerdictView};
use crate::discovery::Lookups;
use crate::health::Tick;
use crate::upstream::{
    self, Departure, Hand, Status, StatusCounts, Tally, Tier, Upstream, UpstreamState,
};

/// What is known of one upstream at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name; for an implicit one the address as written.
    pub name: String,
    /// What discovery has to complain about: why there are no addresses, or why those known may
    /// be old. Default: none.
    pub trouble: Option<String>,
    /// Whether so many peers are out that all are used.
    pub panic: bool,
    /// How its queue stands; none where there is none.
    pub queue: Option<QueueView>,
    /// Whether only requests name it.
    #[serde(default)]
    pub implicit: bool,
    /// Requests that were handed to it, by what their clients got.
    #[serde(default)]
    pub statuses: StatusCounts,
    /// Attempts after the first of a request.
    #[serde(default)]
    pub retries: u64,
    /// Second attempts beside a first one.
    #[serde(default)]
    pub hedges: u64,
    /// Requests that found no peer.
    #[serde(default)]
    pub unserved: u64,
    /// How the lookups of its names went.
    #[serde(default)]
    pub lookups: Vec<LookupView>,
    /// Its peers, in order of their server lines.
    pub peers: Vec<PeerView>,
    /// Peers that have left lately.
    #[serde(default)]
    pub left: Vec<LeftView>,
}

/// How the lookups of one name went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookupView {
    /// The name.
    pub host: String,
    /// Lookups that were answered.
    pub good: u64,
    /// Lookups that were not.
    pub bad: u64,
    /// How long ago the last good one ended; none before the first.
    pub age_ms: Option<u64>,
    /// Addresses that are known.
    pub addresses: usize,
    /// Why the last one was not good, or found nothing.
    pub error: Option<String>,
}

/// A peer that has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftView {
    /// Its address.
    pub address: String,
    /// Primary or backup.
    #[serde(with = "tier")]
    pub tier: Tier,
    /// Why it is gone.
    pub reason: String,
    /// How long it has been gone.
    #[serde(rename = "for_ms", with = "millis")]
    pub lasting: Duration,
    /// Attempts that it has had.
    pub requests: u64,
    /// How it fared in the last hour; only where everything is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryView>,
}

/// Those that wait for a peer with room.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    /// How many requests wait.
    pub waiting: usize,
    /// How many may.
    pub max: u32,
    /// How many were refused because it was full, or waited in vain.
    pub refused: u64,
}

/// What is known of one peer at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its address.
    pub address: String,
    /// The host of its server line, shown where the upstream has several; none for an address.
    pub host: Option<String>,
    /// Primary or backup.
    #[serde(with = "tier")]
    pub tier: Tier,
    /// Share of requests relative to the others of its tier.
    pub weight: u32,
    /// What it is doing, in a word.
    pub state: State,
    /// The same in words, without what the last probe met.
    #[serde(skip)]
    pub words: String,
    /// Why it gets traffic or none, in words that need nothing beside them.
    pub reason: String,
    /// How long it has been doing that.
    #[serde(rename = "for_ms", with = "millis")]
    pub lasting: Duration,
    /// What the operator has said of it: `drain` or `down`.
    pub hand: Option<Said>,
    /// Attempts under way.
    pub in_flight: u32,
    /// Attempts under way at most; 0 sets no limit.
    pub max_conns: u32,
    /// Attempts so far; a peer's share is its part of the sum over the upstream.
    pub requests: u64,
    /// Attempts that have failed.
    pub failures: u64,
    /// The average time until the head of an answer was here; none before the first.
    pub average_ms: Option<f64>,
    /// The time within which half of the latest heads came; none before there were twenty.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// The time within which 99 of 100 came.
    #[serde(default)]
    pub p99_ms: Option<f64>,
    /// What came of its attempts.
    #[serde(default)]
    pub statuses: StatusCounts,
    /// Connections that were made.
    #[serde(default)]
    pub opened: u64,
    /// Attempts over a connection that had served before.
    #[serde(default)]
    pub reused: u64,
    /// How often traffic took it out.
    #[serde(default)]
    pub ejections: u64,
    /// Probes that passed.
    #[serde(default)]
    pub probes_passed: u64,
    /// Probes that failed.
    #[serde(default)]
    pub probes_failed: u64,
    /// What the last probe met; none where there are no probes or none has ended.
    pub last_probe: Option<ProbeView>,
    /// How it fared in the last hour; only where everything is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryView>,
    /// What traffic alone says of it.
    #[serde(default)]
    pub traffic: TrafficView,
    /// What probes alone say of it; none where there are none.
    #[serde(default)]
    pub probes: Option<ProbesView>,
}

/// What a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Up,
    /// It serves as much as `max_conns` allows.
    Full,
    /// Traffic took it out.
    Ejected,
    /// One attempt is under way and decides.
    Probation,
    /// Probes fail.
    Failing,
    /// It gets no traffic before its first probe has passed.
    Waiting,
    /// Its name has no address any more.
    Absent,
    /// Only sessions that are bound to it reach it.
    Draining,
    /// It is out by configuration or by the operator's hand.
    Down,
}

/// What the operator has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// `robin drain`.
    Drain,
    /// `robin down`.
    Down,
}

/// What a probe met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeView {
    /// It passed.
    Passed {
        /// How long it took.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
}

impl State {
    /// All of them, the best first.
    pub const ALL: [Self; 9] = [
        Self::Up,
        Self::Full,
        Self::Probation,
        Self::Waiting,
        Self::Ejected,
        Self::Failing,
        Self::Absent,
        Self::Draining,
        Self::Down,
    ];

    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Full => "full",
            Self::Ejected => "ejected",
            Self::Probation => "probation",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Absent => "absent",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }

    /// Whether it serves.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Full)
    }

    /// `+` serves, `!` is out because something is wrong, `~` has yet to prove itself, `-` is out
    /// on purpose.
    #[must_use]
    pub fn mark(self) -> char {
        match self {
            Self::Up | Self::Full => '+',
            Self::Ejected | Self::Failing => '!',
            Self::Probation | Self::Waiting => '~',
            Self::Absent | Self::Draining | Self::Down => '-',
        }
    }
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Up => Self::Up,
            Status::Full => Self::Full,
            Status::Ejected { .. } => Self::Ejected,
            Status::Probation => Self::Probation,
            Status::Waiting => Self::Waiting,
            Status::Failing => Self::Failing,
            Status::Absent => Self::Absent,
            Status::Draining => Self::Draining,
            Status::Down => Self::Down,
        }
    }
}

impl UpstreamView {
    /// The view of an upstream as its requests and its discovery know it.
    #[must_use]
    pub fn of(upstream: &Upstream, discovery: Known, now: Tick) -> Self {
        let Tally { requests, retries, hedges, unserved, .. } = upstream.tally();
        let lookups = discovery.lookups.into_iter().map(|lookups| LookupView::of(lookups, now));
        Self {
            statuses: requests.statuses.read(),
            retries: retries.read(),
            hedges: hedges.read(),
            unserved: unserved.read(),
            lookups: lookups.collect(),
            implicit: discovery.implicit,
            ..Self::of_state(&upstream.snapshot(now), discovery.trouble, now)
        }
    }

    /// The same without what is counted; `trouble` is what discovery has to complain about.
    #[must_use]
    pub fn of_state(state: &UpstreamState, trouble: Option<String>, now: Tick) -> Self {
        let peers = state.peers.iter().map(|peer| PeerView::of(peer, now)).collect();
        let panic = state.panics.iter().any(Option::is_some);
        let queue = state.queue.map(|queue| QueueView {
            waiting: queue.waiting,
            max: queue.max,
            refused: queue.refused,
        });
        let left = state.left.iter().map(|left| LeftView::of(left, now)).collect();
        Self { name: state.name.clone(), trouble, panic, queue, peers, left, ..Self::default() }
    }

    /// Whether its peers come from several hosts, so that a reader has to be told which is whose.
    pub(super) fn has_several_hosts(&self) -> bool {
        self.peers.windows(2).any(|pair| pair[0].host != pair[1].host)
    }

    /// Peers that serve and all peers of a tier.
    pub(super) fn count(&self, tier: Tier) -> (usize, usize) {
        let of_tier = || self.peers.iter().filter(|p| p.tier == tier);
        (of_tier().filter(|p| p.state.is_up()).count(), of_tier().count())
    }
}

/// What discovery knows of an upstream.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What it has to complain about.
    pub trouble: Option<String>,
    /// How its lookups went.
    pub lookups: Vec<Lookups>,
    /// Whether only requests name the upstream.
    pub implicit: bool,
}

impl LookupView {
    fn of(lookups: Lookups, now: Tick) -> Self {
        let Lookups { host, good, bad, good_at, addresses, error } = lookups;
        let age_ms = good_at.map(|at| age(at, now));
        Self { host, good, bad, age_ms, addresses, error }
    }
}

impl LeftView {
    fn of(left: &Departure, now: Tick) -> Self {
        Self {
            address: left.address.to_string(),
            tier: left.tier,
            reason: "left DNS".into(),
            lasting: now.since(left.at),
            requests: left.requests,
            history: None,
        }
    }
}

#[cfg(test)]
impl PeerView {
    /// A primary that is up, of which nothing else is known.
    pub(super) fn plain(address: &str) -> Self {
        let member = upstream::Member::new(([127, 0, 0, 1], 1).into());
        let policy = upstream::Policy::default();
        let upstream = Upstream::with("", policy);
        let now = Tick::default();
        upstream.publish(&[member], now);
        let state = upstream.snapshot(now);
        Self { address: address.to_owned(), ..Self::of(&state.peers[0], now) }
    }
}

impl PeerView {
    fn of(peer: &upstream::PeerState, now: Tick) -> Self {
        let last_probe = peer.last_probe.as_ref().map(|(_, result)| match result {
            Ok(took) => ProbeView::Passed { took: *took },
            Err(error) => ProbeView::Failed { error: error.clone() },
        });
        Self {
            address: peer.address.to_string(),
            host: peer.member.host.as_deref().map(str::to_owned),
            tier: peer.member.tier,
            weight: peer.member.weight,
            state: peer.status.into(),
            words: peer.state(now),
            reason: peer.reason(now),
            lasting: now.since(peer.since),
            hand: match peer.hand {
                Hand::Off => None,
                Hand::Drain => Some(Said::Drain),
                Hand::Down => Some(Said::Down),
            },
            in_flight: peer.in_flight,
            max_conns: peer.member.max_conns,
            requests: peer.requests,
            failures: peer.failures,
            average_ms: peer.average.map(fraction),
            p50_ms: peer.median.map(fraction),
            p99_ms: peer.slowest.map(fraction),
            statuses: peer.statuses,
            opened: peer.opened,
            reused: peer.reused,
            ejections: peer.ejections,
            probes_passed: peer.probes_passed,
            probes_failed: peer.probes_failed,
            traffic: TrafficView::of(peer, now),
            probes: ProbesView::of(peer, now, last_probe.as_ref()),
            last_probe,
            history: None,
        }
    }

    /// The cell of its host, empty where nobody needs it.
    pub(super) fn host_cell(&self, wanted: bool) -> String {
        let host = self.host.as_deref().filter(|_| wanted).unwrap_or("");
        super::text::Escaped(host).to_string()
    }

    /// The cell of its tier, empty for a primary.
    pub(super) fn tier_cell(&self) -> String {
        tier_cell(self.tier)
    }
}

/// The cell of a tier, empty for primaries.
pub(super) fn tier_cell(tier: Tier) -> String {
    match tier {
        Tier::Primary => String::new(),
        Tier::Backup => "backup".into(),
    }
}

/// How long ago something was, in milliseconds.
pub(super) fn age(at: Tick, now: Tick) -> u64 {
    u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with what is below one.
fn fraction(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

pub(super) mod millis {
    use super::{Deserialize, Duration};

    pub(in crate::observe) fn serialize<S: serde::Serializer>(
        of: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(of.as_millis()).unwrap_or(u64::MAX))
    }

    pub(in crate::observe) fn deserialize<'a, D: serde::Deserializer<'a>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod tier {
    use super::{Deserialize, Tier};

    pub(super) fn serialize<S: serde::Serializer>(of: &Tier, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match of {
            Tier::Primary => "primary",
            Tier::Backup => "backup",
        })
    }

    pub(super) fn deserialize<'a, D: serde::Deserializer<'a>>(from: D) -> Result<Tier, D::Error> {
        let is_backup = String::deserialize(from)? == "backup";
        Ok(if is_backup { Tier::Backup } else { Tier::Primary })
    }
}
