//! One connection from its first byte to its last: TLS, then HTTP/1 or HTTP/2, request after
//! request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self as http2, H2Accept, HttpSession};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pools::Pools;
use super::worker::{Ending, LAST_REQUESTS, ended};
use crate::exchange::TlsFacts;
use crate::proxy::{self, Connection, Downstream, Io, Runtime, Socket, handshake};

/// nginx's `http2_max_concurrent_streams`.
const STREAMS: u32 = 128;
/// Requests that cannot be understood end a connection of HTTP/2 when there are so many. Pingora's
/// own loop has this limit.
const MALFORMED: usize = 32;
/// How long a client may take to see that the connection is about to be closed, before its next
/// request would be lost.
const GOODBYE: Duration = Duration::from_secs(1);

/// Waits until the end is reached, and a while longer.
async fn after(mut ending: Ending, grace: Duration) {
    ending.reached().await;
    sleep(grace).await;
}

/// What a connection is served with.
pub(super) struct Serving {
    pub(super) pools: Arc<Pools>,
    pub(super) connection: Connection,
    pub(super) ending: Ending,
    /// Dropped when nothing is left to do.
    pub(super) alive: mpsc::Sender<()>,
}

impl Serving {
    /// Serves until either side has enough.
    pub(super) async fn run(mut self, io: Socket) {
        let Some(io) = self.greet(io).await else { return };
        if self.connection.tls.as_ref().is_some_and(TlsFacts::is_http2) {
            self.http2(io).await;
        } else {
            self.http1(io).await;
        }
    }

    /// Makes the TLS handshake where the listener wants one. A client that speaks plain HTTP there
    /// is let in, to be told so.
    async fn greet(&mut self, mut io: Socket) -> Option<Io> {
        let runtime = self.pools.runtime();
        let Runtime { tls, router, .. } = &*runtime;
        let listener = self.connection.listener;
        if !tls.is_tls(listener) {
            return Some(Io::Plain(io));
        }
        let deadline = Instant::now() + runtime.config.client_header_timeout;
        let begins = tokio::select! {
            begins = timeout_at(deadline, io.begins_tls()) => begins.ok()?.ok()?,
            () = after(self.ending.clone(), LAST_REQUESTS) => return None,
        };
        if !begins {
            self.connection.plain_to_tls = true;
            return Some(Io::Plain(io));
        }
        let choose = |host: Option<&str>| tls.choose(router, listener, host);
        let settled = tokio::select! {
            settled = timeout_at(deadline, handshake(io, choose)) => settled,
            () = after(self.ending.clone(), GOODBYE) => return None,
        };
        match settled {
            Ok(Ok((stream, facts))) => {
                self.connection.tls = Some(facts);
                Some(Io::Tls(Box::new(stream)))
            }
            Ok(Err(error)) => {
                log::debug!(target: "robin::serve", "handshake failed error=\"{error}\"");
                None
            }
            Err(_) => None,
        }
    }

    /// Pingora's own loop (`ServerApp::process_new`) with our stream, timeouts and pipelining. Once the
    /// listener is left out of the configuration it ends before the next request.
    async fn http1(self, io: Io) {
        let mut left_out = self.ending.listener.clone();
        let mut left_out = std::pin::pin!(ended(&mut left_out).fuse());
        let connection = Arc::new(self.connection);
        let refusal_id = proxy::request_id();
        let stream = Downstream::new(io, Arc::clone(&connection), refusal_id.clone());
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_pipelining_enabled(true);
        loop {
            let header_timeout = self.pools.runtime().config.client_header_timeout;
            session.set_read_timeout(Some(header_timeout));
            connection.expect_head();
            let began = Instant::now();
            let proxy = self.pools.proxy();
            let mut serving = std::pin::pin!(proxy.process_new_http(session, &self.ending.process));
            let served = tokio::select! {
                biased;
                served = &mut serving => served,
                () = &mut left_out => {
                    if connection.is_idle() {
                        return;
                    }
                    serving.await
                }
            };
            let Some(reused) = served else {
                let timed_out = began.elapsed() >= header_timeout;
                if let Some(refusal) = connection.refusal(refusal_id, timed_out) {
                    proxy::log_refusal(&self.pools.runtime(), &refusal, &connection);
                }
                return;
            };
            let (stream, settings) = reused.consume();
            session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            // The head of a request resets it to "without limit"; between requests it is ours.
            let keepalive_timeout = self.pools.runtime().config.keepalive_timeout;
            session.set_keepalive(Some(keepalive_timeout.as_secs().max(1)));
            if left_out.is_terminated() {
                return;
            }
        }
    }

    /// Serves the streams of an HTTP/2 connection side by side.
    ///
    /// As Pingora's own loop, which hides where a request came from: here each carries its
    /// connection.
    async fn http2(self, io: Io) {
        let runtime = self.pools.runtime();
        let (header_timeout, keepalive_timeout) =
            (runtime.config.client_header_timeout, runtime.config.keepalive_timeout);
        drop(runtime);
        let mut options = http2::default_h2_options();
        options.max_concurrent_streams(STREAMS);
        let settled = http2::handshake(Box::new(io), Some(options));
        let settled = tokio::select! {
            settled = timeout(header_timeout, settled) => settled,
            () = after(self.ending.clone(), GOODBYE) => return,
        };
        let Ok(Ok(mut io)) = settled else { return };
        let connection = Arc::new(self.connection);
        let digest = Arc::new(Digest::default());
        let mut ending = self.ending.clone();
        let (mut malformed, mut draining) = (0, false);
        let mut streams = JoinSet::new();
        loop {
            let idle = if draining { GOODBYE } else { keepalive_timeout };
            let accepted = tokio::select! {
                biased;
                () = ending.reached(), if !draining => {
                    io.graceful_shutdown();
                    draining = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut io, Arc::clone(&digest)) => accepted,
                Some(_) = streams.join_next() => continue,
                () = sleep(idle), if streams.is_empty() => return,
            };
            match accepted {
                Ok(Some(H2Accept::Session(mut stream))) => {
                    stream.req_header_mut().extensions_mut().insert(Arc::clone(&connection));
                    let (proxy, shutdown) = (self.pools.proxy(), self.ending.process.clone());
                    let alive = self.alive.clone();
                    streams.spawn(async move {
                        let session = ServerSession::new_http2(stream);
                        proxy.process_new_http(session, &shutdown).await;
                        drop(alive);
                    });
                }
                Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
                // Those under way find out by themselves, and tell the access log.
                _ => return streams.detach_all(),
            }
        }
    }
}
