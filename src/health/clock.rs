//! Time as an argument: milliseconds since the process began to keep time.
//!
//! A `Tick` fits into half of an atomic word, which is why live state does not hold `Instant`s.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// A moment, in milliseconds since the first call of [`Tick::now`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        let epoch = *EPOCH.get_or_init(Instant::now);
        Self::from_millis(u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `after` later; the last representable one instead of an overflow.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }
}
