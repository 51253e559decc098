//! What was typed, before anything is known of its meaning: the tree that both doors fill.
//!
//! A leaf is a word with its place. Nothing here has a default, a type or a limit: all that is
//! [`super::resolve`]'s. A door reports only what it cannot put into this tree (an unknown key, a
//! list where a word belongs) and marks the list it left incomplete, so that `resolve` does not
//! complain of what the door has complained of already.

mod health_check;
mod upstream;

use std::fmt;
use std::sync::Arc;

pub(crate) use self::health_check::{HealthCheck, ProbeTls};
pub(crate) use self::upstream::{Learn, Method, Passive, Queue, Sticky, Upstream, UpstreamServer};
use super::diagnostics::Span;

/// Finds what a door has numbered. Most places are never asked for, so a door may do the work of
/// finding one when a message needs it.
pub(crate) trait Locate: fmt::Debug + Send + Sync {
    /// Where the thing with this number was typed.
    fn locate(&self, number: usize) -> Span;
}

/// Where something was typed: a file and a number that the file's door gave out.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: Arc<dyn Locate>,
    number: usize,
}

impl Place {
    /// The place with this number in `file`.
    #[must_use]
    pub(crate) fn new(file: Arc<dyn Locate>, number: usize) -> Self {
        Self { file, number }
    }
}

impl From<&Place> for Span {
    fn from(place: &Place) -> Self {
        place.file.locate(place.number)
    }
}

/// A value with the place where it was typed.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A leaf: text as typed, with what it says of the environment filled in.
pub(crate) type Word = Spanned<String>;

/// Several of a kind.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    /// What could be read of them, in the order of the file.
    pub items: Vec<T>,
    /// Whether some could not be read and were reported.
    pub broken: bool,
    /// Where the list begins.
    pub place: Place,
}

/// A name with its arguments and, in braces, what belongs to it: nginx's form of a setting, which
/// YAML writes as a key with one text or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Its name.
    pub name: Word,
    /// What follows the name.
    pub args: Vec<Word>,
    /// What stands in braces; none where a `;` ends it.
    pub block: Option<Vec<Statement>>,
}

/// A step of the rewrite module, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// `set`, `rewrite`, `return`, `break`.
    Statement(Statement),
    /// `if (…) { … }`.
    If {
        /// What stands in the brackets.
        condition: Vec<Word>,
        /// What stands in the braces, as a route without a path of its own.
        route: Box<Route>,
    },
}

/// A whole configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Whether answers bear nginx's name where nothing else is said.
    pub as_nginx: bool,
    /// `map`, `geo`, `split_clients`, `log_format`, `match`: what all of it may refer to.
    pub declarations: Vec<Statement>,
    /// `error_log`: the file, and the level.
    pub error_log: Option<(Word, Option<Word>)>,
    /// `threads`.
    pub threads: Option<Word>,
    /// `user`.
    pub user: Option<Word>,
    /// `pid`.
    pub pid: Option<Word>,
    /// `control`.
    pub control: Option<Word>,
    /// `resolver`.
    pub resolver: Option<Resolver>,
    /// `trust`.
    pub trust: Option<List<Word>>,
    /// `dashboard`.
    pub dashboard: Dashboard,
    /// `status`.
    pub status: Option<Word>,
    /// `event_format`.
    pub event_format: Option<Word>,
    /// `shutdown_timeout`.
    pub shutdown_timeout: Option<Word>,
    /// `keepalive_timeout`.
    pub keepalive_timeout: Option<Word>,
    /// `client_header_timeout`.
    pub client_header_timeout: Option<Word>,
    /// `express`.
    pub express: Option<Word>,
    /// `panic`, for the upstreams that say nothing of it.
    pub panic: Option<Word>,
    /// `upstreams`.
    pub upstreams: Option<List<Upstream>>,
    /// Settings for every virtual server.
    pub settings: Settings,
    /// `listen`, `names` and `routes` at the top: the short form of one virtual server.
    pub server: VirtualServer,
    /// `virtual_servers`.
    pub virtual_servers: Option<List<VirtualServer>>,
}

/// `resolver`.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    /// Addresses of DNS servers.
    pub servers: Option<List<Word>>,
    /// `timeout`.
    pub timeout: Option<Word>,
    /// `ipv4`.
    pub ipv4: Option<Word>,
    /// `ipv6`.
    pub ipv6: Option<Word>,
}

impl Resolver {
    /// What nginx's `resolver` says: servers, and options such as `ipv6=off`; as there, addresses of both
    /// families are used unless one is switched off. What `valid=` says is heeded nowhere: names are
    /// looked up once a second.
    pub(crate) fn of(words: &[Word], place: &Place, timeout: Option<&Word>) -> Self {
        const NO_EFFECT: [&str; 2] = ["valid=", "status_zone="];
        let mut resolver =
            Self { servers: None, timeout: timeout.cloned(), ipv4: None, ipv6: None };
        let mut items = Vec::new();
        for word in words {
            let value = |name: &str| {
                let value = word.value.strip_prefix(name)?.to_owned();
                Some(Word { value, place: word.place.clone() })
            };
            if let Some(ipv4) = value("ipv4=") {
                resolver.ipv4 = Some(ipv4);
            } else if let Some(ipv6) = value("ipv6=") {
                resolver.ipv6 = Some(ipv6);
            } else if !NO_EFFECT.iter().any(|option| word.value.starts_with(option)) {
                items.push(word.clone());
            }
        }
        resolver.servers = Some(List { items, broken: false, place: place.clone() });
        let both = || Word { value: "on".to_owned(), place: place.clone() };
        resolver.ipv6.get_or_insert_with(both);
        resolver
    }
}

/// `dashboard`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dashboard {
    /// `enabled`, or the one word of the short form.
    pub enabled: Option<Word>,
    /// `summary`.
    pub summary: Option<Word>,
}

/// An entry of `virtual_servers`, or the short form of the only one.
#[derive(Clone, Debug)]
pub(crate) struct VirtualServer {
    /// `listen`.
    pub listen: Option<List<Listen>>,
    /// `names`.
    pub names: Option<List<Word>>,
    /// What runs before a route is looked for.
    pub program: Vec<Step>,
    /// `routes`.
    pub routes: Option<List<Route>>,
    /// Settings for each of its routes; none in the short form, where the top's are the same.
    pub settings: Settings,
    /// Where it begins.
    pub place: Place,
    /// Whether part of it could not be read and was reported.
    pub broken: bool,
}

/// An entry of `listen`.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// The address.
    pub address: Word,
    /// nginx's `default_server`. YAML has no word for it: there the first in the file is the default.
    pub default: Option<Word>,
    /// `ssl`.
    pub tls: Option<Word>,
    /// `http2`.
    pub http2: Option<Word>,
    /// `proxy_protocol`: `on`, or networks with commas between them.
    pub proxy_protocol: Option<Word>,
    /// `max_connections`.
    pub max_connections: Option<Word>,
}

impl Listen {
    /// An entry that says nothing but its address.
    pub(crate) fn at(address: Word) -> Self {
        Self {
            address,
            default: None,
            tls: None,
            http2: None,
            proxy_protocol: None,
            max_connections: None,
        }
    }
}

/// An entry of `routes`.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Which paths, as typed: `/path`, `= /path`, `^~ /path`, `~ pattern`, `~* pattern` or `@name`.
    pub path: Word,
    /// Whether it is internal.
    pub internal: Option<Word>,
    /// Where to; none for a route that serves files, and where it was reported.
    pub to: Option<Word>,
    /// What runs once it is chosen.
    pub program: Vec<Step>,
    /// The routes inside of it.
    pub routes: Vec<Route>,
    /// Its own settings.
    pub settings: Settings,
}

impl Route {
    /// A route that says nothing but its path.
    pub(crate) fn at(path: Word) -> Self {
        let (program, routes) = (Vec::new(), Vec::new());
        Self { path, internal: None, to: None, program, routes, settings: Settings::default() }
    }
}

/// What may be set for everything, for a virtual server, for a route; the innermost wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// `headers`: names with templates.
    pub headers: Vec<(Word, Word)>,
    /// `timeouts.connect`.
    pub connect_timeout: Option<Word>,
    /// `timeouts.send`.
    pub send_timeout: Option<Word>,
    /// `timeouts.read`.
    pub read_timeout: Option<Word>,
    /// `retry.tries`.
    pub retry_tries: Option<Word>,
    /// `retry.timeout`.
    pub retry_timeout: Option<Word>,
    /// `retry.non_idempotent`.
    pub retry_non_idempotent: Option<Word>,
    /// `retry.on`: after which failures.
    pub retry_on: Option<List<Word>>,
    /// `retry.statuses`.
    pub retry_statuses: Option<List<Word>>,
    /// `retry.try_timeout`.
    pub retry_try_timeout: Option<Word>,
    /// `retry.budget`.
    pub retry_budget: Option<Budget>,
    /// `retry.hedge`.
    pub retry_hedge: Option<Word>,
    /// `client_max_body_size`.
    pub client_max_body_size: Option<Word>,
    /// `websocket`.
    pub websocket: Option<Word>,
    /// `server_header`.
    pub server_header: Option<Word>,
    /// `error_details`.
    pub error_details: Option<Word>,
    /// Settings that both doors write in nginx's words: of one name, all of them replace what an
    /// outer level says.
    pub statements: Vec<Statement>,
}

/// `retry.budget`.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// `percent`, or the one word of the short form.
    pub percent: Option<Word>,
    /// `floor`.
    pub floor: Option<Word>,
}

impl Settings {
    /// All statements of a name, in their order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |statement| statement.name.value == name)
    }

    /// The last statement of a name.
    pub(crate) fn last(&self, name: &str) -> Option<&Statement> {
        self.statements.iter().rfind(|statement| statement.name.value == name)
    }

    /// What `resolver` and `resolver_timeout` say.
    pub(crate) fn resolver(&self) -> Option<Resolver> {
        let said = self.last("resolver")?;
        Some(Resolver::of(&said.args, &said.name.place, self.word("resolver_timeout")))
    }

    /// The only argument of a statement.
    pub(crate) fn word(&self, name: &str) -> Option<&Word> {
        self.last(name).and_then(|statement| statement.args.first())
    }
}
