//! Groups of peers: their server lines, how one is chosen, how they are probed.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Resolver;
use super::health_check::HealthCheck;
use crate::config::template::Template;

/// A named group that requests go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name; for an implicit one the address as written.
    pub name: String,
    /// Whether it was made for an address that a route points at, so that no `upstreams:` entry exists.
    pub implicit: bool,
    /// Its server lines, at least one.
    pub servers: Vec<UpstreamServer>,
    /// How a peer is chosen.
    pub method: Method,
    /// How its names are looked up. Default: as all are.
    pub resolver: Option<Resolver>,
    /// How often names are looked up. Default 1 s.
    pub refresh: Duration,
    /// Probes, all of which have to pass. Default: none.
    pub health_checks: Vec<HealthCheck>,
    /// How long an idle connection to a peer is kept for the next request. Default 1.5 s, below gunicorn's 2 s; zero keeps none.
    pub keepalive_idle: Duration,
    /// How many idle connections are kept. Default 128; 0 keeps none.
    pub keepalive: usize,
    /// How many requests a connection to a peer takes before it is closed. Default: no limit (nginx: 1000).
    pub keepalive_requests: Option<NonZeroU64>,
    /// How long a connection to a peer is open before it is closed with the end of its request. Default: no limit
    /// (nginx: 1 h).
    pub keepalive_time: Option<Duration>,
    /// What keeps a session at one peer. Default: nothing.
    pub sticky: Option<Sticky>,
    /// Where requests wait while every peer is at `max_conns`. Default: nowhere, they are refused.
    pub queue: Option<Queue>,
    /// How failures of traffic are judged. Default [`Passive::MaxFails`].
    pub passive: Passive,
    /// The share of a tier's peers, in percent, that may be out at once for failures of traffic or of probes:
    /// once more are, all are used (panic mode). Default 75 in YAML: with three or four replicas the last one
    /// that works is worth more than those that do not. None in nginx's door, which never does.
    pub panic: Option<u8>,
    /// How long what is in flight on a peer that has left DNS may take to finish; it is cut off then.
    /// Default zero, no limit, as in nginx.
    pub drain_timeout: Duration,
    /// The version of the PROXY protocol in which each connection says for which client it is. Default:
    /// none, it says nothing.
    pub send_proxy: Option<ProxyVersion>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// 1: a line of text.
    V1,
    /// 2: bytes.
    V2,
}

/// How a peer is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Smooth weighted round robin, one sequence for the process.
    #[default]
    RoundRobin,
    /// The fewest attempts in flight for its weight.
    LeastConn,
    /// By the client's network.
    IpHash,
    /// By a key.
    Hash {
        /// What makes the key of a request.
        key: Template,
        /// Whether a change of the set moves only the keys it must. Default false.
        consistent: bool,
    },
    /// By lot.
    Random,
    /// The less busy of two by lot.
    RandomTwo,
    /// The one of two by lot that `least_time` would take.
    RandomTwoLeastTime(Measure),
    /// The least time for what is in flight, by the average of each peer's answers (nginx's `least_time`).
    LeastTime {
        /// Which time of an answer counts.
        measure: Measure,
        /// Whether the age of what is in flight counts, too. Default false (nginx's `inflight`).
        in_flight: bool,
    },
    /// The least expected wait, by a peak-sensitive average of each peer's answers.
    Ewma,
}

/// Which time of an answer is its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Until its head is here.
    #[default]
    Header,
    /// Until its last byte is.
    LastByte,
}

impl Measure {
    /// nginx's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::LastByte => "last_byte",
        }
    }
}

impl Method {
    /// Whether it heeds backups; nginx refuses `backup` with the others.
    #[must_use]
    pub fn has_backups(&self) -> bool {
        match self {
            Self::RoundRobin | Self::LeastConn | Self::LeastTime { .. } | Self::Ewma => true,
            Self::IpHash | Self::Hash { .. } => false,
            Self::Random | Self::RandomTwo | Self::RandomTwoLeastTime(_) => false,
        }
    }

    /// Whether `slow_start` means something to it; nginx refuses it with the others.
    #[must_use]
    pub fn has_slow_start(&self) -> bool {
        !matches!(self, Self::IpHash | Self::Hash { .. })
    }
}

/// One configured member of an upstream; a host name may resolve to several peers.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamServer {
    /// What it is reached at.
    pub host: Host,
    /// The port; for a service name, what its SRV records say wins.
    pub port: u16,
    /// Share of requests of each of its peers. Default 1.
    pub weight: NonZeroU32,
    /// Primary or backup.
    pub tier: Tier,
    /// Out by configuration. Default false.
    pub down: bool,
    /// Attempts in flight at most on each of its peers. Default 0, no limit.
    pub max_conns: u32,
    /// `max_fails` and `fail_timeout`.
    pub passive: PassiveRule,
    /// How long each of its peers, new or back, takes to grow to its weight. Default zero: it has it at once.
    pub slow_start: Duration,
    /// Whether only sessions that are bound to its peers reach them. Default false.
    pub drain: bool,
    /// What `sticky` knows its peers by. Default: the MD5 of each peer's address, as in nginx.
    pub route: Option<Arc<str>>,
}

/// What a server line is reached at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal address: never looked up.
    Address(IpAddr),
    /// A socket of the file system, by its path.
    Unix(Arc<Path>),
    /// A name with A or AAAA records.
    Name(String),
    /// A service name (`_http._tcp.example`): SRV records give hosts, ports and weights.
    Service(String),
}

/// When failures of traffic eject a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveRule {
    /// Failures within `fail_timeout` that eject; default 1, 0 never ejects.
    pub max_fails: u16,
    /// The span in which failures are counted, and the length of an ejection; default 10 s.
    pub fail_timeout: Duration,
}

impl Default for PassiveRule {
    fn default() -> Self {
        Self { max_fails: 1, fail_timeout: Duration::from_secs(10) }
    }
}

/// How failures of traffic eject a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passive {
    /// `max_fails` within `fail_timeout`, as nginx.
    #[default]
    MaxFails,
    /// So many failures in a row.
    Consecutive {
        /// How many. Default 5.
        failures: NonZeroU16,
        /// For how long.
        ejection: Ejection,
    },
    /// Too few successes within a window.
    SuccessRate {
        /// The share of successes, in percent, below which the peer is ejected. Default 80.
        percent: u8,
        /// Outcomes in a window without which nothing is decided. Default 20.
        requests: NonZeroU32,
        /// The length of a window. Default 10 s.
        window: Duration,
        /// For how long.
        ejection: Ejection,
    },
}

/// For how long a peer is ejected: longer with each ejection, shorter with each time of peace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The first time; the second is twice as long, and so on. Default 5 s.
    pub first: Duration,
    /// The longest. Default 5 min.
    pub longest: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { first: Duration::from_secs(5), longest: Duration::from_secs(300) }
    }
}

/// Where requests wait while no peer can take them (nginx Plus `queue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait at most; one more is refused with 503.
    pub max: NonZeroU32,
    /// How long one waits before it is refused with 502. Default 60 s.
    pub timeout: Duration,
}

/// What keeps a session at one peer (nginx's `sticky`).
#[derive(Clone, Debug, PartialEq)]
pub enum Sticky {
    /// A cookie of ours names the peer.
    Cookie(StickyCookie),
    /// The first of these that is not empty names the peer.
    Route(Vec<Template>),
    /// The upstream's answers name a session, which stays where it began.
    Learn(Learn),
}

/// The cookie of `sticky cookie`.
#[derive(Clone, Debug, PartialEq)]
pub struct StickyCookie {
    /// Its name.
    pub name: String,
    /// How long clients keep it. Default: to the end of their session; [`Duration::MAX`] is `max`.
    pub expires: Option<Duration>,
    /// `domain=`.
    pub domain: Option<Template>,
    /// `path=`.
    pub path: Option<String>,
    /// `httponly`. Default false.
    pub http_only: bool,
    /// `secure`. Default false.
    pub secure: bool,
    /// `samesite=`.
    pub same_site: Option<Template>,
}

/// How `sticky learn` finds sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Learn {
    /// The first of these that is not empty is the session that an answer begins.
    pub create: Vec<Template>,
    /// The first of these that is not empty is the session that a request belongs to.
    pub lookup: Vec<Template>,
    /// Sessions that are kept at most; the one that was used least recently goes first.
    pub sessions: usize,
    /// How long a session that is not used is kept. Default 10 min.
    pub timeout: Duration,
    /// Whether a session begins with an answer's head rather than its end (nginx's `header`). Default false.
    pub header: bool,
}

/// Backups serve only when no primary is available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Serves whenever it is available.
    #[default]
    Primary,
    /// Serves when no primary is available.
    Backup,
}
