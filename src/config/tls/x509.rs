//! What is written in a certificate, in the words that OpenSSL has for it.
//!
//! Only reading: whether it is to be believed is [`super::trust`]'s. webpki looks into no certificate
//! of version 1, which many private authorities make; this does.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A certificate that has been looked into.
#[derive(Debug)]
pub struct Written<'a>(pub(super) X509Certificate<'a>);

impl<'a> Written<'a> {
    /// Looks into a certificate; none where it is no certificate.
    #[must_use]
    pub fn read(der: &'a [u8]) -> Option<Self> {
        X509Certificate::from_der(der).ok().map(|(_, certificate)| Self(certificate))
    }

    /// From when it is good, in seconds since 1970.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.0.validity.not_before.timestamp()
    }

    /// Until when it is good, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.validity.not_after.timestamp()
    }

    /// Whole days until its end; 0 behind it.
    #[must_use]
    pub fn days_left(&self, now: i64) -> i64 {
        ((self.not_after() - now) / DAY).max(0)
    }

    /// Whom it is for (RFC 2253).
    #[must_use]
    pub fn subject(&self) -> String {
        rfc2253(&self.0.subject)
    }

    /// Who has signed it (RFC 2253).
    #[must_use]
    pub fn issuer(&self) -> String {
        rfc2253(&self.0.issuer)
    }

    /// Whom it is for, in OpenSSL's older form.
    #[must_use]
    pub fn subject_legacy(&self) -> String {
        oneline(&self.0.subject)
    }

    /// Who has signed it, in OpenSSL's older form.
    #[must_use]
    pub fn issuer_legacy(&self) -> String {
        oneline(&self.0.issuer)
    }

    /// Its number, in hexadecimal digits.
    #[must_use]
    pub fn serial(&self) -> String {
        let raw = self.0.raw_serial();
        let number = match raw {
            // The zero that keeps a number from being read as a negative one.
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        data_encoding::HEXUPPER.encode(number)
    }

    /// The hosts that it is for: its alternative names, or without any its common name, as OpenSSL has it.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let names = self.0.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names: Vec<String> = names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
                _ => None,
            })
            .collect();
        if !names.is_empty() {
            return names;
        }
        let common = self.0.subject.iter_common_name();
        common.filter_map(|name| name.as_str().ok()).map(str::to_ascii_lowercase).collect()
    }

    /// Whether it is for a host, which may be `*.example.org`.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts().iter().any(|name| {
            *name == host
                || name.strip_prefix('*').is_some_and(|suffix| {
                    suffix.starts_with('.')
                        && host.split_once('.').is_some_and(|(first, rest)| {
                            !first.is_empty() && suffix[1..] == *rest && rest.contains('.')
                        })
                })
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A moment as `ASN1_TIME_print` has it: `Nov  1 09:00:00 2026 GMT`.
#[must_use]
pub fn moment(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(moment) => moment.strftime("%b %e %H:%M:%S %Y GMT").to_string(),
        Err(_) => "Bad time value".to_owned(),
    }
}

/// OpenSSL's short name of a part of a name, or its numbers.
fn short(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let numbers = oid.to_id_string();
    match numbers.as_str() {
        "0.9.2342.19200300.100.1.1" => "UID".to_owned(),
        "0.9.2342.19200300.100.1.25" => "DC".to_owned(),
        "1.2.840.113549.1.9.1" => "emailAddress".to_owned(),
        "2.5.4.3" => "CN".to_owned(),
        "2.5.4.4" => "SN".to_owned(),
        "2.5.4.5" => "serialNumber".to_owned(),
        "2.5.4.6" => "C".to_owned(),
        "2.5.4.7" => "L".to_owned(),
        "2.5.4.8" => "ST".to_owned(),
        "2.5.4.9" => "street".to_owned(),
        "2.5.4.10" => "O".to_owned(),
        "2.5.4.11" => "OU".to_owned(),
        "2.5.4.12" => "title".to_owned(),
        "2.5.4.42" => "GN".to_owned(),
        _ => oid2sn(oid, oid_registry()).map_or(numbers, str::to_owned),
    }
}

/// `X509_NAME_print_ex` with `XN_FLAG_RFC2253`: the last part first.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (n, part) in parts.iter().rev().enumerate() {
        if n > 0 {
            text.push(',');
        }
        for (n, attribute) in part.iter().enumerate() {
            if n > 0 {
                text.push('+');
            }
            text.push_str(&short(attribute));
            text.push('=');
            escape(attribute, &mut text);
        }
    }
    text
}

/// A value with what RFC 2253 wants escaped, and every byte that is no ASCII.
fn escape(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let value = attribute.as_str().map_or_else(|_| attribute.as_slice(), str::as_bytes);
    let last = value.len().wrapping_sub(1);
    for (n, byte) in value.iter().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if n == 0 => text.push_str("\\#"),
            b' ' if n == 0 || n == last => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            // Writing into a String cannot fail.
            other => drop(write!(text, "\\{other:02X}")),
        }
    }
}

/// `X509_NAME_oneline`: `/C=DE/CN=a`.
fn oneline(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        text.push('/');
        text.push_str(&short(attribute));
        text.push('=');
        for byte in attribute.as_slice() {
            match byte {
                0x20..=0x7e => text.push(char::from(*byte)),
                // Writing into a String cannot fail.
                other => drop(write!(text, "\\x{other:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str], common: &str) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn names_and_dates_are_written_as_openssl_does() {
        let der = made(&["a.example"], "Käse, GmbH ");
        let written = Written::read(&der).expect("a certificate");
        assert_eq!(written.subject(), "CN=K\\C3\\A4se\\, GmbH\\ ,C=DE");
        assert_eq!(written.subject_legacy(), "/C=DE/CN=K\\xC3\\xA4se, GmbH ");
        assert_eq!(moment(written.not_after()), "Feb  3 00:00:00 2031 GMT");
        assert_eq!(written.days_left(written.not_after() - 86_401), 1);
        assert_eq!(written.days_left(written.not_after() + 1), 0);
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let der = made(&["a.example", "*.b.example", "10.0.0.1"], "c.example");
        let written = Written::read(&der).expect("a certificate");
        for (host, covered) in [
            ("a.example", true),
            ("A.Example.", true),
            ("x.b.example", true),
            ("*.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
            ("10.0.0.1", true),
            ("c.example", false),
        ] {
            assert_eq!(written.covers(host), covered, "{host}");
        }
        let der = made(&[], "c.example");
        assert!(Written::read(&der).expect("a certificate").covers("c.example"));
    }
}
