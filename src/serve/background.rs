//! Everything on a timer: discovery, probes and the dashboard, as tasks of the main thread.
//!
//! A reload keeps the upstreams whose specification it did not change, with all that is known of
//! their peers, and the tasks behind them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use super::ServeError;
use super::balancing::{Balancer, Refresh};
use super::probes::{self, Probe};
use super::resolvers::Resolvers;
use crate::config::model::{self, Config};
use crate::discovery::{self, Discovery, Resolver};
use crate::health::Tick;
use crate::observe::dashboard::{self, Due, Sums};
use crate::observe::event::{self, Line, OnChange};
use crate::observe::history;
use crate::observe::view::UpstreamView;
use crate::proxy::{Implicit, Served};
use crate::upstream::{Member, Peer, PeerState, Policy, Status, Upstream, Words};

/// How often a name that has no address is looked up at least. With a long `refresh` nothing else
/// would ask: there is no peer to which a connect could fail.
const MISSING: Duration = Duration::from_secs(1);
/// How often the dashboard looks for a change: it prints at most one block a second.
const LOOK: Duration = Duration::from_millis(250);
/// How often the start looks whether the first probes have ended.
const SETTLING: Duration = Duration::from_millis(10);

/// One upstream with what keeps it up to date.
pub(super) struct Kept {
    spec: model::Upstream,
    balancer: Balancer,
    discovery: Arc<Discovery>,
    probes: Vec<Probe>,
    served: Arc<Served>,
    /// Turns true with the end of the first refresh.
    refreshed: watch::Sender<bool>,
}

/// What is kept, and the tasks that keep it; they end with it.
pub(super) struct Running {
    kept: Arc<Kept>,
    _tasks: JoinSet<()>,
}

/// Every upstream of a configuration with the tasks behind it. What has not changed is handed on
/// from one configuration to the next, tasks and all.
pub(super) struct Background {
    running: Vec<Running>,
    dashboard: model::Dashboard,
    /// What the summaries have told of; a reload does not begin it anew.
    sums: Arc<Mutex<Sums>>,
    shown: JoinSet<()>,
}

/// Discovery as the balancer asks for it: what changed about names is printed on the way.
struct Lookups {
    discovery: Arc<Discovery>,
    upstream: String,
    refresh: Duration,
}

#[async_trait]
impl Refresh for Lookups {
    async fn refresh(&self) -> Vec<Member> {
        let refreshed = self.discovery.refresh().await;
        for change in &refreshed.events {
            tell(&self.upstream, change, self.refresh);
        }
        refreshed.members
    }
}

/// The upstreams of the next configuration before they take the place of the present ones.
pub(super) struct Next {
    resolvers: Resolvers,
    upstreams: Vec<Coming>,
    dashboard: model::Dashboard,
}

/// An upstream of the next configuration.
enum Coming {
    New(Running),
    /// Where it stands among the present ones.
    Present(usize),
}

impl Background {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let dashboard = model::Dashboard { enabled: false, summary: Duration::ZERO };
        let sums = Arc::new(Mutex::new(Sums::new(Tick::now())));
        Self { running: Vec::new(), dashboard, sums, shown: JoinSet::new() }
    }

    /// Live upstreams for a configuration. One whose specification has not changed is the one
    /// there is; a new one begins with the addresses that are known of its names. The files that the
    /// system's resolver reads are read again.
    pub(super) fn next(
        &self,
        config: &Config,
        ending: &watch::Receiver<bool>,
    ) -> Result<Next, ServeError> {
        let resolvers =
            Resolvers::new(config).map_err(|error| ServeError::Resolver(error.to_string()))?;
        let coming = |spec: &model::Upstream| match self
            .running
            .iter()
            .position(|running| running.kept.spec == *spec)
        {
            Some(present) => Coming::Present(present),
            None => Coming::New(Running::start(self.keep(spec, &resolvers), ending)),
        };
        let upstreams = config.upstreams.iter().map(coming).collect();
        Ok(Next { resolvers, upstreams, dashboard: config.dashboard.clone() })
    }

    fn keep(&self, spec: &model::Upstream, resolvers: &Resolvers) -> Kept {
        let kept = Kept::new(spec, resolvers.of(spec.resolver.as_ref()), false);
        for known in &self.running {
            kept.discovery.adopt(&known.kept.discovery);
            if known.kept.spec.name == spec.name {
                kept.balancer.upstream().adopt_sessions(known.kept.balancer.upstream());
                kept.inherit(known.kept.served.upstream.words());
                kept.balancer.upstream().inherit_passes(known.kept.balancer.upstream());
            }
        }
        let members = kept.discovery.known();
        if !members.is_empty() {
            kept.balancer.upstream().publish(&members, Tick::now());
        }
        kept
    }

    /// What requests ask, in the order of the next configuration.
    pub(super) fn served(&self, next: &Next) -> Vec<Arc<Served>> {
        let served = |coming: &Coming| match coming {
            Coming::New(running) => Arc::clone(&running.kept.served),
            Coming::Present(index) => Arc::clone(&self.running[*index].kept.served),
        };
        next.upstreams.iter().map(served).collect()
    }

    /// Lets the next upstreams take the place of the present ones. The tasks of those that are
    /// left out end.
    pub(super) fn advance(&mut self, next: Next) {
        let mut present: Vec<Option<Running>> = self.running.drain(..).map(Some).collect();
        let advance = |coming| match coming {
            Coming::New(running) => Some(running),
            Coming::Present(index) => {
                let running = present.get_mut(index).and_then(Option::take)?;
                let resolver = next.resolvers.of(running.kept.spec.resolver.as_ref());
                running.kept.discovery.ask(Arc::clone(resolver));
                Some(running)
            }
        };
        self.running = next.upstreams.into_iter().filter_map(advance).collect();
        for running in present.into_iter().flatten() {
            // No request will look for these connections again.
            running.kept.balancer.upstream().peers().iter().for_each(Peer::renew);
        }
        self.dashboard = next.dashboard;
    }

    /// Prints the dashboard at once, on changes, and its summary line, and keeps the history of all peers,
    /// until the next call.
    pub(super) fn show(&mut self, implicit: Arc<dyn Implicit>) {
        let watched = self.running.iter().map(|running| Arc::clone(running.served())).collect();
        self.shown = JoinSet::new();
        let sums = Arc::clone(&self.sums);
        self.shown.spawn(show(watched, implicit, self.dashboard.clone(), sums));
    }
}

impl Next {
    /// What looks names up.
    pub(super) fn resolvers(&self) -> Resolvers {
        self.resolvers.clone()
    }

    /// Waits until each new upstream was refreshed once and each of its peers was probed.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let new = |coming: &Coming| match coming {
            Coming::New(running) => Some(Arc::clone(&running.kept)),
            Coming::Present(_) => None,
        };
        let new: Vec<Arc<Kept>> = self.upstreams.iter().filter_map(new).collect();
        async move {
            for kept in &new {
                // The sender lives as long as what is kept.
                let _ = kept.refreshed.subscribe().wait_for(|refreshed| *refreshed).await;
            }
            let waits = |peer: &PeerState| peer.status == Status::Waiting;
            let unsettled = |kept: &Arc<Kept>| {
                kept.balancer.upstream().snapshot(Tick::now()).peers.iter().any(waits)
            };
            while new.iter().any(unsettled) {
                sleep(SETTLING).await;
            }
        }
    }
}

async fn show(
    watched: Vec<Arc<Served>>,
    implicit: Arc<dyn Implicit>,
    dashboard: model::Dashboard,
    sums: Arc<Mutex<Sums>>,
) {
    let mut schedule = dashboard::Schedule::new(&dashboard, Tick::now());
    loop {
        let now = Tick::now();
        let mut views: Vec<UpstreamView> = watched.iter().map(|served| served.view(now)).collect();
        schedule.see(&views);
        while let Some(due) = schedule.due(now) {
            match due {
                Due::Block => dashboard::print_block(&views),
                Due::Summary => {
                    let times = |at: usize| watched[at].upstream.tally().requests.time.read();
                    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                    let (since, sums) = sums.take(&views, times, now);
                    dashboard::print_summary(&views, &sums, since);
                }
            }
        }
        views.extend(implicit.known().iter().map(|served| served.view(now)));
        history::record(&views);
        sleep(LOOK).await;
    }
}

impl Running {
    /// Starts the tasks on the runtime that this is called on.
    pub(super) fn start(kept: Kept, ending: &watch::Receiver<bool>) -> Self {
        let kept = Arc::new(kept);
        let mut tasks = JoinSet::new();
        tasks.spawn(probes::run(
            Arc::clone(kept.balancer.upstream()),
            kept.probes.clone(),
            |upstream, change| event::peer(upstream, &change),
            ending.clone(),
        ));
        if kept.spec.servers.iter().any(|server| !server.slow_start.is_zero()) {
            tasks.spawn(warm(Arc::clone(kept.balancer.upstream())));
        }
        let refreshed = Arc::clone(&kept);
        tasks.spawn(async move { refreshed.refresh().await });
        if !kept.spec.drain_timeout.is_zero() {
            tasks.spawn(cut_off(Arc::clone(kept.balancer.upstream())));
        }
        Self { kept, _tasks: tasks }
    }

    /// What requests ask.
    pub(super) fn served(&self) -> &Arc<Served> {
        &self.kept.served
    }

    /// Turns true with the end of the first refresh.
    pub(super) fn refreshed(&self) -> watch::Receiver<bool> {
        self.kept.refreshed.subscribe()
    }
}

impl Kept {
    /// An upstream of the configuration or, with `of_requests`, one that only requests name.
    pub(super) fn new(spec: &model::Upstream, resolver: &Arc<Resolver>, of_requests: bool) -> Self {
        let upstream = Arc::new(Upstream::with(&spec.name, Policy::of(spec)));
        let discovery = Arc::new(Discovery::new(spec, Arc::clone(resolver)));
        let lookups = Lookups {
            discovery: Arc::clone(&discovery),
            upstream: spec.name.clone(),
            refresh: spec.refresh,
        };
        let probes = Probe::all_of(spec);
        let check = probes.first().cloned();
        let check = check.map(|p| Box::new(p) as Box<dyn HealthCheck + Send + Sync>);
        let balancer = Balancer::new(Arc::clone(&upstream), lookups, check);
        let (known, looked_up) = (Arc::clone(&discovery), Arc::clone(&discovery));
        let served = Arc::new(Served {
            spec: spec.clone(),
            of_requests,
            upstream,
            outage: OnChange::default(),
            spent: OnChange::default(),
            reason: Box::new(move || known.reason()),
            lookups: Box::new(move || looked_up.lookups()),
        });
        let refreshed = watch::Sender::new(false);
        Self { spec: spec.clone(), balancer, discovery, probes, served, refreshed }
    }

    /// What requests ask.
    pub(super) fn served(&self) -> &Arc<Served> {
        &self.served
    }

    /// Takes over what the operator has said of the peers of one that it takes the place of.
    pub(super) fn inherit(&self, words: Words) {
        self.balancer.upstream().inherit(words);
    }

    /// Resolves when a refresh cannot wait for its turn.
    async fn asked(&self) {
        let asked = self.balancer.upstream().refresh_asked();
        match self.discovery.reason() {
            None => asked.await,
            // That it is over means the same as that somebody asked.
            Some(_) => drop(timeout(MISSING, asked).await),
        }
    }

    /// Refreshes for ever.
    async fn refresh(&self) {
        let mut schedule = self.discovery.schedule();
        let upstream = self.balancer.upstream();
        loop {
            schedule.wait(self.asked()).await;
            // A panic would end this task, and with it all news of this upstream, for good.
            match AssertUnwindSafe(self.balancer.update()).catch_unwind().await {
                Ok(changes) => {
                    for change in changes {
                        event::peer(upstream.name(), &change);
                    }
                }
                Err(_) => {
                    let line = Line::new("refresh panicked, keeping peers");
                    let line = line.field("upstream", upstream.name());
                    line.error("robin::discovery");
                }
            }
            self.refreshed.send_replace(true);
        }
    }
}

/// Lets peers in their slow start grow; asleep while there are none.
async fn warm(upstream: Arc<Upstream>) {
    loop {
        upstream.growing().await;
        while let Some(next) = upstream.warm(Tick::now()) {
            sleep(next).await;
        }
    }
}

/// Cuts off what is in flight on peers that left too long ago, for ever.
async fn cut_off(upstream: Arc<Upstream>) {
    let mut publications = upstream.publications();
    loop {
        let now = Tick::now();
        for change in upstream.cut_off(now) {
            event::peer(upstream.name(), &change);
        }
        let wait = match upstream.next_cut() {
            Some(next) => Duration::from_millis(next.as_millis().saturating_sub(now.as_millis())),
            None => Duration::MAX,
        };
        // The upstream holds the sender. That time is up means the same as that a peer has left.
        drop(timeout(wait, publications.changed()).await);
    }
}

/// Prints what changed about a name.
fn tell(upstream: &str, change: &discovery::Event, refresh: Duration) {
    use discovery::Event;
    match change {
        Event::RefreshFailed { host, error, kept } => {
            event::refresh_failed(upstream, host, *kept, refresh, error);
        }
        Event::Gone { host, reason } => event::name_gone(upstream, host, reason),
        Event::Unresolved { host, error } => event::name_unresolved(upstream, host, error),
        Event::Recovered { host, addresses } => {
            event::refresh_recovered(upstream, host, *addresses);
        }
    }
}
