//! Passive failures judged by more than a count: failures in a row, or the share of successes in a window; with
//! ejections that grow.
//!
//! Each ejection lasts twice as long as the one before, up to a limit; a time without one as long as the last takes
//! one doubling back (as Envoy's `base_ejection_time` and `max_ejection_time`). An ejection ends as it does in
//! [`passive`](super::passive): one attempt on probation decides, and a failure begins the next.
//! Everything packs into a word, so that a report takes no lock.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Tick;
use super::passive::{Cause, Outcome, Standing};
use crate::config::model::Ejection;

/// Times keep 48 bits, as in [`Standing::pack`].
const TIME: u64 = (1 << 48) - 1;

/// What is remembered of a peer's ejections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// How often the next ejection is doubled.
    doublings: u8,
    /// When the last was to end.
    until: Tick,
}

impl Backoff {
    /// How long an ejection that begins now lasts, and what is remembered of it.
    #[must_use]
    pub fn eject(self, rule: Ejection, now: Tick) -> (Duration, Self) {
        let doublings = self.calmed(rule, now);
        let lasts = length(rule, doublings);
        // One more than what reaches the longest: what it takes to calm down has a limit, too.
        let grown = doublings > 0 && length(rule, doublings - 1) >= rule.longest;
        let doublings = if grown { doublings } else { doublings.saturating_add(1) };
        (lasts, Self { doublings, until: now.after(lasts) })
    }

    /// The doublings that are left after the time without an ejection.
    fn calmed(self, rule: Ejection, now: Tick) -> u8 {
        let (mut doublings, mut calm) = (self.doublings, now.since(self.until));
        while doublings > 0 {
            let last = length(rule, doublings - 1);
            if calm < last {
                break;
            }
            calm -= last;
            doublings -= 1;
        }
        doublings
    }

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.doublings) << 48 | self.until.as_millis().min(TIME)
    }

    pub(crate) fn unpack(word: u64) -> Self {
        Self { doublings: (word >> 48) as u8, until: Tick::from_millis(word & TIME) }
    }
}

fn length(rule: Ejection, doublings: u8) -> Duration {
    let factor = 1_u32.checked_shl(doublings.into()).unwrap_or(u32::MAX);
    rule.first.saturating_mul(factor).min(rule.longest)
}

/// When the share of successes is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRule {
    /// The share, in percent.
    pub percent: u8,
    /// Outcomes in a window without which nothing is decided.
    pub requests: NonZeroU32,
    /// The length of a window.
    pub window: Duration,
}

/// Outcomes in the present window. Windows lie end to end, the same for all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    window: u32,
    /// Attempts that failed.
    pub failed: u32,
    /// All attempts.
    pub all: u32,
}

impl Tally {
    /// Counts keep 20 bits; beyond them they stand still.
    const MOST: u32 = (1 << 20) - 1;
    /// Windows are told apart by 24 bits.
    const WINDOWS: u64 = 1 << 24;

    /// The tally after one more outcome.
    #[must_use]
    pub fn after(self, outcome: Outcome, rule: RateRule, now: Tick) -> Self {
        let length = u64::try_from(rule.window.as_millis()).unwrap_or(u64::MAX).max(1);
        let window = (now.as_millis() / length % Self::WINDOWS) as u32;
        let before = if window == self.window { self } else { Self::default() };
        if before.all == Self::MOST {
            return before;
        }
        let failed = before.failed + u32::from(outcome != Outcome::Success);
        Self { window, failed, all: before.all + 1 }
    }

    /// Whether too few of them were successes.
    #[must_use]
    pub fn is_too_low(self, rule: RateRule) -> bool {
        let good = u64::from(self.all - self.failed);
        self.all >= rule.requests.get()
            && good * 100 < u64::from(self.all) * u64::from(rule.percent)
    }

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.window) << 40 | u64::from(self.failed) << 20 | u64::from(self.all)
    }

    pub(crate) fn unpack(word: u64) -> Self {
        let part = |shift: u32| (word >> shift) as u32 & Self::MOST;
        Self { window: (word >> 40) as u32, failed: part(20), all: part(0) }
    }
}

impl Standing {
    /// The standing after an attempt where `most` failures in a row eject for `lasts`.
    #[must_use]
    pub fn after_in_a_row(self, outcome: Outcome, most: u16, lasts: Duration, now: Tick) -> Self {
        match (self, outcome) {
            (Self::Up { .. }, Outcome::Success) => Self::default(),
            (Self::Up { fails, .. }, _) if fails + 1 < most => {
                Self::Up { fails: fails + 1, last_fail: now }
            }
            _ => self.judged(outcome, true, lasts, now),
        }
    }

    /// The standing after an attempt where something else has judged whether a failure ejects, for
    /// `lasts`.
    #[must_use]
    pub fn judged(self, outcome: Outcome, ejects: bool, lasts: Duration, now: Tick) -> Self {
        let cause = match outcome {
            Outcome::Success => {
                return if matches!(self, Self::Probation { .. }) { Self::default() } else { self };
            }
            Outcome::ConnectFailure => Cause::Connect,
            Outcome::Failure => Cause::Answer,
        };
        match self {
            // An attempt that began before the ejection says nothing new.
            Self::Ejected { .. } => self,
            Self::Up { .. } if !ejects => self,
            Self::Up { .. } | Self::Probation { .. } => {
                Self::Ejected { until: now.after(lasts), cause }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use Outcome::{ConnectFailure, Failure, Success};

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    /// The lengths, in seconds, of ejections that begin then.
    fn lengths(begins: &[u64]) -> Vec<u64> {
        let rule = Ejection { first: seconds(5), longest: seconds(60) };
        let mut backoff = Backoff::default();
        let mut eject = |begin: &u64| {
            let (lasts, next) = Backoff::unpack(backoff.pack()).eject(rule, at(*begin));
            backoff = next;
            lasts.as_secs()
        };
        begins.iter().map(&mut eject).collect()
    }

    #[test]
    fn each_ejection_is_twice_as_long_up_to_the_longest() {
        assert_eq!(lengths(&[0, 5, 15, 35, 75, 135, 195]), [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn a_time_of_peace_as_long_as_the_last_ejection_takes_a_doubling_back() {
        assert_eq!(lengths(&[0, 5, 24]), [5, 10, 20], "9 s after the end of one of 10 s");
        assert_eq!(lengths(&[0, 5, 25]), [5, 10, 10], "10 s after it");
        assert_eq!(lengths(&[0, 5, 30]), [5, 10, 5], "15 s after it, and 5 s more");
        assert_eq!(lengths(&[0, 5, 15, 35, 75, 135, 10_000]), [5, 10, 20, 40, 60, 60, 5]);
    }

    #[test]
    fn the_first_is_no_longer_than_the_longest() {
        let rule = Ejection { first: seconds(90), longest: seconds(60) };
        let (lasts, next) = Backoff::default().eject(rule, at(0));
        assert_eq!((lasts, next.eject(rule, at(60)).0), (seconds(60), seconds(60)));
    }

    /// Whether it is up after each outcome: `+` a success, `-` a failure, a second apart.
    fn in_a_row(most: u16, outcomes: &str) -> String {
        let mut standing = Standing::default();
        let mut after = |(time, outcome): (usize, char)| {
            let outcome = if outcome == '+' { Success } else { Failure };
            standing = standing.after_in_a_row(outcome, most, seconds(60), at(time as u64));
            if standing.is_up() { 'u' } else { 'e' }
        };
        outcomes.chars().enumerate().map(&mut after).collect()
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_begins_anew() {
        assert_eq!(in_a_row(3, "---"), "uue");
        assert_eq!(in_a_row(3, "--+--+---"), "uuuuuuuue");
        assert_eq!(in_a_row(1, "+-"), "ue");
        assert_eq!(in_a_row(2, "--++"), "ueee", "what began before says nothing");
    }

    #[test]
    fn one_attempt_on_probation_decides() {
        let trial = Standing::Probation { until: at(9), cause: Cause::Answer };
        let after = |outcome| trial.after_in_a_row(outcome, 5, seconds(10), at(3));
        assert!(after(Success).is_up());
        assert_eq!(
            after(ConnectFailure),
            Standing::Ejected { until: at(13), cause: Cause::Connect }
        );
        assert_eq!(trial.judged(Failure, false, seconds(10), at(3)), after(Failure));
    }

    const RATE: RateRule = RateRule {
        percent: 80,
        requests: NonZeroU32::new(10).expect("ten is not zero"),
        window: Duration::from_secs(10),
    };

    fn tally(good: u32, bad: u32, now: Tick) -> Tally {
        let outcomes = (0..good).map(|_| Success).chain((0..bad).map(|_| Failure));
        outcomes
            .fold(Tally::default(), |t, outcome| Tally::unpack(t.pack()).after(outcome, RATE, now))
    }

    #[test]
    fn a_share_of_successes_below_the_limit_is_too_low() {
        for (good, bad, too_low) in [
            (8, 2, false),
            (7, 3, true),
            (0, 9, false),
            (0, 10, true),
            (80, 20, false),
            (79, 21, true),
        ] {
            assert_eq!(tally(good, bad, at(0)).is_too_low(RATE), too_low, "{good} and {bad}");
        }
    }

    #[test]
    fn a_window_begins_empty() {
        let before = tally(0, 9, at(9));
        assert!(before.after(Failure, RATE, at(9)).is_too_low(RATE));
        let after = before.after(Failure, RATE, at(10));
        assert_eq!((after.failed, after.all), (1, 1));
    }

    #[test]
    fn counts_that_are_full_stand_still() {
        let full = Tally { window: 0, failed: 1, all: Tally::MOST };
        let now = Tick::from_millis(0);
        assert_eq!(full.after(Failure, RATE, now), full);
        assert_eq!(Tally::unpack(full.pack()), full);
    }
}
