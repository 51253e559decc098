//! Active probes: when they take a peer into the rotation and out of it.
//!
//! Each probe passes or fails. `rise` passes in a row end a failure, `fall` failures in a row
//! begin one. A peer that was never probed has no past to outweigh: its first pass counts at
//! once, and it is failing only after `fall` failures, since a replica is often listed before its
//! server listens. Traffic has its own record in [`passive`](super::passive); neither writes
//! the other's.

use std::num::NonZeroU32;

use crate::config::model::HealthCheck;

/// How many probes in a row turn the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRule {
    /// Passes in a row that make a failing peer pass.
    pub rise: NonZeroU32,
    /// Failures in a row that make a passing peer fail.
    pub fall: NonZeroU32,
}

impl From<&HealthCheck> for ProbeRule {
    fn from(check: &HealthCheck) -> Self {
        Self { rise: check.rise, fall: check.fall }
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
        let rule = ProbeRule {
            rise: NonZeroU32::new(rise).expect("tests use at least 1"),
            fall: NonZeroU32::new(fall).expect("tests use at least 1"),
        };
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
