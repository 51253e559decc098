//! Plumbing of one request: the phases of Pingora's `ProxyHttp`, handed to `exchange`.
//!
//! Nothing is decided here. Each phase turns Pingora's session into our own types, asks
//! `exchange`, `route` or `upstream`, and turns the answer back. What a request has met so far
//! lives in its [`Exchange`]; the retry loop itself is Pingora's.

mod classify;
mod dial;
mod disk;
mod downstream;
mod express;
mod files;
mod framed;
mod gzip;
mod head;
mod io;
mod open_files;
mod race;
mod refused;
mod request;
mod socket;
mod spool;
mod tls;
mod unchunked;
mod wire;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::config::model::{Config, Host, Listen, Resolver, Upstream as Spec};
use crate::discovery::Lookups;
use crate::health::Tick;
use crate::limits::Tables;
use crate::observe::access::AccessLog;
use crate::observe::event::OnChange;
use crate::observe::metrics;
use crate::observe::status::StatusView;
use crate::observe::view::{self, UpstreamView};
use crate::route::Router;
use crate::upstream::{Totals, Upstream};

pub use downstream::{Connection, Downstream, Refusal};
pub use express::{Idle, Lane, Lanes, Turn};
pub use framed::{Framed, Offence};
pub use io::{Io, Socket};
pub use open_files::forget_all as forget_files;
pub use refused::{log_refusal, refusing};
pub use request::{Exchange, request_id};
pub use tls::{Handshake, TlsError, TlsPeers, TlsServers, handshake};

/// All that requests are served from.
#[derive(Debug)]
pub struct Runtime {
    /// What was written.
    pub config: Config,
    /// Which route a request belongs to.
    pub router: Router,
    /// Which routes the express lane can serve.
    pub lanes: Lanes,
    /// What limits have counted.
    pub tables: Tables,
    /// The upstreams, in the order of `config.upstreams`.
    pub upstreams: Vec<Arc<Served>>,
    /// Those that only requests name.
    pub implicit: Arc<dyn Implicit>,
    /// What TLS handshakes are made with.
    pub tls: TlsServers,
    /// What TLS connections to peers are made with.
    pub tls_peers: TlsPeers,
    /// Where lines about requests go.
    pub access_log: AccessLog,
    /// Where those of routes with logs of their own go, in the order of `config.logs`.
    pub logs: Vec<AccessLog>,
    /// Where traces go.
    #[cfg(feature = "otlp")]
    pub exporter: Option<crate::observe::otlp::Exporter>,
}

/// Finds or makes the upstream of a host that only a request names.
#[async_trait]
pub trait Implicit: std::fmt::Debug + Send + Sync {
    /// The upstream of a host and port, looked up once; none where there are too many already.
    async fn upstream(
        &self,
        host: &Host,
        port: u16,
        resolver: Option<&Resolver>,
    ) -> Option<Arc<Served>>;

    /// Those there are at the moment, by their names.
    fn known(&self) -> Vec<Arc<Served>>;

    /// What was counted of all there ever were, together.
    fn totals(&self) -> Totals;
}

/// A live upstream with what requests need beside it.
pub struct Served {
    /// What was written of it.
    pub spec: Spec,
    /// Whether only requests name it.
    pub of_requests: bool,
    /// Its peers.
    pub upstream: Arc<Upstream>,
    /// Whether the lack of a peer has been told.
    pub outage: OnChange,
    /// In which span it was last told that retries are used up.
    pub spent: OnChange,
    /// Why discovery knows no address, if so.
    pub reason: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// How the lookups of its names went.
    pub lookups: Box<dyn Fn() -> Vec<Lookups> + Send + Sync>,
}

impl Served {
    /// What is known of it, for whoever shows it.
    #[must_use]
    pub fn view(&self, now: Tick) -> UpstreamView {
        let known = view::Known {
            trouble: (self.reason)(),
            lookups: (self.lookups)(),
            implicit: self.of_requests,
        };
        UpstreamView::of(&self.upstream, known, now)
    }
}

impl Runtime {
    /// All upstreams: those of the configuration in its order, then those that only requests name.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<Served>> {
        let mut all = self.upstreams.clone();
        all.extend(self.implicit.known());
        all
    }

    /// Whether a listener is the status listener.
    #[must_use]
    pub fn is_status(&self, listener: usize) -> bool {
        let server = || self.config.virtual_servers.get(self.router.default(listener)?);
        self.config.status.is_some() && server().is_some_and(|s| self.config.is_of_status(s))
    }

    /// What is written of a listener, for each virtual server there.
    fn listens(&self, listener: usize) -> impl Iterator<Item = &Listen> {
        let address = self.router.listeners().nth(listener);
        let listens = self.config.virtual_servers.iter().flat_map(|server| &server.listen);
        listens.filter(move |listen| Some(&listen.address) == address)
    }

    /// Whose PROXY protocol headers a listener reads, empty for anybody's; none where there are none.
    #[must_use]
    pub fn proxy_protocol(&self, listener: usize) -> Option<Vec<IpNet>> {
        let said: Vec<&Vec<IpNet>> =
            self.listens(listener).filter_map(|listen| listen.proxy_protocol.as_ref()).collect();
        let anybody = said.iter().any(|networks| networks.is_empty());
        let all = said.iter().flat_map(|networks| networks.iter().copied());
        (!said.is_empty()).then(|| if anybody { Vec::new() } else { all.collect() })
    }

    /// How many connections a listener may have at once; none for any number.
    #[must_use]
    pub fn max_connections(&self, listener: usize) -> Option<u32> {
        self.listens(listener).filter_map(|listen| listen.max_connections).min()
    }

    /// What Prometheus is told.
    #[must_use]
    pub fn metrics(&self) -> String {
        let now = Tick::now();
        let served = self.upstreams.iter();
        let upstreams = served.map(|s| (s.view(now), s.upstream.tally().read())).collect();
        let named = Some(self.implicit.totals());
        let named = named.filter(|totals| self.config.lets_requests_name() || totals.are_some());
        metrics::text(&StatusView::of(Vec::new()), upstreams, named)
    }

    /// What is known of the process.
    #[must_use]
    pub fn status(&self) -> StatusView {
        let now = Tick::now();
        StatusView::of(self.served().iter().map(|served| served.view(now)).collect())
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// What requests are served from at the moment. A request takes it once and keeps it to its end; a
/// reload puts another in its place.
pub type Current = Arc<ArcSwap<Runtime>>;

/// Pingora's view of robin.
#[derive(Clone, Debug)]
pub struct Robin(pub Current);

#[async_trait]
impl ProxyHttp for Robin {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.0.load_full())
    }

    /// Not compression, the default, which would look at each chunk to do nothing.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(unchunked::Builder));
    }

    /// Goes on with a request that the express lane has begun with.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Exchange,
        begun: Box<dyn Any + Send + Sync>,
    ) {
        if let Ok(begun) = begun.downcast() {
            *ctx = *begun;
        }
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<()> {
        ctx.read_head(session)
    }

    /// What is asked about a request takes the same way (`auth_request`).
    fn allow_spawning_subrequest(&self, _: &Session, _: &Exchange) -> bool {
        true
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
        if let Some(answered) = ctx.go_on(session).await? {
            return Ok(answered);
        }
        if ctx.find_route(session).await? {
            return Ok(true);
        }
        ctx.buffer_body(session).await.map(|()| false)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let peer = ctx.begin_attempt(session).await?;
        ctx.rewind_body(session).await.map(|()| peer)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.write_head(session, request)?;
        ctx.write_http2_head(session, request)?;
        ctx.tell_sent_head(request);
        ctx.begin_race(session, request);
        Ok(())
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.tell_connected(reused);
        ctx.use_connection(reused, digest)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Exchange,
    ) -> Result<()> {
        // Over HTTP/2 Pingora takes any other error for the upstream's, and goes on without the body.
        ctx.check_body_so_far(session)
            .map_err(|e| if ctx.speaks_http2() { e.into_down() } else { e })?;
        ctx.note_body_read(session);
        ctx.tell_body_part(body.as_ref());
        ctx.replace_body(session, body, end);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.take_answer(session, response, request::head_length(response))
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        part: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        let bytes = part.as_ref().map_or(0, Bytes::len);
        ctx.tell_answer_part(bytes, end);
        ctx.check_answer_time(session)?;
        if end {
            ctx.release_peer(session);
        }
        Ok(ctx.pace_upstream(bytes))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.buffer_answer(session, response);
        ctx.finish_answer_head(session, response);
        Ok(())
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Exchange,
    ) -> Result<Option<Bytes>> {
        ctx.release_peer(session);
        ctx.pass_trailers(session, trailers);
        // To a client of HTTP/2 this takes the trailers' place.
        Ok(ctx.pack_rest())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        ctx.pass_body(session, body, end);
        Ok(ctx.pace_answer(body.as_ref().map_or(0, Bytes::len)))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        ctx.end_attempt(session, error, classify::connect)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        ctx.reused = reused;
        ctx.end_attempt(session, error, classify::exchange)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Exchange,
    ) -> FailToProxy {
        ctx.answer_failure(session, error).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Exchange) {
        if error.is_none() {
            ctx.deliver_answer(session).await;
        }
        ctx.end(session);
    }

    /// The access log tells of every attempt, event lines of every change of state.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// An error that says no more than that the exchange holds the failure.
fn told(status: u16) -> Box<Error> {
    Error::new(ErrorType::HTTPStatus(status))
}
