//! Background connections to peers: active probes, and connects that end an ejection.
//!
//! One task a peer, each with its own timer, from the moment the peer is published until it is
//! gone. One that is down or draining, by configuration or by hand, is left alone until that ends, and looked
//! at at once then. Where the upstream has a health check, a new peer is probed at once, one that does not
//! pass at least once a second, and a passing one every `every`. With or without a health check, a
//! peer that traffic has ejected or that has no address in DNS is connected to once a second, so
//! that a replica listed before it listened serves as soon as it does. What results do to a
//! peer is decided in [`health`](crate::health) and [`upstream`](crate::upstream).

mod error;
mod grpc;
mod http;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

pub use self::error::ProbeError;
pub use self::probe::{Probe, Prober};
use crate::health::Tick;
use crate::upstream::{Event, Peer, PeerAddress, Upstream};

/// How often a peer that does not serve is looked at.
const RETRY: Duration = Duration::from_secs(1);

/// Pingora's door to the same probe. `rise` and `fall` are counted in `health`, not there.
#[async_trait]
impl HealthCheck for Probe {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        use pingora::{Error, ErrorType::ConnectError};
        let path = || target.addr.as_unix()?.as_pathname().map(|p| PeerAddress::Unix(p.into()));
        let address = target.addr.as_inet().map(|address| (*address).into()).or_else(path);
        let Some(address) = address else {
            return Error::e_explain(ConnectError, "the backend has no address");
        };
        match Prober::new(self, &address).send().await {
            Ok(_) => Ok(()),
            Err(error) => Error::e_because(ConnectError, "during a health check", error),
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

/// Told of every change, with the upstream's name.
type OnEvent = dyn Fn(&str, Event) + Send + Sync;

/// What the tasks of one upstream share.
struct Watch {
    upstream: Arc<Upstream>,
    /// One for each health check.
    probes: Vec<Probe>,
    on_event: Box<OnEvent>,
}

/// Probes the peers of `upstream` and connects to those that are out, until `shutdown` says true
/// or has no sender any more. Every change goes to `on_event` with the upstream's name.
///
/// # Cancel safety
/// All of its tasks end when it is dropped.
pub async fn run(
    upstream: Arc<Upstream>,
    probes: Vec<Probe>,
    on_event: impl Fn(&str, Event) + Send + Sync + 'static,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut publications = upstream.publications();
    let watch = Arc::new(Watch { upstream, probes, on_event: Box::new(on_event) });
    let mut tasks = JoinSet::new();
    let mut of_peer: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        publications.borrow_and_update();
        follow(&watch, &mut tasks, &mut of_peer);
        tokio::select! {
            // `watch` holds the upstream, which holds the sender.
            _ = publications.changed() => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

/// Ends the tasks of peers that are gone, down or draining and begins those of new ones.
fn follow(watch: &Arc<Watch>, tasks: &mut JoinSet<()>, of_peer: &mut HashMap<u64, AbortHandle>) {
    while tasks.try_join_next().is_some() {}
    let mut before = std::mem::take(of_peer);
    for peer in watch.upstream.peers().iter().filter(|p| p.is_wanted()) {
        let task = before.remove(&peer.id()).filter(|task| !task.is_finished());
        let begin = || {
            let (watch, peer) = (Arc::clone(watch), peer.clone());
            tasks.spawn(async move { watch.attend(&peer).await })
        };
        of_peer.insert(peer.id(), task.unwrap_or_else(begin));
    }
    before.into_values().for_each(|task| task.abort());
}

impl Watch {
    /// Everything that is done about one peer; never ends by itself.
    async fn attend(&self, peer: &Peer) {
        let on_timers = self.probes.iter().enumerate();
        let on_timers = on_timers.map(|(check, probe)| self.probe_on_timer(check, probe, peer));
        tokio::join!(join_all(on_timers), self.connect_if_out(peer));
    }

    /// Probes a peer for the health check with this number.
    async fn probe_on_timer(&self, check: usize, probe: &Probe, peer: &Peer) {
        let mut prober = Prober::new(probe, peer.address());
        loop {
            let begin = Instant::now();
            let result = prober.send().await;
            let connected = result.as_ref().map_or_else(ProbeError::has_connected, |_| true);
            let passed = result.is_ok();
            let now = Tick::now();
            if probe.connects_to(peer.address()) {
                // Before the verdict, which may depend on it.
                self.note(self.upstream.connects(peer, connected, now));
            }
            let result = result.map_err(|error| error.to_string());
            self.note(self.upstream.probed_by(peer, check, result, now));
            if probe.connects_to(peer.address()) {
                match connected {
                    true if passed => self.note(self.upstream.connected(peer, now)),
                    true => {}
                    false => self.note(self.upstream.unreachable(peer, now)),
                }
            }
            let pause = probe.pause(peer.verdict().is_passing(), fastrand::f64());
            tokio::select! {
                () = sleep_until(begin + pause) => {}
                () = peer.probe_asked(check) => {}
            }
        }
    }

    async fn connect_if_out(&self, peer: &Peer) {
        loop {
            sleep(jittered(RETRY)).await;
            if peer.standing().is_up() && !peer.has_left() {
                continue;
            }
            match probe::connect(peer.address(), RETRY).await {
                Ok(_) => self.note(self.upstream.connected(peer, Tick::now())),
                Err(_) => self.note(self.upstream.unreachable(peer, Tick::now())),
            }
        }
    }

    fn note(&self, event: Option<Event>) {
        if let Some(event) = event {
            (self.on_event)(self.upstream.name(), event);
        }
    }
}

/// So that many peers are not connected to in step.
fn jittered(interval: Duration) -> Duration {
    const JITTER: f64 = 0.1;
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}
