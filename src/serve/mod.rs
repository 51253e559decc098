//! The process: accept loops, signals, draining and background tasks.
//!
//! Workers serve requests, each on a thread of its own. The main thread waits for signals and
//! runs everything on a timer: discovery, probes, the dashboard. The order at the start is: listen for
//! signals, bind, give up root, look names up and probe once, accept. A name that does not resolve delays the start
//! by a second at most and never prevents it. SIGHUP reads the configuration again (`live`).

mod background;
pub mod balancing;
mod connection;
mod control;
pub mod demo;
mod implicit;
mod listen;
mod live;
mod pid_file;
mod pools;
mod privileges;
pub mod probes;
mod resolvers;
mod signals;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::model::{Config, Control};
use crate::observe::event::Line;
use crate::observe::logger::Target;
use crate::proxy::TlsError;
use control::Socket;
pub use control::{Answer, Ask, AskError, Told, ask, health};
pub use listen::ListenError;
use live::{Live, Ready};
use pid_file::PidFile;
pub use privileges::PrivilegeError;
use signals::{End, Signals};
use worker::Worker;

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
    /// The error log cannot be opened.
    #[error("cannot open the error log: {0}")]
    ErrorLog(#[source] io::Error),
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

/// A configuration that was read again, and where event lines go with it.
#[derive(Clone, Debug)]
pub struct Reread {
    /// The configuration.
    pub config: Config,
    /// Where event lines go.
    pub events: Target,
}

/// Reads the configuration again; each problem with it is a line.
pub type Read = Arc<dyn Fn() -> Result<Reread, Vec<String>> + Send + Sync>;

/// How a process serves, beside its configuration.
#[derive(Clone, Default)]
pub struct Process {
    /// The main file of the configuration, by which `robin health` finds the process.
    pub path: PathBuf,
    /// Where the process's id is written unless the configuration says. Default: nowhere.
    pub pid: Option<PathBuf>,
    /// Where the operator's socket is, whatever the configuration says. Default: where that says.
    pub control: Option<PathBuf>,
    /// Whether SIGTERM and SIGINT end it at once, as they do nginx. Default: they drain.
    pub fast_stop: bool,
    /// What SIGHUP does. Default: nothing.
    pub read: Option<Read>,
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
    listen::raise_open_files();
    // Before the listeners: who sees one of them and asks for health is to wait, not be turned away.
    let health = control::bind(&process.path);
    let pid = config.pid.clone().or_else(|| process.pid.clone());
    let user = config.user.clone();
    let written = config.control.clone();
    let ready = Ready::new(config, threads, None)?;
    let _pid_file = pid.and_then(|path| PidFile::write(&path));
    let operator = match &process.control {
        Some(path) => Control::At(path.clone()),
        None => written,
    };
    let operator = operators_socket(&operator, user.as_deref());
    privileges::drop_privileges(user.as_deref())?;

    let (ended, access_logs) = main.block_on(async {
        let (mut live, workers, settled) = Live::start(ready, process)?;
        let mut signals = signals;
        let signalled = tokio::select! {
            () = settled => None,
            end = signals.end() => Some(end),
        };
        live.show();
        let workers = start_workers(workers)?;
        if let Some(socket) = &operator {
            tokio::spawn(control::serve(Arc::clone(socket), live.roster()));
        }
        match health {
            Ok(listeners) => {
                listeners.into_iter().map(control::answer).map(tokio::spawn).for_each(drop);
            }
            Err(error) => log::warn!(
                target: "robin::serve",
                "{}", Line::new("robin health will not work").field("error", error)
            ),
        }
        let line = Line::new("started").field("version", env!("CARGO_PKG_VERSION"));
        let line = line.field("listen", live.addresses()).field("threads", threads);
        log::info!(target: "robin::serve", "{line}");
        started();
        let ended = until_ended(signalled, signals, workers, &mut live).await;
        Ok::<_, ServeError>((ended, live.access_logs()))
    })?;
    main.shutdown_background();
    // Each has its time: `all` would stop at the first that fails.
    let lost = access_logs.iter().filter(|log| !log.close(LAST_LINES)).count();
    if lost > 0 {
        log::warn!(target: "robin::serve", "access log lines lost at the end");
    }
    log::info!(target: "robin::serve", "ended");
    ended
}

/// The operator's socket; none where it cannot be had, which is told.
fn operators_socket(control: &Control, user: Option<&str>) -> Option<Arc<Socket>> {
    let path = control.path()?;
    let bound = Socket::bind(path, privileges::heir(user));
    if let Err(error) = &bound {
        // Where nobody has named a place it is no more than what there was before.
        let level = match control {
            Control::Usual => log::Level::Info,
            _ => log::Level::Warn,
        };
        let line = Line::new("no control socket, robin peers and its kin will not work");
        let line = line.field("path", path.display()).field("error", error);
        log::log!(target: "robin::serve", level, "{line}");
    }
    bound.ok().map(Arc::new)
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

/// Starts one thread for each worker. The channel tells how each of them has ended and closes with
/// the last.
fn start_workers(all: Vec<Worker>) -> io::Result<mpsc::UnboundedReceiver<Ending>> {
    let (sender, workers) = mpsc::unbounded_channel();
    for (index, worker) in all.into_iter().enumerate() {
        let obituary = Obituary { ending: Ending::Failed, workers: sender.clone() };
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || obituary.of(worker))?;
    }
    Ok(workers)
}

/// Who does what signals ask for.
trait Obeys {
    /// Reads the configuration again.
    async fn reload(&mut self);
    /// Opens the log files again.
    fn reopen(&mut self);
    /// Tells the workers to drain and end.
    fn end(&mut self);
}

/// Does what signals ask for until one ends the process, unless one has come already, and then waits
/// for the workers to drain. A worker that fails takes the others with it: its share of the
/// connections would be lost silently, where whoever started the process can start it again.
async fn until_ended(
    signalled: Option<End>,
    mut signals: Signals,
    mut workers: mpsc::UnboundedReceiver<Ending>,
    live: &mut impl Obeys,
) -> Result<(), ServeError> {
    let mut signalled = signalled;
    while signalled.is_none() {
        tokio::select! {
            told = signals.next() => match told {
                signals::Told::End(end) => signalled = Some(end),
                signals::Told::Reload => live.reload().await,
                signals::Told::Reopen => live.reopen(),
            },
            _ = workers.recv() => break,
        }
    }
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
    live.end();
    let drained = tokio::select! {
        drained = all_drained(&mut workers) => drained,
        end = signals.end() => {
            let line = Line::new("requests cut off").field("signal", end.name());
            log::warn!(target: "robin::serve", "{line}");
            Ok(())
        }
    };
    signalled.map(drop).ok_or(ServeError::Worker).and(drained)
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

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    struct Stub(watch::Sender<bool>);

    impl Obeys for Stub {
        async fn reload(&mut self) {}

        fn reopen(&mut self) {}

        fn end(&mut self) {
            self.0.send_replace(true);
        }
    }

    #[tokio::test]
    async fn a_worker_that_fails_makes_the_others_drain_and_ends_the_process() {
        let (sender, workers) = mpsc::unbounded_channel();
        let mut stub = Stub(watch::Sender::new(false));
        let mut ending = stub.0.subscribe();
        let other = Obituary { ending: Ending::Drained, workers: sender.clone() };
        drop(Obituary { ending: Ending::Failed, workers: sender });
        let signals = Signals::new(false).expect("the system has signals");
        let ended =
            tokio::spawn(async move { until_ended(None, signals, workers, &mut stub).await });
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
