//! One request from its head to its log line: what it has met so far, and what comes next.

mod again;
mod answer;
mod arrival;
mod attempt;
mod body;
mod client;
mod connected;
mod grpc;
mod hedge;
mod http2;
mod kept;
mod limits;
pub(super) mod log;
mod own;
mod peer_head;
mod queued;
mod rate;
mod resume;
#[cfg(feature = "otlp")]
mod spans;
mod sticky;
mod subrequest;
mod trace;
mod way;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;
use tokio::time::Instant;

use self::connected::Connected;
use self::kept::Kept;
use super::downstream::{Connection, Downstream};
use super::gzip::Packer;
use super::race::{Ahead, Race};
use super::{Runtime, Served, told};
use crate::config::model::{self, Action, Proxy, Route, RouteSettings};
use crate::exchange::access;
use crate::exchange::aim::Aim;
use crate::exchange::failure::Failure;
use crate::exchange::flow::Next;
use crate::exchange::head::{Asked, Head};
use crate::exchange::trace::Trace;
use crate::exchange::variables::Scene;
use crate::exchange::{Course, variables};
use crate::health::clock;
use crate::observe::access::Attempt;
use crate::observe::counters::InFlight;
use crate::upstream::{Lease, Tried};
use body::{Buffered, Replaced};
pub(super) use client::Client;
pub(super) use kept::head_length;
pub(super) use own::Own;
pub(super) use peer_head::PeerHead;
pub(super) use rate::Gauge;
pub(super) use resume::Resume;
use sticky::Bound;
use subrequest::Returns;

/// The value of our own `Server` header.
pub(super) const SERVER: &str = "robin";

/// A new request id: 32 hexadecimal digits.
#[must_use]
pub fn request_id() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 32];
    for (pair, byte) in id.chunks_exact_mut(2).zip(fastrand::u128(..).to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    str::from_utf8(&id).unwrap_or_default().to_owned()
}

/// Where a request turns to instead of going on with its route.
#[derive(Clone, Debug)]
enum Detour {
    /// The page of an error.
    Error(u16),
    /// What an upstream has asked for (`X-Accel-Redirect`).
    To(Vec<u8>),
}

/// Where a request is handed to, and the upstream there.
#[derive(Debug)]
struct Aimed {
    aim: Aim,
    served: Arc<Served>,
}

/// What a head asks for that cannot be read.
pub(super) static NOTHING: Asked = Asked { host: String::new(), path: Vec::new() };

/// What one request has met so far. What hardly any has stands apart, since each takes its room while it waits.
#[derive(Debug)]
pub struct Exchange {
    runtime: Arc<Runtime>,
    began: Instant,
    id: String,
    /// Whether the client was asked for the id.
    trusts_id: bool,
    /// What is done about its trace, and whether it is exported.
    trace_wanted: (model::Trace, bool),
    /// The trace that it belongs to; none where nobody asks.
    trace: Option<Box<Trace>>,
    /// The part of it that the present attempt is; 0 where it is none of its own.
    attempt_span: u64,
    asked: Option<Asked>,
    /// The body, once all of it is here.
    body: Buffered,
    /// What the upstream gets in its place.
    replaced: Replaced,
    course: Course,
    /// What an error page has come to, to be sent in the place of an upstream's answer.
    pending: Option<Box<Next>>,
    /// The client's address where a proxy that is believed says it.
    client: Option<SocketAddr>,
    /// Headers that the next answer of our own takes over from what it stands for.
    passed_on: Vec<(HeaderName, HeaderValue)>,
    /// Where the request is to turn to before the next attempt.
    detour: Option<Detour>,
    /// Where it is handed to; none before its route was asked.
    aim: Option<Aimed>,
    /// What `hash` makes of the request; none before the first attempt and for other methods.
    hash_key: Option<Vec<u8>>,
    /// The peer that its session is bound to.
    bound: Bound,
    tried: Tried,
    /// The peer of the present attempt.
    lease: Option<Lease>,
    /// A peer picked for the next attempt already.
    next: Option<Lease>,
    attempt_began: Instant,
    /// The connection of the present attempt.
    connected: Connected,
    /// A second attempt beside the present one.
    race: Option<Race>,
    /// The connection of the next attempt, which has begun already, and when it has.
    ahead: Option<Box<(Ahead, Instant)>>,
    attempts: Vec<Attempt>,
    /// Whether the present attempt's connection had served a request before.
    pub(in crate::proxy) reused: bool,
    /// Whether the present attempt may upgrade the connection.
    upgrades: bool,
    /// Whether the next attempt was taken out of the retry budget.
    spent: bool,
    /// Whether the next attempt needs a connection that was never used.
    distrust_pool: bool,
    failure: Option<Failure>,
    /// The `Location` of a redirect in whose place an error page is sent.
    location: Option<Box<(HeaderName, HeaderValue)>>,
    /// The status of an upstream's answer that gets trailers.
    trailed: Option<u16>,
    /// Packs the body of the upstream's answer; none where it stays as it is.
    packer: Option<Box<Packer>>,
    /// What is to be told of the answer to who has asked; none but for a subrequest.
    returns: Option<Returns>,
    /// How fast the answer goes out over HTTP/2; none for as fast as it can.
    gauge: Option<Gauge>,
    /// How fast the answer of a peer is read; none for as fast as it comes.
    upstream_gauge: Option<Gauge>,
    /// Whether each piece that is packed is to be had at once.
    flushes: bool,
    /// None for one that asks what is counted.
    counted: Option<InFlight>,
    /// What variables tell of the request beyond that.
    kept: Kept,
    /// How it goes on, where another plumbing has begun with it.
    resume: Option<Resume>,
}

impl Exchange {
    pub(in crate::proxy) fn new(runtime: Arc<Runtime>) -> Self {
        let now = clock::now();
        Self {
            runtime,
            began: now,
            id: String::new(),
            trusts_id: false,
            trace_wanted: (model::Trace::default(), false),
            trace: None,
            attempt_span: 0,
            asked: None,
            body: Buffered::default(),
            replaced: Replaced::default(),
            course: Course::default(),
            pending: None,
            client: None,
            passed_on: Vec::new(),
            detour: None,
            aim: None,
            hash_key: None,
            bound: Bound::default(),
            tried: Tried::default(),
            lease: None,
            next: None,
            attempt_began: now,
            connected: Connected::default(),
            race: None,
            ahead: None,
            attempts: Vec::new(),
            reused: false,
            upgrades: false,
            spent: false,
            distrust_pool: false,
            failure: None,
            location: None,
            trailed: None,
            packer: None,
            returns: None,
            gauge: None,
            upstream_gauge: None,
            flushes: false,
            counted: None,
            kept: Kept::default(),
            resume: None,
        }
    }

    fn route(&self) -> Option<&Route> {
        self.course.route(&self.runtime.config)
    }

    fn proxy(&self) -> Option<&Proxy> {
        match &self.route()?.action {
            Action::Proxy(proxy) => Some(proxy),
            _ => None,
        }
    }

    pub(in crate::proxy) fn settings(&self) -> Option<&RouteSettings> {
        self.course.settings(&self.runtime.config)
    }

    pub(in crate::proxy) fn served(&self) -> Option<&Arc<Served>> {
        self.aim.as_ref().map(|aimed| &aimed.served)
    }

    /// Remembers why the request fails and makes Pingora end it.
    fn refuse<T>(&mut self, failure: Failure) -> Result<T> {
        let error = told(failure.status());
        self.failure = Some(failure);
        Err(error)
    }

    /// Refuses a body that has become too large. What follows an upgrade is no body.
    pub(in crate::proxy) fn check_body_so_far(&mut self, session: &dyn Client) -> Result<()> {
        // A body that is sent once more was counted before.
        if was_upgraded(session) || self.body.is_whole() {
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

    /// Takes the word of proxies that are believed for the client's address.
    fn believe_proxies(&mut self, session: &dyn Client) {
        let rule = self.settings().and_then(|settings| settings.clients.real_ip.as_ref());
        let peer = connection(session).and_then(|connection| connection.client);
        let proxied = connection(session).and_then(|c| c.proxied.as_ref()?.ends);
        let proxied = proxied.map(|(client, _)| client);
        let headers = &session.req_header().headers;
        self.client = rule.and_then(|rule| access::real_client(rule, headers, peer, proxied));
    }

    /// What stays the same while the request is on its way.
    fn scene<'a>(&'a self, session: &'a dyn Client) -> Option<Scene<'a>> {
        let connection = connection(session)?;
        Some(Scene {
            config: &self.runtime.config,
            router: &self.runtime.router,
            tables: &self.runtime.tables,
            head: head_of(session.req_header()),
            asked: self.asked.as_ref().unwrap_or(&NOTHING),
            client: self.client.or(connection.client),
            peer: connection.client,
            local: connection.local,
            scheme: if connection.tls.is_some() { "https" } else { "http" },
            proxied: connection.proxied.as_deref(),
            tls: connection.tls.as_deref(),
            request_id: &self.id,
            trace: self.trace.as_deref(),
            trusted: variables::is_trusted(&self.runtime.config.trust, connection.client),
            so_far: self.so_far(session, connection),
        })
    }

    /// Whether the client asks for another protocol and the route passes that on: `websocket: on`,
    /// or headers for the upstream that ask for it, as in nginx.
    pub(super) fn upgrades(&self, session: &dyn Client) -> bool {
        let Some(settings) = self.settings().filter(|_| asks_upgrade(session)) else {
            return false;
        };
        if settings.websocket {
            return true;
        }
        let Some(scene) = self.scene(session) else { return false };
        let says = |name: &HeaderName| {
            let header = settings.headers.iter().find(|header| header.name == *name)?;
            scene.with(&self.course).value(&header.value)
        };
        let asks = |value: HeaderValue| {
            let mut tokens = value.as_bytes().split(|b| *b == b',');
            tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        };
        says(&header::UPGRADE).is_some() && says(&header::CONNECTION).is_some_and(asks)
    }
}

/// What a future comes to that has nobody to wait for; none where it waits. It stays where it is: `now_or_never`
/// would take it, and such a one is large.
fn at_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Whether the client asks for another protocol.
fn asks_upgrade(session: &dyn Client) -> bool {
    session.session().is_some_and(|session| session.is_upgrade_req())
}

/// Whether another protocol is spoken.
fn was_upgraded(session: &dyn Client) -> bool {
    session.session().is_some_and(|session| session.was_upgraded())
}

/// Whether the client has got the head of an answer.
fn is_answered(session: &dyn Client) -> bool {
    session.response_written().is_some_and(|r| !is_interim(r.status))
}

/// Whether another head follows.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// The client's connection. A request over HTTP/2 carries it with its head, since its stream is one
/// of many.
fn connection(session: &dyn Client) -> Option<&Connection> {
    let known = session.downstream().map(Downstream::connection);
    known.or_else(|| session.req_header().extensions.get()).map(Arc::as_ref)
}

fn head_of(request: &RequestHeader) -> Head<'_> {
    Head {
        method: &request.method,
        target: request.raw_path(),
        version: request.version,
        headers: &request.headers,
    }
}
