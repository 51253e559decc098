//! How fast a peer answers: averages that `least_time` compares.
//!
//! As nginx's `ngx_http_upstream_response_time_avg`: a new time counts for a twentieth, the first one
//! wholly. Only attempts that got an answer count, so that one which fails at once does not
//! look fast. Two answers in one moment may lose one of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::model::Measure;

/// The averages of one peer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In microseconds; zero before the first answer.
    header: AtomicU64,
    last_byte: AtomicU64,
}

impl Pace {
    /// The average time until an answer's head or end was here; none before the first.
    pub(super) fn average(&self, measure: Measure) -> Option<Duration> {
        let micros = self.of(measure).load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Takes the time of one answer into account.
    pub(super) fn learn(&self, measure: Measure, took: Duration) {
        let average = self.of(measure);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let next = match average.load(Relaxed) {
            0 => took,
            before => {
                (before / 20 * 19).saturating_add(before % 20 * 19 / 20).saturating_add(took / 20)
            }
        };
        average.store(next.max(1), Relaxed);
    }

    fn of(&self, measure: Measure) -> &AtomicU64 {
        match measure {
            Measure::Header => &self.header,
            Measure::LastByte => &self.last_byte,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_time_counts_for_a_twentieth() {
        let pace = Pace::default();
        assert_eq!(pace.average(Measure::Header), None);
        pace.learn(Measure::Header, Duration::from_millis(100));
        assert_eq!(pace.average(Measure::Header), Some(Duration::from_millis(100)));
        pace.learn(Measure::Header, Duration::from_millis(200));
        assert_eq!(pace.average(Measure::Header), Some(Duration::from_millis(105)));
        assert_eq!(pace.average(Measure::LastByte), None);
    }
}
