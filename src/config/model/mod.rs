//! A configuration that has been checked: every default filled in, no value that cannot be served.
//!
//! Only `resolve` makes one. Past this room nobody can tell which door was used, and nobody has
//! to ask whether a value is legal. What is happening (peers, health, counters) is state and
//! lives elsewhere.

pub mod passing;
pub mod program;
pub mod site;

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use ipnet::IpNet;

use super::pattern::Pattern;
use super::template::{Asks, Template};
pub use super::tls::Tls;
use passing::Passing;
use program::{Program, UserVariable};
use site::{Answers, Clients, Files};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What relative paths of files begin at: nginx's prefix, the folder of the file.
    pub prefix: Prefix,
    /// Worker threads, each with its own accept loop. Default: none written, one a core.
    pub threads: Option<NonZeroUsize>,
    /// The user to become after binding. Default: none written; as root, `robin` or `nginx` where such a user exists.
    pub user: Option<String>,
    /// Where the process writes its id. Default: none written, nowhere; called as `nginx`, `/run/nginx.pid`.
    pub pid: Option<PathBuf>,
    /// How names are looked up.
    pub resolver: Resolver,
    /// Networks whose `X-Forwarded-*` headers are believed. Default: none.
    pub trust: Vec<IpNet>,
    /// Where the access log goes. Default: stdout.
    pub access_log: AccessLog,
    /// Where the access logs of routes go.
    pub logs: Vec<LogPath>,
    /// Where event lines go. Default: none written, stderr in robin's own format.
    pub error_log: Option<ErrorLog>,
    /// The health dashboard in the logs.
    pub dashboard: Dashboard,
    /// How long requests in flight may take after SIGTERM, SIGINT or SIGQUIT. Default 8 s.
    pub shutdown_timeout: Duration,
    /// How long an idle client connection is kept; zero closes after each answer. Default 75 s (nginx `keepalive_timeout`).
    pub keepalive_timeout: Duration,
    /// How long a client may take to send its request's head. Default 60 s (nginx `client_header_timeout`).
    pub client_header_timeout: Duration,
    /// Variables that the configuration makes itself; a position is a slot.
    pub variables: Vec<UserVariable>,
    /// What templates ask for that is kept only for them.
    pub asks: Asks,
    /// Every group of peers that a route can point at, the implicit ones (`/: front-end:9000`) too.
    pub upstreams: Vec<Upstream>,
    /// The virtual servers in the order of the file; for each address the first is the default.
    pub virtual_servers: Vec<VirtualServer>,
}

/// What relative paths begin at. Two configurations that say the same are the same wherever their
/// files lie, so any two of these are equal.
#[derive(Clone, Debug, Default)]
pub struct Prefix(pub PathBuf);

impl PartialEq for Prefix {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resolver {
    /// DNS servers. Default: empty, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The time limit of one lookup. Default 2 s.
    pub timeout: Duration,
    /// Whether IPv4 addresses are asked for. Default true.
    pub ipv4: bool,
    /// Whether IPv6 addresses are asked for. Default: where there is no IPv4 address.
    pub ipv6: Option<bool>,
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

/// Where event lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLog {
    /// The file; none is stderr.
    pub path: Option<PathBuf>,
    /// The least severe lines that are written. Default `error`.
    pub level: String,
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

/// A `server {}` chosen by host name.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Where it listens, at least one.
    pub listen: Vec<Listen>,
    /// Its names. Empty: only the default of its address reaches it.
    pub names: Vec<ServerName>,
    /// What runs before a route is looked for.
    pub program: Program,
    /// Its routes in the order of the file, those inside of others and of `if` too.
    pub routes: Vec<Route>,
    /// What holds where no route does.
    pub settings: RouteSettings,
    /// How its requests are read.
    pub requests: Requests,
    /// Its certificates. Default: none.
    pub tls: Option<Tls>,
}

/// One address of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: ListenAddress,
    /// Whether the virtual server is the default there. Without one it is the first in the file.
    pub default: bool,
    /// `ssl`. Default false.
    pub tls: bool,
    /// `http2`. Default false.
    pub http2: bool,
}

/// What is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name of a virtual server, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// This name.
    Exact(String),
    /// `*.example.org`: what follows the star, with its dot.
    Suffix(String),
    /// `www.example.*`: what comes before the star, with its dot.
    Prefix(String),
    /// `~pattern`.
    Pattern(Pattern),
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Pattern(pattern) => write!(f, "~{}", pattern.text()),
        }
    }
}

/// How the requests of a virtual server are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// `merge_slashes`. Default true.
    pub merge_slashes: bool,
    /// `ignore_invalid_headers`: whether these are dropped. Default true.
    pub ignore_invalid_headers: bool,
    /// `underscores_in_headers`: whether names may hold `_`. Default false in nginx's door, true in YAML.
    pub underscores_in_headers: bool,
    /// `large_client_header_buffers`: how many lines of the longest kind.
    pub header_buffers: u32,
    /// The longest line of a head, in bytes. Default 8 KiB.
    pub header_buffer_bytes: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            ignore_invalid_headers: true,
            underscores_in_headers: true,
            header_buffers: 4,
            header_buffer_bytes: 8 << 10,
        }
    }
}

/// A match and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which paths.
    pub path: PathMatch,
    /// The route that it stands in, by its index.
    pub parent: Option<usize>,
    /// Whether only robin itself may choose it (nginx `internal`). Default false.
    pub internal: bool,
    /// What runs once it is chosen.
    pub program: Program,
    /// What it does.
    pub action: Action,
    /// Everything else.
    pub settings: RouteSettings,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hands the request to an upstream.
    Proxy(Box<Proxy>),
    /// Serves files.
    Files,
    /// `stub_status`: a page of counters.
    StubStatus,
    /// `empty_gif`.
    EmptyGif,
}

impl Action {
    /// Whether it may make TLS connections to peers.
    #[must_use]
    pub fn may_connect_with_tls(&self) -> bool {
        let Self::Proxy(proxy) = self else { return false };
        proxy.tls || matches!(proxy.to, ProxyTarget::Template(_))
    }
}

/// Where requests are handed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// The upstream.
    pub to: ProxyTarget,
    /// Whether with TLS.
    pub tls: bool,
    /// Replaces the matched part of the path, as the URI part of nginx's `proxy_pass`. Default: none, the path stays.
    pub uri: Option<String>,
    /// The host and port as written in the target, nginx's `$proxy_host`.
    pub host: String,
}

/// Which upstream a request goes to.
#[derive(Clone, Debug, PartialEq)]
pub enum ProxyTarget {
    /// The one with this index in [`Config::upstreams`].
    Upstream(usize),
    /// What a text with variables says, a whole URL.
    Template(Template),
}

/// Which paths a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `= /path`: this path and no other.
    Exact(String),
    /// `/path`: every path that begins so, as nginx's prefix location (`/api` matches `/apix`). The longest wins.
    Prefix(String),
    /// `^~ /path`: the same, and no pattern is asked.
    PrefixOnly(String),
    /// `~ pattern` and `~* pattern`: the first of the file that matches.
    Pattern(Pattern),
    /// `@name`: no path; error pages and `try_files` lead here.
    Named(String),
    /// The block of an `if`: no path; its condition leads here.
    If,
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
    /// Files.
    pub files: Files,
    /// Answers.
    pub answers: Answers,
    /// Clients.
    pub clients: Clients,
    /// Between client and upstream.
    pub passing: Passing,
    /// How names are looked up that only requests know. Default: as all are.
    pub resolver: Option<Resolver>,
    /// Its own access logs; none where the process's is meant.
    pub access_logs: Option<Vec<RequestLog>>,
}

/// An access log of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLog {
    /// Where lines go, by its index in [`Config::logs`].
    pub to: usize,
    /// The format; none is robin's own.
    pub format: Option<std::sync::Arc<LogFormat>>,
    /// Lines are written where this is neither empty nor `0`.
    pub condition: Option<Template>,
}

/// Where the lines of an access log go.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// The same, packed with gzip at this level.
    Packed(PathBuf, u32),
    /// A file whose path a request decides.
    Template(Template),
    /// `syslog:server=…`.
    Syslog(Syslog),
}

/// Where syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// A name or an address, and a port.
    Host(String, u16),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// `server=`.
    pub server: SyslogServer,
    /// `facility=`, 0 to 23. Default 23, `local7`.
    pub facility: u8,
    /// `severity=`, 0 to 7. Default 6, `info`.
    pub severity: u8,
    /// `tag=`. Default `nginx`.
    pub tag: String,
    /// `nohostname`. Default false.
    pub nohostname: bool,
}

/// `log_format`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFormat {
    /// Its name.
    pub name: String,
    /// How what variables say is written.
    pub escape: LogEscape,
    /// The line.
    pub line: Template,
}

/// How what variables say is written in a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEscape {
    /// `"`, `\\` and bytes below 32 or from 127 on as `\\xXX`.
    #[default]
    Default,
    /// As in a JSON string.
    Json,
    /// As it is.
    None,
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
    /// `Server: robin/VERSION` (nginx `server_tokens on`).
    Version,
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
    /// Whether a connection that cannot be made, or breaks, is a reason. Default true (nginx `proxy_next_upstream error`).
    pub error: bool,
    /// Whether running out of time is a reason. Default true (nginx `timeout`).
    pub timed_out: bool,
    /// Whether an answer that is no HTTP is a reason. Default false (nginx `invalid_header`).
    pub invalid_header: bool,
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
