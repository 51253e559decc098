//! One probe: what is connected to, how, and what is asked over it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::grpc::Channel;
use super::{ProbeError, RETRY, http};
use crate::config::model::{self, Host, ProxyVersion, UpstreamServer};
use crate::exchange::proxy_protocol;
use crate::health::answer::beginning;
use crate::proxy::Handshake;
use crate::upstream::PeerAddress;

/// How much is told of what went wrong with TLS, in characters: most of it is rustls' and names what was expected.
const TLS_ERROR: usize = 200;

/// What TLS calls HTTP/2.
const HTTP2: &str = "h2";

/// A health check of one upstream.
#[derive(Clone, Debug)]
pub struct Probe {
    pub(super) check: model::HealthCheck,
    /// Where the default `Host` comes from.
    pub(super) servers: Vec<UpstreamServer>,
    /// How TLS is spoken, if it is, or why it cannot be.
    handshake: Option<Result<Handshake, String>>,
    /// In which version of the PROXY protocol the peer is told that it is for no client.
    send_proxy: Option<ProxyVersion>,
}

impl Probe {
    /// The health checks of `upstream`.
    #[must_use]
    pub fn all_of(upstream: &model::Upstream) -> Vec<Self> {
        let probe = |check: &model::HealthCheck| Self {
            send_proxy: upstream.send_proxy,
            ..Self::new(check.clone(), upstream.servers.clone())
        };
        upstream.health_checks.iter().map(probe).collect()
    }

    /// A health check of peers that these server lines have led to.
    #[must_use]
    pub fn new(check: model::HealthCheck, servers: Vec<UpstreamServer>) -> Self {
        let protocols: &[&str] = match check.probe {
            model::Probe::Grpc(_) => &[HTTP2],
            _ => &[],
        };
        // Certificates that could be read when the configuration was may be gone: then every probe says so.
        let handshake = check.tls.as_ref();
        let handshake =
            handshake.map(|tls| Handshake::new(tls, protocols).map_err(|error| error.to_string()));
        Self { check, servers, handshake, send_proxy: None }
    }

    /// How long after its beginning a probe is followed by the next; `lot` is from 0 to 1. One that does not
    /// pass is looked at more often.
    #[must_use]
    pub fn pause(&self, passing: bool, lot: f64) -> Duration {
        let every = self.check.every;
        let interval = if passing { every } else { every.min(RETRY) };
        interval + self.check.jitter.min(interval).mul_f64(lot)
    }

    /// Whether a pass shows that the port which requests go to accepts connections.
    pub(super) fn connects_to(&self, address: &PeerAddress) -> bool {
        let elsewhere = |address: SocketAddr| self.check.port.is_some_and(|p| p != address.port());
        !address.as_tcp().is_some_and(elsewhere)
    }

    /// The host and port of the first server line that can have led to `address`, as written.
    pub(super) fn host(&self, address: &PeerAddress) -> String {
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

    /// What the peer at `address` is called in the request.
    fn authority(&self, address: &PeerAddress) -> String {
        let host = match &self.check.probe {
            model::Probe::Tcp => &None,
            model::Probe::Http(probe) => &probe.host,
            model::Probe::Grpc(probe) => &probe.host,
        };
        host.clone().unwrap_or_else(|| self.host(address))
    }
}

/// A connection that is asked over.
enum Line {
    Http(Stream),
    Grpc(Channel),
}

/// The probes of one peer, with the connection that they keep.
pub struct Prober<'p> {
    probe: &'p Probe,
    address: PeerAddress,
    /// With when it was made.
    kept: Option<(Line, Instant)>,
}

impl<'p> Prober<'p> {
    /// Probes of the peer at `address`.
    #[must_use]
    pub fn new(probe: &'p Probe, address: &PeerAddress) -> Self {
        Self { probe, address: address.clone(), kept: None }
    }

    /// Probes the peer and returns how long that took.
    ///
    /// # Errors
    /// What kept the probe from passing.
    ///
    /// # Cancel safety
    /// The connection is closed when it is dropped.
    pub async fn send(&mut self) -> Result<Duration, ProbeError> {
        let begin = Instant::now();
        let limit = self.probe.check.timeout;
        let probed = match self.kept.take() {
            Some((line, made)) if made.elapsed() < self.probe.check.keepalive => {
                match self.ask_within(limit, line, made).await {
                    // Its end may have come while nobody looked: that says nothing of the peer.
                    Err(error) if error.may_be_stale() => self.send_anew(begin).await,
                    probed => probed,
                }
            }
            _ => self.send_anew(begin).await,
        };
        probed.map(|()| begin.elapsed())
    }

    /// Probes over a connection of its own.
    async fn send_anew(&mut self, begin: Instant) -> Result<(), ProbeError> {
        let check = &self.probe.check;
        let made = Instant::now();
        let left = || check.timeout.saturating_sub(begin.elapsed());
        let limit = check.connect_timeout.min(left());
        let opened = timeout(limit, self.open(limit)).await;
        let line = opened.unwrap_or(Err(ProbeError::NoConnection(check.connect_timeout)))?;
        match line {
            Some(line) => self.ask_within(left(), line, made).await,
            None => Ok(()),
        }
    }

    /// Connects; none where that is all there is to it.
    async fn open(&self, limit: Duration) -> Result<Option<Line>, ProbeError> {
        let check = &self.probe.check;
        let mut target = self.address.clone();
        if let (PeerAddress::Tcp(target), Some(port)) = (&mut target, check.port) {
            target.set_port(port);
        }
        let mut socket = connect(&target, limit).await?;
        if let Some(version) = self.probe.send_proxy {
            // A probe is for no client.
            let announced = proxy_protocol::write(version, None);
            let failed = |error: io::Error| ProbeError::Connect(error.kind());
            socket.write_all(&announced).await.map_err(failed)?;
            socket.flush().await.map_err(failed)?;
        }
        let stream: Stream = match &self.probe.handshake {
            None => Box::new(socket),
            Some(Err(error)) => return Err(ProbeError::Tls(error.clone())),
            Some(Ok(handshake)) => {
                let name = check.tls.as_ref().and_then(|tls| tls.name.as_ref()?.as_literal());
                let name = name.map_or_else(|| self.probe.authority(&self.address), str::to_owned);
                let secure = handshake.connect(&name, socket).await;
                let failed =
                    |error: io::Error| ProbeError::Tls(beginning(&error.to_string(), TLS_ERROR));
                Box::new(Socket::from(secure.map_err(failed)?))
            }
        };
        Ok(match check.probe {
            model::Probe::Tcp => None,
            model::Probe::Http(_) => Some(Line::Http(stream)),
            model::Probe::Grpc(_) => Some(Line::Grpc(Channel::open(stream).await?)),
        })
    }

    async fn ask_within(
        &mut self,
        limit: Duration,
        line: Line,
        made: Instant,
    ) -> Result<(), ProbeError> {
        let asked = timeout(limit, self.ask(line)).await;
        let kept = asked.unwrap_or(Err(ProbeError::NoAnswer(self.probe.check.timeout)))?;
        self.kept = kept.map(|line| (line, made));
        Ok(())
    }

    /// Asks, and gives the connection back if it can be asked again.
    async fn ask(&self, line: Line) -> Result<Option<Line>, ProbeError> {
        let check = &self.probe.check;
        let keep = !check.keepalive.is_zero();
        let host = self.probe.authority(&self.address);
        match (line, &check.probe) {
            (Line::Http(stream), model::Probe::Http(probe)) => {
                let question = http::Question { probe, host: &host, keep };
                Ok(http::ask(stream, &question).await?.map(Line::Http))
            }
            (Line::Grpc(channel), model::Probe::Grpc(probe)) => {
                channel.ask(probe, &host, check.tls.is_some()).await?;
                Ok(keep.then_some(Line::Grpc(channel)))
            }
            // What is opened is what is asked over.
            _ => Ok(None),
        }
    }
}

/// Connects to a peer.
pub(super) async fn connect(address: &PeerAddress, limit: Duration) -> Result<Socket, ProbeError> {
    let connected = async {
        match address {
            PeerAddress::Tcp(address) => TcpStream::connect(address).await.map(Socket::from),
            PeerAddress::Unix(path) => UnixStream::connect(path).await.map(Socket::from),
        }
    };
    match timeout(limit, connected).await {
        Err(_) => Err(ProbeError::NoConnection(limit)),
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => Err(ProbeError::Refused),
        Ok(Err(e)) => Err(ProbeError::Connect(e.kind())),
        Ok(Ok(stream)) => Ok(stream),
    }
}
