//! Certificates and keys, read from PEM files.
//!
//! A server's file holds its certificate, then those between it and one that clients know; the key
//! is in PKCS #8, which may be encrypted, PKCS #1 or SEC 1. Whether they belong together is checked
//! here, as nginx does at its start. When and for whom a certificate is good says [`check`], which
//! nginx leaves to clients.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::Certificate;
use super::x509::{Written, moment};

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The certificate.
    #[error("cannot load certificate \"{0}\": {1}")]
    Certificate(String, Reason),
    /// The key.
    #[error("cannot load certificate key \"{0}\": {1}")]
    Key(String, Reason),
    /// The passwords of the key.
    #[error("cannot load passwords \"{0}\": {1}")]
    Passwords(String, Reason),
    /// A list of what was called back.
    #[error("cannot load list of revocations \"{0}\": {1}")]
    Crl(String, Reason),
    /// A key that tickets are encrypted with.
    #[error("cannot load ticket key \"{0}\": {1}")]
    TicketKey(String, Reason),
}

impl LoadError {
    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Certificate(_, reason)
            | Self::Key(_, reason)
            | Self::Passwords(_, reason)
            | Self::Crl(_, reason)
            | Self::TicketKey(_, reason) => reason,
        }
    }
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
    /// There is none in it.
    #[error("no key in PEM format")]
    NoKey,
    /// Nothing says how to decrypt it.
    #[error("the key is encrypted, and there is no file of passwords")]
    NoPassword,
    /// No password decrypts it.
    #[error("none of the passwords decrypts the key")]
    WrongPassword,
    /// It is encrypted in the older way of OpenSSL.
    #[error("the key is encrypted in the old way; `openssl pkcs8 -topk8` makes a newer file of it")]
    OldEncryption,
    /// There is none in it.
    #[error("no list of revocations in PEM format")]
    NoCrl,
    /// What is in it is not what it should be.
    #[error("it cannot be read")]
    Broken,
    /// It has another length.
    #[error("must be 48 or 80 bytes")]
    TicketKeyLength,
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
/// [`LoadError`] says which of the files cannot be used and why.
pub fn load(pair: &Certificate) -> Result<CertifiedKey, LoadError> {
    let of_key = |reason| LoadError::Key(pair.key.display().to_string(), reason);
    let of_certificate =
        |reason| LoadError::Certificate(pair.certificate.display().to_string(), reason);
    let chain = chain(&pair.certificate).map_err(of_certificate)?;
    let passwords = pair.passwords.as_deref().map(passwords).transpose()?;
    let loaded = key(&pair.key, passwords.as_deref()).and_then(|key| {
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

/// Reads passwords, one a line.
///
/// # Errors
/// [`LoadError`] says why the file cannot be used.
pub fn passwords(path: &Path) -> Result<Vec<Vec<u8>>, LoadError> {
    let text = std::fs::read(path)
        .map_err(|e| LoadError::Passwords(path.display().to_string(), e.into()))?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Reads a key, with a password where it is encrypted.
///
/// # Errors
/// [`Reason`] says why the file cannot be used.
fn key(path: &Path, passwords: Option<&[Vec<u8>]>) -> Result<PrivateKeyDer<'static>, Reason> {
    /// What stands in the first line of an encrypted key, and in the second of one of old.
    const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const OLD: &str = "Proc-Type: 4,ENCRYPTED";
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if let Some(at) = text.find(ENCRYPTED) {
        let passwords = passwords.ok_or(Reason::NoPassword)?;
        let body = text[at + ENCRYPTED.len()..].split("-----END").next().unwrap_or_default();
        let body: String = body.split_ascii_whitespace().collect();
        let der = data_encoding::BASE64.decode(body.as_bytes()).map_err(|_| Reason::Broken)?;
        let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(&der[..]);
        let info = info.map_err(|_| Reason::Broken)?;
        let key = passwords.iter().find_map(|password| info.decrypt(password).ok());
        let key = key.ok_or(Reason::WrongPassword)?;
        return PrivateKeyDer::try_from(key.as_bytes().to_vec()).map_err(|_| Reason::Broken);
    }
    if text.contains(OLD) {
        return Err(Reason::OldEncryption);
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Reason::NoKey),
        Err(error) => Err(Reason::Pem(error)),
    }
}

/// Why a certificate that can be used serves nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its time is over; when that was.
    Expired(String),
    /// Its time has not come; when that will be.
    NotYet(String),
    /// It is for other hosts than these; for which.
    Host {
        /// The hosts that it is not for.
        wanted: Vec<String>,
        /// Those that it is for.
        found: Vec<String>,
    },
}

/// Whether certificates are good now, and whether each host is one of theirs. `now` is in seconds
/// since 1970.
#[must_use]
pub fn check(ends: &[CertificateDer<'_>], hosts: &[String], now: i64) -> Option<Unfit> {
    let ends: Vec<Written<'_>> = ends.iter().filter_map(|der| Written::read(der)).collect();
    for end in &ends {
        if now > end.not_after() {
            return Some(Unfit::Expired(moment(end.not_after())));
        }
        if now < end.not_before() {
            return Some(Unfit::NotYet(moment(end.not_before())));
        }
    }
    let is_covered = |host: &&String| ends.iter().any(|end| end.covers(host));
    let wanted: Vec<String> = hosts.iter().filter(|host| !is_covered(host)).cloned().collect();
    let found = ends.iter().flat_map(Written::hosts).collect();
    (!wanted.is_empty() && !ends.is_empty()).then_some(Unfit::Host { wanted, found })
}

/// Reads a key of tickets: 16 bytes that name it, and 32 or 64 that are secret.
///
/// # Errors
/// [`LoadError`] says why the file cannot be used.
pub fn ticket_key(path: &Path) -> Result<Vec<u8>, LoadError> {
    let error = |reason| LoadError::TicketKey(path.display().to_string(), reason);
    let key = std::fs::read(path).map_err(|e| error(e.into()))?;
    if matches!(key.len(), 48 | 80) { Ok(key) } else { Err(error(Reason::TicketKeyLength)) }
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

    fn pair(certificate: &Path, key: &Path) -> Certificate {
        Certificate { certificate: certificate.to_owned(), key: key.to_owned(), passwords: None }
    }

    #[test]
    fn a_certificate_with_its_key_is_read_with_the_text_around_it() {
        let files = Files::new();
        let pem = files.made.cert.pem();
        let chain = files.file("chain", &format!("subject=a.example\n{pem}\n{pem}"));
        let key = files.file("key", &files.made.signing_key.serialize_pem());
        assert_eq!(load(&pair(&chain, &key)).expect("both are sound").cert.len(), 2);
    }

    #[test]
    fn an_encrypted_key_needs_one_of_the_passwords() {
        let files = Files::new();
        let der = files.made.signing_key.serialize_der();
        let info = pkcs8::PrivateKeyInfoRef::try_from(&der[..]).expect("a key");
        let parameters = pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(
            1000, &[7; 16], [9; 16],
        );
        let parameters = parameters.expect("sound parameters");
        let sealed = info.encrypt_with_params(parameters, "right").expect("encrypted");
        let text = data_encoding::BASE64.encode(sealed.as_bytes());
        let text = format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{text}\n-----END ENCRYPTED PRIVATE KEY-----\n"
        );
        let certificate = files.file("certificate", &files.made.cert.pem());
        let mut pair = pair(&certificate, &files.file("key", &text));
        let error = load(&pair).expect_err("there is no password").to_string();
        assert!(
            error.ends_with("the key is encrypted, and there is no file of passwords"),
            "{error}"
        );
        pair.passwords = Some(files.file("wrong", "one\ntwo\n"));
        let error = load(&pair).expect_err("they are wrong").to_string();
        assert!(error.ends_with("none of the passwords decrypts the key"), "{error}");
        pair.passwords = Some(files.file("passwords", "one\nright\n"));
        load(&pair).expect("one of them is right");
    }

    #[test]
    fn a_certificate_is_good_for_a_time_and_for_hosts() {
        let files = Files::new();
        let ends = [files.made.cert.der().clone()];
        let written = Written::read(&ends[0]).expect("a certificate");
        let (first, last) = (written.not_before(), written.not_after());
        let hosts = |name: &str| vec![name.to_owned()];
        assert_eq!(check(&ends, &hosts("a.example"), first), None);
        assert!(matches!(check(&ends, &[], last + 1), Some(Unfit::Expired(_))));
        assert!(matches!(check(&ends, &[], first - 1), Some(Unfit::NotYet(_))));
        let unfit = Unfit::Host { wanted: hosts("b.example"), found: hosts("a.example") };
        assert_eq!(check(&ends, &hosts("b.example"), first), Some(unfit));
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
            (&certificate, &empty, "cannot load certificate key \"*empty\": no key"),
            (&certificate, &wrong, "cannot load certificate key \"*wrong\": key values mismatch"),
        ] {
            let error = load(&pair(certificate, key)).expect_err(expected).to_string();
            let error = error.replace(&format!("{}/", files.folder.path().display()), "*");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
