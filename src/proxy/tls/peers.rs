//! TLS with peers: `proxy_ssl_*`.
//!
//! Pingora's own connector knows rustls, but not this: it takes no versions and no suites, verifies
//! nothing where no name is sent, makes new settings for each connection and so takes no session up
//! again. The handshake is made here instead, within the connect. What comes of it has to be a socket
//! to Pingora, for its pool asks the system about it: it gets one end of a pair, and a task carries
//! the bytes between the other end and TLS.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsError, provider, versions};
use crate::config::model::Config;
use crate::config::model::passing::UpstreamTls;
use crate::config::tls::certificate::{self, LoadError};

/// What connections to peers are made with, for each way that the configuration has.
#[derive(Debug, Default)]
pub struct TlsPeers(Vec<(UpstreamTls, Arc<ClientConfig>)>);

impl TlsPeers {
    /// Reads the certificates of all routes that may speak TLS to peers.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        let mut peers = Self::default();
        for route in config.virtual_servers.iter().flat_map(|server| &server.routes) {
            let tls = &route.settings.passing.tls;
            if route.action.may_connect_with_tls() && peers.find(tls).is_none() {
                peers.0.push((tls.clone(), Arc::new(client(tls)?)));
            }
        }
        Ok(peers)
    }

    /// What connections are made with where this is said.
    pub(in crate::proxy) fn find(&self, tls: &UpstreamTls) -> Option<&Arc<ClientConfig>> {
        self.0.iter().find(|(known, _)| known.connects_as(tls)).map(|(_, config)| config)
    }
}

fn client(tls: &UpstreamTls) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(&tls.ciphers)))
        .with_protocol_versions(&versions(tls.versions))?;
    let builder = match (tls.verify, &tls.trusted) {
        (false, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified)),
        (true, None) => builder.with_root_certificates(of_system()),
        (true, Some(path)) => {
            let bad = |reason| LoadError::Certificate(path.display().to_string(), reason);
            let verifier = Trusted {
                certificates: certificate::chain(path).map_err(bad)?,
                inner: WebPkiServerVerifier::builder_with_provider(
                    certificate::trusted(path)?,
                    Arc::new(default_provider()),
                )
                .build()?,
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &tls.certificate {
        Some(pair) => {
            let bad = |path: &std::path::Path, reason| {
                LoadError::Certificate(path.display().to_string(), reason)
            };
            let chain = certificate::chain(&pair.certificate);
            let chain = chain.map_err(|reason| bad(&pair.certificate, reason))?;
            let key = certificate::key(&pair.key).map_err(|reason| bad(&pair.key, reason))?;
            builder.with_client_auth_cert(chain, key)?
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
            log::warn!(target: "robin::serve", "no trusted certificates error=\"{error}\"");
        }
    }
    store
}

/// Takes certificates that one of these has signed, or that are one of these. Those that people make
/// for one machine often say that they may sign others, which webpki takes from none at the end of a
/// chain (OpenSSL does).
#[derive(Debug)]
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.certificates.contains(end) {
            return self.inner.verify_server_cert(end, chain, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(end)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
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
        let stream = connector.connect(self.name.clone(), io).await?;
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
