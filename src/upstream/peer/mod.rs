//! One resolved address with its live state.
//!
//! Three records stand side by side and never write each other: traffic's (`Standing`), the
//! probes' (`Verdict`), and whether DNS still has the address (`Presence`). What a request
//! reads or counts is atomic; the rest is behind locks that only reports, probes and
//! publications take.

mod lease;
mod member;
mod presence;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::attempts::Attempts;
use super::balance::least_time::Reading;
use super::connections::Connections;
use super::ejections::Ejections;
use super::pace::Pace;
use super::probed::ProbeRecord;
use super::queue::Line;
use super::warm::Warmth;
use super::{Connection, Hand, PeerAddress, PeerState, PeerTally, Policy, Status};
use crate::config::model::Passive;
pub use crate::config::model::{Measure, Method, Tier};
use crate::health::{ProbeRule, Standing, Tick, Verdict};
pub use lease::Lease;
pub use member::Member;
pub(super) use presence::Presence;

/// The part of a peer that outlives every refresh and every edit of its attributes. What a choice reads
/// comes first, in one line of the cache.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Live {
    attempts: Attempts,
    id: u64,
    standing: AtomicU64,
    standing_since: AtomicU64,
    /// Attempts that have failed.
    failures: AtomicU64,
    hand: AtomicU8,
    hand_since: AtomicU64,
    ejections: Ejections,
    /// Whether the last connect failed.
    refuses: AtomicBool,
    pub(super) pace: Pace,
    warmth: Warmth,
    /// How often its pooled connections were given up.
    generation: AtomicU32,
    connections: Connections,
    /// With the moment it began.
    presence: watch::Sender<(Presence, Tick)>,
    probe: Mutex<ProbeRecord>,
    /// One for each health check.
    probe_asked: Box<[Notify]>,
    /// How it stood when an event last told of it, in a word, and since when.
    told: Mutex<Option<(&'static str, Tick)>>,
    tally: PeerTally,
}

impl Live {
    fn new(member: &Member, probes: &[ProbeRule], now: Tick) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let presence = if member.absent { Presence::Absent } else { Presence::Listed };
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            standing: AtomicU64::new(Standing::default().pack()),
            standing_since: AtomicU64::new(now.as_millis()),
            attempts: Attempts::default(),
            failures: AtomicU64::new(0),
            hand: AtomicU8::new(Hand::Off.pack()),
            hand_since: AtomicU64::new(now.as_millis()),
            ejections: Ejections::default(),
            refuses: AtomicBool::new(false),
            pace: Pace::default(),
            warmth: Warmth::default(),
            generation: AtomicU32::new(0),
            connections: Connections::default(),
            presence: watch::Sender::new((presence, now)),
            probe: Mutex::new(ProbeRecord::new(probes, now)),
            probe_asked: probes.iter().map(|_| Notify::new()).collect(),
            told: Mutex::default(),
            tally: PeerTally::default(),
        }
    }
}

/// One resolved address with live state. Cheap to clone: clones share the state.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Known>);

/// One allocation, so that a lease costs one count more and one less. What a lease reads comes first, next to
/// that count.
#[derive(Debug)]
#[repr(C)]
struct Known {
    live: Arc<Live>,
    /// Those that wait for room; none where nobody may.
    line: Option<Arc<Line>>,
    /// The member's.
    max_conns: u32,
    /// How failures of traffic are judged.
    passive: Passive,
    member: Member,
}

impl Peer {
    /// A peer that nothing is known of yet.
    pub(super) fn new(member: Member, policy: &Policy, now: Tick) -> Self {
        let live = Arc::new(Live::new(&member, &policy.probes, now));
        let (max_conns, passive) = (member.max_conns, policy.passive);
        Self(Arc::new(Known { member, max_conns, passive, line: None, live }))
    }

    /// The same peer, whose leases wake those that wait in the line when they end.
    pub(super) fn in_front_of(&self, line: Option<Arc<Line>>) -> Self {
        let Known { ref member, max_conns, passive, ref live, .. } = *self.0;
        let (member, live) = (member.clone(), Arc::clone(live));
        Self(Arc::new(Known { member, max_conns, passive, line, live }))
    }

    /// The same peer with other attributes.
    pub(super) fn with_member(&self, member: Member) -> Self {
        let Known { passive, ref line, ref live, .. } = *self.0;
        let (max_conns, line, live) = (member.max_conns, line.clone(), Arc::clone(live));
        Self(Arc::new(Known { member, max_conns, passive, line, live }))
    }

    /// How many sets, leases and clones hold it.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// A number that no other peer of this process has had; one that left and came back has a new
    /// one. It tells connection pools apart.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.live.id
    }

    /// The address, which is its identity.
    #[must_use]
    pub fn address(&self) -> &PeerAddress {
        &self.0.member.address
    }

    /// What configuration and discovery say of it.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.0.member
    }

    /// What traffic has shown of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::unpack(self.0.live.standing.load(Relaxed))
    }

    /// How failures of traffic are judged.
    pub(super) fn passive(&self) -> Passive {
        self.0.passive
    }

    /// What is remembered of its ejections.
    pub(super) fn ejections(&self) -> &Ejections {
        &self.0.live.ejections
    }

    /// Whether the last connect to it failed.
    pub(super) fn refuses(&self) -> bool {
        self.0.live.refuses.load(Relaxed)
    }

    /// Takes note of whether the last connect failed; true when that is new.
    pub(super) fn set_refuses(&self, refuses: bool) -> bool {
        // Nearly every report changes nothing, and then must not dirty the cache line.
        self.refuses() != refuses && self.0.live.refuses.swap(refuses, Relaxed) != refuses
    }

    /// What probes have shown of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.probe().verdict()
    }

    /// Attempts begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.live.attempts.in_flight()
    }

    /// Attempts begun since the peer appeared.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.live.attempts.begun()
    }

    /// Attempts that have failed since the peer appeared: those that say something about it.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.live.failures.load(Relaxed)
    }

    /// What is counted of it.
    #[must_use]
    pub fn tally(&self) -> &PeerTally {
        &self.0.live.tally
    }

    /// An event tells how it stands, in a word; how it stood before, and for how long, if that is another.
    pub(super) fn turn_told(
        &self,
        word: &'static str,
        now: Tick,
    ) -> Option<(&'static str, Duration)> {
        let mut told = self.0.live.told.lock().unwrap_or_else(PoisonError::into_inner);
        match *told {
            Some((before, _)) if before == word => None,
            before => {
                *told = Some((word, now));
                before.map(|(word, since)| (word, now.since(since)))
            }
        }
    }

    /// What the operator has said of it.
    #[must_use]
    pub fn hand(&self) -> Hand {
        Hand::unpack(self.0.live.hand.load(Relaxed))
    }

    /// Takes the operator's word; true when it is another than before.
    pub(super) fn set_hand(&self, hand: Hand, now: Tick) -> bool {
        let changed = self.0.live.hand.swap(hand.pack(), Relaxed) != hand.pack();
        if changed {
            self.0.live.hand_since.store(now.as_millis(), Relaxed);
        }
        changed
    }

    /// Whether new requests are to reach it, as far as configuration and operator have a say.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.member().down && !self.drains() && self.hand() != Hand::Down
    }

    /// Whether only sessions that are bound to it reach it.
    pub(super) fn drains(&self) -> bool {
        self.member().drain || self.hand() == Hand::Drain
    }

    /// The average time until an answer's head or end was here; none before the first answer.
    #[must_use]
    pub fn average(&self, measure: Measure) -> Option<Duration> {
        self.0.live.pace.average(measure)
    }

    /// How far it has grown to its weight.
    pub(super) fn warmth(&self) -> &Warmth {
        &self.0.live.warmth
    }

    /// What `least_time` knows of it.
    pub(super) fn reading(&self, measure: Measure, now: Tick) -> Reading {
        let (fail_timeout, in_flight) = (self.0.member.passive.fail_timeout, self.in_flight());
        Reading { fail_timeout, in_flight, ..self.0.live.pace.reading(measure, now) }
    }

    /// What `ewma` expects one more request to wait.
    pub(super) fn peak(&self, now: Tick) -> u64 {
        self.0.live.pace.peak(self.in_flight(), now)
    }

    /// Takes the age of what is in flight into account.
    pub(super) fn grow_old(&self, now: Tick) {
        self.0.live.pace.grow_old(now);
    }

    /// Which connections to the peer may be used: another number, other connections.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.0.live.generation.load(Relaxed)
    }

    /// Gives up all connections that are kept to the peer: whatever answers there may be another one.
    pub fn renew(&self) {
        self.0.live.generation.fetch_add(1, Relaxed);
        self.cut_idle();
    }

    /// Takes note of a new connection to it.
    pub fn connected(&self, connection: &Arc<dyn Connection>) {
        self.0.live.connections.add(connection);
    }

    /// Ends its connections that no attempt uses.
    pub(super) fn cut_idle(&self) {
        self.0.live.connections.cut_idle();
    }

    /// Ends all of its connections; returns how many an attempt was using.
    pub(super) fn cut_all(&self) -> usize {
        self.0.live.connections.cut_all()
    }

    /// Whether as many attempts are in flight as `max_conns` allows.
    #[must_use]
    pub fn full(&self) -> bool {
        self.0.max_conns != 0 && self.in_flight() >= self.0.max_conns
    }

    /// Whether it has left DNS and no connect has succeeded since.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.presence().has_left()
    }

    /// Resolves when the peer has left DNS, so that a connect to it can be given up; at once if it
    /// has.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn left(&self) {
        let mut presence = self.0.live.presence.subscribe();
        // It fails only when the sender is gone, and `self` holds it.
        let _ = presence.wait_for(|(presence, _)| presence.has_left()).await;
    }

    /// How it stands, for the dashboard.
    #[must_use]
    pub fn state(&self, now: Tick) -> PeerState {
        let (presence, present_since) = *self.0.live.presence.borrow();
        let standing = self.standing();
        let standing_since = Tick::from_millis(self.0.live.standing_since.load(Relaxed));
        let probe = self.probe();
        let hand = self.hand();
        let hand_since = Tick::from_millis(self.0.live.hand_since.load(Relaxed));
        let (status, since) = match (presence, probe.verdict(), standing) {
            _ if self.0.member.down => (Status::Down, present_since),
            _ if hand == Hand::Down => (Status::Down, hand_since),
            (Presence::Absent | Presence::Removed, ..) => (Status::Absent, present_since),
            (_, Verdict::Failing { .. }, _) => (Status::Failing, probe.since()),
            // One that drains is not probed: it waits for nothing.
            _ if probe.waits() && !self.drains() => (Status::Waiting, probe.since()),
            _ if self.0.member.drain => (Status::Draining, present_since),
            _ if hand == Hand::Drain => (Status::Draining, hand_since),
            (.., Standing::Ejected { until, cause }) => {
                (Status::Ejected { until, cause }, standing_since)
            }
            (.., Standing::Probation { .. }) => (Status::Probation, standing_since),
            _ if self.full() => (Status::Full, now),
            _ => (Status::Up, present_since.max(standing_since).max(probe.since()).max(hand_since)),
        };
        PeerState {
            address: self.address().clone(),
            member: self.0.member.clone(),
            status,
            since,
            standing,
            standing_since,
            probes: probe.shown(),
            last_probe: probe.last().cloned(),
            requests: self.requests(),
            failures: self.failures(),
            in_flight: self.in_flight(),
            average: self.average(Measure::Header),
            median: self.tally().percentile(50),
            slowest: self.tally().percentile(99),
            statuses: self.tally().statuses.read(),
            opened: self.tally().opened.read(),
            reused: self.tally().reused.read(),
            ejections: self.tally().ejections.read(),
            probes_passed: self.tally().probes_passed.read(),
            probes_failed: self.tally().probes_failed.read(),
            hand,
            blame: match self.0.passive {
                Passive::MaxFails => None,
                _ => Some(self.0.live.ejections.blame()),
            },
            pressed: false,
        }
    }

    pub(super) fn probe(&self) -> MutexGuard<'_, ProbeRecord> {
        // Nothing under the lock can leave it half done: a poisoned one is as good as any.
        self.0.live.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the result of a health check's probe down; the new verdict if it is another kind than before.
    pub(super) fn probed(
        &self,
        check: usize,
        result: Result<Duration, String>,
        now: Tick,
    ) -> Option<Verdict> {
        let tally = self.tally();
        if result.is_ok() { &tally.probes_passed } else { &tally.probes_failed }.add();
        self.probe().note(check, result, now)
    }

    /// Forgets that probes pass, and asks for one at once. False where they do not pass, or have done
    /// so for less than a second: who is reset by every other request is not probed for each.
    pub(super) fn ask_probe(&self, now: Tick) -> bool {
        let mut record = self.probe();
        let is_settled = now >= record.since().after(Duration::from_secs(1));
        if !record.verdict().is_passing() || !is_settled {
            return false;
        }
        record.forget(now);
        self.0.live.probe_asked.iter().for_each(Notify::notify_one);
        true
    }

    /// Resolves when a probe of a health check is asked for, at once if one was since the last call.
    ///
    /// # Cancel safety
    /// What was asked for is kept when it is dropped.
    pub async fn probe_asked(&self, check: usize) {
        match self.0.live.probe_asked.get(check) {
            Some(asked) => asked.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn presence(&self) -> Presence {
        self.0.live.presence.borrow().0
    }

    /// Moves the presence on to `next` of it; true when it changed.
    pub(super) fn set_presence(&self, next: impl FnOnce(Presence) -> Presence, now: Tick) -> bool {
        self.0.live.presence.send_if_modified(|(presence, since)| {
            let after = next(*presence);
            let changed = after != *presence;
            if changed {
                (*presence, *since) = (after, now);
            }
            changed
        })
    }

    /// Replaces the standing by `next` of it; true when that moved the peer into or out of the
    /// rotation.
    pub(super) fn transition(&self, next: impl Fn(Standing) -> Standing, now: Tick) -> bool {
        self.replace(next, now).is_some_and(|(before, after)| before.is_up() != after.is_up())
    }

    /// Replaces the standing by `next` of it; what it was and is now, where that differs.
    pub(super) fn replace(
        &self,
        next: impl Fn(Standing) -> Standing,
        now: Tick,
    ) -> Option<(Standing, Standing)> {
        let change = |word| {
            let after = next(Standing::unpack(word)).pack();
            // Nearly every report changes nothing, and then must not dirty the cache line.
            (after != word).then_some(after)
        };
        let before = self.0.live.standing.fetch_update(Relaxed, Relaxed, change).ok()?;
        let before = Standing::unpack(before);
        let after = next(before);
        if before.is_up() != after.is_up() {
            self.0.live.standing_since.store(now.as_millis(), Relaxed);
        }
        Some((before, after))
    }

    /// Counts an attempt that failed.
    pub(super) fn count_failure(&self, now: Tick) {
        self.0.live.failures.fetch_add(1, Relaxed);
        self.0.live.pace.check(now);
    }

    /// Takes the one attempt of a peer whose ejection is over; of many callers one gets it.
    pub(super) fn admit(&self, now: Tick) -> bool {
        let next = |word| Standing::unpack(word).admit(self.rule(), now).map(Standing::pack);
        self.0.live.standing.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Begins an attempt before the ejection is over.
    pub(super) fn lease_early(&self, now: Tick) -> Option<Lease> {
        let lease = self.lease()?;
        self.transition(|standing| standing.admit_early(self.rule(), now), now);
        Some(lease)
    }

    /// Begins an attempt, unless `max_conns` are in flight already.
    #[inline]
    pub(super) fn lease(&self) -> Option<Lease> {
        if !self.0.live.attempts.begin(self.0.max_conns) {
            return None;
        }
        Some(Lease::of(self))
    }
}
