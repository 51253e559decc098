//! Connections to peers: which pooled ones a request may take, and when a connect is given up.
//!
//! A pooled connection that the peer is just closing fails the request. Idempotent requests are
//! sent again; others may not be (RFC 9110, section 9.2.2), so they take only a connection that
//! was idle for less than half a second. Pingora's pool knows no such rule, but it keeps
//! connections with different `group_key`s apart: each appearance of a peer has one key for either
//! kind, and an address that comes back under a new container never meets an old connection.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::sleep;

use super::socket::Socket;
use super::tls::Secure;
use super::wire::Wire;
use crate::config::model::passing::Passing;
use crate::config::model::{RouteSettings, Upstream as Spec};
use crate::upstream::{Peer, PeerAddress, Upstream};

/// How long a connection may have been idle that takes a request which cannot be sent twice.
pub(super) const FRESH: Duration = Duration::from_millis(500);

/// After this long without an answer to a connect, DNS is asked whether the peer is still there.
/// A local network answers within a few milliseconds.
const SUSPICIOUS: Duration = Duration::from_millis(300);

/// As many requests may share a connection of HTTP/2; a peer that takes fewer says so. What most
/// servers take (RFC 9113, section 6.5.2: no less than 100).
const STREAMS: usize = 128;
/// Bytes of one answer, and of all on a connection, that a peer may send before we have read them.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Which pooled connections a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooled {
    /// Any that is kept: the request can be sent again.
    Any,
    /// One that was idle for less than [`FRESH`].
    Fresh,
    /// None: a pooled one has just failed, or none is to be kept.
    None,
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1, and another protocol where the request asks for it and may.
    Http1 { upgrades: bool },
    /// HTTP/2.
    Http2,
}

impl Pooled {
    /// The pool's key for an appearance of a peer.
    pub(super) fn group_key(self, peer: &Peer) -> u64 {
        // Peers are numbered from one on: there will not be 2^39 of them.
        let key = peer.id() << 1 | u64::from(peer.generation() & 0x7f_ffff) << 40;
        match self {
            Self::Any => key,
            Self::Fresh => key | 1,
            // A key that nothing was ever kept under. It is kept under it afterwards, and unused.
            Self::None => fastrand::u64(..) | 1 << 63,
        }
    }

    pub(super) fn idle(self, spec: &Spec) -> Duration {
        match self {
            Self::Any => spec.keepalive_idle,
            Self::Fresh => spec.keepalive_idle.min(FRESH),
            Self::None => Duration::ZERO,
        }
    }
}

/// The peer in Pingora's terms, for one attempt. `announced` is what its connection
/// begins with.
#[expect(clippy::too_many_arguments, reason = "one of each of what an attempt is made of")]
pub(super) fn http_peer(
    upstream: &Arc<Upstream>,
    spec: &Spec,
    peer: &Peer,
    settings: &RouteSettings,
    secure: Option<Secure>,
    pooled: Pooled,
    speaks: Speaks,
    announced: Option<Vec<u8>>,
) -> Box<HttpPeer> {
    let keeps_none = spec.keepalive == 0 || spec.keepalive_idle.is_zero();
    let pooled = if keeps_none { Pooled::None } else { pooled };
    // Pingora compares the address with the one that a pooled connection leads to, unless it is this
    // one. Paths, and what TLS is spoken through, are told from others by the rest of the pool's key.
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = peer.address().as_tcp().filter(|_| secure.is_none()).unwrap_or(nowhere);
    let key = secure.as_ref().map(Secure::key).unwrap_or_default();
    let mut http = Box::new(HttpPeer::new(address, false, key));
    http.group_key = pooled.group_key(peer);
    let passing = &settings.passing;
    if let Some(own) = passing.bind {
        // A connection from another address of ours is another connection.
        let mut hasher = DefaultHasher::new();
        own.hash(&mut hasher);
        http.group_key ^= hasher.finish();
    }
    if let Some(announced) = &announced {
        // What was said of one client holds for its requests only.
        let mut hasher = DefaultHasher::new();
        announced.hash(&mut hasher);
        http.group_key ^= hasher.finish();
    }
    let options = &mut http.options;
    if speaks == Speaks::Http2 {
        // TLS is spoken by our own connector, which asks for HTTP/2: to Pingora all is prior knowledge.
        options.alpn = ALPN::H2;
        options.max_h2_streams = STREAMS;
        options.h2_stream_window_size = Some(STREAM_WINDOW);
        options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    }
    // With a connector of our own this is the only limit on a connect.
    options.total_connection_timeout = Some(connect_limit(settings));
    options.read_timeout = Some(settings.timeouts.read);
    options.write_timeout = Some(settings.timeouts.send);
    options.idle_timeout = Some(pooled.idle(spec));
    options.http_upstream_request_policy = match speaks {
        Speaks::Http1 { upgrades: true } => HttpUpstreamRequestPolicy::standard(),
        _ => HttpUpstreamRequestPolicy::deny_upgrades(),
    };
    // As in nginx, a strange token in `Connection` is no reason to refuse.
    options.http_upstream_request_policy.reject_malformed_connection_nominations = false;
    options.custom_l4 = Some(Arc::new(Dialer::new(upstream, peer, secure, passing, announced)));
    http
}

/// How long a connect may take.
pub(super) fn connect_limit(settings: &RouteSettings) -> Duration {
    let connect = settings.timeouts.connect;
    match settings.retry.try_timeout {
        Duration::ZERO => connect,
        limit => limit.min(connect),
    }
}

/// Connects to one peer, unless it leaves DNS meanwhile: the address of a container that was
/// removed answers nothing for seconds.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    upstream: Arc<Upstream>,
    peer: Peer,
    /// How TLS is spoken, if it is.
    secure: Option<Secure>,
    /// `proxy_bind`: which of our addresses the connection comes from.
    bind: Option<IpAddr>,
    /// `proxy_socket_keepalive`: whether the system asks now and then if the peer is still there.
    socket_keepalive: bool,
    /// What a connection begins with, before TLS: the PROXY protocol's header.
    announced: Option<Arc<[u8]>>,
}

#[async_trait]
impl Connect for Dialer {
    async fn connect(&self, _: &Address) -> Result<Stream> {
        let socket = self.reach().await?;
        let descriptor = socket.descriptor();
        let mut stream = socket.into_stream();
        Wire::attach(&mut stream, descriptor, &self.peer)?;
        Ok(stream)
    }
}

impl Dialer {
    /// A new connection, unless its peer leaves DNS meanwhile.
    pub(super) async fn reach(&self) -> Result<Socket> {
        let mut connect = pin!(self.open());
        let mut left = pin!(self.peer.left());
        let mut suspicion = pin!(sleep(SUSPICIOUS));
        let mut suspicious = false;
        let connected = loop {
            tokio::select! {
                biased;
                connected = &mut connect => break connected,
                () = &mut left => {
                    let message = "given up: the peer has left DNS";
                    return Error::e_explain(ErrorType::ConnectError, message);
                }
                () = &mut suspicion, if !suspicious => {
                    suspicious = true;
                    self.upstream.ask_refresh();
                }
            }
        };
        connected.map_err(|error| {
            let error_type = match error.kind() {
                _ if is_our_shortage(&error) => ErrorType::InternalError,
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ErrorType::ConnectNoRoute
                }
                _ => ErrorType::ConnectError,
            };
            Error::because(error_type, "connect", error)
        })
    }

    /// What connects to `peer` as a route says.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        peer: &Peer,
        secure: Option<Secure>,
        passing: &Passing,
        announced: Option<Vec<u8>>,
    ) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            peer: peer.clone(),
            secure,
            bind: passing.bind,
            socket_keepalive: passing.socket_keepalive,
            announced: announced.map(Arc::from),
        }
    }

    /// The same to another peer.
    pub(super) fn to(self, peer: &Peer) -> Self {
        Self { peer: peer.clone(), ..self }
    }

    /// The upstream of its peer.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    async fn connect_tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let io = match self.bind {
            None => TcpStream::connect(address).await?,
            Some(own) => {
                let v4 = address.is_ipv4();
                let socket = if v4 { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind(SocketAddr::new(own, 0))?;
                socket.connect(address).await?
            }
        };
        if self.socket_keepalive {
            SockRef::from(&io).set_keepalive(true)?;
        }
        Ok(io)
    }

    /// A new connection.
    pub(super) async fn open(&self) -> io::Result<Socket> {
        match self.peer.address() {
            PeerAddress::Tcp(address) => {
                let mut io = self.connect_tcp(*address).await?;
                if let Some(announced) = &self.announced {
                    io.write_all(announced).await?;
                }
                match &self.secure {
                    None => Ok(Socket::Tcp(io)),
                    Some(secure) => {
                        io.set_nodelay(true)?;
                        secure.connect(io).await.map(Socket::Unix)
                    }
                }
            }
            PeerAddress::Unix(path) => {
                let mut io = UnixStream::connect(path).await?;
                if let Some(announced) = &self.announced {
                    io.write_all(announced).await?;
                }
                match &self.secure {
                    None => Ok(Socket::Unix(io)),
                    Some(secure) => secure.connect(io).await.map(Socket::Unix),
                }
            }
        }
    }
}

/// Whether a connect failed for want of something on our side, which no peer is to blame for.
fn is_our_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL)
    )
}
