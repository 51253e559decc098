//! One request from its head to its log line: what it has met so far, and what comes next.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, Session};
use tokio::time::Instant;

use super::classify::{self, Attempted};
use super::dial::{self, Pooled};
use super::downstream::{Connection, Downstream};
use super::{Runtime, Served, told};
use crate::config::model::{Route, RouteSettings, ServerHeader, Upstream as Spec, VirtualServer};
use crate::exchange::failure::{self, Failure};
use crate::exchange::head::{self, Asked, Head};
use crate::exchange::{page, path, variables};
use crate::health::{Outcome, Tick};
use crate::observe::access::{Attempt, Record, RequestLine};
use crate::observe::event;
use crate::route::RouteId;
use crate::upstream::{Key, Lease, Method, Tried};

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
    pub(super) reused: bool,
    /// Whether the next attempt needs a connection that was never used.
    distrust_pool: bool,
    failure: Option<Failure>,
}

impl Exchange {
    pub(super) fn new(runtime: Arc<Runtime>) -> Self {
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
    pub(super) fn read_head(&mut self, session: &mut Session) -> Result<()> {
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
    pub(super) fn find_route(&mut self, session: &mut Session) -> Result<()> {
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
    pub(super) fn check_body_so_far(&mut self, session: &Session) -> Result<()> {
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

    /// Picks a peer and says how to connect to it.
    pub(super) fn begin_attempt(&mut self, session: &Session) -> Result<Box<HttpPeer>> {
        self.lease = None;
        self.reused = false;
        self.attempt_began = Instant::now();
        let now = Tick::now();
        let next = self.next.take();
        self.hash_key = self.hash_key.take().or_else(|| self.make_hash_key(session));
        let Some((route, (served, spec))) = self.route().zip(self.served()) else {
            return self.refuse(Failure::Internal("no upstream".into()));
        };
        let picked =
            next.map_or_else(|| served.upstream.pick(self.key(session), &self.tried, now), Ok);
        let lease = match picked {
            Ok(lease) => lease,
            // The failure of the last peer tells more than that none is left.
            Err(_) if self.failure.is_some() => return Err(told(502)),
            Err(why) => {
                event::no_peer(&served.outage, served.upstream.name(), why, now);
                let failure = Failure::NoPeer {
                    upstream: served.upstream.name().to_owned(),
                    why,
                    discovery: (served.reason)(),
                };
                return self.refuse(failure);
            }
        };
        event::peer_found(&served.outage, served.upstream.name(), now);
        let repeatable = session.req_header().method.is_idempotent();
        let pooled = match (self.distrust_pool, repeatable) {
            (true, _) => Pooled::None,
            (false, true) => Pooled::Any,
            (false, false) => Pooled::Fresh,
        };
        let peer = dial::http_peer(&served.upstream, spec, &lease, &route.settings, pooled);
        self.lease = Some(lease);
        Ok(peer)
    }

    /// What the request is known by to the upstream's method.
    fn key(&self, session: &Session) -> Key<'_> {
        let text = self.hash_key.as_deref().unwrap_or_default();
        let client = connection(session).map(|c| c.client.ip());
        Key { client: client.unwrap_or(Key::default().client), text }
    }

    fn make_hash_key(&self, session: &Session) -> Option<Vec<u8>> {
        let (_, spec) = self.served()?;
        let Method::Hash { key, .. } = &spec.method else { return None };
        Some(self.facts(session)?.text(key))
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
    pub(super) fn write_head(&self, session: &Session, request: &mut RequestHeader) -> Result<()> {
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

    /// Takes note of the head of an answer, or refuses it for the next peer's.
    pub(super) fn take_answer(
        &mut self,
        session: &Session,
        response: &ResponseHeader,
    ) -> Result<()> {
        let status = response.status.as_u16();
        if is_interim(response.status) {
            return Ok(());
        }
        let Some(((settings, (served, _)), lease)) =
            self.settings().zip(self.served()).zip(self.lease.as_ref())
        else {
            return Ok(());
        };
        let asked_to_upgrade = settings.websocket && session.is_upgrade_req();
        if status == 101 && !asked_to_upgrade {
            let failure = Failure::Broken {
                peer: lease.address().to_string(),
                error: "switches protocols unasked".into(),
                timeout: false,
                reused: false,
            };
            return self.refuse(failure);
        }
        let now = Tick::now();
        if settings.retry.statuses.contains(&status) {
            let failure = Failure::Status { peer: lease.address().to_string(), status };
            // The present attempt is not among the finished ones yet.
            let attempts = self.attempts.len() + 1;
            let attempted = failure::Attempted { attempts, ..self.attempted(session) };
            if failure::may_retry(&failure, &attempted, &settings.retry) {
                let mut tried = self.tried.clone();
                tried.add(lease);
                // Without another peer this answer is the best there is.
                if let Ok(next) = served.upstream.pick(self.key(session), &tried, now) {
                    self.next = Some(next);
                    return self.refuse(failure);
                }
            }
            self.report(Some(Outcome::Failure));
        } else {
            self.report(Some(Outcome::Success));
        }
        self.failure = None;
        self.note_attempt(Some(status), None);
        if has_no_body(session, response) {
            self.release_peer();
        }
        Ok(())
    }

    /// The peer has answered: it has room for another request before the client has read the
    /// answer's end, and so may send one.
    pub(super) fn release_peer(&mut self) {
        self.lease = None;
    }

    /// Adjusts the head of the answer for the client.
    pub(super) fn finish_answer_head(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        if session.req_header().headers.contains_key(header::EXPECT)
            && session.is_body_done()
            && let ServerSession::H1(http1) = session.as_mut()
        {
            // With an interim answer before the body, Pingora gave up on the connection.
            http1.respect_keepalive();
        }
        if self.runtime.config.keepalive_timeout.is_zero() || session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        for name in head::hop_by_hop(&response.headers) {
            response.remove_header(&name);
        }
        if self.settings().map(|s| s.server_header) != Some(ServerHeader::Off) {
            response.insert_header(header::SERVER, SERVER)?;
        }
        if session.req_header().version < Version::HTTP_11 && !response.status.is_informational() {
            // HTTP/1.0 knows no chunks: without a length the end of the body is the connection's.
            response.remove_header(&header::TRANSFER_ENCODING);
            if !response.headers.contains_key(header::CONTENT_LENGTH) {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    /// Takes note of an attempt that failed and tells Pingora whether to make another.
    pub(super) fn end_attempt(
        &mut self,
        session: &mut Session,
        mut error: Box<Error>,
        classify: fn(&Error, Attempted) -> Failure,
    ) -> Box<Error> {
        let address = self.lease.as_ref().map(|lease| lease.address());
        let failure = match self.failure.take() {
            // A phase of ours has refused the request or the answer.
            Some(told) if matches!(error.etype(), pingora::ErrorType::HTTPStatus(_)) => told,
            _ => {
                let peer = address.map(|a| a.to_string()).unwrap_or_default();
                classify(&error, Attempted { peer, reused: self.reused })
            }
        };
        self.report(failure.outcome());
        if let Some((served, _)) = self.served()
            && matches!(failure, Failure::Connect { .. } | Failure::Broken { .. })
        {
            served.upstream.ask_refresh();
        }
        match &failure {
            Failure::Status { status, .. } => self.note_attempt(Some(*status), None),
            // Its head is noted already; what follows broke.
            broken if is_answered(session) => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.time = self.attempt_began.elapsed();
                    attempt.error = Some(short(broken));
                }
            }
            failed => self.note_attempt(None, Some(short(failed))),
        }
        // A pooled connection that had ended tells nothing of its peer, which may be tried again.
        self.distrust_pool = matches!(failure, Failure::Broken { reused: true, .. });
        if !self.distrust_pool
            && let Some(lease) = &self.lease
        {
            self.tried.add(lease);
        }
        let retry = self.settings().is_some_and(|settings| {
            failure::may_retry(&failure, &self.attempted(session), &settings.retry)
        });
        self.lease = None;
        self.failure = Some(failure);
        error.set_retry(retry);
        error
    }

    fn attempted<'a>(&self, session: &'a Session) -> failure::Attempted<'a> {
        failure::Attempted {
            method: &session.req_header().method,
            replayable: !session.as_ref().retry_buffer_truncated(),
            answered: is_answered(session),
            attempts: self.attempts.len(),
            elapsed: self.began.elapsed(),
        }
    }

    /// Tells the upstream what the present attempt says about its peer.
    fn report(&self, outcome: Option<Outcome>) {
        if let Some(((served, _), (lease, outcome))) =
            self.served().zip(self.lease.as_ref().zip(outcome))
            && let Some(change) = served.upstream.report(lease, outcome, Tick::now())
        {
            event::peer(served.upstream.name(), &change);
        }
    }

    fn note_attempt(&mut self, status: Option<u16>, error: Option<Cow<'static, str>>) {
        if let Some(lease) = &self.lease {
            let time = self.attempt_began.elapsed();
            self.attempts.push(Attempt { address: lease.address(), status, time, error });
        }
    }

    /// Answers with the page for what went wrong, if the client still waits for one.
    pub(super) async fn answer_failure(
        &mut self,
        session: &mut Session,
        error: &Error,
    ) -> FailToProxy {
        let failure = self.failure.get_or_insert_with(|| classify::early(error));
        let status = failure.status();
        if is_answered(session) || status == 499 {
            session.set_keepalive(None);
            return FailToProxy { error_code: status, can_reuse_downstream: false };
        }
        // Only Pingora's early errors leave the connection usable; the answer has to say so.
        let reusable = self.route.is_none() && status == 404 && session.is_body_done();
        if !reusable {
            session.set_keepalive(None);
        }
        if !session.is_body_done()
            && let Some(connection) = connection(session)
        {
            connection.linger();
        }
        let can_reuse_downstream = self.write_page(session, status).await.is_ok() && reusable;
        FailToProxy { error_code: status, can_reuse_downstream }
    }

    async fn write_page(&self, session: &mut Session, status: u16) -> Result<()> {
        let settings = self.settings();
        let details = settings.is_some_and(|s| s.error_details);
        let reason = self.failure.as_ref().filter(|_| details).map(Failure::to_string);
        let body = Bytes::from(page::page(status, &self.id, reason.as_deref()));
        let mut response = ResponseHeader::build(status, Some(6))?;
        if settings.map(|s| s.server_header) != Some(ServerHeader::Off) {
            response.insert_header(header::SERVER, SERVER)?;
        }
        response.insert_header(header::CONTENT_TYPE, "text/html; charset=utf-8")?;
        response.insert_header(header::CONTENT_LENGTH, body.len())?;
        let bodiless = session.req_header().method == http::Method::HEAD;
        session.write_response_header(Box::new(response), bodiless).await?;
        if !bodiless {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }

    /// Writes the line of the access log.
    pub(super) fn end(&mut self, session: &Session) {
        self.lease = None;
        if self.runtime.access_log.is_off() {
            return;
        }
        let request = session.req_header();
        let written = session.response_written().map(|r| r.status.as_u16());
        let reason = self.failure.as_ref().map(Failure::to_string);
        let failed = self.failure.as_ref().map(Failure::status);
        self.runtime.access_log.write(&Record {
            client: connection(session).map(|c| c.client.ip().to_canonical()),
            user: None,
            at: SystemTime::now(),
            request: RequestLine::Parsed {
                method: &request.method,
                target: request.raw_path(),
                version: request.version,
            },
            status: written.filter(|s| *s >= 200 || *s == 101).or(failed).unwrap_or(499),
            body_bytes: session.body_bytes_sent() as u64,
            referer: request.headers.get(header::REFERER),
            user_agent: request.headers.get(header::USER_AGENT),
            upstream: self.served().map(|(served, _)| served.upstream.name()),
            attempts: &self.attempts,
            time: self.began.elapsed(),
            id: &self.id,
            reason: reason.as_deref(),
        });
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

/// Whether an answer ends with its head (RFC 9112, section 6.3).
fn has_no_body(session: &Session, response: &ResponseHeader) -> bool {
    session.req_header().method == http::Method::HEAD
        || matches!(response.status.as_u16(), 204 | 304)
        || response.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
}

/// What an attempt's entry in the access log says of its failure; its address stands beside it.
fn short(failure: &Failure) -> Cow<'static, str> {
    match failure {
        Failure::Connect { error, .. } | Failure::Broken { error, .. } => error.clone().into(),
        other => other.to_string().into(),
    }
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
