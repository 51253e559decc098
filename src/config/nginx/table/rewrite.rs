//! The rewrite module, and what makes variables.

use super::{
    Body, HTTP, HTTP_ALL, LOCATION, LOCATION_IF, MANY, Row, SERVER, SERVER_IF, call, none,
};
use crate::config::nginx::set;

const REWRITE: u16 = SERVER | SERVER_IF | LOCATION | LOCATION_IF;
const NO_TRACE: &str = "what a request is rewritten to is not told in the log";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    call("rewrite", REWRITE, (2, 3), set::step).often(),
    call("return", REWRITE, (1, 2), set::step).often(),
    call("break", REWRITE, (0, 0), set::step).often(),
    call("set", REWRITE, (2, 2), set::step).often(),
    call("if", SERVER | LOCATION, (1, MANY), set::condition).body(Body::Block).often(),
    call("map", HTTP, (2, 2), set::declaration).body(Body::Entries).often(),
    call("geo", HTTP, (1, 2), set::declaration).body(Body::Entries).often(),
    call("split_clients", HTTP, (2, 2), set::declaration).body(Body::Entries).often(),
    none("rewrite_log", HTTP_ALL | SERVER_IF | LOCATION_IF, (1, 1), NO_TRACE),
    none("uninitialized_variable_warn", HTTP_ALL | SERVER_IF | LOCATION_IF, (1, 1), NO_TRACE),
];
