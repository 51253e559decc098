//! What a reload changes while the process runs: the runtime, the listeners and the upstreams.
//!
//! A new configuration is made ready beside the present one (sockets bound, logs open, names looked
//! up once, peers probed once) and then takes its place in one step: new connections, and the
//! next request of each kept one, are served from it; requests under way end with what they began
//! with. Where anything fails, the present one serves on. Threads, the user, the pid file
//! and the control socket are the process's own: they stay until it is started again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::background::Background;
use super::control::Roster;
use super::heritage::{FOREIGN, Inherited, LISTENER};
use super::implicit::{Book, Registry};
use super::life::Obeys;
use super::listen::SocketFiles;
use super::pools::Pools;
use super::reread::{Refused, Reread};
use super::watch::seen;
use super::worker::{Listening, News, Places, Worker};
use super::{Process, ServeError, changes, listen, systemd};
use crate::config::model::{Config, ListenAddress, LogPath};
use crate::limits::Tables;
use crate::observe::access::AccessLog;
use crate::observe::counters;
use crate::observe::event::Line;
use crate::observe::logger::{self, Target};
#[cfg(feature = "otlp")]
use crate::observe::otlp::Exporter;
use crate::observe::sink;
use crate::proxy::{Current, Idle, Lanes, Runtime, Served, TlsPeers, TlsServers};
use crate::route::Router;

/// How long new upstreams have to be looked up and probed once before requests go to them.
const FIRST_LOOKUPS: Duration = Duration::from_secs(1);

/// How long busy workers are waited for to close a listener.
const CLOSED: Duration = Duration::from_secs(5);

/// A listener's address, and what closes it.
struct Door {
    address: ListenAddress,
    closing: watch::Sender<bool>,
    /// Its sockets, for a process that takes our place; none once it is closed.
    sockets: Vec<listen::Listener>,
    /// Each worker has a sender while it accepts here.
    open: (mpsc::Sender<()>, mpsc::Receiver<()>),
    /// How many connections came through it.
    places: Arc<Places>,
}

impl Door {
    fn new(address: ListenAddress) -> Self {
        let (sockets, open) = (Vec::new(), mpsc::channel(1));
        Self { address, closing: watch::Sender::new(false), sockets, open, places: Arc::default() }
    }

    fn is_open(&self) -> bool {
        !*self.closing.borrow()
    }

    /// Closes it, and waits until the workers have done so: the next configuration may want the address again.
    async fn close(&mut self) {
        self.closing.send_replace(true);
        self.sockets.clear();
        self.open.0 = mpsc::channel(1).0;
        let _ = timeout(CLOSED, self.open.1.recv()).await;
    }
}

/// One worker's sockets, with the numbers of their listeners.
type Sockets = Vec<(usize, listen::Listener)>;

/// Sockets that are to be accepted from.
struct Opening {
    /// For each worker.
    sockets: Vec<Sockets>,
    /// Of each listener that is opened, by its number.
    originals: Vec<(usize, Vec<listen::Listener>)>,
    files: SocketFiles,
}

/// A configuration with all that it needs of the system.
pub(super) struct Ready {
    config: Config,
    router: Router,
    tables: Tables,
    tls: TlsServers,
    tls_peers: TlsPeers,
    access_log: AccessLog,
    logs: Vec<AccessLog>,
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
    /// What is listened on that is not yet.
    opening: Opening,
    /// Every address that it listens on.
    wanted: Vec<ListenAddress>,
}

impl Ready {
    /// Binds and opens what the present configuration has not bound and opened already.
    pub(super) fn new(
        config: Config,
        threads: usize,
        present: Option<&Live>,
        inherited: &mut Inherited,
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
        let bound = listen::bind(&addresses, threads, inherited)?;
        let number = |sockets: Sockets| {
            sockets.into_iter().map(|(position, socket)| (numbers[position], socket)).collect()
        };
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
        let opening = Opening {
            sockets: bound.workers.into_iter().map(number).collect(),
            originals: numbers.iter().copied().zip(bound.originals).collect(),
            files: bound.files,
        };
        #[cfg(feature = "otlp")]
        let exporter = match (&config.otlp, &runtime) {
            (Some(otlp), Some(runtime)) if runtime.config.otlp.as_ref() == Some(otlp) => {
                runtime.exporter.clone()
            }
            (otlp, _) => otlp.as_ref().map(Exporter::start).transpose()?,
        };
        let none = Tables::default();
        let known = runtime.as_ref().map_or(&none, |runtime| &runtime.tables);
        let tables = Tables::new(&config.zones.requests, &config.zones.connections, known);
        Ok(Self {
            config,
            router,
            tables,
            tls,
            tls_peers,
            access_log,
            logs,
            #[cfg(feature = "otlp")]
            exporter,
            opening,
            wanted,
        })
    }

    /// What requests are served from, and the sockets that are to be opened for them.
    fn runtime(self, upstreams: Vec<Arc<Served>>, implicit: Registry) -> (Runtime, Opening) {
        let runtime = Runtime {
            lanes: Lanes::new(&self.config),
            config: self.config,
            router: self.router,
            tables: self.tables,
            upstreams,
            implicit: Arc::new(implicit),
            tls: self.tls,
            tls_peers: self.tls_peers,
            access_log: self.access_log,
            logs: self.logs,
            #[cfg(feature = "otlp")]
            exporter: self.exporter,
        };
        (runtime, self.opening)
    }
}

/// What the workers serve at the moment.
pub(super) struct Live {
    process: Process,
    current: Current,
    /// The same for the operator.
    roster: Roster,
    background: Background,
    /// What was counted of upstreams that only requests name.
    book: Arc<Book>,
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
        let book = Arc::<Book>::default();
        let implicit =
            Registry::new(next.resolvers(), shutdown.subscribe(), &[], Arc::clone(&book));
        background.advance(next);
        let (runtime, opening) = ready.runtime(upstreams, implicit);
        let current: Current = Arc::new(ArcSwap::from_pointee(runtime));
        let worker = |idle| {
            let (sender, news) = mpsc::unbounded_channel();
            let pools = Arc::new(Pools::new(Arc::clone(&current), idle));
            (sender, Worker { pools, news, shutdown: shutdown.subscribe() })
        };
        let idle = Idle::of_workers(opening.sockets.len());
        let (senders, workers) = idle.into_iter().map(worker).unzip();
        let mut live = Self {
            process,
            roster: Roster::new(Arc::clone(&current)),
            current,
            background,
            book,
            listeners: Vec::new(),
            files: Vec::new(),
            workers: senders,
            shutdown,
        };
        live.open(opening);
        Ok((live, workers, settled))
    }

    /// Prints the dashboard and keeps the history of the peers from now on.
    pub(super) fn show(&mut self) {
        self.background.show(Arc::clone(&self.current.load().implicit));
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

    /// Where traces go.
    #[cfg(feature = "otlp")]
    pub(super) fn exporter(&self) -> Option<Exporter> {
        self.current.load().exporter.clone()
    }

    /// Hands sockets to the workers.
    fn open(&mut self, opening: Opening) {
        let Opening { sockets, originals, files } = opening;
        self.files.push(files);
        let runtime = self.current.load_full();
        let known = self.listeners.len();
        let new = runtime.router.listeners().skip(known).cloned();
        self.listeners.extend(new.map(Door::new));
        for (number, sockets) in originals {
            // It may have been closed by a configuration before, whose connections are to end all the same.
            let address = self.listeners[number].address.clone();
            self.listeners[number] = Door { sockets, ..Door::new(address) };
        }
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            for (number, socket) in sockets {
                let door = &self.listeners[number];
                let (closing, open) = (door.closing.subscribe(), door.open.0.clone());
                // A worker that has ended ends the process.
                let places = Arc::clone(&door.places);
                let listening = Listening { number, socket, closing, open, places };
                let _ = worker.send(News::Listen(listening));
            }
        }
    }

    /// Reads the configuration again and serves it, or serves on as before and says why. Returns what has
    /// changed.
    async fn reload(&mut self) -> Result<String, Refused> {
        let Some(read) = self.process.read.clone() else {
            return Err(Refused::because("there is no file to read again"));
        };
        let watches = self.process.watched.is_some();
        let read = move || {
            let reread = read()?;
            // Before it is served: what is changed from then on is news.
            let seen = watches.then(|| seen(&reread.loaded));
            Ok((reread, seen))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((reread, seen))) => {
                let Reread { loaded, events } = *reread;
                let changed = self.change_to(loaded.config.clone(), &events).await;
                let watched = self.process.watched.as_ref().zip(seen);
                if let (Ok(_), Some((watched, seen))) = (&changed, watched) {
                    watched.now(seen);
                }
                changed.map_err(|error| Refused::by(&error, &loaded))
            }
            Ok(Err(refused)) => Err(refused),
            Err(panicked) => Err(Refused::because(panicked)),
        }
    }

    /// The sockets that nobody accepts from at the moment.
    fn paused(&self) -> Result<Inherited, ServeError> {
        let paused = self.listeners.iter().filter(|door| !door.is_open());
        let sockets = paused.flat_map(|door| &door.sockets).map(listen::Listener::try_clone);
        Ok(Inherited::of(sockets.collect::<Result<_, _>>()?))
    }

    async fn change_to(&mut self, config: Config, events: &Target) -> Result<String, ServeError> {
        let threads = config.threads.map_or_else(super::cores, usize::from);
        if threads != self.workers.len() {
            let line = Line::new("threads stay as they are until a restart");
            let line = line.number("threads", self.workers.len());
            line.warn("robin::serve");
        }
        let mut paused = self.paused()?;
        let ready = Ready::new(config, self.workers.len(), Some(self), &mut paused)?;
        let next = self.background.next(&ready.config, &self.shutdown.subscribe())?;
        let _ = timeout(FIRST_LOOKUPS, next.settled()).await;
        logger::redirect(events).map_err(ServeError::ErrorLog)?;
        let upstreams = self.background.served(&next);
        let wanted: Vec<ListenAddress> = ready.wanted.clone();
        let before = self.current.load_full();
        let known = before.implicit.known();
        let (ending, book) = (self.shutdown.subscribe(), Arc::clone(&self.book));
        let implicit = Registry::new(next.resolvers(), ending, &known, book);
        let (runtime, opening) = ready.runtime(upstreams, implicit);
        let changed = changes::between(&before.config, &runtime.config);
        self.current.store(Arc::new(runtime));
        self.roster.reloaded(&before);
        drop(before);
        self.open(opening);
        for door in &mut self.listeners {
            let is_there = door.is_open() || !door.sockets.is_empty();
            if is_there && !wanted.contains(&door.address) {
                door.close().await;
                self.files.iter_mut().for_each(|files| files.remove(&door.address));
            }
        }
        for worker in &self.workers {
            let _ = worker.send(News::Reloaded);
        }
        self.background.advance(next);
        self.show();
        // Who reads the line finds it counted.
        counters::RELOADS.add();
        let line = Line::new("reloaded").field("listen", self.addresses());
        line.field("changed", &changed).info("robin::serve");
        Ok(changed)
    }
}

impl Obeys for Live {
    async fn reload(&mut self) -> Result<String, Refused> {
        systemd::reloading();
        let reloaded = Live::reload(self).await;
        systemd::ready();
        if let Err(refused) = &reloaded {
            counters::RELOADS_REFUSED.add();
            refused.tell();
        }
        reloaded
    }

    fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let mut sockets = Vec::new();
        for door in &self.listeners {
            let is_local = matches!(door.address, ListenAddress::Unix(_));
            let is_foreign = is_local && !self.files.iter().any(|files| files.has(&door.address));
            for socket in &door.sockets {
                let name = if is_foreign { FOREIGN } else { LISTENER };
                sockets.push((name, socket.try_clone()?.into()));
            }
        }
        Ok(sockets)
    }

    fn pause(&mut self) {
        for door in &self.listeners {
            door.closing.send_replace(true);
        }
    }

    fn reopen(&mut self) {
        let failed = sink::reopen();
        if failed.is_empty() {
            Line::new("log files reopened").info("robin::serve");
        }
        for (path, error) in failed {
            let line = Line::new("log file cannot be reopened, writing to the old one");
            let line = line.field("path", path.display()).field("error", error);
            line.error("robin::serve");
        }
    }

    fn end(&mut self) {
        // Receivers are gone only when no worker is left, and then there is nothing to tell.
        self.shutdown.send_replace(true);
        for door in &mut self.listeners {
            door.closing.send_replace(true);
            // While these are open, clients would wait at them in vain.
            door.sockets.clear();
        }
    }
}
