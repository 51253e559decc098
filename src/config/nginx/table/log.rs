//! Access logs.

use super::{Class, HTTP, HTTP_ALL, LOCATION_IF, MANY, Row, Setter, call, none, row};
use crate::config::nginx::set;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("access_log", HTTP_ALL | LOCATION_IF, (1, MANY), Class::Works(Setter::Kept(set::access_log))).often(),
    call("log_format", HTTP, (2, MANY), set::declaration).often(),
    none("open_log_file_cache", HTTP_ALL, (1, 4), "the file stays open"),
];
