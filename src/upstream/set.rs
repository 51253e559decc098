//! The peers of one moment, with who is in rotation. Immutable; swapped whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::balance::least_conn::Contender;
use super::balance::{Plan, hash, ip_hash, least_conn, random, round_robin};
use super::panic::{self, Panics};
use super::peer::Presence;
use super::sid::Sids;
use super::warm::Weights;
use super::{Census, Hand, Key, Lease, NoPeer, Peer, PeerState, Policy, Tier, Tried};
use crate::health::{Tick, Verdict};

/// Whether anything but traffic keeps a peer out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Down,
    Draining,
    Absent,
    Failing,
    Waiting,
    /// Out for failures, but used because too many are ([`panic`](super::panic)).
    Pressed,
}

impl Gate {
    /// `passed`: whether any peer of the upstream has passed a probe. While none has, new peers
    /// are let in: trying beats refusing.
    fn of(peer: &Peer, passed: bool) -> Self {
        if peer.member().down || peer.hand() == Hand::Down {
            return Self::Down;
        }
        if peer.presence() == Presence::Absent {
            return Self::Absent;
        }
        let probe = peer.probe();
        match probe.verdict() {
            Verdict::Failing { .. } => Self::Failing,
            _ if peer.drains() => Self::Draining,
            _ if passed && probe.waits() => Self::Waiting,
            _ => Self::Open,
        }
    }
}

/// The peers of one publication, in order of their server lines, with both tiers' turns.
#[derive(Debug)]
pub(super) struct PeerSet {
    pub(super) peers: Box<[Peer]>,
    /// For each peer, whether it may take part at all.
    gates: Box<[Gate]>,
    /// What each peer weighs at this moment.
    pub(super) weights: Weights,
    /// What the method has worked out of all peers.
    plan: Arc<Plan>,
    /// Which peers sessions are bound to.
    sids: Arc<Sids>,
    /// Turns over the primaries in rotation, then over the backups.
    turns: [Box<[u32]>; 2],
    /// Whether there is such a turn of the primaries, and the method has no other wish.
    by_turns: bool,
    /// The same for `least_conn` and `least_time`, each peer once; empty for any other method.
    contenders: [Box<[Contender]>; 2],
    /// For each tier the first moment, in milliseconds, at which one that is ejected may be tried
    /// again; until then no request looks for it.
    due: [AtomicU64; 2],
    /// Whether at most one peer is not down, as nginx's `single`: there is no other to turn to.
    pub(super) lone: bool,
    /// Whether the tiers are in panic mode.
    pub(super) panics: Panics,
}

impl PeerSet {
    pub(super) fn new(peers: Box<[Peer]>, policy: &Policy, now: Tick) -> Self {
        let plan = Arc::new(Plan::new(&policy.method, &peers));
        let sids = policy.sticky.as_ref().map(|_| Sids::new(&peers)).unwrap_or_default();
        Self::with_plan(peers, policy, (plan, Arc::new(sids)), now)
    }

    /// The same peers with a rotation made anew.
    pub(super) fn turned(&self, policy: &Policy, now: Tick) -> Self {
        let lasting = (Arc::clone(&self.plan), Arc::clone(&self.sids));
        Self::with_plan(self.peers.clone(), policy, lasting, now)
    }

    fn with_plan(
        peers: Box<[Peer]>,
        policy: &Policy,
        (plan, sids): (Arc<Plan>, Arc<Sids>),
        now: Tick,
    ) -> Self {
        let passed =
            peers.iter().any(|p| !p.member().down && !p.has_left() && p.probe().has_passed());
        let mut gates: Box<[Gate]> = peers.iter().map(|p| Gate::of(p, passed)).collect();
        for (peer, gate) in peers.iter().zip(&gates) {
            let rotating = *gate == Gate::Open && peer.standing().is_up();
            peer.warmth().turn(rotating, *gate == Gate::Waiting, now);
        }
        let weights = Weights::at(&peers, now);
        let panics = panic::press(&peers, &mut gates, policy.panic);
        let lone = peers.iter().filter(|p| !p.member().down).count() <= 1;
        let mut set = Self {
            peers,
            gates,
            weights,
            plan,
            sids,
            turns: Default::default(),
            by_turns: false,
            contenders: Default::default(),
            due: Default::default(),
            lone,
            panics,
        };
        for tier in [Tier::Primary, Tier::Backup] {
            let in_rotation = (0u32..)
                .zip(&set.peers)
                .zip(&set.gates)
                .filter(|((_, p), gate)| p.member().tier == tier && is_used(p, **gate));
            let weights: Vec<(u32, u32)> = in_rotation
                .map(|((index, _), _)| (index, set.weights.of[index as usize]))
                .collect();
            if matches!(*set.plan, Plan::LeastConn | Plan::LeastTime { .. }) {
                set.contenders[tier as usize] =
                    weights.iter().map(|&(index, _)| Contender::new(index)).collect();
            }
            set.turns[tier as usize] = round_robin::cycle(&weights);
            set.due[tier as usize] = AtomicU64::new(set.next_due(tier));
        }
        let turns = &set.turns[Tier::Primary as usize];
        set.by_turns = matches!(*set.plan, Plan::RoundRobin) && !turns.is_empty();
        set
    }

    /// Peers of a tier that nothing but traffic may keep out.
    fn open(&self, tier: Tier) -> impl Iterator<Item = &Peer> {
        let pairs = self.peers.iter().zip(&self.gates);
        let open = |gate: &Gate| matches!(gate, Gate::Open | Gate::Pressed);
        pairs.filter(move |(p, g)| open(g) && p.member().tier == tier).map(|(p, _)| p)
    }

    /// Whether a request could get another peer than this one.
    pub(super) fn has_other(&self, peer: &Peer) -> bool {
        let mut open = self.open(Tier::Primary).chain(self.open(Tier::Backup));
        open.any(|other| other.id() != peer.id() && other.standing().is_up())
    }

    fn next_due(&self, tier: Tier) -> u64 {
        let until = self.open(tier).filter_map(|p| p.standing().until());
        until.map(Tick::as_millis).min().unwrap_or(u64::MAX)
    }

    /// The one attempt of a peer of `tier` whose ejection is over, for whoever asks first.
    pub(super) fn trial(&self, tier: Tier, tried: &Tried, now: Tick) -> Option<Lease> {
        let due = &self.due[tier as usize];
        if now.as_millis() < due.load(Relaxed) {
            return None;
        }
        let mut of_tier = self.open(tier).filter(|p| !tried.contains(p));
        let admitted = of_tier.find(|p| !p.full() && p.admit(now));
        due.store(self.next_due(tier), Relaxed);
        admitted.and_then(Peer::lease)
    }

    /// The peer of `tier` that the session is bound to, if it may serve at all: one that drains may,
    /// and it may be tried again as in [`PeerSet::by_key`].
    pub(super) fn by_sid(&self, tier: Tier, sid: &str, tried: &Tried, now: Tick) -> Option<Lease> {
        self.bound(tier, sid).find_map(|(peer, gate)| serve(peer, gate, tried, now))
    }

    /// The peers of `tier` that the session is bound to and that nothing but traffic may keep out.
    fn bound(&self, tier: Tier, sid: &str) -> impl Iterator<Item = (&Peer, Gate)> {
        let bound = if sid.is_empty() { &[] } else { self.sids.peers(tier, sid) };
        bound.iter().filter_map(|index| {
            let index = *index as usize;
            let gate = *self.gates.get(index)?;
            let may = matches!(gate, Gate::Open | Gate::Draining | Gate::Pressed);
            may.then(|| Some((self.peers.get(index)?, gate)))?
        })
    }

    /// The peer of `tier` that the key belongs to; none where the method heeds no key. One whose
    /// ejection is over gets its one attempt from a request of its own.
    pub(super) fn by_key(
        &self,
        tier: Tier,
        key: &Key<'_>,
        tried: &Tried,
        now: Tick,
    ) -> Option<Lease> {
        self.first_of_key(tier, key, |peer, gate| serve(peer, gate, tried, now))
    }

    /// What the first peer gives that the key offers and `take` takes, if nothing but traffic may
    /// keep it out.
    fn first_of_key(
        &self,
        tier: Tier,
        key: &Key<'_>,
        take: impl Fn(&Peer, Gate) -> Option<Lease>,
    ) -> Option<Lease> {
        let take = |index: u32| {
            let index = index as usize;
            let gate = *self.gates.get(index)?;
            let may = matches!(gate, Gate::Open | Gate::Pressed);
            may.then(|| take(self.peers.get(index)?, gate))?
        };
        let tier = tier as usize;
        match &*self.plan {
            Plan::IpHash(spreads) => ip_hash::candidates(&spreads[tier], key.client).find_map(take),
            // As in nginx, no key is no wish.
            Plan::Hash(_) | Plan::Ketama(_) if key.text.is_empty() => None,
            Plan::Hash(spreads) => hash::candidates(&spreads[tier], key.text).find_map(take),
            Plan::Ketama(rings) => rings[tier].candidates(key.text).find_map(take),
            _ => None,
        }
    }

    /// The peer of `tier` by lot, or the less busy; none where the method is neither.
    pub(super) fn by_load(&self, tier: Tier, tried: &Tried, now: Tick) -> Option<Lease> {
        let turns = &self.turns[tier as usize];
        let peer = |index: u32| self.peers.get(index as usize);
        let load = |index: u32| {
            let peer = peer(index).filter(|p| !p.full() && !tried.contains(p))?;
            Some(self.plan.load(peer, *self.weights.of.get(index as usize)?, now))
        };
        let lease = match &*self.plan {
            Plan::LeastConn | Plan::LeastTime { .. } => {
                let contenders = &self.contenders[tier as usize];
                self.plan.compare(contenders.iter().filter_map(|c| peer(c.peer)), now);
                // One may be full by the time it is chosen; then the next is.
                let mut chosen =
                    contenders.iter().map_while(|_| least_conn::choose(contenders, load));
                chosen.find_map(|index| peer(index)?.lease())?
            }
            Plan::Random => {
                let untried = |p: &&Peer| !tried.contains(p);
                random::candidates(turns).find_map(|i| peer(i).filter(untried)?.lease())?
            }
            Plan::RandomTwo | Plan::RandomTwoLeastTime(_) | Plan::Ewma => {
                peer(random::two(turns, load)?)?.lease()?
            }
            Plan::RoundRobin | Plan::IpHash(_) | Plan::Hash(_) | Plan::Ketama(_) => return None,
        };
        self.plan.chosen(&lease, now);
        Some(lease)
    }

    /// Whether nothing but the turn decides which primary a request gets that is bound to no peer and has
    /// tried none.
    #[inline]
    pub(super) fn goes_by_turns(&self, now: Tick) -> bool {
        let due = self.due[Tier::Primary as usize].load(Relaxed);
        self.by_turns && now.as_millis() < due
    }

    /// The primary whose turn it is, if it can take one attempt more.
    #[inline]
    pub(super) fn at_turn(&self, turn: usize) -> Option<Lease> {
        let turns = &self.turns[Tier::Primary as usize];
        let index = *turns.get(turn.checked_rem(turns.len())?)?;
        self.peers.get(index as usize)?.lease()
    }

    /// The peer of `tier` whose turn it is. `turn` is asked only if there is any.
    pub(super) fn next(
        &self,
        tier: Tier,
        tried: &Tried,
        turn: impl FnOnce() -> usize,
    ) -> Option<Lease> {
        let turns = &self.turns[tier as usize];
        let first = turn_of(turns.len(), turn)?;
        let take = |place: usize| {
            self.peers.get(turns[place] as usize).filter(|p| !tried.contains(p))?.lease()
        };
        // The first nearly always can, and then nothing else is looked at.
        take(first).or_else(|| (first + 1..turns.len()).chain(0..first).find_map(take))
    }

    /// An ejected peer of `tier` before its time.
    pub(super) fn early(
        &self,
        tier: Tier,
        key: &Key<'_>,
        tried: &Tried,
        turn: usize,
        now: Tick,
    ) -> Option<Lease> {
        let untried = |p: &Peer| (!tried.contains(p)).then(|| p.lease_early(now))?;
        let bound = self.bound(tier, key.sid).find_map(|(peer, _)| untried(peer));
        let of_key = || self.first_of_key(tier, key, |peer, _| untried(peer));
        if let Some(lease) = bound.or_else(of_key) {
            return Some(lease);
        }
        let count = self.open(tier).count();
        let first = turn.checked_rem(count)?;
        let mut from_first = self.open(tier).skip(first).chain(self.open(tier).take(first));
        from_first.find_map(untried)
    }

    /// Peers of `tier` that a request could get, and all of them.
    pub(super) fn count(&self, tier: Tier) -> super::TierCount {
        super::TierCount {
            available: (self.peers.iter().zip(&self.gates))
                .filter(|(p, gate)| p.member().tier == tier && is_used(p, **gate) && !p.full())
                .count(),
            total: self.peers.iter().filter(|p| p.member().tier == tier).count(),
        }
    }

    /// How each peer stands.
    pub(super) fn states(&self, now: Tick) -> Vec<PeerState> {
        let state = |(peer, gate): (&Peer, &Gate)| PeerState {
            pressed: *gate == Gate::Pressed,
            ..peer.state(now)
        };
        self.peers.iter().zip(&self.gates).map(state).collect()
    }

    /// Why there is no peer for a request that has tried `tried`.
    pub(super) fn refusal(&self, tried: &Tried) -> NoPeer {
        if self.peers.is_empty() {
            return NoPeer::NoAddresses;
        }
        let mut census = Census {
            peers: u32::try_from(self.peers.len()).unwrap_or(u32::MAX),
            ..Census::default()
        };
        for (peer, gate) in self.peers.iter().zip(&self.gates) {
            let count = match gate {
                Gate::Down => &mut census.down,
                Gate::Draining => &mut census.draining,
                Gate::Absent => &mut census.absent,
                Gate::Failing => &mut census.failing,
                Gate::Waiting => &mut census.waiting,
                // Before `tried`: that they are ejected says why this request could not have them.
                Gate::Open if !peer.standing().is_up() => &mut census.ejected,
                Gate::Open if tried.contains(peer) => &mut census.tried,
                Gate::Pressed if tried.contains(peer) => &mut census.tried,
                Gate::Open | Gate::Pressed => &mut census.full,
            };
            *count += 1;
        }
        NoPeer::Unavailable(census)
    }
}

/// Whether a peer with this gate takes part in the rotation.
fn is_used(peer: &Peer, gate: Gate) -> bool {
    gate == Gate::Pressed || gate == Gate::Open && peer.standing().is_up()
}

/// An attempt at the peer, if it is up or used all the same, or if its ejection is over and nobody tries it yet.
fn serve(peer: &Peer, gate: Gate, tried: &Tried, now: Tick) -> Option<Lease> {
    let may = !tried.contains(peer)
        // The trial first: it is what ends an ejection.
        && (peer.standing().is_up() || !peer.full() && peer.admit(now) || gate == Gate::Pressed);
    may.then(|| peer.lease())?
}

/// Whose turn it is of so many; `turn` is asked only if there are any.
fn turn_of(len: usize, turn: impl FnOnce() -> usize) -> Option<usize> {
    (len > 0).then(|| turn() % len)
}
