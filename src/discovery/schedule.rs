//! When the next refresh is due: every `refresh`, jittered, and at once when somebody asks.
//!
//! The clock starts with a refresh, not with its end: a DNS server that takes its whole time
//! limit to say nothing must not stretch the interval in which a new replica is noticed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between the beginnings of two refreshes at least, however many ask: ten a second.
const GAP: Duration = Duration::from_millis(100);

/// The share of the interval by which it varies either way, so that many proxies started at once
/// do not ask the DNS server in step.
const JITTER: f64 = 0.1;

/// When the next refresh is due.
#[derive(Debug)]
pub struct Schedule {
    /// None when nothing can change.
    refresh: Option<Duration>,
    /// When the last one began, and when the next one is due.
    turns: Option<(Instant, Instant)>,
    asked: bool,
}

impl Schedule {
    /// A refresh now, then one every `refresh`, 10 % more or less.
    #[must_use]
    pub fn every(refresh: Duration) -> Self {
        Self { refresh: Some(refresh), turns: None, asked: false }
    }

    /// One refresh now and no other.
    #[must_use]
    pub fn once() -> Self {
        Self { refresh: None, turns: None, asked: false }
    }

    /// Returns when a refresh is due: the first time at once, after that with the interval, or
    /// earlier when `asked` is ready, but never within 100 ms of the last.
    ///
    /// # Cancel safety
    /// May be dropped and called again: that somebody asked is remembered.
    pub async fn wait(&mut self, asked: impl Future<Output = ()>) {
        if let Some((last, due)) = self.turns {
            if self.refresh.is_none() {
                return std::future::pending().await;
            }
            if !self.asked {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = asked => self.asked = true,
                }
            }
            // `due` is no earlier, so when it has passed this does not wait.
            sleep_until(last + GAP).await;
        }
        self.asked = false;
        let interval = self.refresh.unwrap_or_default();
        let interval = interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        let now = Instant::now();
        self.turns = Some((now, now + interval.max(GAP)));
    }
}
