//! TLS with clients: which certificate a client is shown, and what the handshake has settled on.
//!
//! The client names a host before it speaks HTTP (SNI). The virtual server of that name lends its
//! certificates and settings; one without any takes those of the address's default, as in nginx.
//! Each virtual server keeps sessions of its own, so that one is never taken up at another.

mod peers;

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    ServerSessionMemoryCache,
};
use rustls::sign::CertifiedKey;
use rustls::{
    HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::io::Socket;
use crate::config::model::{Config, ListenAddress};
use crate::config::tls::certificate::{self, LoadError};
use crate::config::tls::{CipherSuite, Tls, Versions, ciphers};
use crate::exchange::TlsFacts;
use crate::route::Router;
pub(in crate::proxy) use peers::Secure;
pub use peers::TlsPeers;

/// A fatal alert: no host is called so (RFC 6066, section 3). rustls would say that access is denied.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
/// What ALPN calls HTTP/1; older clients name the older ones.
const HTTP1: [&str; 3] = ["http/1.1", "http/1.0", "http/0.9"];

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key that could be read before can no longer.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Trusted certificates that cannot be used.
    #[error("cannot set up TLS: {0}")]
    Trusted(#[from] rustls::client::VerifierBuilderError),
    /// Settings that rustls does not take.
    #[error("cannot set up TLS: {0}")]
    Settings(#[from] rustls::Error),
}

/// The crypto of a connection with these suites of TLS 1.2, and all of TLS 1.3.
fn provider(ciphers: &[CipherSuite]) -> CryptoProvider {
    let mut provider = default_provider();
    let tls13 = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some()).copied();
    provider.cipher_suites = tls13.chain(ciphers.iter().map(|suite| suite.in_rustls())).collect();
    provider
}

fn versions(versions: Versions) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(versions.tls13, &version::TLS13), (versions.tls12, &version::TLS12)];
    all.into_iter().filter(|(on, _)| *on).map(|(_, version)| version).collect()
}

/// What a virtual server's handshakes are made with.
#[derive(Debug)]
pub struct TlsServer {
    http1: Arc<ServerConfig>,
    /// The same with HTTP/2 on offer.
    http2: Arc<ServerConfig>,
    /// Whether there is none to be made.
    rejects: bool,
}

impl TlsServer {
    /// Reads certificates and makes what handshakes need.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        let mut keys = Vec::with_capacity(tls.certificates.len());
        for pair in &tls.certificates {
            keys.push(Arc::new(certificate::load(&pair.certificate, &pair.key)?));
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(&tls.ciphers)))
            .with_protocol_versions(&versions(tls.versions))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Keys(keys)));
        config.ignore_client_order = tls.prefer_server_ciphers;
        if tls.session_tickets {
            config.ticketer = Arc::new(Tickets {
                inner: Ticketer::new()?,
                lifetime: u32::try_from(tls.session_timeout.as_secs()).unwrap_or(u32::MAX),
            });
        }
        config.session_storage = match tls.session_cache {
            0 => Arc::new(NoServerSessionStorage {}),
            sessions => ServerSessionMemoryCache::new(sessions),
        };
        config.alpn_protocols = HTTP1.map(Vec::from).into();
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, TlsFacts::HTTP2.into());
        Ok(Self { http1, http2: Arc::new(config), rejects: tls.reject_handshake })
    }
}

/// What the handshakes of all listeners are made with.
#[derive(Debug)]
pub struct TlsServers {
    /// Of each virtual server; none for those without certificates.
    servers: Vec<Option<TlsServer>>,
    /// For each listener whether it speaks TLS, and whether HTTP/2 is on offer.
    listeners: Vec<(bool, bool)>,
}

impl TlsServers {
    /// Reads the certificates of all virtual servers.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(config: &Config, router: &Router) -> Result<Self, TlsError> {
        let servers = config.virtual_servers.iter();
        let servers = servers.map(|server| server.tls.as_ref().map(TlsServer::new).transpose());
        let all = || config.virtual_servers.iter().flat_map(|server| &server.listen);
        let listener = |address: &ListenAddress| {
            let here = || all().filter(|listen| listen.address == *address);
            (here().any(|listen| listen.tls), here().any(|listen| listen.http2))
        };
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            listeners: router.listeners().map(listener).collect(),
        })
    }

    /// Whether a listener speaks TLS.
    #[must_use]
    pub fn is_tls(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|(tls, _)| *tls)
    }

    /// What the handshake for a host is made with, and whether HTTP/2 is on offer.
    #[must_use]
    pub fn choose(
        &self,
        router: &Router,
        listener: usize,
        host: Option<&str>,
    ) -> Option<(&TlsServer, bool)> {
        let of = |host| {
            let (server, _) = router.server(listener, host)?;
            self.servers.get(server)?.as_ref()
        };
        let server = host.and_then(of).or_else(|| {
            let default = router.default(listener)?;
            self.servers.get(default)?.as_ref()
        });
        let http2 = self.listeners.get(listener).is_some_and(|(_, http2)| *http2);
        server.map(|server| (server, http2))
    }
}

/// The certificates of a virtual server: a client gets the one that it can verify best.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The client's order, as OpenSSL heeds it: most prefer ECDSA, which costs us less, too.
        client.signature_schemes().iter().find_map(|scheme| {
            let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(&[*scheme]).is_some();
            self.0.iter().find(fits).cloned()
        })
    }
}

/// Tickets that tell clients how long they are good for.
#[derive(Debug)]
struct Tickets {
    inner: Arc<dyn ProducesTickets>,
    lifetime: u32,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime.min(self.inner.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.inner.decrypt(cipher)
    }
}

/// Makes a handshake. `choose` finds what a host's handshakes are made with, and whether HTTP/2 is
/// on offer; none refuses.
///
/// # Errors
/// Whatever the client or its network does wrong.
///
/// # Cancel safety
/// None: when dropped, the connection is closed.
pub async fn handshake<'a>(
    io: Socket,
    choose: impl Fn(Option<&str>) -> Option<(&'a TlsServer, bool)>,
) -> io::Result<(TlsStream<Socket>, TlsFacts)> {
    let mut started = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
    let name = started.client_hello().server_name().map(str::to_ascii_lowercase);
    let (server, http2) = choose(name.as_deref()).ok_or(io::ErrorKind::ConnectionRefused)?;
    if server.rejects {
        started.io.write_all(&UNRECOGNIZED_NAME).await?;
        started.io.shutdown().await?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let config = if http2 { &server.http2 } else { &server.http1 };
    let stream = started.into_stream(Arc::clone(config)).await?;
    let facts = facts(stream.get_ref().1, name);
    Ok((stream, facts))
}

fn facts(connection: &ServerConnection, server_name: Option<String>) -> TlsFacts {
    let chosen = connection.alpn_protocol();
    let known = [TlsFacts::HTTP2].into_iter().chain(HTTP1);
    TlsFacts {
        protocol: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .map_or("", |suite| ciphers::openssl_name(suite.suite())),
        curve: match connection.negotiated_key_exchange_group().map(|group| group.name()) {
            Some(NamedGroup::X25519) => "X25519",
            Some(NamedGroup::secp256r1) => "prime256v1",
            Some(NamedGroup::secp384r1) => "secp384r1",
            _ => "",
        },
        server_name,
        alpn: known.into_iter().find(|known| Some(known.as_bytes()) == chosen).unwrap_or_default(),
        reused: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

#[cfg(test)]
mod tests;
