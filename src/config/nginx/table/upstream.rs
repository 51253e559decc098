//! What stands in `upstream`, and health checks of upstreams.

use super::{Body, HTTP, HTTP_ALL, LOCATION, MANY, Row, UPSTREAM, call, none, statement, value};
use crate::config::nginx::set::{self, Kind};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    call("upstream", HTTP, (1, 1), set::upstream).body(Body::Block).often(),
    call("server", UPSTREAM, (1, MANY), set::upstream_server).often(),
    call("keepalive", UPSTREAM, (1, 1), set::keepalive),
    value("keepalive_timeout", UPSTREAM, Kind::TimeOrZero, |f| &mut f.keepalive_idle),
    value("keepalive_requests", UPSTREAM, Kind::Number, |f| &mut f.keepalive_requests),
    value("keepalive_time", UPSTREAM, Kind::TimeOrZero, |f| &mut f.keepalive_time),
    none("keepalive_time", HTTP_ALL, (1, 1), "a client's connection is used until it fails or idles"),
    call("least_conn", UPSTREAM, (0, 0), set::method).often(),
    call("ip_hash", UPSTREAM, (0, 0), set::method).often(),
    call("hash", UPSTREAM, (1, 2), set::method).often(),
    call("random", UPSTREAM, (0, 2), set::method).often(),
    call("least_time", UPSTREAM, (1, 2), set::method).often(),
    call("ewma", UPSTREAM, (0, 0), set::method).often(),
    call("sticky", UPSTREAM, (2, MANY), set::sticky),
    call("queue", UPSTREAM, (1, 2), set::queue),
    call("passive", UPSTREAM, (1, 5), set::passive),
    value("panic", HTTP | UPSTREAM, Kind::Share, |f| &mut f.panic),
    value("drain_timeout", UPSTREAM, Kind::TimeOrZero, |f| &mut f.drain_timeout),
    call("send_proxy", UPSTREAM, (1, 1), set::send_proxy),
    call("match", HTTP, (1, 1), set::declaration).body(Body::Entries).often(),
    statement("health_check", LOCATION, (0, MANY)).often(),
    none("zone", UPSTREAM, (1, 2), "threads share the state of an upstream"),
];
