//! Certificates and keys, read from PEM files.
//!
//! A server's file holds its certificate, then those between it and one that clients know; the key
//! is in PKCS #8, PKCS #1 or SEC 1. Whether they belong together is checked here, as nginx does at
//! its start. Whether a certificate has expired is for clients to say.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The certificate.
    #[error("cannot load certificate \"{0}\": {1}")]
    Certificate(String, Reason),
    /// The key.
    #[error("cannot load certificate key \"{0}\": {1}")]
    Key(String, Reason),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// There is none in it.
    #[error("no certificate in PEM format")]
    NoCertificate,
    /// There is none in it, or it is encrypted.
    #[error("no unencrypted key in PEM format")]
    NoKey,
    /// What is between the lines of PEM is broken.
    #[error("broken PEM: {0}")]
    Pem(pem::Error),
    /// The key is of another certificate.
    #[error("key values mismatch")]
    Mismatch,
    /// Neither RSA from 2048 bits on nor ECDSA nor Ed25519, or broken.
    #[error("{0}")]
    Unusable(Error),
}

/// Reads a certificate with its chain and its key.
///
/// # Errors
/// [`LoadError`] says which of the two files cannot be used and why.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, LoadError> {
    let of_certificate = |reason| LoadError::Certificate(certificate.display().to_string(), reason);
    let of_key = |reason| LoadError::Key(key.display().to_string(), reason);
    let chain = chain(certificate).map_err(of_certificate)?;
    let loaded = self::key(key).and_then(|key| {
        default_provider().key_provider.load_private_key(key).map_err(Reason::Unusable)
    });
    let certified = CertifiedKey::new(chain, loaded.map_err(of_key)?);
    match certified.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(of_key(Reason::Mismatch))
        }
        Err(error @ Error::InvalidCertificate(rustls::CertificateError::BadEncoding)) => {
            Err(of_certificate(Reason::Unusable(error)))
        }
        // Certificates of version 1, which rustls does not look into, can be shown all the same.
        _ => Ok(certified),
    }
}

/// Reads a certificate with those that follow it.
///
/// # Errors
/// [`Reason`] says why the file cannot be used.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Reason> {
    let text = std::fs::read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(Reason::Pem)?;
    if chain.is_empty() { Err(Reason::NoCertificate) } else { Ok(chain) }
}

/// Reads a key.
///
/// # Errors
/// [`Reason`] says why the file cannot be used.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Reason> {
    match PrivateKeyDer::from_pem_slice(&std::fs::read(path)?) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Reason::NoKey),
        Err(error) => Err(Reason::Pem(error)),
    }
}

/// Reads the certificates that others are trusted by.
///
/// # Errors
/// [`LoadError`] says why the file cannot be used.
pub fn trusted(path: &Path) -> Result<Arc<RootCertStore>, LoadError> {
    let error = |reason| LoadError::Certificate(path.display().to_string(), reason);
    let mut store = RootCertStore::empty();
    for certificate in chain(path).map_err(error)? {
        store.add(certificate).map_err(|e| error(Reason::Unusable(e)))?;
    }
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        made: rcgen::CertifiedKey<rcgen::KeyPair>,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
            Self { folder, made: made.expect("a certificate") }
        }

        fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        }
    }

    #[test]
    fn a_certificate_with_its_key_is_read_with_the_text_around_it() {
        let files = Files::new();
        let pem = files.made.cert.pem();
        let chain = files.file("chain", &format!("subject=a.example\n{pem}\n{pem}"));
        let key = files.file("key", &files.made.signing_key.serialize_pem());
        assert_eq!(load(&chain, &key).expect("both are sound").cert.len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_the_reason() {
        let files = Files::new();
        let other = Files::new();
        let certificate = files.file("certificate", &files.made.cert.pem());
        let key = files.file("key", &files.made.signing_key.serialize_pem());
        let wrong = files.file("wrong", &other.made.signing_key.serialize_pem());
        let empty = files.file("empty", "nothing\n");
        let missing = files.folder.path().join("missing");
        for (certificate, key, expected) in [
            (&missing, &key, "cannot load certificate \"*missing\": No such file or directory"),
            (&empty, &key, "cannot load certificate \"*empty\": no certificate in PEM format"),
            (&certificate, &missing, "cannot load certificate key \"*missing\": No such file"),
            (&certificate, &empty, "cannot load certificate key \"*empty\": no unencrypted key"),
            (&certificate, &wrong, "cannot load certificate key \"*wrong\": key values mismatch"),
        ] {
            let error = load(certificate, key).expect_err(expected).to_string();
            let error = error.replace(&format!("{}/", files.folder.path().display()), "*");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
