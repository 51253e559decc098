//! Live state of an upstream: its peers, who is in rotation, and whose turn it is.
//!
//! Sets are immutable and swapped whole. [`Upstream::pick`] never allocates, never locks and
//! never waits; what changes the set of available peers (a publication, an ejection, a probe's
//! verdict, a return) pays for making the rotation anew. A peer is its address: weight, tier and
//! flags are attributes, and a publication that changes them keeps its state. One that leaves and
//! comes back is a new peer.

mod address;
mod attempts;
mod balance;
mod budget;
mod connections;
mod current;
mod departed;
mod doubt;
mod ejections;
mod event;
mod hand;
mod leaving;
mod pace;
mod panic;
mod peer;
mod policy;
mod probed;
mod queue;
mod refusal;
mod sessions;
mod set;
mod sharded;
mod sid;
mod state;
mod tally;
#[cfg(test)]
mod tests;
mod times;
mod tried;
mod warm;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use crate::config::model::RetryBudget;
use crate::health::{Outcome, ProbeRule, Standing, Tick, Verdict};
pub use address::PeerAddress;
pub use balance::Key;
use budget::Budget;
pub use connections::Connection;
use current::Current;
use departed::Departed;
pub use departed::Departure;
pub use ejections::Blame;
pub use event::{Change, Event, Figures};
pub use hand::{Hand, Words};
use leaving::Leaving;
use panic::Panics;
pub use panic::{Panic, PanicTurn};
use peer::Presence;
pub use peer::{Lease, Measure, Member, Method, Peer, Tier};
pub use policy::Policy;
pub use probed::Probes;
use queue::Line;
pub use queue::{QueueState, Refusal, Waited};
pub use refusal::{Census, NoPeer};
pub use sessions::Sessions;
use set::PeerSet;
pub use state::{PeerState, Status, TierCount, UpstreamState};
pub use tally::{
    BOUNDS, COUNTS, Count, Distribution, Histogram, Level, PeerTally, Requests, StatusCounts,
    Statuses, Tally, Totals,
};
use times::Times;
pub use tried::Tried;
use warm::Weights;

/// A named group of peers that requests go to.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    policy: Policy,
    set: Current,
    /// Those of `sticky learn`; none for other upstreams.
    sessions: ArcSwapOption<Sessions>,
    /// Those that wait for a peer; none where nobody may.
    line: Option<Arc<Line>>,
    /// The position in the one sequence of this process.
    turn: AtomicUsize,
    /// Held by whoever makes a new set; a request never takes it.
    writer: Mutex<Writer>,
    /// Says that the peers are others or have other attributes.
    published: watch::Sender<()>,
    refresh: Notify,
    budget: Budget,
    /// Says that a peer begins to grow to its weight.
    growing: Notify,
    leaving: Leaving,
    departed: Departed,
    times: Times,
    tally: Tally,
}

/// What only those need who make a new set.
#[derive(Debug, Default)]
struct Writer {
    /// What the operator has said of peers of an upstream that this one takes the place of, until they are here.
    words: Words,
    /// Which of its peers passed their probes, until they are here.
    passed: Vec<PeerAddress>,
    /// What was told of panic mode.
    panics: Panics,
}

impl Upstream {
    /// An upstream that no address is known of yet; `method` chooses among its peers. With
    /// `probes`, a new peer gets traffic once a probe has passed, or while none of the upstream has
    /// passed one.
    #[must_use]
    pub fn new(name: &str, method: &Method, probes: Option<ProbeRule>) -> Self {
        let probes = probes.into_iter().collect();
        Self::with(name, Policy { method: method.clone(), probes, ..Policy::default() })
    }

    /// An upstream that no address is known of yet, with all that was written of it.
    #[must_use]
    pub fn with(name: &str, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            set: Current::new(PeerSet::new(Box::default(), &policy, Tick::default())),
            sessions: ArcSwapOption::new(policy.sessions().map(Arc::new)),
            line: policy.queue.map(|rule| Arc::new(Line::new(rule))),
            policy,
            turn: AtomicUsize::new(0),
            writer: Mutex::default(),
            published: watch::Sender::new(()),
            refresh: Notify::new(),
            budget: Budget::default(),
            growing: Notify::new(),
            leaving: Leaving::default(),
            departed: Departed::default(),
            times: Times::default(),
            tally: Tally::default(),
        }
    }

    /// What was written of it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes `members` the peers and says what changed. Those whose address was there keep their
    /// state; where an address comes twice, the first counts, but one that DNS has before an
    /// absent one. Publishing the same again does nothing.
    pub fn publish(&self, members: &[Member], now: Tick) -> Vec<Event> {
        let mut members = distinct(members);
        if self.policy.sticky.is_some() {
            for member in &mut members {
                member.route.get_or_insert_with(|| sid::of_address(&member.address));
            }
        }
        let mut writer = self.writer();
        let old = self.set.load();
        if members.iter().eq(old.peers.iter().map(Peer::member)) {
            return Vec::new();
        }
        let owned = |member: &Member| (member.address.clone(), member.copy);
        let mut leaving: HashMap<(PeerAddress, u16), &Peer> =
            old.peers.iter().map(|p| (owned(p.member()), p)).collect();
        let mut events = Vec::new();
        let mut note = |peer: &Peer, change| events.push(Event::of(peer, change, now));
        let mut peers = Vec::with_capacity(members.len());
        for member in members {
            let Some(kept) = leaving.remove(&owned(&member)) else {
                let peer = self.new_peer(member, now);
                note(&peer, Change::Joined { tier: peer.member().tier });
                if peer.member().absent {
                    note(&peer, Change::Absent);
                }
                if old.peers.is_empty() {
                    peer.warmth().begin_warm();
                }
                peers.push(peer);
                continue;
            };
            if member.absent && !kept.member().absent {
                kept.set_presence(|_| Presence::Absent, now);
                kept.cut_idle();
                note(kept, Change::Absent);
            } else if kept.member().absent && !member.absent {
                if !kept.set_presence(Presence::found, now) {
                    // Whatever answers there now is not what left.
                    self.remove(kept, now);
                    let peer = self.new_peer(member, now);
                    note(&peer, Change::Found);
                    peers.push(peer);
                    continue;
                }
                note(kept, Change::Found);
            }
            peers.push(kept.with_member(member));
        }
        // In the old order, so that the log reads the same each time.
        for gone in old.peers.iter().filter(|p| leaving.contains_key(&owned(p.member()))) {
            self.remove(gone, now);
            self.departed.note(gone, now);
            note(gone, Change::Left);
        }
        if !peers.is_empty() {
            for (address, hand) in writer.words.drain(..) {
                let meant = peers.iter().filter(|p| *p.address() == address);
                for peer in meant {
                    peer.set_hand(hand, now);
                }
            }
            let passed: Vec<PeerAddress> = writer.passed.drain(..).collect();
            for peer in peers.iter().filter(|peer| passed.contains(peer.address())) {
                peer.probe().has_passed_before();
            }
        }
        let set = PeerSet::new(peers.into(), &self.policy, now);
        if let Some(last) = events.last_mut() {
            last.panics = panic::turns(&mut writer.panics, set.panics);
        }
        self.swap(set);
        self.published.send_replace(());
        self.wake();
        events
    }

    /// Lets a peer go: what is idle of its connections is ended at once, the others after
    /// `drain_timeout`.
    fn remove(&self, peer: &Peer, now: Tick) {
        peer.set_presence(|_| Presence::Removed, now);
        peer.cut_idle();
        self.leaving.note(peer, self.policy.drain_timeout, now);
    }

    /// Cuts off what is still in flight on peers that left `drain_timeout` ago.
    pub fn cut_off(&self, now: Tick) -> Vec<Event> {
        self.leaving.cut_off(now)
    }

    /// When [`Upstream::cut_off`] has something to do next; none while no peer is waited for.
    #[must_use]
    pub fn next_cut(&self) -> Option<Tick> {
        self.leaving.next()
    }

    /// The peer that the session is bound to, or that the method gives a request with this key, among
    /// those available that are not in `tried`; a backup when no primary is. Of those that drain only
    /// the session's is.
    ///
    /// With every other peer out, one that is ejected is tried before its time; where nothing is said of
    /// panic, as in nginx's door, only by a request that has tried none yet.
    ///
    /// # Errors
    /// [`NoPeer`] says what is wrong with the peers.
    #[inline]
    pub fn pick(&self, key: &Key<'_>, tried: &Tried, now: Tick) -> Result<Lease, NoPeer> {
        // What nearly every request needs whose method goes by turns; all else would look in vain.
        let mut taken = None;
        let lease = self.set.glance(|set| {
            if !key.sid.is_empty() || !tried.is_empty() || !set.goes_by_turns(now) {
                return None;
            }
            let turn = self.turn.fetch_add(1, Relaxed);
            taken = Some(turn);
            set.at_turn(turn)
        });
        match lease {
            Some(lease) => Ok(lease),
            None => self.pick_by_any(key, tried, now, taken),
        }
    }

    /// The same for any method and whatever was tried. `taken` is a turn that nobody has used yet.
    #[inline(never)]
    fn pick_by_any(
        &self,
        key: &Key<'_>,
        tried: &Tried,
        now: Tick,
        taken: Option<usize>,
    ) -> Result<Lease, NoPeer> {
        let lease = self.set.read(|set| self.pick_of(set, key, tried, now, taken));
        lease.ok_or_else(|| self.refusal(tried))
    }

    fn pick_of(
        &self,
        set: &PeerSet,
        key: &Key<'_>,
        tried: &Tried,
        now: Tick,
        mut taken: Option<usize>,
    ) -> Option<Lease> {
        let mut turn = || taken.take().unwrap_or_else(|| self.turn.fetch_add(1, Relaxed));
        for tier in [Tier::Primary, Tier::Backup] {
            let lease = set
                .by_sid(tier, key.sid, tried, now)
                .or_else(|| set.by_key(tier, key, tried, now))
                .or_else(|| set.trial(tier, tried, now))
                .or_else(|| set.by_load(tier, tried, now))
                .or_else(|| set.next(tier, tried, &mut turn));
            if lease.is_some() {
                return lease;
            }
        }
        if self.policy.panic.is_none() && !tried.is_empty() {
            return None;
        }
        // Trying beats refusing: an ejection is a guess, a refusal is certain.
        let turn = turn();
        set.early(Tier::Primary, key, tried, turn, now)
            .or_else(|| set.early(Tier::Backup, key, tried, turn, now))
    }

    /// Why each peer did not take a request that has tried `tried`, for whoever has to say so:
    /// "10.0.0.4:80 ejected for connect, 7s left; 10.0.0.5:80 down". Of many the first ten are named.
    #[must_use]
    pub fn explain(&self, tried: &Tried, now: Tick) -> String {
        const NAMED: usize = 10;
        let set = self.set.load();
        let reason = |state: &PeerState, peer: &Peer| {
            let up = matches!(state.status, Status::Up | Status::Full);
            let reason = match up && tried.contains(peer) {
                true => "tried".to_owned(),
                false => state.reason(now),
            };
            format!("{} {reason}", peer.address())
        };
        let named = set.peers.iter().take(NAMED);
        let mut reasons: Vec<String> = named.map(|peer| reason(&peer.state(now), peer)).collect();
        if set.peers.len() > NAMED {
            reasons.push(format!("and {} more", set.peers.len() - NAMED));
        }
        reasons.join("; ")
    }

    /// Takes an attempt's outcome into account. A lone peer is never ejected, as in nginx.
    pub fn report(&self, peer: &Peer, outcome: Outcome, now: Tick) -> Option<Event> {
        if outcome != Outcome::Success {
            peer.count_failure(now);
        }
        // What a connect has shown, a connect takes back.
        if outcome == Outcome::ConnectFailure && peer.set_presence(Presence::lost, now) {
            return self.turned(peer, now, Change::Absent);
        }
        let connects = self.connects(peer, outcome != Outcome::ConnectFailure, now);
        if outcome != Outcome::Success && self.set.load().lone {
            return connects;
        }
        let judged = match outcome {
            // The judgement that took it out was wrong, or no longer holds.
            Outcome::Success if self.is_pressed(peer) => {
                peer.transition(Standing::proven, now).then_some(Change::Readmitted)
            }
            _ => peer.judge(outcome, now),
        };
        match judged {
            Some(change) => Event::after(connects, self.turned(peer, now, change)),
            None => connects,
        }
    }

    /// Whether the peer is used although it is ejected, for too many are out.
    fn is_pressed(&self, peer: &Peer) -> bool {
        let tier = peer.member().tier as usize;
        !peer.standing().is_up() && self.set.load().panics[tier].is_some()
    }

    /// Takes into account that a connect to the peer's address has succeeded: it ends an ejection
    /// for failed connects, and a peer that DNS has no address for is in rotation again.
    pub fn connected(&self, peer: &Peer, now: Tick) -> Option<Event> {
        let readmitted = peer.transition(Standing::connected, now);
        let connects = self.connects(peer, true, now);
        if peer.set_presence(Presence::reached, now) {
            Event::after(connects, self.turned(peer, now, Change::Reached))
        } else if readmitted {
            Event::after(connects, self.turned(peer, now, Change::Readmitted))
        } else {
            connects
        }
    }

    /// Takes into account that a background connect to the peer's address has failed. It takes
    /// nobody out; it decides what brings a peer back that is.
    pub fn unreachable(&self, peer: &Peer, now: Tick) -> Option<Event> {
        peer.transition(Standing::unreachable, now);
        self.connects(peer, false, now)
    }

    /// Takes the result of a probe of the only health check into account.
    pub fn probed(
        &self,
        peer: &Peer,
        result: Result<Duration, String>,
        now: Tick,
    ) -> Option<Event> {
        self.probed_by(peer, 0, result, now)
    }

    /// Takes a probe's result into account: how long it took, or what it met. `check` is the number of the
    /// health check. What the probe's connect says about ejections is for [`Upstream::connected`].
    pub fn probed_by(
        &self,
        peer: &Peer,
        check: usize,
        result: Result<Duration, String>,
        now: Tick,
    ) -> Option<Event> {
        let error = result.as_ref().err().cloned().unwrap_or_default();
        match peer.probed(check, result, now)? {
            Verdict::Passing { .. } => self.turned(peer, now, Change::Passing),
            Verdict::Failing { .. } => self.turned(peer, now, Change::Failing { error }),
            Verdict::Unknown { .. } => None,
        }
    }

    /// Takes the operator's word on a peer.
    pub fn tell(&self, peer: &Peer, hand: Hand, now: Tick) -> Option<Event> {
        if !peer.set_hand(hand, now) {
            return None;
        }
        let event = self.turned(peer, now, Change::Told(hand));
        // Who looks after its peers looks after this one, or no longer.
        self.published.send_replace(());
        event
    }

    /// The sessions of `sticky learn`; none for other upstreams.
    #[must_use]
    pub fn sessions(&self) -> Option<Arc<Sessions>> {
        self.sessions.load_full()
    }

    /// Goes on with the sessions of another upstream, whose place it is to take, if they are bound in
    /// the same way: those of nginx's zone, too, outlive a reload that changes the servers.
    pub fn adopt_sessions(&self, other: &Self) {
        if self.policy.sticky == other.policy.sticky {
            self.sessions.store(other.sessions.load_full());
        }
    }

    /// What the operator has said of its peers, where he has said anything.
    #[must_use]
    pub fn words(&self) -> Words {
        let peers = self.peers();
        let told = peers.iter().map(|peer| (peer.address().clone(), peer.hand()));
        told.filter(|(_, hand)| *hand != Hand::Off).collect()
    }

    /// Takes over what the operator has said of peers of an upstream that this one takes the place
    /// of. It holds for those of the first publication that has any: what comes later is new.
    pub fn inherit(&self, words: Words) {
        self.writer().words = words;
    }

    /// Which peers of an upstream that this one takes the place of pass their probes: a persistent health check
    /// of those of the first publication that has any need not see it again.
    pub fn inherit_passes(&self, other: &Self) {
        let peers = other.peers();
        let passing = peers.iter().filter(|peer| peer.verdict().is_passing());
        self.writer().passed = passing.map(|peer| peer.address().clone()).collect();
    }

    /// The peers, in order of their server lines.
    #[must_use]
    pub fn peers(&self) -> Box<[Peer]> {
        self.set.load().peers.clone()
    }

    /// Changes whenever a publication changed the peers or their attributes, and with each of the operator's words.
    #[must_use]
    pub fn publications(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// What is happening, for the dashboard.
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> UpstreamState {
        let set = self.set.load();
        UpstreamState {
            name: self.name.clone(),
            primaries: set.count(Tier::Primary),
            backups: set.count(Tier::Backup),
            panics: set.panics,
            queue: self.queue(),
            left: self.departed.read(&set.peers, now),
            peers: set.states(now),
        }
    }

    /// Asks discovery for a refresh now, because a connect has failed. Many calls before it
    /// begins are one.
    pub fn ask_refresh(&self) {
        self.refresh.notify_one();
    }

    /// Resolves when a refresh is asked for, at once if one was since the last call.
    ///
    /// # Cancel safety
    /// What was asked for is kept when it is dropped.
    pub async fn refresh_asked(&self) {
        self.refresh.notified().await;
    }

    /// The head of an answer took so long, or the attempt was given up after so long.
    pub fn learn(&self, took: Duration) {
        self.times.learn(took);
    }

    /// The time within which `percent` of the latest heads of answers came; none before there were
    /// twenty.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        self.times.percentile(percent)
    }

    /// What is counted of it.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts a request, of which retries may cost a share.
    pub fn deposit(&self, now: Tick) {
        self.budget.deposit(now);
    }

    /// Whether `rule` allows one more attempt, which then is counted.
    pub fn withdraw(&self, rule: RetryBudget, now: Tick) -> bool {
        self.budget.withdraw(rule, now)
    }

    /// Takes back that an attempt was counted, for it was not made.
    pub fn refund(&self, now: Tick) {
        self.budget.refund(now);
    }

    /// Lets the peers that are in their slow start grow to what they weigh now. When to call it again; none
    /// when each has its whole weight.
    pub fn warm(&self, now: Tick) -> Option<Duration> {
        let _writer = self.writer();
        let set = self.set.load();
        set.weights.next?;
        let weights = Weights::at(&set.peers, now);
        let next = weights.next;
        if weights != set.weights {
            self.set.store(set.turned(&self.policy, now));
        }
        next
    }

    /// Resolves when a peer is in its slow start, at once if one began it since the last call.
    ///
    /// # Cancel safety
    /// What began is kept when it is dropped.
    pub async fn growing(&self) {
        self.growing.notified().await;
    }

    /// Makes the rotation anew after a peer's state turned; no event for one that has left.
    fn turned(&self, peer: &Peer, now: Tick, change: Change) -> Option<Event> {
        self.turned_if(peer, now, change, |_| true)
    }

    /// The same, if `may` allows it once nobody else can make another set.
    fn turned_if(
        &self,
        peer: &Peer,
        now: Tick,
        change: Change,
        may: impl FnOnce(&PeerSet) -> bool,
    ) -> Option<Event> {
        if peer.presence() == Presence::Removed {
            return None;
        }
        let mut writer = self.writer();
        let present = self.set.load();
        if !may(&present) {
            return None;
        }
        let set = present.turned(&self.policy, now);
        let panics = panic::turns(&mut writer.panics, set.panics);
        self.swap(set);
        self.wake();
        if matches!(change, Change::Ejected { .. }) {
            peer.tally().ejections.add();
        }
        Some(Event { panics, ..Event::of(peer, change, now) })
    }

    fn swap(&self, set: PeerSet) {
        if set.weights.next.is_some() {
            self.growing.notify_one();
        }
        self.set.store(set);
    }

    fn new_peer(&self, member: Member, now: Tick) -> Peer {
        Peer::new(member, &self.policy, now).in_front_of(self.line.clone())
    }

    /// What is wrong with the peers for a request that has tried `tried`.
    #[cold]
    fn refusal(&self, tried: &Tried) -> NoPeer {
        self.set.load().refusal(tried)
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        // Nothing under the lock can leave it half done: a poisoned one is as good as any.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One member for each address and copy, in order.
fn distinct(members: &[Member]) -> Vec<Member> {
    let mut places = HashMap::with_capacity(members.len());
    let mut kept: Vec<Member> = Vec::with_capacity(members.len());
    for member in members {
        let place = *places.entry(member.key()).or_insert(kept.len());
        match kept.get_mut(place) {
            None => kept.push(member.clone()),
            Some(first) if first.absent && !member.absent => *first = member.clone(),
            Some(_) => {}
        }
    }
    kept
}
