//! How a peer is chosen.

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::Method;
use crate::config::raw::{self, Word};
use crate::config::words;

/// Methods in the order in which a message lists them.
const METHODS: [&str; 6] = ["round_robin", "least_conn", "ip_hash", "hash", "random", "random two"];

pub(super) fn method(raw: &raw::Upstream, diags: &mut Diagnostics) -> Method {
    let Some(word) = &raw.method else { return Method::default() };
    let method = match word.value.as_str() {
        "round_robin" => Method::RoundRobin,
        "least_conn" => Method::LeastConn,
        "ip_hash" => Method::IpHash,
        "hash" => match hash(raw, word, diags) {
            Some(method) => method,
            None => return Method::default(),
        },
        "random" => Method::Random,
        "random two" => Method::RandomTwo,
        unknown => {
            let message = format!("unknown balancing method {}", quote(unknown));
            diags
                .error(&word.place, message)
                .expected(format!("expected one of {}", METHODS.join(", ")))
                .nearest(unknown, METHODS);
            return Method::default();
        }
    };
    if !method.has_backups() {
        let lines = raw.servers.iter().flat_map(|list| &list.items);
        let backups = lines.filter_map(|line| line.backup.as_ref());
        for backup in backups.filter(|word| words::switch(&word.value) == Some(true)) {
            diags
                .error(&backup.place, format!("`{}` does not support `backup`", word.value))
                .expected("a backup")
                .also(&word.place, "the method")
                .help("round_robin and least_conn do");
        }
    }
    method
}

fn hash(raw: &raw::Upstream, word: &Word, diags: &mut Diagnostics) -> Option<Method> {
    let consistent = diags.switch("consistent", raw.hash_consistent.as_ref()).unwrap_or(false);
    let Some(key) = &raw.hash_key else {
        diags
            .error(&word.place, "`hash` takes a key")
            .expected("expected `{ hash: $request_uri }`, or another key");
        return None;
    };
    if key.value.is_empty() {
        diags.error(&key.place, "an empty key").expected("expected a key such as `$request_uri`");
        return None;
    }
    Some(Method::Hash { key: diags.template(key)?, consistent })
}
