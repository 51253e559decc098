//! The directives that load, one row each: where, how many arguments, and what they do.
//!
//! A directive works, or it has no effect here and says why. Those of nginx that do neither are in
//! [`super::unsupported`]. A row with no effect must be safe to ignore: leaving it out would serve
//! the same answers.

use super::frame::{Context, Frame};
use super::parser::Directive;
use super::reader::Reader;
use super::set::{self, Kind};
use super::unsupported::{self, Group};
use crate::config::raw::Word;

const MAIN: u8 = Context::Main.bit();
const EVENTS: u8 = Context::Events.bit();
const HTTP: u8 = Context::Http.bit();
const SERVER: u8 = Context::Server.bit();
const LOCATION: u8 = Context::Location.bit();
const UPSTREAM: u8 = Context::Upstream.bit();
const HTTP_SERVER: u8 = HTTP | SERVER;
const HTTP_ALL: u8 = HTTP | SERVER | LOCATION;
const ANY: u8 = u8::MAX;

/// How many arguments at most where nginx sets no limit.
const MANY: usize = usize::MAX;

/// What stands behind the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// A `;`.
    None,
    /// Directives in braces.
    Block,
    /// Entries in braces, whose first words are no directives.
    Entries,
}

/// Where a value goes.
pub(super) type Slot = fn(&mut Frame) -> &mut Option<Word>;

/// What a directive that works does.
#[derive(Clone, Copy)]
pub(super) enum Setter {
    /// Its only argument, of this kind, goes there.
    Value(Kind, Slot),
    /// It goes into the settings as written, for `resolve` to read.
    Statement,
    /// It is done by a function.
    Call(fn(&mut Reader<'_>, &Directive, &mut Frame)),
    /// It does what robin does anyway if its argument is one of these; else the text says what to
    /// do instead.
    Only(&'static [&'static str], &'static str),
}

/// What becomes of a directive.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Works(Setter),
    /// It is accepted and nothing follows from it, for this reason.
    #[expect(dead_code, reason = "the reason is for the reader of the table until `-t` lists it")]
    NoEffect(&'static str),
}

/// One directive.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    contexts: u8,
    args: (usize, usize),
    pub(super) body: Body,
    /// Whether it may be written more than once in a block.
    pub(super) often: bool,
    pub(super) class: Class,
}

impl Row {
    pub(super) fn takes(&self, args: usize) -> bool {
        (self.args.0..=self.args.1).contains(&args)
    }

    /// How many arguments it takes, in words.
    pub(super) fn arity(&self) -> String {
        match self.args {
            (0, 0) => "expected none".to_owned(),
            (1, 1) => "expected one".to_owned(),
            (n, m) if n == m => format!("expected {n}"),
            (n, MANY) => format!("expected {n} or more"),
            (n, m) => format!("expected {n} to {m}"),
        }
    }

    const fn often(self) -> Self {
        Self { often: true, ..self }
    }

    const fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

const fn row(name: &'static str, contexts: u8, args: (usize, usize), class: Class) -> Row {
    Row { name, contexts, args, body: Body::None, often: false, class }
}

const fn value(name: &'static str, contexts: u8, kind: Kind, slot: Slot) -> Row {
    row(name, contexts, (1, 1), Class::Works(Setter::Value(kind, slot)))
}

const fn statement(name: &'static str, contexts: u8, args: (usize, usize)) -> Row {
    row(name, contexts, args, Class::Works(Setter::Statement))
}

const fn call(
    name: &'static str,
    contexts: u8,
    args: (usize, usize),
    set: fn(&mut Reader<'_>, &Directive, &mut Frame),
) -> Row {
    row(name, contexts, args, Class::Works(Setter::Call(set)))
}

const fn only(
    name: &'static str,
    contexts: u8,
    values: &'static [&'static str],
    instead: &'static str,
) -> Row {
    row(name, contexts, (1, MANY), Class::Works(Setter::Only(values, instead)))
}

const fn none(name: &'static str, contexts: u8, args: (usize, usize), why: &'static str) -> Row {
    row(name, contexts, args, Class::NoEffect(why))
}

const OS: &str = "robin lets the system choose";
const STREAMED: &str = "bodies are streamed, not buffered";
const TABLES: &str = "robin's tables grow by themselves";
const FILES: &str = "no files are served yet";

/// The rows; the order is nginx's documentation's.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Core.
    value("worker_processes", MAIN, Kind::Threads, |f| &mut f.threads),
    call("user", MAIN, (1, 2), set::user),
    value("worker_shutdown_timeout", MAIN, Kind::Time, |f| &mut f.shutdown_timeout),
    only("daemon", MAIN, &["off"], "robin stays in the foreground: write `daemon off;` or leave it out"),
    none("master_process", MAIN, (1, 1), "robin is one process with threads"),
    call("pid", MAIN, (1, 1), set::pid),
    none("lock_file", MAIN, (1, 1), "robin has no lock file"),
    none("error_log", MAIN | HTTP_ALL, (1, 2), "event lines go to stderr, RUST_LOG sets their level").often(),
    none("env", MAIN, (1, 1), "no other program is run").often(),
    none("worker_cpu_affinity", MAIN, (1, MANY), OS),
    none("worker_priority", MAIN, (1, 1), OS),
    none("worker_rlimit_core", MAIN, (1, 1), "limits are the container's"),
    none("worker_rlimit_nofile", MAIN, (1, 1), "limits are the container's"),
    none("working_directory", MAIN, (1, 1), "no core files are written"),
    none("pcre_jit", MAIN, (1, 1), "there are no regular expressions yet"),
    none("thread_pool", MAIN, (2, 3), "no thread waits for a disk").often(),
    none("timer_resolution", MAIN, (1, 1), "the clock is read when it is needed"),
    none("include", ANY, (1, 1), "what it names stands in its place").often(),
    call("events", MAIN, (0, 0), set::events).body(Body::Block),
    none("worker_connections", EVENTS, (1, 1), "connections have no fixed number"),
    none("multi_accept", EVENTS, (1, 1), OS),
    none("accept_mutex", EVENTS, (1, 1), "each worker has sockets of its own"),
    none("accept_mutex_delay", EVENTS, (1, 1), "each worker has sockets of its own"),
    none("use", EVENTS, (1, 1), OS),
    none("worker_aio_requests", EVENTS, (1, 1), OS),

    // HTTP core.
    call("http", MAIN, (0, 0), set::http).body(Body::Block),
    call("server", HTTP, (0, 0), set::server).body(Body::Block).often(),
    call("internal", LOCATION, (0, 0), set::internal),
    call("location", SERVER | LOCATION, (1, 2), set::location).body(Body::Block).often(),
    call("listen", SERVER, (1, MANY), set::listen).often(),
    call("server_name", SERVER, (1, MANY), set::server_name).often(),
    call("resolver", HTTP_ALL, (1, MANY), set::resolver),
    call("resolver_timeout", HTTP_ALL, (1, 1), set::shared_time),
    call("keepalive_timeout", HTTP_ALL, (1, 2), set::shared_time_or_zero),
    call("client_header_timeout", HTTP_SERVER, (1, 1), set::shared_time),
    value("client_max_body_size", HTTP_ALL, Kind::Size, |f| &mut f.settings.client_max_body_size),
    statement("server_tokens", HTTP_ALL, (1, 1)),
    none("sendfile", HTTP_ALL, (1, 1), FILES),
    none("sendfile_max_chunk", HTTP_ALL, (1, 1), FILES),
    none("aio", HTTP_ALL, (1, 1), FILES),
    none("aio_write", HTTP_ALL, (1, 1), FILES),
    none("directio", HTTP_ALL, (1, 1), FILES),
    none("directio_alignment", HTTP_ALL, (1, 1), FILES),
    none("output_buffers", HTTP_ALL, (2, 2), FILES),
    none("read_ahead", HTTP_ALL, (1, 1), FILES),
    none("open_file_cache", HTTP_ALL, (1, 2), FILES),
    none("open_file_cache_errors", HTTP_ALL, (1, 1), FILES),
    none("open_file_cache_min_uses", HTTP_ALL, (1, 1), FILES),
    none("open_file_cache_valid", HTTP_ALL, (1, 1), FILES),
    none("log_not_found", HTTP_ALL, (1, 1), FILES),
    none("types", HTTP_ALL, (0, 0), FILES).body(Body::Entries).often(),
    none("default_type", HTTP_ALL, (1, 1), FILES),
    none("tcp_nopush", HTTP_ALL, (1, 1), "answers are written as they come"),
    none("tcp_nodelay", HTTP_ALL, (1, 1), "robin always writes without a delay"),
    none("postpone_output", HTTP_ALL, (1, 1), "answers are written as they come"),
    none("types_hash_bucket_size", HTTP_ALL, (1, 1), TABLES),
    none("types_hash_max_size", HTTP_ALL, (1, 1), TABLES),
    none("server_names_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("server_names_hash_max_size", HTTP, (1, 1), TABLES),
    none("variables_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("variables_hash_max_size", HTTP, (1, 1), TABLES),
    none("map_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("map_hash_max_size", HTTP, (1, 1), TABLES),
    none("connection_pool_size", HTTP_SERVER, (1, 1), OS),
    none("request_pool_size", HTTP_SERVER, (1, 1), OS),
    none("client_header_buffer_size", HTTP_SERVER, (1, 1), "buffers grow with what is read"),
    none("client_body_buffer_size", HTTP_ALL, (1, 1), STREAMED),
    none("client_body_temp_path", HTTP_ALL, (1, 4), STREAMED),
    none("client_body_in_single_buffer", HTTP_ALL, (1, 1), STREAMED),
    only("client_body_in_file_only", HTTP_ALL, &["off"], "bodies are streamed: leave it out"),
    none("reset_timedout_connection", HTTP_ALL, (1, 1), OS),
    none("log_subrequest", HTTP_ALL, (1, 1), "there are no subrequests"),
    none("subrequest_output_buffer_size", HTTP_ALL, (1, 1), "there are no subrequests"),
    call("map", HTTP, (2, 2), set::map).body(Body::Entries).often(),

    // Log.
    call("access_log", HTTP_ALL, (1, MANY), set::access_log),
    none("log_format", HTTP, (2, MANY), "lines have robin's format: combined, and what befell each attempt").often(),
    none("open_log_file_cache", HTTP_ALL, (1, 4), "the file stays open"),

    // Upstream.
    call("upstream", HTTP, (1, 1), set::upstream).body(Body::Block).often(),
    call("server", UPSTREAM, (1, MANY), set::upstream_server).often(),
    call("keepalive", UPSTREAM, (1, 1), set::keepalive),
    value("keepalive_timeout", UPSTREAM, Kind::TimeOrZero, |f| &mut f.keepalive_idle),
    none("keepalive_requests", HTTP_ALL | UPSTREAM, (1, 1), "a connection is used until it fails or idles"),
    none("keepalive_time", HTTP_ALL | UPSTREAM, (1, 1), "a connection is used until it fails or idles"),
    call("least_conn", UPSTREAM, (0, 0), set::method).often(),
    call("ip_hash", UPSTREAM, (0, 0), set::method).often(),
    call("hash", UPSTREAM, (1, 2), set::method).often(),
    call("random", UPSTREAM, (0, 2), set::method).often(),
    none("zone", UPSTREAM, (1, 2), "threads share the state of an upstream"),

    // Proxy.
    call("proxy_pass", LOCATION, (1, 1), set::proxy_pass),
    call("proxy_set_header", HTTP_ALL, (2, 2), set::proxy_set_header).often(),
    value("proxy_connect_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.connect_timeout),
    value("proxy_send_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.send_timeout),
    value("proxy_read_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.read_timeout),
    call("proxy_next_upstream", HTTP_ALL, (1, MANY), set::proxy_next_upstream),
    value("proxy_next_upstream_tries", HTTP_ALL, Kind::Tries, |f| &mut f.tries),
    value("proxy_next_upstream_timeout", HTTP_ALL, Kind::TimeOrZero, |f| &mut f.settings.retry_timeout),
    statement("proxy_redirect", HTTP_ALL, (1, 2)).often(),
    statement("proxy_http_version", HTTP_ALL, (1, 1)),
    statement("proxy_hide_header", HTTP_ALL, (1, 1)).often(),
    statement("proxy_pass_header", HTTP_ALL, (1, 1)).often(),
    statement("proxy_ignore_headers", HTTP_ALL, (1, MANY)),
    statement("proxy_method", HTTP_ALL, (1, 1)),
    statement("proxy_set_body", HTTP_ALL, (1, 1)),
    statement("proxy_cookie_domain", HTTP_ALL, (1, 2)).often(),
    statement("proxy_cookie_path", HTTP_ALL, (1, 2)).often(),
    statement("proxy_cookie_flags", HTTP_ALL, (1, 4)).often(),
    statement("proxy_ignore_client_abort", HTTP_ALL, (1, 1)),
    statement("proxy_bind", HTTP_ALL, (1, 2)),
    only("proxy_cache", HTTP_ALL, &["off"], "robin has no cache: leave it out"),
    only("proxy_store", HTTP_ALL, &["off"], "robin stores no answers: leave it out"),
    statement("proxy_intercept_errors", HTTP_ALL, (1, 1)),
    statement("proxy_pass_request_body", HTTP_ALL, (1, 1)),
    statement("proxy_pass_request_headers", HTTP_ALL, (1, 1)),
    statement("proxy_buffering", HTTP_ALL, (1, 1)),
    statement("proxy_request_buffering", HTTP_ALL, (1, 1)),
    statement("proxy_buffer_size", HTTP_ALL, (1, 1)),
    statement("proxy_buffers", HTTP_ALL, (2, 2)),
    none("proxy_busy_buffers_size", HTTP_ALL, (1, 1), STREAMED),
    statement("proxy_max_temp_file_size", HTTP_ALL, (1, 1)),
    none("proxy_temp_file_write_size", HTTP_ALL, (1, 1), STREAMED),
    statement("proxy_temp_path", HTTP_ALL, (1, 4)),
    none("proxy_headers_hash_bucket_size", HTTP_ALL, (1, 1), TABLES),
    none("proxy_headers_hash_max_size", HTTP_ALL, (1, 1), TABLES),
    statement("proxy_socket_keepalive", HTTP_ALL, (1, 1)),

    // What is off by default and may be said so.
    only("gzip", HTTP_ALL, &["off"], "answers are passed on as the upstream packs them: leave it out"),
    only("gzip_static", HTTP_ALL, &["off"], "no files are served yet: leave it out"),
    only("autoindex", HTTP_ALL, &["off"], "no files are served yet: leave it out"),
    only("auth_basic", HTTP_ALL, &["off"], "robin asks for no password: let the upstream do so"),
    only("ssl", HTTP_SERVER, &["off"], "robin does not speak TLS yet: let something before it do so"),
    only("expires", HTTP_ALL, &["off"], "let the upstream set the header"),
    only("etag", HTTP_ALL, &["on", "off"], "leave it out"),
];

/// What a name is in a context.
#[derive(Clone, Copy)]
pub(super) enum Found {
    Row(&'static Row),
    /// It belongs in these contexts, a bit each.
    Elsewhere(u8),
    Unsupported(&'static Group),
    Unknown,
}

/// Looks a directive up.
pub(super) fn find(name: &str, context: Context) -> Found {
    let mut elsewhere = 0;
    for row in ROWS.iter().filter(|row| row.name == name) {
        if row.contexts & context.bit() != 0 {
            return Found::Row(row);
        }
        elsewhere |= row.contexts;
    }
    match unsupported::find(name) {
        _ if elsewhere != 0 => Found::Elsewhere(elsewhere),
        Some(group) => Found::Unsupported(group),
        None => Found::Unknown,
    }
}

/// Whether nginx has a directive of this name, or robin does.
pub(super) fn is_known(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name) || unsupported::find(name).is_some()
}

/// Whether a directive of this name does what it says.
pub(super) fn works(name: &str) -> bool {
    let only = |row: &Row| matches!(row.class, Class::Works(Setter::Only(..)));
    ROWS.iter().any(|row| row.name == name && !only(row))
}

/// Every name, for "did you mean": what works before what does not.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name).chain(unsupported::names())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_has_one_row_a_context_and_one_class() {
        for (n, row) in ROWS.iter().enumerate() {
            let same = |other: &&Row| other.name == row.name && other.contexts & row.contexts != 0;
            assert!(!ROWS[n + 1..].iter().any(|other| same(&other)), "{} twice", row.name);
            assert!(unsupported::find(row.name).is_none(), "{} works", row.name);
        }
        let unsupported: Vec<&str> = unsupported::names().collect();
        for (n, name) in unsupported.iter().enumerate() {
            assert!(!unsupported[n + 1..].contains(name), "{name} twice");
        }
    }
}
