//! Active probes: when they take a peer into the rotation and out of it.
//!
//! Each probe passes or fails. `rise` passes in a row end a failure, `fall` failures in a row
//! begin one. A peer that was never probed has no past to outweigh: its first pass counts at
//! once, and it is failing only after `fall` failures, since a replica is often listed before its
//! server listens. Traffic has its own record in [`passive`](super::passive); neither writes
//! the other's.

use std::num::NonZeroU32;

use crate::config::model::HealthCheck;

/// How many probes in a row turn the verdict, and what holds before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRule {
    /// Passes in a row that make a failing peer pass.
    pub rise: NonZeroU32,
    /// Failures in a row that make a passing peer fail.
    pub fall: NonZeroU32,
    /// Whether a new peer waits for its first pass.
    pub mandatory: bool,
    /// Whether a pass from before a reload counts after it.
    pub persistent: bool,
}

impl ProbeRule {
    /// One whose new peers wait.
    #[must_use]
    pub fn new(rise: NonZeroU32, fall: NonZeroU32) -> Self {
        Self { rise, fall, mandatory: true, persistent: false }
    }
}

impl From<&HealthCheck> for ProbeRule {
    fn from(check: &HealthCheck) -> Self {
        let HealthCheck { rise, fall, mandatory, persistent, .. } = *check;
        Self { rise, fall, mandatory, persistent }
    }
}

/// What probes have shown of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No probe has decided yet.
    Unknown {
        /// Failures so far.
        fails: u32,
    },
    /// Probes pass.
    Passing {
        /// Failures since the last pass.
        fails: u32,
    },
    /// Probes fail.
    Failing {
        /// Passes since the last failure.
        passes: u32,
    },
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Unknown { fails: 0 }
    }
}

impl Verdict {
    /// The verdict after one more probe.
    #[must_use]
    pub fn after(self, passed: bool, rule: ProbeRule) -> Self {
        match (self, passed) {
            (Self::Unknown { .. } | Self::Passing { .. }, true) => Self::Passing { fails: 0 },
            (Self::Failing { passes }, true) if passes + 1 < rule.rise.get() => {
                Self::Failing { passes: passes + 1 }
            }
            (Self::Failing { .. }, true) => Self::Passing { fails: 0 },
            (Self::Unknown { fails }, false) if fails + 1 < rule.fall.get() => {
                Self::Unknown { fails: fails + 1 }
            }
            (Self::Passing { fails }, false) if fails + 1 < rule.fall.get() => {
                Self::Passing { fails: fails + 1 }
            }
            (_, false) => Self::Failing { passes: 0 },
        }
    }

    /// What several checks have shown together: all of them have to pass, and one that fails decides.
    #[must_use]
    pub fn of_all(verdicts: &[Self]) -> Self {
        let first = |is: fn(&Self) -> bool| verdicts.iter().copied().find(is);
        let failing = first(|verdict| verdict.is_failing());
        let unknown = || first(|verdict| matches!(verdict, Self::Unknown { .. }));
        let passing = || verdicts.iter().copied().max_by_key(|verdict| verdict.fails());
        failing.or_else(unknown).or_else(passing).unwrap_or_default()
    }

    /// Failures in a row that have not turned it.
    fn fails(self) -> u32 {
        match self {
            Self::Unknown { fails } | Self::Passing { fails } => fails,
            Self::Failing { .. } => 0,
        }
    }

    /// Whether probes pass.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Passing { .. })
    }

    /// Whether probes fail.
    #[must_use]
    pub fn is_failing(self) -> bool {
        matches!(self, Self::Failing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict after each probe, `+` passed and `-` failed: `?` unknown, `P` passing, `F` failing.
    fn verdicts(rise: u32, fall: u32, probes: &str) -> String {
        let number = |n| NonZeroU32::new(n).expect("tests use at least 1");
        let rule = ProbeRule::new(number(rise), number(fall));
        let mut verdict = Verdict::default();
        let mut after = |probe| {
            verdict = verdict.after(probe == '+', rule);
            match verdict {
                Verdict::Unknown { .. } => '?',
                Verdict::Passing { .. } => 'P',
                Verdict::Failing { .. } => 'F',
            }
        };
        probes.chars().map(&mut after).collect()
    }

    #[test]
    fn probes_in_a_row_turn_the_verdict() {
        for (rise, fall, probes, expected) in [
            (1, 1, "+-+", "PFP"),
            (1, 2, "+--+", "PPFP"),
            (1, 2, "+-+-+--", "PPPPPPF"),
            (3, 1, "+-+++", "PFFFP"),
            (3, 1, "+-++-+++", "PFFFFFFP"),
            (2, 3, "+---+-++", "PPPFFFFP"),
        ] {
            assert_eq!(verdicts(rise, fall, probes), expected, "rise {rise} fall {fall} {probes}");
        }
    }

    #[test]
    fn of_several_checks_one_that_fails_decides() {
        let unknown = Verdict::Unknown { fails: 1 };
        let passing = Verdict::Passing { fails: 0 };
        let failing = Verdict::Failing { passes: 1 };
        for (verdicts, together) in [
            (&[passing, failing, unknown][..], failing),
            (&[passing, unknown], unknown),
            (&[passing, Verdict::Passing { fails: 2 }], Verdict::Passing { fails: 2 }),
            (&[], Verdict::default()),
        ] {
            assert_eq!(Verdict::of_all(verdicts), together, "{verdicts:?}");
        }
    }

    #[test]
    fn the_first_pass_of_a_new_peer_counts_at_once() {
        assert_eq!(verdicts(3, 2, "+"), "P");
        assert_eq!(verdicts(3, 2, "-+"), "?P");
    }

    #[test]
    fn a_new_peer_is_failing_after_fall_failures() {
        assert_eq!(verdicts(1, 1, "-"), "F");
        assert_eq!(verdicts(1, 3, "---"), "??F");
    }
}
