//! From the raw tree back to YAML: what `robin convert` prints.
//!
//! What was written is printed, whichever door it came through, and nothing else: a default stays
//! a default. The text loads to an equal model in any environment. What nginx means by silence and
//! YAML does not (which headers are set, whether certificates are checked) its door has put into
//! the tree as if it had been written.

mod upstream;

use serde_yaml::{Mapping, Value};

use self::upstream::upstream;
use super::env::escape;
use super::nginx::written;
use super::raw::{
    Budget, Config, Dashboard, List, Listen, Resolver, Route, Settings, Statement, Step,
    VirtualServer, Word,
};
use super::words::switch;

/// Prints a raw tree as YAML.
pub(super) fn to_yaml(config: &Config) -> String {
    let mut top = Entries::default();
    top.word("threads", config.threads.as_ref());
    top.word("user", config.user.as_ref());
    top.word("pid", config.pid.as_ref());
    top.word("control", config.control.as_ref());
    if let Some((path, level)) = &config.error_log {
        let words = std::iter::once(path).chain(level).map(|word| written::word(&word.value));
        top.put("error_log", escape(&words.collect::<Vec<_>>().join(" ")));
    }
    top.resolver(config.resolver.as_ref());
    top.words("trust", config.trust.as_ref());
    top.word("event_format", config.event_format.as_ref());
    top.dashboard(&config.dashboard);
    top.word("status", config.status.as_ref());
    top.word("shutdown_timeout", config.shutdown_timeout.as_ref());
    top.word("keepalive_timeout", config.keepalive_timeout.as_ref());
    top.word("client_header_timeout", config.client_header_timeout.as_ref());
    top.word("express", config.express.as_ref());
    top.statements(&config.declarations);
    top.settings(&config.settings);
    top.word("panic", config.panic.as_ref());
    if let Some(upstreams) = &config.upstreams {
        let upstreams = upstreams.items.iter();
        let upstreams = upstreams.map(|u| (u.name.value.clone().into(), upstream(u)));
        top.put("upstreams", Value::Mapping(upstreams.collect()));
    }
    match &config.virtual_servers {
        Some(servers) => top.put("virtual_servers", list(&servers.items, virtual_server)),
        // The short form has no place for settings of the server's own.
        None if config.server.settings.statements.is_empty() => top.server(&config.server),
        None => {
            let only = std::slice::from_ref(&config.server);
            top.put("virtual_servers", list(only, virtual_server));
        }
    }
    // A tree of texts, lists and maps with text keys always has a YAML form.
    serde_yaml::to_string(&top.0).expect("a tree without tags and bytes can be written")
}

fn list<T>(items: &[T], value: impl FnMut(&T) -> Value) -> Value {
    Value::Sequence(items.iter().map(value).collect())
}

/// A text that is one word whatever the environment holds.
fn text(word: &Word) -> Value {
    escape(&word.value).into()
}

/// A template: names in lower case are its own, so the environment leaves these alone.
fn template(word: &Word) -> Value {
    let mut printed = String::with_capacity(word.value.len());
    let mut rest = word.value.as_str();
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at + 1);
        printed.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            printed.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.split_once('}').filter(|_| rest.starts_with('{')) {
            printed.push_str(&name.to_ascii_lowercase());
            printed.push('}');
            rest = after;
        }
    }
    printed.push_str(rest);
    printed.into()
}

fn virtual_server(server: &VirtualServer) -> Value {
    let mut entries = Entries::default();
    entries.server(server);
    entries.settings(&server.settings);
    entries.value()
}

fn listen(listen: &Listen) -> Value {
    let mut words = vec![escape(&listen.address.value)];
    let flags =
        [("default_server", &listen.default), ("ssl", &listen.tls), ("http2", &listen.http2)];
    words.extend(flags.iter().filter(|(_, said)| said.is_some()).map(|(name, _)| (*name).into()));
    match listen.proxy_protocol.as_ref().map(|word| (word, switch(&word.value))) {
        Some((_, Some(true))) => words.push("proxy_protocol".into()),
        Some((word, None)) => words.push(format!("proxy_protocol={}", escape(&word.value))),
        _ => {}
    }
    if let Some(most) = &listen.max_connections {
        words.push(format!("max_connections={}", escape(&most.value)));
    }
    words.join(" ").into()
}

fn route(route: &Route) -> Value {
    let mut entries = Entries::default();
    entries.word("to", route.to.as_ref());
    entries.word("internal", route.internal.as_ref());
    entries.steps(&route.program);
    entries.settings(&route.settings);
    entries.routes(&route.routes);
    match (&route.to, entries.0.len()) {
        (Some(to), 1) => text(to),
        _ => entries.value(),
    }
}

fn budget(budget: &Budget) -> Value {
    match budget {
        Budget { percent: Some(word), floor: None } => text(word),
        Budget { percent, floor } => {
            let mut entries = Entries::default();
            entries.word("percent", percent.as_ref());
            entries.word("floor", floor.as_ref());
            entries.value()
        }
    }
}

/// A list in YAML may be one statement where nginx needs one for each.
fn single(statement: &Statement) -> Vec<Statement> {
    const ONE_EACH: [&str; 2] = ["ssl_certificate", "ssl_certificate_key"];
    if !ONE_EACH.contains(&statement.name.value.as_str()) {
        return vec![statement.clone()];
    }
    let one = |word: &Word| Statement { args: vec![word.clone()], ..statement.clone() };
    statement.args.iter().map(one).collect()
}

/// A map on its way.
#[derive(Default)]
struct Entries(Mapping);

impl Entries {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }

    fn map(&mut self, key: &str, map: Self) {
        self.put(key, map.value());
    }

    fn value(self) -> Value {
        Value::Mapping(self.0)
    }

    fn word(&mut self, key: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.put(key, text(word));
        }
    }

    fn words(&mut self, key: &str, words: Option<&List<Word>>) {
        if let Some(words) = words {
            self.put(key, list(&words.items, text));
        }
    }

    fn template(&mut self, key: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.put(key, template(word));
        }
    }

    fn templates(&mut self, key: &str, words: Option<&List<Word>>) {
        if let Some(words) = words {
            self.put(key, list(&words.items, template));
        }
    }

    fn resolver(&mut self, resolver: Option<&Resolver>) {
        let Some(resolver) = resolver else { return };
        let mut entries = Self::default();
        entries.words("servers", resolver.servers.as_ref());
        entries.word("timeout", resolver.timeout.as_ref());
        entries.word("ipv4", resolver.ipv4.as_ref());
        entries.word("ipv6", resolver.ipv6.as_ref());
        self.map("resolver", entries);
    }

    fn dashboard(&mut self, dashboard: &Dashboard) {
        let mut entries = Self::default();
        entries.word("enabled", dashboard.enabled.as_ref());
        entries.word("summary", dashboard.summary.as_ref());
        if !entries.0.is_empty() {
            self.map("dashboard", entries);
        }
    }

    fn server(&mut self, server: &VirtualServer) {
        if let Some(addresses) = &server.listen {
            self.put("listen", list(&addresses.items, listen));
        }
        self.words("names", server.names.as_ref());
        self.steps(&server.program);
        if let Some(routes) = &server.routes {
            self.routes(&routes.items);
            if routes.items.is_empty() {
                self.map("routes", Self::default());
            }
        }
    }

    fn routes(&mut self, routes: &[Route]) {
        if routes.is_empty() {
            return;
        }
        let path = |r: &Route| Value::from(r.path.value.clone());
        self.put("routes", Value::Mapping(routes.iter().map(|r| (path(r), route(r))).collect()));
    }

    /// The rewrite module, as text in nginx's language.
    fn steps(&mut self, steps: &[Step]) {
        if steps.is_empty() {
            return;
        }
        let steps = steps.iter().map(|step| escape(&written::step(step)).into());
        self.put("rules", Value::Sequence(steps.collect()));
    }

    /// Statements under their names: one text, or a list where a name is said more than once.
    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements.iter().flat_map(single) {
            let name = Value::from(statement.name.value.clone());
            let value = Value::from(escape(&written::arguments(&statement)));
            match self.0.get_mut(&name) {
                Some(Value::Sequence(list)) => list.push(value),
                Some(one) => *one = Value::Sequence(vec![std::mem::take(one), value]),
                None => {
                    self.0.insert(name, value);
                }
            }
        }
    }

    fn settings(&mut self, settings: &Settings) {
        if !settings.headers.is_empty() {
            let headers = settings.headers.iter();
            let headers = headers.map(|(name, value)| (name.value.clone().into(), template(value)));
            self.put("headers", Value::Mapping(headers.collect()));
        }
        let mut timeouts = Self::default();
        timeouts.word("connect", settings.connect_timeout.as_ref());
        timeouts.word("send", settings.send_timeout.as_ref());
        timeouts.word("read", settings.read_timeout.as_ref());
        if !timeouts.0.is_empty() {
            self.map("timeouts", timeouts);
        }
        let mut retry = Self::default();
        retry.word("tries", settings.retry_tries.as_ref());
        retry.word("timeout", settings.retry_timeout.as_ref());
        retry.word("non_idempotent", settings.retry_non_idempotent.as_ref());
        retry.words("on", settings.retry_on.as_ref());
        retry.words("statuses", settings.retry_statuses.as_ref());
        retry.word("try_timeout", settings.retry_try_timeout.as_ref());
        if let Some(budget) = &settings.retry_budget {
            retry.put("budget", self::budget(budget));
        }
        retry.word("hedge", settings.retry_hedge.as_ref());
        if !retry.0.is_empty() {
            self.map("retry", retry);
        }
        self.word("client_max_body_size", settings.client_max_body_size.as_ref());
        self.word("websocket", settings.websocket.as_ref());
        self.word("server_header", settings.server_header.as_ref());
        self.word("error_details", settings.error_details.as_ref());
        self.statements(&settings.statements);
    }
}
