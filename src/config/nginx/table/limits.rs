//! How much clients may ask for: `limit_req`, `limit_conn`, `limit_rate`.

use super::{HTTP, HTTP_ALL, HTTP_SERVER, LOCATION_IF, Row, statement};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    statement("limit_req_zone", HTTP, (2, 4)).often(),
    statement("limit_req", HTTP_ALL, (1, 3)).often(),
    statement("limit_req_status", HTTP_ALL, (1, 1)),
    statement("limit_req_log_level", HTTP_ALL, (1, 1)),
    statement("limit_req_dry_run", HTTP_ALL, (1, 1)),
    statement("robin_limit_requests", HTTP_ALL, (1, 7)).often(),
    statement("limit_conn_zone", HTTP, (2, 2)).often(),
    statement("limit_conn", HTTP_ALL, (2, 2)).often(),
    statement("limit_conn_status", HTTP_ALL, (1, 1)),
    statement("limit_conn_log_level", HTTP_ALL, (1, 1)),
    statement("limit_conn_dry_run", HTTP_ALL, (1, 1)),
    statement("robin_limit_connections", HTTP_ALL, (1, 4)).often(),
    statement("limit_rate", HTTP_ALL | LOCATION_IF, (1, 1)),
    statement("limit_rate_after", HTTP_ALL | LOCATION_IF, (1, 1)),
    statement("proxy_limit_rate", HTTP_ALL, (1, 1)),
    statement("robin_send_min_rate", HTTP_ALL, (1, 1)),
    statement("max_headers", HTTP_SERVER, (1, 1)),
];
