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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn waited(schedule: &mut Schedule, asked: impl Future<Output = ()>) -> Duration {
        let begin = Instant::now();
        schedule.wait(asked).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refresh_is_due_at_once_and_the_next_after_the_interval() {
        let mut schedule = Schedule::every(SECOND);
        assert_eq!(waited(&mut schedule, pending()).await, Duration::ZERO);
        let intervals = [
            waited(&mut schedule, pending()).await,
            waited(&mut schedule, pending()).await,
            waited(&mut schedule, pending()).await,
        ];
        for interval in intervals {
            assert!(interval >= SECOND.mul_f64(0.9), "{interval:?}");
            assert!(interval <= SECOND.mul_f64(1.1) + Duration::from_millis(1), "{interval:?}");
        }
        assert!(intervals[0] != intervals[1] || intervals[1] != intervals[2], "no jitter");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_refresh_does_not_stretch_the_interval() {
        let mut schedule = Schedule::every(SECOND);
        schedule.wait(pending()).await;
        tokio::time::advance(SECOND * 2).await;
        assert_eq!(waited(&mut schedule, pending()).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_served_at_once_but_ten_times_a_second_at_most() {
        let mut schedule = Schedule::every(SECOND);
        schedule.wait(pending()).await;
        tokio::time::advance(GAP * 2).await;
        assert_eq!(waited(&mut schedule, ready(())).await, Duration::ZERO);
        let begin = Instant::now();
        for _ in 0..10 {
            schedule.wait(ready(())).await;
        }
        assert!(begin.elapsed() >= SECOND, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_below_the_gap_is_the_gap() {
        let mut schedule = Schedule::every(Duration::ZERO);
        schedule.wait(pending()).await;
        assert!(waited(&mut schedule, pending()).await >= GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn that_somebody_asked_survives_a_dropped_wait() {
        let mut schedule = Schedule::every(SECOND);
        schedule.wait(pending()).await;
        assert!(timeout(GAP / 2, schedule.wait(ready(()))).await.is_err());
        assert!(waited(&mut schedule, pending()).await <= GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn literal_addresses_are_refreshed_once() {
        let mut schedule = Schedule::once();
        schedule.wait(pending()).await;
        assert!(timeout(SECOND * 3600, schedule.wait(ready(()))).await.is_err());
    }
}
