//! Which virtual server and which route a request belongs to.
//!
//! Precedence is nginx's: the virtual server by exact name, then by the longest wildcard, then the
//! first one of the listener; the route by exact path, then by the longest prefix. Paths come
//! normalized (`exchange` does that), names come lower case.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::model::{Config, PathMatch, VirtualServer};

/// Where a route stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteId {
    /// The index of the virtual server.
    pub server: usize,
    /// The index of the route in it.
    pub route: usize,
}

/// Finds the route of a request; made once from a configuration.
#[derive(Debug)]
pub struct Router {
    listeners: Vec<Listener>,
    servers: Vec<Paths>,
}

/// The virtual servers behind one address.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    exact: HashMap<String, usize>,
    /// What follows the `*` of a wildcard, with its dot, longest first.
    suffixes: Vec<(String, usize)>,
    default: usize,
}

/// The routes of one virtual server.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Vec<u8>, usize>,
    /// Longest first, so that the first match is the longest.
    prefixes: Vec<(Vec<u8>, usize)>,
}

impl Router {
    /// The router of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, server) in config.virtual_servers.iter().enumerate() {
            for address in &server.listen {
                let known = listeners.iter_mut().find(|l| l.address == *address);
                match known {
                    Some(listener) => listener.add(server, index),
                    None => {
                        let mut listener = Listener::new(*address, index);
                        listener.add(server, index);
                        listeners.push(listener);
                    }
                }
            }
        }
        for listener in &mut listeners {
            listener.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        }
        Self {
            listeners,
            servers: config
                .virtual_servers
                .iter()
                .map(|s| Paths::new(s.routes.iter().map(|r| &r.path)))
                .collect(),
        }
    }

    /// The addresses to listen on, in the order of the file; an index into them names a listener.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.listeners.iter().map(|l| l.address)
    }

    /// The virtual server for a host name at a listener.
    #[must_use]
    pub fn server(&self, listener: usize, host: &str) -> Option<usize> {
        self.listeners.get(listener).map(|l| l.server(host))
    }

    /// The route for a normalized path in a virtual server; none means 404.
    #[must_use]
    pub fn route(&self, server: usize, path: &[u8]) -> Option<RouteId> {
        let paths = self.servers.get(server)?;
        let exact = paths.exact.get(path);
        let prefix = || paths.prefixes.iter().find(|(p, _)| path.starts_with(p)).map(|(_, i)| i);
        exact.or_else(prefix).map(|route| RouteId { server, route: *route })
    }
}

impl Listener {
    fn new(address: SocketAddr, default: usize) -> Self {
        Self { address, exact: HashMap::new(), suffixes: Vec::new(), default }
    }

    /// The first virtual server with a name keeps it; `resolve` refuses a second one.
    fn add(&mut self, server: &VirtualServer, index: usize) {
        for name in &server.names {
            match name.strip_prefix('*') {
                Some(suffix) => self.suffixes.push((suffix.to_owned(), index)),
                None => {
                    self.exact.entry(name.clone()).or_insert(index);
                }
            }
        }
    }

    fn server(&self, host: &str) -> usize {
        let wildcard = |(suffix, index): &(String, usize)| {
            (host.len() > suffix.len() && host.ends_with(suffix.as_str())).then_some(*index)
        };
        let exact = self.exact.get(host).copied();
        exact.or_else(|| self.suffixes.iter().find_map(wildcard)).unwrap_or(self.default)
    }
}

impl Paths {
    fn new<'a>(matches: impl Iterator<Item = &'a PathMatch>) -> Self {
        let mut paths = Self::default();
        for (index, path) in matches.enumerate() {
            match path {
                PathMatch::Exact(path) => drop(paths.exact.insert(path.clone().into(), index)),
                PathMatch::Prefix(prefix) => paths.prefixes.push((prefix.clone().into(), index)),
            }
        }
        paths.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(routes: &[PathMatch]) -> Router {
        Router { listeners: Vec::new(), servers: vec![Paths::new(routes.iter())] }
    }

    fn route(router: &Router, path: &str) -> Option<usize> {
        router.route(0, path.as_bytes()).map(|id| id.route)
    }

    #[test]
    fn the_longest_prefix_wins_and_an_exact_path_before_it() {
        let prefix = |p: &str| PathMatch::Prefix(p.into());
        let router = paths(&[prefix("/"), prefix("/api"), PathMatch::Exact("/api/x".into())]);
        assert_eq!(route(&router, "/"), Some(0));
        assert_eq!(route(&router, "/index.html"), Some(0));
        assert_eq!(route(&router, "/api"), Some(1));
        assert_eq!(route(&router, "/apix"), Some(1), "a prefix is no path segment, as in nginx");
        assert_eq!(route(&router, "/api/x"), Some(2));
        assert_eq!(route(&router, "/api/xy"), Some(1));
    }

    #[test]
    fn without_a_match_there_is_no_route() {
        let router = paths(&[PathMatch::Prefix("/api".into())]);
        assert_eq!(route(&router, "/"), None);
    }

    #[test]
    fn a_name_wins_over_a_wildcard_and_the_first_server_is_the_default() {
        let mut listener = Listener::new(([0, 0, 0, 0], 80).into(), 0);
        for (index, names) in [["a.example"], ["*.example"], ["b.example"]].iter().enumerate() {
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            listener.add(&VirtualServer { listen: vec![], names, routes: vec![] }, index);
        }
        assert_eq!(listener.server("b.example"), 2);
        assert_eq!(listener.server("c.example"), 1);
        assert_eq!(listener.server(".example"), 0);
        assert_eq!(listener.server("elsewhere"), 0);
    }
}
