//! Plumbing of one request: the phases of Pingora's `ProxyHttp`, handed to `exchange`.
//!
//! Nothing is decided here. Each phase turns Pingora's session into our own types, asks
//! `exchange`, `route` or `upstream`, and turns the answer back. What a request has met so far
//! lives in its [`Exchange`]; the retry loop itself is Pingora's.

mod classify;
mod counters;
mod dial;
mod disk;
mod downstream;
mod files;
mod gzip;
mod head;
mod io;
mod race;
mod refused;
mod request;
mod socket;
mod spool;
mod tls;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::config::model::{Config, Host, Resolver, Upstream as Spec};
use crate::observe::access::AccessLog;
use crate::observe::event::OnChange;
use crate::route::Router;
use crate::upstream::Upstream;

pub use downstream::{Connection, Downstream, Refusal};
pub use io::{Io, Socket};
pub use refused::{log_refusal, refused_head};
pub use request::{Exchange, request_id};
pub use tls::{TlsError, TlsPeers, TlsServers, handshake};

/// All that requests are served from.
#[derive(Debug)]
pub struct Runtime {
    /// What was written.
    pub config: Config,
    /// Which route a request belongs to.
    pub router: Router,
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
}

/// A live upstream with what requests need beside it.
pub struct Served {
    /// What was written of it.
    pub spec: Spec,
    /// Its peers.
    pub upstream: Arc<Upstream>,
    /// Whether the lack of a peer has been told.
    pub outage: OnChange,
    /// In which span it was last told that retries are used up.
    pub spent: OnChange,
    /// Why discovery knows no address, if so.
    pub reason: Box<dyn Fn() -> Option<String> + Send + Sync>,
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

    /// None: compression, the default, would run a filter over each chunk to do nothing.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<()> {
        ctx.read_head(session)
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
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
        ctx.check_body_so_far(session)?;
        ctx.note_body_read(session);
        ctx.replace_body(session, body, end);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.take_answer(session, response)
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        part: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        ctx.tell_answer_part(part.as_ref().map_or(0, Bytes::len), end);
        if end {
            ctx.release_peer(session);
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.buffer_answer(session, response);
        ctx.finish_answer_head(session, response)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        ctx.pass_body(session, body, end);
        Ok(None)
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
        ctx.deliver_answer(session, error.is_none()).await;
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
