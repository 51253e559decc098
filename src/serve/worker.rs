//! A worker: one thread, one single-threaded runtime, one pool of connections to peers.
//!
//! Work is not shared between workers: a connection lives and dies on the thread that accepted it,
//! which saves locks and wake-ups on other cores. What must be shared, the peers and their
//! turns, is shared by atomics.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Serving;
use super::listen::{Accepted, Accepting, Listener};
use super::pools::Pools;
use crate::observe::event::Line;
use crate::proxy::{self, Connection, Current};

/// After an accept that failed for want of descriptors or memory, as in nginx
/// (`ngx_event_accept`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How long idle connections are kept while draining, so that a request that was on its way when
/// the signal came is still read.
pub(super) const LAST_REQUESTS: Duration = Duration::from_millis(50);

/// What a worker serves with.
pub(super) struct Worker {
    /// What requests are served from.
    pub(super) current: Current,
    /// What changes while it runs.
    pub(super) news: mpsc::UnboundedReceiver<News>,
    /// Turns true when the process is to end.
    pub(super) shutdown: watch::Receiver<bool>,
}

/// What changes while a worker runs.
#[derive(Debug)]
pub(super) enum News {
    /// Another socket to accept on.
    Listen(Listening),
    /// Requests are served from another runtime.
    Reloaded,
}

/// A socket that a worker is to accept on.
#[derive(Debug)]
pub(super) struct Listening {
    /// The number of the listener.
    pub(super) number: usize,
    /// The socket.
    pub(super) socket: Listener,
    /// Turns true when the listener is left out of the configuration.
    pub(super) closing: watch::Receiver<bool>,
}

impl Worker {
    /// Serves until shutdown, then drains. Returns whether all requests could be finished.
    pub(super) fn run(self) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let drained = runtime.block_on(self.serve())?;
        runtime.shutdown_background();
        Ok(drained)
    }

    async fn serve(mut self) -> io::Result<bool> {
        let pools = Arc::new(Pools::new(Arc::clone(&self.current)));
        // Each connection holds a sender; when all are gone, nothing is left to wait for.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let mut accepting = JoinSet::new();
        loop {
            let news = tokio::select! {
                // What is bound is accepted from, be it only to drain it.
                biased;
                Some(news) = self.news.recv() => news,
                () = ended(&mut self.shutdown) => break,
                Some(ended) = accepting.join_next() => {
                    ended?;
                    continue;
                }
            };
            match news {
                News::Reloaded => pools.fit(),
                News::Listen(Listening { number, socket, closing }) => {
                    let acceptor = Acceptor {
                        number,
                        pools: Arc::clone(&pools),
                        ending: Ending { process: self.shutdown.clone(), listener: closing },
                        alive: alive.clone(),
                    };
                    accepting.spawn(acceptor.run(Accepting::new(socket)?));
                }
            }
        }
        drop(alive);
        while let Some(ended) = accepting.join_next().await {
            ended?;
        }
        let deadline = Instant::now() + self.current.load().config.shutdown_timeout;
        if timeout(LAST_REQUESTS, gone.recv()).await.is_ok() {
            return Ok(true);
        }
        // Tasks take turns: when this one has had its, so has every connection that has something to
        // read, however many there are. What is still idle then has no request on its way.
        let _ = tokio::spawn(async {}).await;
        pools.close_idle().await;
        Ok(timeout_at(deadline, gone.recv()).await.is_ok())
    }
}

/// Waits until it turns true. Its sender lives as long as it can: an error means the same.
pub(super) async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// What ends an accept loop and, between requests, the connections that came from it.
#[derive(Clone)]
pub(super) struct Ending {
    /// Turns true when the process is to end.
    pub(super) process: watch::Receiver<bool>,
    /// Turns true when the listener is left out of the configuration.
    pub(super) listener: watch::Receiver<bool>,
}

impl Ending {
    /// Waits for either.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub(super) async fn reached(&mut self) {
        tokio::select! {
            () = ended(&mut self.process) => {}
            () = ended(&mut self.listener) => {}
        }
    }
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
    number: usize,
    pools: Arc<Pools>,
    ending: Ending,
    alive: mpsc::Sender<()>,
}

impl Acceptor {
    async fn run(self, listener: Accepting) {
        let mut ending = self.ending.clone();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = ending.reached() => break,
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
                    let _ = timeout(ACCEPT_PAUSE, ending.reached()).await;
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
            pools: Arc::clone(&self.pools),
            connection: Connection::new(ends, self.number, proxy::refused_head),
            ending: self.ending.clone(),
            alive: self.alive.clone(),
        };
        tokio::spawn(serving.run(io));
    }
}
