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
#[cfg(test)]
mod tests;

use super::table::{Align, Table};
use super::text::{Escaped, Short};
use super::view::{PeerView, ProbeView, UpstreamView};
use crate::upstream::Tier;
pub use schedule::{Due, Schedule};

/// Prints the block as one log record.
pub fn print_block(upstreams: &[UpstreamView]) {
    log::info!(target: "robin::dashboard", "{}", block(upstreams));
}

/// Prints the summary line.
pub fn print_summary(upstreams: &[UpstreamView]) {
    log::info!(target: "robin::dashboard", "{}", summary(upstreams));
}

const COLUMNS: [(&str, Align); 8] = [
    ("peer", Align::Left),
    ("server", Align::Left),
    ("tier", Align::Left),
    ("state", Align::Left),
    ("for", Align::Left),
    ("last probe", Align::Left),
    ("share", Align::Right),
    ("in flight", Align::Right),
];

/// The block, without a newline at its end.
#[must_use]
pub fn block(upstreams: &[UpstreamView]) -> String {
    let mut table = Table::new(COLUMNS);
    for upstream in upstreams {
        let several_hosts = upstream.has_several_hosts();
        let requests = upstream.peers.iter().map(|p| p.requests).sum();
        table.heading(heading(upstream));
        for peer in &upstream.peers {
            table.row(peer.state.mark(), cells(peer, several_hosts, requests));
        }
    }
    format!("health dashboard: {}{table}", overview(upstreams, brief))
}

/// The summary line: what the block's first line says, and what is in flight.
#[must_use]
pub fn summary(upstreams: &[UpstreamView]) -> String {
    let with_load = |upstream: &UpstreamView| {
        let in_flight: u64 = upstream.peers.iter().map(|p| u64::from(p.in_flight)).sum();
        format!("{}, {in_flight} in flight", brief(upstream))
    };
    format!("health summary: {}", overview(upstreams, with_load))
}

fn overview(upstreams: &[UpstreamView], brief: impl Fn(&UpstreamView) -> String) -> String {
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
    [
        peer.address.clone(),
        peer.host_cell(with_host),
        peer.tier_cell(),
        Escaped(&peer.words).to_string(),
        Short(peer.lasting).to_string(),
        last_probe,
        share,
        peer.in_flight.to_string(),
    ]
}

/// An error, escaped, and cut where it would push the table out of sight.
pub(super) fn shortened(error: &str) -> String {
    const LONGEST: usize = 60;
    let text = Escaped(error).to_string();
    if text.len() <= LONGEST {
        return text;
    }
    // Escaped text is ASCII, so every byte is a place to cut, save within `\xHH`.
    let kept = &text[..LONGEST - 1];
    let cut = kept.rfind('\\').filter(|at| kept.len() - at < 4).unwrap_or(kept.len());
    format!("{}…", &kept[..cut])
}
