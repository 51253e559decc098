//! TLS with clients: which certificate a client is shown, and what the handshake has settled on.
//!
//! The client names a host before it speaks HTTP (SNI). The virtual server of that name lends its
//! certificates and settings; one without any takes those of the address's default, as in nginx.
//! Each virtual server keeps sessions of its own, so that one is never taken up at another.

mod clients;
mod peers;
mod sessions;

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use self::clients::Asking;
use self::sessions::Sessions;
use super::io::Socket;
use crate::config::model::{Config, ListenAddress, VirtualServer};
use crate::config::tls::certificate::{self, LoadError};
use crate::config::tls::{CipherSuite, Tls, Versions, ciphers};
use crate::exchange::TlsFacts;
use crate::route::Router;
pub(in crate::proxy) use peers::Secure;
pub use peers::{Handshake, TlsPeers};

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
    /// Asks clients for certificates, if they are asked.
    asking: Option<Arc<Asking>>,
    /// Whether there is none to be made.
    rejects: bool,
}

impl TlsServer {
    /// Reads certificates and makes what handshakes need. `owner` tells the virtual server from others: it
    /// keeps its sessions under that name.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(tls: &Tls, owner: &str) -> Result<Self, TlsError> {
        let mut keys = Vec::with_capacity(tls.certificates.len());
        for pair in &tls.certificates {
            keys.push(Arc::new(certificate::load(pair)?));
        }
        let builder = ServerConfig::builder_with_provider(Arc::new(provider(&tls.ciphers)))
            .with_protocol_versions(&versions(tls.versions))?;
        let asking = Asking::new(&tls.clients)?;
        let builder = match &asking {
            Some(asking) => builder.with_client_cert_verifier(Arc::clone(asking) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Keys(keys)));
        config.ignore_client_order = tls.prefer_server_ciphers;
        let sessions = Sessions::of(owner, tls)?;
        if let Some(tickets) = sessions.tickets(tls.session_timeout) {
            config.ticketer = tickets;
        }
        config.session_storage = sessions.cache(tls.session_timeout);
        config.alpn_protocols = HTTP1.map(Vec::from).into();
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, TlsFacts::HTTP2.into());
        Ok(Self { http1, http2: Arc::new(config), asking, rejects: tls.reject_handshake })
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
        let servers = servers.map(|server| {
            let tls = server.tls.as_ref();
            tls.map(|tls| TlsServer::new(tls, &owner(server))).transpose()
        });
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

    /// Whether a listener speaks HTTP/2: with clients that choose it in their handshake, and without
    /// TLS with those that begin with it.
    #[must_use]
    pub fn is_http2(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|(_, http2)| *http2)
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

/// What tells a virtual server from others, before a reload and after it.
fn owner(server: &VirtualServer) -> String {
    let addresses = server.listen.iter().map(|listen| listen.address.to_string());
    let names = server.names.iter().map(ToString::to_string);
    addresses.chain([String::new()]).chain(names).collect::<Vec<_>>().join(" ")
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
    let curves = curves(&started.client_hello());
    let ciphers = ciphers_of(&started.client_hello());
    let (server, http2) = choose(name.as_deref()).ok_or(io::ErrorKind::ConnectionRefused)?;
    if server.rejects {
        started.io.write_all(&UNRECOGNIZED_NAME).await?;
        started.io.shutdown().await?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let config = if http2 { &server.http2 } else { &server.http1 };
    let stream = started.into_stream(Arc::clone(config)).await?;
    let mut facts = facts(stream.get_ref().1, name);
    facts.curves = curves;
    facts.ciphers = ciphers;
    facts.client = server.asking.as_ref().and_then(|asking| asking.shown(stream.get_ref().1));
    Ok((stream, facts))
}

/// OpenSSL's name of a group.
fn curve(group: NamedGroup) -> Option<&'static str> {
    Some(match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::X448 => "X448",
        NamedGroup::secp256r1 => "prime256v1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::secp521r1 => "secp521r1",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => return None,
    })
}

/// The groups that a client has, as nginx lists them.
fn curves(client: &ClientHello<'_>) -> String {
    let groups = client.named_groups().unwrap_or_default().iter();
    let names = groups.map(|group| match curve(*group) {
        Some(name) => name.to_owned(),
        None => format!("0x{:04x}", u16::from(*group)),
    });
    names.collect::<Vec<_>>().join(":")
}

/// The suites that a client has, as nginx lists them.
fn ciphers_of(client: &ClientHello<'_>) -> String {
    let names = client.cipher_suites().iter().map(|suite| match ciphers::openssl_name(*suite) {
        "" => format!("0x{:04x}", u16::from(*suite)),
        name => name.to_owned(),
    });
    names.collect::<Vec<_>>().join(":")
}

/// rustls keeps the ids of sessions to itself, and TLS 1.3 has none: what only both ends know of a handshake names
/// it (RFC 5705).
fn session_id(connection: &ServerConnection) -> String {
    const LABEL: &[u8] = b"EXPERIMENTAL robin session id";
    let id = connection.export_keying_material([0_u8; 32], LABEL, None);
    id.map(|id| data_encoding::HEXLOWER.encode(&id)).unwrap_or_default()
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
        curve: connection
            .negotiated_key_exchange_group()
            .and_then(|group| curve(group.name()))
            .unwrap_or_default(),
        curves: String::new(),
        ciphers: String::new(),
        session_id: session_id(connection),
        server_name,
        alpn: known.into_iter().find(|known| Some(known.as_bytes()) == chosen).unwrap_or_default(),
        reused: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client: None,
    }
}

#[cfg(test)]
mod tests;
