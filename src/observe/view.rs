//! What is known of upstreams and peers at one moment, as it is shown: by the dashboard, by
//! `robin peers`, and as the JSON of `robin peers --json`.
//!
//! The names of the fields are a public format, pinned by `the_keys_of_the_json_are_these`: adding is free,
//! renaming is a breaking change. Times are milliseconds and say so in their names.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::Tick;
use crate::upstream::{self, Hand, Status, Tier, UpstreamState};

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
    /// Its peers, in order of their server lines.
    pub peers: Vec<PeerView>,
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
    /// What the last probe met; none where there are no probes or none has ended.
    pub last_probe: Option<ProbeView>,
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
    /// The view of an upstream; `trouble` is what discovery has to complain about.
    #[must_use]
    pub fn of(state: &UpstreamState, trouble: Option<String>, now: Tick) -> Self {
        let peers = state.peers.iter().map(|peer| PeerView::of(peer, now)).collect();
        let panic = state.panics.iter().any(Option::is_some);
        let queue = state.queue.map(|queue| QueueView {
            waiting: queue.waiting,
            max: queue.max,
            refused: queue.refused,
        });
        Self { name: state.name.clone(), trouble, panic, queue, peers }
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
            average_ms: peer.average.map(|average| average.as_micros() as f64 / 1000.0),
            last_probe,
        }
    }

    /// The cell of its host, empty where nobody needs it.
    pub(super) fn host_cell(&self, wanted: bool) -> String {
        let host = self.host.as_deref().filter(|_| wanted).unwrap_or("");
        super::text::Escaped(host).to_string()
    }

    /// The cell of its tier, empty for a primary.
    pub(super) fn tier_cell(&self) -> String {
        match self.tier {
            Tier::Primary => String::new(),
            Tier::Backup => "backup".into(),
        }
    }
}

mod millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(of: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(of.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'a, D: serde::Deserializer<'a>>(
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
