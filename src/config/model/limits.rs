//! How much clients may ask for: requests a second, requests at once, bytes a second.

use log::Level;

use crate::config::template::Template;

/// A `limit_req_zone`: requests a second of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestZone {
    /// Its name.
    pub name: String,
    /// What is counted by; a request that it makes nothing of is not counted.
    pub key: Template,
    /// Thousandths of a request a second. Default 1000.
    pub rate: u64,
    /// How much its states may take, in bytes.
    pub bytes: u64,
}

/// A `limit_conn_zone`: requests at once of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionZone {
    /// Its name.
    pub name: String,
    /// What is counted by; a request that it makes nothing of is not counted.
    pub key: Template,
    /// How much its states may take, in bytes.
    pub bytes: u64,
}

/// The zones of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// For requests a second.
    pub requests: Vec<RequestZone>,
    /// For requests at once.
    pub connections: Vec<ConnectionZone>,
}

/// A `limit_req`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// The index of its zone in [`Zones::requests`].
    pub zone: usize,
    /// How many requests may be above the rate, in thousandths. Default 0.
    pub burst: u64,
    /// How many of them go on at once, in thousandths. Default 0: each waits.
    pub delay: u64,
    /// Whether a refused client is told when to come back (`Retry-After`). Default: in YAML's `limits`
    /// only.
    pub retry_after: bool,
}

/// A `limit_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// The index of its zone in [`Zones::connections`].
    pub zone: usize,
    /// Requests at once at most.
    pub most: u32,
    /// Whether a refused client is told when to come back. Default: in YAML's `limits` only.
    pub retry_after: bool,
}

/// What happens to requests beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// The status they get. Default 503 (nginx `limit_req_status`, `limit_conn_status`); in YAML's
    /// `limits` 429.
    pub status: u16,
    /// How severe the log thinks it is. Default `error`; what is only delayed is one less.
    pub level: Level,
    /// Whether they are only counted. Default false.
    pub dry_run: bool,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { status: 503, level: Level::Error, dry_run: false }
    }
}

/// The limits of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests a second. Default: none.
    pub requests: Vec<RequestLimit>,
    /// What happens to those beyond.
    pub beyond_requests: Beyond,
    /// Requests at once. Default: none.
    pub connections: Vec<ConnectionLimit>,
    /// What happens to those beyond.
    pub beyond_connections: Beyond,
    /// `limit_rate`: bytes a second of an answer; what it makes is 0 for no limit. Default: none.
    pub rate: Option<Template>,
    /// `limit_rate_after`: bytes that go out before it holds. Default: none.
    pub rate_after: Option<Template>,
    /// `proxy_limit_rate`: bytes a second that are read from a peer. Default: none.
    pub upstream_rate: Option<Template>,
    /// Bytes a second below which a client that has more to read is given up; 0 for never. Default 500; in nginx's
    /// door 0.
    pub send_min_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: Vec::new(),
            beyond_requests: Beyond::default(),
            connections: Vec::new(),
            beyond_connections: Beyond::default(),
            rate: None,
            rate_after: None,
            upstream_rate: None,
            send_min_rate: 500,
        }
    }
}
