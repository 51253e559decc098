//! How long an upstream takes to answer: the percentiles that hedging goes by.
//!
//! Times are counted in buckets, four to each doubling, so that a percentile is right to a fifth. When
//! there are enough of them all counts are halved: what was long ago fades. Two answers in that
//! moment may be lost.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Four for each power of two of a microsecond, up to 17 minutes.
const BUCKETS: usize = 4 * 30;
/// Fewer times than this say nothing.
const LEAST: u32 = 20;
/// So many times are halved.
const MOST: u32 = 1024;

/// The times of one upstream's latest answers.
#[derive(Debug)]
pub(super) struct Times {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU32::new(0)), total: AtomicU32::new(0) }
    }
}

impl Times {
    /// Counts the time of one answer.
    pub(super) fn learn(&self, took: Duration) {
        self.counts[bucket(took)].fetch_add(1, Relaxed);
        // Of many threads one reaches the limit.
        if self.total.fetch_add(1, Relaxed) + 1 == MOST {
            let halved = self.counts.iter().map(|count| {
                let half = count.load(Relaxed) / 2;
                count.store(half, Relaxed);
                half
            });
            self.total.store(halved.sum(), Relaxed);
        }
    }

    /// The time within which `percent` of the answers came; none before there were twenty.
    pub(super) fn percentile(&self, percent: u8) -> Option<Duration> {
        let total = self.total.load(Relaxed);
        if total < LEAST {
            return None;
        }
        let mut longer = u64::from(total) * u64::from(100_u8.saturating_sub(percent)) / 100;
        for (index, count) in self.counts.iter().enumerate().rev() {
            match longer.checked_sub(u64::from(count.load(Relaxed))) {
                Some(rest) => longer = rest,
                None => return Some(end(index)),
            }
        }
        Some(end(0))
    }
}

/// Which bucket a time belongs to.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let octave = micros.ilog2();
    // The two bits after the first.
    let quarter = (micros >> (octave - 2)) & 3;
    ((octave as usize - 2) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The first time that is too long for a bucket.
fn end(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros((5 + quarter) << octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: impl IntoIterator<Item = u64>) -> Times {
        let learnt = Times::default();
        times.into_iter().for_each(|time| learnt.learn(Duration::from_millis(time)));
        learnt
    }

    #[test]
    fn a_time_lies_within_its_bucket() {
        for micros in (0..200_000).chain([u64::from(u32::MAX), u64::MAX]) {
            let index = bucket(Duration::from_micros(micros));
            assert!(index == BUCKETS - 1 || Duration::from_micros(micros) < end(index));
            assert!(index == 0 || Duration::from_micros(micros) >= end(index - 1), "{micros}");
        }
    }

    #[test]
    fn a_few_answers_say_nothing() {
        assert_eq!(millis(0..19).percentile(95), None);
        assert!(millis(0..20).percentile(95).is_some());
    }

    #[test]
    fn percentiles_are_right_to_a_fifth() {
        let times = millis(1..=1000);
        for percent in [10, 50, 90, 95, 99] {
            let right = Duration::from_millis(u64::from(percent) * 10);
            let found = times.percentile(percent).unwrap_or_default();
            assert!(found >= right && found <= right.mul_f64(1.26), "{percent}: {found:?}");
        }
    }

    #[test]
    fn the_slow_few_show_in_the_last_percentiles_only() {
        let times = millis((0..100).map(|n| if n < 97 { 10 } else { 900 }));
        assert!(times.percentile(95).unwrap_or_default() < Duration::from_millis(13));
        assert!(times.percentile(99).unwrap_or_default() > Duration::from_millis(890));
    }

    #[test]
    fn what_was_long_ago_fades() {
        let times = millis((0..1000).map(|_| 500));
        (0..8000).for_each(|_| times.learn(Duration::from_millis(5)));
        assert!(times.percentile(95).unwrap_or_default() < Duration::from_millis(7));
    }
}
