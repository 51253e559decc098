//! What was typed of upstreams.

use super::{List, Place, Resolver, Word};

/// An entry of `upstreams`.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Its name.
    pub name: Word,
    /// `servers`.
    pub servers: Option<List<UpstreamServer>>,
    /// `method`; for `{ hash: … }` the key `hash`.
    pub method: Option<Word>,
    /// `method.hash`: a template.
    pub hash_key: Option<Word>,
    /// `method.consistent`.
    pub hash_consistent: Option<Word>,
    /// `resolver`.
    pub resolver: Option<Resolver>,
    /// `refresh`.
    pub refresh: Option<Word>,
    /// `health_check`.
    pub health_check: Option<HealthCheck>,
    /// `keepalive.idle`.
    pub keepalive_idle: Option<Word>,
    /// `keepalive.max`.
    pub keepalive: Option<Word>,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

/// A server line.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamServer {
    /// `address`, or the one word of the short form.
    pub address: Word,
    /// `weight`.
    pub weight: Option<Word>,
    /// `backup`.
    pub backup: Option<Word>,
    /// `down`.
    pub down: Option<Word>,
    /// `max_fails`.
    pub max_fails: Option<Word>,
    /// `fail_timeout`.
    pub fail_timeout: Option<Word>,
    /// `max_conns`.
    pub max_conns: Option<Word>,
}

impl UpstreamServer {
    /// A server line that says nothing but its address.
    pub(crate) fn at(address: Word) -> Self {
        Self {
            address,
            weight: None,
            backup: None,
            down: None,
            max_fails: None,
            fail_timeout: None,
            max_conns: None,
        }
    }
}

/// `health_check`.
#[derive(Clone, Debug)]
pub(crate) struct HealthCheck {
    /// `http`: the path.
    pub http: Option<Word>,
    /// `tcp`: a switch.
    pub tcp: Option<Word>,
    /// `every`.
    pub every: Option<Word>,
    /// `timeout`.
    pub timeout: Option<Word>,
    /// `rise`.
    pub rise: Option<Word>,
    /// `fall`.
    pub fall: Option<Word>,
    /// `status`.
    pub status: Option<List<Word>>,
    /// `body`.
    pub body: Option<Word>,
    /// `host`.
    pub host: Option<Word>,
    /// `port`.
    pub port: Option<Word>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}
