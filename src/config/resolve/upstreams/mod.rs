//! Upstreams: which there are, and their server lines. What else they say has files of its own.

mod failure;
mod methods;
pub(super) mod probes;
mod sticky;

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use self::probes::Matches;
use super::leaf::Zero;
use crate::config::address::{self, HTTP_PORT};
use crate::config::diagnostics::{Diagnostics, Span, Syntax, quote};
use crate::config::model::{
    HealthCheck, Host, Method, Passive, PassiveRule, ProxyVersion, Queue, Tier, Upstream,
    UpstreamServer,
};
use crate::config::raw::{self, Word};

/// The upstreams found so far: those written, then those that targets of routes make.
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    /// What holds for those that say nothing of it.
    panic: Option<u8>,
    /// Whether some could not be read, so that a name that is missing may be one of them.
    broken: bool,
    /// What answers to probes have to be, by name.
    pub(super) matches: Matches,
}

impl Upstreams {
    /// What is written; `panic` is for those that say nothing of it.
    pub(super) fn resolve(raw: &raw::Config, panic: Option<u8>, diags: &mut Diagnostics) -> Self {
        let matches = probes::matches(&raw.declarations, diags);
        let raw = raw.upstreams.as_ref();
        let mut list = Vec::new();
        let mut names: HashMap<&str, &Word> = HashMap::new();
        for raw in raw.iter().flat_map(|raw| &raw.items) {
            let name = raw.name.value.as_str();
            // What a target may begin with: `back-end/v1/` must lead to the upstream `back-end`.
            if !matches!(address::host(name), Ok(Host::Name(_) | Host::Service(_))) {
                diags
                    .error(&raw.name.place, format!("{} cannot name an upstream", quote(name)))
                    .expected("expected a name of letters, digits, `-`, `_` and dots");
            }
            match names.get(name) {
                Some(first) => {
                    diags
                        .error(&raw.name.place, format!("duplicate upstream {}", quote(name)))
                        .in_nginx(format!("duplicate upstream \"{name}\""))
                        .expected("written again here")
                        .also(&first.place, "first written here");
                }
                None => {
                    names.insert(name, &raw.name);
                    list.push(upstream(raw, panic, diags));
                }
            }
        }
        Self { list, panic, broken: raw.is_some_and(|raw| raw.broken), matches }
    }

    /// The position of the upstream with this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|upstream| !upstream.implicit && upstream.name == name)
    }

    /// The names that were written.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list
            .iter()
            .filter(|upstream| !upstream.implicit)
            .map(|upstream| upstream.name.as_str())
    }

    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// The position of the upstream made for an address; the same address has the same one.
    pub(super) fn implicit(&mut self, name: String, host: Host, port: u16) -> usize {
        let known =
            self.list.iter().position(|upstream| upstream.implicit && upstream.name == name);
        known.unwrap_or_else(|| {
            let server = UpstreamServer::at(host, port);
            let plain = Upstream::new(name, vec![server]);
            self.list.push(Upstream { implicit: true, panic: self.panic, ..plain });
            self.list.len() - 1
        })
    }

    /// Adds a health check of a route. The same one of several routes is one.
    pub(super) fn check(&mut self, upstream: usize, check: HealthCheck) {
        let checks = &mut self.list[upstream].health_checks;
        if !checks.contains(&check) {
            checks.push(check);
        }
    }

    pub(super) fn into_list(self) -> Vec<Upstream> {
        self.list
    }
}

impl UpstreamServer {
    /// A server line that says nothing but its address.
    #[must_use]
    pub fn at(host: Host, port: u16) -> Self {
        Self {
            host,
            port,
            weight: NonZeroU32::MIN,
            tier: Tier::Primary,
            down: false,
            max_conns: 0,
            passive: PassiveRule::default(),
            slow_start: Duration::ZERO,
            drain: false,
            route: None,
        }
    }
}

impl Upstream {
    /// An upstream that says nothing but its name and its servers.
    #[must_use]
    pub fn new(name: String, servers: Vec<UpstreamServer>) -> Self {
        Self {
            name,
            implicit: false,
            servers,
            method: Method::default(),
            resolver: None,
            refresh: Duration::from_secs(1),
            health_checks: Vec::new(),
            // Below gunicorn's 2 s: a connection that the back-end is just closing loses a request.
            keepalive_idle: Duration::from_millis(1500),
            keepalive: 128,
            keepalive_requests: None,
            keepalive_time: None,
            sticky: None,
            queue: None,
            passive: Passive::default(),
            panic: None,
            drain_timeout: Duration::ZERO,
            send_proxy: None,
        }
    }
}

fn send_proxy(word: &Word, diags: &mut Diagnostics) -> Option<ProxyVersion> {
    match word.value.as_str() {
        "off" => None,
        "v1" => Some(ProxyVersion::V1),
        "v2" => Some(ProxyVersion::V2),
        other => {
            diags
                .error(
                    &word.place,
                    format!("unknown version {} of the PROXY protocol", quote(other)),
                )
                .in_nginx(format!("invalid value \"{other}\" in \"send_proxy\" directive"))
                .expected("expected one of off, v1, v2");
            None
        }
    }
}

fn upstream(raw: &raw::Upstream, panic: Option<u8>, diags: &mut Diagnostics) -> Upstream {
    /// More idle connections than ports on one address.
    const MOST_IDLE: u64 = 65_535;
    const MOST_REQUESTS: u64 = u32::MAX as u64;
    let plain = Upstream::new(raw.name.value.clone(), servers(raw, diags));
    let health_checks = raw.health_checks.iter();
    Upstream {
        resolver: super::resolver(raw.resolver.as_ref(), diags),
        method: methods::method(raw, diags),
        sticky: raw.sticky.as_ref().and_then(|raw| sticky::sticky(raw, diags)),
        passive: failure::passive(raw, diags).unwrap_or_default(),
        panic: diags.share("panic", raw.panic.as_ref()).unwrap_or(panic),
        drain_timeout: diags
            .time("drain_timeout", raw.drain_timeout.as_ref(), Zero::Allowed)
            .unwrap_or(plain.drain_timeout),
        send_proxy: raw.send_proxy.as_ref().and_then(|word| send_proxy(word, diags)),
        queue: raw.queue.as_ref().and_then(|raw| queue(raw, diags)),
        refresh: diags
            .time("refresh", raw.refresh.as_ref(), Zero::Refused)
            .unwrap_or(plain.refresh),
        health_checks: health_checks.filter_map(|raw| probes::health_check(raw, diags)).collect(),
        keepalive_idle: diags
            .time("idle", raw.keepalive_idle.as_ref(), Zero::Allowed)
            .unwrap_or(plain.keepalive_idle),
        keepalive: diags
            .number("max", raw.keepalive.as_ref(), 0..=MOST_IDLE)
            .unwrap_or(plain.keepalive),
        // To nginx none is no less than one: a connection is asked only after its first.
        keepalive_requests: diags
            .number("requests", raw.keepalive_requests.as_ref(), 0..=MOST_REQUESTS)
            .and_then(|requests: u64| NonZeroU64::new(requests.max(1))),
        keepalive_time: diags.time("time", raw.keepalive_time.as_ref(), Zero::Allowed),
        ..plain
    }
}

fn queue(raw: &raw::Queue, diags: &mut Diagnostics) -> Option<Queue> {
    const MOST: u64 = u32::MAX as u64;
    let max = diags.number("max", raw.max.as_ref(), 1..=MOST).and_then(NonZeroU32::new);
    let timeout = diags.time("timeout", raw.timeout.as_ref(), Zero::Refused);
    if raw.max.is_none() && !raw.broken {
        diags
            .error(&raw.place, "a queue without an end")
            .expected("expected `max:` with how many requests may wait in it");
    }
    Some(Queue { max: max?, timeout: timeout.unwrap_or(Duration::from_mins(1)) })
}

fn servers(raw: &raw::Upstream, diags: &mut Diagnostics) -> Vec<UpstreamServer> {
    let name = quote(&raw.name.value);
    let Some(list) = &raw.servers else {
        if !raw.broken {
            diags
                .error(&raw.name.place, format!("upstream {name} has no servers"))
                .expected("expected `servers:` below it, as in `servers: [host:port]`");
        }
        return Vec::new();
    };
    if list.items.is_empty() && !list.broken {
        diags
            .error(&list.place, format!("upstream {name} has no servers"))
            .in_nginx("no servers are inside upstream")
            .expected("expected at least one `host:port`");
    }
    let mut servers: Vec<(UpstreamServer, &Word)> = Vec::new();
    let slow_start = diags.time("slow_start", raw.slow_start.as_ref(), Zero::Allowed);
    for raw in &list.items {
        let Some(mut server) = server(raw, diags) else { continue };
        if raw.slow_start.is_none() {
            server.slow_start = slow_start.unwrap_or(server.slow_start);
        }
        let same = |s: &UpstreamServer| s.host == server.host && s.port == server.port;
        // nginx makes two peers of them; in YAML it is a slip.
        let in_nginx = Span::from(&raw.address.place).source.syntax == Syntax::Nginx;
        let known = servers.iter().find(|(known, _)| same(known) && !in_nginx);
        if let Some((_, first)) = known {
            diags
                .error(
                    &raw.address.place,
                    format!("duplicate server {}", quote(&raw.address.value)),
                )
                .expected("written again here")
                .also(&first.place, "first written here")
                .help("`weight` gives a server a larger share");
        } else {
            servers.push((server, &raw.address));
        }
    }
    servers.into_iter().map(|(server, _)| server).collect()
}

fn server(raw: &raw::UpstreamServer, diags: &mut Diagnostics) -> Option<UpstreamServer> {
    // What the balancer shares out exactly; nobody writes more.
    const MOST_WEIGHT: u64 = 16_384;
    let address = diags.address(&raw.address, address::server(&raw.address.value));
    let weight = diags.number("weight", raw.weight.as_ref(), 1..=MOST_WEIGHT);
    let backup = diags.switch("backup", raw.backup.as_ref()).unwrap_or(false);
    let passive = PassiveRule::default();
    let max_fails = diags.number("max_fails", raw.max_fails.as_ref(), 0..=u64::from(u16::MAX));
    let fail_timeout = diags.time("fail_timeout", raw.fail_timeout.as_ref(), Zero::Allowed);
    let max_conns = diags.number("max_conns", raw.max_conns.as_ref(), 0..=u64::from(u32::MAX));
    let down = diags.switch("down", raw.down.as_ref()).unwrap_or(false);
    let drain = diags.switch("drain", raw.drain.as_ref()).unwrap_or(false);
    let slow_start = diags.time("slow_start", raw.slow_start.as_ref(), Zero::Allowed);
    let route = sticky::route(raw.route.as_ref(), diags);
    if let (true, true, Some(down), Some(drain)) = (down, drain, &raw.down, &raw.drain) {
        diags
            .error(&drain.place, "a server is either `down` or draining")
            .expected("sessions still reach it")
            .also(&down.place, "nothing reaches it");
    }
    let (host, port) = address?;
    Some(UpstreamServer {
        host,
        port: port.unwrap_or(HTTP_PORT),
        weight: weight.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        tier: if backup { Tier::Backup } else { Tier::Primary },
        down,
        max_conns: max_conns.unwrap_or(0),
        passive: PassiveRule {
            max_fails: max_fails.unwrap_or(passive.max_fails),
            fail_timeout: fail_timeout.unwrap_or(passive.fail_timeout),
        },
        slow_start: slow_start.unwrap_or(Duration::ZERO),
        drain,
        route,
    })
}
