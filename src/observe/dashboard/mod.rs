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
//!     ! 172.18.0.5:5252          EJECTED for connect, 7s left  3s     connection refused   50.0%          0
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
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use super::text::{Escaped, Short};
pub use crate::upstream::{PeerAddress, Tier};
pub use schedule::{Due, Schedule};
use table::{Align, Table};

/// What is known of one upstream at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamView {
    /// Its name; for an implicit one the address as written.
    pub name: String,
    /// Its peers, in order of their server lines.
    pub peers: Vec<PeerView>,
    /// What discovery has to complain about: why there are no addresses, or why those known may
    /// be old. Default: none.
    pub trouble: Option<String>,
}

/// What is known of one peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its address.
    pub address: PeerAddress,
    /// The host of its server line, shown where the upstream has several; none for an address.
    pub host: Option<String>,
    /// Primary or backup.
    pub tier: Tier,
    /// What it is doing.
    pub state: PeerState,
    /// How long it has been doing that.
    pub lasting: Duration,
    /// What the last probe met; none where there are no probes or none has ended.
    pub last_probe: Option<ProbeView>,
    /// Attempts so far; a peer's share is its part of the sum over the upstream.
    pub requests: u64,
    /// Attempts under way.
    pub in_flight: u32,
}

/// What a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It serves.
    Up,
    /// It serves although its name has no address any more, because a probe connects.
    Reached,
    /// Traffic took it out.
    Ejected {
        /// Whether the last failure was a failed connect.
        connect: bool,
        /// The time until it may be tried again.
        left: Duration,
    },
    /// One attempt is under way and decides.
    Probation,
    /// Probes fail.
    Failing,
    /// It gets no traffic before its first probe has passed.
    Waiting,
    /// Its name has no address any more.
    Absent,
    /// Only sessions that are bound to it reach it.
    Draining,
    /// It is out by configuration.
    Down,
}

impl PeerState {
    fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Reached)
    }

    fn mark(self) -> char {
        match self {
            Self::Up | Self::Reached => '+',
            Self::Ejected { .. } | Self::Failing => '!',
            Self::Probation | Self::Waiting => '~',
            Self::Absent | Self::Draining | Self::Down => '-',
        }
    }

    /// Words for a reader; capitals where something is wrong.
    fn words(self) -> String {
        match self {
            Self::Up => "up".into(),
            Self::Reached => "up, though absent from DNS".into(),
            Self::Ejected { connect, left } => {
                let cause = if connect { "connect" } else { "answer" };
                match left.is_zero() {
                    true => format!("EJECTED for {cause}, trial due"),
                    false => format!("EJECTED for {cause}, {} left", Short(left)),
                }
            }
            Self::Probation => "on probation".into(),
            Self::Failing => "FAILING probes".into(),
            Self::Waiting => "waiting for first probe".into(),
            Self::Absent => "absent from DNS".into(),
            Self::Draining => "draining".into(),
            Self::Down => "down".into(),
        }
    }
}

/// What a probe met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeView {
    /// It passed.
    Passed {
        /// How long it took.
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
}

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
        let several_hosts = upstream.peers.windows(2).any(|pair| pair[0].host != pair[1].host);
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

/// Peers that serve and all peers of a tier.
fn count(upstream: &UpstreamView, tier: Tier) -> (usize, usize) {
    let of_tier = || upstream.peers.iter().filter(|p| p.tier == tier);
    (of_tier().filter(|p| p.state.is_up()).count(), of_tier().count())
}

fn brief(upstream: &UpstreamView) -> String {
    let name = Escaped(&upstream.name);
    if upstream.peers.is_empty() {
        return format!("{name} no addresses");
    }
    let primaries = match count(upstream, Tier::Primary) {
        (0, total) => format!("{name} NONE of {total} up"),
        (up, total) => format!("{name} {up}/{total} up"),
    };
    match count(upstream, Tier::Backup) {
        (_, 0) => primaries,
        (up, total) => format!("{primaries}, backups {up}/{total}"),
    }
}

fn heading(upstream: &UpstreamView) -> String {
    let name = Escaped(&upstream.name);
    let trouble = upstream.trouble.as_deref().map(shortened);
    if upstream.peers.is_empty() {
        let reason = trouble.map_or_else(|| " yet".into(), |trouble| format!(": {trouble}"));
        return format!("{name}: no addresses{reason}");
    }
    let (up, total) = count(upstream, Tier::Primary);
    let mut heading = format!("{name}: {up}/{total} peers up");
    let (up, total) = count(upstream, Tier::Backup);
    if total > 0 {
        heading += &format!(", {up}/{total} backups up");
    }
    if let Some(trouble) = trouble {
        heading += &format!(" ({trouble})");
    }
    heading
}

fn cells(peer: &PeerView, with_host: bool, requests: u64) -> [String; COLUMNS.len()] {
    let host = peer.host.as_deref().filter(|_| with_host).unwrap_or("");
    let tier = match peer.tier {
        Tier::Primary => "",
        Tier::Backup => "backup",
    };
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
        peer.address.to_string(),
        Escaped(host).to_string(),
        tier.into(),
        peer.state.words(),
        Short(peer.lasting).to_string(),
        last_probe,
        share,
        peer.in_flight.to_string(),
    ]
}

/// An error, escaped, and cut where it would push the table out of sight.
fn shortened(error: &str) -> String {
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
