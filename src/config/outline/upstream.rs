//! Upstreams: what holds.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::health_check::health_check;
use super::{list, map, share, text};
use crate::config::model::{
    Host, Method, Passive, ProxyVersion, Sticky, Tier, Upstream, UpstreamServer,
};
use crate::config::template::Template;
use crate::config::words::{print_duration, print_percent};

pub(super) fn upstream(upstream: &Upstream) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    put("servers", list(upstream.servers.iter().map(server)));
    put(
        "method",
        match &upstream.method {
            Method::RoundRobin => "round_robin".into(),
            Method::LeastConn => "least_conn".into(),
            Method::IpHash => "ip_hash".into(),
            Method::Hash { key, consistent } => {
                map([("hash", key.to_string().into()), ("consistent", (*consistent).into())])
            }
            Method::Random => "random".into(),
            Method::RandomTwo => "random two".into(),
            Method::RandomTwoLeastTime(measure) => {
                format!("random two least_time={}", measure.word()).into()
            }
            Method::LeastTime { measure, in_flight } => {
                let in_flight = if *in_flight { " inflight" } else { "" };
                format!("least_time {}{in_flight}", measure.word()).into()
            }
            Method::Ewma => "ewma".into(),
        },
    );
    if let Some(sticky) = &upstream.sticky {
        put("sticky", self::sticky(sticky));
    }
    if let Some(queue) = &upstream.queue {
        let timeout = print_duration(queue.timeout).into();
        put("queue", map([("max", queue.max.get().into()), ("timeout", timeout)]));
    }
    if let Some(passive) = passive(&upstream.passive) {
        put("passive", passive);
    }
    put("panic", share(upstream.panic));
    put("drain_timeout", print_duration(upstream.drain_timeout).into());
    put(
        "send_proxy",
        match upstream.send_proxy {
            None => "off".into(),
            Some(ProxyVersion::V1) => "v1".into(),
            Some(ProxyVersion::V2) => "v2".into(),
        },
    );
    put("refresh", print_duration(upstream.refresh).into());
    match &upstream.health_checks[..] {
        [] => {}
        [check] => drop(put("health_check", health_check(check))),
        checks => drop(put("health_check", list(checks.iter().map(health_check)))),
    }
    put("keepalive", keepalive(upstream));
    Value::Mapping(entries)
}

fn keepalive(upstream: &Upstream) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    put("idle", print_duration(upstream.keepalive_idle).into());
    put("max", upstream.keepalive.into());
    if let Some(requests) = upstream.keepalive_requests {
        put("requests", requests.get().into());
    }
    if let Some(time) = upstream.keepalive_time {
        put("time", print_duration(time).into());
    }
    entries.into()
}

fn sticky(sticky: &Sticky) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    let templates = |all: &[Template]| list(all.iter().map(|one| one.to_string().into()));
    match sticky {
        Sticky::Cookie(cookie) => {
            put("cookie", text(&cookie.name));
            match cookie.expires {
                Some(Duration::MAX) => drop(put("expires", "max".into())),
                Some(time) => drop(put("expires", print_duration(time).into())),
                None => {}
            }
            if let Some(domain) = &cookie.domain {
                put("domain", domain.to_string().into());
            }
            if let Some(path) = &cookie.path {
                put("path", text(path));
            }
            put("httponly", cookie.http_only.into());
            put("secure", cookie.secure.into());
            if let Some(same_site) = &cookie.same_site {
                put("samesite", same_site.to_string().into());
            }
        }
        Sticky::Route(route) => drop(put("route", templates(route))),
        Sticky::Learn(learn) => {
            let learn = map([
                ("create", templates(&learn.create)),
                ("lookup", templates(&learn.lookup)),
                ("sessions", learn.sessions.into()),
                ("timeout", print_duration(learn.timeout).into()),
                ("header", learn.header.into()),
            ]);
            put("learn", learn);
        }
    }
    Value::Mapping(entries)
}

/// How failures are judged, where it is not as by default.
fn passive(passive: &Passive) -> Option<Value> {
    let (mut entries, ejection) = match passive {
        Passive::MaxFails => return None,
        Passive::Consecutive { failures, ejection } => {
            (vec![("consecutive", failures.get().into())], ejection)
        }
        Passive::SuccessRate { percent, requests, window, ejection } => {
            let entries = vec![
                ("success_rate", print_percent((*percent).into()).into()),
                ("requests", requests.get().into()),
                ("window", print_duration(*window).into()),
            ];
            (entries, ejection)
        }
    };
    entries.push(("eject", print_duration(ejection.first).into()));
    entries.push(("eject_max", print_duration(ejection.longest).into()));
    let entries = entries.into_iter().map(|(key, value): (&str, Value)| (key.into(), value));
    Some(Value::Mapping(entries.collect()))
}

fn server(server: &UpstreamServer) -> Value {
    let address = match &server.host {
        Host::Unix(path) => format!("unix:{}", path.display()),
        Host::Address(address) => std::net::SocketAddr::new(*address, server.port).to_string(),
        Host::Name(name) | Host::Service(name) => format!("{name}:{}", server.port),
    };
    let mut line = map([
        ("address", address.into()),
        ("weight", server.weight.get().into()),
        ("backup", (server.tier == Tier::Backup).into()),
        ("down", server.down.into()),
        ("max_fails", server.passive.max_fails.into()),
        ("fail_timeout", print_duration(server.passive.fail_timeout).into()),
        ("max_conns", server.max_conns.into()),
        ("slow_start", print_duration(server.slow_start).into()),
        ("drain", server.drain.into()),
    ]);
    if let (Some(route), Value::Mapping(line)) = (&server.route, &mut line) {
        line.insert("route".into(), text(route));
    }
    line
}
