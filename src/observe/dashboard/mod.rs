//! The health dashboard: one block of text that shows what is up, and one line that sums it up.
//!
//! Both are rendered from views, plain values that say what is known of each upstream at one
//! moment, and each is one log record, so that nothing comes between its lines. When they are due
//! is decided by a [`Schedule`].
//!
//! ```text
//! health dashboard: back-end 1/3 up, backups 1/1; front-end:9000 1/1 up; api no addresses
//!       peer             tier    state                         for    last probe           share  in flight
//!   back-end: 1/3 peers up, 1/1 backups up
//!     + 172.18.0.4:5252          up                            3m12s  4ms                  50.0%          2
//!     ! 172.18.0.5:5252          ejected for connect, 7s left  3s     connection refused   50.0%          0
//!     - 172.18.0.6:5252          absent from DNS               1m02s                        0.0%          0
//!     + 172.18.0.9:8002  backup  up                            3m12s  6ms                   0.0%          0
//!   front-end:9000: 1/1 peers up
//!     + 172.18.0.3:9000          up                            3m12s                      100.0%          0
//!   api: no addresses: no such name (NXDOMAIN)
//! ```
//!
//! `+` serves, `!` is out because something is wrong, `~` has yet to prove itself, `-` is out on
//! purpose. A column that has nothing to say is left out. Text that is not ours is escaped, and
//! no line but the first begins without a space.

mod schedule;
pub(super) mod summary;
#[cfg(test)]
mod tests;

use std::time::Duration;

use log::kv::Value;

use super::table::{Align, Fit, Table};
use super::text::{self, Escaped, Short};
use super::view::{self, LeftView, PeerView, ProbeView, UpstreamView};
use crate::upstream::Tier;
pub use schedule::{Due, Schedule};
pub use summary::{Sums, UpstreamSum};

/// Prints the block as one log record.
pub fn print_block(upstreams: &[UpstreamView]) {
    let text = format_args!("{}", Lazy(|| block(upstreams)));
    in_record(BLOCK, Value::from_serde(&upstreams), None, text, |record| log::logger().log(record));
}

/// Prints the summary line of what has happened within `since`.
pub fn print_summary(upstreams: &[UpstreamView], sums: &[UpstreamSum], since: Duration) {
    let text = format_args!("{}", Lazy(|| summary::line(upstreams, sums)));
    in_record(SUMMARY, Value::from_serde(&sums), Some(since), text, |record| {
        log::logger().log(record);
    });
}

pub(super) const BLOCK: &str = "health dashboard";
pub(super) const SUMMARY: &str = "health summary";

/// A text that is made only where it is printed: JSON has no use for it.
struct Lazy<F>(F);

impl<F: Fn() -> String> std::fmt::Display for Lazy<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0())
    }
}

/// Lends what is to be printed as a log record: its text for people, its keys for machines.
pub(super) fn in_record<T>(
    event: &str,
    upstreams: Value<'_>,
    since: Option<Duration>,
    text: std::fmt::Arguments<'_>,
    take: impl FnOnce(&log::Record<'_>) -> T,
) -> T {
    let since = since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut keys = vec![("event", Value::from(event))];
    keys.extend(since.map(|millis| ("since_ms", Value::from(millis))));
    keys.push(("upstreams", upstreams));
    let mut record = log::Record::builder();
    let record = record.level(log::Level::Info).target("robin::dashboard").key_values(&keys);
    take(&record.args(text).build())
}

const COLUMNS: [(&str, Align); 10] = [
    ("peer", Align::Left),
    ("server", Align::Left),
    ("tier", Align::Left),
    ("state", Align::Left),
    ("for", Align::Left),
    ("last probe", Align::Left),
    ("share", Align::Right),
    ("failed", Align::Right),
    ("p50/p99", Align::Right),
    ("in flight", Align::Right),
];

/// What a terminal, or a window beside another, has room for.
const FIT: Fit = Fit { limit: 120, shorten: &[5, 3, 1], drop: &[8, 7, 2] };

/// The block, without a newline at its end.
#[must_use]
pub fn block(upstreams: &[UpstreamView]) -> String {
    let mut table = Table::new(COLUMNS).fitting(FIT);
    for upstream in upstreams {
        let several_hosts = upstream.has_several_hosts();
        let requests = upstream.peers.iter().map(|p| p.requests).sum();
        table.heading(heading(upstream));
        for peer in &upstream.peers {
            table.row(peer.state.mark(), cells(peer, several_hosts, requests));
        }
        for left in &upstream.left {
            table.row('-', cells_of_left(left));
        }
    }
    format!("health dashboard: {}{table}", overview(upstreams, brief))
}

fn overview(upstreams: &[UpstreamView], brief: impl FnMut(&UpstreamView) -> String) -> String {
    match upstreams {
        [] => "no upstreams".into(),
        _ => upstreams.iter().map(brief).collect::<Vec<_>>().join("; "),
    }
}

fn brief(upstream: &UpstreamView) -> String {
    let name = Escaped(&upstream.name);
    if upstream.peers.is_empty() {
        return format!("{name} no addresses");
    }
    let primaries = match upstream.count(Tier::Primary) {
        (0, total) => format!("{name} NONE of {total} up"),
        (up, total) => format!("{name} {up}/{total} up"),
    };
    let panic = if upstream.panic { ", panic" } else { "" };
    match upstream.count(Tier::Backup) {
        (_, 0) => format!("{primaries}{panic}"),
        (up, total) => format!("{primaries}, backups {up}/{total}{panic}"),
    }
}

pub(super) fn heading(upstream: &UpstreamView) -> String {
    let name = Escaped(&upstream.name);
    let trouble = upstream.trouble.as_deref().map(shortened);
    if upstream.peers.is_empty() {
        let reason = trouble.map_or_else(|| " yet".into(), |trouble| format!(": {trouble}"));
        return format!("{name}: no addresses{reason}");
    }
    let (up, total) = upstream.count(Tier::Primary);
    let mut heading = format!("{name}: {up}/{total} peers up");
    let (up, total) = upstream.count(Tier::Backup);
    if total > 0 {
        heading += &format!(", {up}/{total} backups up");
    }
    if upstream.panic {
        heading += ", panic: too many are out, all are used";
    }
    if let Some(trouble) = trouble {
        heading += &format!(" ({trouble})");
    }
    heading
}

fn cells(peer: &PeerView, with_host: bool, requests: u64) -> [String; COLUMNS.len()] {
    let last_probe = match &peer.last_probe {
        None => String::new(),
        Some(ProbeView::Passed { took }) if took.as_millis() == 0 => "<1ms".into(),
        Some(ProbeView::Passed { took }) => Short(*took).to_string(),
        Some(ProbeView::Failed { error }) => shortened(error),
    };
    let share = match requests {
        0 => "-".into(),
        sum => format!("{:.1}%", peer.requests as f64 * 100.0 / sum as f64),
    };
    let failed = match (peer.failures, peer.requests) {
        (0, _) | (_, 0) => String::new(),
        (failures, requests) => match failures as f64 * 100.0 / requests as f64 {
            percent if percent < 0.1 => "<0.1%".into(),
            percent => format!("{percent:.1}%"),
        },
    };
    let latency = match (peer.p50_ms, peer.p99_ms) {
        (Some(median), Some(slowest)) => format!("{}/{}", millis(median), millis(slowest)),
        _ => String::new(),
    };
    [
        peer.address.clone(),
        peer.host_cell(with_host),
        peer.tier_cell(),
        Escaped(&peer.words).to_string(),
        Short(peer.lasting).to_string(),
        last_probe,
        share,
        failed,
        latency,
        peer.in_flight.to_string(),
    ]
}

fn cells_of_left(left: &LeftView) -> [String; COLUMNS.len()] {
    let mut cells = <[String; COLUMNS.len()]>::default();
    cells[0].clone_from(&left.address);
    cells[2] = view::tier_cell(left.tier);
    cells[3].clone_from(&left.reason);
    cells[4] = Short(left.lasting).to_string();
    cells
}

/// An error, escaped, and cut where it would push the table out of sight.
pub(super) fn shortened(error: &str) -> String {
    const LONGEST: usize = 60;
    text::cut(&Escaped(error).to_string(), LONGEST).into_owned()
}

/// A time as it is read, to the millisecond.
pub(super) fn millis(millis: f64) -> String {
    match Duration::try_from_secs_f64(millis.max(0.0) / 1000.0).unwrap_or_default() {
        time if time.as_millis() == 0 => "<1ms".into(),
        time => Short(time).to_string(),
    }
}
