//! The attempts at one peer: how many have begun, and how many of them have not ended.
//!
//! Both are one word, so that an attempt costs one operation at its beginning and one at its end. A million in flight
//! at one address is more than its ports allow; the 44 bits above count 100,000 requests a second for
//! five years, and then from zero.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const IN_FLIGHT: u64 = (1 << 20) - 1;
/// One attempt more, and one more in flight.
const ONE: u64 = (1 << 20) + 1;

#[derive(Debug, Default)]
pub(super) struct Attempts(AtomicU64);

impl Attempts {
    /// Begins an attempt; false, without one, when so many are in flight already. Zero sets no limit.
    #[inline]
    pub(super) fn begin(&self, limit: u32) -> bool {
        if limit == 0 {
            self.0.fetch_add(ONE, Relaxed);
            return true;
        }
        // Not adding and taking back: in between, another would find the peer full that is not.
        let more =
            |word: u64| (word & IN_FLIGHT < u64::from(limit)).then(|| word.wrapping_add(ONE));
        self.0.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    #[inline]
    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(super) fn in_flight(&self) -> u32 {
        // Twenty bits fit.
        (self.0.load(Relaxed) & IN_FLIGHT) as u32
    }

    pub(super) fn begun(&self) -> u64 {
        self.0.load(Relaxed) >> 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_is_counted_and_what_ended_is_not_in_flight() {
        let attempts = Attempts::default();
        assert!((0..3).all(|_| attempts.begin(0)));
        attempts.end();
        assert_eq!((attempts.begun(), attempts.in_flight()), (3, 2));
    }

    #[test]
    fn a_refused_attempt_is_not_counted() {
        let attempts = Attempts::default();
        assert_eq!([0; 3].map(|_| attempts.begin(2)), [true, true, false]);
        assert_eq!((attempts.begun(), attempts.in_flight()), (2, 2));
        attempts.end();
        assert!(attempts.begin(2));
    }

    #[test]
    fn the_count_may_go_round() {
        let attempts = Attempts(AtomicU64::new(!IN_FLIGHT));
        assert!(attempts.begin(0) && attempts.begin(5));
        assert_eq!((attempts.begun(), attempts.in_flight()), (1, 2));
    }
}
