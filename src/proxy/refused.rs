//! A head that Pingora's parser refuses before any phase sees it: its page and its line in the log.

use std::time::SystemTime;

use super::downstream::{Connection, Refusal};
use super::request::SERVER;
use crate::exchange::page;
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

/// The line of the access log for such a head.
#[must_use]
pub fn refusal_record<'a>(refusal: &'a Refusal, connection: &Connection) -> Record<'a> {
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
