//! What variables tell of a request: times, lengths, and the head of the upstream's answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::{Client, Connection, Exchange, is_interim};
use crate::exchange::failure::Failure;
use crate::exchange::variables::{Answered, SoFar};
use crate::health::clock;
use crate::observe::access::Measured;
use crate::proxy::spool::Body;

/// What is kept for variables.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How many requests the connection has had, this one counted.
    pub(super) requests: u64,
    /// Bytes of the request's head.
    pub(super) head_bytes: u64,
    /// The request line as it was written, where the target was in absolute form.
    pub(super) line: Option<Vec<u8>>,
    /// Whether it had come before the request before it was answered.
    pub(super) pipelined: bool,
    /// The request's body, where a template asks for it and it is in memory.
    body: Option<Bytes>,
    /// The body, where it has a file with a name.
    pub(super) body_file: Option<Arc<Body>>,
    /// Whether there is more of it than is kept.
    body_too_long: bool,
    /// Since when all of it has been here, where another plumbing has begun with it.
    pub(super) body_since: Option<Instant>,
    /// The head of the last upstream's answer, where a template asks for it.
    upstream: Option<Box<HeaderMap>>,
    /// Whether it has headers that are for robin.
    tells_us: bool,
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
pub(in crate::proxy) fn head_length(response: &ResponseHeader) -> u64 {
    let reason = response.get_reason_phrase().unwrap_or_default();
    // `HTTP/1.1 200 ` and the end of the line.
    15 + reason.len() as u64 + length(&response.headers)
}

impl Exchange {
    /// What has come of the request so far.
    pub(super) fn so_far<'a>(
        &'a self,
        session: &'a dyn Client,
        connection: &Connection,
    ) -> SoFar<'a> {
        SoFar {
            connection: connection.number,
            requests: self.kept.requests,
            connected: Some(connection.since),
            began: Some(self.began),
            request_bytes: self.kept.head_bytes + session.body_bytes_read() as u64,
            line: None,
            written: self.kept.line.as_deref(),
            ended: self.kept.ended,
            pipelined: self.kept.pipelined,
            body: self.kept.body.as_deref(),
            body_file: self.kept.body_file.as_ref().and_then(|body| body.path()),
            answered: self.answered(session),
            attempts: &self.attempts,
            without_peer: self.kept.without_peer.as_deref(),
            upstream: self.kept.upstream.as_deref(),
        }
    }

    fn answered<'a>(&'a self, session: &'a dyn Client) -> Option<Answered<'a>> {
        let written = session.response_written().filter(|r| !is_interim(r.status));
        if written.is_none() && !self.kept.ended {
            return None;
        }
        let body_bytes = self.body_bytes_sent(session);
        Some(Answered {
            status: self.final_status(session),
            headers: written.map(|r| &r.headers),
            trailers: None,
            body_bytes,
            bytes: written.map_or(0, |r| head_length(r) + body_bytes),
            complete: written.is_some() && self.failure.as_ref().is_none_or(|f| f.status() != 499),
        })
    }

    /// The status of what the client has got.
    pub(super) fn final_status(&self, session: &dyn Client) -> u16 {
        let written = session.response_written().filter(|r| !is_interim(r.status));
        // Closing without an answer has a status, too; without any the client has left.
        let failed = || self.failure.as_ref().map(Failure::status).or(self.course.status);
        written.map(|r| r.status.as_u16()).or_else(failed).unwrap_or(499)
    }

    /// Says that nothing more comes.
    pub(super) fn tell_end(&mut self) {
        self.kept.ended = true;
    }

    /// Whether an internal redirect leads to the next attempt: it is the first one there.
    pub(super) fn is_redirected(&self) -> bool {
        self.kept.redirected
    }

    /// Says that the next attempt goes to where an internal redirect leads.
    pub(super) fn tell_redirect(&mut self) {
        self.kept.redirected = true;
    }

    /// Keeps the request's body where a template asks for it.
    pub(in crate::proxy) fn tell_body(&mut self, session: &dyn Client) {
        if self.runtime.config.asks.body && self.kept.body.is_none() {
            self.kept.body = session.body();
        }
    }

    /// Keeps a part of a body that is passed on as it comes, where a template asks for it, up to what
    /// `client_body_buffer_size` has room for.
    pub(in crate::proxy) fn tell_body_part(&mut self, part: Option<&Bytes>) {
        let Some(part) = part.filter(|_| self.runtime.config.asks.body && !self.body.is_whole())
        else {
            return;
        };
        let most = self.settings().map_or(0, |settings| settings.clients.body_buffer_bytes);
        let before = self.kept.body.as_deref().unwrap_or_default();
        if !self.kept.body_too_long && (before.len() + part.len()) as u64 <= most {
            self.kept.body = Some([before, part].concat().into());
        } else {
            // As of one in a file, nothing is told of it.
            (self.kept.body, self.kept.body_too_long) = (None, true);
        }
    }

    /// Takes note of a connection to a peer.
    pub(in crate::proxy) fn tell_connected(&mut self, reused: bool) {
        let time = if reused { Duration::ZERO } else { clock::since(self.attempt_began) };
        self.kept.attempt.connect = Some(time);
        let Some((served, lease)) = self.served().zip(self.lease.as_ref()) else { return };
        if reused {
            lease.tally().reused.add();
        } else {
            lease.tally().opened.add();
            served.upstream.tally().connect.count(time);
        }
    }

    /// Takes note of the head that a peer gets.
    pub(in crate::proxy) fn tell_sent_head(&mut self, request: &RequestHeader) {
        // The method, the version `HTTP/1.1`, two blanks and the end of the line.
        let line = request.method.as_str().len() + request.raw_path().len() + 12;
        self.tell_sent(line as u64 + length(&request.headers));
    }

    /// The same where its length is known.
    pub(in crate::proxy) fn tell_sent(&mut self, head_bytes: u64) {
        self.kept.attempt.sent_bytes = head_bytes;
    }

    /// Takes note of the head of a peer's answer, which had this length.
    pub(super) fn tell_head(&mut self, response: &Parts, head_bytes: u64) {
        let time = clock::since(self.attempt_began);
        self.kept.attempt.header = Some(time);
        if let Some((served, lease)) = self.served().zip(self.lease.as_ref()) {
            served.upstream.tally().first_byte.count(time);
            lease.tally().answered(time);
        }
        self.kept.attempt.head_bytes = head_bytes;
        self.kept.tells_us = response.headers.keys().any(|n| n.as_str().starts_with("x-accel-"));
        if self.runtime.config.asks.upstream_head {
            self.kept.upstream = Some(Box::new(response.headers.clone()));
        }
    }

    /// What the answer says to robin in an `X-Accel-` header. Hardly any has one.
    pub(super) fn said_to_us<'h>(
        &self,
        headers: &'h HeaderMap,
        name: &HeaderName,
    ) -> Option<&'h HeaderValue> {
        if self.kept.tells_us { headers.get(name) } else { None }
    }

    /// Takes note of a part of the body of a peer's answer, and of its end.
    pub(in crate::proxy) fn tell_answer_part(&mut self, bytes: usize, end: bool) {
        let time = clock::since(self.attempt_began);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.measured.body_bytes += bytes as u64;
            attempt.measured.end = Some(time).filter(|_| end).or(attempt.measured.end);
        }
    }

    /// What was measured of the present attempt, which has ended or has its answer.
    pub(super) fn measured(&mut self, failed: Option<u16>) -> Measured {
        let redirected = std::mem::take(&mut self.kept.redirected) && !self.attempts.is_empty();
        let after = self.attempt_began.saturating_duration_since(self.began);
        let span = std::mem::take(&mut self.attempt_span);
        Measured { failed, redirected, after, span, ..std::mem::take(&mut self.kept.attempt) }
    }
}
