//! A head that Pingora's parser refuses before any phase sees it: its page and its line in the log.

use std::time::SystemTime;

use http::{HeaderMap, Method, Version};

use super::Runtime;
use super::downstream::{Connection, Refusal};
use super::request::{self, NOTHING, SERVER};
use crate::config::model::{Identity, Preset, ServerHeader};
use crate::exchange::Course;
use crate::exchange::head::Head;
use crate::exchange::log::Ended;
use crate::exchange::page;
use crate::exchange::variables::{Answered, Scene, SoFar};
use crate::observe::access::{Record, RequestLine};
use crate::observe::counters::OWN;

/// The whole answer to a head that Pingora's parser refuses.
fn refused_head(status: u16, id: &str, server: &str) -> Vec<u8> {
    // What the client would like to read is not known.
    let body = page::page(page::Form::Html, status, id, None, server);
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    format!(
        "HTTP/1.1 {} {}\r\nServer: {server}\r\nContent-Type: text/html\r\n\
         X-Request-Id: {id}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Bad Request"),
        body.len()
    )
    .into_bytes()
}

/// What makes the answer to such a head on a listener: it bears the name that its default server does.
#[must_use]
pub fn refusing(runtime: &Runtime, listener: usize) -> fn(u16, &str) -> Vec<u8> {
    let server = runtime.router.default(listener).unwrap_or_default();
    let server = runtime.config.virtual_servers.get(server);
    let header = server.map(|server| server.settings.server_header).unwrap_or_default();
    match (header.name, header.version) {
        (Identity::Nginx, true) => |status, id| refused_head(status, id, ServerHeader::NGINX_NAME),
        (Identity::Nginx, false) => |status, id| refused_head(status, id, "nginx"),
        _ => |status, id| refused_head(status, id, SERVER),
    }
}

/// Writes the lines of the access logs for such a head: those of the listener's default server.
pub fn log_refusal(runtime: &Runtime, refusal: &Refusal, connection: &Connection) {
    if connection.is_counted() {
        OWN.count(refusal.status, connection.since.elapsed());
    }
    let config = &runtime.config;
    let server = runtime.router.default(connection.listener).unwrap_or_default();
    let course = Course::new(server, Vec::new(), Vec::new(), &config.variables);
    let logs = course.settings(config).and_then(|settings| settings.access_logs.as_deref());
    let why = refusal.why.map(|why| why.to_string());
    let reason = why.as_deref().unwrap_or("malformed request head");
    let record = record(refusal, reason, connection);
    let Some(logs) = logs else { return runtime.access_log.write(&record, Preset::Robin) };
    let headers = HeaderMap::new();
    let answered = Answered {
        status: refusal.status,
        headers: None,
        trailers: None,
        body_bytes: refusal.body_bytes,
        bytes: refusal.body_bytes,
        complete: true,
    };
    let scene = Scene {
        config,
        router: &runtime.router,
        tables: &runtime.tables,
        head: Head {
            method: &Method::GET,
            target: b"",
            version: Version::HTTP_10,
            headers: &headers,
        },
        asked: &NOTHING,
        client: connection.client,
        peer: connection.client,
        local: connection.local,
        proxied: connection.proxied.as_deref(),
        tls: connection.tls.as_deref(),
        scheme: if connection.tls.is_some() { "https" } else { "http" },
        request_id: &refusal.id,
        trace: None,
        trusted: false,
        so_far: SoFar {
            connection: connection.number,
            connected: Some(connection.since),
            request_bytes: refusal.line.len() as u64,
            line: Some(&refusal.line),
            answered: Some(answered),
            ..SoFar::default()
        },
    };
    let facts = scene.with(&course);
    let ended = Ended { id: &refusal.id, failed: true };
    for log in logs {
        if let Some(preset) = request::log::write(log, ended, Some(&facts), runtime) {
            runtime.logs[log.to].write(&record, preset);
        }
    }
}

/// What robin's own format says of such a head.
fn record<'a>(refusal: &'a Refusal, reason: &'a str, connection: &Connection) -> Record<'a> {
    Record {
        client: connection.client.map(|client| client.ip().to_canonical()),
        user: None,
        at: SystemTime::now(),
        request: RequestLine::Raw(&refusal.line),
        status: refusal.status,
        body_bytes: refusal.body_bytes,
        host: None,
        referer: None,
        user_agent: None,
        upstream: None,
        attempts: &[],
        time: std::time::Duration::ZERO,
        id: &refusal.id,
        trace_id: None,
        reason: Some(reason),
    }
}
