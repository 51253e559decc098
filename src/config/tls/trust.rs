//! Whether a certificate is to be believed: by whom it is signed, when, for what, and whether it was
//! called back.
//!
//! As OpenSSL, not as webpki, which looks into no certificate of version 1, takes none that may sign
//! others at the end of a chain, and reads no list of revocations but those of version 2: private
//! authorities make all of these. Names that an authority may not sign for are left to webpki, and
//! so is every chain up to an authority of the system's.

use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _,
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::asn1_rs::{FromDer as _, Oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry as known;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use super::certificate::{LoadError, Reason, chain};

/// Signatures that are looked at for one chain: whoever shows it chooses how many there are.
const MOST_SIGNATURES: usize = 64;
/// Certificates of one chain.
const LONGEST: usize = 16;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client shows who it is.
    Client,
    /// A server shows who it is.
    Server,
}

/// Why a certificate is not to be believed, in OpenSSL's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its time is over, or that of one above it.
    #[error("certificate has expired")]
    Expired,
    /// Its time has not come, or that of one above it.
    #[error("certificate is not yet valid")]
    NotYet,
    /// Nobody but itself has signed it.
    #[error("self-signed certificate")]
    SelfSigned,
    /// The last above it is signed by nobody but itself, and not known.
    #[error("self-signed certificate in certificate chain")]
    SelfSignedInChain,
    /// Who has signed the last above it is not known.
    #[error("unable to get local issuer certificate")]
    NoIssuer,
    /// Who has signed it is not known, and nothing else was shown.
    #[error("unable to verify the first certificate")]
    Alone,
    /// A signature is not that of who is said to have signed.
    #[error("certificate signature failure")]
    Signature,
    /// One above it must not sign.
    #[error("invalid CA certificate")]
    NoAuthority,
    /// There are more between it and one that is known than are allowed.
    #[error("certificate chain too long")]
    TooLong,
    /// It is for something else.
    #[error("unsuitable certificate purpose")]
    Purpose,
    /// It was called back.
    #[error("certificate revoked")]
    Revoked,
    /// No list says whether it was called back.
    #[error("unable to get certificate CRL")]
    NoCrl,
    /// The list that says so is too old.
    #[error("CRL has expired")]
    CrlExpired,
    /// It says something that must be understood and is not.
    #[error("unhandled critical extension")]
    Critical,
    /// It is for names that one above it must not sign for.
    #[error("permitted subtree violation")]
    Names,
    /// It cannot be read.
    #[error("certificate cannot be read")]
    Broken,
}

impl Flaw {
    /// Whether only its authority is not known: what `optional_no_ca` lets pass
    /// (`ngx_ssl_verify_error_optional`).
    #[must_use]
    pub fn is_of_authority(&self) -> bool {
        matches!(self, Self::SelfSigned | Self::SelfSignedInChain | Self::NoIssuer | Self::Alone)
    }
}

/// A certificate that is known. A file may have hundreds of them, of which a chain needs one or two:
/// the others are not taken apart again to find out that they are not meant.
#[derive(Debug)]
struct Known {
    der: CertificateDer<'static>,
    /// Whose it is, and who has signed it, as they are written in it.
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

/// A list of what was called back, and who has made it.
#[derive(Debug)]
struct List {
    der: CertificateRevocationListDer<'static>,
    issuer: Vec<u8>,
}

impl Known {
    /// None for what cannot be read.
    fn new(der: CertificateDer<'static>) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(&der).ok()?;
        let (subject, issuer) = (read.subject.as_raw().to_vec(), read.issuer.as_raw().to_vec());
        Some(Self { der, subject, issuer })
    }
}

impl List {
    /// None for what cannot be read.
    fn new(der: CertificateRevocationListDer<'static>) -> Option<Self> {
        let issuer = CertificateRevocationList::from_der(&der).ok()?.1.issuer().as_raw().to_vec();
        Some(Self { der, issuer })
    }
}

/// Whom to believe.
#[derive(Debug, Default)]
pub struct Trust {
    /// Those that are known.
    certificates: Vec<Known>,
    /// Whether one that is known ends a chain although it is signed by another.
    partial: bool,
    /// How many may stand between a certificate and one that is known.
    depth: usize,
    /// What was called back; none where nobody asks.
    lists: Option<Vec<List>>,
}

impl Trust {
    /// Reads who is known, and the lists of what was called back.
    ///
    /// # Errors
    /// [`LoadError`] says which file cannot be used and why.
    pub fn load(files: &[&Path], depth: usize, crl: Option<&Path>) -> Result<Self, LoadError> {
        let mut certificates: Vec<Known> = Vec::new();
        for path in files {
            let error = |reason| LoadError::Certificate(path.display().to_string(), reason);
            for der in chain(path).map_err(error)? {
                let new = Known::new(der).ok_or_else(|| error(Reason::Broken))?;
                if !certificates.iter().any(|known| known.der == new.der) {
                    certificates.push(new);
                }
            }
        }
        let lists = crl.map(lists).transpose()?;
        Ok(Self { certificates, partial: false, depth, lists })
    }

    /// The same where one that is known ends a chain although another has signed it.
    #[must_use]
    pub fn partial(self) -> Self {
        Self { partial: true, ..self }
    }

    /// Whom to believe, as they call themselves.
    pub fn subjects(&self) -> impl Iterator<Item = Vec<u8>> {
        self.certificates.iter().map(|known| known.subject.clone())
    }

    /// Those that may stand in a chain with these: what any of them is, or is signed by, and so on.
    fn relevant<'k>(&'k self, shown: &[&X509Certificate<'_>]) -> Vec<X509Certificate<'k>> {
        let mut found = vec![false; self.certificates.len()];
        let mut wanted: Vec<&[u8]> =
            shown.iter().flat_map(|one| [one.subject.as_raw(), one.issuer.as_raw()]).collect();
        let mut read = Vec::new();
        while let Some(name) = wanted.pop() {
            for (known, found) in self.certificates.iter().zip(&mut found) {
                if !*found && known.subject == name {
                    *found = true;
                    wanted.push(&known.issuer);
                    read.extend(X509Certificate::from_der(&known.der).map(|(_, read)| read));
                }
            }
        }
        read
    }

    /// Whether a certificate is to be believed, shown with those of `above`.
    ///
    /// # Errors
    /// [`Flaw`] says why not.
    pub fn check(
        &self,
        end: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        let read = |der| X509Certificate::from_der(der).map(|(_, read)| read);
        let shown: Vec<_> = above.iter().take(LONGEST).flat_map(|der| read(der)).collect();
        let leaf = read(end).map_err(|_| Flaw::Broken)?;
        let known = self.relevant(&shown.iter().chain([&leaf]).collect::<Vec<_>>());
        let mut search =
            Search { known: &known, shown: &shown, left: MOST_SIGNATURES, trust: self };
        let mut path = vec![&leaf];
        search.extend(&mut path)?;
        self.check_path(&path, purpose, now)?;
        if path.iter().skip(1).any(|one| matches!(one.name_constraints(), Ok(Some(_)) | Err(_))) {
            self.check_names(end, above, purpose, now)?;
        }
        self.lists.as_ref().map_or(Ok(()), |lists| check_revoked(&path, lists, now))
    }

    /// What holds of a chain whose signatures are good; the last is known.
    fn check_path(
        &self,
        path: &[&X509Certificate<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if path.len().saturating_sub(2) > self.depth {
            return Err(Flaw::TooLong);
        }
        for (n, one) in path.iter().enumerate() {
            if now > one.validity.not_after.timestamp() {
                return Err(Flaw::Expired);
            }
            if now < one.validity.not_before.timestamp() {
                return Err(Flaw::NotYet);
            }
            if one.extensions().iter().any(|e| e.critical && !is_understood(&e.oid)) {
                return Err(Flaw::Critical);
            }
            if !is_for(one, purpose) {
                return Err(Flaw::Purpose);
            }
            if n > 0 && !may_sign(one, n - 1, n + 1 == path.len()) {
                return Err(Flaw::NoAuthority);
            }
        }
        Ok(())
    }

    /// webpki knows what an authority may sign for.
    fn check_names(
        &self,
        end: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates.iter().map(|known| known.der.clone()));
        let algorithms = default_provider().signature_verification_algorithms.all;
        let end = EndEntityCert::try_from(end).map_err(|_| Flaw::Names)?;
        let above: Vec<_> = above.iter().map(|der| der.clone().into_owned()).collect();
        end.verify_for_usage(algorithms, &roots.roots, &above, now, usage, None, None)
            .map(drop)
            .map_err(|_| Flaw::Names)
    }
}

/// Reads lists of what was called back.
fn lists(path: &Path) -> Result<Vec<List>, LoadError> {
    let error = |reason| LoadError::Crl(path.display().to_string(), reason);
    let text = std::fs::read(path).map_err(|e| error(e.into()))?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|e| error(Reason::Pem(e)))?;
    if lists.is_empty() {
        return Err(error(Reason::NoCrl));
    }
    let lists = lists.into_iter().map(|der| List::new(der).ok_or_else(|| error(Reason::Broken)));
    lists.collect()
}

/// Looks for a chain up to one that is known.
struct Search<'s, 'd> {
    known: &'s [X509Certificate<'d>],
    shown: &'s [X509Certificate<'d>],
    left: usize,
    trust: &'s Trust,
}

impl<'s, 'd> Search<'s, 'd> {
    fn extend(&mut self, path: &mut Vec<&'s X509Certificate<'d>>) -> Result<(), Flaw>
    where
        'd: 's,
    {
        let last = path[path.len() - 1];
        let is_known = self.known.iter().any(|one| one.as_raw() == last.as_raw());
        let own = last.subject.as_raw() == last.issuer.as_raw();
        if is_known && (own || self.trust.partial) {
            return Ok(());
        }
        if path.len() > LONGEST {
            return Err(Flaw::TooLong);
        }
        let mut flaw = match (own, path.len()) {
            (true, 1) => Flaw::SelfSigned,
            (true, _) => Flaw::SelfSignedInChain,
            (false, 1) => Flaw::Alone,
            (false, _) => Flaw::NoIssuer,
        };
        // Those that are known come first: the shortest chain is the one that is wanted.
        for issuer in self.known.iter().chain(self.shown) {
            let is_new = !path.iter().any(|one| one.as_raw() == issuer.as_raw());
            if !is_new || issuer.subject.as_raw() != last.issuer.as_raw() {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else { return Err(Flaw::TooLong) };
            self.left = left;
            if !is_signed_by(last, &issuer.tbs_certificate.subject_pki) {
                flaw = Flaw::Signature;
                continue;
            }
            path.push(issuer);
            match self.extend(path) {
                Ok(()) => return Ok(()),
                Err(deeper) => flaw = deeper,
            }
            path.pop();
        }
        Err(flaw)
    }
}

/// Whether a certificate is signed with a key; what SHA-1 stands for is for anybody to make.
fn is_signed_by(one: &X509Certificate<'_>, key: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = &one.signature_algorithm.algorithm;
    let weak = [known::OID_PKCS1_SHA1WITHRSA, known::OID_SHA1_WITH_RSA];
    !weak.contains(algorithm) && one.verify_signature(Some(key)).is_ok()
}

/// Whether there is something that reads it, here or in webpki.
fn is_understood(oid: &Oid<'_>) -> bool {
    [
        known::OID_X509_EXT_BASIC_CONSTRAINTS,
        known::OID_X509_EXT_KEY_USAGE,
        known::OID_X509_EXT_EXTENDED_KEY_USAGE,
        known::OID_X509_EXT_SUBJECT_ALT_NAME,
        known::OID_X509_EXT_NAME_CONSTRAINTS,
        known::OID_X509_EXT_CERTIFICATE_POLICIES,
    ]
    .contains(oid)
}

/// Whether what it says of its use, if it says anything, holds this one.
fn is_for(one: &X509Certificate<'_>, purpose: Purpose) -> bool {
    match one.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => {
            usage.value.any
                || match purpose {
                    Purpose::Client => usage.value.client_auth,
                    Purpose::Server => usage.value.server_auth,
                }
        }
        Err(_) => false,
    }
}

/// Whether a certificate may sign one that has `below` between it and the end.
fn may_sign(one: &X509Certificate<'_>, below: usize, is_known: bool) -> bool {
    if matches!(one.key_usage(), Ok(Some(usage)) if !usage.value.key_cert_sign())
        || one.key_usage().is_err()
    {
        return false;
    }
    match one.basic_constraints() {
        Ok(Some(constraints)) => {
            let room = constraints.value.path_len_constraint;
            constraints.value.ca
                && room.is_none_or(|most| usize::try_from(most).unwrap_or(usize::MAX) >= below)
        }
        // Version 1 cannot say it; who knows such a one believes it.
        Ok(None) => is_known && one.version == X509Version::V1,
        Err(_) => false,
    }
}

/// Every certificate of a chain needs a list that says that it was not called back.
fn check_revoked(path: &[&X509Certificate<'_>], lists: &[List], now: UnixTime) -> Result<(), Flaw> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let lists: Vec<_> = lists
        .iter()
        .filter(|list| path.iter().any(|one| one.issuer.as_raw() == list.issuer))
        .filter_map(|list| Some(CertificateRevocationList::from_der(&list.der).ok()?.1))
        .collect();
    // As OpenSSL, which goes on and says what it has found last.
    let mut last = None;
    for (n, one) in path.iter().enumerate() {
        let issuer = path.get(n + 1).unwrap_or(one);
        if issuer.subject.as_raw() != one.issuer.as_raw() {
            // Known without the one that has signed it.
            continue;
        }
        let mut flaw = Some(Flaw::NoCrl);
        for list in &lists {
            let key = &issuer.tbs_certificate.subject_pki;
            if list.issuer().as_raw() != one.issuer.as_raw()
                || list.verify_signature(key).is_err()
                || list.extensions().iter().any(|extension| extension.critical)
            {
                continue;
            }
            let serial = one.raw_serial();
            if list.iter_revoked_certificates().any(|gone| gone.raw_serial() == serial) {
                flaw = Some(Flaw::Revoked);
                break;
            }
            let old = list.next_update().is_some_and(|next| now > next.timestamp());
            match old {
                true if flaw.is_some() => flaw = Some(Flaw::CrlExpired),
                true => {}
                false => flaw = None,
            }
        }
        last = flaw.or(last);
    }
    last.map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
