//! A configuration that has been checked: every default filled in, no value that cannot be served.
//!
//! Only `resolve` makes one. Past this room nobody can tell which door was used, and nobody has
//! to ask whether a value is legal. What is happening (peers, health, counters) is state and
//! lives elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use ipnet::IpNet;

use super::template::Template;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads, each with its own accept loop. Default: none written, one a core.
    pub threads: Option<NonZeroUsize>,
    /// The user to become after binding. Default: none written; as root, `robin` where that user exists.
    pub user: Option<String>,
    /// How names are looked up.
    pub resolver: Resolver,
    /// Networks whose `X-Forwarded-*` headers are believed. Default: none.
    pub trust: Vec<IpNet>,
    /// Where the access log goes. Default: stdout.
    pub access_log: AccessLog,
    /// The health dashboard in the logs.
    pub dashboard: Dashboard,
    /// How long requests in flight may take after SIGTERM, SIGINT or SIGQUIT. Default 8 s.
    pub shutdown_timeout: Duration,
    /// How long an idle client connection is kept; zero closes after each answer. Default 75 s (nginx `keepalive_timeout`).
    pub keepalive_timeout: Duration,
    /// How long a client may take to send its request's head. Default 60 s (nginx `client_header_timeout`).
    pub client_header_timeout: Duration,
    /// Every group of peers that a route can point at, the implicit ones (`/: front-end:9000`) too.
    pub upstreams: Vec<Upstream>,
    /// The virtual servers in the order of the file; for each address the first is the default.
    pub virtual_servers: Vec<VirtualServer>,
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolver {
    /// DNS servers. Default: empty, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The time limit of one lookup. Default 2 s.
    pub timeout: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// The health dashboard in the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// Whether the block is printed at start and on change. Default true.
    pub enabled: bool,
    /// The interval of the summary line; zero prints none. Default 1 min.
    pub summary: Duration,
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address: never looked up.
    Address(IpAddr),
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

/// A `server {}` chosen by host name.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// The addresses it listens on, at least one.
    pub listen: Vec<SocketAddr>,
    /// Its names, lower case; exact or with a leading `*.`. Empty: only the default of its address reaches it.
    pub names: Vec<String>,
    /// Its routes, at least one, in the order of the file.
    pub routes: Vec<Route>,
}

/// A match and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which paths.
    pub path: PathMatch,
    /// The upstream, as an index into [`Config::upstreams`].
    pub upstream: usize,
    /// Replaces the matched part of the path, as the URI part of nginx's `proxy_pass`. Default: none, the path stays.
    pub uri: Option<String>,
    /// The host and port as written in the target, nginx's `$proxy_host`.
    pub proxy_host: String,
    /// Everything else.
    pub settings: RouteSettings,
}

/// Which paths a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `= /path`: this path and no other.
    Exact(String),
    /// `/path`: every path that begins so, as nginx's prefix location (`/api` matches `/apix`). The longest wins.
    Prefix(String),
}

/// What a route may set for itself and a virtual server for all of its routes.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Headers set on the request to the upstream; an empty value removes the header. `Host` among them. The defaults are listed in `conf/reference.yaml`.
    pub headers: Vec<SetHeader>,
    /// Timeouts towards the upstream.
    pub timeouts: Timeouts,
    /// When the next peer is tried.
    pub retry: Retry,
    /// The largest request body, in bytes; 0 sets no limit. Default 1 MiB (nginx `client_max_body_size`).
    pub client_max_body_bytes: u64,
    /// Whether `Upgrade` is passed on. Default false.
    pub websocket: bool,
    /// What the `Server` header of an answer says. Default [`ServerHeader::Robin`].
    pub server_header: ServerHeader,
    /// Whether an error page says the honest reason. Default false.
    pub error_details: bool,
}

/// A header of the request to the upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct SetHeader {
    /// Its name, by which a later one replaces it.
    pub name: HeaderName,
    /// The name as written: sent like this, for some upstreams heed capitals.
    pub written: Bytes,
    /// What it says; empty removes the header.
    pub value: Template,
}

/// What the `Server` header of an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// `Server: robin` in place of the upstream's.
    #[default]
    Robin,
    /// The upstream's own is passed on; our own answers have none.
    Off,
}

/// Timeouts towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To make a connection. Default 60 s (nginx `proxy_connect_timeout`).
    pub connect: Duration,
    /// Between two writes. Default 60 s (nginx `proxy_send_timeout`).
    pub send: Duration,
    /// Between two reads. Default 60 s (nginx `proxy_read_timeout`).
    pub read: Duration,
}

/// When the next peer is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at most, the first one counted. Default 0: every peer once (nginx `proxy_next_upstream_tries`); never above 16.
    pub tries: u8,
    /// The time after which no new attempt begins; zero sets no limit. Default zero (nginx `proxy_next_upstream_timeout`).
    pub timeout: Duration,
    /// Whether methods that are not idempotent may be retried once bytes went out. Default false.
    pub non_idempotent: bool,
    /// Statuses of an answer that count as a failure and are retried (502, 503, …). Default: none.
    pub statuses: Vec<u16>,
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
