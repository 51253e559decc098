//! The process: accept loops, signals, draining and background tasks.
//!
//! Workers serve requests, each on a thread of its own. The main thread waits for signals and
//! runs everything on a timer: discovery, probes, the dashboard. The order at the start is: bind,
//! give up root, look names up and probe once, accept. A name that does not resolve delays the start
//! by a second at most and never prevents it.

mod background;
pub mod balancing;
mod control;
pub mod demo;
mod listen;
mod privileges;
pub mod probes;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::model::Config;
use crate::observe::access::AccessLog;
use crate::observe::event::Line;
use crate::proxy::Runtime;
use crate::route::Router;
use background::Background;
pub use control::health;
pub use listen::ListenError;
pub use privileges::PrivilegeError;
use worker::Worker;

/// How long the start waits for names to be looked up and peers to be probed once.
const FIRST_LOOKUPS: Duration = Duration::from_secs(1);
/// How long the end waits for the access log to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why the process could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Root cannot be given up as asked.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(#[source] io::Error),
    /// Names cannot be looked up at all.
    #[error("cannot set up the DNS client: {0}")]
    Resolver(String),
    /// The system gives no thread, signal or timer.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A worker has ended without being told to.
    #[error("a worker thread has ended unexpectedly")]
    Worker,
}

/// Serves a configuration until a signal ends the process; `path` is where it was read from and
/// `started` is called once connections are accepted.
///
/// # Errors
/// [`ServeError`] says what keeps the process from starting.
pub fn run(config: Config, path: &Path, started: impl FnOnce()) -> Result<(), ServeError> {
    let main = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let threads = config.threads.map_or_else(cores, usize::from);
    let router = Router::new(&config);
    let addresses: Vec<_> = router.listeners().collect();
    let sockets = listen::bind(&addresses, threads)?;
    let access_log = AccessLog::open(&config.access_log).map_err(ServeError::AccessLog)?;
    let control = control::bind(path);
    privileges::drop_privileges(config.user.as_deref())?;

    let (background, upstreams) = Background::new(&config)?;
    let listeners: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let runtime = Arc::new(Runtime { config, router, upstreams, access_log: access_log.clone() });

    let ended = main.block_on(async {
        let mut signals = Signals::new()?;
        let (shutdown, ending) = watch::channel(false);
        let mut tasks = background.start(&ending);
        // Without the first addresses the first requests would be refused for no reason.
        let _ = timeout(FIRST_LOOKUPS, tasks.settled()).await;
        tokio::spawn(tasks.show());
        let mut workers = start_workers(&runtime, sockets, &ending)?;
        match control {
            Ok(listener) => drop(tokio::spawn(control::answer(listener))),
            Err(error) => log::warn!(
                target: "robin::serve",
                "{}", Line::new("robin health will not work").field("error", error)
            ),
        }
        let line = Line::new("started").field("version", env!("CARGO_PKG_VERSION"));
        let line = line.field("listen", listeners.join(",")).field("threads", threads);
        log::info!(target: "robin::serve", "{line}");
        started();

        tokio::select! {
            name = signals.end() => {
                log::info!(target: "robin::serve", "{}", Line::new("draining").field("signal", name));
            }
            _ = workers.recv() => return Err(ServeError::Worker),
        }
        // Receivers are gone only when no worker is left, and then there is nothing to tell.
        let _ = shutdown.send(true);
        tokio::select! {
            drained = all_drained(&mut workers) => drained,
            name = signals.end() => {
                let line = Line::new("requests cut off").field("signal", name);
                log::warn!(target: "robin::serve", "{line}");
                Ok(())
            }
        }
    });
    main.shutdown_background();
    if !access_log.close(LAST_LINES) {
        log::warn!(target: "robin::serve", "access log lines lost at the end");
    }
    log::info!(target: "robin::serve", "ended");
    ended
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts one thread for each set of sockets. The channel tells of each that has ended whether
/// it could finish its requests; it closes with the last.
fn start_workers(
    runtime: &Arc<Runtime>,
    sockets: Vec<Vec<std::net::TcpListener>>,
    ending: &watch::Receiver<bool>,
) -> io::Result<mpsc::UnboundedReceiver<bool>> {
    let (done, workers) = mpsc::unbounded_channel();
    for (index, listeners) in sockets.into_iter().enumerate() {
        let (runtime, shutdown) = (Arc::clone(runtime), ending.clone());
        let worker = Worker { runtime, listeners, shutdown };
        let done = done.clone();
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match worker.run() {
                // The receiver is gone only when the process has given up waiting.
                Ok(drained) => drop(done.send(drained)),
                Err(error) => {
                    let line = Line::new("worker failed").field("error", error);
                    log::error!(target: "robin::serve", "{line}");
                }
            }
        })?;
    }
    Ok(workers)
}

async fn all_drained(workers: &mut mpsc::UnboundedReceiver<bool>) -> Result<(), ServeError> {
    let mut drained = true;
    while let Some(finished) = workers.recv().await {
        drained &= finished;
    }
    if !drained {
        log::warn!(target: "robin::serve", "requests cut off after shutdown_timeout");
    }
    Ok(())
}

/// The signals that mean something to us; without a handler each would kill the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends the process and names it.
    async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hangup.recv() => log::warn!(
                    target: "robin::serve",
                    "SIGHUP ignored, restart to read the configuration again"
                ),
            }
        }
    }
}
