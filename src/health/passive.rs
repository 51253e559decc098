//! Passive failures: when live traffic takes a peer out of rotation.
//!
//! Each attempt reports one [`Outcome`]. After `max_fails` failures the peer is ejected for
//! `fail_timeout`, then admitted on probation: one attempt decides. Meanings and defaults are
//! those of nginx's `max_fails` and `fail_timeout` (`ngx_http_upstream_free_round_robin_peer_locked`).
//! What nginx has not: the cause of an ejection is kept, so that one for failed connects can end
//! as soon as a connect succeeds; a background connect that fails meanwhile makes it one.

use super::Tick;
pub use crate::config::model::PassiveRule;

/// How one attempt at a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer answered.
    Success,
    /// No connection could be made, so nothing was sent.
    ConnectFailure,
    /// The connection broke, timed out, or the answer counts as a failure.
    Failure,
}

/// Why a peer was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last failure was a failed connect: the ejection ends when a connect succeeds.
    Connect,
    /// The last failure came later: the ejection lasts `fail_timeout`.
    Answer,
}

/// What traffic has shown of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In rotation.
    Up {
        /// Failures counted since the count last began.
        fails: u16,
        /// When the last of them was.
        last_fail: Tick,
    },
    /// Out of rotation.
    Ejected {
        /// When it may be tried again.
        until: Tick,
        /// What the last failure was.
        cause: Cause,
    },
    /// One attempt is under way and decides; the peer is out for all others until `until`.
    Probation {
        /// When the next attempt may be made should this one never report.
        until: Tick,
        /// What the failure before was.
        cause: Cause,
    },
}

impl Default for Standing {
    fn default() -> Self {
        Self::Up { fails: 0, last_fail: Tick::default() }
    }
}

impl Standing {
    /// The standing after an attempt ended with `outcome`.
    #[must_use]
    pub fn after(self, outcome: Outcome, rule: PassiveRule, now: Tick) -> Self {
        let cause = match outcome {
            Outcome::Success => {
                return match self {
                    // As in nginx, a success clears the count only once fail_timeout has passed
                    // since the last failure: a peer that fails every other request must still
                    // be ejected. Pinned by `early_success_keeps_count`.
                    Self::Up { last_fail, .. } if now < last_fail.after(rule.fail_timeout) => self,
                    // An answer to an attempt begun before the ejection says nothing new.
                    Self::Ejected { .. } => self,
                    Self::Up { .. } | Self::Probation { .. } => Self::default(),
                };
            }
            Outcome::ConnectFailure => Cause::Connect,
            Outcome::Failure => Cause::Answer,
        };
        if rule.max_fails == 0 {
            return self;
        }
        match self {
            Self::Ejected { .. } => self,
            Self::Probation { .. } => Self::Ejected { until: now.after(rule.fail_timeout), cause },
            Self::Up { fails, last_fail } => {
                let counted = if now > last_fail.after(rule.fail_timeout) { 0 } else { fails };
                if counted + 1 < rule.max_fails {
                    Self::Up { fails: counted + 1, last_fail: now }
                } else {
                    Self::Ejected { until: now.after(rule.fail_timeout), cause }
                }
            }
        }
    }

    /// The standing of a peer whose time has come: on probation, if it was out and may be tried.
    #[must_use]
    pub fn admit(self, rule: PassiveRule, now: Tick) -> Option<Self> {
        match self {
            Self::Ejected { until, cause } | Self::Probation { until, cause } if now >= until => {
                Some(Self::Probation { until: now.after(rule.fail_timeout), cause })
            }
            _ => None,
        }
    }

    /// The standing of a peer that is tried before its time, because every other one is out too:
    /// on probation, so that a success brings it back at once.
    #[must_use]
    pub fn admit_early(self, rule: PassiveRule, now: Tick) -> Self {
        match self {
            Self::Ejected { cause, .. } => {
                Self::Probation { until: now.after(rule.fail_timeout), cause }
            }
            other => other,
        }
    }

    /// The standing after a background connect succeeded.
    #[must_use]
    pub fn connected(self) -> Self {
        match self {
            Self::Ejected { cause: Cause::Connect, .. }
            | Self::Probation { cause: Cause::Connect, .. } => Self::default(),
            other => other,
        }
    }

    /// The standing after a success in panic mode, which uses peers that are out.
    #[must_use]
    pub fn proven(self) -> Self {
        if self.is_up() { self } else { Self::default() }
    }

    /// The standing after a background connect failed. A peer that is out for a broken answer was
    /// only being restarted then: the last failure is a failed connect now, and a connect ends it.
    #[must_use]
    pub fn unreachable(self) -> Self {
        match self {
            Self::Ejected { until, .. } => Self::Ejected { until, cause: Cause::Connect },
            other => other,
        }
    }

    /// When the peer may be tried again, if it is out of rotation.
    #[must_use]
    pub fn until(self) -> Option<Tick> {
        match self {
            Self::Up { .. } => None,
            Self::Ejected { until, .. } | Self::Probation { until, .. } => Some(until),
        }
    }

    /// Whether the peer takes part in the rotation.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// One word that holds it all, so that a reader needs no lock. Times keep 48 bits (8,900
    /// years), the count of failures 14.
    pub(crate) fn pack(self) -> u64 {
        const TIME: u64 = (1 << 48) - 1;
        let (tag, small, time) = match self {
            Self::Up { fails, last_fail } => (0, u64::from(fails.min(0x3fff)), last_fail),
            Self::Ejected { until, cause } => (1, u64::from(cause == Cause::Connect), until),
            Self::Probation { until, cause } => (2, u64::from(cause == Cause::Connect), until),
        };
        tag << 62 | small << 48 | time.as_millis().min(TIME)
    }

    /// The inverse of [`Standing::pack`].
    pub(crate) fn unpack(word: u64) -> Self {
        let time = Tick::from_millis(word & ((1 << 48) - 1));
        let small = (word >> 48 & 0x3fff) as u16;
        let cause = if small == 1 { Cause::Connect } else { Cause::Answer };
        match word >> 62 {
            0 => Self::Up { fails: small, last_fail: time },
            1 => Self::Ejected { until: time, cause },
            _ => Self::Probation { until: time, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: PassiveRule = PassiveRule { max_fails: 3, fail_timeout: Duration::from_secs(10) };

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    fn run(events: &[(u64, Outcome)]) -> Standing {
        events.iter().fold(Standing::default(), |s, (t, o)| s.after(*o, RULE, at(*t)))
    }

    #[test]
    fn max_fails_failures_within_fail_timeout_eject() {
        use Outcome::Failure;
        assert!(run(&[(0, Failure), (1, Failure)]).is_up());
        let out = run(&[(0, Failure), (1, Failure), (2, Failure)]);
        assert_eq!(out, Standing::Ejected { until: at(12), cause: Cause::Answer });
    }

    #[test]
    fn failures_further_apart_than_fail_timeout_do_not_add_up() {
        use Outcome::Failure;
        assert!(run(&[(0, Failure), (1, Failure), (12, Failure)]).is_up());
    }

    #[test]
    fn early_success_keeps_count() {
        use Outcome::{Failure, Success};
        let s = run(&[(0, Failure), (1, Success), (2, Failure), (3, Success), (4, Failure)]);
        assert!(!s.is_up());
    }

    #[test]
    fn max_fails_zero_never_ejects() {
        let rule = PassiveRule { max_fails: 0, ..RULE };
        let s = Standing::default();
        assert_eq!(s.after(Outcome::Failure, rule, at(1)), s);
    }

    #[test]
    fn one_attempt_on_probation_decides() {
        let out = Standing::Ejected { until: at(10), cause: Cause::Answer };
        assert_eq!(out.admit(RULE, at(9)), None);
        let trial = out.admit(RULE, at(10)).expect("the ejection is over");
        assert_eq!(trial.admit(RULE, at(11)), None, "a second attempt is not admitted");
        assert!(trial.after(Outcome::Success, RULE, at(11)).is_up());
        let again = trial.after(Outcome::Failure, RULE, at(11));
        assert_eq!(again, Standing::Ejected { until: at(21), cause: Cause::Answer });
    }

    #[test]
    fn a_success_of_an_early_attempt_ends_the_ejection() {
        let out = Standing::Ejected { until: at(10), cause: Cause::Answer };
        let trial = out.admit_early(RULE, at(1));
        assert!(trial.after(Outcome::Success, RULE, at(2)).is_up());
        let again = trial.after(Outcome::Failure, RULE, at(2));
        assert_eq!(again, Standing::Ejected { until: at(12), cause: Cause::Answer });
        assert_eq!(trial.admit_early(RULE, at(5)), trial, "its trial is under way");
        assert!(Standing::default().admit_early(RULE, at(5)).is_up());
    }

    #[test]
    fn a_connect_ends_only_an_ejection_for_failed_connects() {
        let connect = Standing::Ejected { until: at(10), cause: Cause::Connect };
        let answer = Standing::Ejected { until: at(10), cause: Cause::Answer };
        assert!(connect.connected().is_up());
        assert_eq!(answer.connected(), answer);
    }

    #[test]
    fn a_failed_background_connect_makes_it_an_ejection_for_failed_connects() {
        let answer = Standing::Ejected { until: at(10), cause: Cause::Answer };
        assert!(answer.unreachable().connected().is_up());
        assert_eq!(Standing::default().unreachable(), Standing::default(), "it ejects nobody");
    }

    #[test]
    fn packing_loses_nothing() {
        for s in [
            Standing::default(),
            Standing::Up { fails: 7, last_fail: at(3) },
            Standing::Ejected { until: at(5), cause: Cause::Connect },
            Standing::Ejected { until: at(5), cause: Cause::Answer },
            Standing::Probation { until: at(6), cause: Cause::Connect },
        ] {
            assert_eq!(Standing::unpack(s.pack()), s);
        }
    }
}
