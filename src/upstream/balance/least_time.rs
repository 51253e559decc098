//! `least_time`: the peer that is expected to be done first, as
//! `ngx_http_upstream_get_least_time_peer`; among several, the round robin of
//! [`super::least_conn`].
//!
//! The estimate is the peer's average time of an answer, once for each attempt in flight and once
//! for the new one. Averages are cut into steps of 20 ms, so that peers about as fast take turns.
//! One that is slow is asked again in the end: its average counts half for each `fail_timeout` that
//! passed since it was last chosen. With `inflight`, an answer that is awaited longer than the average
//! makes the peer slow before it comes.

use std::time::Duration;

/// Beyond it a peer is as bad as any other, and what is in flight decides (nginx: 5000 ms).
const LONGEST: u64 = 5000;
/// The step in which averages are compared, in milliseconds (nginx: 20).
const STEP: u64 = 20;

/// What is known of a peer at the moment of the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Its average time of an answer; zero before the first.
    pub(crate) average: Duration,
    /// How long ago the method chose it last or it failed last; none if neither ever was.
    pub(crate) unchecked: Option<Duration>,
    /// The span after which the average begins to count less.
    pub(crate) fail_timeout: Duration,
    /// The average age of what is in flight, where it counts and there is any.
    pub(crate) age: Option<Duration>,
    /// Attempts in flight.
    pub(crate) in_flight: u32,
}

impl Reading {
    /// The estimate, in milliseconds.
    pub(crate) fn cost(&self) -> u64 {
        let average = millis(self.average) >> self.halvings();
        let time = average.max(self.age.map_or(0, millis));
        let time = if time > LONGEST { LONGEST } else { time + STEP - time % STEP };
        time * (1 + u64::from(self.in_flight))
    }

    /// How often the average is halved. nginx counts whole seconds: a span is over in the first
    /// one after `fail_timeout`.
    fn halvings(&self) -> u32 {
        let Some(unchecked) = self.unchecked else { return 0 };
        if unchecked <= self.fail_timeout {
            return 0;
        }
        let span = millis(self.fail_timeout).saturating_add(1000);
        u32::try_from(millis(unchecked) / span).unwrap_or(u32::MAX).min(u64::BITS - 1)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(average: u64, in_flight: u32) -> u64 {
        let average = Duration::from_millis(average);
        Reading { average, in_flight, ..Reading::default() }.cost()
    }

    #[test]
    fn averages_are_compared_in_steps_of_20_ms() {
        assert_eq!([0, 1, 19, 20, 39, 40].map(|ms| cost(ms, 0)), [20, 20, 20, 40, 40, 60]);
    }

    #[test]
    fn beyond_five_seconds_what_is_in_flight_decides() {
        assert_eq!([4999, 5000, 5001, 90_000].map(|ms| cost(ms, 0)), [5000, 5020, 5000, 5000]);
        assert_eq!(cost(90_000, 2), 15_000);
    }

    #[test]
    fn what_is_in_flight_is_waited_for() {
        assert_eq!([0, 1, 9].map(|n| cost(35, n)), [40, 80, 400]);
    }

    #[test]
    fn an_average_counts_half_for_each_span_it_was_not_checked() {
        let after = |fail_timeout, unchecked| {
            let reading = Reading {
                average: Duration::from_millis(4000),
                unchecked: Some(Duration::from_millis(unchecked)),
                fail_timeout: Duration::from_secs(fail_timeout),
                ..Reading::default()
            };
            reading.cost()
        };
        // With 10 s: nothing for 11 s, then half for each of them.
        let ten = [0, 10_000, 10_999, 11_000, 21_999, 22_000, 66_000, 88_000, 1 << 40];
        assert_eq!(ten.map(|ms| after(10, ms)), [4020, 4020, 4020, 2020, 2020, 1020, 80, 20, 20]);
        assert_eq!([999, 1000, 6100, 8100].map(|ms| after(0, ms)), [4020, 2020, 80, 20]);
    }

    #[test]
    fn what_is_awaited_longer_than_the_average_makes_a_peer_slow() {
        let aged = |age| {
            let age = Some(Duration::from_millis(age));
            let average = Duration::from_millis(100);
            Reading { average, age, in_flight: 1, ..Reading::default() }.cost()
        };
        assert_eq!([50, 100, 150, 9000].map(aged), [240, 240, 320, 10_000]);
    }
}
