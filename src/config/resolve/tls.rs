//! TLS: what `ssl_*` say of a virtual server, and `proxy_ssl_*` of a way to upstreams.
//!
//! Certificates are read here: one that cannot be used must refuse the start. A protocol or cipher
//! that rustls has not is passed over, for OpenSSL's lists are long and older than both; only a
//! list of which nothing is left is a mistake.

use std::path::PathBuf;

use super::leaf::Zero;
use crate::config::diagnostics::{Diagnostics, Span, Syntax, quote};
use crate::config::model::passing::UpstreamTls;
use crate::config::model::{Listen, Tls, VirtualServer};
use crate::config::raw::{self, Settings, Statement, Word};
use crate::config::tls::certificate::{self, LoadError};
use crate::config::tls::{Certificate, CipherSuite, Versions, ciphers};
use crate::config::words;

/// Sessions that nginx's `builtin` cache has room for.
const BUILTIN: usize = 20_480;
/// What a session takes in nginx's shared cache: a megabyte has room for 4000.
const SESSION_BYTES: u64 = 256;

/// What a virtual server says, or else all of them.
struct Said<'s, 'd> {
    inner: &'s Settings,
    outer: &'s Settings,
    diags: &'d mut Diagnostics,
}

impl<'s> Said<'s, '_> {
    fn all(&self, name: &'s str) -> Vec<&'s Word> {
        let words = |settings: &'s Settings| {
            settings.all(name).flat_map(|statement| &statement.args).collect::<Vec<_>>()
        };
        let inner = words(self.inner);
        if inner.is_empty() { words(self.outer) } else { inner }
    }

    fn last(&self, name: &str) -> Option<&'s Statement> {
        self.inner.last(name).or_else(|| self.outer.last(name))
    }

    fn word(&self, name: &str) -> Option<&'s Word> {
        self.last(name).and_then(|statement| statement.args.first())
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        self.diags.switch(name, self.word(name))
    }
}

/// How a virtual server speaks TLS; none without a certificate.
pub(super) fn server(inner: &Settings, outer: &Settings, diags: &mut Diagnostics) -> Option<Tls> {
    let mut said = Said { inner, outer, diags };
    let plain = Tls::default();
    let reject_handshake = said.switch("ssl_reject_handshake").unwrap_or(false);
    let versions = said.versions("ssl_protocols").unwrap_or_default();
    let tls = Tls {
        certificates: said.certificates(),
        versions,
        ciphers: said.ciphers("ssl_ciphers", versions).unwrap_or(plain.ciphers),
        prefer_server_ciphers: said.switch("ssl_prefer_server_ciphers").unwrap_or(false),
        session_cache: said.session_cache().unwrap_or(0),
        session_timeout: said
            .diags
            .time("ssl_session_timeout", said.word("ssl_session_timeout"), Zero::Refused)
            .unwrap_or(plain.session_timeout),
        session_tickets: said.switch("ssl_session_tickets").unwrap_or(true),
        reject_handshake,
    };
    (reject_handshake || !tls.certificates.is_empty()).then_some(tls)
}

/// Whether HTTP/2 is on offer at all addresses of a virtual server.
pub(super) fn http2(inner: &Settings, outer: &Settings, diags: &mut Diagnostics) -> bool {
    Said { inner, outer, diags }.switch("http2").unwrap_or(false)
}

/// TLS to upstreams, inside of `outer`.
pub(super) fn upstream(
    settings: &Settings,
    outer: &UpstreamTls,
    diags: &mut Diagnostics,
) -> UpstreamTls {
    let mut said = Said { inner: settings, outer: settings, diags };
    let versions = said.versions("proxy_ssl_protocols").unwrap_or(outer.versions);
    let pair = said.word("proxy_ssl_certificate").zip(said.word("proxy_ssl_certificate_key"));
    UpstreamTls {
        verify: said.switch("proxy_ssl_verify").unwrap_or(outer.verify),
        server_name: said.switch("proxy_ssl_server_name").unwrap_or(outer.server_name),
        name: said
            .word("proxy_ssl_name")
            .and_then(|word| said.diags.template(word))
            .or_else(|| outer.name.clone()),
        trusted: said.trusted().or_else(|| outer.trusted.clone()),
        certificate: pair
            .and_then(|(certificate, key)| said.pair(certificate, key))
            .or_else(|| outer.certificate.clone()),
        versions,
        ciphers: said
            .ciphers("proxy_ssl_ciphers", versions)
            .unwrap_or_else(|| outer.ciphers.clone()),
        session_reuse: said.switch("proxy_ssl_session_reuse").unwrap_or(outer.session_reuse),
    }
}

/// A listener with TLS needs a certificate for those who name no host.
pub(super) fn refuse_bare_listeners(
    raw: &[raw::VirtualServer],
    servers: &[VirtualServer],
    diags: &mut Diagnostics,
) {
    let mut seen = Vec::new();
    for (raw, server) in raw.iter().zip(servers) {
        for (n, listen) in server.listen.iter().enumerate().filter(|(_, listen)| listen.tls) {
            if seen.contains(&&listen.address) {
                continue;
            }
            seen.push(&listen.address);
            let here = |l: &Listen| l.address == listen.address;
            let mut all = servers.iter().filter(|server| server.listen.iter().any(here));
            let is_default = |s: &&VirtualServer| s.listen.iter().any(|l| here(l) && l.default);
            let default = all.clone().find(is_default).or_else(|| all.next());
            // A pair that cannot be used has been reported.
            let reported = raw.settings.last("ssl_certificate").is_some();
            if default.is_some_and(|server| server.tls.is_some()) || reported {
                continue;
            }
            let word = raw.listen.as_ref().and_then(|list| list.items.get(n));
            let place = word.map_or(&raw.place, |listen| &listen.address.place);
            diags
                .error(place, format!("no certificate for TLS on `{}`", listen.address))
                .in_nginx("no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive")
                .expected("the default virtual server of this address has no certificate");
        }
    }
}

impl Said<'_, '_> {
    fn certificates(&mut self) -> Vec<Certificate> {
        let (certificates, keys) = (self.all("ssl_certificate"), self.all("ssl_certificate_key"));
        let mut pairs = Vec::new();
        for (n, word) in certificates.iter().enumerate() {
            let Some(key) = keys.get(n) else {
                self.diags
                    .error(&word.place, format!("no key for certificate {}", quote(&word.value)))
                    .in_nginx(format!(
                        "no \"ssl_certificate_key\" is defined for certificate \"{}\"",
                        word.value
                    ));
                continue;
            };
            pairs.extend(self.pair(word, key));
        }
        pairs
    }

    /// A certificate and its key that can be used.
    fn pair(&mut self, certificate: &Word, key: &Word) -> Option<Certificate> {
        let pair =
            Certificate { certificate: self.diags.file(certificate)?, key: self.diags.file(key)? };
        let error = match certificate::load(&pair.certificate, &pair.key) {
            Ok(_) => return Some(pair),
            Err(error) => error,
        };
        let word = match &error {
            LoadError::Certificate(..) => certificate,
            LoadError::Key(..) => key,
        };
        self.diags.error(&word.place, error.to_string());
        None
    }

    /// Certificates that upstreams are trusted by.
    fn trusted(&mut self) -> Option<PathBuf> {
        let word = self.word("proxy_ssl_trusted_certificate")?;
        let path = self.diags.file(word)?;
        match certificate::trusted(&path) {
            Ok(_) => Some(path),
            Err(error) => {
                self.diags.error(&word.place, error.to_string());
                None
            }
        }
    }

    fn versions(&mut self, name: &'static str) -> Option<Versions> {
        const KNOWN: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
        let words = self.all(name);
        let first = words.first()?;
        let mut versions = Versions { tls12: false, tls13: false };
        for word in &words {
            match word.value.as_str() {
                "TLSv1.2" => versions.tls12 = true,
                "TLSv1.3" => versions.tls13 = true,
                // Clients that still spoke one of these would find another that both speak.
                old if KNOWN.contains(&old) => {}
                other => {
                    self.diags
                        .error(&word.place, format!("unknown version of TLS {}", quote(other)))
                        .in_nginx(format!("invalid value \"{other}\""))
                        .expected("expected one of TLSv1.2, TLSv1.3");
                    return None;
                }
            }
        }
        if versions.tls12 || versions.tls13 {
            return Some(versions);
        }
        self.diags
            .error(&first.place, "only versions that are too old for robin")
            .expected("expected one of TLSv1.2, TLSv1.3")
            .help("older versions are broken (RFC 8996), and rustls does not have them");
        None
    }

    fn ciphers(&mut self, name: &'static str, versions: Versions) -> Option<Vec<CipherSuite>> {
        let word = self.word(name)?;
        let chosen = ciphers::choose(&word.value);
        if chosen.is_empty() && versions.tls12 {
            let all = CipherSuite::ALL.map(CipherSuite::name).join(", ");
            self.diags
                .error(&word.place, "none of these ciphers is among robin's")
                .expected(format!("expected one of {all}"))
                .help("the ciphers of TLS 1.3 are on offer whatever stands here");
            return None;
        }
        Some(chosen)
    }

    /// How many sessions are kept.
    fn session_cache(&mut self) -> Option<usize> {
        let statement = self.last("ssl_session_cache")?;
        let in_nginx = Span::from(&statement.name.place).source.syntax == Syntax::Nginx;
        let mut sessions = 0;
        for word in &statement.args {
            let text = word.value.as_str();
            let number = |text: &str| words::number(text).and_then(|n| usize::try_from(n).ok());
            let read = match text.split_once(':') {
                None if matches!(text, "off" | "none") => Some(0),
                None if text == "builtin" => Some(BUILTIN),
                None if !in_nginx => number(text),
                Some(("builtin", size)) => number(size),
                Some(("shared", zone)) => zone
                    .split_once(':')
                    .filter(|(name, _)| !name.is_empty())
                    .and_then(|(_, size)| words::size(size).ok())
                    .and_then(|bytes| usize::try_from(bytes / SESSION_BYTES).ok()),
                _ => None,
            };
            let Some(read) = read else {
                self.diags
                    .error(&word.place, format!("invalid session cache {}", quote(text)))
                    .in_nginx(format!("invalid session cache \"{text}\""))
                    .expected("expected `off`, `shared:NAME:SIZE` or `builtin:SESSIONS`");
                return None;
            };
            sessions = sessions.max(read);
        }
        Some(sessions)
    }
}

impl Diagnostics {
    /// The file that a word names.
    pub(super) fn file(&mut self, word: &Word) -> Option<PathBuf> {
        let text = word.value.as_str();
        let kind = match text.split_once(':') {
            Some((kind @ ("data" | "engine" | "store"), _)) => Some(format!("`{kind}:`")),
            _ => text.contains('$').then(|| "a variable".to_owned()),
        };
        if let Some(kind) = kind {
            self.error(&word.place, format!("{kind} is not supported here"))
                .expected("expected the name of a file");
            return None;
        }
        Some(self.folder.join(text))
    }
}
