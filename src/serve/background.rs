//! Everything on a timer: discovery, probes and the dashboard, as tasks of the main thread.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, sleep, timeout};

use super::ServeError;
use super::balancing::{Balancer, Refresh};
use super::probes::{self, Probe};
use crate::config::model::{self, Config};
use crate::discovery::{self, Discovery, Resolver};
use crate::health::{ProbeRule, Tick};
use crate::observe::dashboard::{self, Due, UpstreamView};
use crate::observe::event::{self, Line, OnChange};
use crate::proxy::Served;
use crate::upstream::{Member, PeerState, Status, Upstream};

/// How often a name that has no address is looked up at least. With a long `refresh` nothing else
/// would ask: there is no peer to which a connect could fail.
const MISSING: Duration = Duration::from_secs(1);
/// How often the dashboard looks for a change: it prints at most one block a second.
const LOOK: Duration = Duration::from_millis(250);
/// How often the start looks whether the first probes have ended.
const SETTLING: Duration = Duration::from_millis(10);

/// One upstream with what keeps it up to date.
struct Kept {
    balancer: Balancer,
    discovery: Arc<Discovery>,
    probe: Option<Probe>,
}

/// The tasks before they run.
pub(super) struct Background {
    kept: Vec<Kept>,
    dashboard: model::Dashboard,
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

impl Background {
    /// Live upstreams for a configuration, and the tasks that will keep them so.
    pub(super) fn new(config: &Config) -> Result<(Self, Vec<Served>), ServeError> {
        let resolver = Resolver::new(&config.resolver)
            .map_err(|error| ServeError::Resolver(error.to_string()))?;
        let resolver = Arc::new(resolver);
        let keep = |spec| Kept::new(spec, &resolver);
        let kept: Vec<Kept> = config.upstreams.iter().map(keep).collect();
        let served = kept.iter().map(Kept::served).collect();
        Ok((Self { kept, dashboard: config.dashboard.clone() }, served))
    }

    /// Starts the tasks, all but the dashboard's.
    pub(super) fn start(self, ending: &watch::Receiver<bool>) -> Started {
        let (first, all_refreshed) = mpsc::channel::<()>(1);
        let watched = self.kept.iter().map(Kept::watched).collect();
        for kept in self.kept {
            tokio::spawn(probes::run(
                Arc::clone(kept.balancer.upstream()),
                kept.probe.clone(),
                |upstream, change| event::peer(upstream, &change),
                ending.clone(),
            ));
            tokio::spawn(kept.refresh(first.clone()));
        }
        Started { watched, dashboard: self.dashboard, all_refreshed }
    }
}

/// The tasks under way, and the dashboard before its first block.
pub(super) struct Started {
    watched: Vec<(Arc<Upstream>, Arc<Discovery>)>,
    dashboard: model::Dashboard,
    /// Closes when each upstream was refreshed once; nothing is ever sent.
    all_refreshed: mpsc::Receiver<()>,
}

impl Started {
    /// Waits until each upstream was refreshed once and each of its peers was probed.
    pub(super) async fn settled(&mut self) {
        let _ = self.all_refreshed.recv().await;
        let waits = |peer: &PeerState| peer.status == Status::Waiting;
        let unsettled = |(upstream, _): &(Arc<Upstream>, Arc<Discovery>)| {
            upstream.snapshot(Tick::now()).peers.iter().any(waits)
        };
        while self.watched.iter().any(unsettled) {
            sleep(SETTLING).await;
        }
    }

    /// Prints the dashboard at once, on changes, and its summary line, for ever.
    pub(super) async fn show(self) {
        let mut schedule = dashboard::Schedule::new(&self.dashboard, Tick::now());
        loop {
            let now = Tick::now();
            let view = |(upstream, discovery): &(Arc<Upstream>, Arc<Discovery>)| {
                UpstreamView::of(&upstream.snapshot(now), discovery.reason(), now)
            };
            let views: Vec<UpstreamView> = self.watched.iter().map(view).collect();
            schedule.see(&views);
            while let Some(due) = schedule.due(now) {
                match due {
                    Due::Block => dashboard::print_block(&views),
                    Due::Summary => dashboard::print_summary(&views),
                }
            }
            sleep(LOOK).await;
        }
    }
}

impl Kept {
    fn new(spec: &model::Upstream, resolver: &Arc<Resolver>) -> Self {
        let rule = spec.health_check.as_ref().map(ProbeRule::from);
        let upstream = Arc::new(Upstream::new(&spec.name, &spec.method, rule));
        let discovery = Arc::new(Discovery::new(spec, Arc::clone(resolver)));
        let lookups = Lookups {
            discovery: Arc::clone(&discovery),
            upstream: spec.name.clone(),
            refresh: spec.refresh,
        };
        let probe = Probe::of(spec);
        let check = probe.clone().map(|p| Box::new(p) as Box<dyn HealthCheck + Send + Sync>);
        Self { balancer: Balancer::new(upstream, lookups, check), discovery, probe }
    }

    fn served(&self) -> Served {
        let discovery = Arc::clone(&self.discovery);
        Served {
            upstream: Arc::clone(self.balancer.upstream()),
            outage: OnChange::default(),
            reason: Box::new(move || discovery.reason()),
        }
    }

    fn watched(&self) -> (Arc<Upstream>, Arc<Discovery>) {
        (Arc::clone(self.balancer.upstream()), Arc::clone(&self.discovery))
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

    /// Refreshes for ever; lets go of `first` after the first time.
    async fn refresh(self, first: mpsc::Sender<()>) {
        let mut first = Some(first);
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
                    log::error!(target: "robin::discovery", "{line}");
                }
            }
            drop(first.take());
        }
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
