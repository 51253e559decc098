//! A configuration that has been checked: every default filled in, no value that cannot be served.
//!
//! Only `resolve` makes one. Past this room nobody can tell which door was used, and nobody has
//! to ask whether a value is legal. What is happening (peers, health, counters) is state and
//! lives elsewhere.

pub mod admission;
pub mod health_check;
mod ids;
pub mod limits;
mod log;
pub mod passing;
pub mod program;
pub mod site;
mod upstream;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use ipnet::IpNet;

use super::pattern::Pattern;
use super::template::{Asks, Template};
pub use super::tls::{Tls, VerifyClient};
pub use health_check::{HealthCheck, Probe};
pub use ids::{Otlp, RequestId, Trace};
pub use log::{LogEscape, LogFormat, LogPath, LogStyle, Preset, RequestLog, Syslog, SyslogServer};
use passing::Passing;
use program::{Program, UserVariable};
use site::{Answers, Clients, Files};
pub use upstream::{
    Ejection, Host, Learn, Measure, Method, Passive, PassiveRule, ProxyVersion, Queue, Sticky,
    StickyCookie, Tier, Upstream, UpstreamServer,
};

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
    /// The socket by which the operator asks for peers and takes them out.
    pub control: Control,
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
    /// What event lines look like.
    pub event_format: EventFormat,
    /// Where traces are exported to. Default: nowhere.
    pub otlp: Option<Otlp>,
    /// The health dashboard in the logs.
    pub dashboard: Dashboard,
    /// Where the status listener is; the last virtual server is its own. Default: none.
    pub status: Option<ListenAddress>,
    /// How long requests in flight may take after SIGTERM, SIGINT or SIGQUIT. Default 8 s.
    pub shutdown_timeout: Duration,
    /// How long an idle client connection is kept; zero closes after each answer. Default 75 s (nginx `keepalive_timeout`).
    pub keepalive_timeout: Duration,
    /// How long a client may take to send its request's head. Default 60 s (nginx `client_header_timeout`).
    pub client_header_timeout: Duration,
    /// Which plain requests take the short way. Default [`Express::On`].
    pub express: Express,
    /// What requests and connections are counted by.
    pub zones: limits::Zones,
    /// Variables that the configuration makes itself; a position is a slot.
    pub variables: Vec<UserVariable>,
    /// What templates ask for that is kept only for them.
    pub asks: Asks,
    /// Every group of peers that a route can point at, the implicit ones (`/: front-end:9000`) too.
    pub upstreams: Vec<Upstream>,
    /// The virtual servers in the order of the file; for each address the first is the default.
    pub virtual_servers: Vec<VirtualServer>,
}

impl Config {
    /// Whether requests may name an upstream that is not written here.
    #[must_use]
    pub fn lets_requests_name(&self) -> bool {
        let mut actions = self.virtual_servers.iter().flat_map(|s| &s.routes).map(|r| &r.action);
        actions.any(|action| match action {
            Action::Proxy(proxy) => matches!(proxy.to, ProxyTarget::Template(_)),
            _ => false,
        })
    }
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

/// The operator's socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// None written: at [`Self::USUAL`], where one can be made.
    #[default]
    Usual,
    /// There is none.
    Off,
    /// At this path.
    At(PathBuf),
}

impl Control {
    /// Where it is unless something else is written.
    pub const USUAL: &str = "/run/robin/control.sock";

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Usual => Some(Path::new(Self::USUAL)),
            Self::Off => None,
            Self::At(path) => Some(path),
        }
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

/// Which requests of plain HTTP/1.1 take the short way: they are relayed without Pingora's session. Nobody
/// can tell from an answer which way its request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Express {
    /// All that it can take. The default.
    #[default]
    On,
    /// None.
    Off,
    /// Every other one on a connection, to test either way in turn.
    Alternate,
}

/// What event lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventFormat {
    /// A phrase and `key=value`, for people. The default.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// The health dashboard in the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// Whether the block is printed at start and on change. Default true.
    pub enabled: bool,
    /// The interval of the summary line; zero prints none. Default 1 min.
    pub summary: Duration,
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
    /// Whether its requests need a certificate of the client's, whoever's handshake it was. Default off.
    pub verify_client: VerifyClient,
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
    /// Whose PROXY protocol headers are read, in front of each connection; empty for anybody's. Default: none, there is
    /// no such header.
    pub proxy_protocol: Option<Vec<IpNet>>,
    /// How many connections there may be at once. Default: any number.
    pub max_connections: Option<u32>,
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
    /// `http2_max_concurrent_streams`: as many requests at a time on one connection of HTTP/2. Default
    /// 128.
    pub concurrent_streams: u32,
    /// `max_headers`: lines of a head at most. Default 1000; Pingora takes no more than 256 over HTTP/1.
    pub max_headers: u32,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            ignore_invalid_headers: true,
            underscores_in_headers: true,
            header_buffers: 4,
            header_buffer_bytes: 8 << 10,
            concurrent_streams: 128,
            max_headers: 1000,
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
    /// `robin_status`: the status page, its JSON and the metrics. Such requests are not counted.
    Status,
    /// `empty_gif`.
    EmptyGif,
}

impl Action {
    /// Whether it hands requests on as gRPC.
    #[must_use]
    pub fn speaks_grpc(&self) -> bool {
        matches!(self, Self::Proxy(proxy) if proxy.grpc)
    }

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
    /// Whether gRPC is spoken there: `grpc://`, `grpcs://`. Default false.
    pub grpc: bool,
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
    /// Whether the upstream gets what a client says in `Forwarded` and `X-Forwarded-*` of itself, whoever it is. Default
    /// false, where `trust` decides; true with `"*": off` among the headers, and in nginx's door.
    pub passes_claims: bool,
    /// Timeouts towards the upstream.
    pub timeouts: Timeouts,
    /// When the next peer is tried.
    pub retry: Retry,
    /// The largest request body, in bytes; 0 sets no limit. Default 1 MiB (nginx `client_max_body_size`).
    pub client_max_body_bytes: u64,
    /// Whether `Upgrade` is passed on. Default false.
    pub websocket: bool,
    /// What the `Server` header of an answer says. Default: `robin`.
    pub server_header: ServerHeader,
    /// Whether an error page says the honest reason. Default false.
    pub error_details: bool,
    /// Where the id of a request comes from, and who is told.
    pub request_id: RequestId,
    /// What is done about the trace that a request belongs to. Default: passed on.
    pub trace: Trace,
    /// Whether its traces are exported. Default: where there is anything to export to.
    pub record: bool,
    /// Files.
    pub files: Files,
    /// Answers.
    pub answers: Answers,
    /// Clients.
    pub clients: Clients,
    /// How much clients may ask for.
    pub limits: limits::Limits,
    /// Between client and upstream.
    pub passing: Passing,
    /// How names are looked up that only requests know. Default: as all are.
    pub resolver: Option<Resolver>,
    /// Its own access logs; none where the process's is meant.
    pub access_logs: Option<Vec<RequestLog>>,
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

/// The nginx whose documentation and tests this is held to.
pub const NGINX_VERSION: &str = "1.31.3";

/// What the `Server` header of an answer says, and the foot of an error page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerHeader {
    /// Whose name.
    pub name: Identity,
    /// Whether the version stands behind it (nginx `server_tokens on`).
    pub version: bool,
}

/// Whose name an answer bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Ours, in place of the upstream's.
    #[default]
    Robin,
    /// nginx's, for tools that look for it.
    Nginx,
    /// The upstream's own is passed on; our own answers have none.
    Upstream,
}

impl ServerHeader {
    /// nginx's name and version.
    pub const NGINX_NAME: &str = "nginx/1.31.3";
    /// nginx's own default.
    pub const NGINX: Self = Self { name: Identity::Nginx, version: true };

    /// The value; none where it is the upstream's.
    #[must_use]
    pub fn text(self) -> Option<&'static str> {
        match (self.name, self.version) {
            (Identity::Robin, false) => Some("robin"),
            (Identity::Robin, true) => Some(concat!("robin/", env!("CARGO_PKG_VERSION"))),
            (Identity::Nginx, false) => Some("nginx"),
            (Identity::Nginx, true) => Some(Self::NGINX_NAME),
            (Identity::Upstream, _) => None,
        }
    }
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
    /// How long one attempt may take until the head of its answer is here; the next peer is tried then.
    /// Default zero: the timeouts of the route alone.
    pub try_timeout: Duration,
    /// How many attempts may be made beyond one a request. Default 20 % with a floor of 10 a second in YAML; none,
    /// no limit, in nginx's door.
    pub budget: Option<RetryBudget>,
    /// The percentile of the upstream's times to an answer's head after which a GET is sent to a second peer as well.
    /// Default: never.
    pub hedge: Option<u8>,
}

/// How many attempts may be made beyond one a request, so that retries cannot bring a struggling upstream down.
/// Failed connects do not count: they cost a peer nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// In percent of the requests of the last ten seconds. Default 20.
    pub percent: u16,
    /// A second, whatever the percentage comes to. Default 10.
    pub floor: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, floor: 10 }
    }
}
