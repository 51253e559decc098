//! What TLS is made of: certificates with their keys, versions, cipher suites.
//!
//! Files are read when a configuration is checked, so that a bad one refuses the start, and once
//! more by whoever serves with them.

pub mod certificate;
pub mod ciphers;

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
    /// Whether the order of our suites counts, not that of the client's. Default false.
    pub prefer_server_ciphers: bool,
    /// How many sessions are kept for clients that come again. Default 0, none.
    pub session_cache: usize,
    /// How long a session may be taken up again. Default 5 min.
    pub session_timeout: Duration,
    /// Whether clients keep their sessions themselves, encrypted with a key of ours. Default true.
    pub session_tickets: bool,
    /// Whether every handshake is refused. Default false.
    pub reject_handshake: bool,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// A PEM file with the certificate and those between it and one that clients know.
    pub certificate: PathBuf,
    /// A PEM file with the key.
    pub key: PathBuf,
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
            prefer_server_ciphers: false,
            session_cache: 0,
            session_timeout: Duration::from_secs(300),
            session_tickets: true,
            reject_handshake: false,
        }
    }
}
