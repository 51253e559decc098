//! The parts of a model that everyone asks about, as text: what holds, defaults filled in.
//!
//! It is for people and golden files to read. What a configuration says, so that it can be loaded
//! again, is [`super::convert`]'s.

mod upstream;

use std::path::Path;

use serde_yaml::{Mapping, Value};

use self::upstream::upstream;
use super::env::escape;
use super::model::passing::UpstreamTls;
use super::model::{
    AccessLog, Action, Config, Listen, PathMatch, Proxy, ProxyTarget, Resolver, RetryBudget, Route,
    RouteSettings, ServerHeader, Tls, VirtualServer,
};
use super::resolve::settings::{ALL, defaults};
use super::tls::CipherSuite;
use super::words::{print_duration, print_percent, print_size};

/// Tells what holds.
#[must_use]
pub fn outline(config: &Config) -> String {
    let mut top = Mapping::new();
    let mut put = |key: &str, value: Value| top.insert(key.into(), value);
    if let Some(threads) = config.threads {
        put("threads", threads.get().into());
    }
    if let Some(user) = &config.user {
        put("user", text(user));
    }
    if let Some(pid) = &config.pid {
        put("pid", text(&pid.to_string_lossy()));
    }
    let control = config.control.path().map_or_else(|| "off".into(), Path::to_string_lossy);
    put("control", text(&control));
    put("resolver", resolver(&config.resolver));
    put("trust", list(config.trust.iter().map(|network| text(&network.to_string()))));
    put(
        "access_log",
        match &config.access_log {
            AccessLog::Off => "off".into(),
            AccessLog::Stdout => "stdout".into(),
            AccessLog::File(path) => text(&path.to_string_lossy()),
        },
    );
    put(
        "dashboard",
        map([
            ("enabled", config.dashboard.enabled.into()),
            ("summary", print_duration(config.dashboard.summary).into()),
        ]),
    );
    put("shutdown_timeout", print_duration(config.shutdown_timeout).into());
    put("keepalive_timeout", print_duration(config.keepalive_timeout).into());
    put("client_header_timeout", print_duration(config.client_header_timeout).into());
    let written = config.upstreams.iter().filter(|upstream| !upstream.implicit);
    put(
        "upstreams",
        Value::Mapping(written.map(|u| (u.name.as_str().into(), upstream(u))).collect()),
    );
    // Settings that all share are said once, where they hold for all.
    let shared = shared(config.virtual_servers.iter().flat_map(|server| &server.routes));
    let servers = config.virtual_servers.iter();
    let servers = list(servers.map(|server| virtual_server(server, config, shared.is_some())));
    if let Some(shared) = shared {
        settings(shared, &mut top);
    }
    top.insert("virtual_servers".into(), servers);
    // A tree of texts, numbers, lists and maps with text keys always has a YAML form.
    serde_yaml::to_string(&top).expect("a tree without tags and bytes can be written")
}

fn resolver(resolver: &Resolver) -> Value {
    map([
        ("servers", list(resolver.servers.iter().map(|s| text(&s.to_string())))),
        ("timeout", print_duration(resolver.timeout).into()),
        ("ipv4", resolver.ipv4.into()),
        ("ipv6", resolver.ipv6.map_or(Value::Null, Value::from)),
    ])
}

fn text(text: &str) -> Value {
    escape(text).into()
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    Value::Sequence(items.collect())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The settings of all these routes, if they are the same.
fn shared<'a>(mut routes: impl Iterator<Item = &'a Route>) -> Option<&'a RouteSettings> {
    let first = &routes.next()?.settings;
    routes.all(|route| route.settings == *first).then_some(first)
}

fn virtual_server(server: &VirtualServer, config: &Config, said: bool) -> Value {
    let mut entries = Mapping::new();
    let listen = list(server.listen.iter().map(listen));
    entries.insert("listen".into(), listen);
    entries.insert("names".into(), list(server.names.iter().map(|name| text(&name.to_string()))));
    if let Some(tls) = &server.tls {
        entries.insert("tls".into(), self::tls(tls));
    }
    let shared = shared(server.routes.iter()).filter(|_| !said);
    if let Some(shared) = shared {
        settings(shared, &mut entries);
    }
    let said = said || shared.is_some();
    let routes = server.routes.iter();
    let routes = routes.map(|r| (path(&r.path).into(), route(r, config, said)));
    entries.insert("routes".into(), Value::Mapping(routes.collect()));
    Value::Mapping(entries)
}

fn listen(listen: &Listen) -> Value {
    let address: Value = listen.address.to_string().into();
    if !listen.tls && !listen.http2 {
        return address;
    }
    map([("address", address), ("tls", listen.tls.into()), ("http2", listen.http2.into())])
}

fn tls(tls: &Tls) -> Value {
    let file = |path: &Path| text(&path.to_string_lossy());
    let pairs = || tls.certificates.iter();
    map([
        ("certificate", list(pairs().map(|pair| file(&pair.certificate)))),
        ("key", list(pairs().map(|pair| file(&pair.key)))),
        ("protocols", list(tls.versions.names().map(Value::from))),
        ("ciphers", cipher_names(&tls.ciphers)),
        ("prefer_server_ciphers", tls.prefer_server_ciphers.into()),
        ("session_cache", tls.session_cache.into()),
        ("session_timeout", print_duration(tls.session_timeout).into()),
        ("session_tickets", tls.session_tickets.into()),
        ("reject_handshake", tls.reject_handshake.into()),
    ])
}

fn cipher_names(ciphers: &[CipherSuite]) -> Value {
    let names: Vec<&str> = ciphers.iter().map(|suite| suite.name()).collect();
    names.join(":").into()
}

/// TLS to upstreams, where it is not as by default.
fn upstream_tls(tls: &UpstreamTls) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    put("verify", tls.verify.into());
    put("server_name", tls.server_name.into());
    if let Some(name) = &tls.name {
        put("name", name.to_string().into());
    }
    let mut file = |key: &str, path: &Path| put(key, text(&path.to_string_lossy()));
    if let Some(trusted) = &tls.trusted {
        file("trusted", trusted);
    }
    if let Some(pair) = &tls.certificate {
        file("certificate", &pair.certificate);
        file("key", &pair.key);
    }
    put("protocols", list(tls.versions.names().map(Value::from)));
    put("ciphers", cipher_names(&tls.ciphers));
    put("session_reuse", tls.session_reuse.into());
    Value::Mapping(entries)
}

fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("= {path}"),
        PathMatch::Prefix(path) | PathMatch::Named(path) => path.clone(),
        PathMatch::PrefixOnly(path) => format!("^~ {path}"),
        PathMatch::Pattern(pattern) if pattern.is_caseless() => format!("~* {}", pattern.text()),
        PathMatch::Pattern(pattern) => format!("~ {}", pattern.text()),
        PathMatch::If => String::new(),
    }
}

fn route(route: &Route, config: &Config, said: bool) -> Value {
    let to = match &route.action {
        Action::Proxy(proxy) => target(proxy, config),
        _ => String::new(),
    };
    if said {
        return text(&to);
    }
    let mut entries = Mapping::new();
    entries.insert("to".into(), text(&to));
    settings(&route.settings, &mut entries);
    Value::Mapping(entries)
}

fn target(proxy: &Proxy, config: &Config) -> String {
    let scheme = if proxy.tls { "https://" } else { "" };
    let uri = proxy.uri.as_deref().unwrap_or("");
    match &proxy.to {
        ProxyTarget::Upstream(index) => {
            let name = &config.upstreams[*index].name;
            // A colon ends the path of a socket.
            let colon = if name.starts_with("unix:") && !uri.is_empty() { ":" } else { "" };
            format!("{scheme}{name}{colon}{uri}")
        }
        ProxyTarget::Template(template) => template.to_string(),
    }
}

fn budget(budget: RetryBudget) -> Value {
    map([("percent", print_percent(budget.percent).into()), ("floor", budget.floor.into())])
}

/// A percentage that may be none.
fn share(percent: Option<u8>) -> Value {
    percent.map_or_else(|| "off".to_owned(), |percent| print_percent(percent.into())).into()
}

/// Whether merging these headers into the defaults gives these headers.
fn begins_with_defaults(settings: &RouteSettings) -> bool {
    let defaults = defaults().headers;
    settings.headers.len() >= defaults.len()
        && defaults.iter().zip(&settings.headers).all(|(header, here)| header.name == here.name)
}

fn settings(settings: &RouteSettings, entries: &mut Mapping) {
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    // What a template prints has the template's own escapes, which the environment leaves alone.
    let headers = settings.headers.iter();
    let headers = headers.map(|header| {
        let written = String::from_utf8_lossy(&header.written);
        (written.as_ref().into(), header.value.to_string().into())
    });
    let all = (!begins_with_defaults(settings)).then(|| (ALL.into(), "off".into()));
    put("headers", Value::Mapping(all.into_iter().chain(headers).collect()));
    put(
        "timeouts",
        map([
            ("connect", print_duration(settings.timeouts.connect).into()),
            ("send", print_duration(settings.timeouts.send).into()),
            ("read", print_duration(settings.timeouts.read).into()),
        ]),
    );
    let reasons = [
        ("error", settings.retry.error),
        ("timeout", settings.retry.timed_out),
        ("invalid_header", settings.retry.invalid_header),
    ];
    let reasons = reasons.into_iter();
    let statuses = settings.retry.statuses.iter();
    put(
        "retry",
        map([
            ("tries", settings.retry.tries.into()),
            ("timeout", print_duration(settings.retry.timeout).into()),
            ("on", list(reasons.filter(|(_, is)| *is).map(|(name, _)| name.into()))),
            ("non_idempotent", settings.retry.non_idempotent.into()),
            ("statuses", list(statuses.map(|status| (*status).into()))),
            ("try_timeout", print_duration(settings.retry.try_timeout).into()),
            ("budget", settings.retry.budget.map_or_else(|| "off".into(), budget)),
            ("hedge", share(settings.retry.hedge)),
        ]),
    );
    if settings.passing.tls != UpstreamTls::default() {
        put("upstream_tls", upstream_tls(&settings.passing.tls));
    }
    put("client_max_body_size", print_size(settings.client_max_body_bytes).into());
    put("websocket", settings.websocket.into());
    put("server_header", (settings.server_header != ServerHeader::Off).into());
    put("error_details", settings.error_details.into());
}
