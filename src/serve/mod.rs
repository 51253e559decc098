//! The process: accept loops, signals, draining and background tasks.
//!
//! Workers serve requests, each on a thread of its own. The main thread waits for signals and
//! runs everything on a timer: discovery, probes, the dashboard (`life`). The order at the start is: listen for
//! signals, bind, give up root, look names up and probe once, accept. A name that does not resolve delays the start
//! by a second at most and never prevents it. SIGHUP reads the configuration again (`live`).

mod background;
pub mod balancing;
mod changes;
mod connection;
mod control;
pub mod demo;
mod heritage;
mod http2;
mod implicit;
mod life;
mod listen;
mod live;
mod pid_file;
mod pools;
mod privileges;
pub mod probes;
mod reread;
mod resolvers;
mod signals;
mod systemd;
mod upgrade;
mod watch;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::config::model::{Config, Control};
use crate::observe::event::Line;
use crate::observe::status;
use crate::proxy::TlsError;
use control::Socket;
pub use control::{Answer, Ask, AskError, Told, ask, health};
pub use heritage::Inherited;
use life::{Desk, Life};
pub use listen::ListenError;
use live::{Live, Ready};
use pid_file::PidFile;
pub use privileges::PrivilegeError;
pub use reread::{Read, Refused, Reread};
use signals::Signals;
pub use watch::Watched;
use worker::Worker;

/// How long the end waits for the access log to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long the end of the process waits for a collector to take the last spans.
#[cfg(feature = "otlp")]
const LAST_SPANS: Duration = Duration::from_secs(1);

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
    /// What it was read from, where it is to be read again as soon as that changes. Default: only when told to.
    pub watched: Option<Watched>,
}

/// Serves a configuration until a signal ends the process; `started` is called once connections
/// are accepted. Of its listeners those that are `inherited` are not made anew.
///
/// # Errors
/// [`ServeError`] says what keeps the process from starting.
pub fn run(
    config: Config,
    process: Process,
    inherited: &mut Inherited,
    started: impl FnOnce(),
) -> Result<(), ServeError> {
    let main = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything can be seen from outside: a signal without a handler kills the process, or,
    // where it is a container's first, is lost.
    let signals = main.block_on(async { Signals::new(process.fast_stop) })?;
    let threads = config.threads.map_or_else(cores, usize::from);
    listen::raise_open_files();
    // Before the listeners: who sees one of them and asks for health or for peers is to wait, not be turned away.
    let health = match std::mem::take(&mut inherited.health) {
        sockets if sockets.is_empty() => control::bind(&process.path),
        sockets => Ok(sockets),
    };
    let user = config.user.clone();
    let control = match &process.control {
        Some(path) => Control::At(path.clone()),
        None => config.control.clone(),
    };
    let operator = control.path().map(|path| match inherited.control_at(path) {
        Some(listener) => (path, Socket::adopt(path, listener)),
        None => (path, Socket::bind(path, privileges::heir(user.as_deref()))),
    });
    let pid = config.pid.clone().or_else(|| process.pid.clone());
    let ready = Ready::new(config, threads, None, inherited)?;
    let pid_file = pid.and_then(|path| PidFile::write(&path, privileges::heir(user.as_deref())));
    let operator = operator.and_then(|(path, bound)| operators_socket(&control, path, bound));
    inherited.tell();
    privileges::drop_privileges(user.as_deref())?;

    status::begin();
    let (ended, access_logs) = main.block_on(async {
        let watched = process.watched.clone();
        let (mut live, workers, settled) = Live::start(ready, process)?;
        let mut signals = signals;
        let signalled = tokio::select! {
            () = settled => None,
            end = signals.end() => Some(end),
        };
        live.show();
        let workers = start_workers(workers)?;
        let health = health.unwrap_or_else(|error| {
            Line::new("robin health will not work").field("error", error).warn("robin::serve");
            Vec::new()
        });
        let (desk, orders) = Desk::open(operator, health, live.roster());
        if let Some(watched) = watched {
            watched.start(desk.orders())?;
        }
        let line = Line::new("started").field("version", env!("CARGO_PKG_VERSION"));
        let line = line.field("listen", live.addresses()).number("threads", threads);
        line.info("robin::serve");
        started();
        inherited.ready();
        systemd::ready();
        let (desk, heir, waiting) = (Some(desk), None, None);
        let mut life =
            Life { signals, orders, workers, live: &mut live, desk, pid_file, heir, waiting };
        let ended = life.run(signalled).await;
        #[cfg(feature = "otlp")]
        if live.exporter().is_some_and(|exporter| !exporter.close(LAST_SPANS)) {
            Line::new("spans lost at the end").warn("robin::serve");
        }
        Ok::<_, ServeError>((ended, live.access_logs()))
    })?;
    main.shutdown_background();
    // Each has its time: `all` would stop at the first that fails.
    let lost = access_logs.iter().filter(|log| !log.close(LAST_LINES)).count();
    if lost > 0 {
        Line::new("access log lines lost at the end").warn("robin::serve");
    }
    Line::new("ended").info("robin::serve");
    ended
}

/// The operator's socket; none where it cannot be had, which is told.
fn operators_socket(
    control: &Control,
    path: &Path,
    bound: io::Result<Socket>,
) -> Option<Arc<Socket>> {
    if let Err(error) = &bound {
        // Where nobody has named a place it is no more than what there was before.
        let level = match control {
            Control::Usual => log::Level::Info,
            _ => log::Level::Warn,
        };
        let line = Line::new("no control socket, robin peers and its kin will not work");
        let line = line.field("path", path.display()).field("error", error);
        line.print("robin::serve", level);
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
    fn of(mut self, worker: Worker, runtime: Runtime) {
        match worker.run(runtime) {
            Ok(true) => self.ending = Ending::Drained,
            Ok(false) => self.ending = Ending::CutOff,
            Err(error) => {
                let line = Line::new("worker failed").field("error", error);
                line.error("robin::serve");
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
    let runtimes = worker::runtimes(all.len())?;
    for (index, (worker, runtime)) in all.into_iter().zip(runtimes).enumerate() {
        let obituary = Obituary { ending: Ending::Failed, workers: sender.clone() };
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || obituary.of(worker, runtime))?;
    }
    Ok(workers)
}
