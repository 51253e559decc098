//! One request from its head to its log line: what it has met so far, and what comes next.

mod answer;
mod attempt;

use std::sync::Arc;

use http::{StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::Instant;

use super::downstream::{Connection, Downstream};
use super::{Runtime, Served, told};
use crate::config::model::{Route, RouteSettings, Upstream as Spec, VirtualServer};
use crate::exchange::failure::Failure;
use crate::exchange::head::{self, Asked, Head};
use crate::exchange::{path, variables};
use crate::observe::access::Attempt;
use crate::route::RouteId;
use crate::upstream::{Lease, Tried};

/// The value of our own `Server` header.
pub(super) const SERVER: &str = "robin";

/// A new request id: 32 hexadecimal digits.
#[must_use]
pub fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// What one request has met so far.
#[derive(Debug)]
pub struct Exchange {
    runtime: Arc<Runtime>,
    began: Instant,
    id: String,
    asked: Option<Asked>,
    server: usize,
    route: Option<RouteId>,
    /// What `hash` makes of the request; none before the first attempt and for other methods.
    hash_key: Option<Vec<u8>>,
    tried: Tried,
    /// The peer of the present attempt.
    lease: Option<Lease>,
    /// A peer picked for the next attempt already.
    next: Option<Lease>,
    attempt_began: Instant,
    attempts: Vec<Attempt>,
    /// Whether the present attempt's connection had served a request before.
    pub(in crate::proxy) reused: bool,
    /// Whether the next attempt needs a connection that was never used.
    distrust_pool: bool,
    failure: Option<Failure>,
}

impl Exchange {
    pub(in crate::proxy) fn new(runtime: Arc<Runtime>) -> Self {
        let now = Instant::now();
        Self {
            runtime,
            began: now,
            id: String::new(),
            asked: None,
            server: 0,
            route: None,
            hash_key: None,
            tried: Tried::default(),
            lease: None,
            next: None,
            attempt_began: now,
            attempts: Vec::new(),
            reused: false,
            distrust_pool: false,
            failure: None,
        }
    }

    fn virtual_server(&self) -> Option<&VirtualServer> {
        self.runtime.config.virtual_servers.get(self.server)
    }

    fn route(&self) -> Option<&Route> {
        let id = self.route?;
        self.runtime.config.virtual_servers.get(id.server)?.routes.get(id.route)
    }

    fn settings(&self) -> Option<&RouteSettings> {
        self.route().map(|route| &route.settings)
    }

    fn served(&self) -> Option<(&Served, &Spec)> {
        self.runtime.served(self.route()?.upstream)
    }

    /// Remembers why the request fails and makes Pingora end it.
    fn refuse<T>(&mut self, failure: Failure) -> Result<T> {
        let error = told(failure.status());
        self.failure = Some(failure);
        Err(error)
    }

    /// Checks the head.
    pub(in crate::proxy) fn read_head(&mut self, session: &mut Session) -> Result<()> {
        self.id = request_id();
        if self.runtime.config.keepalive_timeout.is_zero() {
            session.set_keepalive(None);
        }
        let bodiless = session.as_mut().is_body_empty();
        let Some(http1) = session.as_http1() else { return Ok(()) };
        let raw = http1.get_headers_raw_bytes();
        let literal = connection(session).is_none_or(|c| c.head_read(&raw, bodiless));
        let checked = match literal {
            true => head_of(session.req_header()).check(&raw),
            false => Err(head::Malformed::RawByte),
        };
        match checked {
            Ok(asked) => self.asked = Some(asked),
            Err(malformed) => {
                session.set_keepalive(None);
                return self.refuse(malformed.into());
            }
        }
        Ok(())
    }

    /// Finds virtual server and route, and refuses a body that says it is too large.
    pub(in crate::proxy) fn find_route(&mut self, session: &mut Session) -> Result<()> {
        let listener = connection(session).map_or(0, |c| c.listener);
        let router = &self.runtime.router;
        if let Some(asked) = &self.asked {
            self.server = router.server(listener, &asked.host).unwrap_or_default();
            self.route = router.route(self.server, &asked.path);
        }
        if self.route.is_none() {
            return self.refuse(Failure::NoRoute);
        }
        let length = session.req_header().headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|l| l.to_str().ok()?.trim().parse().ok());
        self.check_body_size(length.unwrap_or(0))
    }

    /// Refuses a body that has become too large. What follows an upgrade is no body.
    pub(in crate::proxy) fn check_body_so_far(&mut self, session: &Session) -> Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        self.check_body_size(session.body_bytes_read() as u64)
    }

    /// Refuses a body that is larger than the route accepts.
    fn check_body_size(&mut self, body_bytes: u64) -> Result<()> {
        match self.settings().map(|s| s.client_max_body_bytes) {
            Some(limit) if limit != 0 && body_bytes > limit => {
                self.refuse(Failure::BodyTooLarge { limit })
            }
            _ => Ok(()),
        }
    }

    /// What the variables of templates stand for.
    fn facts<'a>(&'a self, session: &'a Session) -> Option<variables::Facts<'a>> {
        let connection = connection(session)?;
        let names = self.virtual_server().map_or(&[][..], |s| &s.names);
        Some(variables::Facts {
            head: head_of(session.req_header()),
            asked: self.asked.as_ref()?,
            client: connection.client,
            local: connection.local,
            server_name: names.first().map_or("", String::as_str),
            scheme: "http",
            request_id: &self.id,
            proxy_host: &self.route()?.proxy_host,
            trusted: variables::is_trusted(&self.runtime.config.trust, connection.client),
        })
    }

    /// Writes target and headers for the upstream.
    pub(in crate::proxy) fn write_head(
        &self,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()> {
        let Some((route, facts)) = self.route().zip(self.facts(session)) else { return Ok(()) };
        let variables::Facts { head, asked, .. } = facts;
        if let Some(uri) = &route.uri {
            let matched = match &route.path {
                crate::config::model::PathMatch::Exact(path)
                | crate::config::model::PathMatch::Prefix(path) => path.len(),
            };
            let (_, query) = path::split(head.target);
            request.set_raw_path(&path::rewrite(&asked.path, matched, uri, query))?;
        } else if let Some((_, target)) = head::absolute(head.target) {
            request.set_raw_path(&target)?;
        }
        for header in &route.settings.headers {
            match facts.value(&header.value) {
                Some(value) => request.insert_header(header.written.clone(), value)?,
                None => drop(request.remove_header(&header.name)),
            }
        }
        Ok(())
    }
}

/// Whether the client has got the head of an answer.
fn is_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|r| !is_interim(r.status))
}

/// Whether another head follows.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn connection(session: &Session) -> Option<&Connection> {
    let stream = session.as_http1()?.stream();
    stream.as_any().downcast_ref::<Downstream>().map(Downstream::connection)
}

fn head_of(request: &RequestHeader) -> Head<'_> {
    Head {
        method: &request.method,
        target: request.raw_path(),
        version: request.version,
        headers: &request.headers,
    }
}
