//! The YAML door: text in, raw tree out.
//!
//! It knows which keys there are and which of them hold words, lists or maps, and nothing of what
//! the words mean. Keys of the top level that begin with `x-` are left alone, as in a compose
//! file: anchors find a home there.

mod fields;
mod fill;
mod node;
mod places;
mod syntax;

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
    "resolver",
    "trust",
    "access_log",
    "dashboard",
    "shutdown_timeout",
    "keepalive_timeout",
    "client_header_timeout",
    "upstreams",
    "virtual_servers",
];
const SERVER: &[&str] = &["listen", "names", "routes"];
const SETTINGS: &[&str] = &[
    "headers",
    "timeouts",
    "retry",
    "client_max_body_size",
    "websocket",
    "server_header",
    "error_details",
];
const ROUTE: &[&str] = &["to"];
const TIMEOUTS: &[&str] = &["connect", "send", "read"];
const RETRY: &[&str] = &["tries", "timeout", "non_idempotent", "statuses"];
const RESOLVER: &[&str] = &["servers", "timeout"];
const DASHBOARD: &[&str] = &["enabled", "summary"];
const UPSTREAM: &[&str] = &["servers", "method", "refresh", "health_check", "keepalive"];
const UPSTREAM_SERVER: &[&str] =
    &["address", "weight", "backup", "down", "max_fails", "fail_timeout", "max_conns"];
const HEALTH_CHECK: &[&str] =
    &["http", "tcp", "every", "timeout", "rise", "fall", "status", "body", "host", "port"];
const KEEPALIVE: &[&str] = &["idle", "max"];
const METHOD: &[&str] = &["hash", "consistent"];

/// Every map with known keys: where it is, and its keys.
const MAPS: [(&str, &[&str]); 13] = [
    ("at the top level", TOP),
    ("in a virtual server", SERVER),
    ("at the top level, in a virtual server or in a route", SETTINGS),
    ("in a route", ROUTE),
    ("in `timeouts`", TIMEOUTS),
    ("in `retry`", RETRY),
    ("in `resolver`", RESOLVER),
    ("in `dashboard`", DASHBOARD),
    ("in an upstream", UPSTREAM),
    ("in a server line", UPSTREAM_SERVER),
    ("in `health_check`", HEALTH_CHECK),
    ("in `keepalive`", KEEPALIVE),
    ("in `method`", METHOD),
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
