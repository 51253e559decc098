//! Upstreams that only requests name: `proxy_pass http://$backend;`.
//!
//! The first request for a host starts its discovery and waits for the first answer; later ones
//! find it running. What nobody has asked for in a minute makes room for others when there are
//! many, because the name may come from a client.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::background::{Kept, Running};
use super::resolvers::Resolvers;
use crate::config::model::{self, Host, UpstreamServer};
use crate::health::Tick;
use crate::proxy::{Implicit, Served};
use crate::upstream::{Totals, Upstream, Words};

/// How many hosts are known before those that nobody asks for are let go.
const MANY: usize = 64;
/// How many are known at most.
const MOST: usize = 1024;
/// For how long nobody has asked for a host that is let go.
const IDLE: Duration = Duration::from_mins(1);
/// How long a request waits for the first answer about its host: nginx's `resolver_timeout`.
const FIRST_ANSWER: Duration = Duration::from_secs(30);

/// What a request names, and how its route looks names up.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    host: Host,
    port: u16,
    resolver: Option<model::Resolver>,
}

/// A host that was asked for.
struct Known {
    running: Running,
    asked: Tick,
}

/// The upstreams that requests have named.
pub(super) struct Registry {
    known: Mutex<HashMap<Key, Known>>,
    resolvers: Resolvers,
    /// The runtime of the main thread, where discovery lives.
    main: Handle,
    ending: watch::Receiver<bool>,
    /// What the operator has said of hosts that a configuration before had asked for.
    words: HashMap<String, Words>,
    book: Arc<Book>,
}

/// What was counted of every upstream that requests have named, also of those that were let go and
/// of those of a configuration before: sums over them never shrink.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// Those that may still count.
    present: Vec<Arc<Upstream>>,
    /// What the others have counted.
    past: Totals,
}

impl Book {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A sum that lacks its last part is the worst that a panic leaves.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, upstream: &Arc<Upstream>) {
        let mut counted = self.counted();
        counted.settle();
        counted.present.push(Arc::clone(upstream));
    }

    fn read(&self) -> Totals {
        let mut counted = self.counted();
        counted.settle();
        let mut sum = counted.past.clone();
        counted.present.iter().for_each(|upstream| sum += &upstream.tally().read());
        sum
    }
}

impl Counted {
    /// Keeps no more than the sums of those that nobody else knows: they count no more.
    fn settle(&mut self) {
        let Self { present, past } = self;
        present.retain(|upstream| {
            let counts = Arc::strong_count(upstream) > 1;
            if !counts {
                *past += &upstream.tally().read();
            }
            counts
        });
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("known", &self.known().len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// To be made on the main thread's runtime. The operator's words hold on after `before`; the
    /// book is the process's.
    pub(super) fn new(
        resolvers: Resolvers,
        ending: watch::Receiver<bool>,
        before: &[Arc<Served>],
        book: Arc<Book>,
    ) -> Self {
        let words = before.iter().map(|served| {
            let upstream = &served.upstream;
            (upstream.name().to_owned(), upstream.words())
        });
        let words = words.filter(|(_, words)| !words.is_empty()).collect();
        Self { known: Mutex::default(), resolvers, main: Handle::current(), ending, words, book }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        // Whole entries come and go under it: a poisoned one is as good as any.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream of a host, started if it is new, and what turns true with its first answer.
    fn find(&self, key: Key) -> Option<(Arc<Served>, watch::Receiver<bool>)> {
        let now = Tick::now();
        let mut known = self.known();
        if known.len() >= MANY {
            let told = |known: &Known| !known.running.served().upstream.words().is_empty();
            known.retain(|_, known| now < known.asked.after(IDLE) || told(known));
        }
        let full = known.len() >= MOST;
        if full && !known.contains_key(&key) {
            return None;
        }
        let entry = known.entry(key).or_insert_with_key(|key| {
            let spec = key.spec();
            let resolver = self.resolvers.of(key.resolver.as_ref());
            let _main = self.main.enter();
            let kept = Kept::new(&spec, resolver, true);
            self.book.enter(&kept.served().upstream);
            kept.inherit(self.words.get(&spec.name).cloned().unwrap_or_default());
            let running = Running::start(kept, &self.ending);
            Known { running, asked: now }
        });
        entry.asked = now;
        Some((Arc::clone(entry.running.served()), entry.running.refreshed()))
    }
}

#[async_trait]
impl Implicit for Registry {
    async fn upstream(
        &self,
        host: &Host,
        port: u16,
        resolver: Option<&model::Resolver>,
    ) -> Option<Arc<Served>> {
        let key = Key { host: host.clone(), port, resolver: resolver.cloned() };
        let (served, mut refreshed) = self.find(key)?;
        // Without an answer the request is told what is missing.
        let _ = timeout(FIRST_ANSWER, refreshed.wait_for(|refreshed| *refreshed)).await;
        Some(served)
    }

    fn known(&self) -> Vec<Arc<Served>> {
        let mut known: Vec<Arc<Served>> =
            self.known().values().map(|known| Arc::clone(known.running.served())).collect();
        known.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        known
    }

    fn totals(&self) -> Totals {
        self.book.read()
    }
}

impl Key {
    /// An upstream with one server line, as for an address that a route names.
    fn spec(&self) -> model::Upstream {
        let Self { host, port, resolver } = self;
        let name = match host {
            Host::Address(address) => std::net::SocketAddr::new(*address, *port).to_string(),
            Host::Name(name) | Host::Service(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("unix:{}", path.display()),
        };
        let servers = vec![UpstreamServer::at(host.clone(), *port)];
        let resolver = resolver.clone();
        model::Upstream { implicit: true, resolver, ..model::Upstream::new(name, servers) }
    }
}
