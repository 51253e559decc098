//! What is counted of requests and of attempts, for whoever shows it.
//!
//! Counters only grow, from the start of the process; a count costs one atomic operation on what hardly any
//! other thread writes, and no lock or allocation. A time costs two. Who reads them while requests run may see one
//! counter a request ahead of another.

use std::array;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sharded::Sharded;
use super::times::Times;

/// Whether anything is counted here. A build that does not is for measuring what counting costs
/// (`benches/instructions/run`), and good for nothing else.
pub const COUNTS: bool = !cfg!(robin_uncounted);

/// The longest times of the buckets of a [`Histogram`], in microseconds; one more has all that is
/// longer. From what a cache answers to the default read timeout.
pub const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Times, counted by how long they are.
#[derive(Debug)]
pub struct Histogram(Sharded<{ SUM + 1 }>);

/// Where a histogram has the sum of its times: behind its buckets.
const SUM: usize = BOUNDS.len() + 1;

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many times were at most as long as each of [`BOUNDS`] and longer than the one before; the
    /// last ones were longer than all.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Their sum.
    pub sum: Duration,
}

impl AddAssign<&Self> for Distribution {
    fn add_assign(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Sharded::new())
    }

    /// Counts a time.
    pub fn count(&self, took: Duration) {
        if !COUNTS {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.add(BOUNDS.partition_point(|bound| *bound < micros), 1);
        self.0.add(SUM, micros);
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Distribution {
        let numbers = self.0.read();
        let counts = array::from_fn(|index| numbers[index]);
        Distribution { counts, sum: Duration::from_micros(numbers[SUM]) }
    }
}

impl Distribution {
    /// What was counted since `before`; all, where that is of another histogram.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.counts.iter().zip(&before.counts).all(|(now, before)| now >= before);
        if !grown {
            return self.clone();
        }
        Self {
            counts: array::from_fn(|index| self.counts[index] - before.counts[index]),
            sum: self.sum.saturating_sub(before.sum),
        }
    }

    /// The time within which `percent` of those counted ended, by the straight line between the
    /// bounds of its bucket; of those longer than all bounds, the last bound. None where nothing
    /// was counted.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut before = 0;
        for (index, count) in self.counts.iter().enumerate() {
            if *count > 0 && before + count >= wanted {
                let lower = index.checked_sub(1).map_or(0, |below| BOUNDS[below]);
                let upper = BOUNDS.get(index).copied().unwrap_or(lower);
                let part = (upper - lower) * (wanted - before) / count;
                return Some(Duration::from_micros(lower + part));
            }
            before += count;
        }
        None
    }
}

/// Answers, counted by the class of their status.
#[derive(Debug)]
pub struct Statuses(Sharded<6>);

/// How many answers there were of each class of status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCounts {
    /// Below 200: protocols that were switched.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// From 500 on.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// No answer: the attempt failed before its head, or was given up.
    pub none: u64,
}

impl Statuses {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Sharded::new())
    }

    /// Counts an answer, or with none that there was none.
    pub fn count(&self, status: Option<u16>) {
        let class = match status {
            Some(status) => usize::from(status / 100).clamp(1, 5),
            None => 0,
        };
        if COUNTS {
            self.0.add(class, 1);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> StatusCounts {
        let [none, informational, success, redirection, client_error, server_error] = self.0.read();
        StatusCounts { informational, success, redirection, client_error, server_error, none }
    }
}

impl AddAssign for StatusCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { informational, success, redirection, client_error, server_error, none } = self;
        *informational += other.informational;
        *success += other.success;
        *redirection += other.redirection;
        *client_error += other.client_error;
        *server_error += other.server_error;
        *none += other.none;
    }
}

impl StatusCounts {
    /// Each class by its name, in order.
    #[must_use]
    pub fn classes(&self) -> [(&'static str, u64); 6] {
        [
            ("1xx", self.informational),
            ("2xx", self.success),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
            ("none", self.none),
        ]
    }

    /// What was counted since `before`; all, where that was counted elsewhere.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, before: u64| now.checked_sub(before);
        let since = || {
            Some(Self {
                informational: less(self.informational, before.informational)?,
                success: less(self.success, before.success)?,
                redirection: less(self.redirection, before.redirection)?,
                client_error: less(self.client_error, before.client_error)?,
                server_error: less(self.server_error, before.server_error)?,
                none: less(self.none, before.none)?,
            })
        };
        since().unwrap_or(*self)
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.classes().iter().map(|(_, count)| count).sum()
    }
}

/// Requests of clients, as they ended.
#[derive(Debug, Default)]
pub struct Requests {
    /// What the clients got.
    pub statuses: Statuses,
    /// From the first byte of a request to the end of its answer.
    pub time: Histogram,
}

impl Requests {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { statuses: Statuses::new(), time: Histogram::new() }
    }

    /// Counts a request that has ended.
    pub fn count(&self, status: u16, took: Duration) {
        self.statuses.count(Some(status));
        self.time.count(took);
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self::new()
    }
}

/// A number that only grows.
#[derive(Debug)]
pub struct Count(Sharded<1>);

impl Default for Count {
    fn default() -> Self {
        Self::new()
    }
}

impl Count {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(Sharded::new())
    }

    /// One more.
    pub fn add(&self) {
        self.add_all(1);
    }

    /// So many more.
    pub fn add_all(&self, count: u64) {
        if COUNTS {
            self.0.add(0, count);
        }
    }

    /// So many.
    #[must_use]
    pub fn read(&self) -> u64 {
        let [count] = self.0.read();
        count
    }
}

/// How many there are of what comes and goes.
#[derive(Debug)]
pub struct Level(Sharded<1>);

impl Default for Level {
    fn default() -> Self {
        Self::new()
    }
}

impl Level {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Sharded::new())
    }

    /// One more.
    pub fn rise(&self) {
        self.0.add(0, 1);
    }

    /// One less.
    pub fn fall(&self) {
        self.0.add(0, 1_u64.wrapping_neg());
    }

    /// So many.
    #[must_use]
    pub fn read(&self) -> u64 {
        let [level] = self.0.read();
        // One that went from thread to thread may be seen to end only.
        level.cast_signed().max(0).cast_unsigned()
    }
}

/// What is counted of one upstream.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were handed to it, as their clients saw them end.
    pub requests: Requests,
    /// How long new connections to its peers took.
    pub connect: Histogram,
    /// From the beginning of an attempt to the head of its answer.
    pub first_byte: Histogram,
    /// Attempts after the first of a request.
    pub retries: Count,
    /// Second attempts beside a first one.
    pub hedges: Count,
    /// Requests that found no peer.
    pub unserved: Count,
}

/// What a tally has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What clients got of the requests that were handed to the upstream.
    pub statuses: StatusCounts,
    /// How long these took.
    pub time: Distribution,
    /// How long new connections to its peers took.
    pub connect: Distribution,
    /// From the beginning of an attempt to the head of its answer.
    pub first_byte: Distribution,
    /// Attempts after the first of a request.
    pub retries: u64,
    /// Second attempts beside a first one.
    pub hedges: u64,
    /// Requests that found no peer.
    pub unserved: u64,
}

impl Tally {
    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Totals {
        Totals {
            statuses: self.requests.statuses.read(),
            time: self.requests.time.read(),
            connect: self.connect.read(),
            first_byte: self.first_byte.read(),
            retries: self.retries.read(),
            hedges: self.hedges.read(),
            unserved: self.unserved.read(),
        }
    }
}

impl Totals {
    /// Whether anything was counted.
    #[must_use]
    pub fn are_some(&self) -> bool {
        *self != Self::default()
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        let Self { statuses, time, connect, first_byte, retries, hedges, unserved } = self;
        *statuses += other.statuses;
        *time += &other.time;
        *connect += &other.connect;
        *first_byte += &other.first_byte;
        *retries += other.retries;
        *hedges += other.hedges;
        *unserved += other.unserved;
    }
}

/// What is counted of one peer.
#[derive(Debug, Default)]
pub struct PeerTally {
    /// What came of its attempts.
    pub statuses: Statuses,
    /// Connections that were made.
    pub opened: Count,
    /// Attempts over a connection that had served before.
    pub reused: Count,
    /// How often traffic took it out.
    pub ejections: Count,
    /// Probes that passed.
    pub probes_passed: Count,
    /// Probes that failed.
    pub probes_failed: Count,
    /// The latest times to an answer's head.
    times: Times,
}

impl PeerTally {
    /// Takes the time to the head of an answer into account.
    pub fn answered(&self, took: Duration) {
        if COUNTS {
            self.times.learn(took);
        }
    }

    /// The time within which `percent` of the latest heads of answers came; none before there were
    /// twenty.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        self.times.percentile(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_it_fits_into() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000, 60_000_000, 60_000_001] {
            histogram.count(Duration::from_micros(micros));
        }
        let Distribution { counts, sum } = histogram.read();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 2, 1, 1));
        assert_eq!(sum, Duration::from_micros(120_002_002));
    }

    #[test]
    fn totals_add_up() {
        let tally = Tally::default();
        tally.requests.count(200, Duration::from_millis(1));
        tally.connect.count(Duration::from_secs(100));
        tally.retries.add();
        let once = tally.read();
        let mut twice = once.clone();
        twice += &once;
        tally.requests.count(200, Duration::from_millis(1));
        tally.connect.count(Duration::from_secs(100));
        tally.retries.add();
        assert_eq!(twice, tally.read());
    }

    #[test]
    fn a_percentile_lies_within_the_bucket_of_its_time() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().percentile(50), None);
        for _ in 0..100 {
            histogram.count(Duration::from_micros(3_000));
        }
        let before = histogram.read();
        assert_eq!(before.percentile(50), Some(Duration::from_micros(3_750)));
        assert_eq!(before.percentile(100), Some(Duration::from_micros(5_000)));
        histogram.count(Duration::from_secs(90));
        let since = histogram.read().since(&before);
        assert_eq!(since.counts.iter().sum::<u64>(), 1);
        assert_eq!(since.percentile(50), Some(Duration::from_mins(1)), "longer than all bounds");
        let other = Histogram::default().read();
        assert_eq!(other.since(&before), other, "the counts have begun anew");
    }

    #[test]
    fn statuses_are_counted_by_class() {
        let statuses = Statuses::default();
        for status in [101, 200, 204, 304, 404, 499, 502, 600] {
            statuses.count(Some(status));
        }
        statuses.count(None);
        let counts = statuses.read();
        assert_eq!(counts.classes().map(|(_, count)| count), [1, 2, 1, 2, 2, 1]);
        assert_eq!(counts.total(), 9);
    }
}
