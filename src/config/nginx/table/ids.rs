//! What a request is known by, what its client is told where it fails, and nginx's otel module.

use super::{Body, HTTP, HTTP_ALL, Row, call, statement};
use crate::config::nginx::set;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    statement("robin_request_id", HTTP_ALL, (1, 2)),
    statement("robin_trace", HTTP_ALL, (1, 1)),
    call("otel_trace_context", HTTP_ALL, (1, 1), set::otel_trace_context),
    call("otel_exporter", HTTP, (0, 0), set::otel_exporter).body(Body::Entries),
    statement("otel_service_name", HTTP, (1, 1)),
    statement("otel_trace", HTTP_ALL, (1, 1)),
    statement("robin_otlp", HTTP, (1, 6)),
    call("robin_error_details", HTTP_ALL, (1, 1), set::robin_error_details),
    call("robin_server_header", HTTP_ALL, (1, 1), set::robin_server_header),
];
