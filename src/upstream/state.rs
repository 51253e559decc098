//! What is happening, copied out for the dashboard.

use std::time::Duration;

use super::{Member, PeerAddress};
use crate::health::{Cause, Tick};

/// How a peer stands: the one thing that says most about why it gets traffic or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In rotation.
    Up,
    /// As many attempts in flight as `max_conns` allows.
    Full,
    /// Out because of failures of traffic.
    Ejected {
        /// When it may be tried again.
        until: Tick,
        /// What the last failure was.
        cause: Cause,
    },
    /// One attempt is under way and decides.
    Probation,
    /// New: no probe has decided yet.
    Waiting,
    /// Out because of failed probes.
    Failing,
    /// Its name has no address, and no connect has succeeded since.
    Absent,
    /// Only sessions that are bound to it reach it, by configuration or by the operator's hand.
    Draining,
    /// Out by configuration or by the operator's hand.
    Down,
}

/// One peer at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerState {
    /// Its address.
    pub address: PeerAddress,
    /// What configuration and discovery say of it.
    pub member: Member,
    /// How it stands.
    pub status: Status,
    /// Since when it has stood so.
    pub since: Tick,
    /// When the last probe ended, and how long it took or what it met.
    pub last_probe: Option<(Tick, Result<Duration, String>)>,
    /// Attempts begun since it appeared.
    pub requests: u64,
    /// Attempts begun and not ended.
    pub in_flight: u32,
}

/// How many peers of a tier a request could get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierCount {
    /// In rotation and below `max_conns`.
    pub available: usize,
    /// All.
    pub total: usize,
}

/// An upstream at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamState {
    /// Its name.
    pub name: String,
    /// How many primaries serve.
    pub primaries: TierCount,
    /// How many backups could serve.
    pub backups: TierCount,
    /// Its peers, in order of their server lines.
    pub peers: Vec<PeerState>,
}
