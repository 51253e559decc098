//! Certificates of clients (`ssl_verify_client`).
//!
//! A handshake takes any certificate whose key the client has, as nginx's does: whether it is to be
//! believed is asked behind it, and said to the client as the status of an answer. It is asked again
//! when a session is taken up again, for its certificate may have been called back.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConnection, SignatureScheme,
};

use crate::config::tls::certificate::LoadError;
use crate::config::tls::trust::{Purpose, Trust};
use crate::config::tls::{ClientCertificates, VerifyClient};
use crate::exchange::ClientCertificate;

/// Asks for certificates.
#[derive(Debug)]
pub(super) struct Asking {
    trust: Trust,
    /// Whom clients are told.
    authorities: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Asking {
    /// None where clients are not asked.
    pub(super) fn new(clients: &ClientCertificates) -> Result<Option<Arc<Self>>, LoadError> {
        if clients.verify == VerifyClient::Off {
            return Ok(None);
        }
        let told: Vec<&Path> = clients.authorities.iter().map(AsRef::as_ref).collect();
        let authorities = Trust::load(&told, 0, None)?;
        let mut subjects: Vec<_> = authorities.subjects().collect();
        subjects.dedup();
        let all: Vec<&Path> = told.into_iter().chain(clients.trusted.as_deref()).collect();
        Ok(Some(Arc::new(Self {
            trust: Trust::load(&all, clients.depth, clients.crl.as_deref())?,
            authorities: subjects.into_iter().map(DistinguishedName::from).collect(),
            algorithms: default_provider().signature_verification_algorithms,
        })))
    }

    /// What a client has shown; none where it has none.
    pub(super) fn shown(&self, connection: &ServerConnection) -> Option<ClientCertificate> {
        let (end, above) = connection.peer_certificates()?.split_first()?;
        let flaw = self.trust.check(end, above, Purpose::Client, UnixTime::now()).err();
        Some(ClientCertificate { der: end.as_ref().to_vec(), flaw })
    }
}

/// Whether a signature is of a certificate's key. webpki would ask what version the certificate is of.
pub(super) fn is_signed(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    use x509_parser::asn1_rs::FromDer as _;
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let read = x509_parser::certificate::X509Certificate::from_der(certificate);
    let (_, read) = read.map_err(|_| bad())?;
    let key = rustls::pki_types::SubjectPublicKeyInfoDer::from(read.public_key().raw);
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
    let mut possible = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
    let Some((_, possible)) = possible.next() else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    let is_of = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
        key.verify_signature(*algorithm, message, signature.signature()).is_ok()
    };
    if possible.iter().any(is_of) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

/// The same for TLS 1.3, which knows no PKCS #1 (RFC 8446, section 4.4.3).
pub(super) fn is_signed_for_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let old = matches!(
        signature.scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
            | SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::ECDSA_SHA1_Legacy
    );
    if old {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    is_signed(message, certificate, signature, algorithms)
}

impl ClientCertVerifier for Asking {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        is_signed(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        is_signed_for_tls13(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
