//! What traffic's outcomes come to for one peer, by the upstream's `passive`: the transition, and what is remembered
//! beside the standing where ejections grow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Change, Peer};
use crate::config::model::{Ejection, Passive};
use crate::health::{Backoff, Outcome, PassiveRule, RateRule, Standing, Tally, Tick};

/// What is remembered of a peer's ejections where they grow. A report of a success takes no lock and
/// writes nothing here but the tally of a success rate.
#[derive(Debug, Default)]
pub(super) struct Ejections {
    backoff: AtomicU64,
    tally: AtomicU64,
    /// Failures of the last ejection in the upper half, outcomes that they are of in the lower; zero
    /// where they were in a row.
    blame: AtomicU64,
}

/// What the failures were that ejected a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// How many.
    pub fails: u32,
    /// Of how many outcomes; none where they came in a row.
    pub of: Option<u32>,
}

impl Ejections {
    /// What ejected the peer last.
    pub(super) fn blame(&self) -> Blame {
        let word = self.blame.load(Relaxed);
        let of = word as u32;
        Blame { fails: (word >> 32) as u32, of: (of > 0).then_some(of) }
    }

    /// Counts an outcome and says whether the share of successes is too low now.
    fn tally(&self, outcome: Outcome, rule: RateRule, now: Tick) -> (Tally, bool) {
        let after = |word| Tally::unpack(word).after(outcome, rule, now);
        let before = self.tally.fetch_update(Relaxed, Relaxed, |word| Some(after(word).pack()));
        let tally = after(before.unwrap_or_default());
        (tally, tally.is_too_low(rule))
    }

    /// Takes note of an ejection.
    fn ejected(&self, backoff: Backoff, blame: Blame) {
        self.backoff.store(backoff.pack(), Relaxed);
        self.blame.store(u64::from(blame.fails) << 32 | u64::from(blame.of.unwrap_or(0)), Relaxed);
        self.tally.store(0, Relaxed);
    }
}

impl Peer {
    /// How long a trial attempt is waited for, and whether there is any ejection at all.
    pub(super) fn rule(&self) -> PassiveRule {
        let line = self.member().passive;
        match self.passive() {
            Passive::MaxFails => line,
            Passive::Consecutive { ejection, .. } | Passive::SuccessRate { ejection, .. } => {
                PassiveRule { fail_timeout: ejection.first, ..line }
            }
        }
    }

    /// Applies an attempt's outcome; what it changes, where the rotation has to be made anew.
    pub(super) fn judge(&self, outcome: Outcome, now: Tick) -> Option<Change> {
        let line = self.member().passive;
        match self.passive() {
            // A line whose failures are not to count: nginx's `max_fails=0`.
            Passive::Consecutive { .. } | Passive::SuccessRate { .. } if line.max_fails == 0 => {
                None
            }
            Passive::MaxFails => {
                let moved = self.transition(|standing| standing.after(outcome, line, now), now);
                let blame = Blame { fails: line.max_fails.into(), of: None };
                moved.then(|| match outcome {
                    Outcome::Success => Change::Readmitted,
                    _ => ejected(outcome, blame, line.fail_timeout),
                })
            }
            Passive::Consecutive { failures, ejection } => {
                let most = failures.get();
                let blame = Blame { fails: most.into(), of: None };
                self.grow(outcome, ejection, blame, now, |standing, lasts| {
                    standing.after_in_a_row(outcome, most, lasts, now)
                })
            }
            Passive::SuccessRate { percent, requests, window, ejection } => {
                let rule = RateRule { percent, requests, window };
                if matches!(self.standing(), Standing::Ejected { .. }) {
                    return None;
                }
                let (tally, too_low) = self.ejections().tally(outcome, rule, now);
                let blame = Blame { fails: tally.failed, of: Some(tally.all) };
                self.grow(outcome, ejection, blame, now, |standing, lasts| {
                    standing.judged(outcome, too_low, lasts, now)
                })
            }
        }
    }

    /// Replaces the standing by `next` of it and of the length that an ejection has now.
    fn grow(
        &self,
        outcome: Outcome,
        ejection: Ejection,
        blame: Blame,
        now: Tick,
        next: impl Fn(Standing, Duration) -> Standing,
    ) -> Option<Change> {
        let record = self.ejections();
        // Who wins the transition below has read what holds: nobody else is ejected meanwhile.
        let (lasts, backoff) = match outcome {
            Outcome::Success => Default::default(),
            _ => Backoff::unpack(record.backoff.load(Relaxed)).eject(ejection, now),
        };
        let (before, after) = self.replace(|standing| next(standing, lasts), now)?;
        match (before, after) {
            (Standing::Up { .. }, Standing::Ejected { .. }) => {
                record.ejected(backoff, blame);
                Some(ejected(outcome, blame, lasts))
            }
            (Standing::Probation { .. }, Standing::Ejected { .. }) => {
                let blame = Blame { fails: 1, of: None };
                record.ejected(backoff, blame);
                Some(ejected(outcome, blame, lasts))
            }
            (Standing::Probation { .. }, Standing::Up { .. }) => Some(Change::Readmitted),
            _ => None,
        }
    }
}

fn ejected(outcome: Outcome, blame: Blame, lasts: Duration) -> Change {
    let Blame { fails, of } = blame;
    Change::Ejected { fails, of, lasts, connect: outcome == Outcome::ConnectFailure }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroU32};

    use super::super::{Key, Member, Policy, Tried, Upstream};
    use super::*;
    use crate::health::Cause;

    const SECOND: Duration = Duration::from_secs(1);
    const EJECTION: Ejection =
        Ejection { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    fn upstream(passive: Passive) -> Upstream {
        let upstream = Upstream::with("test", Policy { passive, ..Policy::default() });
        let member = |port| Member::new(([127, 0, 0, 1], port).into());
        upstream.publish(&[member(1), member(2)], at(0));
        upstream
    }

    fn in_a_row(failures: u16) -> Upstream {
        let failures = NonZeroU16::new(failures).expect("not zero");
        upstream(Passive::Consecutive { failures, ejection: EJECTION })
    }

    /// What reports about the first peer change, all at one moment.
    fn report(u: &Upstream, outcomes: &[Outcome], now: Tick) -> Vec<Change> {
        let peer = &u.peers()[0];
        outcomes.iter().filter_map(|o| u.report(peer, *o, now)).map(|event| event.change).collect()
    }

    fn ejection(fails: u32, of: Option<u32>, seconds: u32) -> Change {
        Change::Ejected { fails, of, lasts: SECOND * seconds, connect: false }
    }

    #[test]
    fn failures_in_a_row_eject_for_twice_as_long_each_time() {
        use Outcome::{Failure, Success};
        let u = in_a_row(3);
        assert_eq!(report(&u, &[Failure, Failure, Success, Failure, Failure], at(0)), []);
        assert_eq!(report(&u, &[Failure], at(0)), [ejection(3, None, 5)]);
        assert_eq!(report(&u, &[Failure, Success], at(1)), [], "they began before");
        let (key, tried) = (Key::default(), Tried::default());
        let trial = |now| u.pick(&key, &tried, now).expect("a peer").address().port();
        assert_eq!([trial(at(4)), trial(at(5)), trial(at(5))], [2, 1, 2], "one attempt is made");
        assert_eq!(report(&u, &[Failure], at(5)), [ejection(1, None, 10)]);
        assert_eq!([trial(at(14)), trial(at(15))], [2, 1]);
        assert_eq!(report(&u, &[Success], at(15)), [Change::Readmitted]);
        assert_eq!(report(&u, &[Failure; 3], at(16)), [ejection(3, None, 20)]);
    }

    #[test]
    fn a_low_rate_of_successes_ejects() {
        use Outcome::{Failure, Success};
        let ten = NonZeroU32::new(10).expect("not zero");
        let u = upstream(Passive::SuccessRate {
            percent: 80,
            requests: ten,
            window: SECOND * 10,
            ejection: EJECTION,
        });
        assert_eq!(report(&u, &[Failure, Failure], at(0)), []);
        assert_eq!(report(&u, &[Success; 8], at(1)), []);
        assert_eq!(report(&u, &[Failure], at(2)), [ejection(3, Some(11), 5)]);
        let state = &u.snapshot(at(2)).peers[0];
        assert_eq!(state.reason(at(3)), "ejected for answer, 3 of 11 failed, 4s left");
    }

    #[test]
    fn a_lone_peer_and_a_line_that_counts_nothing_are_never_ejected() {
        let u = in_a_row(1);
        let member = |port| Member::new(([127, 0, 0, 1], port).into());
        u.publish(&[member(1)], at(0));
        assert_eq!(report(&u, &[Outcome::Failure; 3], at(0)), []);
        let passive = PassiveRule { max_fails: 0, ..PassiveRule::default() };
        u.publish(&[Member { passive, ..member(1) }, member(2)], at(0));
        assert_eq!(report(&u, &[Outcome::Failure; 3], at(0)), []);
        assert_eq!(u.peers()[0].failures(), 6, "they are counted");
    }

    #[test]
    fn a_connect_ends_an_ejection_for_failed_connects_here_too() {
        let u = in_a_row(1);
        let peer = u.peers()[0].clone();
        u.report(&peer, Outcome::ConnectFailure, at(0));
        let out = Standing::Ejected { until: at(5), cause: Cause::Connect };
        assert_eq!(peer.standing(), out);
        let event = u.connected(&peer, at(1)).expect("it is back");
        assert_eq!(event.change, Change::Readmitted);
    }

    #[test]
    fn a_success_allocates_nothing() {
        let u = in_a_row(3);
        let peer = u.peers()[0].clone();
        let info = allocation_counter::measure(|| {
            for n in 0..100 {
                assert!(u.report(&peer, Outcome::Success, at(n)).is_none());
            }
        });
        assert_eq!(info.count_total, 0);
    }
}
