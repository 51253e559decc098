//! Upstreams as YAML.

use serde_yaml::Value;

use super::{Entries, list, template, text};
use crate::config::raw::{HealthCheck, Upstream, UpstreamServer};

pub(super) fn upstream(upstream: &Upstream) -> Value {
    let mut entries = Entries::default();
    if let Some(servers) = &upstream.servers {
        entries.put("servers", list(&servers.items, server));
    }
    match (&upstream.method, &upstream.hash_key) {
        (Some(_), Some(key)) => {
            let mut method = Entries::default();
            method.put("hash", template(key));
            method.word("consistent", upstream.hash_consistent.as_ref());
            entries.map("method", method);
        }
        (method, _) => entries.word("method", method.as_ref()),
    }
    entries.resolver(upstream.resolver.as_ref());
    entries.word("refresh", upstream.refresh.as_ref());
    if let Some(check) = &upstream.health_check {
        entries.map("health_check", health_check(check));
    }
    let mut keepalive = Entries::default();
    keepalive.word("idle", upstream.keepalive_idle.as_ref());
    keepalive.word("max", upstream.keepalive.as_ref());
    if !keepalive.0.is_empty() {
        entries.map("keepalive", keepalive);
    }
    entries.value()
}

fn server(server: &UpstreamServer) -> Value {
    let mut entries = Entries::default();
    entries.word("address", Some(&server.address));
    entries.word("weight", server.weight.as_ref());
    entries.word("backup", server.backup.as_ref());
    entries.word("down", server.down.as_ref());
    entries.word("max_fails", server.max_fails.as_ref());
    entries.word("fail_timeout", server.fail_timeout.as_ref());
    entries.word("max_conns", server.max_conns.as_ref());
    match entries.0.len() {
        1 => text(&server.address),
        _ => entries.value(),
    }
}

fn health_check(check: &HealthCheck) -> Entries {
    let mut entries = Entries::default();
    entries.word("http", check.http.as_ref());
    let tcp = check.tcp.as_ref();
    match tcp {
        Some(word) if word.value == "tcp" => entries.put("tcp", true),
        tcp => entries.word("tcp", tcp),
    }
    entries.word("every", check.every.as_ref());
    entries.word("timeout", check.timeout.as_ref());
    entries.word("rise", check.rise.as_ref());
    entries.word("fall", check.fall.as_ref());
    entries.words("status", check.status.as_ref());
    entries.word("body", check.body.as_ref());
    entries.word("host", check.host.as_ref());
    entries.word("port", check.port.as_ref());
    entries
}
