//! What retries may cost an upstream: so many for the requests of the last ten seconds.
//!
//! A struggling upstream gets all requests; if each of them became several, it could not recover.
//! Each request is counted, and each attempt beyond its first that cost a peer something; both in
//! ten counters of one second, so that nothing has to be swept. Failed connects and pooled
//! connections that had ended are free: whoever decides about an attempt asks for those not at all.
//! Two threads that ask at once may both be refused the last attempt, never both be given it.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::model::RetryBudget;
use crate::health::Tick;

/// How many seconds count; the second that is just running is one of them.
const SECONDS: usize = 10;

/// The requests of an upstream's last ten seconds, and the attempts beyond one a request.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Rolling,
    extra: Rolling,
}

impl Budget {
    /// Counts a request.
    pub(super) fn deposit(&self, now: Tick) {
        self.requests.add(now);
    }

    /// Counts one more attempt, if `rule` leaves room for it.
    pub(super) fn withdraw(&self, rule: RetryBudget, now: Tick) -> bool {
        let this_second = self.extra.add(now);
        let allowed = self.requests.sum(now) * u64::from(rule.percent) / 100;
        let granted = this_second <= u64::from(rule.floor) || self.extra.sum(now) <= allowed;
        if !granted {
            self.extra.take_back(now);
        }
        granted
    }

    /// Takes back what was withdrawn for an attempt that was not made.
    pub(super) fn refund(&self, now: Tick) {
        self.extra.take_back(now);
    }
}

/// A count for each of the last seconds.
#[derive(Debug)]
struct Rolling([AtomicU64; SECONDS]);

impl Default for Rolling {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Rolling {
    /// The second stands in the upper half of a word, its count in the lower.
    const COUNT: u64 = (1 << 32) - 1;

    fn second(now: Tick) -> u64 {
        // One more, for a word that was never written is not the first second's.
        (now.as_millis() / 1000 + 1) & Self::COUNT
    }

    /// Counts one; returns how many there are in this second.
    fn add(&self, now: Tick) -> u64 {
        let second = Self::second(now);
        let slot = &self.0[(second % SECONDS as u64) as usize];
        let word = slot.load(Relaxed);
        if word >> 32 == second {
            return (slot.fetch_add(1, Relaxed) & Self::COUNT) + 1;
        }
        let more = |word| Some(if word >> 32 == second { word + 1 } else { second << 32 | 1 });
        let before = slot.fetch_update(Relaxed, Relaxed, more).unwrap_or_default();
        if before >> 32 == second { (before & Self::COUNT) + 1 } else { 1 }
    }

    /// Counts one less in this second; what a second before counted stays.
    fn take_back(&self, now: Tick) {
        let second = Self::second(now);
        let slot = &self.0[(second % SECONDS as u64) as usize];
        let less = |word: u64| (word >> 32 == second && word & Self::COUNT > 0).then(|| word - 1);
        // None is there to take back where the second has passed.
        let _ = slot.fetch_update(Relaxed, Relaxed, less);
    }

    fn sum(&self, now: Tick) -> u64 {
        let second = Self::second(now);
        let words = self.0.iter().map(|slot| slot.load(Relaxed));
        let recent = words.filter(|word| second.wrapping_sub(word >> 32) < SECONDS as u64);
        recent.map(|word| word & Self::COUNT).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: RetryBudget = RetryBudget { percent: 20, floor: 3 };

    fn at(seconds: f64) -> Tick {
        Tick::from_millis((seconds * 1000.0) as u64)
    }

    fn granted(budget: &Budget, asked: usize, now: Tick) -> usize {
        (0..asked).filter(|_| budget.withdraw(RULE, now)).count()
    }

    #[test]
    fn a_share_of_the_requests_may_be_tried_again() {
        let budget = Budget::default();
        (0..200).for_each(|_| budget.deposit(at(0.0)));
        assert_eq!(granted(&budget, 200, at(0.5)), 40);
    }

    #[test]
    fn the_floor_is_there_every_second_whatever_the_share() {
        let budget = Budget::default();
        for second in 0..20 {
            assert_eq!(granted(&budget, 10, at(f64::from(second))), 3, "second {second}");
        }
    }

    #[test]
    fn requests_count_for_ten_seconds() {
        let rule = RetryBudget { percent: 10, floor: 0 };
        for (now, expected) in [(0.0, 10), (9.9, 10), (10.0, 0), (1000.0, 0)] {
            let budget = Budget::default();
            (0..100).for_each(|_| budget.deposit(at(0.0)));
            let granted = (0..100).filter(|_| budget.withdraw(rule, at(now))).count();
            assert_eq!(granted, expected, "after {now} s");
        }
    }

    #[test]
    fn what_was_spent_counts_for_ten_seconds() {
        let rule = RetryBudget { percent: 50, floor: 0 };
        let budget = Budget::default();
        for second in 0..12 {
            (0..10).for_each(|_| budget.deposit(at(f64::from(second))));
        }
        let granted = |now| (0..1000).filter(|_| budget.withdraw(rule, at(now))).count();
        assert_eq!(granted(11.0), 50, "half of a hundred");
        assert_eq!(granted(12.0), 0, "a second later fewer requests count");
        (0..30).for_each(|_| budget.deposit(at(21.0)));
        assert_eq!(granted(21.0), 15, "what was spent is forgotten with its second");
    }

    #[test]
    fn what_was_not_used_is_given_back() {
        let budget = Budget::default();
        assert_eq!(granted(&budget, 10, at(0.0)), 3);
        budget.refund(at(0.1));
        assert_eq!(granted(&budget, 10, at(0.2)), 1);
        budget.refund(at(5.0));
        assert_eq!(granted(&budget, 10, at(5.0)), 3, "nothing is given back twice");
    }

    #[test]
    fn many_threads_together_get_no_more_than_one_would() {
        let budget = Budget::default();
        (0..500).for_each(|_| budget.deposit(at(0.0)));
        let granted = std::thread::scope(|scope| {
            let ask = || granted(&budget, 100, at(0.0));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_default()).sum::<usize>()
        });
        assert!((90..=100).contains(&granted), "{granted}");
    }
}
