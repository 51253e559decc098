//! How fast answers go out and come in: `limit_rate`, `proxy_limit_rate`.
//!
//! Over HTTP/1 the client's connection keeps the pace, byte by byte. The streams of HTTP/2 share theirs:
//! each waits before a piece that its rate has no room for. So it is with how slowly a client may take its answer
//! (`send_timeout`, `send_min_rate`): over HTTP/2 a piece has a time.

use std::time::Duration;

use http::HeaderName;
use http::response::Parts;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;
use tokio::time::Instant;

use super::{Client, Exchange, connection};
use crate::exchange::limits;
use crate::limits::rate::{Allowed, Rate};
use crate::proxy::downstream::{Pace, SLOW_SPAN};

static ACCEL_LIMIT_RATE: HeaderName = HeaderName::from_static("x-accel-limit-rate");

/// How fast bytes may pass that the proxy itself lets through.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Gauge {
    rate: Rate,
    began: Instant,
    passed: u64,
}

impl Gauge {
    /// One for a rate; none without a rate.
    pub(super) fn new(rate: Rate) -> Option<Self> {
        rate.is_some().then(|| Self { rate, began: Instant::now(), passed: 0 })
    }

    /// How long a piece has to wait; none where it passes at once.
    pub(in crate::proxy) fn wait(&mut self, bytes: usize) -> Option<Duration> {
        self.passed += bytes as u64;
        match self.rate.allowed(self.began.elapsed(), self.passed.saturating_sub(1)) {
            Allowed::Bytes(_) => None,
            Allowed::Wait(wait) => Some(wait),
        }
    }
}

impl Exchange {
    /// Gives up a client that takes too little of the answer that follows, which goes out in pieces of this
    /// length at most.
    pub(super) fn bound_reader(&self, session: &mut dyn Client, longest: u64) {
        let Some(settings) = self.settings() else { return };
        let (timeout, least) = (settings.clients.send_timeout, settings.limits.send_min_rate);
        if let Some(ServerSession::H2(http2)) = session.session_mut().map(Session::as_mut) {
            http2.set_write_timeout(Some(piece_timeout(longest, timeout, least)));
        } else if let Some(connection) = connection(session) {
            connection.set_send_timeout(timeout, least);
        }
    }

    /// Takes the rate that an upstream's answer asks for.
    pub(super) fn hear_rate(&mut self, response: &Parts) {
        let ignored = self
            .settings()
            .is_some_and(|settings| settings.passing.ignore.contains(&ACCEL_LIMIT_RATE));
        let said = self.said_to_us(&response.headers, &ACCEL_LIMIT_RATE).filter(|_| !ignored);
        // As in nginx, a number of bytes and nothing else.
        let said = said.and_then(|value| value.to_str().ok()?.parse().ok());
        self.course.limit_rate = said.or(self.course.limit_rate);
    }

    /// Sets the rate of the answer that begins.
    pub(super) fn set_rate(&mut self, session: &dyn Client) {
        let limits = self.settings().map(|settings| &settings.limits);
        let limited = self.course.limit_rate.is_some() || limits.is_some_and(|l| l.rate.is_some());
        let scene = limited.then(|| self.scene(session)).flatten();
        let rate = scene.map(|scene| limits::rate(&self.course, &scene));
        let rate = rate.unwrap_or_default();
        if !session.is_http1() {
            self.gauge = Gauge::new(rate);
        } else if let Some(connection) = connection(session) {
            connection.set_pace(rate.is_some().then(|| Pace::new(rate, self.began)));
        }
    }

    /// Sets the rate at which the answer of a peer is read.
    pub(super) fn set_upstream_rate(&mut self, session: &dyn Client) {
        let limits = self.settings().map(|settings| &settings.limits);
        let limited = limits.is_some_and(|limits| limits.upstream_rate.is_some());
        let scene = limited.then(|| self.scene(session)).flatten();
        let rate = scene.map(|scene| limits::upstream_rate(&self.course, &scene));
        self.upstream_gauge = Gauge::new(rate.unwrap_or_default());
    }

    /// How long a piece of an answer waits before it goes out.
    pub(in crate::proxy) fn pace_answer(&mut self, bytes: usize) -> Option<Duration> {
        self.gauge.as_mut()?.wait(bytes)
    }

    /// How long to wait after a piece of a peer's answer was read.
    pub(in crate::proxy) fn pace_upstream(&mut self, bytes: usize) -> Option<Duration> {
        self.upstream_gauge.as_mut()?.wait(bytes)
    }
}

/// How long a client of HTTP/2 may take for a piece: as long as for two writes, and at `least` so many bytes a
/// second, which are measured over no less than a span.
fn piece_timeout(bytes: u64, timeout: Duration, least: u64) -> Duration {
    match bytes.checked_div(least) {
        Some(seconds) => timeout.min(SLOW_SPAN.max(Duration::from_secs(seconds))),
        None => timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_the_time_that_the_lowest_rate_gives_it_and_no_more_than_a_write() {
        let seconds = Duration::from_secs;
        let minute = seconds(60);
        assert_eq!(piece_timeout(16_000, minute, 0), minute, "without a rate");
        assert_eq!(piece_timeout(16_000, minute, 400), seconds(40));
        assert_eq!(piece_timeout(64_000, minute, 400), minute);
        assert_eq!(piece_timeout(16_000, minute, 16_000), seconds(30), "a client may pause");
        assert_eq!(piece_timeout(16_000, seconds(3), 400), seconds(3));
    }
}
