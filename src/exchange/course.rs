//! Where a request stands on its way through servers and routes, and what it has gathered there.
//!
//! It begins as the client sent it. Rewrites change path and query, internal redirects (`index`,
//! `try_files`, `error_page`) begin again with another route, patterns and `set` leave values.
//! nginx allows ten redirects; the eleventh is a 500.

use std::net::SocketAddr;
use std::sync::OnceLock;

use http::Method;

use super::limits::{Said, Stopped};
use crate::config::model::program::UserVariable;
use crate::config::model::{Config, PathMatch, Route, RouteSettings, VirtualServer};
use crate::config::pattern::Pattern;
use crate::limits::Slot;
use crate::route::{Captures, Found, Router};

/// Internal redirects and rewrites of one request at most (`NGX_HTTP_MAX_URI_CHANGES`).
const MOST_REDIRECTS: u8 = 10;

/// Where a request stands.
#[derive(Debug, Default)]
pub struct Course {
    /// The index of its virtual server.
    pub server: usize,
    /// The index of its route in the virtual server; none before it was looked for, and where none matches.
    pub route: Option<usize>,
    /// The path: normalized, then as rewritten (`$uri`).
    pub uri: Vec<u8>,
    /// The query without its question mark (`$args`).
    pub args: Vec<u8>,
    /// Whether path or query are no longer what the client sent: the upstream gets these.
    pub rewritten: bool,
    /// Whether `break` has kept a route though the path is another: the URI part of its target does
    /// not take the place of what the route matched (nginx's `valid_location`).
    pub kept_route: bool,
    /// Host and port that the request is handed to, as written (`$proxy_host`); empty before that.
    pub proxy_host: String,
    /// Whether robin itself has chosen the path: `internal` routes may be entered.
    pub internal: bool,
    /// Whether it is one that robin makes itself to ask about another.
    pub is_subrequest: bool,
    /// The method that the upstream gets, where an error page has made it `GET`.
    pub method: Option<Method>,
    /// The status that the answer gets whatever its own (`error_page`).
    pub status: Option<u16>,
    /// Whether an error page is being served: another error does not lead to one, unless `recursive_error_pages`.
    pub in_error_page: bool,
    /// Whether the path is below an `alias` that takes the place of all of it: `try_files` has found
    /// a file there (nginx `add_uri_to_alias`).
    pub below_alias: bool,
    /// The status of the answer that `return` is making.
    pub saying: Option<u16>,
    /// The client's address as a proxy that its route believes says it; none before that.
    pub client: Option<SocketAddr>,
    /// What `$limit_rate` or an upstream has set it to, in bytes a second; none where the route decides.
    pub limit_rate: Option<u64>,
    /// What limits of requests a second have said to it; none before they were asked.
    pub limit_req: Option<Said>,
    /// What limits of requests at once have said to it; none before they were asked.
    pub limit_conn: Option<Said>,
    /// What it takes up of those.
    pub slots: Vec<Slot>,
    /// What the log is yet to be told of it.
    pub stopped: Vec<Stopped>,
    /// What the groups of the last pattern have matched.
    pub captures: Captures,
    /// Values by slot: those that were set.
    values: Vec<Option<Vec<u8>>>,
    /// Values by slot: those that were worked out.
    worked_out: Vec<OnceLock<Vec<u8>>>,
    redirects: u8,
}

/// The request was redirected too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rewrite or internal redirection cycle")]
pub struct Cycle;

impl Course {
    /// A request for a normalized path and a query at a virtual server.
    #[must_use]
    pub fn new(server: usize, uri: Vec<u8>, args: Vec<u8>, variables: &[UserVariable]) -> Self {
        let mut worked_out = Vec::new();
        worked_out.resize_with(variables.len(), OnceLock::new);
        Self {
            server,
            uri,
            args,
            values: vec![None; variables.len()],
            worked_out,
            ..Self::default()
        }
    }

    /// Its virtual server.
    #[must_use]
    pub fn virtual_server<'c>(&self, config: &'c Config) -> Option<&'c VirtualServer> {
        config.virtual_servers.get(self.server)
    }

    /// Its route.
    #[must_use]
    pub fn route<'c>(&self, config: &'c Config) -> Option<&'c Route> {
        self.virtual_server(config)?.routes.get(self.route?)
    }

    /// What holds for it: its route's settings, else its virtual server's.
    #[must_use]
    pub fn settings<'c>(&self, config: &'c Config) -> Option<&'c RouteSettings> {
        let server = || self.virtual_server(config).map(|server| &server.settings);
        self.route(config).map(|route| &route.settings).or_else(server)
    }

    /// Which paths its route matches; within an `if`, the route around it.
    #[must_use]
    pub fn path_match<'c>(&self, config: &'c Config) -> Option<&'c PathMatch> {
        let mut route = self.route(config)?;
        let server = self.virtual_server(config)?;
        while route.path == PathMatch::If {
            route = server.routes.get(route.parent?)?;
        }
        Some(&route.path)
    }

    /// How many bytes of the path its route has matched; none for a pattern or a named route.
    #[must_use]
    pub fn matched(&self, config: &Config) -> Option<usize> {
        match self.path_match(config)? {
            PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::PrefixOnly(path) => {
                Some(path.len())
            }
            PathMatch::Pattern(_) | PathMatch::Named(_) | PathMatch::If => None,
        }
    }

    /// Looks for the route of the present path. Returns whether the path lacks a slash.
    pub fn find_route(&mut self, router: &Router) -> bool {
        let Found { route, matched, wants_slash } = router.route(self.server, &self.uri);
        self.route = route;
        for (pattern, captures) in matched {
            self.capture(pattern, captures);
        }
        wants_slash
    }

    /// Puts the named groups of a pattern into their variables, and all of them into `$1` to `$9`.
    pub fn capture(&mut self, pattern: &Pattern, captures: Captures) {
        for (group, slot) in pattern.slots() {
            let value = captures.get(*group).cloned().flatten().unwrap_or_default();
            self.set(*slot, value);
        }
        self.captures = captures;
    }

    /// The value that a slot was set to, or that was worked out for it before.
    #[must_use]
    pub fn value(&self, slot: usize) -> Option<&[u8]> {
        let set = self.values.get(slot)?.as_deref();
        set.or_else(|| self.worked_out.get(slot)?.get().map(Vec::as_slice))
    }

    /// Sets the value of a slot.
    pub fn set(&mut self, slot: usize, value: Vec<u8>) {
        if let Some(known) = self.values.get_mut(slot) {
            *known = Some(value);
        }
    }

    /// Keeps what was worked out for a slot: the first value of a request stays.
    pub fn remember(&self, slot: usize, value: &[u8]) {
        if let Some(known) = self.worked_out.get(slot) {
            known.get_or_init(|| value.to_vec());
        }
    }

    /// Counts a change of the path.
    ///
    /// # Errors
    /// [`Cycle`] after ten.
    pub fn count(&mut self) -> Result<(), Cycle> {
        self.redirects += 1;
        if self.redirects > MOST_REDIRECTS { Err(Cycle) } else { Ok(()) }
    }

    /// Begins again with another path, which may have a query (`ngx_http_internal_redirect`).
    ///
    /// # Errors
    /// [`Cycle`] after ten.
    pub fn redirect(&mut self, target: &[u8]) -> Result<(), Cycle> {
        let mut parts = target.splitn(2, |b| *b == b'?');
        let uri = parts.next().unwrap_or_default().to_vec();
        self.turn(uri, parts.next().unwrap_or_default().to_vec())
    }

    /// Begins again with another path and query.
    ///
    /// # Errors
    /// [`Cycle`] after ten.
    pub fn turn(&mut self, uri: Vec<u8>, args: Vec<u8>) -> Result<(), Cycle> {
        self.uri = uri;
        self.args = args;
        self.rewritten = true;
        self.kept_route = false;
        self.internal = true;
        self.below_alias = false;
        self.count()
    }

    /// The request that asks another path about this one: a `GET` that knows what this one knows
    /// (`ngx_http_subrequest`).
    ///
    /// # Errors
    /// [`Cycle`] after ten.
    pub fn subrequest(&self, target: &[u8]) -> Result<Self, Cycle> {
        let mut asked = Self {
            server: self.server,
            method: Some(Method::GET),
            is_subrequest: true,
            values: self.values.clone(),
            worked_out: self.worked_out.clone(),
            redirects: self.redirects,
            ..Self::default()
        };
        asked.redirect(target)?;
        Ok(asked)
    }

    /// The route of a name, `@` included.
    #[must_use]
    pub fn named(&self, config: &Config, name: &[u8]) -> Option<usize> {
        let routes = &self.virtual_server(config)?.routes;
        let is_it = |path: &PathMatch| matches!(path, PathMatch::Named(n) if n.as_bytes() == name);
        routes.iter().position(|route| is_it(&route.path))
    }

    /// Goes on with a named route (`ngx_http_named_location`).
    ///
    /// # Errors
    /// [`Cycle`] after ten.
    pub fn enter(&mut self, route: usize) -> Result<(), Cycle> {
        self.route = Some(route);
        self.internal = true;
        self.count()
    }
}
