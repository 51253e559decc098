//! One resolved address with its live state, and the lease that counts an attempt on it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub use crate::config::model::Tier;
use crate::health::{Outcome, PassiveRule, Standing, Tick};

/// What discovery and configuration say of a peer: all that is not its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The address, which is the peer's identity.
    pub address: SocketAddr,
    /// Share of requests relative to the others of its tier; default 1, at least 1.
    pub weight: u32,
    /// Primary or backup.
    pub tier: Tier,
    /// Out by configuration; only an edit brings it back.
    pub down: bool,
    /// Attempts in flight at most; default 0, which sets no limit.
    pub max_conns: u32,
    /// When failures of traffic eject it.
    pub passive: PassiveRule,
}

impl Member {
    /// A primary at `address` with every default.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            weight: 1,
            tier: Tier::Primary,
            down: false,
            max_conns: 0,
            passive: PassiveRule::default(),
        }
    }
}

/// The part of a peer that outlives every refresh and every edit of its attributes.
#[derive(Debug, Default)]
pub(crate) struct Live {
    standing: AtomicU64,
    in_flight: AtomicU32,
    requests: AtomicU64,
}

/// One resolved address with live state. Cheap to clone: clones share the state.
#[derive(Clone, Debug)]
pub struct Peer {
    member: Member,
    pub(crate) live: Arc<Live>,
}

impl Peer {
    /// A peer that nothing is known of yet.
    pub(crate) fn new(member: Member, live: Arc<Live>) -> Self {
        Self { member, live }
    }

    /// The address, which is its identity.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.member.address
    }

    /// What configuration and discovery say of it.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// What traffic has shown of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::unpack(self.live.standing.load(Relaxed))
    }

    /// Attempts begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.live.in_flight.load(Relaxed)
    }

    /// Attempts begun since the peer appeared.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.live.requests.load(Relaxed)
    }

    /// Whether as many attempts are in flight as `max_conns` allows.
    #[must_use]
    pub fn full(&self) -> bool {
        self.member.max_conns != 0 && self.in_flight() >= self.member.max_conns
    }

    /// Replaces the standing by `next` of it and returns whether that moved the peer into or out
    /// of the rotation.
    pub(crate) fn transition(&self, next: impl Fn(Standing) -> Standing) -> bool {
        let change = |word| Some(next(Standing::unpack(word)).pack());
        match self.live.standing.fetch_update(Relaxed, Relaxed, change) {
            Ok(before) => {
                let before = Standing::unpack(before);
                before.is_up() != next(before).is_up()
            }
            Err(_) => false,
        }
    }

    /// Applies an attempt's outcome; true when the rotation has to be made anew.
    pub(crate) fn report(&self, outcome: Outcome, now: Tick) -> bool {
        self.transition(|standing| standing.after(outcome, self.member.passive, now))
    }

    /// Takes the one attempt of a peer whose ejection is over; of many callers one gets it.
    pub(crate) fn admit(&self, now: Tick) -> bool {
        let next =
            |word| Standing::unpack(word).admit(self.member.passive, now).map(Standing::pack);
        self.live.standing.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Begins an attempt, unless `max_conns` are in flight already.
    pub(crate) fn lease(&self) -> Option<Lease> {
        let limit = match self.member.max_conns {
            0 => u32::MAX,
            limit => limit,
        };
        let more = |n: u32| (n < limit).then(|| n + 1);
        self.live.in_flight.fetch_update(Relaxed, Relaxed, more).ok()?;
        self.live.requests.fetch_add(1, Relaxed);
        Some(Lease { peer: self.clone() })
    }
}

/// One attempt at a peer. Counts in flight, and gives it back on `Drop`, also when the client
/// hangs up in the middle.
#[derive(Debug)]
pub struct Lease {
    peer: Peer,
}

impl Deref for Lease {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.peer.live.in_flight.fetch_sub(1, Relaxed);
    }
}
