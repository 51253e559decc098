//! What a reload changes while the process runs: the runtime, the listeners and the upstreams.
//!
//! A new configuration is made ready beside the present one (sockets bound, logs open, names looked
//! up once, peers probed once) and then takes its place in one step: new connections, and the
//! next request of each kept one, are served from it; requests under way end with what they began
//! with. Where anything fails, the present one serves on. Threads, the user, the pid file
//! and the control socket are the process's own: they stay until it is started again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::background::Background;
use super::control::Roster;
use super::implicit::Registry;
use super::listen::SocketFiles;
use super::worker::{Listening, News, Worker};
use super::{Obeys, Process, Reread, ServeError, listen};
use crate::config::model::{Config, ListenAddress, LogPath};
use crate::observe::access::AccessLog;
use crate::observe::event::Line;
use crate::observe::{logger, sink};
use crate::proxy::{Current, Runtime, Served, TlsPeers, TlsServers};
use crate::route::Router;

/// How long new upstreams have to be looked up and probed once before requests go to them.
const FIRST_LOOKUPS: Duration = Duration::from_secs(1);

/// A listener's address, and what closes it.
struct Door {
    address: ListenAddress,
    closing: watch::Sender<bool>,
}

impl Door {
    fn new(address: ListenAddress) -> Self {
        Self { address, closing: watch::Sender::new(false) }
    }

    fn is_open(&self) -> bool {
        !*self.closing.borrow()
    }
}

/// One worker's sockets, with the numbers of their listeners.
type Sockets = Vec<(usize, listen::Listener)>;

/// Sockets that are to be accepted from.
struct Opening {
    /// For each worker.
    sockets: Vec<Sockets>,
    files: SocketFiles,
}

/// A configuration with all that it needs of the system.
pub(super) struct Ready {
    config: Config,
    router: Router,
    tls: TlsServers,
    tls_peers: TlsPeers,
    access_log: AccessLog,
    logs: Vec<AccessLog>,
    /// For each worker those that it has not got yet.
    sockets: Vec<Sockets>,
    /// What goes with them.
    files: SocketFiles,
    /// Every address that it listens on.
    wanted: Vec<ListenAddress>,
}

impl Ready {
    /// Binds and opens what the present configuration has not bound and opened already.
    pub(super) fn new(
        config: Config,
        threads: usize,
        present: Option<&Live>,
    ) -> Result<Self, ServeError> {
        let mut router = Router::new(&config);
        let known = present.map_or(&[][..], |live| &live.listeners);
        let addresses: Vec<ListenAddress> = known.iter().map(|door| door.address.clone()).collect();
        let wanted: Vec<ListenAddress> = router.listeners().cloned().collect();
        router.keep_numbers(&addresses);
        let is_open = |number: usize| known.get(number).is_some_and(Door::is_open);
        let new = router.listeners().cloned().enumerate();
        let new = new.filter(|(n, address)| wanted.contains(address) && !is_open(*n));
        let (numbers, addresses): (Vec<usize>, Vec<ListenAddress>) = new.unzip();
        let tls = TlsServers::new(&config, &router)?;
        let tls_peers = TlsPeers::new(&config)?;
        let listen::Bound { workers: sockets, files } = listen::bind(&addresses, threads)?;
        let number = |sockets: Vec<_>| numbers.iter().copied().zip(sockets).collect();
        let runtime = present.map(|live| live.current.load_full());
        let known_log = |path: &LogPath| {
            let runtime = runtime.as_ref()?;
            let index = runtime.config.logs.iter().position(|known| known == path)?;
            runtime.logs.get(index).cloned()
        };
        let logs = config.logs.iter().map(|path| match known_log(path) {
            Some(log) => Ok(log),
            None => AccessLog::of_route(path).map_err(ServeError::AccessLog),
        });
        let logs = logs.collect::<Result<Vec<_>, _>>()?;
        let access_log = match &runtime {
            Some(runtime) if runtime.config.access_log == config.access_log => {
                runtime.access_log.clone()
            }
            _ => AccessLog::open(&config.access_log).map_err(ServeError::AccessLog)?,
        };
        let sockets = sockets.into_iter().map(number).collect();
        Ok(Self { config, router, tls, tls_peers, access_log, logs, sockets, files, wanted })
    }

    /// What requests are served from, and the sockets that are to be opened for them.
    fn runtime(self, upstreams: Vec<Arc<Served>>, implicit: Registry) -> (Runtime, Opening) {
        let Self { config, router, tls, tls_peers, access_log, logs, sockets, files, .. } = self;
        let implicit = Arc::new(implicit);
        let runtime =
            Runtime { config, router, upstreams, implicit, tls, tls_peers, access_log, logs };
        (runtime, Opening { sockets, files })
    }
}

/// What the workers serve at the moment.
pub(super) struct Live {
    process: Process,
    current: Current,
    /// The same for the operator.
    roster: Roster,
    background: Background,
    /// Every listener that there has been; its number is its place here.
    listeners: Vec<Door>,
    /// The files of those that have one; they go with the process.
    files: Vec<SocketFiles>,
    /// A line to each worker.
    workers: Vec<mpsc::UnboundedSender<News>>,
    /// Turns true when the process is to end.
    shutdown: watch::Sender<bool>,
}

impl Live {
    /// The first configuration of the process and the workers that will serve it; begins to look
    /// names up and to probe. The future ends once each upstream was looked up and probed once, or
    /// after a second.
    pub(super) fn start(
        ready: Ready,
        process: Process,
    ) -> Result<(Self, Vec<Worker>, impl Future<Output = ()>), ServeError> {
        let shutdown = watch::Sender::new(false);
        let mut background = Background::new();
        let next = background.next(&ready.config, &shutdown.subscribe())?;
        // Without the first addresses the first requests would be refused for no reason.
        let settled = timeout(FIRST_LOOKUPS, next.settled()).map(drop);
        let upstreams = background.served(&next);
        let implicit = Registry::new(next.resolvers(), shutdown.subscribe(), &[]);
        background.advance(next);
        let (runtime, opening) = ready.runtime(upstreams, implicit);
        let current: Current = Arc::new(ArcSwap::from_pointee(runtime));
        let worker = |_: &Sockets| {
            let (sender, news) = mpsc::unbounded_channel();
            let (current, shutdown) = (Arc::clone(&current), shutdown.subscribe());
            (sender, Worker { current, news, shutdown })
        };
        let (senders, workers) = opening.sockets.iter().map(worker).unzip();
        let mut live = Self {
            process,
            roster: Roster::new(Arc::clone(&current)),
            current,
            background,
            listeners: Vec::new(),
            files: Vec::new(),
            workers: senders,
            shutdown,
        };
        live.open(opening);
        Ok((live, workers, settled))
    }

    /// Prints the dashboard from now on.
    pub(super) fn show(&mut self) {
        self.background.show();
    }

    /// Whom the operator can mean.
    pub(super) fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// The addresses that are listened on.
    pub(super) fn addresses(&self) -> String {
        let open = self.listeners.iter().filter(|listener| listener.is_open());
        let open: Vec<String> = open.map(|listener| listener.address.to_string()).collect();
        open.join(",")
    }

    /// Where lines about requests go.
    pub(super) fn access_logs(&self) -> Vec<AccessLog> {
        let runtime = self.current.load();
        std::iter::once(&runtime.access_log).chain(&runtime.logs).cloned().collect()
    }

    /// Hands sockets to the workers.
    fn open(&mut self, opening: Opening) {
        let Opening { sockets, files } = opening;
        self.files.push(files);
        let runtime = self.current.load_full();
        let known = self.listeners.len();
        let new = runtime.router.listeners().skip(known).cloned();
        self.listeners.extend(new.map(Door::new));
        for (number, _) in sockets.first().into_iter().flatten() {
            // It may have been closed by a configuration before.
            self.listeners[*number].closing.send_replace(false);
        }
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            for (number, socket) in sockets {
                let closing = self.listeners[number].closing.subscribe();
                // A worker that has ended ends the process.
                let _ = worker.send(News::Listen(Listening { number, socket, closing }));
            }
        }
    }

    /// Reads the configuration again and serves it, or serves on as before and says why.
    async fn reload(&mut self) {
        let Some(read) = self.process.read.clone() else {
            log::warn!(target: "robin::serve", "SIGHUP ignored, there is no file to read again");
            return;
        };
        let problems = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(config)) => match self.change_to(config).await {
                Ok(()) => return,
                Err(error) => vec![error.to_string()],
            },
            Ok(Err(problems)) => problems,
            Err(panicked) => vec![panicked.to_string()],
        };
        for problem in problems {
            let line = Line::new("reload refused, serving on as before").field("error", problem);
            log::error!(target: "robin::serve", "{line}");
        }
    }

    async fn change_to(&mut self, reread: Reread) -> Result<(), ServeError> {
        let Reread { config, events } = reread;
        let threads = config.threads.map_or_else(super::cores, usize::from);
        if threads != self.workers.len() {
            let line = Line::new("threads stay as they are until a restart");
            let line = line.field("threads", self.workers.len());
            log::warn!(target: "robin::serve", "{line}");
        }
        let ready = Ready::new(config, self.workers.len(), Some(self))?;
        let next = self.background.next(&ready.config, &self.shutdown.subscribe())?;
        let _ = timeout(FIRST_LOOKUPS, next.settled()).await;
        logger::redirect(&events).map_err(ServeError::ErrorLog)?;
        let upstreams = self.background.served(&next);
        let wanted: Vec<ListenAddress> = ready.wanted.clone();
        let before = self.current.load_full();
        let known = before.implicit.known();
        let implicit = Registry::new(next.resolvers(), self.shutdown.subscribe(), &known);
        let (runtime, opening) = ready.runtime(upstreams, implicit);
        self.current.store(Arc::new(runtime));
        self.roster.reloaded(&before);
        drop(before);
        self.open(opening);
        for door in &self.listeners {
            if door.is_open() && !wanted.contains(&door.address) {
                door.closing.send_replace(true);
                self.files.iter_mut().for_each(|files| files.remove(&door.address));
            }
        }
        for worker in &self.workers {
            let _ = worker.send(News::Reloaded);
        }
        self.background.advance(next);
        self.background.show();
        let line = Line::new("reloaded").field("listen", self.addresses());
        log::info!(target: "robin::serve", "{line}");
        Ok(())
    }
}

impl Obeys for Live {
    async fn reload(&mut self) {
        Live::reload(self).await;
    }

    fn reopen(&mut self) {
        let failed = sink::reopen();
        if failed.is_empty() {
            log::info!(target: "robin::serve", "log files reopened");
        }
        for (path, error) in failed {
            let line = Line::new("log file cannot be reopened, writing to the old one");
            let line = line.field("path", path.display()).field("error", error);
            log::error!(target: "robin::serve", "{line}");
        }
    }

    fn end(&mut self) {
        // Receivers are gone only when no worker is left, and then there is nothing to tell.
        self.shutdown.send_replace(true);
    }
}
