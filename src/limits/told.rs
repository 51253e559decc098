//! What the log is told of a limit: the first request that it stops, then a sum a minute.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How much of it one line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This request is told of; a sum is due after [`Told::SPAN`].
    First,
    /// It is in the next sum.
    Counted,
}

/// What was done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was refused.
    Refused,
    /// It was delayed.
    Delayed,
    /// It would have been refused or delayed, were it not a dry run.
    DryRun {
        /// Refused.
        refused: bool,
    },
}

/// How many were stopped since the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Refused.
    pub refused: u64,
    /// Delayed.
    pub delayed: u64,
    /// Neither, in a dry run.
    pub dry_run: u64,
}

/// What the log was told of a zone.
#[derive(Debug, Default)]
pub struct Told {
    refused: Count,
    delayed: Count,
    dry_refused: Count,
    dry_delayed: Count,
    summing: AtomicBool,
}

#[derive(Debug, Default)]
struct Count {
    told: AtomicBool,
    since: AtomicU64,
}

impl Count {
    fn take(&self) -> u64 {
        self.since.swap(0, Relaxed)
    }
}

impl Told {
    /// What a sum is of.
    pub const SPAN: Duration = Duration::from_secs(60);

    /// Takes note of a request that was stopped.
    pub fn note(&self, stop: Stop) -> Turn {
        let count = match stop {
            Stop::Refused => &self.refused,
            Stop::Delayed => &self.delayed,
            Stop::DryRun { refused: true } => &self.dry_refused,
            Stop::DryRun { refused: false } => &self.dry_delayed,
        };
        if !count.told.swap(true, Relaxed) {
            return Turn::First;
        }
        count.since.fetch_add(1, Relaxed);
        Turn::Counted
    }

    /// Whether whoever asks is to print the sums from now on: nobody else does.
    pub fn begin(&self) -> bool {
        !self.summing.swap(true, Relaxed)
    }

    /// How many were stopped since the last line; none where there is nothing to tell, and the next
    /// request is the first again.
    pub fn sum(&self) -> Option<Sum> {
        let sum = Sum {
            refused: self.refused.take(),
            delayed: self.delayed.take(),
            dry_run: self.dry_refused.take() + self.dry_delayed.take(),
        };
        if sum != Sum::default() {
            return Some(sum);
        }
        self.summing.store(false, Relaxed);
        for count in [&self.refused, &self.delayed, &self.dry_refused, &self.dry_delayed] {
            count.told.store(false, Relaxed);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_summed() {
        let told = Told::default();
        assert_eq!(told.note(Stop::Refused), Turn::First);
        assert!(told.begin() && !told.begin());
        assert_eq!(told.note(Stop::Refused), Turn::Counted);
        assert_eq!(told.note(Stop::Delayed), Turn::First, "a delay is another thing");
        assert_eq!(told.note(Stop::Delayed), Turn::Counted);
        assert_eq!(told.note(Stop::DryRun { refused: true }), Turn::First);
        assert_eq!(told.sum(), Some(Sum { refused: 1, delayed: 1, dry_run: 0 }));
        assert_eq!(told.note(Stop::Refused), Turn::Counted, "the next sum tells of it");
        assert_eq!(told.sum(), Some(Sum { refused: 1, delayed: 0, dry_run: 0 }));
        assert_eq!(told.sum(), None);
        assert_eq!(told.note(Stop::Refused), Turn::First);
        assert!(told.begin());
    }
}
