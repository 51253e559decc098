//! A worker: one thread, one single-threaded runtime, one pool of connections to peers.
//!
//! Work is not shared between workers: a connection lives and dies on the thread that accepted it,
//! which saves locks and wake-ups on other cores. What must be shared, the peers and their
//! turns, is shared by atomics.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Serving;
use super::listen::{Accepted, Accepting, Listener};
use crate::observe::event::Line;
use crate::proxy::{self, Connection, Robin, Runtime};

/// After an accept that failed for want of descriptors or memory, as in nginx
/// (`ngx_event_accept`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How long idle connections are kept while draining, so that a request that was on its way when
/// the signal came is still read.
pub(super) const LAST_REQUESTS: Duration = Duration::from_millis(50);

type Proxy = HttpProxy<Robin>;

/// What a worker serves with.
pub(super) struct Worker {
    pub(super) runtime: Arc<Runtime>,
    /// One socket for each listener of the router, in its order.
    pub(super) listeners: Vec<Listener>,
    /// Turns true when the process is to end.
    pub(super) shutdown: watch::Receiver<bool>,
}

impl Worker {
    /// Serves until shutdown, then drains. Returns whether all requests could be finished.
    pub(super) fn run(self) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let drained = runtime.block_on(self.serve())?;
        runtime.shutdown_background();
        Ok(drained)
    }

    async fn serve(self) -> io::Result<bool> {
        // A pool of size 0 would keep every connection for good.
        let kept = self.runtime.config.upstreams.iter().map(|u| u.keepalive).fold(1, usize::max);
        let conf = ServerConf { upstream_keepalive_pool_size: kept, ..ServerConf::default() };
        let mut proxy = HttpProxy::new(Robin(Arc::clone(&self.runtime)), Arc::new(conf));
        proxy.handle_init_modules();
        let proxy = Arc::new(proxy);
        // Each connection holds a sender; when all are gone, nothing is left to wait for.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let mut accepting = JoinSet::new();
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let acceptor = Acceptor {
                index,
                runtime: Arc::clone(&self.runtime),
                proxy: Arc::clone(&proxy),
                shutdown: self.shutdown.clone(),
                alive: alive.clone(),
            };
            accepting.spawn(acceptor.run(Accepting::new(listener)?));
        }
        drop(alive);
        while let Some(ended) = accepting.join_next().await {
            ended?;
        }
        let deadline = Instant::now() + self.runtime.config.shutdown_timeout;
        if timeout(LAST_REQUESTS, gone.recv()).await.is_ok() {
            return Ok(true);
        }
        // Tasks take turns: when this one has had its, so has every connection that has something to
        // read, however many there are. What is still idle then has no request on its way.
        let _ = tokio::spawn(async {}).await;
        proxy.http_cleanup().await;
        Ok(timeout_at(deadline, gone.recv()).await.is_ok())
    }
}

/// Waits for the end of the process. Its sender lives as long: an error means the same.
pub(super) async fn ended(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|ending| *ending).await;
}

/// Whether an accept failed because of the one connection it would have given; the next one may
/// succeed. Linux hands on what the network said of it (accept(2), "Error handling").
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
    )
}

/// The accept loop of one socket.
struct Acceptor {
    index: usize,
    runtime: Arc<Runtime>,
    proxy: Arc<Proxy>,
    shutdown: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl Acceptor {
    async fn run(self, listener: Accepting) {
        let mut ending = self.shutdown.clone();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = ended(&mut ending) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    if std::mem::take(&mut failing) {
                        log::info!(target: "robin::serve", "accept works again");
                    }
                    self.spawn(accepted);
                }
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let line = Line::new("accept failed, trying on").field("error", error);
                        log::error!(target: "robin::serve", "{line}");
                    }
                    let _ = timeout(ACCEPT_PAUSE, ended(&mut ending)).await;
                }
            }
        }
        self.take_pending(listener);
    }

    /// Accepts what the kernel has accepted for us already.
    fn take_pending(&self, listener: Accepting) {
        let Ok(listener) = listener.into_pending() else { return };
        loop {
            match listener.accept_now() {
                Ok(accepted) => self.spawn(accepted),
                Err(error) if is_of_client(&error) => {}
                // There are no more.
                Err(_) => return,
            }
        }
    }

    fn spawn(&self, accepted: Option<Accepted>) {
        let Some(Accepted { io, ends }) = accepted else { return };
        let serving = Serving {
            runtime: Arc::clone(&self.runtime),
            proxy: Arc::clone(&self.proxy),
            connection: Connection::new(ends, self.index, proxy::refused_head),
            shutdown: self.shutdown.clone(),
            alive: self.alive.clone(),
        };
        tokio::spawn(serving.run(io));
    }
}
