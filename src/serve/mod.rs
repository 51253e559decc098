//! The process: accept loops, signals, draining and background tasks.
//!
//! Workers serve requests, each on a thread of its own. The main thread waits for signals and
//! runs everything on a timer: discovery, probes, the dashboard. The order at the start is: listen for
//! signals, bind, give up root, look names up and probe once, accept. A name that does not resolve delays the start
//! by a second at most and never prevents it.

mod background;
pub mod balancing;
mod connection;
mod control;
pub mod demo;
mod listen;
mod pid_file;
mod privileges;
pub mod probes;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::model::Config;
use crate::observe::access::AccessLog;
use crate::observe::event::Line;
use crate::proxy::{Runtime, TlsError, TlsServers};
use crate::route::Router;
use background::Background;
pub use control::health;
pub use listen::ListenError;
use listen::Listener;
use pid_file::PidFile;
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
    /// TLS cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A worker has ended without being told to.
    #[error("a worker thread has ended unexpectedly")]
    Worker,
}

/// How a process serves, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The main file of the configuration, by which `robin health` finds the process.
    pub path: PathBuf,
    /// Where the process's id is written unless the configuration says. Default: nowhere.
    pub pid: Option<PathBuf>,
    /// Whether SIGTERM and SIGINT end it at once, as they do nginx. Default: they drain.
    pub fast_stop: bool,
}

/// Serves a configuration until a signal ends the process; `started` is called once connections
/// are accepted.
///
/// # Errors
/// [`ServeError`] says what keeps the process from starting.
pub fn run(config: Config, process: Process, started: impl FnOnce()) -> Result<(), ServeError> {
    let main = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything can be seen from outside: a signal without a handler kills the process, or,
    // where it is a container's first, is lost.
    let signals = main.block_on(async { Signals::new(process.fast_stop) })?;
    let threads = config.threads.map_or_else(cores, usize::from);
    let router = Router::new(&config);
    let tls = TlsServers::new(&config, &router)?;
    let addresses: Vec<_> = router.listeners().cloned().collect();
    listen::raise_open_files();
    // Before the listeners: who sees one of them and asks for health is to wait, not be turned away.
    let control = control::bind(&process.path);
    let listen::Bound { workers: sockets, files } = listen::bind(&addresses, threads)?;
    let access_log = AccessLog::open(&config.access_log).map_err(ServeError::AccessLog)?;
    let pid = config.pid.as_ref().or(process.pid.as_ref());
    let _pid_file = pid.and_then(|path| PidFile::write(path));
    privileges::drop_privileges(config.user.as_deref())?;

    let (background, upstreams) = Background::new(&config)?;
    let listeners: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let runtime =
        Arc::new(Runtime { config, router, upstreams, tls, access_log: access_log.clone() });

    let ended = main.block_on(async {
        let (shutdown, ending) = watch::channel(false);
        let mut tasks = background.start(&ending);
        let mut signals = signals;
        let signalled = tokio::select! {
            // Without the first addresses the first requests would be refused for no reason.
            _ = timeout(FIRST_LOOKUPS, tasks.settled()) => None,
            end = signals.end() => Some(end),
        };
        tokio::spawn(tasks.show());
        let workers = start_workers(&runtime, sockets, &ending)?;
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
        until_ended(signalled, signals, workers, &shutdown).await
    });
    main.shutdown_background();
    drop(files);
    if !access_log.close(LAST_LINES) {
        log::warn!(target: "robin::serve", "access log lines lost at the end");
    }
    log::info!(target: "robin::serve", "ended");
    ended
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How a worker has ended.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// All of its requests are finished.
    Drained,
    /// Some took longer than `shutdown_timeout`.
    CutOff,
    /// It could not go on.
    Failed,
}

/// Tells how a worker has ended, also when it panics.
struct Obituary {
    ending: Ending,
    workers: mpsc::UnboundedSender<Ending>,
}

impl Obituary {
    fn of(mut self, worker: Worker) {
        match worker.run() {
            Ok(true) => self.ending = Ending::Drained,
            Ok(false) => self.ending = Ending::CutOff,
            Err(error) => {
                let line = Line::new("worker failed").field("error", error);
                log::error!(target: "robin::serve", "{line}");
            }
        }
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        // The receiver is gone only when the process has given up waiting.
        let _ = self.workers.send(self.ending);
    }
}

/// Starts one thread for each set of sockets. The channel tells how each of them has ended and
/// closes with the last.
fn start_workers(
    runtime: &Arc<Runtime>,
    sockets: Vec<Vec<Listener>>,
    ending: &watch::Receiver<bool>,
) -> io::Result<mpsc::UnboundedReceiver<Ending>> {
    let (sender, workers) = mpsc::unbounded_channel();
    for (index, listeners) in sockets.into_iter().enumerate() {
        let (runtime, shutdown) = (Arc::clone(runtime), ending.clone());
        let worker = Worker { runtime, listeners, shutdown };
        let obituary = Obituary { ending: Ending::Failed, workers: sender.clone() };
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || obituary.of(worker))?;
    }
    Ok(workers)
}

/// Waits for a signal, unless one has come already, and then for the workers to drain. A worker
/// that fails takes the others with it: its share of the connections would be lost
/// silently, where whoever started the process can start it again.
async fn until_ended(
    signalled: Option<End>,
    mut signals: Signals,
    mut workers: mpsc::UnboundedReceiver<Ending>,
    shutdown: &watch::Sender<bool>,
) -> Result<(), ServeError> {
    let signalled = match signalled {
        Some(end) => Some(end),
        None => tokio::select! {
            end = signals.end() => Some(end),
            _ = workers.recv() => None,
        },
    };
    match signalled {
        Some(End::AtOnce(name)) => {
            log::info!(target: "robin::serve", "{}", Line::new("stopping").field("signal", name));
            return Ok(());
        }
        Some(End::Drain(name)) => {
            log::info!(target: "robin::serve", "{}", Line::new("draining").field("signal", name));
        }
        None => {}
    }
    // Receivers are gone only when no worker is left, and then there is nothing to tell.
    let _ = shutdown.send(true);
    let drained = tokio::select! {
        drained = all_drained(&mut workers) => drained,
        end = signals.end() => {
            let line = Line::new("requests cut off").field("signal", end.name());
            log::warn!(target: "robin::serve", "{line}");
            Ok(())
        }
    };
    signalled.ok_or(ServeError::Worker).and(drained)
}

async fn all_drained(workers: &mut mpsc::UnboundedReceiver<Ending>) -> Result<(), ServeError> {
    let (mut cut_off, mut failed) = (false, false);
    while let Some(ending) = workers.recv().await {
        cut_off |= matches!(ending, Ending::CutOff);
        failed |= matches!(ending, Ending::Failed);
    }
    if cut_off {
        log::warn!(target: "robin::serve", "requests cut off after shutdown_timeout");
    }
    if failed { Err(ServeError::Worker) } else { Ok(()) }
}

/// How a signal ends the process; its name.
#[derive(Clone, Copy, Debug)]
enum End {
    /// What is in flight is finished first.
    Drain(&'static str),
    /// Nothing is waited for.
    AtOnce(&'static str),
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Drain(name) | Self::AtOnce(name) => name,
        }
    }
}

/// The signals that mean something to us; without a handler each would kill the process.
struct Signals {
    fast_stop: bool,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn new(fast_stop: bool) -> io::Result<Self> {
        Ok(Self {
            fast_stop,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends the process and names it.
    async fn end(&mut self) -> End {
        let fast = if self.fast_stop { End::AtOnce } else { End::Drain };
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return fast("SIGTERM"),
                _ = self.interrupt.recv() => return fast("SIGINT"),
                _ = self.quit.recv() => return End::Drain("SIGQUIT"),
                _ = self.hangup.recv() => log::warn!(
                    target: "robin::serve",
                    "SIGHUP ignored, restart to read the configuration again"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_fails_makes_the_others_drain_and_ends_the_process() {
        let (sender, workers) = mpsc::unbounded_channel();
        let (shutdown, mut ending) = watch::channel(false);
        let other = Obituary { ending: Ending::Drained, workers: sender.clone() };
        drop(Obituary { ending: Ending::Failed, workers: sender });
        let signals = Signals::new(false).expect("the system has signals");
        let ended = tokio::spawn(async move {
            let ended = until_ended(None, signals, workers, &shutdown).await;
            drop(shutdown);
            ended
        });
        ending.wait_for(|ending| *ending).await.expect("the others are told");
        assert!(!ended.is_finished(), "the other one is still draining");
        drop(other);
        let ended = ended.await.expect("no panic");
        assert!(matches!(ended, Err(ServeError::Worker)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_worker_that_panics_while_draining_is_told() {
        let (sender, mut workers) = mpsc::unbounded_channel();
        let obituary = Obituary { ending: Ending::Failed, workers: sender };
        let panicked = thread::spawn(move || {
            let _obituary = obituary;
            panic!("as a worker might");
        });
        let ended = all_drained(&mut workers).await;
        assert!(panicked.join().is_err());
        assert!(matches!(ended, Err(ServeError::Worker)), "{ended:?}");
    }
}
