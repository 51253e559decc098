//! What was typed of health checks.

use super::{List, Place, Word};

/// An entry of `health_check`.
#[derive(Clone, Debug)]
pub(crate) struct HealthCheck {
    /// `http`: the path.
    pub http: Option<Word>,
    /// `tcp`: a switch.
    pub tcp: Option<Word>,
    /// `grpc`: the service, or a switch.
    pub grpc: Option<Word>,
    /// `grpc_status`.
    pub grpc_status: Option<Word>,
    /// `every`.
    pub every: Option<Word>,
    /// `jitter`.
    pub jitter: Option<Word>,
    /// `timeout`.
    pub timeout: Option<Word>,
    /// `connect_timeout`.
    pub connect_timeout: Option<Word>,
    /// `rise`.
    pub rise: Option<Word>,
    /// `fall`.
    pub fall: Option<Word>,
    /// `mandatory`.
    pub mandatory: Option<Word>,
    /// `persistent`.
    pub persistent: Option<Word>,
    /// `keepalive`.
    pub keepalive: Option<Word>,
    /// `method`.
    pub method: Option<Word>,
    /// `headers`: names with values.
    pub headers: Option<List<(Word, Word)>>,
    /// `status`.
    pub status: Option<List<Word>>,
    /// `expect_headers`: names with what their values are to be.
    pub expect_headers: Option<List<(Word, Word)>>,
    /// `body`.
    pub body: Option<Word>,
    /// `body_matches`.
    pub body_matches: Option<Word>,
    /// `body_lacks`.
    pub body_lacks: Option<Word>,
    /// `host`.
    pub host: Option<Word>,
    /// `port`.
    pub port: Option<Word>,
    /// `tls`.
    pub tls: Option<ProbeTls>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

impl HealthCheck {
    /// One that says nothing.
    pub(crate) fn at(place: Place) -> Self {
        Self {
            http: None,
            tcp: None,
            grpc: None,
            grpc_status: None,
            every: None,
            jitter: None,
            timeout: None,
            connect_timeout: None,
            rise: None,
            fall: None,
            mandatory: None,
            persistent: None,
            keepalive: None,
            method: None,
            headers: None,
            status: None,
            expect_headers: None,
            body: None,
            body_matches: None,
            body_lacks: None,
            host: None,
            port: None,
            tls: None,
            place,
            broken: false,
        }
    }
}

/// `health_check.tls`.
#[derive(Clone, Debug)]
pub(crate) struct ProbeTls {
    /// The one word of the short form: a switch.
    pub enabled: Option<Word>,
    /// `sni`.
    pub sni: Option<Word>,
    /// `verify`.
    pub verify: Option<Word>,
    /// `ca`.
    pub ca: Option<Word>,
}
