//! What the directives of one block have said.

use std::collections::BTreeMap;

use super::grpc::{self, Grpc};

use crate::config::raw::{
    Dashboard, List, Listen, Method, Passive, Place, Queue, Route, Settings, Step, Sticky,
    Upstream, UpstreamServer, VirtualServer, Word,
};

/// Which block a directive stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Main,
    Events,
    Http,
    Server,
    Location,
    Upstream,
    /// `if` in a server.
    ServerIf,
    /// `if` in a location.
    LocationIf,
}

impl Context {
    pub(super) const ALL: [Self; 8] = [
        Self::Main,
        Self::Events,
        Self::Http,
        Self::Server,
        Self::Location,
        Self::Upstream,
        Self::ServerIf,
        Self::LocationIf,
    ];

    /// The bit that stands for it in a table row.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Where that is, in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Main => "the top of the main file",
            Self::Events => "`events`",
            Self::Http => "`http`",
            Self::Server => "`server`",
            Self::Location => "`location`",
            Self::Upstream => "`upstream`",
            Self::ServerIf => "`if` in `server`",
            Self::LocationIf => "`if` in `location`",
        }
    }
}

/// What one directive says of the whole process, though nginx lets each `server` and `location`
/// say its own.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) words: Vec<Word>,
    pub(super) place: Place,
}

impl Said {
    pub(super) fn same(&self, other: &Self) -> bool {
        self.words.iter().map(|w| &w.value).eq(other.words.iter().map(|w| &w.value))
    }
}

/// What has been said of the whole process, by directive.
pub(super) type Shared = BTreeMap<&'static str, Said>;

/// What the directives of one block have said. Which parts can be filled depends on the context;
/// the table sees to it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) context: Context,
    pub(super) place: Place,
    /// Whether part of it could not be read and was reported.
    pub(super) broken: bool,
    /// The directives that may be written only once, and where they were.
    pub(super) seen: Vec<(&'static str, Place)>,
    pub(super) shared: Shared,

    /// `http`, `server`, `location`: what is inherited.
    pub(super) settings: Settings,
    pub(super) headers: Vec<(Word, Word)>,
    /// What `grpc_*` says, as if it were `proxy_*`.
    pub(super) grpc: Grpc,
    /// What the blocks around this one say.
    pub(super) around: Grpc,
    /// What they say of `proxy_*`.
    pub(super) around_proxy: Settings,

    /// Main.
    pub(super) threads: Option<Word>,
    pub(super) user: Option<Word>,
    pub(super) pid: Option<Word>,
    pub(super) control: Option<Word>,
    pub(super) event_format: Option<Word>,
    pub(super) express: Option<Word>,
    pub(super) dashboard: Dashboard,
    pub(super) shutdown_timeout: Option<Word>,

    /// `server`.
    pub(super) listen: Vec<Listen>,
    pub(super) names: Option<List<Word>>,
    pub(super) routes: Vec<Route>,

    /// `server`, `location`: the rewrite module, each step with the position of its directive.
    pub(super) program: Vec<(usize, Step)>,
    /// The position in its block of the directive that is being read.
    pub(super) at: usize,

    /// `location`: which paths, as a route says it.
    pub(super) path: Option<String>,
    /// `location`.
    pub(super) to: Option<Word>,
    pub(super) internal: Option<Word>,

    /// `http`, `upstream`.
    pub(super) panic: Option<Word>,

    /// `upstream`.
    pub(super) servers: Vec<UpstreamServer>,
    pub(super) method: Option<Method>,
    pub(super) sticky: Option<Sticky>,
    /// The name of the zone of `sticky learn`.
    pub(super) zone: Option<Word>,
    pub(super) queue: Option<Queue>,
    pub(super) passive: Option<Passive>,
    pub(super) drain_timeout: Option<Word>,
    pub(super) send_proxy: Option<Word>,
    pub(super) keepalive: Option<Word>,
    pub(super) keepalive_idle: Option<Word>,
    pub(super) keepalive_requests: Option<Word>,
    pub(super) keepalive_time: Option<Word>,
}

impl Frame {
    pub(super) fn new(context: Context, place: Place) -> Self {
        Self {
            context,
            place,
            broken: false,
            seen: Vec::new(),
            shared: Shared::new(),
            settings: Settings::default(),
            headers: Vec::new(),
            grpc: Grpc::default(),
            around: Grpc::default(),
            around_proxy: Settings::default(),
            threads: None,
            user: None,
            pid: None,
            control: None,
            event_format: None,
            express: None,
            dashboard: Dashboard::default(),
            shutdown_timeout: None,
            listen: Vec::new(),
            names: None,
            routes: Vec::new(),
            program: Vec::new(),
            at: 0,
            path: None,
            to: None,
            internal: None,
            servers: Vec::new(),
            method: None,
            sticky: None,
            zone: None,
            queue: None,
            passive: None,
            panic: None,
            drain_timeout: None,
            send_proxy: None,
            keepalive: None,
            keepalive_idle: None,
            keepalive_requests: None,
            keepalive_time: None,
        }
    }

    /// A block in this one.
    pub(super) fn inner(&self, context: Context, place: Place) -> Self {
        Self {
            around: self.grpc.inside(&self.around),
            around_proxy: grpc::inside(&self.settings, &self.around_proxy),
            ..Self::new(context, place)
        }
    }

    /// A word that nobody typed, at the place of the block.
    pub(super) fn word(&self, value: &str) -> Word {
        Word { value: value.to_owned(), place: self.place.clone() }
    }

    fn list<T>(&self, items: Vec<T>) -> List<T> {
        List { items, broken: self.broken, place: self.place.clone() }
    }

    /// The steps of the rewrite module in the order of the file: blocks are read after all else.
    pub(super) fn take_program(&mut self) -> Vec<Step> {
        let mut steps = std::mem::take(&mut self.program);
        steps.sort_by_key(|(at, _)| *at);
        steps.into_iter().map(|(_, step)| step).collect()
    }

    pub(super) fn into_upstream(mut self, name: Word) -> Upstream {
        let servers = std::mem::take(&mut self.servers);
        // Who asks for connections to be kept gets nginx's `keepalive_timeout`.
        let asked = self.keepalive.is_some().then(|| self.word("60s"));
        Upstream {
            name,
            resolver: self.settings.resolver(),
            servers: Some(self.list(servers)),
            method: self.method,
            sticky: self.sticky,
            queue: self.queue,
            slow_start: None,
            passive: self.passive,
            panic: self.panic,
            drain_timeout: self.drain_timeout,
            send_proxy: self.send_proxy,
            refresh: None,
            health_checks: Vec::new(),
            keepalive_idle: self.keepalive_idle.or(asked),
            keepalive: self.keepalive,
            keepalive_requests: self.keepalive_requests,
            keepalive_time: self.keepalive_time,
            broken: self.broken,
        }
    }

    pub(super) fn into_server(mut self) -> VirtualServer {
        if self.listen.is_empty() && !self.broken {
            // What nginx listens on as root.
            self.listen.push(Listen::at(self.word("80")));
        }
        let listen = std::mem::take(&mut self.listen);
        let routes = std::mem::take(&mut self.routes);
        VirtualServer {
            listen: Some(self.list(listen)),
            routes: Some(self.list(routes)),
            program: self.take_program(),
            names: self.names,
            settings: self.settings,
            place: self.place,
            broken: self.broken,
        }
    }

    pub(super) fn into_route(mut self, path: Word) -> Route {
        let program = self.take_program();
        Route {
            program,
            to: self.to,
            internal: self.internal,
            routes: self.routes,
            settings: self.settings,
            ..Route::at(path)
        }
    }
}
