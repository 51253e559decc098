//! Virtual servers and their routes: where to listen, which paths, whereto.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::settings;
use super::upstreams::Upstreams;
use crate::config::address::{self, HTTP_PORT, Target};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::{PathMatch, Route, RouteSettings, VirtualServer};
use crate::config::raw::{self, List, Word};

/// All virtual servers; the short form at the top is one.
pub(super) fn virtual_servers(
    raw: &raw::Config,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> Vec<VirtualServer> {
    let outer = raw.settings.resolve(&settings::defaults(), diags);
    let Some(list) = &raw.virtual_servers else {
        return vec![virtual_server(&raw.server, &outer, upstreams, diags)];
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
    let ordered = defaults_first(&list.items, diags);
    let servers: Vec<VirtualServer> =
        ordered.iter().map(|raw| virtual_server(raw, &outer, upstreams, diags)).collect();
    refuse_same_names(&ordered, &servers, diags);
    servers
}

/// The same virtual servers, the default of an address before the others of that address: the
/// model has no other mark for it.
fn defaults_first<'a>(
    raw: &'a [raw::VirtualServer],
    diags: &mut Diagnostics,
) -> Vec<&'a raw::VirtualServer> {
    let mut defaults: HashMap<SocketAddr, (usize, &Word)> = HashMap::new();
    for (index, server) in raw.iter().enumerate() {
        for word in &server.default_at {
            let Ok(address) = address::listen(&word.value) else { continue };
            if let Some((_, first)) = defaults.get(&address) {
                diags
                    .error(&word.place, format!("a duplicate default server for {address}"))
                    .expected("written again here")
                    .also(&first.place, "first written here");
            } else {
                defaults.insert(address, (index, word));
            }
        }
    }
    let mut waiting: Vec<usize> = (0..raw.len()).collect();
    let mut ordered = Vec::with_capacity(raw.len());
    while !waiting.is_empty() {
        let may_come = |index: &usize| {
            let listen = raw[*index].listen.iter().flat_map(|list| &list.items);
            let mut addresses = listen.filter_map(|word| address::listen(&word.value).ok());
            addresses.all(|address| {
                let default = defaults.get(&address).map(|(default, _)| default);
                default.is_none_or(|default| default == index || !waiting.contains(default))
            })
        };
        let next = waiting.iter().position(may_come).unwrap_or_else(|| {
            // Each would have to come before the other.
            if let Some(word) = waiting.iter().find_map(|index| raw[*index].default_at.first()) {
                diags
                    .error(&word.place, "these default servers cannot be had together yet")
                    .expected("one is the default here, another where both listen as well")
                    .help("let one `server` be the default of all addresses that both listen on");
            }
            0
        });
        ordered.push(&raw[waiting.remove(next)]);
    }
    ordered
}

fn virtual_server(
    raw: &raw::VirtualServer,
    outer: &RouteSettings,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> VirtualServer {
    let settings = raw.settings.resolve(outer, diags);
    VirtualServer {
        listen: listen(raw, diags),
        names: names(raw.names.as_ref(), diags),
        routes: routes(raw, &settings, upstreams, diags),
    }
}

fn listen(raw: &raw::VirtualServer, diags: &mut Diagnostics) -> Vec<SocketAddr> {
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
    let mut listen: Vec<(SocketAddr, &Word)> = Vec::new();
    for word in &list.items {
        let read = address::listen(&word.value);
        let Some(address) = diags.address(word, read) else { continue };
        if let Some((_, first)) = listen.iter().find(|(known, _)| *known == address) {
            diags
                .error(&word.place, format!("duplicate `listen` address {}", quote(&word.value)))
                .in_nginx(format!("a duplicate listen {address}"))
                .expected("written again here")
                .also(&first.place, "first written here");
        } else {
            listen.push((address, word));
        }
    }
    listen.into_iter().map(|(address, _)| address).collect()
}

fn names(list: Option<&List<Word>>, diags: &mut Diagnostics) -> Vec<String> {
    let mut names: Vec<(String, &Word)> = Vec::new();
    for word in list.iter().flat_map(|list| &list.items) {
        let name = word.value.to_ascii_lowercase();
        if !address::is_name(name.strip_prefix("*.").unwrap_or(&name)) {
            diags
                .error(&word.place, format!("{} is not a host name", quote(&word.value)))
                .expected("expected a name such as `example.org` or `*.example.org`");
        } else if let Some((_, first)) = names.iter().find(|(known, _)| *known == name) {
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

/// Two virtual servers of one address need different names: the second would never be asked.
fn refuse_same_names(
    raw: &[&raw::VirtualServer],
    servers: &[VirtualServer],
    diags: &mut Diagnostics,
) {
    let mut seen: HashMap<(SocketAddr, &str), &raw::VirtualServer> = HashMap::new();
    for (raw, server) in raw.iter().zip(servers) {
        let nameless = [String::new()];
        let names = if server.names.is_empty() { &nameless[..] } else { &server.names[..] };
        for name in names {
            let Some((address, first)) = server.listen.iter().find_map(|address| {
                let known = seen.iter().find(|((a, n), _)| a == address && n == name);
                known.map(|((address, _), first)| (*address, *first))
            }) else {
                continue;
            };
            let place = |raw: &raw::VirtualServer| {
                let words = raw.names.as_ref().map(|list| &list.items[..]).unwrap_or_default();
                let word = words.iter().find(|word| word.value.eq_ignore_ascii_case(name));
                word.map_or_else(|| raw.place.clone(), |word| word.place.clone())
            };
            let message = if name.is_empty() {
                format!("a second virtual server without names on `{address}`")
            } else {
                format!("duplicate name `{name}` on `{address}`")
            };
            diags
                .error(&place(raw), message)
                .in_nginx(format!("conflicting server name \"{name}\" on {address}"))
                .expected("written again here")
                .also(&place(first), "first written here");
        }
        for address in &server.listen {
            if server.names.is_empty() {
                seen.entry((*address, "")).or_insert(raw);
            }
            for name in &server.names {
                seen.entry((*address, name)).or_insert(raw);
            }
        }
    }
}

fn routes(
    raw: &raw::VirtualServer,
    settings: &RouteSettings,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> Vec<Route> {
    let Some(list) = &raw.routes else {
        if !raw.broken {
            diags
                .error(&raw.place, "`routes` is missing")
                .help("add `routes:` with an entry such as `/: host:port`");
        }
        return Vec::new();
    };
    if list.items.is_empty() && !list.broken {
        diags
            .error(&list.place, "`routes` is empty")
            .expected("expected at least one entry such as `/: host:port`");
    }
    let mut seen: HashMap<PathMatch, &Word> = HashMap::new();
    let mut routes = Vec::new();
    for raw in &list.items {
        let path = path(&raw.path, diags);
        if let Some(first) = path.as_ref().and_then(|path| seen.get(path)) {
            diags
                .error(&raw.path.place, format!("duplicate route {}", quote(&raw.path.value)))
                .in_nginx(format!("duplicate location \"{}\"", path_only(&raw.path.value)))
                .expected("written again here")
                .also(&first.place, "first written here");
        }
        let settings = raw.settings.resolve(settings, diags);
        let to = raw.to.as_ref().and_then(|to| target(to, upstreams, diags));
        if let (Some(path), Some((upstream, uri, proxy_host))) = (path, to) {
            seen.entry(path.clone()).or_insert(&raw.path);
            routes.push(Route { path, upstream, uri, proxy_host, settings });
        }
    }
    routes
}

/// A route without its `=`, as nginx names it.
fn path_only(route: &str) -> &str {
    route.trim_start_matches(['=', ' '])
}

fn path(word: &Word, diags: &mut Diagnostics) -> Option<PathMatch> {
    let exact = word.value.strip_prefix('=').map(str::trim_start);
    let path = exact.unwrap_or(&word.value);
    let bad = |c: char| c.is_control() || c == '?' || c == '#';
    if !path.starts_with('/') {
        let diagnostic = diags
            .error(&word.place, format!("a route begins with `/`, found {}", quote(&word.value)))
            .in_nginx(format!("location \"{}\" would never match", path_only(&word.value)))
            .expected("expected `/path` or `= /path`");
        if path.starts_with(['~', '^']) {
            diagnostic.help("regular expressions are not supported");
        }
        return None;
    }
    if path.contains(bad) {
        diags
            .error(&word.place, format!("{} matches no path", quote(&word.value)))
            .expected("expected a path without a query");
        return None;
    }
    let path = path.to_owned();
    Some(if exact.is_some() { PathMatch::Exact(path) } else { PathMatch::Prefix(path) })
}

/// The upstream, what replaces the matched part of the path, and nginx's `$proxy_host`.
fn target(
    word: &Word,
    upstreams: &mut Upstreams,
    diags: &mut Diagnostics,
) -> Option<(usize, Option<String>, String)> {
    let text = &word.value;
    if !text.contains([':', '/']) {
        let found = upstreams.find(text);
        if found.is_none() && !upstreams.broken() {
            undefined(word, upstreams, diags);
        }
        return found.map(|upstream| (upstream, None, text.clone()));
    }
    let read = address::target(text);
    let Target { host_text, host, port, uri } = diags.address(word, read)?;
    if port.is_none()
        && let Some(upstream) = upstreams.find(&host_text)
    {
        return Some((upstream, uri, host_text));
    }
    let port = port.unwrap_or(HTTP_PORT);
    let upstream = upstreams.implicit(&host_text, host, port);
    // As in ngx_http_proxy_set_vars, the scheme's own port is not shown.
    let proxy_host = if port == HTTP_PORT { host_text } else { format!("{host_text}:{port}") };
    Some((upstream, uri, proxy_host))
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
