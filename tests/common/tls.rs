//! Certificates made for one test, and clients that trust them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::PATIENCE;

/// A folder of certificates; it goes when dropped.
pub struct Certificates(TempDir);

impl Certificates {
    /// One certificate for each name, which nobody has signed but itself.
    pub fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let made = rcgen::generate_simple_self_signed([(*name).to_owned()]).expect("one");
            let file = |ending| folder.path().join(format!("{name}.{ending}"));
            std::fs::write(file("crt"), made.cert.pem()).expect("a file");
            std::fs::write(file("key"), made.signing_key.serialize_pem()).expect("a file");
        }
        Self(folder)
    }

    /// The file with a name's certificate.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.crt"))
    }

    /// The file with a name's key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.key"))
    }

    /// What YAML says below `tls:` to use a name's certificate.
    pub fn yaml(&self, name: &str) -> String {
        let key = self.0.path().join(format!("{name}.key"));
        format!("{{ certificate: {}, key: {} }}", self.certificate(name).display(), key.display())
    }

    /// A client that trusts a name's certificate and speaks one of these protocols.
    pub fn client(&self, name: &str, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(self.certificate(name)).expect("a certificate");
        roots.add(pem).expect("a sound certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().into()).collect();
        Arc::new(config)
    }

    /// Sends a request to `name` at an address and reads until the end.
    ///
    /// # Errors
    /// When the handshake fails: another certificate is shown, for one.
    pub fn exchange(
        &self,
        address: SocketAddr,
        name: &'static str,
        request: &[u8],
    ) -> std::io::Result<String> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name_there = ServerName::try_from(name).expect("a host name");
        let connection = ClientConnection::new(self.client(name, &["http/1.1"]), name_there)
            .expect("sound settings");
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
