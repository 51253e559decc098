//! What is known of a client's TLS handshake, for variables, and which requests it is not enough for.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::Failure;
use crate::config::template::Known;
use crate::config::tls::VerifyClient;
use crate::config::tls::trust::Flaw;
use crate::config::tls::x509::{Written, moment};

/// What nginx escapes of a certificate (`NGX_ESCAPE_URI_COMPONENT`).
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long a line of PEM is.
const PEM_LINE: usize = 64;

/// What a handshake has settled on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`, nginx's `$ssl_protocol`.
    pub protocol: &'static str,
    /// OpenSSL's name of the cipher suite, `$ssl_cipher`.
    pub cipher: &'static str,
    /// The suites that the client has, by OpenSSL's names or by their numbers, `$ssl_ciphers`.
    pub ciphers: String,
    /// The group that keys were exchanged in, `$ssl_curve`; empty where none is known.
    pub curve: &'static str,
    /// The groups that the client has, `$ssl_curves`.
    pub curves: String,
    /// The host that the client named, `$ssl_server_name`.
    pub server_name: Option<String>,
    /// What ALPN chose, `$ssl_alpn_protocol`; empty for none.
    pub alpn: &'static str,
    /// What names the session that this handshake has made, in hexadecimal digits, `$ssl_session_id`.
    pub session_id: String,
    /// Whether a session was taken up again, `$ssl_session_reused`.
    pub reused: bool,
    /// The certificate that the client has shown; none where it has not, or was not asked.
    pub client: Option<ClientCertificate>,
}

/// A certificate that a client has shown, `$ssl_client_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate.
    pub der: Vec<u8>,
    /// Why it is not to be believed, if it is not.
    pub flaw: Option<Flaw>,
}

impl TlsFacts {
    /// What ALPN calls HTTP/2.
    pub const HTTP2: &'static str = "h2";

    /// Why a request to `host` is not answered, where its virtual server wants certificates in this way.
    ///
    /// As in nginx (`ngx_http_process_request`), and a handshake with one host is none with another
    /// (`ngx_http_set_virtual_server`).
    #[must_use]
    pub fn refusal(&self, verify: VerifyClient, host: &str) -> Option<Failure> {
        if verify == VerifyClient::Off {
            return None;
        }
        if self.server_name.as_deref().is_some_and(|name| !name.eq_ignore_ascii_case(host)) {
            return Some(Failure::Misdirected);
        }
        match (&self.client, verify) {
            (None, VerifyClient::On) => Some(Failure::NoCertificate),
            (Some(ClientCertificate { flaw: Some(flaw), .. }), verify) => {
                let passes = verify == VerifyClient::OptionalNoCa && flaw.is_of_authority();
                (!passes).then(|| Failure::BadCertificate(flaw.clone()))
            }
            _ => None,
        }
    }

    /// What a variable says of it; none where it says nothing.
    pub(super) fn variable(&self, known: Known) -> Option<Cow<'_, str>> {
        Some(match known {
            Known::Https => "on".into(),
            Known::SslCipher => self.cipher.into(),
            Known::SslProtocol => self.protocol.into(),
            Known::SslServerName => self.server_name.as_deref()?.into(),
            Known::SslSessionReused if self.reused => "r".into(),
            Known::SslSessionReused => ".".into(),
            Known::SslCurve if !self.curve.is_empty() => self.curve.into(),
            Known::SslCiphers if !self.ciphers.is_empty() => self.ciphers.as_str().into(),
            Known::SslSessionId if !self.session_id.is_empty() => self.session_id.as_str().into(),
            Known::SslCurves if !self.curves.is_empty() => self.curves.as_str().into(),
            Known::SslAlpnProtocol if !self.alpn.is_empty() => self.alpn.into(),
            Known::SslClientVerify => match &self.client {
                None => "NONE".into(),
                Some(ClientCertificate { flaw: None, .. }) => "SUCCESS".into(),
                Some(ClientCertificate { flaw: Some(flaw), .. }) => format!("FAILED:{flaw}").into(),
            },
            _ => return self.client.as_ref()?.variable(known).map(Cow::Owned),
        })
    }

    /// Whether HTTP/2 is spoken.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.alpn == Self::HTTP2
    }
}

impl ClientCertificate {
    fn variable(&self, known: Known) -> Option<String> {
        let read = || Written::read(&self.der);
        Some(match known {
            Known::SslClientRawCert => self.pem(),
            // A header of several lines was one (`ngx_ssl_get_certificate`).
            Known::SslClientCert => self.pem().trim_end().replace('\n', "\n\t"),
            Known::SslClientEscapedCert => utf8_percent_encode(&self.pem(), UNESCAPED).to_string(),
            Known::SslClientSDn => read()?.subject(),
            Known::SslClientIDn => read()?.issuer(),
            Known::SslClientSDnLegacy => read()?.subject_legacy(),
            Known::SslClientIDnLegacy => read()?.issuer_legacy(),
            Known::SslClientSerial => read()?.serial(),
            Known::SslClientFingerprint => {
                let digest =
                    ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der);
                data_encoding::HEXLOWER.encode(digest.as_ref())
            }
            Known::SslClientVStart => moment(read()?.not_before()),
            Known::SslClientVEnd => moment(read()?.not_after()),
            Known::SslClientVRemain => read()?.days_left(Timestamp::now().as_second()).to_string(),
            _ => return None,
        })
    }

    fn pem(&self) -> String {
        let text = data_encoding::BASE64.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_virtual_server_wants_decides_which_certificates_do() {
        use VerifyClient::{Off, On, Optional, OptionalNoCa};
        let facts = |client: Option<Option<Flaw>>| TlsFacts {
            server_name: Some("a.example".to_owned()),
            client: client.map(|flaw| ClientCertificate { der: Vec::new(), flaw }),
            ..TlsFacts::default()
        };
        let (none, good) = (facts(None), facts(Some(None)));
        let (strange, late) = (facts(Some(Some(Flaw::Alone))), facts(Some(Some(Flaw::Expired))));
        for (facts, verify, expected) in [
            (&none, Off, None),
            (&none, On, Some(496)),
            (&none, Optional, None),
            (&good, On, None),
            (&strange, On, Some(495)),
            (&strange, Optional, Some(495)),
            (&strange, OptionalNoCa, None),
            (&late, OptionalNoCa, Some(495)),
            (&late, Off, None),
        ] {
            let status = facts.refusal(verify, "A.example").map(|failure| failure.status());
            assert_eq!(status, expected, "{facts:?} {verify:?}");
        }
        let other = good.refusal(On, "b.example").map(|failure| failure.status());
        assert_eq!(other, Some(421), "the handshake was with another");
        let anyone = TlsFacts { server_name: None, ..good };
        assert_eq!(anyone.refusal(On, "b.example"), None);
    }
}
