//! TLS: what `ssl_*` say of a virtual server, and `proxy_ssl_*` of a way to upstreams.
//!
//! Certificates are read here: one that cannot be used must refuse the start. A protocol or cipher
//! that rustls has not is passed over, for OpenSSL's lists are long and older than both; only a
//! list of which nothing is left is a mistake. One that is out of its time or for other hosts serves
//! nobody, and is refused unless `robin_certificate_check` is off; nginx would serve it.

use std::path::PathBuf;

use super::leaf::Zero;
use crate::config::diagnostics::{Diagnostic, Diagnostics, Span, Syntax, quote};
use crate::config::model::passing::UpstreamTls;
use crate::config::model::{Listen, ServerName, Tls, VirtualServer};
use crate::config::raw::{self, Settings, Statement, Word};
use crate::config::tls::certificate::{self, LoadError, Reason, Unfit};
use crate::config::tls::trust::Trust;
use crate::config::tls::{
    Certificate, CipherSuite, ClientCertificates, VerifyClient, Versions, ciphers,
};
use crate::config::words;

/// Sessions that nginx's `builtin` cache has room for.
const BUILTIN: usize = 20_480;
/// What a session takes in nginx's shared cache: a megabyte has room for 4000.
const SESSION_BYTES: u64 = 256;
/// As many certificates as anybody has one above the other.
const DEEPEST: usize = 100;

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
        prefer_server_ciphers: said
            .switch("ssl_prefer_server_ciphers")
            .unwrap_or(plain.prefer_server_ciphers),
        session_cache: said.session_cache().unwrap_or(0),
        session_timeout: said
            .diags
            .time("ssl_session_timeout", said.word("ssl_session_timeout"), Zero::Refused)
            .unwrap_or(plain.session_timeout),
        session_tickets: said.switch("ssl_session_tickets").unwrap_or(true),
        ticket_keys: said.ticket_keys(),
        reject_handshake,
        clients: said.clients(),
    };
    let shows = !tls.certificates.is_empty();
    if shows {
        said.refuse_unknown_authority(&tls.clients);
    }
    (reject_handshake || shows).then_some(tls)
}

/// Whether requests to a virtual server need a certificate of the client's.
pub(super) fn verify_client(inner: &Settings, outer: &Settings) -> VerifyClient {
    // What is no word for it has been reported.
    let word = inner.last("ssl_verify_client").or_else(|| outer.last("ssl_verify_client"));
    let word = word.and_then(|statement| statement.args.first());
    word.and_then(|word| verify_client_of(&word.value)).unwrap_or_default()
}

fn verify_client_of(word: &str) -> Option<VerifyClient> {
    let found = VerifyClient::NAMES.into_iter().find(|(name, _)| *name == word);
    found.map(|(_, verify)| verify)
}

/// A certificate that is out of its time, or for other hosts than its virtual server has, serves
/// nobody.
pub(super) fn refuse_unfit(
    inner: &Settings,
    outer: &Settings,
    server: &VirtualServer,
    diags: &mut Diagnostics,
) {
    let mut said = Said { inner, outer, diags };
    let wanted = said.switch("robin_certificate_check").unwrap_or(true);
    let Some(tls) = server.tls.as_ref() else { return };
    if !wanted || !server.listen.iter().any(|listen| listen.tls) {
        return;
    }
    let words = said.all("ssl_certificate");
    // What cannot be read has been reported.
    let chains = tls.certificates.iter().map(|pair| certificate::chain(&pair.certificate));
    let Ok(chains) = chains.collect::<Result<Vec<_>, _>>() else { return };
    let ends: Vec<_> = chains.into_iter().filter_map(|chain| chain.into_iter().next()).collect();
    if ends.len() != words.len() {
        return;
    }
    let now = jiff::Timestamp::now().as_second();
    let mut late = false;
    for (word, end) in words.iter().zip(&ends) {
        if let Some(unfit) = certificate::check(std::slice::from_ref(end), &[], now) {
            late = true;
            said.unfit(word, unfit);
        }
    }
    let hosts = server.names.iter().filter_map(|name| match name {
        // Nobody asks for these: they stand for no name.
        ServerName::Exact(name) if name.is_empty() || name == "_" => None,
        ServerName::Exact(_) | ServerName::Suffix(_) => Some(name.to_string()),
        ServerName::Prefix(_) | ServerName::Pattern(_) => None,
    });
    let unfit = certificate::check(&ends, &hosts.collect::<Vec<_>>(), now);
    if let (false, Some(unfit), Some(word)) = (late, unfit, words.first()) {
        said.unfit(word, unfit);
    }
}

/// Whether HTTP/2 is on offer at all addresses of a virtual server.
pub(super) fn http2(inner: &Settings, outer: &Settings, diags: &mut Diagnostics) -> bool {
    Said { inner, outer, diags }.switch("http2").unwrap_or(false)
}

/// TLS to upstreams, inside of `outer`. As in nginx, a file without a name is none.
pub(super) fn upstream(
    settings: &Settings,
    outer: &UpstreamTls,
    diags: &mut Diagnostics,
) -> UpstreamTls {
    let mut said = Said { inner: settings, outer: settings, diags };
    let versions = said.versions("proxy_ssl_protocols").unwrap_or(outer.versions);
    let pair = said.word("proxy_ssl_certificate").zip(said.word("proxy_ssl_certificate_key"));
    let is_none = |word: Option<&Word>| word.is_some_and(|word| word.value.is_empty());
    let passwords = said.word("proxy_ssl_password_file");
    let tls = UpstreamTls {
        verify: said.switch("proxy_ssl_verify").unwrap_or(outer.verify),
        server_name: said.switch("proxy_ssl_server_name").unwrap_or(outer.server_name),
        name: said
            .word("proxy_ssl_name")
            .and_then(|word| said.diags.template(word))
            .or_else(|| outer.name.clone()),
        trusted: match said.word("proxy_ssl_trusted_certificate") {
            word if is_none(word) => None,
            _ => said.trusted("proxy_ssl_trusted_certificate").or_else(|| outer.trusted.clone()),
        },
        crl: match said.word("proxy_ssl_crl") {
            word if is_none(word) => None,
            _ => said.crl("proxy_ssl_crl").or_else(|| outer.crl.clone()),
        },
        depth: said.depth("proxy_ssl_verify_depth").unwrap_or(outer.depth),
        certificate: match pair {
            _ if is_none(said.word("proxy_ssl_certificate")) => None,
            pair => pair
                .and_then(|(certificate, key)| said.pair(certificate, key, passwords))
                .or_else(|| outer.certificate.clone()),
        },
        versions,
        ciphers: said
            .ciphers("proxy_ssl_ciphers", versions)
            .unwrap_or_else(|| outer.ciphers.clone()),
        session_reuse: said.switch("proxy_ssl_session_reuse").unwrap_or(outer.session_reuse),
    };
    let crl = said.word("proxy_ssl_crl");
    let crl = crl.filter(|word| !word.value.is_empty());
    if let Some(word) = crl.filter(|_| tls.verify && tls.trusted.is_none()) {
        said.diags
            .error(&word.place, "a list of revocations needs the authorities that have made it")
            .in_nginx("no proxy_ssl_trusted_certificate for proxy_ssl_verify")
            .expected("expected their certificates beside it")
            .help("name their file: `proxy_ssl_trusted_certificate`, in YAML `trusted`");
    }
    tls
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
        let passwords = self.word("ssl_password_file");
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
            pairs.extend(self.pair(word, key, passwords));
        }
        pairs
    }

    /// A certificate and its key that can be used.
    fn pair(
        &mut self,
        certificate: &Word,
        key: &Word,
        passwords: Option<&Word>,
    ) -> Option<Certificate> {
        let pair = Certificate {
            certificate: self.diags.file(certificate)?,
            key: self.diags.file(key)?,
            passwords: passwords.and_then(|word| self.diags.file(word)),
        };
        let error = match certificate::load(&pair) {
            Ok(_) => return Some(pair),
            Err(error) => error,
        };
        let word = match &error {
            LoadError::Passwords(..) => passwords.unwrap_or(key),
            LoadError::Key(..) => key,
            _ => certificate,
        };
        let mismatch = matches!(&error, LoadError::Key(_, Reason::Mismatch));
        let diagnostic = self.unusable(word, &error);
        if mismatch {
            diagnostic
                .expected("this key belongs to another certificate")
                .also(&certificate.place, "this is the certificate");
        }
        None
    }

    /// Says what is wrong with a file.
    fn unusable(&mut self, word: &Word, error: &LoadError) -> &mut Diagnostic {
        let diagnostic = self.diags.error(&word.place, error.to_string());
        if let Reason::Read(read) = error.reason()
            && read.kind() == std::io::ErrorKind::PermissionDenied
        {
            diagnostic.help(
                "it is read again at each reload, by the user that robin has become: let that user read it, \
                 by `chgrp` and `chmod 640`",
            );
        }
        diagnostic
    }

    /// Says what is wrong with a certificate that could be served.
    fn unfit(&mut self, word: &Word, unfit: Unfit) {
        let in_nginx = Span::from(&word.place).source.syntax == Syntax::Nginx;
        let way_out = if in_nginx {
            "`robin_certificate_check off;`"
        } else {
            "`certificate_check: off` below `tls`"
        };
        let shown = quote(&word.value);
        let (message, expected, what) = match unfit {
            Unfit::Expired(when) => (
                format!("certificate {shown} has expired"),
                format!("it was good until {when}"),
                "renew it",
            ),
            Unfit::NotYet(when) => (
                format!("certificate {shown} is not yet valid"),
                format!("it is good from {when} on"),
                "check the clock of this machine, or take another",
            ),
            Unfit::Host { wanted, found } => {
                let list = |names: &[String]| match names {
                    [] => "no host".to_owned(),
                    names => names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", "),
                };
                let message = format!("certificate {shown} is not for {}", list(&wanted));
                let found = format!("it is for {}", list(&found));
                // nginx serves it, and its users may have clients that never look.
                if in_nginx {
                    self.diags.warn(&word.place, format!("{message}: {found}"));
                    return;
                }
                (message, found, "take one that is for all `names` here")
            }
        };
        self.diags
            .error(&word.place, message)
            .expected(expected)
            .help(format!("{what}; with {way_out} it is served all the same"));
    }

    /// Certificates that others are trusted by.
    fn trusted(&mut self, name: &'static str) -> Option<PathBuf> {
        let word = self.word(name)?;
        let path = self.diags.file(word)?;
        match Trust::load(&[&path], 0, None) {
            Ok(_) => Some(path),
            Err(error) => {
                self.unusable(word, &error);
                None
            }
        }
    }

    /// Lists of what was called back.
    fn crl(&mut self, name: &'static str) -> Option<PathBuf> {
        let word = self.word(name)?;
        let path = self.diags.file(word)?;
        match Trust::load(&[], 0, Some(&path)) {
            Ok(_) => Some(path),
            Err(error) => {
                self.unusable(word, &error);
                None
            }
        }
    }

    /// How many certificates may stand between one and another that is known.
    fn depth(&mut self, name: &'static str) -> Option<usize> {
        self.diags.number(name, self.word(name), 0..=DEEPEST as u64)
    }

    fn clients(&mut self) -> ClientCertificates {
        let plain = ClientCertificates::default();
        ClientCertificates {
            verify: self.verify_client(),
            authorities: self.trusted("ssl_client_certificate"),
            trusted: self.trusted("ssl_trusted_certificate"),
            depth: self.depth("ssl_verify_depth").unwrap_or(plain.depth),
            crl: self.crl("ssl_crl"),
        }
    }

    fn verify_client(&mut self) -> VerifyClient {
        let Some(word) = self.word("ssl_verify_client") else { return VerifyClient::Off };
        verify_client_of(&word.value).unwrap_or_else(|| {
            let names = VerifyClient::NAMES.map(|(name, _)| name);
            self.diags
                .error(&word.place, format!("`ssl_verify_client` cannot be {}", quote(&word.value)))
                .in_nginx(format!("invalid value \"{}\"", word.value))
                .expected(format!("expected one of {}", names.join(", ")))
                .nearest(&word.value, names);
            VerifyClient::Off
        })
    }

    /// Who wants certificates has to say whom they are believed by.
    fn refuse_unknown_authority(&mut self, clients: &ClientCertificates) {
        let asks = matches!(clients.verify, VerifyClient::On | VerifyClient::Optional);
        let said = self.last("ssl_client_certificate").or(self.last("ssl_trusted_certificate"));
        let Some(word) = self.word("ssl_verify_client").filter(|_| asks && said.is_none()) else {
            return;
        };
        self.diags
            .error(&word.place, "certificates of clients are verified by nothing")
            .in_nginx("no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client")
            .expected("expected the certificates of those who sign them beside it")
            .help("name their file: `ssl_client_certificate`, in YAML `client_ca` below `tls`");
    }

    /// Files of keys of tickets.
    fn ticket_keys(&mut self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for word in self.all("ssl_session_ticket_key") {
            let Some(path) = self.diags.file(word) else { continue };
            match certificate::ticket_key(&path) {
                Ok(_) => files.push(path),
                Err(error) => drop(self.unusable(word, &error)),
            }
        }
        files
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
        let file = self.folder.join(text);
        self.files.push(file.clone());
        Some(file)
    }
}
