//! What is known of a client's TLS handshake, for variables.

use crate::config::template::Known;

/// What a handshake has settled on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`, nginx's `$ssl_protocol`.
    pub protocol: &'static str,
    /// OpenSSL's name of the cipher suite, `$ssl_cipher`.
    pub cipher: &'static str,
    /// The group that keys were exchanged in, `$ssl_curve`; empty where none is known.
    pub curve: &'static str,
    /// The host that the client named, `$ssl_server_name`.
    pub server_name: Option<String>,
    /// What ALPN chose, `$ssl_alpn_protocol`; empty for none.
    pub alpn: &'static str,
    /// Whether a session was taken up again, `$ssl_session_reused`.
    pub reused: bool,
}

impl TlsFacts {
    /// What ALPN calls HTTP/2.
    pub const HTTP2: &'static str = "h2";

    /// What a variable says of it; none where it says nothing.
    pub(super) fn variable(&self, known: Known) -> Option<&str> {
        Some(match known {
            Known::Https => "on",
            Known::SslCipher => self.cipher,
            Known::SslProtocol => self.protocol,
            Known::SslServerName => self.server_name.as_deref()?,
            Known::SslSessionReused if self.reused => "r",
            Known::SslSessionReused => ".",
            Known::SslCurve if !self.curve.is_empty() => self.curve,
            Known::SslAlpnProtocol if !self.alpn.is_empty() => self.alpn,
            _ => return None,
        })
    }

    /// Whether HTTP/2 is spoken.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.alpn == Self::HTTP2
    }
}
