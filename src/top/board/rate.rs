//! How often something happens, second by second, and how long the latest took.

use std::collections::VecDeque;

/// Seconds that are remembered.
pub(in crate::top) const SECONDS: usize = 120;
/// Seconds that a rate is the mean of.
const MEAN: u64 = 10;
/// Times that a percentile is of.
const TIMES: usize = 512;

/// Counts of the latest seconds.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Rate {
    /// The second of the last count.
    last: u64,
    /// The second of the first one; none before there is any.
    first: Option<u64>,
    /// The last is that of `last`.
    counts: VecDeque<f64>,
}

impl Rate {
    /// Counts one at a moment in milliseconds.
    pub(in crate::top) fn count(&mut self, at: u64) {
        self.add(at / 1000, 1.0);
    }

    /// Counts many that came within a time, evenly.
    pub(in crate::top) fn spread(&mut self, from: u64, to: u64, count: u64) {
        let (from, to) = (from / 1000, to / 1000);
        let seconds = to.saturating_sub(from).max(1);
        // What is older than what is remembered need not be told apart.
        let begin = (to - seconds.min(to)).max(to.saturating_sub(SECONDS as u64));
        for second in begin + 1..=to {
            self.add(second, count as f64 / seconds as f64);
        }
    }

    fn add(&mut self, second: u64, count: f64) {
        self.first = Some(self.first.map_or(second, |first| first.min(second)));
        if self.counts.is_empty() || second > self.last.saturating_add(SECONDS as u64) {
            self.counts = VecDeque::from([0.0]);
            self.last = second;
        }
        while self.last < second {
            self.counts.push_back(0.0);
            self.last += 1;
        }
        while self.counts.len() > SECONDS {
            self.counts.pop_front();
        }
        let ago = usize::try_from(self.last - second).unwrap_or(usize::MAX);
        let place = self.counts.len().checked_sub(1).and_then(|newest| newest.checked_sub(ago));
        if let Some(place) = place {
            self.counts[place] += count;
        } else if ago < SECONDS {
            // A line that came late, from before the first.
            while self.counts.len() <= ago {
                self.counts.push_front(0.0);
            }
            self.counts[0] += count;
        }
    }

    /// The count of each of the latest `seconds`, the one that `now` is in last.
    pub(in crate::top) fn latest(&self, seconds: usize, now: u64) -> Vec<f64> {
        let now = now / 1000;
        let of = |second: u64| {
            let ago = usize::try_from(self.last.checked_sub(second)?).ok()?;
            self.counts.len().checked_sub(ago + 1).map(|place| self.counts[place])
        };
        let seconds = (0..seconds as u64).rev();
        seconds.map(|ago| now.checked_sub(ago).and_then(of).unwrap_or(0.0)).collect()
    }

    /// How many a second there were lately.
    pub(in crate::top) fn mean(&self, now: u64) -> f64 {
        let Some(first) = self.first else { return 0.0 };
        let seconds = (now / 1000).saturating_sub(first).saturating_add(1).min(MEAN);
        self.latest(MEAN as usize, now).iter().sum::<f64>() / seconds as f64
    }
}

/// The latest times, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Latest(VecDeque<f64>);

impl Latest {
    /// Takes one into account.
    pub(in crate::top) fn learn(&mut self, millis: f64) {
        if self.0.len() == TIMES {
            self.0.pop_front();
        }
        self.0.push_back(millis);
    }

    /// The time within which so many of a hundred ended; none before there is any.
    pub(in crate::top) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut all: Vec<f64> = self.0.iter().copied().collect();
        all.sort_by(f64::total_cmp);
        let place = (all.len() * percent).div_ceil(100).checked_sub(1)?;
        all.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_where_their_seconds_do() {
        let mut rate = Rate::default();
        assert_eq!(rate.latest(2, 5000), [0.0, 0.0]);
        for at in [100_000, 100_999, 102_000] {
            rate.count(at);
        }
        assert_eq!(rate.latest(4, 102_500), [0.0, 2.0, 0.0, 1.0]);
        assert_eq!(rate.latest(2, 104_000), [0.0, 0.0]);
        rate.count(99_000);
        assert_eq!(rate.latest(4, 102_000), [1.0, 2.0, 0.0, 1.0]);
        assert!((rate.mean(102_000) - 1.0).abs() < 0.001, "four in four seconds");
        rate.count(u64::MAX);
        rate.count(0);
        assert_eq!(rate.latest(1, u64::MAX), [1.0]);
    }

    #[test]
    fn what_came_within_a_time_is_spread_over_it() {
        let mut rate = Rate::default();
        rate.spread(10_000, 14_000, 8);
        assert_eq!(rate.latest(5, 14_000), [0.0, 2.0, 2.0, 2.0, 2.0]);
        rate.spread(14_000, 14_200, 3);
        assert_eq!(rate.latest(1, 14_200), [5.0]);
        rate.spread(0, u64::MAX, u64::MAX);
        rate.spread(9, 0, 1);
    }

    #[test]
    fn percentiles_are_of_the_latest() {
        let mut latest = Latest::default();
        assert_eq!(latest.percentile(50), None);
        (1..=100).for_each(|millis| latest.learn(f64::from(millis)));
        assert_eq!((latest.percentile(50), latest.percentile(99)), (Some(50.0), Some(99.0)));
        (0..TIMES).for_each(|_| latest.learn(1.0));
        assert_eq!(latest.percentile(99), Some(1.0));
    }
}
