//! The YAML door: text in, raw tree out.
//!
//! It knows which keys there are and which of them hold words, lists or maps, and nothing of what
//! the words mean. Keys of the top level that begin with `x-` are left alone, as in a compose
//! file: anchors find a home there.

mod fields;
mod fill;
mod health_checks;
mod ids;
mod limits;
mod node;
mod phrases;
mod places;
mod syntax;
mod upstreams;

use std::sync::Arc;

use self::fields::Door;
use self::node::Shape;
use self::places::File;
use super::diagnostics::{Diagnostics, Source};
use super::env::Lookup;
use super::raw;

const TOP: &[&str] = &[
    "threads",
    "user",
    "pid",
    "control",
    "resolver",
    "trust",
    "access_log",
    "error_log",
    "dashboard",
    "otlp",
    "status",
    "event_format",
    "shutdown_timeout",
    "keepalive_timeout",
    "client_header_timeout",
    "express",
    "panic",
    "upstreams",
    "virtual_servers",
];
const SERVER: &[&str] = &["listen", "names", "redirect_https", "rules", "routes", "tls"];
const SETTINGS: &[&str] = &[
    "headers",
    "timeouts",
    "retry",
    "client_max_body_size",
    "websocket",
    "server_header",
    "error_details",
    "request_id",
    "trace",
    "hsts",
    "upstream_tls",
    "limits",
];
const HSTS: &[&str] = &["max_age", "include_subdomains", "preload"];
const REQUEST_ID: &[&str] = &["from", "answer"];
const OTLP: &[&str] = &["endpoint", "service", "sample", "interval", "batch_size", "batch_count"];
const LIMITS: &[&str] =
    &["requests", "connections", "rate", "rate_after", "upstream_rate", "send_min_rate"];
const REQUEST_LIMIT: &[&str] =
    &["key", "rate", "burst", "delay", "nodelay", "size", "zone", "status", "log_level", "dry_run"];
const CONNECTION_LIMIT: &[&str] = &["key", "max", "size", "zone", "status", "log_level", "dry_run"];
const ROUTE: &[&str] = &["to", "internal", "rules", "routes"];
const TIMEOUTS: &[&str] = &["connect", "send", "read"];
const RETRY: &[&str] =
    &["tries", "timeout", "try_timeout", "on", "non_idempotent", "statuses", "budget", "hedge"];
const BUDGET: &[&str] = &["percent", "floor"];
const RESOLVER: &[&str] = &["servers", "timeout", "ipv4", "ipv6"];
const DASHBOARD: &[&str] = &["enabled", "summary"];
const UPSTREAM: &[&str] = &[
    "servers",
    "method",
    "sticky",
    "queue",
    "slow_start",
    "passive",
    "panic",
    "drain_timeout",
    "send_proxy",
    "resolver",
    "refresh",
    "health_check",
    "keepalive",
];
const UPSTREAM_SERVER: &[&str] = &[
    "address",
    "weight",
    "backup",
    "down",
    "drain",
    "max_fails",
    "fail_timeout",
    "max_conns",
    "slow_start",
    "route",
];
const STICKY: &[&str] =
    &["cookie", "expires", "domain", "path", "httponly", "secure", "samesite", "route", "learn"];
const LEARN: &[&str] = &["create", "lookup", "sessions", "timeout", "header"];
const PASSIVE: &[&str] =
    &["consecutive", "success_rate", "requests", "window", "eject", "eject_max"];
const QUEUE: &[&str] = &["max", "timeout"];
const HEALTH_CHECK: &[&str] = &[
    "http",
    "tcp",
    "grpc",
    "every",
    "jitter",
    "timeout",
    "connect_timeout",
    "rise",
    "fall",
    "mandatory",
    "persistent",
    "keepalive",
    "method",
    "headers",
    "status",
    "expect_headers",
    "body",
    "body_matches",
    "body_lacks",
    "grpc_status",
    "host",
    "port",
    "tls",
];
const PROBE_TLS: &[&str] = &["sni", "verify", "ca"];
const KEEPALIVE: &[&str] = &["idle", "max", "requests", "time"];
const METHOD: &[&str] = &["hash", "consistent", "least_time", "inflight"];
const LISTEN: &[&str] = &["address", "tls", "http2", "proxy_protocol", "max_connections"];
const PROXY_PROTOCOL: &[&str] = &["trust"];
/// Keys of `tls`, and nginx's words for them.
const TLS: &[(&str, &str)] = &[
    ("certificate", "ssl_certificate"),
    ("key", "ssl_certificate_key"),
    ("protocols", "ssl_protocols"),
    ("ciphers", "ssl_ciphers"),
    ("prefer_server_ciphers", "ssl_prefer_server_ciphers"),
    ("session_cache", "ssl_session_cache"),
    ("session_timeout", "ssl_session_timeout"),
    ("session_tickets", "ssl_session_tickets"),
    ("ticket_key", "ssl_session_ticket_key"),
    ("reject_handshake", "ssl_reject_handshake"),
    ("passwords", "ssl_password_file"),
    ("verify_client", "ssl_verify_client"),
    ("client_ca", "ssl_client_certificate"),
    ("trusted", "ssl_trusted_certificate"),
    ("verify_depth", "ssl_verify_depth"),
    ("crl", "ssl_crl"),
    ("certificate_check", "robin_certificate_check"),
];
const TLS_KEYS: &[&str] = &ours::<{ TLS.len() }>(TLS);
/// Keys of `upstream_tls`, and nginx's words for them.
const UPSTREAM_TLS: &[(&str, &str)] = &[
    ("verify", "proxy_ssl_verify"),
    ("server_name", "proxy_ssl_server_name"),
    ("name", "proxy_ssl_name"),
    ("trusted", "proxy_ssl_trusted_certificate"),
    ("crl", "proxy_ssl_crl"),
    ("verify_depth", "proxy_ssl_verify_depth"),
    ("passwords", "proxy_ssl_password_file"),
    ("certificate", "proxy_ssl_certificate"),
    ("key", "proxy_ssl_certificate_key"),
    ("protocols", "proxy_ssl_protocols"),
    ("ciphers", "proxy_ssl_ciphers"),
    ("session_reuse", "proxy_ssl_session_reuse"),
];
const UPSTREAM_TLS_KEYS: &[&str] = &ours::<{ UPSTREAM_TLS.len() }>(UPSTREAM_TLS);

/// The keys without nginx's words.
const fn ours<const N: usize>(pairs: &[(&'static str, &'static str)]) -> [&'static str; N] {
    let mut keys = [""; N];
    let mut n = 0;
    while n < N {
        keys[n] = pairs[n].0;
        n += 1;
    }
    keys
}

/// Every map with known keys: where it is, and its keys.
const MAPS: [(&str, &[&str]); 29] = [
    ("at the top level", TOP),
    ("in a virtual server", SERVER),
    ("at the top level, in a virtual server or in a route", SETTINGS),
    ("in a route", ROUTE),
    ("in `request_id`", REQUEST_ID),
    ("in `hsts`", HSTS),
    ("in `otlp`", OTLP),
    ("in `limits`", LIMITS),
    ("in `requests` of `limits`", REQUEST_LIMIT),
    ("in `connections` of `limits`", CONNECTION_LIMIT),
    ("in `timeouts`", TIMEOUTS),
    ("in `retry`", RETRY),
    ("in `budget`", BUDGET),
    ("in `resolver`", RESOLVER),
    ("in `dashboard`", DASHBOARD),
    ("in an upstream", UPSTREAM),
    ("in a server line", UPSTREAM_SERVER),
    ("in `health_check`", HEALTH_CHECK),
    ("in `tls` of a health check", PROBE_TLS),
    ("in `keepalive`", KEEPALIVE),
    ("in `method`", METHOD),
    ("in `sticky`", STICKY),
    ("in `learn`", LEARN),
    ("in `queue`", QUEUE),
    ("in `passive`", PASSIVE),
    ("in `listen`", LISTEN),
    ("in `proxy_protocol`", PROXY_PROTOCOL),
    ("in `tls`", TLS_KEYS),
    ("in `upstream_tls`", UPSTREAM_TLS_KEYS),
];

/// Every key of every map, some more than once.
pub fn keys() -> impl Iterator<Item = &'static str> {
    MAPS.into_iter().flat_map(|(_, keys)| keys).copied()
}

/// Where a key has its place, if only one map has it.
fn home(key: &str) -> Option<&'static str> {
    let mut homes = MAPS.into_iter().filter(|(_, keys)| keys.contains(&key));
    let (home, _) = homes.next()?;
    homes.next().is_none().then_some(home)
}

/// Reads a text; nothing where it is no YAML or no map, which is reported.
pub(super) fn read(
    source: &Arc<Source>,
    lookup: Lookup<'_>,
    diags: &mut Diagnostics,
) -> Option<raw::Config> {
    if syntax::report_control(source, diags) {
        return None;
    }
    let tree = match node::read(&source.text) {
        Ok(tree) => tree,
        Err(no_tree) => {
            syntax::report(source, &no_tree, diags);
            return None;
        }
    };
    let file = Arc::new(File { source: Arc::clone(source), typed: tree.typed });
    let mut door = Door { file, lookup, diags };
    if matches!(tree.root.shape, Shape::Null) {
        door.diags
            .file_error(&source.name, source.syntax, "the configuration is empty")
            .help("it needs at least `listen` and `routes`");
        return None;
    }
    door.config(&tree.root)
}
