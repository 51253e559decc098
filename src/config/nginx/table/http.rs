//! `http`, `server`, `location` and what belongs to no other chapter.

use super::{
    Body, FILES, HTTP, HTTP_ALL, HTTP_SERVER, LOCATION, MAIN, MANY, OS, Row, SERVER, TABLES,
    UPSTREAM, call, none, only, statement, value,
};
use crate::config::nginx::set::{self, Kind};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    call("http", MAIN, (0, 0), set::http).body(Body::Block),
    call("server", HTTP, (0, 0), set::server).body(Body::Block).often(),
    call("internal", LOCATION, (0, 0), set::internal),
    call("location", SERVER | LOCATION, (1, 2), set::location).body(Body::Block).often(),
    call("listen", SERVER, (1, MANY), set::listen).often(),
    call("server_name", SERVER, (1, MANY), set::server_name).often(),
    call("resolver", HTTP, (1, MANY), set::resolver),
    call("resolver_timeout", HTTP, (1, 1), set::shared_time),
    statement("resolver", SERVER | LOCATION | UPSTREAM, (1, MANY)),
    statement("resolver_timeout", SERVER | LOCATION | UPSTREAM, (1, 1)),
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
    none("tcp_nopush", HTTP_ALL, (1, 1), "answers are written as they come"),
    none("tcp_nodelay", HTTP_ALL, (1, 1), "robin always writes without a delay"),
    none("postpone_output", HTTP_ALL, (1, 1), "answers are written as they come"),
    none("server_names_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("server_names_hash_max_size", HTTP, (1, 1), TABLES),
    none("variables_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("variables_hash_max_size", HTTP, (1, 1), TABLES),
    none("map_hash_bucket_size", HTTP, (1, 1), TABLES),
    none("map_hash_max_size", HTTP, (1, 1), TABLES),
    none("connection_pool_size", HTTP_SERVER, (1, 1), OS),
    none("request_pool_size", HTTP_SERVER, (1, 1), OS),
    statement("merge_slashes", HTTP_SERVER, (1, 1)),
    statement("ignore_invalid_headers", HTTP_SERVER, (1, 1)),
    statement("underscores_in_headers", HTTP_SERVER, (1, 1)),
    statement("large_client_header_buffers", HTTP_SERVER, (2, 2)),
    none("client_header_buffer_size", HTTP_SERVER, (1, 1), "buffers grow with what is read"),
    none("fastcgi_temp_path", HTTP_ALL, (1, 4), "nothing is passed to FastCGI"),
    none("uwsgi_temp_path", HTTP_ALL, (1, 4), "nothing is passed to uwsgi"),
    none("scgi_temp_path", HTTP_ALL, (1, 4), "nothing is passed to SCGI"),
    none("reset_timedout_connection", HTTP_ALL, (1, 1), OS),
    none("log_subrequest", HTTP_ALL, (1, 1), "there are no subrequests"),
    none("subrequest_output_buffer_size", HTTP_ALL, (1, 1), "there are no subrequests"),

    // Log.
    call("access_log", HTTP_ALL, (1, MANY), set::access_log),
    none("log_format", HTTP, (2, MANY), "lines have robin's format: combined, and what befell each attempt").often(),
    none("open_log_file_cache", HTTP_ALL, (1, 4), "the file stays open"),

    // What is off by default and may be said so.
    only("auth_basic", HTTP_ALL, &["off"], "robin asks for no password: let the upstream do so"),
];
