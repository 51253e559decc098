//! Upstreams as YAML.

use serde_yaml::Value;

use super::{Entries, list, template, text};
use crate::config::raw::{HealthCheck, List, Method, Sticky, Upstream, UpstreamServer, Word};

pub(super) fn upstream(upstream: &Upstream) -> Value {
    let mut entries = Entries::default();
    if let Some(servers) = &upstream.servers {
        entries.put("servers", list(&servers.items, server));
    }
    if let Some(method) = &upstream.method {
        entries.put("method", self::method(method));
    }
    if let Some(sticky) = &upstream.sticky {
        entries.map("sticky", self::sticky(sticky));
    }
    if let Some(queue) = &upstream.queue {
        let mut map = Entries::default();
        map.word("max", queue.max.as_ref());
        map.word("timeout", queue.timeout.as_ref());
        entries.map("queue", map);
    }
    entries.word("slow_start", upstream.slow_start.as_ref());
    if let Some(passive) = &upstream.passive {
        let mut map = Entries::default();
        map.word("consecutive", passive.consecutive.as_ref());
        map.word("success_rate", passive.success_rate.as_ref());
        map.word("requests", passive.requests.as_ref());
        map.word("window", passive.window.as_ref());
        map.word("eject", passive.eject.as_ref());
        map.word("eject_max", passive.eject_max.as_ref());
        entries.map("passive", map);
    }
    entries.word("panic", upstream.panic.as_ref());
    entries.word("drain_timeout", upstream.drain_timeout.as_ref());
    entries.word("send_proxy", upstream.send_proxy.as_ref());
    entries.resolver(upstream.resolver.as_ref());
    entries.word("refresh", upstream.refresh.as_ref());
    match &upstream.health_checks[..] {
        [] => {}
        [check] => entries.map("health_check", health_check(check)),
        checks => entries.put("health_check", list(checks, |check| health_check(check).value())),
    }
    let mut keepalive = Entries::default();
    keepalive.word("idle", upstream.keepalive_idle.as_ref());
    keepalive.word("max", upstream.keepalive.as_ref());
    keepalive.word("requests", upstream.keepalive_requests.as_ref());
    keepalive.word("time", upstream.keepalive_time.as_ref());
    if !keepalive.0.is_empty() {
        entries.map("keepalive", keepalive);
    }
    entries.value()
}

fn method(method: &Method) -> Value {
    let name = &method.name.value;
    let Some(value) = &method.value else { return text(&method.name) };
    let mut entries = Entries::default();
    entries.put(name, if name == "hash" { template(value) } else { text(value) });
    entries.word("consistent", method.consistent.as_ref());
    entries.word("inflight", method.inflight.as_ref());
    entries.value()
}

fn sticky(sticky: &Sticky) -> Entries {
    let mut entries = Entries::default();
    entries.word("cookie", sticky.cookie.as_ref());
    entries.word("expires", sticky.expires.as_ref());
    entries.template("domain", sticky.domain.as_ref());
    entries.word("path", sticky.path.as_ref());
    entries.word("httponly", sticky.http_only.as_ref());
    entries.word("secure", sticky.secure.as_ref());
    entries.template("samesite", sticky.same_site.as_ref());
    entries.templates("route", sticky.route.as_ref());
    if let Some(learn) = &sticky.learn {
        let mut map = Entries::default();
        map.templates("create", learn.create.as_ref());
        map.templates("lookup", learn.lookup.as_ref());
        map.word("sessions", learn.sessions.as_ref());
        map.word("timeout", learn.timeout.as_ref());
        map.word("header", learn.header.as_ref());
        entries.map("learn", map);
    }
    entries
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
    entries.word("slow_start", server.slow_start.as_ref());
    entries.word("drain", server.drain.as_ref());
    entries.word("route", server.route.as_ref());
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
    entries.word("grpc", check.grpc.as_ref());
    entries.word("grpc_status", check.grpc_status.as_ref());
    entries.word("every", check.every.as_ref());
    entries.word("jitter", check.jitter.as_ref());
    entries.word("timeout", check.timeout.as_ref());
    entries.word("connect_timeout", check.connect_timeout.as_ref());
    entries.word("rise", check.rise.as_ref());
    entries.word("fall", check.fall.as_ref());
    entries.word("mandatory", check.mandatory.as_ref());
    entries.word("persistent", check.persistent.as_ref());
    entries.word("keepalive", check.keepalive.as_ref());
    entries.word("method", check.method.as_ref());
    named(&mut entries, "headers", check.headers.as_ref());
    entries.words("status", check.status.as_ref());
    named(&mut entries, "expect_headers", check.expect_headers.as_ref());
    entries.word("body", check.body.as_ref());
    entries.word("body_matches", check.body_matches.as_ref());
    entries.word("body_lacks", check.body_lacks.as_ref());
    entries.word("host", check.host.as_ref());
    entries.word("port", check.port.as_ref());
    if let Some(tls) = &check.tls {
        match &tls.enabled {
            Some(word) => entries.put("tls", text(word)),
            None => {
                let mut map = Entries::default();
                map.word("sni", tls.sni.as_ref());
                map.word("verify", tls.verify.as_ref());
                map.word("ca", tls.ca.as_ref());
                entries.map("tls", map);
            }
        }
    }
    entries
}

fn named(entries: &mut Entries, key: &str, named: Option<&List<(Word, Word)>>) {
    let Some(named) = named else { return };
    let named = named.items.iter().map(|(name, value)| (name.value.clone().into(), text(value)));
    entries.put(key, Value::Mapping(named.collect()));
}
