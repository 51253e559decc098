//! From nodes to the raw tree, one function a map.

use super::fields::{Door, Fields};
use super::node::{Node, Shape};
use super::{
    BUDGET, DASHBOARD, LISTEN, PROXY_PROTOCOL, RESOLVER, RETRY, ROUTE, SERVER, SETTINGS, TIMEOUTS,
    TLS, TLS_KEYS, TOP, UPSTREAM_TLS, UPSTREAM_TLS_KEYS,
};
use crate::config::diagnostics::quote;
use crate::config::env::Kind;
use crate::config::nginx::{Level, Said};
use crate::config::raw::{
    Budget, Config, Dashboard, List, Listen, Resolver, Route, Settings, Statement, VirtualServer,
    Word,
};

impl Door<'_> {
    pub(super) fn config(&mut self, node: &Node) -> Option<Config> {
        let mut f =
            self.level_fields("the configuration", node, Level::Top, &[SERVER, TOP, SETTINGS])?;
        let Said { declarations, statements: said, .. } = self.directives(&mut f, Level::Top);
        // What else the top says of traces wins over what these say.
        let mut statements = self.otlp(&f);
        statements.extend(said);
        Some(Config {
            as_nginx: false,
            declarations,
            error_log: self.error_log(&mut f),
            threads: f.word(self, "threads"),
            user: f.word(self, "user"),
            pid: f.word(self, "pid"),
            control: f.word(self, "control"),
            resolver: self.resolver(&f),
            trust: f.words(self, "trust"),
            dashboard: self.dashboard(&f),
            status: f.word(self, "status"),
            event_format: f.word(self, "event_format"),
            shutdown_timeout: f.word(self, "shutdown_timeout"),
            keepalive_timeout: f.word(self, "keepalive_timeout"),
            client_header_timeout: f.word(self, "client_header_timeout"),
            express: f.word(self, "express"),
            panic: f.word(self, "panic"),
            upstreams: self.upstreams(&f),
            settings: self.settings(&mut f, statements),
            virtual_servers: self.virtual_servers(&f),
            server: self.server(f, Settings::default()),
        })
    }

    /// The map below a key, its keys checked; `None` also for a key that is not there.
    pub(super) fn submap<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        known: &[&'static str],
    ) -> Option<Fields<'n>> {
        let (key, node) = fields.get(self, key)?;
        self.map_below(key, node, known)
    }

    pub(super) fn map_below<'n>(
        &mut self,
        key: &Node,
        node: &'n Node,
        known: &[&'static str],
    ) -> Option<Fields<'n>> {
        if matches!(node.shape, Shape::Null) {
            self.no_value(key);
            return None;
        }
        let called = quote(self.typed(key));
        self.fields(&called, node, &[known])
    }

    /// The entries of a map whose keys are the user's own names, each made by `entry`.
    pub(super) fn named<'n, T>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        mut entry: impl FnMut(&mut Self, &'n Node, &'n Node) -> Option<T>,
    ) -> Option<List<T>> {
        let (key, node) = fields.get(self, key)?;
        let place = self.place(if matches!(node.shape, Shape::Map(_)) { key } else { node });
        let mut list = List { items: Vec::new(), broken: false, place };
        let called = quote(self.typed(key));
        if matches!(node.shape, Shape::Null) {
            self.no_value(key);
            list.broken = true;
        } else if let Some(entries) = self.entries(&called, node) {
            for (key, node) in entries {
                match entry(self, key, node) {
                    Some(item) => list.items.push(item),
                    None => list.broken = true,
                }
            }
        } else {
            list.broken = true;
        }
        Some(list)
    }

    pub(super) fn resolver(&mut self, fields: &Fields<'_>) -> Option<Resolver> {
        let (key, node) = fields.get(self, "resolver")?;
        if !matches!(node.shape, Shape::Map(_)) {
            let servers = Some(self.words(key, node));
            return Some(Resolver { servers, timeout: None, ipv4: None, ipv6: None });
        }
        let mut f = self.map_below(key, node, RESOLVER)?;
        Some(Resolver {
            servers: f.words(self, "servers"),
            timeout: f.word(self, "timeout"),
            ipv4: f.word(self, "ipv4"),
            ipv6: f.word(self, "ipv6"),
        })
    }

    fn dashboard(&mut self, fields: &Fields<'_>) -> Dashboard {
        let Some((key, node)) = fields.get(self, "dashboard") else {
            return Dashboard::default();
        };
        if matches!(node.shape, Shape::Scalar) {
            return Dashboard { enabled: self.word(key, node, Kind::Word), summary: None };
        }
        self.map_below(key, node, DASHBOARD).map_or_else(Dashboard::default, |mut f| Dashboard {
            enabled: f.word(self, "enabled"),
            summary: f.word(self, "summary"),
        })
    }

    fn virtual_servers(&mut self, fields: &Fields<'_>) -> Option<List<VirtualServer>> {
        let (key, node) = fields.get(self, "virtual_servers")?;
        let mut list = List { items: Vec::new(), broken: false, place: self.place(key) };
        let items = self.items(key, node);
        list.broken = items.is_none();
        for item in items.unwrap_or_default() {
            match self.level_fields("a virtual server", item, Level::Server, &[SERVER, SETTINGS]) {
                Some(mut f) => {
                    let statements = self.directives(&mut f, Level::Server).statements;
                    let settings = self.settings(&mut f, statements);
                    list.items.push(self.server(f, settings));
                }
                None => list.broken = true,
            }
        }
        Some(list)
    }

    fn server(&mut self, mut fields: Fields<'_>, settings: Settings) -> VirtualServer {
        let listen = self.listen(&fields);
        let mut settings = settings;
        let tls = self.statements(&fields, "tls", TLS, TLS_KEYS);
        settings.statements.extend(tls);
        VirtualServer {
            listen,
            program: self.rules(&mut fields, Level::Server),
            names: fields.words(self, "names"),
            routes: self.routes(&fields),
            settings,
            place: fields.place,
            broken: fields.broken,
        }
    }

    fn listen(&mut self, fields: &Fields<'_>) -> Option<List<Listen>> {
        let (key, node) = fields.get(self, "listen")?;
        if matches!(node.shape, Shape::Null) {
            let List { broken, place, .. } = self.words(key, node);
            return Some(List { items: Vec::new(), broken, place });
        }
        let mut list = List { items: Vec::new(), broken: false, place: self.place(node) };
        let items = match &node.shape {
            Shape::List(items) => &items[..],
            // One alone may stand without brackets.
            _ => std::slice::from_ref(node),
        };
        for item in items {
            match self.listener(key, item) {
                Some(listen) => list.items.push(listen),
                None => list.broken = true,
            }
        }
        Some(list)
    }

    fn listener(&mut self, key: &Node, node: &Node) -> Option<Listen> {
        if !matches!(node.shape, Shape::Map(_)) {
            return Some(listen(self.entry(key, node)?));
        }
        let mut f = self.fields("a listener", node, &[LISTEN])?;
        let address = f.word(self, "address");
        if address.is_none() && !f.broken {
            self.diags
                .error(&f.place, "a listener without an address")
                .expected("expected `address:` with a port or an address");
        }
        let (tls, http2) = (f.word(self, "tls"), f.word(self, "http2"));
        let max_connections = f.word(self, "max_connections");
        let proxy_protocol = self.proxy_protocol(&f);
        let said = Listen::at(address?);
        Some(Listen { tls, http2, proxy_protocol, max_connections, ..said })
    }

    /// `on`, or whose headers are read: a list of networks, or a map with one.
    fn proxy_protocol(&mut self, fields: &Fields<'_>) -> Option<Word> {
        let (mut key, mut node) = fields.get(self, "proxy_protocol")?;
        if matches!(node.shape, Shape::Map(_)) {
            let map = self.map_below(key, node, PROXY_PROTOCOL)?;
            (key, node) = map.get(self, "trust")?;
        }
        let list = self.words(key, node);
        let words: Vec<&str> = list.items.iter().map(|word| word.value.as_str()).collect();
        Some(Word { value: words.join(","), place: list.place })
    }

    /// What stands in a map, in nginx's words: each key of ours with nginx's.
    fn statements(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        words: &[(&'static str, &'static str)],
        known: &[&'static str],
    ) -> Vec<Statement> {
        let Some(map) = self.submap(fields, key, known) else { return Vec::new() };
        let mut statements = Vec::new();
        for (ours, name) in words {
            let Some((key, node)) = map.get(self, ours) else { continue };
            let name = Word { value: (*name).to_owned(), place: self.place(key) };
            let list = match &node.shape {
                Shape::Scalar => {
                    let kind = if *ours == "name" { Kind::Template } else { Kind::Word };
                    self.word(key, node, kind).into_iter().collect()
                }
                _ => self.words(key, node).items,
            };
            statements.push(Statement { name, args: list, block: None });
        }
        statements
    }

    fn routes(&mut self, fields: &Fields<'_>) -> Option<List<Route>> {
        self.named(fields, "routes", |door, key, node| {
            let path = door.key(key);
            if !matches!(node.shape, Shape::Map(_)) {
                let to = door.word(key, node, Kind::Phrase);
                return Some(Route { to, ..Route::at(path) });
            }
            let called = quote(&path.value);
            let mut f = door.level_fields(&called, node, Level::Route, &[ROUTE, SETTINGS])?;
            let to = f.get(door, "to").and_then(|(key, node)| door.word(key, node, Kind::Phrase));
            let internal = f.word(door, "internal");
            let program = door.rules(&mut f, Level::Route);
            let routes = door.routes(&f).map_or_else(Vec::new, |list| list.items);
            let statements = door.directives(&mut f, Level::Route).statements;
            let settings = door.settings(&mut f, statements);
            let says = !(settings.statements.is_empty() && program.is_empty());
            let is_files = says || !routes.is_empty() || internal.is_some() || f.is_empty();
            if to.is_none() && !is_files && !f.broken {
                door.diags
                    .error(&path.place, format!("route {called} has no target"))
                    .expected("expected `to:` with an upstream or an address");
            }
            Some(Route { to, internal, program, routes, settings, ..Route::at(path) })
        })
    }

    fn settings(&mut self, fields: &mut Fields<'_>, statements: Vec<Statement>) -> Settings {
        let mut settings = Settings {
            headers: self.headers(fields),
            client_max_body_size: fields.word(self, "client_max_body_size"),
            websocket: fields.word(self, "websocket"),
            server_header: fields.word(self, "server_header"),
            error_details: fields.word(self, "error_details"),
            statements,
            ..Settings::default()
        };
        settings.statements.extend(self.request_id(fields));
        settings.statements.extend(self.trace(fields));
        settings.statements.extend(self.limits(fields));
        settings.statements.extend(self.hsts(fields));
        let tls = self.statements(fields, "upstream_tls", UPSTREAM_TLS, UPSTREAM_TLS_KEYS);
        settings.statements.extend(tls);
        if let Some(mut timeouts) = self.submap(fields, "timeouts", TIMEOUTS) {
            settings.connect_timeout = timeouts.word(self, "connect");
            settings.send_timeout = timeouts.word(self, "send");
            settings.read_timeout = timeouts.word(self, "read");
        }
        if let Some(mut retry) = self.submap(fields, "retry", RETRY) {
            settings.retry_tries = retry.word(self, "tries");
            settings.retry_timeout = retry.word(self, "timeout");
            settings.retry_non_idempotent = retry.word(self, "non_idempotent");
            settings.retry_on = retry.words(self, "on");
            settings.retry_statuses = retry.words(self, "statuses");
            settings.retry_try_timeout = retry.word(self, "try_timeout");
            settings.retry_budget = self.budget(&retry);
            settings.retry_hedge = retry.word(self, "hedge");
        }
        settings
    }

    /// A percentage or `off`, or both of its numbers in a map.
    fn budget(&mut self, fields: &Fields<'_>) -> Option<Budget> {
        let (key, node) = fields.get(self, "budget")?;
        if matches!(node.shape, Shape::Scalar) {
            let percent = Some(self.word(key, node, Kind::Word)?);
            return Some(Budget { percent, floor: None });
        }
        let mut f = self.map_below(key, node, BUDGET)?;
        Some(Budget { percent: f.word(self, "percent"), floor: f.word(self, "floor") })
    }

    fn headers(&mut self, fields: &Fields<'_>) -> Vec<(Word, Word)> {
        let headers = self.named(fields, "headers", |door, key, node| {
            if matches!(node.shape, Shape::Null) {
                let message = format!("header {} has no value", quote(door.typed(key)));
                door.diags
                    .error(&door.place(key), message)
                    .help("`\"\"` as the value removes the header");
                return None;
            }
            let value = door.word(key, node, Kind::Template)?;
            Some((door.key(key), value))
        });
        headers.map_or_else(Vec::new, |list| list.items)
    }
}

/// An address with what is to be said of it, as in `443 ssl default_server`.
fn listen(word: Word) -> Listen {
    let mut parts = word.value.split_whitespace();
    let address = parts.next().unwrap_or_default().to_owned();
    let flags: Vec<String> = parts.map(str::to_owned).collect();
    let said = |name: &str| {
        let named = flags.iter().any(|flag| flag == name);
        named.then(|| Word { value: "on".to_owned(), place: word.place.clone() })
    };
    let (default, tls, http2) = (said("default_server"), said("ssl"), said("http2"));
    let value = |name: &str| {
        let value = flags.iter().find_map(|flag| flag.strip_prefix(name))?.to_owned();
        Some(Word { value, place: word.place.clone() })
    };
    let max_connections = value("max_connections=");
    let proxy_protocol = said("proxy_protocol").or_else(|| value("proxy_protocol="));
    let unknown = |flag: &&String| {
        !matches!(flag.as_str(), "default_server" | "ssl" | "http2" | "proxy_protocol")
            && !flag.starts_with("max_connections=")
            && !flag.starts_with("proxy_protocol=")
    };
    // An address is one word: what else stands behind it is refused with it.
    let value = match flags.iter().find(unknown) {
        Some(_) => word.value.clone(),
        None => address,
    };
    let at = Listen::at(Word { value, place: word.place });
    Listen { default, tls, http2, proxy_protocol, max_connections, ..at }
}
