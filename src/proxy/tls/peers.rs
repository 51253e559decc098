//! TLS with peers: `proxy_ssl_*`.
//!
//! Pingora's own connector knows rustls, but not this: it takes no versions and no suites, verifies
//! nothing where no name is sent, makes new settings for each connection and so takes no session up
//! again. The handshake is made here instead, within the connect. What comes of it has to be a socket
//! to Pingora, for its pool asks the system about it: it gets one end of a pair, and a task carries
//! the bytes between the other end and TLS.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::clients::{is_signed, is_signed_for_tls13};
use super::{TlsError, provider, versions};
use crate::config::model::Config;
use crate::config::model::passing::UpstreamTls;
use crate::config::tls::certificate;
use crate::config::tls::trust::{Flaw, Purpose, Trust};
use crate::config::tls::x509::{Written, moment};
use crate::observe::event::Line;

/// What connections to peers are made with, for each way that the configuration has.
#[derive(Debug, Default)]
pub struct TlsPeers(Vec<TlsPeer>);

#[derive(Debug)]
struct TlsPeer {
    tls: UpstreamTls,
    config: Arc<ClientConfig>,
    /// The same with HTTP/2 on offer, and nothing else.
    http2: Arc<ClientConfig>,
}

impl TlsPeers {
    /// Reads the certificates of all routes that may speak TLS to peers.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        let mut peers = Self::default();
        for route in config.virtual_servers.iter().flat_map(|server| &server.routes) {
            let tls = &route.settings.passing.tls;
            if route.action.may_connect_with_tls() && peers.find(tls, false).is_none() {
                let config = client(tls)?;
                let mut http2 = config.clone();
                http2.alpn_protocols = vec![b"h2".to_vec()];
                let (config, http2) = (Arc::new(config), Arc::new(http2));
                peers.0.push(TlsPeer { tls: tls.clone(), config, http2 });
            }
        }
        Ok(peers)
    }

    /// What connections are made with where this is said.
    pub(in crate::proxy) fn find(
        &self,
        tls: &UpstreamTls,
        http2: bool,
    ) -> Option<&Arc<ClientConfig>> {
        let peer = self.0.iter().find(|peer| peer.tls.connects_as(tls))?;
        Some(if http2 { &peer.http2 } else { &peer.config })
    }
}

fn client(tls: &UpstreamTls) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(&tls.ciphers)))
        .with_protocol_versions(&versions(tls.versions))?;
    let builder = match (tls.verify, &tls.trusted) {
        (false, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified)),
        (true, None) => builder.with_root_certificates(of_system()),
        (true, Some(path)) => {
            let trust = Trust::load(&[path], tls.depth, tls.crl.as_deref())?.partial();
            let algorithms = default_provider().signature_verification_algorithms;
            let verifier = Trusted { trust, algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &tls.certificate {
        Some(pair) => {
            // One of version 1 can be shown, too, which rustls does not look into.
            let shown = SingleCertAndKey::from(certificate::load(pair)?);
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = tls.server_name;
    if !tls.session_reuse {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// The certificates that the system trusts. Without any every peer is refused, and its attempt says why.
fn of_system() -> RootCertStore {
    let mut store = RootCertStore::empty();
    match rustls_native_certs::load_native_certs() {
        Ok(certificates) => drop(store.add_parsable_certificates(certificates)),
        Err(error) => {
            let line = Line::new("no trusted certificates").field("error", error);
            line.warn("robin::serve");
        }
    }
    store
}

/// Takes certificates that one of these has signed, or that are one of these.
#[derive(Debug)]
struct Trusted {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a peer's certificate is not taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotTaken(String);

impl From<NotTaken> for rustls::Error {
    fn from(why: NotTaken) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let written = Written::read(end).ok_or_else(|| NotTaken(Flaw::Broken.to_string()))?;
        self.trust.check(end, chain, Purpose::Server, now).map_err(|flaw| {
            let of_it = match flaw {
                Flaw::Expired => format!(" (it was good until {})", moment(written.not_after())),
                Flaw::NotYet => format!(" (it is good from {} on)", moment(written.not_before())),
                _ => format!(" (issuer {:?})", written.issuer()),
            };
            NotTaken(format!("{flaw}{of_it}"))
        })?;
        let host = name.to_str();
        if !written.covers(&host) {
            let found = written.hosts().join(", ");
            return Err(NotTaken(format!("it is not for {host:?}, but for {found:?}")).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        is_signed(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        is_signed_for_tls13(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What went wrong, with the check that a certificate has not passed.
fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(invalid)) = inner else { return error };
    let why = match invalid {
        CertificateError::Other(OtherError(why)) => why.to_string(),
        CertificateError::UnknownIssuer => {
            "none of the trusted certificates has signed it".to_owned()
        }
        other => other.to_string(),
    };
    io::Error::other(format!("invalid peer certificate: {why}"))
}

/// Takes any certificate, as nginx does unless told to verify.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How peers are spoken to that no request is for: by probes.
#[derive(Clone, Debug)]
pub struct Handshake(Arc<ClientConfig>);

impl Handshake {
    /// Reads the certificates; `protocols` are on offer (ALPN), none where there are none.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(tls: &UpstreamTls, protocols: &[&str]) -> Result<Self, TlsError> {
        let mut config = client(tls)?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config)))
    }

    /// Makes the handshake with a host, whose name may have a port, and gives a socket to speak through.
    ///
    /// # Errors
    /// What went wrong, in rustls' words.
    ///
    /// # Cancel safety
    /// The connection is closed when it is dropped.
    pub async fn connect<S>(&self, name: &str, io: S) -> io::Result<UnixStream>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let secure = Secure::new(&self.0, name);
        let secure = secure.ok_or_else(|| io::Error::other("no host can be called so"))?;
        secure.connect(io).await
    }
}

/// How one peer is spoken to.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secure {
    /// `name` is a host, with or without a port; none where no host can be called so.
    pub(in crate::proxy) fn new(config: &Arc<ClientConfig>, name: &str) -> Option<Self> {
        // As nginx strips the port that `$proxy_host` may have.
        let host = match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => name.split(':').next().unwrap_or(name),
        };
        let name = ServerName::try_from(host).ok()?.to_owned();
        Some(Self { config: Arc::clone(config), name })
    }

    /// What tells connections made like this from others.
    pub(in crate::proxy) fn key(&self) -> String {
        format!("{}@{:p}", self.name.to_str(), Arc::as_ptr(&self.config))
    }

    /// Makes the handshake, and gives a socket to speak through.
    ///
    /// # Cancel safety
    /// The connection is closed when it is dropped.
    pub(in crate::proxy) async fn connect<S>(&self, io: S) -> io::Result<UnixStream>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), io).await.map_err(explained)?;
        let (ours, theirs) = UnixStream::pair()?;
        tokio::spawn(carry(stream, ours));
        Ok(theirs)
    }
}

/// Carries bytes both ways until either side has enough. HTTP never closes one direction only.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(stream: TlsStream<S>, mut plain: UnixStream) {
    let (mut from_peer, mut to_peer) = split(stream);
    let (mut from_us, mut to_us) = plain.split();
    // What went wrong shows as the end of the connection.
    tokio::select! {
        _ = copy(&mut from_us, &mut to_peer) => {}
        _ = copy(&mut from_peer, &mut to_us) => {}
    }
    let _ = to_peer.shutdown().await;
}
