//! Which virtual server and which route a request belongs to.
//!
//! Precedence is nginx's. The virtual server: by exact name, by the longest wildcard at the
//! beginning, by the longest at the end, by the first pattern, then the default of the listener.
//! The route: by exact path, else by the longest prefix and the routes inside of it, else by the
//! first pattern, unless the prefix says that no pattern is asked. Paths come normalized
//! (`exchange` does that), names come lower case.

use std::collections::HashMap;

use crate::config::model::{
    Action, Config, ListenAddress, PathMatch, Route, ServerName, VirtualServer,
};
use crate::config::pattern::Pattern;

/// What a pattern's groups have matched, the whole match first.
pub type Captures = Vec<Option<Vec<u8>>>;

/// The route that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<'r> {
    /// Its index in its virtual server; none where no route matches.
    pub route: Option<usize>,
    /// The patterns that matched on the way to it, and what: the outer one first.
    pub matched: Vec<(&'r Pattern, Captures)>,
    /// Whether the path lacks a slash at its end: the client is told to come back with it
    /// (`location /dir/` with `proxy_pass` or `robin_status`, asked for as `/dir`).
    pub wants_slash: bool,
}

/// Finds the route of a request; made once from a configuration.
#[derive(Debug)]
pub struct Router {
    listeners: Vec<Listener>,
    servers: Vec<Vec<Level>>,
}

/// The virtual servers behind one address.
#[derive(Debug)]
struct Listener {
    address: ListenAddress,
    exact: HashMap<String, usize>,
    /// What follows the `*` of a wildcard, with its dot, longest first.
    suffixes: Vec<(String, usize)>,
    /// What comes before the `*`, with its dot, longest first.
    prefixes: Vec<(String, usize)>,
    patterns: Vec<(Pattern, usize)>,
    default: usize,
}

/// The routes of one level of one virtual server: its own, or those inside of a route.
#[derive(Debug, Default)]
struct Level {
    exact: HashMap<Vec<u8>, usize>,
    /// By path, each once.
    prefixes: Vec<Prefix>,
    patterns: Vec<(Pattern, usize)>,
}

#[derive(Debug)]
struct Prefix {
    path: Vec<u8>,
    route: usize,
    /// The longest of the others that it begins with.
    outer: Option<usize>,
    /// Whether no pattern is asked where it matches.
    alone: bool,
    /// Whether its path without the slash at the end is answered with a redirect.
    redirects: bool,
}

impl Router {
    /// The router of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, server) in config.virtual_servers.iter().enumerate() {
            for listen in &server.listen {
                let known = listeners.iter().position(|l| l.address == listen.address);
                let known = known.unwrap_or_else(|| {
                    listeners.push(Listener::new(listen.address.clone(), index));
                    listeners.len() - 1
                });
                listeners[known].add(server, index);
                if listen.default {
                    listeners[known].default = index;
                }
            }
        }
        for listener in &mut listeners {
            listener.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
            listener.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        let servers = config.virtual_servers.iter().map(|s| levels(&s.routes)).collect();
        Self { listeners, servers }
    }

    /// The addresses to listen on, in the order of the file; an index into them names a listener.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &ListenAddress> {
        self.listeners.iter().map(|l| &l.address)
    }

    /// The virtual server of a listener for requests that name no other.
    #[must_use]
    pub fn default(&self, listener: usize) -> Option<usize> {
        self.listeners.get(listener).map(|l| l.default)
    }

    /// Gives the listeners of an older router the numbers that they had there: connections know
    /// theirs by its number. One that is left out keeps its own too, for a request under way.
    pub fn keep_numbers(&mut self, known: &[ListenAddress]) {
        let mut listeners = std::mem::take(&mut self.listeners);
        for address in known {
            let same = listeners.iter().position(|listener| listener.address == *address);
            let gone = || Listener::new(address.clone(), 0);
            self.listeners.push(same.map_or_else(gone, |index| listeners.remove(index)));
        }
        self.listeners.extend(listeners);
    }

    /// The virtual server for a host name at a listener, and the pattern that matched it.
    #[must_use]
    pub fn server(
        &self,
        listener: usize,
        host: &str,
    ) -> Option<(usize, Option<(&Pattern, Captures)>)> {
        self.listeners.get(listener).map(|l| l.server(host))
    }

    /// The route for a normalized path in a virtual server.
    #[must_use]
    pub fn route(&self, server: usize, path: &[u8]) -> Found<'_> {
        let mut found = Found::default();
        if let Some(levels) = self.servers.get(server) {
            find(levels, 0, path, &mut found);
        }
        found
    }
}

/// The levels of a virtual server: its own first, then one for each of its routes.
fn levels(routes: &[Route]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    levels.resize_with(routes.len() + 1, Level::default);
    for (index, route) in routes.iter().enumerate() {
        let level = &mut levels[route.parent.map_or(0, |parent| parent + 1)];
        let (path, alone) = match &route.path {
            PathMatch::Exact(path) => {
                level.exact.entry(path.clone().into()).or_insert(index);
                continue;
            }
            PathMatch::Pattern(pattern) => {
                level.patterns.push((pattern.clone(), index));
                continue;
            }
            PathMatch::Named(_) | PathMatch::If => continue,
            PathMatch::Prefix(path) => (path, false),
            PathMatch::PrefixOnly(path) => (path, true),
        };
        let below = matches!(route.action, Action::Proxy(_) | Action::Status);
        let redirects = path.ends_with('/') && below;
        let path = path.clone().into();
        level.prefixes.push(Prefix { path, route: index, outer: None, alone, redirects });
    }
    levels.iter_mut().for_each(Level::sort);
    levels
}

impl Level {
    fn sort(&mut self) {
        // The first of a path counts.
        self.prefixes.sort_by(|a, b| a.path.cmp(&b.path));
        self.prefixes.dedup_by(|next, first| next.path == first.path);
        let mut around: Vec<usize> = Vec::new();
        for index in 0..self.prefixes.len() {
            let (before, from) = self.prefixes.split_at_mut(index);
            around.retain(|outer| from[0].path.starts_with(&before[*outer].path));
            from[0].outer = around.last().copied();
            around.push(index);
        }
    }

    /// The longest prefix of a path. Of what stands before the path in the order of the alphabet, the last one
    /// begins with it: whatever stands between the two does.
    fn longest(&self, path: &[u8]) -> Option<&Prefix> {
        let mut at =
            self.prefixes.partition_point(|prefix| &prefix.path[..] <= path).checked_sub(1);
        loop {
            let prefix = self.prefixes.get(at?)?;
            if path.starts_with(&prefix.path) {
                return Some(prefix);
            }
            at = prefix.outer;
        }
    }

    /// The prefix that a path lacks nothing of but the slash at its end.
    fn directory(&self, path: &[u8]) -> Option<&Prefix> {
        let found = self.prefixes.binary_search_by(|prefix| {
            let (same, rest) = prefix.path.split_at(path.len().min(prefix.path.len()));
            // What is no longer than the path stands before the path with a slash.
            same.cmp(path).then_with(|| rest.cmp(b"/"))
        });
        self.prefixes.get(found.ok()?).filter(|prefix| prefix.redirects)
    }
}

/// Looks in a level and below; true when the search is over (`ngx_http_core_find_location`).
fn find<'r>(levels: &'r [Level], level: usize, path: &[u8], found: &mut Found<'r>) -> bool {
    let Some(here) = levels.get(level) else { return false };
    if let Some(route) = here.exact.get(path) {
        found.route = Some(*route);
        return true;
    }
    let prefix = here.longest(path);
    let whole = prefix.is_some_and(|prefix| prefix.path.len() == path.len());
    if !whole && let Some(directory) = here.directory(path) {
        (found.route, found.wants_slash) = (Some(directory.route), true);
        return true;
    }
    if let Some(prefix) = prefix {
        found.route = Some(prefix.route);
        if find(levels, prefix.route + 1, path, found) {
            return true;
        }
        if prefix.alone {
            return false;
        }
    }
    for (pattern, route) in &here.patterns {
        if let Some(captures) = pattern.captures(path) {
            found.route = Some(*route);
            found.matched.push((pattern, captures));
            find(levels, route + 1, path, found);
            return true;
        }
    }
    false
}

impl Listener {
    fn new(address: ListenAddress, default: usize) -> Self {
        Self {
            address,
            exact: HashMap::new(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            patterns: Vec::new(),
            default,
        }
    }

    /// The first virtual server with a name keeps it; `resolve` refuses a second one.
    fn add(&mut self, server: &VirtualServer, index: usize) {
        for name in &server.names {
            match name {
                ServerName::Exact(name) => {
                    self.exact.entry(name.clone()).or_insert(index);
                }
                ServerName::Suffix(suffix) => self.suffixes.push((suffix.clone(), index)),
                ServerName::Prefix(prefix) => self.prefixes.push((prefix.clone(), index)),
                ServerName::Pattern(pattern) => self.patterns.push((pattern.clone(), index)),
            }
        }
    }

    fn server(&self, host: &str) -> (usize, Option<(&Pattern, Captures)>) {
        let longer = |part: &str| host.len() > part.len();
        let suffix = || {
            let mut suffixes = self.suffixes.iter();
            suffixes.find(|(suffix, _)| longer(suffix) && host.ends_with(suffix.as_str()))
        };
        let prefix = || {
            let mut prefixes = self.prefixes.iter();
            prefixes.find(|(prefix, _)| longer(prefix) && host.starts_with(prefix.as_str()))
        };
        let named = self.exact.get(host).copied();
        let named = named.or_else(|| suffix().or_else(prefix).map(|(_, index)| *index));
        if let Some(index) = named {
            return (index, None);
        }
        let pattern = self.patterns.iter().find_map(|(pattern, index)| {
            let captures = pattern.captures(host.as_bytes())?;
            Some((*index, Some((pattern, captures))))
        });
        pattern.unwrap_or((self.default, None))
    }
}

#[cfg(test)]
mod tests;
