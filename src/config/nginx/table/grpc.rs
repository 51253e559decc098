//! `grpc_*`: as `proxy_*`, for routes with `grpc_pass` alone.

use super::{HTTP_ALL, LOCATION, LOCATION_IF, MANY, OS, Row, call, none, value};
use crate::config::nginx::set::{self, Kind};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    call("grpc_pass", LOCATION | LOCATION_IF, (1, 1), set::grpc_pass),
    call("grpc_set_header", HTTP_ALL, (2, 2), set::grpc_set_header).often(),
    value("grpc_connect_timeout", HTTP_ALL, Kind::Time, |f| &mut f.grpc.settings.connect_timeout),
    value("grpc_send_timeout", HTTP_ALL, Kind::Time, |f| &mut f.grpc.settings.send_timeout),
    value("grpc_read_timeout", HTTP_ALL, Kind::Time, |f| &mut f.grpc.settings.read_timeout),
    call("grpc_next_upstream", HTTP_ALL, (1, MANY), set::grpc_next_upstream),
    value("grpc_next_upstream_tries", HTTP_ALL, Kind::Tries, |f| &mut f.grpc.settings.retry_tries),
    value("grpc_next_upstream_timeout", HTTP_ALL, Kind::TimeOrZero, |f| &mut f.grpc.settings.retry_timeout),
    call("grpc_hide_header", HTTP_ALL, (1, 1), set::grpc_statement).often(),
    call("grpc_pass_header", HTTP_ALL, (1, 1), set::grpc_statement).often(),
    call("grpc_ignore_headers", HTTP_ALL, (1, MANY), set::grpc_statement),
    call("grpc_intercept_errors", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_bind", HTTP_ALL, (1, 2), set::grpc_statement),
    call("grpc_socket_keepalive", HTTP_ALL, (1, 1), set::grpc_statement),
    none("grpc_socket_rcvbuf", HTTP_ALL, (1, 1), OS),
    none("grpc_socket_sndbuf", HTTP_ALL, (1, 1), OS),
    none("grpc_buffer_size", HTTP_ALL, (1, 1), "the head of an answer may be as large as Pingora takes"),
    call("grpc_ssl_verify", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_server_name", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_name", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_trusted_certificate", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_certificate", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_certificate_key", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_protocols", HTTP_ALL, (1, MANY), set::grpc_statement),
    call("grpc_ssl_ciphers", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_session_reuse", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_password_file", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_crl", HTTP_ALL, (1, 1), set::grpc_statement),
    call("grpc_ssl_verify_depth", HTTP_ALL, (1, 1), set::grpc_statement),
    none("grpc_ssl_certificate_cache", HTTP_ALL, (1, MANY), "certificates are read at the start"),
];
