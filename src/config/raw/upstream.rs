//! What was typed of upstreams.

use super::{HealthCheck, List, Place, Resolver, Word};

/// An entry of `upstreams`.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Its name.
    pub name: Word,
    /// `servers`.
    pub servers: Option<List<UpstreamServer>>,
    /// `method`.
    pub method: Option<Method>,
    /// `sticky`.
    pub sticky: Option<Sticky>,
    /// `queue`.
    pub queue: Option<Queue>,
    /// `slow_start`, for the lines that say nothing of it.
    pub slow_start: Option<Word>,
    /// `passive`.
    pub passive: Option<Passive>,
    /// `panic`.
    pub panic: Option<Word>,
    /// `send_proxy`.
    pub send_proxy: Option<Word>,
    /// `drain_timeout`.
    pub drain_timeout: Option<Word>,
    /// `resolver`.
    pub resolver: Option<Resolver>,
    /// `refresh`.
    pub refresh: Option<Word>,
    /// `health_check`.
    pub health_checks: Vec<HealthCheck>,
    /// `keepalive.idle`.
    pub keepalive_idle: Option<Word>,
    /// `keepalive.max`.
    pub keepalive: Option<Word>,
    /// `keepalive.requests`.
    pub keepalive_requests: Option<Word>,
    /// `keepalive.time`.
    pub keepalive_time: Option<Word>,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

/// `method`.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// Its name, in the form without a map with all that belongs to it.
    pub name: Word,
    /// In the form `{ NAME: … }` what stands there: a template for `hash`, a time for `least_time`.
    pub value: Option<Word>,
    /// `consistent`.
    pub consistent: Option<Word>,
    /// `inflight`.
    pub inflight: Option<Word>,
}

impl Method {
    /// A method that says nothing but its name.
    pub(crate) fn named(name: Word) -> Self {
        Self { name, value: None, consistent: None, inflight: None }
    }
}

/// `sticky`.
#[derive(Clone, Debug)]
pub(crate) struct Sticky {
    /// `cookie`: its name.
    pub cookie: Option<Word>,
    /// `expires`.
    pub expires: Option<Word>,
    /// `domain`: a template.
    pub domain: Option<Word>,
    /// `path`.
    pub path: Option<Word>,
    /// `httponly`.
    pub http_only: Option<Word>,
    /// `secure`.
    pub secure: Option<Word>,
    /// `samesite`: a template.
    pub same_site: Option<Word>,
    /// `route`: templates.
    pub route: Option<List<Word>>,
    /// `learn`.
    pub learn: Option<Learn>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

impl Sticky {
    /// One that says nothing.
    pub(crate) fn at(place: Place) -> Self {
        Self {
            cookie: None,
            expires: None,
            domain: None,
            path: None,
            http_only: None,
            secure: None,
            same_site: None,
            route: None,
            learn: None,
            place,
            broken: false,
        }
    }
}

/// `sticky.learn`.
#[derive(Clone, Debug)]
pub(crate) struct Learn {
    /// `create`: templates.
    pub create: Option<List<Word>>,
    /// `lookup`: templates.
    pub lookup: Option<List<Word>>,
    /// `sessions`.
    pub sessions: Option<Word>,
    /// `timeout`.
    pub timeout: Option<Word>,
    /// `header`.
    pub header: Option<Word>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

/// `queue`.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// `max`, or the one word of the short form.
    pub max: Option<Word>,
    /// `timeout`.
    pub timeout: Option<Word>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

/// `passive`.
#[derive(Clone, Debug)]
pub(crate) struct Passive {
    /// `consecutive`: a number, or `on` for the usual one.
    pub consecutive: Option<Word>,
    /// `success_rate`: a percentage, or `on` for the usual one.
    pub success_rate: Option<Word>,
    /// `requests`.
    pub requests: Option<Word>,
    /// `window`.
    pub window: Option<Word>,
    /// `eject`.
    pub eject: Option<Word>,
    /// `eject_max`.
    pub eject_max: Option<Word>,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

impl Passive {
    /// One that says nothing.
    pub(crate) fn at(place: Place) -> Self {
        Self {
            consecutive: None,
            success_rate: None,
            requests: None,
            window: None,
            eject: None,
            eject_max: None,
            place,
            broken: false,
        }
    }
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
    /// `slow_start`.
    pub slow_start: Option<Word>,
    /// `drain`.
    pub drain: Option<Word>,
    /// `route`.
    pub route: Option<Word>,
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
            slow_start: None,
            drain: None,
            route: None,
        }
    }
}
