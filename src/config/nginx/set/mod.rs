//! What directives do, one function each; those that only hold a value need none.
//!
//! A value is checked here for its form, to say what is wrong in nginx's words; then it goes into
//! the raw tree as typed.

mod blocks;
mod failure;
mod grpc;
mod log;
mod otel;
mod process;
mod proxy;
mod rewrite;
mod server;
mod sticky;
mod upstream;

pub(super) use self::blocks::{events, http, internal, location, read_http, server, upstream};
pub(super) use self::failure::passive;
pub(super) use self::grpc::{grpc_next_upstream, grpc_pass, grpc_set_header, grpc_statement};
pub(super) use self::log::access_log;
pub(super) use self::otel::{otel_exporter, otel_trace_context};
pub(super) use self::process::{
    error_log, pid, resolver, robin_control, robin_dashboard, robin_error_details,
    robin_event_format, robin_express, robin_server_header, shared_time, shared_time_or_zero, user,
};
pub(super) use self::proxy::{
    proxy_next_upstream, proxy_next_upstream_budget, proxy_pass, proxy_set_header,
};
pub(super) use self::rewrite::{condition, declaration, step};
pub(super) use self::server::{listen, server_name};
pub(super) use self::sticky::sticky;
pub(super) use self::upstream::{keepalive, method, queue, send_proxy, upstream_server};

use std::time::Duration;

use super::parser::Directive;
use super::reader::Reader;
use crate::config::raw::Word;
use crate::config::words;

const TIME: &str = "expected a time such as `500ms`, `10s` or `1m30s`";

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A time that is not zero.
    Time,
    /// A time.
    TimeOrZero,
    /// A size.
    Size,
    /// How many worker threads, or `auto`.
    Threads,
    /// How many attempts.
    Tries,
    /// A number.
    Number,
    /// A percentage that is neither none nor all, or `off`.
    Share,
}

impl Kind {
    fn holds(self, text: &str) -> bool {
        match self {
            Self::Time => words::duration(text).is_ok_and(|time| time != Duration::ZERO),
            Self::TimeOrZero => words::duration(text).is_ok(),
            Self::Size => words::size(text).is_ok(),
            Self::Threads => {
                text == "auto" || words::number(text).is_some_and(|n| (1..=1024).contains(&n))
            }
            Self::Share => {
                text == "off" || words::percent(text).is_some_and(|n| (1..=99).contains(&n))
            }
            Self::Number => words::number(text).is_some(),
            Self::Tries => words::number(text).is_some_and(|tries| tries <= 16),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Time => "expected a time above 0, such as `500ms`, `10s` or `1m30s`",
            Self::TimeOrZero => TIME,
            Self::Size => "expected bytes, or a size such as `8k`, `10m` or `1g`",
            Self::Threads => "expected `auto` or a number from 1 to 1024",
            Self::Share => "expected a percentage from 1% to 99%, or `off`",
            Self::Number => "expected a whole number",
            Self::Tries => "expected a number from 0 to 16",
        }
    }
}

impl Reader<'_> {
    /// Whether an argument is of this kind; reports it if not.
    pub(super) fn is(&mut self, kind: Kind, directive: &Directive, word: &Word) -> bool {
        let holds = kind.holds(&word.value);
        if !holds {
            let what = if matches!(kind, Kind::Tries | Kind::Number) { "number" } else { "value" };
            let message = format!("\"{}\" directive invalid {what}", directive.name.value);
            self.diags.error(&word.place, message).expected(kind.expected());
        }
        holds
    }
}
