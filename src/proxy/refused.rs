//! A head that Pingora's parser refuses before any phase sees it: its page and its line in the log.

use std::time::SystemTime;

use http::{HeaderMap, Method, Version};

use super::Runtime;
use super::downstream::{Connection, Refusal};
use super::request::{self, NOTHING, SERVER};
use crate::exchange::Course;
use crate::exchange::head::Head;
use crate::exchange::page;
use crate::exchange::variables::{Answered, Scene, SoFar};
use crate::observe::access::{Record, RequestLine};

/// The whole answer to a head that Pingora's parser refuses.
#[must_use]
pub fn refused_head(status: u16, id: &str) -> Vec<u8> {
    let body = page::page(status, id, None, "robin");
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    format!(
        "HTTP/1.1 {} {}\r\nServer: {SERVER}\r\nContent-Type: text/html\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Bad Request"),
        body.len()
    )
    .into_bytes()
}

/// Writes the lines of the access logs for such a head: those of the listener's default server.
pub fn log_refusal(runtime: &Runtime, refusal: &Refusal, connection: &Connection) {
    let config = &runtime.config;
    let server = runtime.router.default(connection.listener).unwrap_or_default();
    let course = Course::new(server, Vec::new(), Vec::new(), &config.variables);
    let logs = course.settings(config).and_then(|settings| settings.access_logs.as_deref());
    let record = record(refusal, connection);
    let Some(logs) = logs else { return runtime.access_log.write(&record) };
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
        tls: connection.tls.as_ref(),
        scheme: if connection.tls.is_some() { "https" } else { "http" },
        request_id: &refusal.id,
        trusted: false,
        so_far: SoFar {
            connection: connection.number,
            connected: connection.since.elapsed(),
            request_bytes: refusal.line.len() as u64,
            line: Some(&refusal.line),
            answered: Some(answered),
            ..SoFar::default()
        },
    };
    let facts = scene.with(&course);
    for log in logs {
        if !request::log::write(log, &facts, runtime) {
            runtime.logs[log.to].write(&record);
        }
    }
}

/// What robin's own format says of such a head.
fn record<'a>(refusal: &'a Refusal, connection: &Connection) -> Record<'a> {
    Record {
        client: connection.client.map(|client| client.ip().to_canonical()),
        user: None,
        at: SystemTime::now(),
        request: RequestLine::Raw(&refusal.line),
        status: refusal.status,
        body_bytes: refusal.body_bytes,
        referer: None,
        user_agent: None,
        upstream: None,
        attempts: &[],
        time: std::time::Duration::ZERO,
        id: &refusal.id,
        reason: Some("malformed request head"),
    }
}
