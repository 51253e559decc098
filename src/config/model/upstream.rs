//! Groups of peers: their server lines, how one is chosen, how they are probed.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Resolver;
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
    /// Probes. Default: none.
    pub health_check: Option<HealthCheck>,
    /// How long an idle connection to a peer is kept for the next request. Default 1.5 s, below gunicorn's 2 s; zero keeps none.
    pub keepalive_idle: Duration,
    /// How many idle connections are kept. Default 128; 0 keeps none.
    pub keepalive: usize,
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
}

impl Method {
    /// Whether it heeds backups; nginx refuses `backup` with the others.
    #[must_use]
    pub fn has_backups(&self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConn)
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

/// A request we send on a timer to see whether a peer works.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is sent.
    pub probe: Probe,
    /// The time between two probes of a passing peer. Default 5 s.
    pub every: Duration,
    /// The time limit of one probe. Default 1 s.
    pub timeout: Duration,
    /// Passes in a row that make a failing peer pass. Default 1.
    pub rise: NonZeroU32,
    /// Failures in a row that make a passing peer fail. Default 2.
    pub fall: NonZeroU32,
    /// The port that is probed. Default: the peer's own.
    pub port: Option<u16>,
}

/// What a health check sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connect.
    Tcp,
    /// A GET.
    Http {
        /// The path with its query.
        path: String,
        /// The `Host` header. Default: the host of the server line and the port, as nginx's `$proxy_host`.
        host: Option<String>,
        /// Statuses that pass. Default 200 to 399.
        status: Vec<std::ops::RangeInclusive<u16>>,
        /// A text that the first 64 KiB of the body must hold. Default: none.
        body: Option<String>,
    },
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

/// Backups serve only when no primary is available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Serves whenever it is available.
    #[default]
    Primary,
    /// Serves when no primary is available.
    Backup,
}
