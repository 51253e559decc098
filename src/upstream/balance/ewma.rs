//! `ewma`: of two peers by lot, the one that a new request would wait for least, by the
//! peak-sensitive average of its answers, as `PeakEwma` of Finagle and linkerd.
//!
//! The average is of the time until an answer's head is here. A slower answer than the average
//! replaces it at once, a faster one pulls it down in about [`DECAY`]: a peer that stalls is left
//! alone after one answer and won back little by little. Without answers the average fades away, so
//! that such a peer is asked again. It is one atomic word: 32 bits of microseconds (71 minutes at
//! most), 32 bits of the millisecond it is of, which is compared round the clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::health::Tick;

/// The time in which an old answer's part in the average falls to 1/e: Finagle's and linkerd's default.
const DECAY: Duration = Duration::from_secs(10);
/// What a peer costs that has something in flight and has never answered: more than any that has.
const UNKNOWN: u64 = u64::MAX >> 1;

/// The average of one peer; zero before its first answer.
#[derive(Debug, Default)]
pub(crate) struct Peak(AtomicU64);

impl Peak {
    /// Takes an answer into account that has come after so long.
    pub(crate) fn learn(&self, took: Duration, now: Tick) {
        let took = micros(took);
        let next = |word| match split(word) {
            None => Some(join(took, now)),
            Some((average, _)) if took >= average => Some(join(took, now)),
            Some((average, since)) => {
                let kept = kept(since, now);
                let (average, took) = (f64::from(average), f64::from(took));
                // Between the two, so it is above zero and fits.
                Some(join((average * kept + took * (1.0 - kept)) as u32, now))
            }
        };
        // It never refuses.
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// Takes an attempt into account that has failed after so long: one that failed early says
    /// nothing about its peer's speed.
    pub(crate) fn fail(&self, took: Duration, now: Tick) {
        if split(self.0.load(Relaxed)).is_some_and(|(average, _)| micros(took) > average) {
            self.learn(took, now);
        }
    }

    /// What one more request would wait, in microseconds. A peer that has never answered gets one
    /// request, and another once none is in flight.
    pub(crate) fn cost(&self, in_flight: u32, now: Tick) -> u64 {
        let in_flight = u64::from(in_flight);
        match split(self.0.load(Relaxed)) {
            None if in_flight == 0 => 0,
            None => UNKNOWN + in_flight,
            Some((average, since)) => {
                let faded = f64::from(average) * kept(since, now);
                (faded as u64).max(1) * (in_flight + 1)
            }
        }
    }
}

/// Microseconds, at least one.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1)
}

/// An average and the millisecond it is of, as one word.
fn join(average: u32, at: Tick) -> u64 {
    u64::from(average.max(1)) << 32 | at.as_millis() & u64::from(u32::MAX)
}

fn split(word: u64) -> Option<(u32, u32)> {
    (word != 0).then_some(((word >> 32) as u32, word as u32))
}

/// The part of an average that is left.
fn kept(since: u32, now: Tick) -> f64 {
    // Of two clocks that were read in another order, the difference is a little below zero.
    let millis = (now.as_millis() as u32).wrapping_sub(since).cast_signed().max(0);
    (-f64::from(millis) / DECAY.as_millis() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_slower_answer_counts_at_once() {
        let peak = Peak::default();
        peak.learn(ms(10), at(0));
        assert_eq!(peak.cost(0, at(0)), 10_000);
        peak.learn(ms(500), at(1));
        assert_eq!(peak.cost(0, at(1)), 500_000);
    }

    #[test]
    fn a_faster_answer_pulls_the_average_down_in_about_ten_seconds() {
        let peak = Peak::default();
        peak.learn(ms(500), at(0));
        peak.learn(ms(10), at(1));
        assert_eq!(peak.cost(0, at(1)), 499_951);
        peak.learn(ms(10), at(10_001));
        // 10 + 490 / e, nearly.
        assert_eq!(peak.cost(0, at(10_001)), 190_242);
    }

    #[test]
    fn without_answers_it_fades_away() {
        let peak = Peak::default();
        peak.learn(ms(500), at(0));
        assert_eq!(peak.cost(0, at(10_000)), 183_939);
        assert_eq!(peak.cost(0, at(60_000)), 1239);
        assert_eq!(peak.cost(0, at(600_000)), 1);
    }

    #[test]
    fn each_attempt_in_flight_is_waited_for() {
        let peak = Peak::default();
        peak.learn(ms(10), at(0));
        assert_eq!(peak.cost(3, at(0)), 40_000);
    }

    #[test]
    fn one_that_has_never_answered_gets_one_request_at_a_time() {
        let peak = Peak::default();
        assert_eq!(peak.cost(0, at(0)), 0);
        assert!(peak.cost(1, at(0)) > u64::from(u32::MAX) * 1000);
        assert!(peak.cost(2, at(0)) > peak.cost(1, at(0)));
    }

    #[test]
    fn a_failure_never_makes_it_look_fast() {
        let peak = Peak::default();
        peak.fail(ms(1), at(0));
        assert_eq!(peak.cost(0, at(0)), 0);
        peak.learn(ms(100), at(0));
        peak.fail(ms(1), at(5000));
        assert_eq!(peak.cost(0, at(0)), 100_000);
        peak.fail(ms(1000), at(5000));
        assert_eq!(peak.cost(0, at(5000)), 1_000_000);
    }

    #[test]
    fn the_clock_may_go_round() {
        let peak = Peak::default();
        peak.learn(ms(500), at((1 << 32) - 5000));
        assert_eq!(peak.cost(0, at((1 << 32) + 5000)), 183_939);
        peak.learn(ms(500), at(100));
        assert_eq!(peak.cost(0, at(90)), 500_000, "read before it was written");
    }
}
