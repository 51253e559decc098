//! Virtual servers and their routes: where to listen, which paths, whereto.

use std::collections::HashMap;

use ipnet::IpNet;

use super::logs;
use super::program;
use super::settings;
use super::tls;
use super::upstreams::{Upstreams, probes};
use crate::config::address::{self, HTTP_PORT, HTTPS_PORT, Target};
use crate::config::diagnostics::{Diagnostics, Span, Syntax, quote};
use crate::config::model::passing::{HttpVersion, UpstreamTls};
use crate::config::model::{
    Action, Host, Listen, ListenAddress, PathMatch, Proxy, ProxyTarget, Requests, Route,
    RouteSettings, ServerHeader, ServerName, VirtualServer,
};
use crate::config::pattern::Pattern;
use crate::config::raw::{self, List, Word};

/// All virtual servers; the short form at the top is one.
pub(super) fn virtual_servers(
    raw: &raw::Config,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> Vec<VirtualServer> {
    let mut defaults = settings::defaults();
    if raw.as_nginx {
        defaults.server_header = ServerHeader::NGINX;
    }
    let mut outer = raw.settings.resolve(&defaults, diags);
    // The process's log is opened once, and told by none.
    if logs::is_plain(&raw.settings) {
        outer.access_logs = None;
    }
    let Some(list) = &raw.virtual_servers else {
        let server = virtual_server(&raw.server, &raw.settings, &outer, upstreams, diags);
        let servers = vec![server];
        tls::refuse_bare_listeners(std::slice::from_ref(&raw.server), &servers, diags);
        return servers;
    };
    let short = [
        ("listen", raw.server.listen.as_ref().map(|list| &list.place)),
        ("names", raw.server.names.as_ref().map(|list| &list.place)),
        ("routes", raw.server.routes.as_ref().map(|list| &list.place)),
    ];
    for (key, place) in short {
        if let Some(place) = place {
            diags
                .error(place, format!("`{key}` is not allowed beside `virtual_servers`"))
                .also(&list.place, "virtual servers are written here")
                .help(format!("move `{key}` into a virtual server"));
        }
    }
    if list.items.is_empty() && !list.broken {
        diags
            .error(&list.place, "`virtual_servers` is empty")
            .expected("expected at least one entry with `listen` and `routes`");
    }
    let all = &raw.settings;
    let servers = list.items.iter();
    let servers: Vec<VirtualServer> =
        servers.map(|raw| virtual_server(raw, all, &outer, upstreams, diags)).collect();
    refuse_same_defaults(&list.items, diags);
    refuse_same_names(&list.items, &servers, diags);
    tls::refuse_bare_listeners(&list.items, &servers, diags);
    servers
}

/// An address has one default virtual server.
fn refuse_same_defaults(raw: &[raw::VirtualServer], diags: &mut Diagnostics) {
    let mut defaults: HashMap<ListenAddress, &Word> = HashMap::new();
    for listen in raw.iter().flat_map(|server| server.listen.iter().flat_map(|l| &l.items)) {
        if listen.default.is_none() {
            continue;
        }
        let word = &listen.address;
        let Ok(address) = address::listen(&word.value) else { continue };
        if let Some(first) = defaults.get(&address) {
            diags
                .error(&word.place, format!("a duplicate default server for {address}"))
                .expected("written again here")
                .also(&first.place, "first written here");
        } else {
            defaults.insert(address, word);
        }
    }
}

fn virtual_server(
    raw: &raw::VirtualServer,
    all: &raw::Settings,
    outer: &RouteSettings,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> VirtualServer {
    let settings = raw.settings.resolve(outer, diags);
    let mut routes = Routes { list: Vec::new(), upstreams };
    routes.server(raw, &settings, diags);
    let program = program::program(&raw.program, None, &settings, &mut routes, diags);
    let list = routes.list;
    let requests = Requests::resolve(all, &Requests::default(), diags);
    let requests = Requests::resolve(&raw.settings, &requests, diags);
    let server = VirtualServer {
        listen: listen(raw, tls::http2(&raw.settings, all, diags), diags),
        names: names(raw.names.as_ref(), diags),
        program,
        routes: list,
        settings: without_tls_unless(false, settings),
        requests,
        tls: tls::server(&raw.settings, all, diags),
        verify_client: tls::verify_client(&raw.settings, all),
    };
    tls::refuse_unfit(&raw.settings, all, &server, diags);
    server
}

fn listen(raw: &raw::VirtualServer, http2: bool, diags: &mut Diagnostics) -> Vec<Listen> {
    let Some(list) = &raw.listen else {
        if !raw.broken {
            diags
                .error(&raw.place, "`listen` is missing")
                .help("add `listen: 80`, or an address such as `127.0.0.1:80`");
        }
        return Vec::new();
    };
    if list.items.is_empty() && !list.broken {
        diags
            .error(&list.place, "`listen` is empty")
            .expected("expected at least one port or address");
    }
    let mut listen: Vec<(Listen, &Word)> = Vec::new();
    for entry in &list.items {
        let word = &entry.address;
        let read = address::listen(&word.value);
        let Some(address) = diags.address(word, read) else { continue };
        if let Some((_, first)) = listen.iter().find(|(known, _)| known.address == address) {
            diags
                .error(&word.place, format!("duplicate `listen` address {}", quote(&word.value)))
                .in_nginx(format!("a duplicate listen {address}"))
                .expected("written again here")
                .also(&first.place, "first written here");
            continue;
        }
        let default = entry.default.is_some();
        let with_tls = diags.switch("tls", entry.tls.as_ref()).unwrap_or(false);
        let http2 = diags.switch("http2", entry.http2.as_ref()).unwrap_or(http2);
        let proxy_protocol = entry.proxy_protocol.as_ref().and_then(|w| proxies(w, diags));
        let most = 1..=u64::from(u32::MAX);
        let max_connections = diags.number("max_connections", entry.max_connections.as_ref(), most);
        let tls = with_tls;
        listen
            .push((Listen { address, default, tls, http2, proxy_protocol, max_connections }, word));
    }
    listen.into_iter().map(|(listen, _)| listen).collect()
}

/// Whose PROXY protocol headers are read; none where nobody's are.
fn proxies(word: &Word, diags: &mut Diagnostics) -> Option<Vec<IpNet>> {
    match crate::config::words::switch(&word.value) {
        Some(true) => return Some(Vec::new()),
        Some(false) => return None,
        None => {}
    }
    let items = word
        .value
        .split(',')
        .map(|value| Word { value: value.trim().to_owned(), place: word.place.clone() });
    let list = List { items: items.collect(), broken: false, place: word.place.clone() };
    Some(super::trust(Some(&list), diags))
}

fn names(list: Option<&List<Word>>, diags: &mut Diagnostics) -> Vec<ServerName> {
    let mut names: Vec<(ServerName, &Word)> = Vec::new();
    for word in list.iter().flat_map(|list| &list.items) {
        let Some(name) = name(word, diags) else { continue };
        if let Some((_, first)) = names.iter().find(|(known, _)| *known == name) {
            diags
                .error(&word.place, format!("duplicate name {}", quote(&word.value)))
                .expected("written again here")
                .also(&first.place, "first written here");
        } else {
            names.push((name, word));
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

fn name(word: &Word, diags: &mut Diagnostics) -> Option<ServerName> {
    if let Some(pattern) = word.value.strip_prefix('~') {
        // As in nginx, names are compared in lower case.
        return pattern_of(word, pattern, true, diags).map(ServerName::Pattern);
    }
    let name = word.value.to_ascii_lowercase();
    let read = if name.is_empty() {
        return Some(ServerName::Exact(name));
    } else if let Some(suffix) = name.strip_prefix('*').filter(|s| s.starts_with('.')) {
        address::is_name(&suffix[1..]).then(|| ServerName::Suffix(suffix.to_owned()))
    } else if let Some(prefix) = name.strip_suffix('*').filter(|p| p.ends_with('.')) {
        let bare = &prefix[..prefix.len() - 1];
        address::is_name(bare).then(|| ServerName::Prefix(prefix.to_owned()))
    } else {
        address::is_name(&name).then(|| ServerName::Exact(name.clone()))
    };
    if read.is_none() {
        diags
            .error(&word.place, format!("{} is not a host name", quote(&word.value)))
            .in_nginx(format!("invalid server name or wildcard \"{}\"", word.value))
            .expected("expected a name such as `example.org`, `*.example.org` or `~pattern`");
    }
    read
}

/// A regular expression; `text` stands somewhere in `word`.
pub(super) fn pattern_of(
    word: &Word,
    text: &str,
    caseless: bool,
    diags: &mut Diagnostics,
) -> Option<Pattern> {
    match Pattern::new(text, caseless) {
        Ok(pattern) => Some(pattern.bound(&diags.scope)),
        Err(bad) => {
            let rest = bad.at.and_then(|at| text.get(at..)).filter(|rest| !rest.is_empty());
            let rest = rest.map(|rest| format!(" at \"{rest}\"")).unwrap_or_default();
            diags
                .error(&word.place, format!("{} is no regular expression", quote(text)))
                .in_nginx(format!("pcre2_compile() failed: {bad} in \"{text}\"{rest}"))
                .expected(bad.to_string());
            None
        }
    }
}

/// Two virtual servers of one address need different names: the second would never be asked.
fn refuse_same_names(
    raw: &[raw::VirtualServer],
    servers: &[VirtualServer],
    diags: &mut Diagnostics,
) {
    let mut seen: HashMap<(&ListenAddress, String), &raw::VirtualServer> = HashMap::new();
    for (raw, server) in raw.iter().zip(servers) {
        let mut names: Vec<String> = server.names.iter().map(ToString::to_string).collect();
        let nameless = names.is_empty();
        if nameless {
            names.push(String::new());
        }
        for name in &names {
            let known = server.listen.iter().find_map(|listen| {
                let first = seen.get(&(&listen.address, name.clone()))?;
                Some((&listen.address, *first))
            });
            let Some((address, first)) = known else { continue };
            let place = |raw: &raw::VirtualServer| {
                let words = raw.names.as_ref().map(|list| &list.items[..]).unwrap_or_default();
                let word = words.iter().find(|word| word.value.eq_ignore_ascii_case(name));
                word.map_or_else(|| raw.place.clone(), |word| word.place.clone())
            };
            let message = if nameless {
                format!("a second virtual server without names on `{address}`")
            } else {
                format!("duplicate name `{name}` on `{address}`")
            };
            let here = place(raw);
            if Span::from(&here).source.syntax == Syntax::Nginx {
                let message = format!("conflicting server name \"{name}\" on {address}, ignored");
                diags.warn(&here, message);
                continue;
            }
            diags
                .error(&here, message)
                .expected("written again here")
                .also(&place(first), "first written here");
        }
        for listen in &server.listen {
            for name in &names {
                seen.entry((&listen.address, name.clone())).or_insert(raw);
            }
        }
    }
}

/// The routes of a virtual server on their way into one list.
pub(super) struct Routes<'u> {
    pub(super) list: Vec<Route>,
    pub(super) upstreams: &'u mut Upstreams,
}

impl Routes<'_> {
    fn server(
        &mut self,
        raw: &raw::VirtualServer,
        settings: &RouteSettings,
        diags: &mut Diagnostics,
    ) {
        let Some(list) = &raw.routes else {
            if !raw.broken {
                diags
                    .error(&raw.place, "`routes` is missing")
                    .help("add `routes:` with an entry such as `/: host:port`");
            }
            return;
        };
        self.level(&list.items, None, settings, diags);
        // As in nginx, where no location matches: none does less than `/`.
        let is_rest = |route: &Route| match &route.path {
            PathMatch::Prefix(path) | PathMatch::PrefixOnly(path) => path == "/",
            _ => false,
        };
        if let Some(action) = page_of(&raw.settings)
            && !self.list.iter().any(|route| route.parent.is_none() && is_rest(route))
        {
            self.list.push(Route {
                path: PathMatch::Prefix("/".to_owned()),
                parent: None,
                internal: false,
                program: Vec::new(),
                settings: without_tls_unless(false, settings.clone()),
                action,
            });
        }
    }

    /// The routes of one level, below `parent`.
    fn level(
        &mut self,
        raw: &[raw::Route],
        parent: Option<usize>,
        outer: &RouteSettings,
        diags: &mut Diagnostics,
    ) {
        let mut seen: HashMap<(bool, String), &Word> = HashMap::new();
        for raw in raw {
            let Some(path) = path(&raw.path, diags) else { continue };
            let unique = match &path {
                PathMatch::Exact(path) => Some((true, path.clone())),
                PathMatch::Prefix(path) | PathMatch::PrefixOnly(path) | PathMatch::Named(path) => {
                    Some((false, path.clone()))
                }
                // Each pattern has its turn, the same one too.
                PathMatch::Pattern(_) | PathMatch::If => None,
            };
            if let Some(unique) = unique
                && let Some(first) = seen.insert(unique, &raw.path)
            {
                diags
                    .error(&raw.path.place, format!("duplicate route {}", quote(&raw.path.value)))
                    .in_nginx(format!("duplicate location \"{}\"", path_only(&raw.path.value)))
                    .expected("written again here")
                    .also(&first.place, "first written here");
            }
            self.route(path, raw, parent, outer, diags);
        }
    }

    /// Adds a route with all that is inside of it; returns its index.
    pub(super) fn route(
        &mut self,
        path: PathMatch,
        raw: &raw::Route,
        parent: Option<usize>,
        outer: &RouteSettings,
        diags: &mut Diagnostics,
    ) -> usize {
        let mut settings = raw.settings.resolve(outer, diags);
        settings.files.anchor(&raw.settings, &path, diags);
        let action = self.action(raw, parent, &path, diags);
        if action.speaks_grpc() {
            settings.passing.for_grpc();
        }
        if let (Action::Proxy(_), HttpVersion::Http2, Some(_)) =
            (&action, settings.passing.version, &settings.passing.body)
        {
            let said = raw.settings.last("proxy_set_body").map(|said| &said.name.place);
            // Pingora ends a request without a body with its head.
            diags
                .error(
                    said.unwrap_or(&raw.path.place),
                    "`proxy_set_body` needs HTTP/1 to the upstream",
                )
                .expected("expected `proxy_http_version` 1.1, or no body of its own");
        }
        let matches = &self.upstreams.matches;
        for (upstream, check) in
            probes::of_location(&raw.settings, &settings, &action, matches, diags)
        {
            self.upstreams.check(upstream, check);
        }
        let internal = diags.switch("internal", raw.internal.as_ref()).unwrap_or(false);
        let index = self.list.len();
        self.list.push(Route {
            path,
            parent,
            internal,
            program: Vec::new(),
            settings: without_tls_unless(action.may_connect_with_tls(), settings.clone()),
            action,
        });
        self.list[index].program =
            program::program(&raw.program, Some(index), &settings, self, diags);
        self.level(&raw.routes, Some(index), &settings, diags);
        index
    }

    /// What a route does; the block of an `if` does what its route does unless it says otherwise.
    fn action(
        &mut self,
        raw: &raw::Route,
        parent: Option<usize>,
        path: &PathMatch,
        diags: &mut Diagnostics,
    ) -> Action {
        if let Some(action) = page_of(&raw.settings) {
            return action;
        }
        if raw.settings.last("empty_gif").is_some() {
            return Action::EmptyGif;
        }
        if let Some(to) = &raw.to {
            let proxy = proxy(to, self.upstreams, diags);
            return proxy.map_or(Action::Files, |proxy| Action::Proxy(Box::new(proxy)));
        }
        match (path, parent) {
            (PathMatch::If, Some(parent)) => self.list[parent].action.clone(),
            _ => Action::Files,
        }
    }
}

/// The page of our own that settings ask for.
fn page_of(settings: &raw::Settings) -> Option<Action> {
    let said = |name| settings.last(name).is_some();
    let pages = [("stub_status", Action::StubStatus), ("robin_status", Action::Status)];
    pages.into_iter().find(|(name, _)| said(name)).map(|(_, action)| action)
}

/// What is said of TLS to upstreams and is for nobody means nothing: both doors say the same.
fn without_tls_unless(used: bool, mut settings: RouteSettings) -> RouteSettings {
    if !used {
        settings.passing.tls = UpstreamTls::default();
    }
    settings
}

/// A route without its `=`, as nginx names it.
fn path_only(route: &str) -> &str {
    route.trim_start_matches(['=', '^', '~', ' '])
}

fn path(word: &Word, diags: &mut Diagnostics) -> Option<PathMatch> {
    let text = word.value.as_str();
    if text.starts_with('@') {
        return Some(PathMatch::Named(text.to_owned()));
    }
    if let Some(pattern) = text.strip_prefix("~*") {
        return pattern_of(word, pattern.trim_start(), true, diags).map(PathMatch::Pattern);
    }
    if let Some(pattern) = text.strip_prefix('~') {
        return pattern_of(word, pattern.trim_start(), false, diags).map(PathMatch::Pattern);
    }
    let (kind, path): (fn(String) -> PathMatch, &str) = if let Some(path) = text.strip_prefix("^~")
    {
        (PathMatch::PrefixOnly, path.trim_start())
    } else if let Some(path) = text.strip_prefix('=') {
        (PathMatch::Exact, path.trim_start())
    } else {
        (PathMatch::Prefix, text)
    };
    if !path.starts_with('/') {
        diags
            .error(&word.place, format!("a route begins with `/`, found {}", quote(text)))
            .in_nginx(format!("location \"{}\" would never match", path_only(text)))
            .expected("expected `/path`, `= /path`, `^~ /path`, `~ pattern` or `@name`");
        return None;
    }
    Some(kind(path.to_owned()))
}

/// Where a route hands its requests to.
fn proxy(word: &Word, upstreams: &mut Upstreams, diags: &mut Diagnostics) -> Option<Proxy> {
    let text = &word.value;
    if text.contains('$') {
        let template = diags.template(word)?;
        return Some(Proxy {
            to: ProxyTarget::Template(template),
            tls: false,
            grpc: text.starts_with("grpc"),
            uri: None,
            host: String::new(),
        });
    }
    if !text.contains([':', '/']) {
        let found = upstreams.find(text);
        if found.is_none() && !upstreams.broken() {
            undefined(word, upstreams, diags);
        }
        let to = found.map(ProxyTarget::Upstream)?;
        return Some(Proxy { to, tls: false, grpc: false, uri: None, host: text.clone() });
    }
    let read = address::target(text);
    let Target { tls, grpc, host_text, host, port, uri } = diags.address(word, read)?;
    if let Some(uri) = uri.as_ref().filter(|_| grpc) {
        diags
            .error(&word.place, format!("a target of gRPC has no path, found {}", quote(uri)))
            .expected("expected `grpc://host:port`: calls have paths of their own");
    }
    if let Host::Unix(path) = &host {
        let name = format!("unix:{}", path.display());
        let to = ProxyTarget::Upstream(upstreams.implicit(name, host, HTTP_PORT));
        return Some(Proxy { to, tls, grpc, uri, host: host_text });
    }
    if port.is_none()
        && let Some(upstream) = upstreams.find(&host_text)
    {
        let to = ProxyTarget::Upstream(upstream);
        return Some(Proxy { to, tls, grpc, uri, host: host_text });
    }
    let default = if tls { HTTPS_PORT } else { HTTP_PORT };
    let port = port.unwrap_or(default);
    let upstream = upstreams.implicit(format!("{host_text}:{port}"), host, port);
    // As in ngx_http_proxy_set_vars, the scheme's own port is not shown.
    let host = if port == default { host_text } else { format!("{host_text}:{port}") };
    Some(Proxy { to: ProxyTarget::Upstream(upstream), tls, grpc, uri, host })
}

fn undefined(word: &Word, upstreams: &Upstreams, diags: &mut Diagnostics) {
    let text = &word.value;
    let names: Vec<&str> = upstreams.names().collect();
    let nearest = crate::config::diagnostics::nearest(text, names.iter().copied());
    let diagnostic = diags.error(&word.place, format!("upstream {} is not defined", quote(text)));
    if !names.is_empty() {
        diagnostic.expected(format!("expected one of {}", names.join(", ")));
    }
    match nearest {
        Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
        None if address::is_name(text) => {
            diagnostic.help(format!("an address needs a port, as in `{text}:80`"))
        }
        None => diagnostic,
    };
}
