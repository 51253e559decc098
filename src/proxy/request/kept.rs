//! What variables tell of a request: times, lengths, and the head of the upstream's answer.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::{Connection, Exchange, is_interim};
use crate::exchange::failure::Failure;
use crate::exchange::variables::{Answered, SoFar};
use crate::observe::access::Measured;

/// What is kept for variables.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How many requests the connection has had, this one counted.
    pub(super) requests: u64,
    /// Bytes of the request's head.
    pub(super) head_bytes: u64,
    /// The request's body, where a template asks for it and it is in memory.
    body: Option<Bytes>,
    /// The head of the last upstream's answer, where a template asks for it.
    upstream: Option<HeaderMap>,
    /// The upstream that had no peer for another attempt.
    pub(super) without_peer: Option<String>,
    /// What is known of the present attempt.
    attempt: Measured,
    /// Whether an internal redirect has led away from the upstream before.
    redirected: bool,
    /// Whether the request has ended.
    ended: bool,
}

/// Bytes of header lines as HTTP/1 writes them.
pub(super) fn length(headers: &HeaderMap) -> u64 {
    // A name, `: `, a value and the end of the line; then an empty line.
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    lines.sum::<usize>() as u64 + 2
}

/// Bytes of an answer's head.
fn head_length(response: &ResponseHeader) -> u64 {
    let reason = response.get_reason_phrase().unwrap_or_default();
    // `HTTP/1.1 200 ` and the end of the line.
    15 + reason.len() as u64 + length(&response.headers)
}

impl Exchange {
    /// What has come of the request so far.
    pub(super) fn so_far<'a>(&'a self, session: &'a Session, connection: &Connection) -> SoFar<'a> {
        SoFar {
            connection: connection.number,
            requests: self.kept.requests,
            connected: connection.since.elapsed(),
            elapsed: self.began.elapsed(),
            request_bytes: self.kept.head_bytes + session.body_bytes_read() as u64,
            line: None,
            body: self.kept.body.as_deref(),
            answered: self.answered(session),
            attempts: &self.attempts,
            without_peer: self.kept.without_peer.as_deref(),
            upstream: self.kept.upstream.as_ref(),
        }
    }

    fn answered<'a>(&'a self, session: &'a Session) -> Option<Answered<'a>> {
        let written = session.response_written().filter(|r| !is_interim(r.status));
        if written.is_none() && !self.kept.ended {
            return None;
        }
        let body_bytes = self.body_bytes_sent(session);
        // Closing without an answer has a status, too; without any the client has left.
        let failed = || self.failure.as_ref().map(Failure::status).or(self.course.status);
        let status = written.map(|r| r.status.as_u16()).or_else(failed);
        Some(Answered {
            status: status.unwrap_or(499),
            headers: written.map(|r| &r.headers),
            trailers: None,
            body_bytes,
            bytes: written.map_or(0, |r| head_length(r) + body_bytes),
            complete: written.is_some() && self.failure.as_ref().is_none_or(|f| f.status() != 499),
        })
    }

    /// Says that nothing more comes.
    pub(super) fn tell_end(&mut self) {
        self.kept.ended = true;
    }

    /// Says that the next attempt goes to where an internal redirect leads.
    pub(super) fn tell_redirect(&mut self) {
        self.kept.redirected = true;
    }

    /// Keeps the request's body where a template asks for it.
    pub(super) fn tell_body(&mut self, session: &Session) {
        if self.runtime.config.asks.body && self.kept.body.is_none() {
            self.kept.body = session.as_ref().get_retry_buffer();
        }
    }

    /// Takes note of a connection to a peer.
    pub(in crate::proxy) fn tell_connected(&mut self, reused: bool) {
        let time = if reused { Duration::ZERO } else { self.attempt_began.elapsed() };
        self.kept.attempt.connect = Some(time);
    }

    /// Takes note of the head that a peer gets.
    pub(in crate::proxy) fn tell_sent_head(&mut self, request: &RequestHeader) {
        // The method, the version `HTTP/1.1`, two blanks and the end of the line.
        let line = request.method.as_str().len() + request.raw_path().len() + 12;
        self.kept.attempt.sent_bytes = line as u64 + length(&request.headers);
    }

    /// Takes note of the head of a peer's answer.
    pub(super) fn tell_head(&mut self, response: &ResponseHeader) {
        self.kept.attempt.header = Some(self.attempt_began.elapsed());
        self.kept.attempt.head_bytes = head_length(response);
        if self.runtime.config.asks.upstream_head {
            self.kept.upstream = Some(response.headers.clone());
        }
    }

    /// Takes note of a part of the body of a peer's answer, and of its end.
    pub(in crate::proxy) fn tell_answer_part(&mut self, bytes: usize, end: bool) {
        let time = self.attempt_began.elapsed();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.measured.body_bytes += bytes as u64;
            attempt.measured.end = Some(time).filter(|_| end).or(attempt.measured.end);
        }
    }

    /// What was measured of the present attempt, which has ended or has its answer.
    pub(super) fn measured(&mut self, failed: Option<u16>) -> Measured {
        let redirected = std::mem::take(&mut self.kept.redirected) && !self.attempts.is_empty();
        Measured { failed, redirected, ..std::mem::take(&mut self.kept.attempt) }
    }
}
