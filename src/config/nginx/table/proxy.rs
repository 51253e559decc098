//! `proxy_*`.

use super::{
    HTTP_ALL, LOCATION, LOCATION_IF, MANY, PIECES, Row, TABLES, call, none, only, statement, value,
};
use crate::config::nginx::set::{self, Kind};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    call("proxy_pass", LOCATION | LOCATION_IF, (1, 1), set::proxy_pass),
    call("proxy_set_header", HTTP_ALL, (2, 2), set::proxy_set_header).often(),
    value("proxy_connect_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.connect_timeout),
    value("proxy_send_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.send_timeout),
    value("proxy_read_timeout", HTTP_ALL, Kind::Time, |f| &mut f.settings.read_timeout),
    call("proxy_next_upstream", HTTP_ALL, (1, MANY), set::proxy_next_upstream),
    value("proxy_next_upstream_tries", HTTP_ALL, Kind::Tries, |f| &mut f.settings.retry_tries),
    value("proxy_next_upstream_timeout", HTTP_ALL, Kind::TimeOrZero, |f| &mut f.settings.retry_timeout),
    value("proxy_next_upstream_try_timeout", HTTP_ALL, Kind::TimeOrZero, |f| &mut f.settings.retry_try_timeout),
    call("proxy_next_upstream_budget", HTTP_ALL, (1, 2), set::proxy_next_upstream_budget),
    value("proxy_next_upstream_hedge", HTTP_ALL, Kind::Share, |f| &mut f.settings.retry_hedge),
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
    none("proxy_buffer_size", HTTP_ALL, (1, 1), "the head of an answer may be as large as Pingora takes"),
    statement("proxy_buffers", HTTP_ALL, (2, 2)),
    none("proxy_busy_buffers_size", HTTP_ALL, (1, 1), PIECES),
    statement("proxy_max_temp_file_size", HTTP_ALL, (1, 1)),
    none("proxy_temp_file_write_size", HTTP_ALL, (1, 1), PIECES),
    statement("proxy_temp_path", HTTP_ALL, (1, 4)),
    none("proxy_headers_hash_bucket_size", HTTP_ALL, (1, 1), TABLES),
    none("proxy_headers_hash_max_size", HTTP_ALL, (1, 1), TABLES),
    statement("proxy_socket_keepalive", HTTP_ALL, (1, 1)),
];
