//! Views made of what `upstream` knows.

use std::time::Duration;

use super::{PeerState, PeerView, ProbeView, UpstreamView};
use crate::health::{Cause, Tick};
use crate::upstream::{self, Status, UpstreamState};

impl UpstreamView {
    /// The view of an upstream; `trouble` is what discovery has to complain about.
    #[must_use]
    pub fn of(state: &UpstreamState, trouble: Option<String>, now: Tick) -> Self {
        let peers = state.peers.iter().map(|peer| PeerView::of(peer, now)).collect();
        Self { name: state.name.clone(), peers, trouble }
    }
}

impl PeerView {
    fn of(peer: &upstream::PeerState, now: Tick) -> Self {
        let last_probe = peer.last_probe.as_ref().map(|(_, result)| match result {
            Ok(took) => ProbeView::Passed { took: *took },
            Err(error) => ProbeView::Failed { error: error.clone() },
        });
        let state = match peer.status {
            Status::Up | Status::Full if peer.member.absent => PeerState::Reached,
            Status::Up | Status::Full => PeerState::Up,
            Status::Ejected { until, cause } => {
                PeerState::Ejected { connect: cause == Cause::Connect, left: between(now, until) }
            }
            Status::Probation => PeerState::Probation,
            Status::Waiting => PeerState::Waiting,
            Status::Failing => PeerState::Failing,
            Status::Absent => PeerState::Absent,
            Status::Draining => PeerState::Draining,
            Status::Down => PeerState::Down,
        };
        Self {
            address: peer.address.clone(),
            host: None,
            tier: peer.member.tier,
            state,
            lasting: between(peer.since, now),
            last_probe,
            requests: peer.requests,
            in_flight: peer.in_flight,
        }
    }
}

fn between(from: Tick, to: Tick) -> Duration {
    Duration::from_millis(to.as_millis().saturating_sub(from.as_millis()))
}
