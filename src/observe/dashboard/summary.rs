//! The summary line: what has happened to each upstream since the last one.
//!
//! ```text
//! health summary: back-end 2/3 up: 2400 requests, 3 errors, 12 retries, p50 4ms, p99 31ms, 2 in flight; api no addresses: 0 requests, …
//! ```
//!
//! Requests are those that clients made of the upstream, errors those that ended in a status from 500
//! on. Percentiles are of whole requests, from their first byte to the end of their answers, by
//! the buckets of a histogram; they are left out where there was no request.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::super::view::UpstreamView;
use super::{brief, millis, overview};
use crate::health::Tick;
use crate::upstream::{Distribution, StatusCounts, Tier};

/// What the last summary has told of.
#[derive(Debug)]
pub struct Sums {
    at: Tick,
    upstreams: HashMap<String, Told>,
}

#[derive(Debug, Default)]
struct Told {
    statuses: StatusCounts,
    retries: u64,
    times: Distribution,
}

/// What has happened to an upstream since the last summary, and how it stands. A public format, as the
/// views are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpstreamSum {
    /// Its name.
    pub name: String,
    /// Primaries that serve.
    pub up: usize,
    /// All primaries.
    pub peers: usize,
    /// Backups that could serve.
    pub backups_up: usize,
    /// All backups.
    pub backups: usize,
    /// Whether so many peers are out that all are used.
    pub panic: bool,
    /// Requests.
    pub requests: u64,
    /// Those that ended in a status from 500 on.
    pub errors: u64,
    /// What clients got.
    pub statuses: StatusCounts,
    /// Attempts after the first of a request.
    pub retries: u64,
    /// The time within which half of the requests ended; none where there was none.
    pub p50_ms: Option<f64>,
    /// The time within which 99 of 100 did.
    pub p99_ms: Option<f64>,
    /// Attempts under way.
    pub in_flight: u64,
}

impl Sums {
    /// Nothing told yet.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self { at: now, upstreams: HashMap::new() }
    }

    /// What has happened since it was last asked, and how long ago that was; `times` are those of the
    /// upstream at a place among them.
    pub fn take(
        &mut self,
        upstreams: &[UpstreamView],
        times: impl Fn(usize) -> Distribution,
        now: Tick,
    ) -> (Duration, Vec<UpstreamSum>) {
        let since = now.since(std::mem::replace(&mut self.at, now));
        let told = std::mem::take(&mut self.upstreams);
        let none = Told::default();
        let mut sums = Vec::with_capacity(upstreams.len());
        for (at, view) in upstreams.iter().enumerate() {
            let now = Told { statuses: view.statuses, retries: view.retries, times: times(at) };
            let Told { statuses, retries, times } = &now;
            let before = told.get(&view.name).unwrap_or(&none);
            let new = times.since(&before.times);
            let ms = |percent| new.percentile(percent).map(|time| time.as_micros() as f64 / 1000.0);
            let statuses = statuses.since(&before.statuses);
            sums.push(UpstreamSum {
                requests: statuses.total(),
                errors: statuses.server_error,
                statuses,
                retries: retries.checked_sub(before.retries).unwrap_or(*retries),
                p50_ms: ms(50),
                p99_ms: ms(99),
                ..UpstreamSum::standing(view)
            });
            self.upstreams.insert(view.name.clone(), now);
        }
        (since, sums)
    }
}

impl UpstreamSum {
    /// How it stands, without what has happened.
    fn standing(view: &UpstreamView) -> Self {
        let (up, peers) = view.count(Tier::Primary);
        let (backups_up, backups) = view.count(Tier::Backup);
        Self {
            name: view.name.clone(),
            up,
            peers,
            backups_up,
            backups,
            panic: view.panic,
            in_flight: view.peers.iter().map(|peer| u64::from(peer.in_flight)).sum(),
            ..Self::default()
        }
    }

    fn text(&self) -> String {
        let Self { requests, errors, retries, in_flight, .. } = self;
        let latency = match (self.p50_ms, self.p99_ms) {
            (Some(half), Some(most)) => format!(", p50 {}, p99 {}", millis(half), millis(most)),
            _ => String::new(),
        };
        let (s, es, ies) =
            (plural(*requests, "", "s"), plural(*errors, "", "s"), plural(*retries, "y", "ies"));
        format!(
            "{requests} request{s}, {errors} error{es}, {retries} retr{ies}{latency}, {in_flight} in flight"
        )
    }
}

fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// The line.
pub(in crate::observe) fn line(upstreams: &[UpstreamView], sums: &[UpstreamSum]) -> String {
    let mut sums = sums.iter();
    let with_load = |upstream: &UpstreamView| {
        let sum = sums.next().map(UpstreamSum::text).unwrap_or_default();
        format!("{}: {sum}", brief(upstream))
    };
    format!("health summary: {}", overview(upstreams, with_load))
}
