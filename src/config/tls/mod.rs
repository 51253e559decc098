//! What TLS is made of: certificates with their keys, versions, cipher suites.
//!
//! Files are read when a configuration is checked, so that a bad one refuses the start, and once
//! more by whoever serves with them.

pub mod certificate;
pub mod ciphers;
pub mod trust;
pub mod x509;

use std::path::PathBuf;
use std::time::Duration;

pub use ciphers::CipherSuite;

/// How a virtual server speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Its certificates, of which a client gets the one that it can verify best; none only where
    /// [`Tls::reject_handshake`] is set.
    pub certificates: Vec<Certificate>,
    /// The versions. Default: both.
    pub versions: Versions,
    /// Cipher suites of TLS 1.2, the most wanted first. Default: all.
    pub ciphers: Vec<CipherSuite>,
    /// Whether the order of our suites counts, not that of the client's. Default true; nginx's is false, which
    /// examiners mark down.
    pub prefer_server_ciphers: bool,
    /// How many sessions are kept for clients that come again. Default 0, none.
    pub session_cache: usize,
    /// How long a session may be taken up again. Default 5 min.
    pub session_timeout: Duration,
    /// Whether clients keep their sessions themselves, encrypted with a key of ours. Default true.
    pub session_tickets: bool,
    /// Keys of tickets: files of 48 or 80 bytes, the first of which encrypts. Default: one that the
    /// process makes and changes.
    pub ticket_keys: Vec<PathBuf>,
    /// Whether every handshake is refused. Default false.
    pub reject_handshake: bool,
    /// Whether clients are asked for certificates, and whom they are believed by.
    pub clients: ClientCertificates,
}

/// Certificates of clients (`ssl_verify_client`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether they are asked for. Default off.
    pub verify: VerifyClient,
    /// `ssl_client_certificate`: whom they are believed by, which clients are told.
    pub authorities: Option<PathBuf>,
    /// `ssl_trusted_certificate`: the same, which clients are not told.
    pub trusted: Option<PathBuf>,
    /// How many may stand between a client's and one that is known. Default 1.
    pub depth: usize,
    /// `ssl_crl`: which were called back. Default: nobody asks.
    pub crl: Option<PathBuf>,
}

/// Whether clients are asked for certificates (`ssl_verify_client`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// They are not.
    #[default]
    Off,
    /// Every request needs a good one.
    On,
    /// One that is shown has to be good.
    Optional,
    /// The same, but who has signed it is not asked.
    OptionalNoCa,
}

impl VerifyClient {
    /// nginx's words.
    pub const NAMES: [(&str, Self); 4] = [
        ("on", Self::On),
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("optional_no_ca", Self::OptionalNoCa),
    ];

    /// nginx's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.into_iter().find(|(_, known)| *known == self);
        found.map_or("off", |(name, _)| name)
    }
}

impl Default for ClientCertificates {
    fn default() -> Self {
        Self { verify: VerifyClient::Off, authorities: None, trusted: None, depth: 1, crl: None }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// A PEM file with the certificate and those between it and one that clients know.
    pub certificate: PathBuf,
    /// A PEM file with the key.
    pub key: PathBuf,
    /// A file of passwords, one a line, for a key that is encrypted. Default: it is not.
    pub passwords: Option<PathBuf>,
}

/// Versions of TLS; at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Versions {
    /// nginx's words for those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [(self.tls12, "TLSv1.2"), (self.tls13, "TLSv1.3")];
        all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            versions: Versions::default(),
            ciphers: CipherSuite::ALL.into(),
            prefer_server_ciphers: true,
            session_cache: 0,
            session_timeout: Duration::from_secs(300),
            session_tickets: true,
            ticket_keys: Vec::new(),
            reject_handshake: false,
            clients: ClientCertificates::default(),
        }
    }
}
