//! How fast a peer answers: what `least_time` and `ewma` compare.
//!
//! As nginx's `ngx_http_upstream_response_time_avg`: a new time counts for a twentieth, the first one
//! wholly. Only answers that count as a success are taken into account, so that a peer which fails
//! at once does not look fast. Two answers in one moment may lose one of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::balance::ewma::Peak;
use super::balance::least_time::Reading;
use crate::config::model::Measure;
use crate::health::Tick;

/// The averages of one peer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    header: Average,
    last_byte: Average,
    peak: Peak,
    /// When `least_time` chose the peer last, or it failed last, in milliseconds; zero before that.
    checked: AtomicU64,
    awaited: Awaited,
    /// Of the mean age of what is awaited, at the moments of the choices.
    age: Average,
}

impl Pace {
    /// The average time until an answer's head or end was here; none before the first.
    pub(super) fn average(&self, measure: Measure) -> Option<Duration> {
        self.of(measure).get()
    }

    /// Takes the time of an answer's head into account.
    pub(super) fn answered(&self, took: Duration, now: Tick) {
        self.header.learn(took);
        self.peak.learn(took, now);
    }

    /// Takes the time of a whole answer into account.
    pub(super) fn finished(&self, took: Duration) {
        self.last_byte.learn(took);
    }

    /// Takes an attempt into account that has failed after so long.
    pub(super) fn failed(&self, took: Duration, now: Tick) {
        self.peak.fail(took, now);
    }

    /// What `ewma` expects one more request to wait.
    pub(super) fn peak(&self, in_flight: u32, now: Tick) -> u64 {
        self.peak.cost(in_flight, now)
    }

    /// What `least_time` goes by, but what it does not keep itself: `fail_timeout` and the attempts
    /// in flight.
    pub(super) fn reading(&self, measure: Measure, now: Tick) -> Reading {
        let checked = self.checked.load(Relaxed);
        Reading {
            average: self.average(measure).unwrap_or_default(),
            unchecked: (checked > 0).then(|| since(Tick::from_millis(checked), now)),
            age: self.awaited.mean_age(now).and_then(|_| self.age.get()),
            ..Reading::default()
        }
    }

    /// Takes the age of what is awaited into account.
    pub(super) fn grow_old(&self, now: Tick) {
        if let Some(age) = self.awaited.mean_age(now) {
            self.age.learn(age);
        }
    }

    /// The peer was chosen: if that was long ago, its average counts wholly again.
    pub(super) fn chosen(&self, fail_timeout: Duration, now: Tick) {
        let checked = self.checked.load(Relaxed);
        if checked == 0 || since(Tick::from_millis(checked), now) > fail_timeout {
            self.check(now);
        }
    }

    /// The peer has failed.
    pub(super) fn check(&self, now: Tick) {
        self.checked.store(now.as_millis().max(1), Relaxed);
    }

    /// An answer is awaited from now on, to be taken back with [`Pace::awaits_no_more`].
    pub(super) fn awaits(&self, now: Tick) {
        self.awaited.add(now);
    }

    pub(super) fn awaits_no_more(&self, since: Tick) {
        self.awaited.remove(since);
    }

    fn of(&self, measure: Measure) -> &Average {
        match measure {
            Measure::Header => &self.header,
            Measure::LastByte => &self.last_byte,
        }
    }
}

fn since(then: Tick, now: Tick) -> Duration {
    Duration::from_millis(now.as_millis().saturating_sub(then.as_millis()))
}

/// In microseconds; zero before the first time.
#[derive(Debug, Default)]
struct Average(AtomicU64);

impl Average {
    fn get(&self) -> Option<Duration> {
        let micros = self.0.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let next = match self.0.load(Relaxed) {
            0 => took,
            before => {
                (before / 20 * 19).saturating_add(before % 20 * 19 / 20).saturating_add(took / 20)
            }
        };
        self.0.store(next.max(1), Relaxed);
    }
}

/// The answers that are awaited: their number in the low 20 bits and, above, the sum of the
/// moments they are awaited since. Of that sum only 44 bits are kept: what counts is its difference
/// to as many times the present moment, which is the sum of their ages.
#[derive(Debug, Default)]
struct Awaited(AtomicU64);

impl Awaited {
    const NUMBER: u32 = 20;

    fn word(since: Tick) -> u64 {
        since.as_millis() << Self::NUMBER | 1
    }

    fn add(&self, now: Tick) {
        self.0.fetch_add(Self::word(now), Relaxed);
    }

    fn remove(&self, since: Tick) {
        self.0.fetch_sub(Self::word(since), Relaxed);
    }

    /// None when nothing is awaited.
    fn mean_age(&self, now: Tick) -> Option<Duration> {
        let word = self.0.load(Relaxed);
        let number = word & ((1 << Self::NUMBER) - 1);
        let now = number.wrapping_mul(now.as_millis()) << Self::NUMBER;
        // Shifted as they are, both overflow alike.
        let ages = now.wrapping_sub(word - number) >> Self::NUMBER;
        ages.checked_div(number).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Tick {
        Tick::from_millis(millis)
    }

    #[test]
    fn a_new_time_counts_for_a_twentieth() {
        let pace = Pace::default();
        assert_eq!(pace.average(Measure::Header), None);
        pace.answered(ms(100), at(0));
        assert_eq!(pace.average(Measure::Header), Some(ms(100)));
        pace.answered(ms(200), at(0));
        assert_eq!(pace.average(Measure::Header), Some(ms(105)));
        assert_eq!(pace.average(Measure::LastByte), None);
    }

    #[test]
    fn the_mean_age_is_that_of_what_is_awaited() {
        let awaited = Awaited::default();
        assert_eq!(awaited.mean_age(at(5)), None);
        let long_ago = 1 << 43;
        awaited.add(at(long_ago));
        awaited.add(at(long_ago + 300));
        assert_eq!(awaited.mean_age(at(long_ago + 1000)), Some(ms(850)));
        awaited.remove(at(long_ago));
        assert_eq!(awaited.mean_age(at(long_ago + 1000)), Some(ms(700)));
        awaited.remove(at(long_ago + 300));
        assert_eq!(awaited.mean_age(at(long_ago + 1000)), None);
        assert_eq!(awaited.0.load(Relaxed), 0);
    }

    #[test]
    fn a_choice_within_fail_timeout_does_not_put_off_the_halving() {
        let pace = Pace::default();
        let unchecked = |now| pace.reading(Measure::Header, at(now)).unchecked;
        assert_eq!(unchecked(5), None);
        for (chosen, expected) in [(1000, 0), (5000, 4000), (11_000, 10_000), (11_001, 0)] {
            pace.chosen(ms(10_000), at(chosen));
            assert_eq!(unchecked(chosen), Some(ms(expected)));
        }
    }

    #[test]
    fn the_age_of_what_is_awaited_is_averaged_over_the_choices() {
        let pace = Pace::default();
        let age = |now| pace.reading(Measure::Header, at(now)).age;
        pace.awaits(at(1000));
        assert_eq!(age(1000), None, "no choice has looked yet");
        pace.grow_old(at(1100));
        assert_eq!(age(1100), Some(ms(100)));
        pace.grow_old(at(3000));
        assert_eq!(age(3000), Some(ms(195)));
        pace.awaits_no_more(at(1000));
        assert_eq!(age(3000), None, "nothing is awaited");
    }
}
