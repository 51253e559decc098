//! The process: nginx's core module and `events`.

use super::{ANY, Body, EVENTS, HTTP_ALL, MAIN, MANY, OS, Row, call, none, only, value};
use crate::config::nginx::set::{self, Kind};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    value("worker_processes", MAIN, Kind::Threads, |f| &mut f.threads),
    call("user", MAIN, (1, 2), set::user),
    value("worker_shutdown_timeout", MAIN, Kind::Time, |f| &mut f.shutdown_timeout),
    only("daemon", MAIN, &["off"], "robin stays in the foreground: write `daemon off;` or leave it out"),
    none("master_process", MAIN, (1, 1), "robin is one process with threads"),
    call("pid", MAIN, (1, 1), set::pid),
    call("robin_control", MAIN, (1, 1), set::robin_control),
    call("robin_event_format", MAIN, (1, 1), set::robin_event_format),
    call("robin_express", MAIN, (1, 1), set::robin_express),
    call("robin_dashboard", MAIN, (1, 2), set::robin_dashboard),
    none("lock_file", MAIN, (1, 1), "robin has no lock file"),
    call("error_log", MAIN | HTTP_ALL, (1, 2), set::error_log).often(),
    none("env", MAIN, (1, 1), "no other program is run").often(),
    none("worker_cpu_affinity", MAIN, (1, MANY), OS),
    none("worker_priority", MAIN, (1, 1), OS),
    none("worker_rlimit_core", MAIN, (1, 1), "limits are the container's"),
    none("worker_rlimit_nofile", MAIN, (1, 1), "limits are the container's"),
    none("worker_rlimit_sigpending", MAIN, (1, 1), "limits are the container's"),
    none("debug_points", MAIN, (1, 1), "it serves nginx's developers"),
    none("working_directory", MAIN, (1, 1), "no core files are written"),
    none("pcre_jit", MAIN, (1, 1), "PCRE2 compiles patterns wherever it can"),
    none("thread_pool", MAIN, (2, 3), "no thread waits for a disk").often(),
    none("timer_resolution", MAIN, (1, 1), "the clock is read when it is needed"),
    none("include", ANY, (1, 1), "what it names stands in its place").often(),
    call("events", MAIN, (0, 0), set::events).body(Body::Block),
    none("worker_connections", EVENTS, (1, 1), "connections have no fixed number"),
    none("multi_accept", EVENTS, (1, 1), OS),
    none("accept_mutex", EVENTS, (1, 1), "each worker has sockets of its own"),
    none("accept_mutex_delay", EVENTS, (1, 1), "each worker has sockets of its own"),
    none("use", EVENTS, (1, 1), OS),
    none("debug_connection", EVENTS, (1, 1), "`error_log` with `debug` tells of every connection").often(),
    none("worker_aio_requests", EVENTS, (1, 1), OS),
];
