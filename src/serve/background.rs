//! Everything on a timer: discovery, probes and the dashboard, as tasks of the main thread.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use super::ServeError;
use crate::config::model::{self, Config};
use crate::discovery::{self, Discovery, Resolver};
use crate::health::Tick;
use crate::observe::dashboard::{self, Due, UpstreamView};
use crate::observe::event::{self, OnChange};
use crate::proxy::Served;
use crate::upstream::Upstream;

/// How often the dashboard looks for a change: it prints at most one block a second.
const LOOK: Duration = Duration::from_millis(250);

/// One upstream with what keeps it up to date.
struct Kept {
    upstream: Arc<Upstream>,
    discovery: Arc<Discovery>,
    spec: model::Upstream,
}

/// The tasks before they run.
pub(super) struct Background {
    kept: Vec<Kept>,
    dashboard: model::Dashboard,
}

impl Background {
    /// Live upstreams for a configuration, and the tasks that will keep them so.
    pub(super) fn new(config: &Config) -> Result<(Self, Vec<Served>), ServeError> {
        let resolver = Resolver::new(&config.resolver)
            .map_err(|error| ServeError::Resolver(error.to_string()))?;
        let resolver = Arc::new(resolver);
        let keep = |spec: &model::Upstream| Kept {
            upstream: Arc::new(Upstream::new(&spec.name, None)),
            discovery: Arc::new(Discovery::new(spec, Arc::clone(&resolver))),
            spec: spec.clone(),
        };
        let kept: Vec<Kept> = config.upstreams.iter().map(keep).collect();
        let served = kept.iter().map(|kept| {
            let discovery = Arc::clone(&kept.discovery);
            Served {
                upstream: Arc::clone(&kept.upstream),
                outage: OnChange::default(),
                reason: Box::new(move || discovery.reason()),
            }
        });
        let served = served.collect();
        Ok((Self { kept, dashboard: config.dashboard.clone() }, served))
    }

    /// Starts the tasks. The future is ready when each upstream was refreshed once.
    pub(super) fn start(self) -> impl Future<Output = ()> {
        let (first, mut all_refreshed) = mpsc::channel::<()>(1);
        let upstreams: Vec<_> = self.kept.iter().map(Kept::watched).collect();
        for kept in self.kept {
            tokio::spawn(kept.refresh(first.clone()));
        }
        tokio::spawn(show(upstreams, self.dashboard));
        async move {
            drop(first);
            // Nothing is ever sent: the channel closes with the last sender.
            let _ = all_refreshed.recv().await;
        }
    }
}

impl Kept {
    fn watched(&self) -> (Arc<Upstream>, Arc<Discovery>) {
        (Arc::clone(&self.upstream), Arc::clone(&self.discovery))
    }

    /// Refreshes for ever; lets go of `first` after the first time.
    async fn refresh(self, first: mpsc::Sender<()>) {
        let mut first = Some(first);
        let mut schedule = self.discovery.schedule();
        let name = self.upstream.name();
        loop {
            schedule.wait(self.upstream.refresh_asked()).await;
            let refreshed = self.discovery.refresh().await;
            for change in &refreshed.events {
                tell(name, change, self.spec.refresh);
            }
            for change in self.upstream.publish(&refreshed.members, Tick::now()) {
                event::peer(name, &change);
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

/// Prints the dashboard at the start, on changes, and its summary line.
async fn show(upstreams: Vec<(Arc<Upstream>, Arc<Discovery>)>, settings: model::Dashboard) {
    let mut schedule = dashboard::Schedule::new(&settings, Tick::now());
    loop {
        let now = Tick::now();
        let view = |(upstream, discovery): &(Arc<Upstream>, Arc<Discovery>)| {
            UpstreamView::of(&upstream.snapshot(now), discovery.reason(), now)
        };
        let views: Vec<UpstreamView> = upstreams.iter().map(view).collect();
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
