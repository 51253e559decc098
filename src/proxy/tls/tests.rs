use std::path::Path;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::tls::{Certificate, CipherSuite, Versions};

/// A virtual server with a certificate of its own for `name`.
fn settings(folder: &Path, name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Tls {
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    let made = params.self_signed(&key).expect("a certificate");
    let pair = Certificate {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
        passwords: None,
    };
    std::fs::write(&pair.certificate, made.pem()).expect("a file");
    std::fs::write(&pair.key, key.serialize_pem()).expect("a file");
    Tls { certificates: vec![pair], ..Tls::default() }
}

fn ecdsa(folder: &TempDir, name: &str) -> Tls {
    settings(folder.path(), name, &rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A client that trusts the certificates of some servers.
fn client(of: &[&Tls], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for pair in of.iter().flat_map(|tls| &tls.certificates) {
        for certificate in certificate::chain(&pair.certificate).expect("a certificate") {
            roots.add(certificate).expect("a sound certificate");
        }
    }
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions that go with the suites")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// What client and server make of a handshake for `name`.
async fn meet(
    server: &TlsServer,
    http2: bool,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> (io::Result<tokio_rustls::client::TlsStream<UnixStream>>, io::Result<TlsFacts>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let name = ServerName::try_from(name).expect("a host name");
    let connecting = async {
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, theirs).await?;
        // Tickets come after the handshake.
        let mut end = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end).await?;
        Ok(stream)
    };
    let accepting = async {
        let (mut stream, facts) = handshake(ours.into(), |_| Some((server, http2))).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
        Ok(facts)
    };
    tokio::join!(connecting, accepting)
}

fn negotiated(connection: &ClientConnection) -> Option<rustls::CipherSuite> {
    connection.negotiated_cipher_suite().map(|suite| suite.suite())
}

#[tokio::test]
async fn the_host_that_a_client_names_chooses_the_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (ecdsa(&folder, "a.example"), ecdsa(&folder, "b.example"));
    let servers = [&a, &b].map(|tls| TlsServer::new(tls, "test").expect("sound settings"));
    for (index, name) in ["a.example", "b.example"].into_iter().enumerate() {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let config = Arc::new(client(&[&a, &b], &BOTH));
        let server_name = ServerName::try_from(name).expect("a host name");
        let choose = |asked: Option<&str>| {
            assert_eq!(asked, Some(name));
            Some((&servers[index], false))
        };
        let (accepted, connected) = tokio::join!(
            handshake(ours.into(), choose),
            TlsConnector::from(config).connect(server_name, theirs)
        );
        connected.expect("the certificate is the name's");
        let (_, facts) = accepted.expect("a handshake");
        assert_eq!(facts.server_name.as_deref(), Some(name));
        assert_eq!((facts.protocol, facts.reused), ("TLSv1.3", false));
    }
}

#[tokio::test]
async fn each_client_gets_a_certificate_that_it_can_verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tls = ecdsa(&folder, "a.example");
    let other = settings(folder.path(), "b.example", &rcgen::PKCS_ED25519);
    tls.certificates.splice(0..0, other.certificates.clone());
    let server = TlsServer::new(&tls, "test").expect("sound settings");
    let mut provider = default_provider();
    let ecdsa_only: Vec<_> = provider
        .signature_verification_algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256)
        .copied()
        .collect();
    provider.signature_verification_algorithms.mapping = ecdsa_only.leak();
    let mut roots = RootCertStore::empty();
    for pair in &tls.certificates {
        roots.add_parsable_certificates(certificate::chain(&pair.certificate).expect("a chain"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (connected, _) = meet(&server, false, &Arc::new(config), "a.example").await;
    connected.expect("the second certificate is ECDSA");
}

#[tokio::test]
async fn versions_and_suites_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tls = ecdsa(&folder, "a.example");
    tls.versions = Versions { tls12: true, tls13: false };
    tls.ciphers = vec![CipherSuite::EcdsaChaCha20];
    let server = TlsServer::new(&tls, "test").expect("sound settings");
    let config = Arc::new(client(&[&tls], &BOTH));
    let (connected, facts) = meet(&server, false, &config, "a.example").await;
    let connected = connected.expect("a handshake");
    let suite = Some(rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    assert_eq!(negotiated(connected.get_ref().1), suite);
    let facts = facts.expect("a handshake");
    assert_eq!((facts.protocol, facts.cipher), ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"));

    let newer = Arc::new(client(&[&tls], &[&version::TLS13]));
    let (connected, facts) = meet(&server, false, &newer, "a.example").await;
    assert!(connected.is_err() && facts.is_err(), "no version in common");
}

#[tokio::test]
async fn http2_is_chosen_where_it_is_on_offer() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = ecdsa(&folder, "a.example");
    let server = TlsServer::new(&tls, "test").expect("sound settings");
    let mut config = client(&[&tls], &BOTH);
    config.alpn_protocols = vec![TlsFacts::HTTP2.into(), b"http/1.1".into()];
    let config = Arc::new(config);
    for (http2, alpn) in [(true, "h2"), (false, "http/1.1")] {
        let (_, facts) = meet(&server, http2, &config, "a.example").await;
        let facts = facts.expect("a handshake");
        assert_eq!((facts.alpn, facts.is_http2()), (alpn, http2));
    }
}

#[tokio::test]
async fn sessions_are_taken_up_again_with_tickets_or_a_cache_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = ecdsa(&folder, "a.example");
    for (session_tickets, session_cache, resumed) in
        [(true, 0, true), (false, 16, true), (false, 0, false)]
    {
        for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
            let tls = Tls { session_tickets, session_cache, ..base.clone() };
            let server = TlsServer::new(&tls, &format!("{session_tickets} {session_cache}"))
                .expect("sound settings");
            let config = Arc::new(client(&[&tls], versions));
            for again in [false, true] {
                let (_, facts) = meet(&server, false, &config, "a.example").await;
                let facts = facts.expect("a handshake");
                assert_eq!(facts.reused, again && resumed, "{session_tickets} {session_cache}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_rejects_handshakes_ends_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls { reject_handshake: true, ..ecdsa(&folder, "a.example") };
    let server = TlsServer::new(&tls, "test").expect("sound settings");
    let config = Arc::new(client(&[&tls], &BOTH));
    let (connected, facts) = meet(&server, false, &config, "a.example").await;
    let error = connected.expect_err("no handshake").to_string();
    assert!(error.contains("UnrecognisedName"), "{error}");
    assert!(facts.is_err());
}
