//! One connection from its first byte to its last: TLS, then HTTP/1, request after request, or
//! [`super::http2`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Fuse, FusedFuture as _};
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pools::Pools;
use super::worker::{Ending, LAST_REQUESTS, ended};
use crate::exchange::variables::is_trusted;
use crate::proxy::{
    self, Connection, Downstream, Exchange, Io, Lane, Runtime, Socket, Turn, handshake,
};

/// How long a client may take to see that the connection is about to be closed, before its next
/// request would be lost.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// Waits until the end is reached, and a while longer.
pub(super) async fn after(mut ending: Ending, grace: Duration) {
    ending.reached().await;
    sleep(grace).await;
}

/// Waits until a connection of a listener that was left out has had its time.
async fn over(mut ending: Ending, pools: Arc<Pools>) {
    ended(&mut ending.listener).await;
    sleep(time_left(&ending, &pools)).await;
}

/// How long a connection may still take whose listener is closed. Where the process ends, the worker sees to that.
fn time_left(ending: &Ending, pools: &Pools) -> Duration {
    if *ending.process.borrow() {
        return Duration::MAX;
    }
    pools.runtime().config.shutdown_timeout.max(LAST_REQUESTS * 2)
}

/// Has the answers of a connection that is to end say so, and waits a while for the next request, which
/// may be on its way. The first one surely is: who has just connected does not know of any end.
async fn last_call(mut leaving: Pin<&mut Fuse<impl Future<Output = ()>>>, connection: &Connection) {
    if !leaving.is_terminated() {
        leaving.as_mut().await;
        connection.leave();
    }
    sleep(if connection.is_fresh() { GOODBYE } else { LAST_REQUESTS }).await;
}

/// What a connection is served with. It lies in a box: every future that it is handed through would have room
/// for all of it, as long as the connection lasts.
pub(super) struct Serving {
    pub(super) io: Option<Socket>,
    pub(super) pools: Arc<Pools>,
    pub(super) connection: Connection,
    pub(super) ending: Ending,
    /// Dropped when nothing is left to do.
    pub(super) alive: mpsc::Sender<()>,
}

impl Serving {
    /// Serves until either side has enough, or `shutdown_timeout` is over since the listener was left out.
    pub(super) async fn run(mut self: Box<Self>) {
        // Apart, so that a connection that waits for its next request has room for no more than that.
        let Some((io, http2)) = Box::pin(self.greet()).await else { return };
        if http2 {
            Box::pin(self.http2_until_over(io)).await;
        } else {
            let (turns, stream, alive) = self.http1(*io);
            turns.run(stream).await;
            drop(alive);
        }
    }

    async fn http2_until_over(self: Box<Self>, io: Box<Io>) {
        let over = over(self.ending.clone(), Arc::clone(&self.pools));
        tokio::select! {
            biased;
            () = self.http2(*io) => {}
            () = over => {}
        }
    }

    /// Makes the TLS handshake where the listener wants one, and finds out whether the client speaks
    /// HTTP/2. A client that speaks plain HTTP where TLS is wanted is let in, to be told so.
    async fn greet(&mut self) -> Option<(Box<Io>, bool)> {
        let plain = |io| Box::new(Io::Plain(io));
        let mut io = self.io.take()?;
        let runtime = self.pools.runtime();
        let Runtime { tls, router, .. } = &*runtime;
        let listener = self.connection.listener;
        let deadline = Instant::now() + runtime.config.client_header_timeout;
        if let Some(trust) = runtime.proxy_protocol(listener) {
            let client = self.connection.client;
            let said = tokio::select! {
                said = timeout_at(deadline, io.proxy_protocol()) => said.ok()?,
                () = after(self.ending.clone(), LAST_REQUESTS) => return None,
            };
            let trusted = trust.is_empty() || client.is_none() || is_trusted(&trust, client);
            match said {
                Ok(said) if trusted => self.connection.proxied = Some(Box::new(said)),
                Ok(_) => {
                    let client = client.map(|client| client.to_string()).unwrap_or_default();
                    log::debug!(target: "robin::serve", "proxy not trusted client={client}");
                    return None;
                }
                Err(error) => {
                    log::debug!(target: "robin::serve", "no proxy protocol error=\"{error}\"");
                    return None;
                }
            }
        }
        if !tls.is_tls(listener) {
            if !tls.is_http2(listener) {
                return Some((plain(io), false));
            }
            let http2 = tokio::select! {
                http2 = timeout_at(deadline, io.begins_http2()) => http2.ok()?.ok()?,
                () = after(self.ending.clone(), LAST_REQUESTS) => return None,
            };
            return Some((plain(io), http2));
        }
        let begins = tokio::select! {
            begins = timeout_at(deadline, io.begins_tls()) => begins.ok()?.ok()?,
            () = after(self.ending.clone(), LAST_REQUESTS) => return None,
        };
        if !begins {
            self.connection.plain_to_tls = true;
            return Some((plain(io), false));
        }
        let choose = |host: Option<&str>| tls.choose(router, listener, host);
        let settled = tokio::select! {
            settled = timeout_at(deadline, handshake(io, choose)) => settled,
            () = after(self.ending.clone(), GOODBYE) => return None,
        };
        match settled {
            Ok(Ok((stream, facts))) => {
                let http2 = facts.is_http2();
                self.connection.tls = Some(Box::new(facts));
                Some((Box::new(Io::Tls(Box::new(stream))), http2))
            }
            Ok(Err(error)) => {
                log::debug!(target: "robin::serve", "handshake failed error=\"{error}\"");
                None
            }
            Err(_) => None,
        }
    }

    /// What serves the requests over HTTP/1, and what is held meanwhile.
    fn http1(self: Box<Self>, io: Io) -> (Turns, Box<Downstream>, mpsc::Sender<()>) {
        let Self { pools, connection, ending, alive, .. } = *self;
        let connection = Arc::new(connection);
        let stream = Box::new(Downstream::new(io, Arc::clone(&connection)));
        let lane = pools.lane();
        (Turns { pools, ending, connection, lane }, stream, alive)
    }
}

/// What serves the requests of a connection, one after the other.
struct Turns {
    pools: Arc<Pools>,
    ending: Ending,
    connection: Arc<Connection>,
    lane: Lane,
}

impl Turns {
    /// Serves request after request: in the express lane what is plain, else as Pingora's own loop
    /// (`ServerApp::process_new`) does, with our stream, timeouts and pipelining. Once
    /// the process is to end or the listener is left out of the configuration, the next answer is the last,
    /// and a connection that has no request on its way is closed.
    async fn run(mut self, mut stream: Box<Downstream>) {
        // The end of the process closes every listener: one channel is looked at each time that a request waits.
        let mut closing = self.ending.listener.clone();
        let mut leaving = std::pin::pin!(ended(&mut closing).fuse());
        let connection = Arc::clone(&self.connection);
        let (ending, pools) = (self.ending.clone(), Arc::clone(&self.pools));
        let mut first = true;
        loop {
            connection.expect_head();
            let served = {
                let mut serving = std::pin::pin!(self.serve(stream, first));
                tokio::select! {
                    biased;
                    served = &mut serving => served,
                    () = last_call(leaving.as_mut(), &connection) => {
                        if connection.is_idle() {
                            return;
                        }
                        let limit = time_left(&ending, &pools);
                        let Ok(served) = timeout(limit, serving).await else { return };
                        served
                    }
                }
            };
            let Some(served) = served else { return };
            (stream, first) = (served, false);
        }
    }

    /// Serves one request, the connection's `first` or a later one; gives the connection back if it may have
    /// another.
    async fn serve(&mut self, mut stream: Box<Downstream>, first: bool) -> Option<Box<Downstream>> {
        let runtime = self.pools.runtime();
        let config = &runtime.config;
        let patience = if first { config.client_header_timeout } else { config.keepalive_timeout };
        drop(runtime);
        let ending = &self.ending.process;
        match self.lane.turn(&mut stream, patience, || *ending.borrow()).await {
            Turn::Answered => Some(stream),
            Turn::Over => None,
            Turn::Pingora(begun) => Box::pin(self.serve_by_pingora(stream, first, begun)).await,
        }
    }

    async fn serve_by_pingora(
        &self,
        mut stream: Box<Downstream>,
        first: bool,
        begun: Option<Box<Exchange>>,
    ) -> Option<Box<Downstream>> {
        let runtime = self.pools.runtime();
        let header_timeout = runtime.config.client_header_timeout;
        let keepalive_timeout = runtime.config.keepalive_timeout;
        drop(runtime);
        let refusal_id = stream.identify();
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(header_timeout));
        if !first {
            // The head of a request resets it to "without limit"; between requests it is ours.
            session.set_keepalive(Some(keepalive_timeout.as_secs().max(1)));
        }
        session.set_connection_user_context(begun.map(|begun| begun as _));
        let began = Instant::now();
        let proxy = self.pools.proxy();
        let Some(reused) = proxy.process_new_http(session, &self.ending.process).await else {
            let timed_out = began.elapsed() >= header_timeout;
            if let Some(refusal) = self.connection.refusal(refusal_id, timed_out) {
                proxy::log_refusal(&self.pools.runtime(), &refusal, &self.connection);
            }
            return None;
        };
        let (stream, _) = reused.consume();
        stream.into_any().downcast().ok()
    }
}
