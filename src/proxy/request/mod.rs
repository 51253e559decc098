//! One request from its head to its log line: what it has met so far, and what comes next.

mod again;
mod answer;
mod attempt;
mod body;
mod connected;
mod hedge;
mod http2;
mod kept;
pub(super) mod log;
mod own;
mod queued;
mod sticky;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::Instant;

use self::connected::Connected;
use self::kept::Kept;
use super::counters::InFlight;
use super::disk::FileSystem;
use super::downstream::{Connection, Downstream};
use super::gzip::Packer;
use super::race::{Ahead, Race};
use super::{Runtime, Served, told};
use crate::config::model::{Action, Proxy, Route, RouteSettings};
use crate::exchange::access;
use crate::exchange::aim::{self, Aim};
use crate::exchange::failure::Failure;
use crate::exchange::flow::{self, ErrorNext, Next, Start};
use crate::exchange::head::{self, Asked, Head};
use crate::exchange::variables::{Facts, Scene};
use crate::exchange::{Course, path, variables};
use crate::observe::access::Attempt;
use crate::observe::event;
use crate::upstream::{Lease, Tried};
use body::{Buffered, Replaced};
use sticky::Bound;

/// The value of our own `Server` header.
pub(super) const SERVER: &str = "robin";

/// A new request id: 32 hexadecimal digits.
#[must_use]
pub fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
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

/// What one request has met so far.
#[derive(Debug)]
pub struct Exchange {
    runtime: Arc<Runtime>,
    began: Instant,
    id: String,
    asked: Option<Asked>,
    /// The body, once all of it is here.
    body: Buffered,
    /// What the upstream gets in its place.
    replaced: Replaced,
    course: Course,
    /// What an error page has come to, to be sent in the place of an upstream's answer.
    pending: Option<Next>,
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
    ahead: Option<(Ahead, Instant)>,
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
    location: Option<(HeaderName, HeaderValue)>,
    /// The status of an upstream's answer that gets trailers.
    trailed: Option<u16>,
    /// Packs the body of the upstream's answer; none where it stays as it is.
    packer: Option<Packer>,
    _counted: InFlight,
    /// What variables tell of the request beyond that.
    kept: Kept,
}

impl Exchange {
    pub(in crate::proxy) fn new(runtime: Arc<Runtime>) -> Self {
        let now = Instant::now();
        Self {
            runtime,
            began: now,
            id: String::new(),
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
            _counted: InFlight::new(),
            kept: Kept::default(),
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

    fn settings(&self) -> Option<&RouteSettings> {
        self.course.settings(&self.runtime.config)
    }

    fn served(&self) -> Option<&Arc<Served>> {
        self.aim.as_ref().map(|aimed| &aimed.served)
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
        self.kept.requests = connection(session).map_or(1, Connection::count_request);
        if self.runtime.config.keepalive_timeout.is_zero() {
            session.set_keepalive(None);
        }
        let bodiless = session.as_mut().is_body_empty();
        // Which virtual server is asked is not known before its host is.
        let runtime = Arc::clone(&self.runtime);
        let listener = connection(session).map_or(0, |c| c.listener);
        let server = runtime.router.default(listener).unwrap_or_default();
        let Some(server) = runtime.config.virtual_servers.get(server) else {
            return self.refuse(Failure::NoRoute);
        };
        let rules = &server.requests;
        let checked = match session.as_http1() {
            Some(http1) => {
                let raw = http1.get_headers_raw_bytes();
                self.kept.head_bytes = raw.len() as u64;
                match connection(session).is_none_or(|c| c.head_read(&raw, bodiless)) {
                    true => head_of(session.req_header()).check(&raw, rules),
                    false => Err(head::Malformed::RawByte),
                }
            }
            None => {
                http2::make_plain(session.req_header_mut())?;
                self.kept.head_bytes = kept::length(&session.req_header().headers);
                head_of(session.req_header()).check(&[], rules)
            }
        };
        let names = session.req_header().headers.keys();
        let ignored: Vec<_> = names.filter(|name| head::is_ignored(name, rules)).cloned().collect();
        for name in ignored {
            session.req_header_mut().remove_header(&name);
        }
        match checked {
            Ok(asked) => self.asked = Some(asked),
            Err(malformed) => {
                let listener = connection(session).map_or(0, |c| c.listener);
                self.course.server = self.runtime.router.default(listener).unwrap_or_default();
                session.set_keepalive(None);
                return self.refuse(malformed.into());
            }
        }
        Ok(())
    }

    /// Finds virtual server and route. Returns whether the request is answered.
    pub(in crate::proxy) async fn find_route(&mut self, session: &mut Session) -> Result<bool> {
        let listener = connection(session).map_or(0, |c| c.listener);
        let Some(asked) = &self.asked else { return self.refuse(Failure::NoRoute) };
        let (server, matched) =
            self.runtime.router.server(listener, &asked.host).unwrap_or_default();
        let target = head::absolute(session.req_header().raw_path());
        let target = target.as_ref().map_or(session.req_header().raw_path(), |(_, path)| path);
        let args = path::split(target).1.unwrap_or_default().to_vec();
        let variables = &self.runtime.config.variables;
        self.course = Course::new(server, asked.path.clone(), args, variables);
        if let Some((pattern, captures)) = matched {
            self.course.capture(pattern, captures);
        }
        self.believe_proxies(session);
        let next = if connection(session).is_some_and(|c| c.plain_to_tls) {
            Next::Fail(Failure::PlainToTls)
        } else {
            self.advance(session, Start::Path).await
        };
        let limit = self.settings().map_or(u64::MAX, |s| s.clients.keepalive_requests);
        if self.kept.requests >= limit && !session.is_http2() {
            session.set_keepalive(None);
        }
        self.act(session, next).await
    }

    /// Goes on until the request has come to something.
    async fn advance(&mut self, session: &Session, start: Start) -> Next {
        let mut course = std::mem::take(&mut self.course);
        let next = match self.scene(session) {
            Some(scene) => flow::run(&mut course, &scene, &FileSystem, start).await,
            None => Next::Fail(Failure::Internal("no connection".into())),
        };
        self.course = course;
        next
    }

    /// Answers what needs no upstream, error pages included. Returns whether the request is
    /// answered.
    async fn act(&mut self, session: &mut Session, mut next: Next) -> Result<bool> {
        loop {
            let (status, headers) = match next {
                Next::Proxy => {
                    self.believe_proxies(session);
                    return Ok(false);
                }
                Next::Close => {
                    session.set_keepalive(None);
                    return Ok(true);
                }
                Next::Reply(reply) if reply.page => (reply.status, reply.headers),
                Next::Fail(failure) => (self.fail(failure), Vec::new()),
                own => match self.send(session, own).await? {
                    None => return Ok(true),
                    Some(failure) => (self.fail(failure), Vec::new()),
                },
            };
            let (status, headers) = match self.error_page(session, status) {
                ErrorNext::Page(status) => (status, headers),
                ErrorNext::Reply(reply) => (reply.status, reply.headers),
                ErrorNext::Go(start) => {
                    // Where a redirect leads is said whatever page stands for it.
                    self.location = headers.into_iter().find(|(n, _)| *n == header::LOCATION);
                    next = self.advance(session, start).await;
                    continue;
                }
            };
            self.send_page(session, status, headers).await?;
            return Ok(true);
        }
    }

    /// Remembers why the request fails; returns its status.
    fn fail(&mut self, failure: Failure) -> u16 {
        let status = failure.status();
        let told = self.settings().is_none_or(|settings| settings.files.log_not_found);
        if let Failure::NoFile { .. } | Failure::NoIndex(_) = &failure
            && (told || status != 404)
        {
            event::no_file(&failure);
        }
        self.failure = Some(failure);
        status
    }

    /// What follows from an error.
    fn error_page(&mut self, session: &Session, status: u16) -> ErrorNext {
        let mut course = std::mem::take(&mut self.course);
        let next = match self.scene(session) {
            Some(scene) => flow::error_page(&mut course, &scene, status),
            None => ErrorNext::Page(status),
        };
        self.course = course;
        next
    }

    /// Refuses a body that has become too large. What follows an upgrade is no body.
    pub(in crate::proxy) fn check_body_so_far(&mut self, session: &Session) -> Result<()> {
        // A body that is sent once more was counted before.
        if session.was_upgraded() || self.body.is_whole() {
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
    fn believe_proxies(&mut self, session: &Session) {
        let rule = self.settings().and_then(|settings| settings.clients.real_ip.as_ref());
        let peer = connection(session).and_then(|connection| connection.client);
        self.client =
            rule.and_then(|rule| access::real_client(rule, &session.req_header().headers, peer));
    }

    /// What stays the same while the request is on its way.
    fn scene<'a>(&'a self, session: &'a Session) -> Option<Scene<'a>> {
        let connection = connection(session)?;
        Some(Scene {
            config: &self.runtime.config,
            router: &self.runtime.router,
            head: head_of(session.req_header()),
            asked: self.asked.as_ref().unwrap_or(&NOTHING),
            client: self.client.or(connection.client),
            peer: connection.client,
            local: connection.local,
            scheme: if connection.tls.is_some() { "https" } else { "http" },
            tls: connection.tls.as_ref(),
            request_id: &self.id,
            trusted: variables::is_trusted(&self.runtime.config.trust, connection.client),
            so_far: self.so_far(session, connection),
        })
    }

    /// Whether the client asks for another protocol and the route passes that on: `websocket: on`,
    /// or headers for the upstream that ask for it, as in nginx.
    pub(super) fn upgrades(&self, session: &Session) -> bool {
        let Some(settings) = self.settings().filter(|_| session.is_upgrade_req()) else {
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

    /// Writes target and headers for the upstream.
    pub(in crate::proxy) fn write_head(
        &self,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()> {
        self.body.frame(request)?;
        self.replaced.frame(request)?;
        let scene = self.scene(session);
        let Some(((proxy, scene), aim)) = self.proxy().zip(scene).zip(self.aim.as_ref()) else {
            return Ok(());
        };
        let facts = scene.with(&self.course);
        if let Some(target) = aim::target(proxy, &aim.aim, &facts) {
            request.set_raw_path(&target)?;
        }
        let Some(settings) = self.settings() else { return Ok(()) };
        if let Some(method) = self.upstream_method(settings, &facts) {
            request.set_method(method);
        }
        if !settings.passing.request_headers {
            drop_headers(request);
        }
        for header in &settings.headers {
            // What else these say was heeded when the peer was chosen: the connection is Pingora's.
            if header.name == header::CONNECTION || header.name == header::UPGRADE {
                let close = header.name == header::CONNECTION && !self.upgrades;
                if close && facts.value(&header.value).is_some_and(|v| says_close(&v)) {
                    request.insert_header(header::CONNECTION, "close")?;
                }
                continue;
            }
            match facts.value(&header.value) {
                Some(value) => request.insert_header(header.written.clone(), value)?,
                None => drop(request.remove_header(&header.name)),
            }
        }
        Ok(())
    }
}

impl Exchange {
    /// The method that the upstream gets where it is not the client's.
    fn upstream_method(&self, settings: &RouteSettings, facts: &Facts<'_>) -> Option<Method> {
        let written = settings.passing.method.as_ref().map(|method| facts.text(method));
        let written = written.filter(|method| !method.is_empty());
        written.and_then(|m| Method::from_bytes(&m).ok()).or_else(|| self.course.method.clone())
    }
}

/// Whether a route asks the peer to close the connection after its answer.
fn says_close(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"close")
}

/// Drops what the client sent, but for what frames its body (`proxy_pass_request_headers off`).
fn drop_headers(request: &mut RequestHeader) {
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST];
    let names: Vec<_> = request.headers.keys().filter(|n| !framing.contains(n)).cloned().collect();
    for name in names {
        request.remove_header(&name);
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

/// The client's connection. A request over HTTP/2 carries it with its head, since its stream is one
/// of many.
fn connection(session: &Session) -> Option<&Connection> {
    let Some(http1) = session.as_http1() else {
        return session.req_header().extensions.get::<Arc<Connection>>().map(Arc::as_ref);
    };
    http1.stream().as_any().downcast_ref::<Downstream>().map(|d| &**d.connection())
}

fn head_of(request: &RequestHeader) -> Head<'_> {
    Head {
        method: &request.method,
        target: request.raw_path(),
        version: request.version,
        headers: &request.headers,
    }
}
