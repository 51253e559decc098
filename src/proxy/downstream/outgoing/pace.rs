//! How fast bytes go to a client: `limit_rate`, and the pace below which a client is given up.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Timer;
use crate::limits::rate::{Allowed, Rate};

/// How fast the present answer may go out.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Pace {
    rate: Rate,
    /// When the request began, as far as the rate is concerned.
    began: Instant,
    sent: u64,
}

impl Pace {
    pub(in crate::proxy) fn new(rate: Rate, began: Instant) -> Self {
        Self { rate, began, sent: 0 }
    }

    /// How many bytes may go out now; pending while none may. The timer stands for nginx's
    /// `delayed`: nothing is sent before it is over.
    pub(super) fn poll_room(&self, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<usize> {
        if self.sent == 0 {
            // What it runs for is the answer before this one.
            timer.stop();
        }
        loop {
            if timer.is_set() {
                std::task::ready!(timer.poll(cx, || Duration::ZERO));
                timer.stop();
            }
            match self.rate.allowed(self.began.elapsed(), self.sent) {
                Allowed::Bytes(bytes) => {
                    return Poll::Ready(usize::try_from(bytes).unwrap_or(usize::MAX));
                }
                Allowed::Wait(wait) => timer.set(wait),
            }
        }
    }

    /// Takes note of bytes that went out.
    pub(super) fn sent(&mut self, bytes: usize, timer: &mut Timer) {
        let bytes = bytes as u64;
        self.sent += bytes;
        let pause = self.rate.pause(self.sent, bytes);
        if !pause.is_zero() {
            timer.set(pause);
        }
    }
}

/// What the rate of a client is measured over: a phone may be in a tunnel for a while.
pub(in crate::proxy) const SLOW_SPAN: Duration = Duration::from_secs(30);

/// How fast a client takes what waits for it. One that takes a byte a minute never runs into
/// `send_timeout`, and would hold its memory for ever.
#[derive(Debug, Default)]
pub(super) struct Progress {
    since: Option<Instant>,
    taken: u64,
}

impl Progress {
    /// Takes note of a write, of which the socket took so much or nothing; tells whether the client has
    /// taken less than `least` bytes a second in the last span.
    pub(super) fn is_too_slow(&mut self, count: Option<usize>, least: u64, now: Instant) -> bool {
        let Some(since) = self.since else {
            // It runs from the first write that had to wait.
            if count.is_none() {
                (self.since, self.taken) = (Some(now), 0);
            }
            return false;
        };
        self.taken += count.unwrap_or(0) as u64;
        let waited = now.saturating_duration_since(since);
        if waited < SLOW_SPAN {
            return false;
        }
        let wanted = u128::from(least) * waited.as_millis() / 1000;
        let slow = u128::from(self.taken) < wanted;
        (self.since, self.taken) = (Some(now), 0);
        slow
    }

    /// Nothing waits any more.
    pub(super) fn stop(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_given_up_for_a_span_below_the_rate() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut progress = Progress::default();
        assert!(!progress.is_too_slow(Some(1 << 20), 500, at(0)), "nothing waits");
        assert!(!progress.is_too_slow(None, 500, at(100)), "now something does");
        assert!(!progress.is_too_slow(Some(1), 500, at(129)));
        assert!(progress.is_too_slow(Some(1), 500, at(130)));
        assert!(!progress.is_too_slow(Some(15_000), 500, at(160)), "the next span is its own");
        assert!(!progress.is_too_slow(Some(14_999), 0, at(190)), "without a rate nobody is");
        progress.stop();
        assert!(!progress.is_too_slow(Some(1), 500, at(900)));
    }
}
