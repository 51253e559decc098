//! Background connections to peers: active probes, and connects that end an ejection.
//!
//! One task a peer, each with its own timer, from the moment the peer is published until it is
//! gone. Where the upstream has a health check, a new peer is probed at once, one that does not
//! pass at least once a second, and a passing one every `every`. With or without a health check, a
//! peer that traffic has ejected or that has no address in DNS is connected to once a second, so
//! that a replica listed before it listened serves as soon as it does. What results do to a
//! peer is decided in [`health`](crate::health) and [`upstream`](crate::upstream).

mod http;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::model::{self, Host, UpstreamServer};
use crate::health::Tick;
use crate::upstream::{Event, Peer, PeerAddress, Upstream};

/// How often a peer that does not serve is looked at.
const RETRY: Duration = Duration::from_secs(1);

/// The share of an interval by which it varies either way, so that many peers are not probed in step.
const JITTER: f64 = 0.1;

/// What a probe met.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens.
    #[error("connect refused")]
    Refused,
    /// The connect failed otherwise.
    #[error("connect failed: {0}")]
    Connect(io::ErrorKind),
    /// The time limit passed before there was a connection.
    #[error("no connection within {0:?}")]
    NoConnection(Duration),
    /// The time limit passed after that.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The connection ended before the answer did.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// What came is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// Another status than those that pass.
    #[error("status {status}, expected {}", Ranges(.expected))]
    Status {
        /// What was answered.
        status: u16,
        /// What passes.
        expected: Vec<RangeInclusive<u16>>,
    },
    /// The text is not in the first 64 KiB of the body.
    #[error("body lacks `{0}`")]
    Body(String),
    /// The request cannot be written.
    #[error("the path or host of the health check cannot be sent")]
    Request,
}

impl ProbeError {
    /// Whether there was a connection before things went wrong.
    fn has_connected(&self) -> bool {
        !matches!(self, Self::Refused | Self::Connect(_) | Self::NoConnection(_))
    }
}

struct Ranges<'a>(&'a [RangeInclusive<u16>]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{start}")?,
                (start, end) => write!(f, "{start}-{end}")?,
            }
        }
        Ok(())
    }
}

/// The health check of one upstream.
#[derive(Clone, Debug)]
pub struct Probe {
    check: model::HealthCheck,
    /// Where the default `Host` comes from.
    servers: Vec<UpstreamServer>,
}

impl Probe {
    /// The health check of `upstream`, if it has one.
    #[must_use]
    pub fn of(upstream: &model::Upstream) -> Option<Self> {
        let check = upstream.health_check.clone()?;
        Some(Self { check, servers: upstream.servers.clone() })
    }

    /// Probes the peer at `address` and returns how long that took.
    ///
    /// # Errors
    /// What kept the probe from passing.
    ///
    /// # Cancel safety
    /// The connection is closed when it is dropped.
    pub async fn send(&self, address: &PeerAddress) -> Result<Duration, ProbeError> {
        let begin = Instant::now();
        let limit = self.check.timeout;
        let mut target = address.clone();
        if let (PeerAddress::Tcp(target), Some(port)) = (&mut target, self.check.port) {
            target.set_port(port);
        }
        let stream = connect(&target, limit).await?;
        if let model::Probe::Http { path, host, status, body } = &self.check.probe {
            let host = host.clone().unwrap_or_else(|| self.host(address));
            let wanted = http::Wanted { path, host: &host, status, body: body.as_deref() };
            let rest = limit.saturating_sub(begin.elapsed());
            let asked = timeout(rest, http::ask(stream, &wanted)).await;
            asked.unwrap_or(Err(ProbeError::NoAnswer(limit)))?;
        }
        Ok(begin.elapsed())
    }

    /// Whether a pass shows that the port which requests go to accepts connections.
    fn connects_to(&self, address: &PeerAddress) -> bool {
        let elsewhere = |address: SocketAddr| self.check.port.is_some_and(|p| p != address.port());
        !address.as_tcp().is_some_and(elsewhere)
    }

    /// The host and port of the first server line that can have led to `address`, as written.
    fn host(&self, address: &PeerAddress) -> String {
        // A socket of the file system has no name; nginx's is this.
        let Some(address) = address.as_tcp() else { return "localhost".to_owned() };
        let names = self.servers.iter().filter(|s| s.port == address.port());
        let literal = |s: &UpstreamServer| s.host == Host::Address(address.ip());
        let name = names.clone().find_map(|s| match &s.host {
            Host::Name(name) if !names.clone().any(literal) => Some(name),
            _ => None,
        });
        match name {
            // As in nginx's `$proxy_host`, the default port is not written.
            Some(name) if address.port() == 80 => name.clone(),
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        }
    }
}

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
        match self.send(&address).await {
            Ok(_) => Ok(()),
            Err(error) => Error::e_because(ConnectError, "during a health check", error),
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

async fn connect(address: &PeerAddress, limit: Duration) -> Result<Stream, ProbeError> {
    let connected = async {
        match address {
            PeerAddress::Tcp(address) => TcpStream::connect(address).await.map(Stream::from),
            PeerAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::from),
        }
    };
    match timeout(limit, connected).await {
        Err(_) => Err(ProbeError::NoConnection(limit)),
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => Err(ProbeError::Refused),
        Ok(Err(e)) => Err(ProbeError::Connect(e.kind())),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// Told of every change, with the upstream's name.
type OnEvent = dyn Fn(&str, Event) + Send + Sync;

/// What the tasks of one upstream share.
struct Watch {
    upstream: Arc<Upstream>,
    probe: Option<Probe>,
    on_event: Box<OnEvent>,
}

/// Probes the peers of `upstream` and connects to those that are out, until `shutdown` says true
/// or has no sender any more. Every change goes to `on_event` with the upstream's name.
///
/// # Cancel safety
/// All of its tasks end when it is dropped.
pub async fn run(
    upstream: Arc<Upstream>,
    probe: Option<Probe>,
    on_event: impl Fn(&str, Event) + Send + Sync + 'static,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut publications = upstream.publications();
    let watch = Arc::new(Watch { upstream, probe, on_event: Box::new(on_event) });
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

/// Ends the tasks of peers that are gone or down and begins those of new ones.
fn follow(watch: &Arc<Watch>, tasks: &mut JoinSet<()>, of_peer: &mut HashMap<u64, AbortHandle>) {
    while tasks.try_join_next().is_some() {}
    let mut before = std::mem::take(of_peer);
    for peer in watch.upstream.peers().iter().filter(|p| !p.member().down) {
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
        match &self.probe {
            Some(probe) => {
                tokio::join!(self.probe_on_timer(probe, peer), self.connect_if_out(peer))
            }
            None => ((), self.connect_if_out(peer).await),
        };
    }

    async fn probe_on_timer(&self, probe: &Probe, peer: &Peer) {
        loop {
            let begin = Instant::now();
            let result = probe.send(peer.address()).await;
            let connected = result.as_ref().map_or_else(ProbeError::has_connected, |_| true);
            let passed = result.is_ok();
            let now = Tick::now();
            if probe.connects_to(peer.address()) {
                // Before the verdict, which may depend on it.
                self.note(self.upstream.connects(peer, connected, now));
            }
            self.note(self.upstream.probed(peer, result.map_err(|e| e.to_string()), now));
            if probe.connects_to(peer.address()) {
                match connected {
                    true if passed => self.note(self.upstream.connected(peer, now)),
                    true => {}
                    false => self.note(self.upstream.unreachable(peer, now)),
                }
            }
            let every = probe.check.every;
            let passing = peer.verdict().is_passing();
            let interval = if passing { every } else { every.min(RETRY) };
            tokio::select! {
                () = sleep_until(begin + jittered(interval)) => {}
                () = peer.probe_asked() => {}
            }
        }
    }

    async fn connect_if_out(&self, peer: &Peer) {
        loop {
            sleep(jittered(RETRY)).await;
            if peer.standing().is_up() && !peer.has_left() {
                continue;
            }
            match connect(peer.address(), RETRY).await {
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

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}
