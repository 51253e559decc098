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
use crate::config::model::{self, Host, Upstream, UpstreamServer};
use crate::health::Tick;
use crate::proxy::{Implicit, Served};
use crate::upstream::Words;

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
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("known", &self.known().len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// To be made on the main thread's runtime. The operator's words hold on after `before`.
    pub(super) fn new(
        resolvers: Resolvers,
        ending: watch::Receiver<bool>,
        before: &[Arc<Served>],
    ) -> Self {
        let words = before.iter().map(|served| {
            let upstream = &served.upstream;
            (upstream.name().to_owned(), upstream.words())
        });
        let words = words.filter(|(_, words)| !words.is_empty()).collect();
        Self { known: Mutex::default(), resolvers, main: Handle::current(), ending, words }
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
            let kept = Kept::new(&spec, resolver);
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
}

impl Key {
    /// An upstream with one server line, as for an address that a route names.
    fn spec(&self) -> Upstream {
        let Self { host, port, resolver } = self;
        let name = match host {
            Host::Address(address) => std::net::SocketAddr::new(*address, *port).to_string(),
            Host::Name(name) | Host::Service(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("unix:{}", path.display()),
        };
        let servers = vec![UpstreamServer::at(host.clone(), *port)];
        let resolver = resolver.clone();
        Upstream { implicit: true, resolver, ..Upstream::new(name, servers) }
    }
}
