//! Live state of an upstream: its peers, who is in rotation, and whose turn it is.
//!
//! Sets are immutable and swapped whole. [`Upstream::pick`] never allocates, never locks and
//! never waits; what changes the set of available peers (a publication, an ejection, a return)
//! pays for making the rotation anew. A peer is its address: weight, tier and flags are
//! attributes, and a publication that changes them keeps its state.

mod balance;
mod event;
mod peer;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::health::{Outcome, Standing, Tick};
pub use event::{Change, Event};
pub use peer::{Lease, Member, Peer, Tier};

/// The addresses that one request has tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    addresses: [Option<std::net::SocketAddr>; Tried::MAX],
    len: usize,
}

impl Tried {
    /// Pingora makes at most 16 attempts (`ServerConf::max_retries`).
    const MAX: usize = 16;

    /// Remembers the peer; beyond 16 the oldest is forgotten.
    pub fn add(&mut self, peer: &Peer) {
        self.addresses[self.len % Self::MAX] = Some(peer.address());
        self.len += 1;
    }

    /// Whether the peer was tried.
    #[must_use]
    pub fn contains(&self, peer: &Peer) -> bool {
        self.addresses.contains(&Some(peer.address()))
    }
}

/// Why no peer could be picked; the words reach the log and the error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeer {
    /// Discovery has not found an address.
    #[error("no addresses yet")]
    NoAddresses,
    /// Every peer is down, full or was tried by this request.
    #[error("{peers} peers, {down} down, {full} full, {tried} tried")]
    Unavailable {
        /// Peers known.
        peers: usize,
        /// Of these, out by configuration.
        down: usize,
        /// Of the others, at `max_conns`.
        full: usize,
        /// Of the rest, tried by this request already.
        tried: usize,
    },
}

/// The peers of one publication, in order of their server lines, with both tiers' turns.
#[derive(Debug)]
struct PeerSet {
    peers: Box<[Peer]>,
    /// Turns over the primaries in rotation, then over the backups.
    turns: [Box<[u32]>; 2],
    /// The first moment, in milliseconds, at which one that is out may be tried again; until then
    /// no request looks for it.
    due: AtomicU64,
}

impl PeerSet {
    fn new(peers: Box<[Peer]>) -> Self {
        let turns = |tier| {
            let weights: Vec<(u32, u32)> = (0u32..)
                .zip(&peers)
                .filter(|(_, p)| p.member().tier == tier && !p.member().down)
                .filter(|(_, p)| p.standing().is_up())
                .map(|(index, p)| (index, p.member().weight.max(1)))
                .collect();
            balance::round_robin::cycle(&weights)
        };
        let turns = [turns(Tier::Primary), turns(Tier::Backup)];
        let due = AtomicU64::new(Self::next_due(&peers));
        Self { peers, turns, due }
    }

    fn next_due(peers: &[Peer]) -> u64 {
        let until = peers.iter().filter(|p| !p.member().down).filter_map(|p| p.standing().until());
        until.map(Tick::as_millis).min().unwrap_or(u64::MAX)
    }

    /// The one attempt of a peer of `tier` whose ejection is over, for whoever asks first.
    fn trial(&self, tier: Tier, usable: impl Fn(&Peer) -> bool, now: Tick) -> Option<Lease> {
        if now.as_millis() < self.due.load(Relaxed) {
            return None;
        }
        let mut of_tier = self.peers.iter().filter(|p| p.member().tier == tier && usable(p));
        let admitted = of_tier.find(|p| !p.full() && p.admit(now));
        self.due.store(Self::next_due(&self.peers), Relaxed);
        admitted.and_then(Peer::lease)
    }
}

/// A named group of peers that requests go to.
#[derive(Debug)]
pub struct Upstream {
    set: ArcSwap<PeerSet>,
    /// The position in the one sequence of this process.
    turn: AtomicUsize,
    /// Held by whoever makes a new set; a request never takes it.
    writer: Mutex<()>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// An upstream that no address is known of yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            set: ArcSwap::from_pointee(PeerSet::new(Box::default())),
            turn: AtomicUsize::new(0),
            writer: Mutex::new(()),
        }
    }

    /// Makes `members` the peers. Those whose address was there keep their state.
    pub fn publish(&self, members: &[Member]) {
        self.rebuild(|old| {
            let live = |member: &Member| {
                let kept = old.peers.iter().find(|p| p.address() == member.address);
                kept.map_or_else(Default::default, |p| Arc::clone(&p.live))
            };
            members.iter().map(|m| Peer::new(*m, live(m))).collect()
        });
    }

    /// The peer whose turn it is among those available that are not in `tried`.
    ///
    /// With every peer ejected, the one whose turn comes first is tried.
    ///
    /// # Errors
    /// [`NoPeer`] says what is wrong with the peers.
    pub fn pick(&self, tried: &Tried, now: Tick) -> Result<Lease, NoPeer> {
        let set = self.set.load();
        let usable = |p: &Peer| !p.member().down && !tried.contains(p);
        for tier in [Tier::Primary, Tier::Backup] {
            if let Some(lease) = set.trial(tier, usable, now) {
                return Ok(lease);
            }
            let turns = &set.turns[tier as usize];
            if turns.is_empty() {
                continue;
            }
            let turn = self.turn.fetch_add(1, Relaxed);
            for step in 0..turns.len() {
                let index = turns[turn.wrapping_add(step) % turns.len()] as usize;
                if let Some(peer) = set.peers.get(index).filter(|p| usable(p))
                    && let Some(lease) = peer.lease()
                {
                    return Ok(lease);
                }
            }
        }
        // Trying beats refusing: an ejection is a guess, a refusal is certain.
        let turn = self.turn.fetch_add(1, Relaxed);
        (0..set.peers.len())
            .map(|step| &set.peers[turn.wrapping_add(step) % set.peers.len()])
            .filter(|p| usable(p))
            .find_map(Peer::lease)
            .ok_or_else(|| Self::refusal(&set.peers, tried))
    }

    /// Takes an attempt's outcome into account. A lone peer is never ejected, as in nginx.
    pub fn report(&self, peer: &Peer, outcome: Outcome, now: Tick) {
        if self.set.load().peers.len() > 1 && peer.report(outcome, now) {
            self.rebuild(|old| old.peers.clone());
        }
    }

    /// Ends the ejection of a peer for failed connects, because a connect has succeeded.
    pub fn connected(&self, peer: &Peer) {
        if peer.transition(Standing::connected) {
            self.rebuild(|old| old.peers.clone());
        }
    }

    /// The peers, in order of their server lines.
    #[must_use]
    pub fn peers(&self) -> Box<[Peer]> {
        self.set.load().peers.clone()
    }

    fn rebuild(&self, peers: impl FnOnce(&PeerSet) -> Box<[Peer]>) {
        // Nothing under the lock can leave it half done: a poisoned one is as good as any.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let next = PeerSet::new(peers(&self.set.load()));
        self.set.store(Arc::new(next));
    }

    fn refusal(peers: &[Peer], tried: &Tried) -> NoPeer {
        if peers.is_empty() {
            return NoPeer::NoAddresses;
        }
        let down = peers.iter().filter(|p| p.member().down).count();
        let up = || peers.iter().filter(|p| !p.member().down);
        NoPeer::Unavailable {
            peers: peers.len(),
            down,
            full: up().filter(|p| p.full()).count(),
            tried: up().filter(|p| !p.full() && tried.contains(p)).count(),
        }
    }
}
