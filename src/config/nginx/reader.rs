//! From directives to the raw tree: holds each to its row, and each block to what it must have.
//!
//! In a block, simple directives are read before blocks and `server` last, as nginx merges levels
//! after it has read them all: a location knows what the server says below it.

use std::path::PathBuf;

use super::frame::{Context, Frame, Said, Shared};
use super::parser::{Block, Directive};
use super::set;
use super::table::{self, Body, Class, Found, Row, Setter};
use crate::config::address;
use crate::config::diagnostics::{Diagnostics, Span, nearest, quote};
use crate::config::raw::{
    Config, List, Place, Resolver, Settings, Statement, Upstream, VirtualServer, Word,
};

/// For a file whose name does not say what it holds.
pub(super) const YAML: &str = "this looks like YAML: name the file with `.yaml` at its end";

/// What has been read of a configuration.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    pub(super) diags: &'d mut Diagnostics,
    /// What the names of files begin at, unless they begin with a slash.
    prefix: PathBuf,
    /// Whether what is not supported is left out.
    lenient: bool,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) servers: Vec<VirtualServer>,
    /// `map`, `geo`, `split_clients`, `log_format`, `match`.
    pub(super) declarations: Vec<Statement>,
    /// The error log of the main level, and the first of those further in.
    pub(super) error_log: Option<(Word, Option<Word>)>,
    pub(super) inner_error_log: Option<(Word, Option<Word>)>,
    /// Where locations lead.
    pub(super) targets: Vec<Word>,
    /// The zones of `sticky learn`, each with the name of its upstream.
    zones: Vec<(Word, Word)>,
    /// What `server` and `location` blocks say of the whole process.
    pub(super) server_shared: Vec<Shared>,
    pub(super) location_shared: Vec<Shared>,
    /// The `http` block, once it is read.
    pub(super) http: Option<Frame>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(diags: &'d mut Diagnostics, prefix: PathBuf, lenient: bool) -> Self {
        Self {
            diags,
            prefix,
            lenient,
            upstreams: Vec::new(),
            servers: Vec::new(),
            declarations: Vec::new(),
            error_log: None,
            inner_error_log: None,
            targets: Vec::new(),
            zones: Vec::new(),
            server_shared: Vec::new(),
            location_shared: Vec::new(),
            http: None,
        }
    }

    /// The name of a file as seen from the working directory.
    pub(super) fn rooted(&self, word: &Word) -> Word {
        let value = self.prefix.join(&word.value).to_string_lossy().into_owned();
        // A word without a slash would be no path to `resolve`.
        let value = if value.contains('/') { value } else { format!("./{value}") };
        Word { value, ..word.clone() }
    }

    /// Reads what `-g` says and the main file; `start` is the file's first byte.
    pub(super) fn config(
        mut self,
        globals: Option<&Block>,
        block: &Block,
        start: &Place,
    ) -> Option<Config> {
        let has = |name: &str| block.items.iter().any(|d| d.name.value == name);
        let bare = !has("http") && !has("events") && (has("server") || has("upstream"));
        let mut main = Frame::new(Context::Main, start.clone());
        if let Some(globals) = globals {
            self.block(globals, &mut main);
        }
        if bare {
            let http = main.inner(Context::Http, start.clone());
            set::read_http(&mut self, block, http);
        } else {
            self.block(block, &mut main);
        }
        let Some(http) = self.http.take() else {
            if !main.broken {
                self.diags
                    .error(start, "no \"http\" section in configuration")
                    .expected("expected `http { }`, or a `server { }` alone");
            }
            return None;
        };
        // nginx never panics.
        let panic = http.panic.clone().unwrap_or_else(|| http.word("off"));
        // A bare `server` has no main context that could have said it.
        let one = (!bare).then(|| http.word("1"));
        let shared = self.shared(http.shared);
        let place = http.place;
        let list = |items| List { items, broken: http.broken, place: place.clone() };
        Some(Config {
            as_nginx: false,
            declarations: self.declarations,
            error_log: self.error_log.or(self.inner_error_log),
            threads: main.threads.or(one),
            user: main.user,
            pid: main.pid,
            control: main.control,
            resolver: resolver(&shared),
            trust: None,
            status: None,
            dashboard: main.dashboard,
            event_format: main.event_format,
            shutdown_timeout: main.shutdown_timeout,
            keepalive_timeout: first(&shared, "keepalive_timeout"),
            client_header_timeout: first(&shared, "client_header_timeout"),
            express: main.express,
            panic: Some(panic),
            upstreams: Some(List {
                items: self.upstreams,
                broken: http.broken,
                place: place.clone(),
            }),
            settings: http.settings,
            server: VirtualServer {
                listen: None,
                program: Vec::new(),
                names: None,
                routes: None,
                settings: Settings::default(),
                place: place.clone(),
                broken: true,
            },
            virtual_servers: Some(list(self.servers)),
        })
    }

    /// Reads the directives of a block.
    pub(super) fn block(&mut self, block: &Block, frame: &mut Frame) {
        frame.broken |= block.broken;
        let order = |directive: &Directive| match &directive.block {
            None => 0,
            Some(_) if directive.name.value != "server" => 1,
            Some(_) => 2,
        };
        for step in 0..=2 {
            let items = block.items.iter().enumerate();
            for (at, directive) in items.filter(|(_, directive)| order(directive) == step) {
                frame.at = at;
                if !self.directive(directive, frame) {
                    frame.broken = true;
                }
            }
        }
    }

    /// Reads one directive; false when it is refused.
    fn directive(&mut self, directive: &Directive, frame: &mut Frame) -> bool {
        let name = directive.name.value.as_str();
        match table::find(name, frame.context) {
            Found::Row(row) => {
                if !self.fits(directive, row) || !self.is_new(directive, row, frame) {
                    return false;
                }
                match row.class {
                    Class::Works(setter) => self.set(setter, directive, frame),
                    Class::NoEffect(why) => self.has_no_effect(directive, why),
                }
                return true;
            }
            Found::Elsewhere(contexts) => {
                let places = Context::ALL.iter().filter(|c| contexts & c.bit() != 0);
                let places: Vec<&str> = places.map(|c| c.name()).collect();
                self.diags
                    .error(
                        &directive.name.place,
                        format!("\"{name}\" directive is not allowed here"),
                    )
                    .expected(format!("it belongs in {}", places.join(" or ")));
            }
            Found::Unsupported(_) if self.lenient => {
                let message = format!("\"{name}\" directive is not supported, it is left out");
                self.diags.warn(&directive.name.place, message);
                return true;
            }
            Found::Unsupported(group) => {
                let yet = if group.later { " yet" } else { "" };
                self.diags
                    .error(
                        &directive.name.place,
                        format!("\"{name}\" directive is not supported{yet}"),
                    )
                    .expected("nginx has it, robin does not")
                    .help(group.instead);
            }
            Found::Unknown => self.unknown(directive),
        }
        false
    }

    fn has_no_effect(&mut self, directive: &Directive, why: &str) {
        // What stands in the place of an `include` is told of by itself.
        if directive.name.value != "include" {
            let message = format!("\"{}\" has no effect: {why}", directive.name.value);
            let note = Diagnostics::note(&directive.name.place, message);
            self.diags.notes.no_effect.push(note);
        }
    }

    fn unknown(&mut self, directive: &Directive) {
        let name = directive.name.value.as_str();
        let diagnostic = self
            .diags
            .error(
                &directive.name.place,
                format!("unknown directive \"{}\"", quote(name).trim_matches('`')),
            )
            .expected("expected the name of a directive");
        if name.len() > 1 && name.ends_with(':') {
            diagnostic.help(YAML);
        } else if let Some(known) = nearest(name, table::names()) {
            diagnostic.help(format!("did you mean `{known}`?"));
        }
    }

    /// Whether a directive has the arguments and the block that its row asks for.
    fn fits(&mut self, directive: &Directive, row: &Row) -> bool {
        let name = row.name;
        match (&directive.block, row.body) {
            (Some(_), Body::None) => {
                self.diags
                    .error(
                        &directive.end,
                        format!("directive \"{name}\" is not terminated by \";\""),
                    )
                    .expected("expected `;`");
                return false;
            }
            (None, Body::Block | Body::Entries) => {
                self.diags
                    .error(&directive.end, format!("directive \"{name}\" has no opening \"{{\""))
                    .expected("expected `{`");
                return false;
            }
            _ => {}
        }
        if !row.takes(directive.args.len()) {
            let help = missing_semicolon(directive);
            let diagnostic = self
                .diags
                .error(
                    &directive.name.place,
                    format!("invalid number of arguments in \"{name}\" directive"),
                )
                .expected(format!("{}, found {}", row.arity(), directive.args.len()));
            if let Some(help) = help {
                diagnostic.help(help);
            }
            return false;
        }
        true
    }

    fn is_new(&mut self, directive: &Directive, row: &Row, frame: &mut Frame) -> bool {
        if row.often {
            return true;
        }
        if let Some((_, first)) = frame.seen.iter().find(|(seen, _)| *seen == row.name) {
            self.diags
                .error(&directive.name.place, format!("\"{}\" directive is duplicate", row.name))
                .expected("written again here")
                .also(first, "first written here");
            return false;
        }
        frame.seen.push((row.name, directive.name.place.clone()));
        true
    }

    fn set(&mut self, setter: Setter, directive: &Directive, frame: &mut Frame) {
        match setter {
            Setter::Call(call) | Setter::Kept(call) => call(self, directive, frame),
            Setter::Statement => frame.settings.statements.push(directive.statement()),
            Setter::Value(kind, slot) => {
                let word = &directive.args[0];
                if self.is(kind, directive, word) {
                    *slot(frame) = Some(word.clone());
                }
            }
            Setter::Only(values, instead) => self.only(directive, values, instead),
        }
    }

    /// Refuses every value but these.
    fn only(&mut self, directive: &Directive, values: &[&str], instead: &str) {
        let words: Vec<&str> = directive.args.iter().map(|word| word.value.as_str()).collect();
        if matches!(words[..], [word] if values.contains(&word)) {
            return;
        }
        let message =
            format!("\"{} {}\" is not supported yet", directive.name.value, words.join(" "));
        self.diags
            .error(&directive.args[0].place, message)
            .expected("robin cannot do this")
            .help(instead);
    }

    /// nginx's `invalid parameter`.
    pub(super) fn invalid_parameter(&mut self, directive: &Directive, word: &Word, expected: &str) {
        let help = missing_semicolon(directive);
        let diagnostic = self
            .diags
            .error(&word.place, format!("invalid parameter \"{}\"", word.value))
            .expected(expected);
        if let Some(help) = help {
            diagnostic.help(help);
        }
    }

    /// One word for each that the whole process has: what `http` says, or every `server`. Of what
    /// differs from it is warned: with nginx's defaults or another server's the file still serves.
    fn shared(&mut self, mut http: Shared) -> Shared {
        let servers = std::mem::take(&mut self.server_shared);
        let locations = std::mem::take(&mut self.location_shared);
        if let Some((head, rest)) = servers.split_first() {
            for (name, said) in head {
                let all = rest.iter().all(|s| s.get(name).is_some_and(|other| other.same(said)));
                if all && !http.contains_key(name) {
                    http.insert(name, said.clone());
                }
            }
        }
        for (name, said) in servers.iter().chain(&locations).flatten() {
            let outer = http.get(name);
            if outer.is_some_and(|outer| outer.same(said)) {
                continue;
            }
            let holds = match outer {
                Some(outer) => format!("line {}", Span::from(&outer.place).line_column().0),
                None => "the default".to_owned(),
            };
            let message =
                format!("\"{name}\" holds for the whole process here: {holds} is taken, not this");
            self.diags.warn(&said.place, message);
        }
        http
    }

    /// Takes note of the sessions of an upstream; a name is for one.
    pub(super) fn zone_of_sessions(&mut self, zone: Word, upstream: &Word) {
        let known = self.zones.iter().find(|(known, _)| known.value == zone.value);
        if let Some((first, other)) = known {
            let message = format!(
                "sticky zone \"{}\" is already used in upstream \"{}\"",
                zone.value, other.value
            );
            self.diags
                .error(&zone.place, message)
                .expected("expected a name of its own")
                .also(&first.place, "first used here");
        }
        self.zones.push((zone, upstream.clone()));
    }

    /// Refuses a port behind the name of an upstream that has ports of its own.
    pub(super) fn refuse_port_of_upstream(&mut self) {
        for word in &self.targets {
            let Ok(target) = address::target(&word.value) else { continue };
            let Some(port) = target.port else { continue };
            let named = |upstream: &&Upstream| upstream.name.value == target.host_text;
            if let Some(upstream) = self.upstreams.iter().find(named) {
                self.diags
                    .error(
                        &word.place,
                        format!("upstream \"{}\" may not have port {port}", target.host_text),
                    )
                    .expected("expected its name without a port")
                    .also(&upstream.name.place, "its servers have their own");
            }
        }
    }
}

/// Where the name of a directive stands as an argument at the beginning of a line, a `;` is missing
/// before it.
fn missing_semicolon(directive: &Directive) -> Option<String> {
    let line = |word: &Word| Span::from(&word.place).line_column().0;
    let words: Vec<&Word> = std::iter::once(&directive.name).chain(&directive.args).collect();
    words.windows(2).find_map(|pair| {
        let (before, after) = (line(pair[0]), line(pair[1]));
        (before < after && table::is_known(&pair[1].value))
            .then(|| format!("a `;` is missing at the end of line {before}"))
    })
}

fn first(shared: &Shared, name: &str) -> Option<Word> {
    shared.get(name).and_then(|said| said.words.first()).cloned()
}

fn resolver(shared: &Shared) -> Option<Resolver> {
    let timeout = first(shared, "resolver_timeout");
    match shared.get("resolver") {
        Some(Said { words, place }) => Some(Resolver::of(words, place, timeout.as_ref())),
        None => {
            let (ipv4, ipv6) = (None, None);
            timeout.map(|timeout| Resolver { servers: None, timeout: Some(timeout), ipv4, ipv6 })
        }
    }
}
