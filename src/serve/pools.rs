//! Pingora's proxy, which owns a worker's connections to peers.
//!
//! How many it keeps idle is fixed when it is made: where a reload asks for more, another takes its
//! place, and only then do the connections of the one before end unused.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

use crate::proxy::{Current, Idle, Lane, Robin, Runtime};

/// As many idle connections as one upstream may ask for. The pool's table is made for all of them.
const MOST: usize = 65_535;

/// What requests are served by.
pub(super) struct Pools {
    current: Current,
    newest: ArcSwap<Pool>,
    /// Those that the express lane keeps.
    idle: Idle,
}

struct Pool {
    proxy: Arc<HttpProxy<Robin>>,
    size: usize,
}

impl Pools {
    pub(super) fn new(current: Current, idle: Idle) -> Self {
        let newest = ArcSwap::from_pointee(Pool::new(&current));
        idle.fit(wanted(&current.load()));
        Self { current, newest, idle }
    }

    /// What requests are served from at the moment.
    pub(super) fn runtime(&self) -> Arc<Runtime> {
        self.current.load_full()
    }

    /// What serves the plain requests of a connection.
    pub(super) fn lane(&self) -> Lane {
        Lane::new(Arc::clone(&self.current), self.idle.clone())
    }

    /// What serves the next request.
    pub(super) fn proxy(&self) -> Arc<HttpProxy<Robin>> {
        Arc::clone(&self.newest.load().proxy)
    }

    /// Closes the connections that the lane keeps: the worker ends.
    pub(super) fn close(&self) {
        self.idle.close();
    }

    /// Makes room for as many idle connections as the runtime of the moment asks for.
    pub(super) fn fit(&self) {
        let wanted = wanted(&self.runtime());
        self.idle.fit(wanted);
        if wanted > self.newest.load().size {
            self.newest.store(Arc::new(Pool::new(&self.current)));
        }
    }
}

impl Pool {
    fn new(current: &Current) -> Self {
        let size = wanted(&current.load());
        let conf = ServerConf { upstream_keepalive_pool_size: size, ..ServerConf::default() };
        let mut proxy = HttpProxy::new(Robin(Arc::clone(current)), Arc::new(conf));
        proxy.handle_init_modules();
        Self { proxy: Arc::new(proxy), size }
    }
}

fn wanted(runtime: &Runtime) -> usize {
    // Each has its share, or the busy ones would push the others' connections out. A pool of size 0
    // would keep every connection for good.
    let shares = runtime.config.upstreams.iter().map(|upstream| upstream.keepalive);
    shares.fold(0, usize::saturating_add).clamp(1, MOST)
}
