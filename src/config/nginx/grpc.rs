//! What `grpc_*` says, on its way into the settings of the locations that pass gRPC on.
//!
//! nginx has two sets of directives, of which a location uses one. The raw tree has one set, that of
//! `proxy_*`: a location with `grpc_pass` gets what `grpc_*` says around it and in it, and what
//! `proxy_*` says around it is undone where it would be inherited.

use super::frame::Frame;
use crate::config::raw::{List, Settings, Statement, Word};

/// What `grpc_*` says at one level, or at all levels around one.
#[derive(Clone, Debug, Default)]
pub(super) struct Grpc {
    /// As `proxy_*` would.
    pub(super) settings: Settings,
    /// `grpc_set_header`.
    pub(super) headers: Vec<(Word, Word)>,
}

impl Grpc {
    /// What holds inside of `outer` where this is said.
    pub(super) fn inside(&self, outer: &Self) -> Self {
        let headers = if self.headers.is_empty() { &outer.headers } else { &self.headers };
        Self { settings: inside(&self.settings, &outer.settings), headers: headers.clone() }
    }
}

/// What holds inside of `outer` where `inner` is said, as far as directives for both kinds say it.
pub(super) fn inside(inner: &Settings, outer: &Settings) -> Settings {
    let or = |inner: &Option<Word>, outer: &Option<Word>| inner.clone().or_else(|| outer.clone());
    let lists = |inner: &Option<List<Word>>, outer: &Option<List<Word>>| {
        inner.clone().or_else(|| outer.clone())
    };
    let is_kept = |statement: &&Statement| inner.last(&statement.name.value).is_none();
    let statements = outer.statements.iter().filter(is_kept).chain(&inner.statements);
    let statements = statements.filter(|s| s.name.value.starts_with("proxy_"));
    Settings {
        connect_timeout: or(&inner.connect_timeout, &outer.connect_timeout),
        send_timeout: or(&inner.send_timeout, &outer.send_timeout),
        read_timeout: or(&inner.read_timeout, &outer.read_timeout),
        retry_tries: or(&inner.retry_tries, &outer.retry_tries),
        retry_timeout: or(&inner.retry_timeout, &outer.retry_timeout),
        retry_non_idempotent: or(&inner.retry_non_idempotent, &outer.retry_non_idempotent),
        retry_on: lists(&inner.retry_on, &outer.retry_on),
        retry_statuses: lists(&inner.retry_statuses, &outer.retry_statuses),
        statements: statements.cloned().collect(),
        ..Settings::default()
    }
}

/// What is said where nothing is. Of some of these nginx has none for gRPC: this is what it does then. A depth of 10 is ours.
const SILENT: [(&str, &[&str]); 24] = [
    ("proxy_intercept_errors", &["off"]),
    ("proxy_bind", &["off"]),
    ("proxy_socket_keepalive", &["off"]),
    ("proxy_hide_header", &[""]),
    ("proxy_pass_header", &[""]),
    ("proxy_ignore_headers", &[""]),
    ("proxy_ssl_verify", &["off"]),
    ("proxy_ssl_server_name", &["off"]),
    ("proxy_ssl_session_reuse", &["on"]),
    ("proxy_ssl_name", &["$proxy_host"]),
    ("proxy_ssl_trusted_certificate", &[""]),
    ("proxy_ssl_crl", &[""]),
    ("proxy_ssl_verify_depth", &["10"]),
    ("proxy_ssl_certificate", &[""]),
    ("proxy_ssl_protocols", &["TLSv1.2", "TLSv1.3"]),
    ("proxy_ssl_ciphers", &["DEFAULT"]),
    ("proxy_method", &[""]),
    ("proxy_pass_request_headers", &["on"]),
    ("proxy_pass_request_body", &["on"]),
    ("proxy_cookie_domain", &["off"]),
    ("proxy_cookie_path", &["off"]),
    ("proxy_cookie_flags", &["off"]),
    ("proxy_ignore_client_abort", &["off"]),
    ("proxy_limit_rate", &["0"]),
];

impl Frame {
    /// Makes this location's settings those of `grpc_*`.
    pub(super) fn pass_grpc(&mut self) {
        let Grpc { settings: said, headers } = self.grpc.inside(&self.around);
        let proxy = inside(&self.settings, &self.around_proxy);
        let silent = |said: Option<Word>, proxy: &Option<Word>, word: &str| {
            said.or_else(|| proxy.is_some().then(|| self.word(word)))
        };
        let list = |words: &[&str]| {
            let items = words.iter().map(|word| self.word(word)).collect();
            List { items, broken: false, place: self.place.clone() }
        };
        let connect_timeout = silent(said.connect_timeout, &proxy.connect_timeout, "60s");
        let send_timeout = silent(said.send_timeout, &proxy.send_timeout, "60s");
        let read_timeout = silent(said.read_timeout, &proxy.read_timeout, "60s");
        let retry_tries = silent(said.retry_tries, &proxy.retry_tries, "0");
        let retry_timeout = silent(said.retry_timeout, &proxy.retry_timeout, "0");
        let once = silent(said.retry_non_idempotent, &proxy.retry_non_idempotent, "off");
        let on = said.retry_on;
        let retry_on = on.or_else(|| proxy.retry_on.map(|_| list(&["error", "timeout"])));
        let statuses = said.retry_statuses;
        let retry_statuses = statuses.or_else(|| proxy.retry_statuses.map(|_| list(&[])));
        let unsaid = SILENT.iter().filter(|(name, _)| {
            let is = |statement: &Statement| statement.name.value == *name;
            proxy.statements.iter().any(is) && !said.statements.iter().any(is)
        });
        let unsaid: Vec<Statement> = unsaid
            .map(|(name, words)| {
                let args = words.iter().map(|word| self.word(word)).collect();
                Statement { name: self.word(name), args, block: None }
            })
            .collect();
        let settings = &mut self.settings;
        let is_said = |s: &Statement| said.statements.iter().any(|o| o.name.value == s.name.value);
        let undone = |s: &Statement| SILENT.iter().any(|(name, _)| s.name.value == *name);
        settings.statements.retain(|s| !is_said(s) && !undone(s));
        settings.statements.extend(said.statements.iter().cloned().chain(unsaid));
        settings.connect_timeout = connect_timeout;
        settings.send_timeout = send_timeout;
        settings.read_timeout = read_timeout;
        settings.retry_tries = retry_tries;
        settings.retry_timeout = retry_timeout;
        settings.retry_non_idempotent = once;
        settings.retry_on = retry_on;
        settings.retry_statuses = retry_statuses;
        // In the place of all that `proxy_set_header` says around it.
        self.headers = headers;
    }
}
