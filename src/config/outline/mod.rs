//! The parts of a model that everyone asks about, as text: what holds, defaults filled in.
//!
//! It is for people and golden files to read. What a configuration says, so that it can be loaded
//! again, is [`super::convert`]'s.

mod health_check;
mod log;
mod upstream;

use std::path::Path;

use serde_yaml::{Mapping, Value};

use self::upstream::upstream;
use super::env::escape;
use super::model::passing::UpstreamTls;
use super::model::{
    AccessLog, Action, Config, EventFormat, Express, Listen, Otlp, PathMatch, Proxy, ProxyTarget,
    Resolver, RetryBudget, Route, RouteSettings, Tls, VirtualServer,
};
use super::resolve::settings::{ALL, defaults};
use super::tls::{CipherSuite, ClientCertificates};
use super::words::{print_duration, print_hundredths, print_percent, print_size};

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
    if config.event_format == EventFormat::Json {
        put("event_format", "json".into());
    }
    if let Some(otlp) = &config.otlp {
        put("otlp", self::otlp(otlp));
    }
    put(
        "dashboard",
        map([
            ("enabled", config.dashboard.enabled.into()),
            ("summary", print_duration(config.dashboard.summary).into()),
        ]),
    );
    let status = config.status.as_ref().map(|address| text(&address.to_string()));
    put("status", status.unwrap_or_else(|| "off".into()));
    put("shutdown_timeout", print_duration(config.shutdown_timeout).into());
    put("keepalive_timeout", print_duration(config.keepalive_timeout).into());
    put("client_header_timeout", print_duration(config.client_header_timeout).into());
    if config.express != Express::default() {
        let way = match config.express {
            Express::On => "on",
            Express::Off => "off",
            Express::Alternate => "alternate",
        };
        put("express", way.into());
    }
    let written = config.upstreams.iter().filter(|upstream| !upstream.implicit);
    put(
        "upstreams",
        Value::Mapping(written.map(|u| (u.name.as_str().into(), upstream(u))).collect()),
    );
    // Settings that all share are said once, where they hold for all.
    let servers = || config.virtual_servers.iter().filter(|server| !config.is_of_status(server));
    let shared = shared(servers().flat_map(|server| &server.routes));
    let servers = servers();
    let servers = list(servers.map(|server| virtual_server(server, config, shared.is_some())));
    if let Some(shared) = shared {
        settings(shared, config, &mut top);
    }
    top.insert("virtual_servers".into(), servers);
    // A tree of texts, numbers, lists and maps with text keys always has a YAML form.
    serde_yaml::to_string(&top).expect("a tree without tags and bytes can be written")
}

fn otlp(otlp: &Otlp) -> Value {
    map([
        ("endpoint", format!("http://{}{}", otlp.host, otlp.path).into()),
        ("service", text(&otlp.service)),
        ("sample", print_hundredths(otlp.sample).into()),
        ("interval", print_duration(otlp.interval).into()),
        ("batch_size", otlp.batch_size.into()),
        ("batch_count", otlp.batch_count.into()),
    ])
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
        settings(shared, config, &mut entries);
    }
    let said = said || shared.is_some();
    let routes = server.routes.iter();
    let routes = routes.map(|r| (path(&r.path).into(), route(r, config, said)));
    entries.insert("routes".into(), Value::Mapping(routes.collect()));
    Value::Mapping(entries)
}

fn listen(listen: &Listen) -> Value {
    let address: Value = listen.address.to_string().into();
    let Listen { tls, http2, proxy_protocol, max_connections, .. } = listen;
    if !tls && !http2 && proxy_protocol.is_none() && max_connections.is_none() {
        return address;
    }
    let mut entries = Mapping::new();
    entries.insert("address".into(), address);
    entries.insert("tls".into(), (*tls).into());
    entries.insert("http2".into(), (*http2).into());
    if let Some(trust) = proxy_protocol {
        let trust = list(trust.iter().map(|network| text(&network.to_string())));
        entries.insert("proxy_protocol".into(), trust);
    }
    if let Some(most) = max_connections {
        entries.insert("max_connections".into(), (*most).into());
    }
    Value::Mapping(entries)
}

fn tls(tls: &Tls) -> Value {
    let file = |path: &Path| text(&path.to_string_lossy());
    let pairs = || tls.certificates.iter();
    let mut entries = match map([
        ("certificate", list(pairs().map(|pair| file(&pair.certificate)))),
        ("key", list(pairs().map(|pair| file(&pair.key)))),
        ("protocols", list(tls.versions.names().map(Value::from))),
        ("ciphers", cipher_names(&tls.ciphers)),
        ("prefer_server_ciphers", tls.prefer_server_ciphers.into()),
        ("session_cache", tls.session_cache.into()),
        ("session_timeout", print_duration(tls.session_timeout).into()),
        ("session_tickets", tls.session_tickets.into()),
        ("reject_handshake", tls.reject_handshake.into()),
    ]) {
        Value::Mapping(entries) => entries,
        _ => Mapping::new(),
    };
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    if let Some(passwords) = pairs().find_map(|pair| pair.passwords.as_deref()) {
        put("passwords", file(passwords));
    }
    if !tls.ticket_keys.is_empty() {
        put("ticket_key", list(tls.ticket_keys.iter().map(|path| file(path))));
    }
    let clients = &tls.clients;
    if *clients != ClientCertificates::default() {
        put("verify_client", clients.verify.name().into());
        put("verify_depth", clients.depth.into());
    }
    for (key, path) in
        [("client_ca", &clients.authorities), ("trusted", &clients.trusted), ("crl", &clients.crl)]
    {
        if let Some(path) = path {
            put(key, file(path));
        }
    }
    Value::Mapping(entries)
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
    if let Some(crl) = &tls.crl {
        file("crl", crl);
    }
    if let Some(pair) = &tls.certificate {
        file("certificate", &pair.certificate);
        file("key", &pair.key);
        if let Some(passwords) = &pair.passwords {
            file("passwords", passwords);
        }
    }
    if tls.depth != UpstreamTls::default().depth {
        put("verify_depth", tls.depth.into());
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
        Action::Status => "robin_status".to_owned(),
        _ => String::new(),
    };
    if said {
        return text(&to);
    }
    let mut entries = Mapping::new();
    entries.insert("to".into(), text(&to));
    settings(&route.settings, config, &mut entries);
    Value::Mapping(entries)
}

fn target(proxy: &Proxy, config: &Config) -> String {
    let scheme = match (proxy.grpc, proxy.tls) {
        (true, true) => "grpcs://",
        (true, false) => "grpc://",
        (false, true) => "https://",
        (false, false) => "",
    };
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
    !settings.passes_claims
        && settings.headers.len() >= defaults.len()
        && defaults.iter().zip(&settings.headers).all(|(header, here)| header.name == here.name)
}

fn settings(settings: &RouteSettings, config: &Config, entries: &mut Mapping) {
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
    if let Some(logs) = &settings.access_logs {
        put("access_log", list(logs.iter().map(|log| self::log::log(log, config))));
    }
    put("client_max_body_size", print_size(settings.client_max_body_bytes).into());
    put("websocket", settings.websocket.into());
    put(
        "server_header",
        match settings.server_header.text() {
            Some("robin") => true.into(),
            Some(text) => text.into(),
            None => false.into(),
        },
    );
    put("error_details", settings.error_details.into());
    put(
        "request_id",
        map([
            ("from", if settings.request_id.trust { "trust" } else { "make" }.into()),
            ("answer", settings.request_id.answer.into()),
        ]),
    );
    put("trace", settings.trace.name().into());
    if config.otlp.is_some() {
        put("otel_trace", settings.record.into());
    }
}
