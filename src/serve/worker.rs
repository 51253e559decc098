//! A worker: one thread, one single-threaded runtime, one pool of connections to peers.
//!
//! Work is not shared between workers: a connection lives and dies on the thread that accepted it,
//! which saves locks and wake-ups on other cores. What must be shared, the peers and their
//! turns, is shared by atomics.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Serving;
use super::listen::{Accepted, Accepting, Listener};
use super::pools::Pools;
use crate::observe::event::Line;
use crate::proxy::{self, Connection};

/// After an accept that failed for want of descriptors or memory, as in nginx
/// (`ngx_event_accept`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How long an idle connection is kept that is to end, so that a request that was on its way is still read.
pub(super) const LAST_REQUESTS: Duration = Duration::from_millis(50);

/// What a worker serves with.
pub(super) struct Worker {
    /// What requests are served by. Made before any worker accepts: it reads the system's certificates, and
    /// must not find all files taken by another worker's clients.
    pub(super) pools: Arc<Pools>,
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
    /// Dropped when it is closed.
    pub(super) open: mpsc::Sender<()>,
    /// Its connections.
    pub(super) places: Arc<Places>,
}

/// A runtime for each of so many workers. They are made before any worker accepts, whose clients could
/// leave no files for those of the others.
pub(super) fn runtimes(count: usize) -> io::Result<Vec<Runtime>> {
    let mut runtimes = Vec::with_capacity(count);
    for _ in 0..count {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtimes.push(runtime),
            Err(error) => {
                // In an asynchronous context they must not be dropped.
                runtimes.into_iter().for_each(Runtime::shutdown_background);
                return Err(error);
            }
        }
    }
    Ok(runtimes)
}

impl Worker {
    /// Serves until shutdown, then drains. Returns whether all requests could be finished.
    pub(super) fn run(self, runtime: Runtime) -> io::Result<bool> {
        let drained = runtime.block_on(self.serve())?;
        runtime.shutdown_background();
        Ok(drained)
    }

    async fn serve(mut self) -> io::Result<bool> {
        let pools = self.pools;
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
                News::Reloaded => {
                    pools.fit();
                    proxy::forget_files();
                }
                News::Listen(Listening { number, socket, closing, open, places }) => {
                    let acceptor = Acceptor {
                        number,
                        pools: Arc::clone(&pools),
                        ending: Ending { process: self.shutdown.clone(), listener: closing },
                        alive: alive.clone(),
                        places,
                    };
                    let running = acceptor.run(Accepting::new(socket)?);
                    accepting.spawn(async move {
                        running.await;
                        drop(open);
                    });
                }
            }
        }
        drop(alive);
        while let Some(ended) = accepting.join_next().await {
            ended?;
        }
        // Connections without a request on its way end by themselves when they have waited for one.
        let limit = pools.runtime().config.shutdown_timeout.max(LAST_REQUESTS * 2);
        let drained = timeout(limit, gone.recv()).await.is_ok();
        pools.close();
        Ok(drained)
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
    /// The connections of the listener, those of other workers too.
    places: Arc<Places>,
}

/// The connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Places {
    count: AtomicU32,
    /// Whether the log was told that there are as many as there may be.
    full: AtomicBool,
}

/// One of these; dropping it makes room for another.
struct Place(Arc<Places>);

impl Place {
    /// None where there are `most` already.
    fn take(open: &Arc<Places>, most: Option<u32>) -> Option<Self> {
        let place = Self(Arc::clone(open));
        let before = open.count.fetch_add(1, Relaxed);
        let Some(most) = most else { return Some(place) };
        if before < most {
            // It is told again once half of them are gone.
            if before < most / 2 {
                open.full.store(false, Relaxed);
            }
            return Some(place);
        }
        if !open.full.swap(true, Relaxed) {
            let line = Line::new("listener full, connection closed");
            line.number("connections", most).warn("robin::serve");
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
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
                        Line::new("accept works again").info("robin::serve");
                    }
                    self.spawn(accepted);
                }
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let line = Line::new("accept failed, trying on").field("error", error);
                        line.error("robin::serve");
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
        let runtime = self.pools.runtime();
        let most = runtime.max_connections(self.number);
        let Some(place) = Place::take(&self.places, most) else { return };
        let counted = !runtime.is_status(self.number);
        let refuse = proxy::refusing(&runtime, self.number);
        let serving = Box::new(Serving {
            io: Some(io),
            pools: Arc::clone(&self.pools),
            connection: Connection::new(ends, self.number, counted, refuse),
            ending: self.ending.clone(),
            alive: self.alive.clone(),
        });
        tokio::spawn(async move {
            serving.run().await;
            drop(place);
        });
    }
}
