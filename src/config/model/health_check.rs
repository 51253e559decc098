//! Requests that are sent on a timer to see whether a peer works, and what is wanted of their answers.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::passing::UpstreamTls;
use crate::config::pattern::Pattern;

/// One health check of an upstream. Where there are several, a peer has to pass all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is sent.
    pub probe: Probe,
    /// The time between two probes of a passing peer. Default 5 s.
    pub every: Duration,
    /// How much later a probe may be, by lot. Default: a tenth of `every`; in nginx's door zero.
    pub jitter: Duration,
    /// The time limit of one probe. Default 1 s; in nginx's door its `proxy_read_timeout`.
    pub timeout: Duration,
    /// How much of it connecting may take, the handshake of TLS included. Default: all of it; in nginx's door its
    /// `proxy_connect_timeout`.
    pub connect_timeout: Duration,
    /// Passes in a row that make a failing peer pass. Default 1.
    pub rise: NonZeroU32,
    /// Failures in a row that make a passing peer fail. Default 2; in nginx's door 1.
    pub fall: NonZeroU32,
    /// The port that is probed. Default: the peer's own.
    pub port: Option<u16>,
    /// How TLS is spoken. Default: it is not.
    pub tls: Option<Box<UpstreamTls>>,
    /// How long the connection of one probe serves the next ones. Default zero: each has its own.
    pub keepalive: Duration,
    /// Whether a new peer waits for its first pass. Default true; in nginx's door false.
    pub mandatory: bool,
    /// Whether a peer that has passed before a reload need not pass again after it. Default false.
    pub persistent: bool,
}

/// What a health check sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connect.
    Tcp,
    /// A request of HTTP/1.1.
    Http(HttpProbe),
    /// A call of gRPC's health service.
    Grpc(GrpcProbe),
}

/// A request of HTTP/1.1.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Default GET.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The `Host` header. Default: the host of the server line and the port, as nginx's `$proxy_host`.
    pub host: Option<String>,
    /// Further headers. Default: none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What passes.
    pub expected: Expected,
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service that is asked about. Default: empty, the whole server.
    pub service: String,
    /// The authority. Default: as the `Host` header of HTTP.
    pub host: Option<String>,
    /// A status of gRPC that passes, too: a server without health service answers 12. Default: none.
    pub status: Option<u32>,
}

/// What the answer to a probe has to be: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its status.
    pub status: Statuses,
    /// Its headers. Default: any.
    pub headers: Vec<ExpectedHeader>,
    /// The first 64 KiB of its body. Default: any.
    pub body: Vec<BodyTest>,
}

/// Statuses that pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// Whether it is all but those that do.
    pub except: bool,
    /// Which. Default 200 to 399.
    pub ranges: Vec<RangeInclusive<u16>>,
}

impl Statuses {
    /// Any status passes.
    pub const ANY: Self = Self { except: true, ranges: Vec::new() };

    /// Whether a status passes.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.except != self.ranges.iter().any(|range| range.contains(&status))
    }
}

/// What one header has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedHeader {
    /// Which.
    pub name: HeaderName,
    /// What of it.
    pub test: HeaderTest,
}

/// As in nginx, all but `Absent` want the header to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// It is there.
    Present,
    /// It is not.
    Absent,
    /// It is this.
    Is(String),
    /// It is not this.
    IsNot(String),
    /// It matches.
    Matches(Pattern),
    /// It does not.
    Lacks(Pattern),
}

/// What a body has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyTest {
    /// It holds a text.
    Holds(String),
    /// It matches.
    Matches(Pattern),
    /// It does not.
    Lacks(Pattern),
}
