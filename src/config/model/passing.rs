//! How a route hands requests to an upstream and answers back.

use std::net::IpAddr;
use std::path::PathBuf;

use http::HeaderName;

use crate::config::pattern::Pattern;
use crate::config::template::Template;
use crate::config::tls::{Certificate, CipherSuite, Versions};

/// How requests and answers are passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Passing {
    /// Headers of answers that are not passed on, beyond those of nginx (`proxy_hide_header`).
    pub hide: Vec<HeaderName>,
    /// Headers of answers that are passed on though nginx would not (`proxy_pass_header`).
    pub pass: Vec<HeaderName>,
    /// `proxy_http_version`. Default HTTP/1.1.
    pub version: HttpVersion,
    /// `proxy_method`. Default: the client's.
    pub method: Option<Template>,
    /// `proxy_set_body`. Default: the client's.
    pub body: Option<Template>,
    /// `proxy_pass_request_headers`. Default true.
    pub request_headers: bool,
    /// `proxy_pass_request_body`. Default true.
    pub request_body: bool,
    /// `proxy_redirect`, in order; empty leaves `Location` and `Refresh` alone.
    pub redirects: Vec<Redirect>,
    /// `proxy_cookie_domain`.
    pub cookie_domains: Vec<CookieChange>,
    /// `proxy_cookie_path`.
    pub cookie_paths: Vec<CookieChange>,
    /// `proxy_cookie_flags`.
    pub cookie_flags: Vec<CookieFlags>,
    /// `proxy_intercept_errors`. Default false.
    pub intercept_errors: bool,
    /// `proxy_ignore_headers`: fields of an answer that robin would act on.
    pub ignore: Vec<HeaderName>,
    /// `proxy_request_buffering`: the body is read before a peer is picked. Default true.
    pub request_buffering: bool,
    /// `proxy_buffering`: a slow client holds no peer. Default true.
    pub buffering: bool,
    /// `proxy_buffers`: bytes of an answer in memory for a slow client. Default 64 KiB.
    pub buffer_bytes: u64,
    /// `proxy_max_temp_file_size`: bytes beyond these in a file; 0 uses none. Default 1 GiB.
    pub temp_file_bytes: u64,
    /// `proxy_temp_path`. Default: the system's directory for such files.
    pub temp_path: Option<PathBuf>,
    /// `proxy_pass_trailers`: clients that take trailers get those of upstreams. Default false; always
    /// for gRPC.
    pub trailers: bool,
    /// `early_hints`: one of these must say something else than nothing and `0` for an upstream's 103 to be
    /// passed on. Default: it is not.
    pub early_hints: Vec<Template>,
    /// `proxy_ignore_client_abort`. Default false.
    pub ignore_client_abort: bool,
    /// `proxy_socket_keepalive`. Default false.
    pub socket_keepalive: bool,
    /// `proxy_bind`. Default: the system chooses.
    pub bind: Option<IpAddr>,
    /// `proxy_ssl_*`.
    pub tls: UpstreamTls,
}

/// How upstreams are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// `1.0`: no connection is kept.
    Http10,
    /// `1.1`.
    #[default]
    Http11,
    /// `2`: requests share connections.
    Http2,
}

/// One rule of `proxy_redirect`.
#[derive(Clone, Debug, PartialEq)]
pub enum Redirect {
    /// `default`: the target of the route becomes its path.
    Default,
    /// A text at the beginning.
    Prefix {
        /// What it is.
        from: Template,
        /// What takes its place.
        to: Template,
    },
    /// A pattern.
    Pattern {
        /// What it is.
        from: Pattern,
        /// What takes its place, with `$1`.
        to: Template,
    },
}

/// One rule of `proxy_cookie_domain` or `proxy_cookie_path`.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieChange {
    /// What is replaced.
    pub from: CookieMatch,
    /// What takes its place.
    pub to: Template,
}

/// Which cookies a rule is for, or which values.
#[derive(Clone, Debug, PartialEq)]
pub enum CookieMatch {
    /// A text.
    Text(Template),
    /// A pattern.
    Pattern(Pattern),
}

/// One rule of `proxy_cookie_flags`.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieFlags {
    /// Which cookies.
    pub cookie: CookieMatch,
    /// `secure` or `nosecure`.
    pub secure: Option<bool>,
    /// `httponly` or `nohttponly`.
    pub http_only: Option<bool>,
    /// `samesite=…`, or empty for `nosamesite`.
    pub same_site: Option<String>,
}

/// TLS to an upstream (`proxy_ssl_*`).
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// `proxy_ssl_verify`. Default false in nginx's door, true in YAML.
    pub verify: bool,
    /// `proxy_ssl_server_name`: whether the name is sent. Default false in nginx's door, true in YAML.
    pub server_name: bool,
    /// `proxy_ssl_name`. Default: the host of the target.
    pub name: Option<Template>,
    /// `proxy_ssl_trusted_certificate`. Default: those of the system.
    pub trusted: Option<PathBuf>,
    /// `proxy_ssl_crl`: lists of what was called back. Default: nobody asks.
    pub crl: Option<PathBuf>,
    /// `proxy_ssl_verify_depth`: how many may stand between a peer's certificate and one of `trusted`.
    /// Default 10 (nginx: 1); those of the system have limits of their own.
    pub depth: usize,
    /// `proxy_ssl_certificate` and its key. Default: none is shown.
    pub certificate: Option<Certificate>,
    /// `proxy_ssl_protocols`. Default: both.
    pub versions: Versions,
    /// `proxy_ssl_ciphers`, the most wanted first. Default: all.
    pub ciphers: Vec<CipherSuite>,
    /// `proxy_ssl_session_reuse`. Default true.
    pub session_reuse: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            verify: true,
            server_name: true,
            name: None,
            trusted: None,
            crl: None,
            depth: 10,
            certificate: None,
            versions: Versions::default(),
            ciphers: CipherSuite::ALL.into(),
            session_reuse: true,
        }
    }
}

impl UpstreamTls {
    /// Whether connections made with the one may be used with the other, if the names are the same.
    #[must_use]
    pub fn connects_as(&self, other: &Self) -> bool {
        let Self {
            verify,
            server_name,
            name: _,
            trusted,
            crl,
            depth,
            certificate,
            versions,
            ciphers,
            session_reuse,
        } = self;
        (verify, server_name, trusted) == (&other.verify, &other.server_name, &other.trusted)
            && (crl, depth) == (&other.crl, &other.depth)
            && (certificate, versions) == (&other.certificate, &other.versions)
            && (ciphers, session_reuse) == (&other.ciphers, &other.session_reuse)
    }
}
