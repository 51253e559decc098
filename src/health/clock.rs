//! Time as an argument: milliseconds since the process began to keep time.
//!
//! A `Tick` fits into half of an atomic word, which is why live state does not hold `Instant`s.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static STILL: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// The moment at which a thread's time stands still, and what was asked of it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Instant,
    /// The last moment whose distance was asked for, and that distance.
    last: (Instant, Duration),
    tick: Option<Tick>,
}

/// The present moment.
#[must_use]
pub fn now() -> Instant {
    STILL.get().map_or_else(Instant::now, |still| still.now)
}

/// How long ago something was.
#[must_use]
pub fn since(moment: Instant) -> Duration {
    let Some(still) = STILL.get() else {
        return Instant::now().saturating_duration_since(moment);
    };
    // One step asks for the same over and over.
    let (last, time) = still.last;
    if last == moment {
        return time;
    }
    let time = still.now.saturating_duration_since(moment);
    STILL.set(Some(Moment { last: (moment, time), ..still }));
    time
}

/// Has the thread's time stand still as long as it lives: what happens in one step happens at one moment, and the
/// system is asked for it once. It cannot be held while something is awaited.
#[derive(Debug)]
#[must_use = "time goes on when it is dropped"]
pub struct Still {
    before: Option<Moment>,
    /// Neither sent nor shared.
    _thread: PhantomData<*const ()>,
}

impl Still {
    /// From now on.
    pub fn begin() -> Self {
        let now = now();
        let still = Moment { now, last: (now, Duration::ZERO), tick: None };
        Self { before: STILL.replace(Some(still)), _thread: PhantomData }
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        STILL.set(self.before);
    }
}

/// A moment, in milliseconds since the first call of [`Tick::now`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        let still = STILL.get();
        if let Some(tick) = still.and_then(|still| still.tick) {
            return tick;
        }
        let tick = Self::at(still.map_or_else(Instant::now, |still| still.now));
        STILL.set(still.map(|still| Moment { tick: Some(tick), ..still }));
        tick
    }

    fn at(moment: Instant) -> Self {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        let epoch = *EPOCH.get_or_init(Instant::now);
        let time = moment.saturating_duration_since(epoch);
        Self::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
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

    /// The time since `earlier`; zero where that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration as a person reads it: two units at most (`3m12s`, `2d04h`), below ten seconds with
/// a fraction (`1.5s`), below one in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match () {
            () if seconds == 0 && millis > 0 => write!(f, "{millis}ms"),
            () if seconds < 10 && millis >= 100 => write!(f, "{seconds}.{}s", millis / 100),
            () if minutes == 0 => write!(f, "{seconds}s"),
            () if hours == 0 => write!(f, "{minutes}m{:02}s", seconds % 60),
            () if days == 0 => write!(f, "{hours}h{:02}m", minutes % 60),
            () => write!(f, "{days}d{:02}h", hours % 24),
        }
    }
}
