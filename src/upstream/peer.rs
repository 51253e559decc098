//! One resolved address with its live state, and the lease that counts an attempt on it.
//!
//! Three records stand side by side and never write each other: traffic's (`Standing`), the
//! probes' (`Verdict`), and whether DNS still has the address (`Presence`). What a request
//! reads or counts is atomic; the rest is behind locks that only reports, probes and
//! publications take.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::attempts::Attempts;
use super::balance::ketama;
use super::balance::least_time::Reading;
use super::connections::Connections;
use super::ejections::Ejections;
use super::pace::Pace;
use super::queue::Line;
use super::warm::Warmth;
use super::{Connection, Hand, PeerAddress, PeerState, Policy, Status};
use crate::config::model::Passive;
pub use crate::config::model::{Measure, Method, Tier};
use crate::health::{PassiveRule, ProbeRule, Standing, Tick, Verdict};

/// What discovery and configuration say of a peer: all that is not its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The address, which is the peer's identity.
    pub address: PeerAddress,
    /// The host of its server line, where that is a name.
    pub host: Option<Arc<str>>,
    /// Which of several equal server lines it belongs to, for nginx allows them; default 0. Each of
    /// them makes a peer of its own.
    pub copy: u16,
    /// Share of requests relative to the others of its tier; default 1, at least 1.
    pub weight: u32,
    /// Primary or backup.
    pub tier: Tier,
    /// Out by configuration; only an edit brings it back.
    pub down: bool,
    /// Its name has no address at present (NXDOMAIN or an empty answer); this is the last one known.
    pub absent: bool,
    /// Attempts in flight at most; default 0, which sets no limit.
    pub max_conns: u32,
    /// When failures of traffic eject it.
    pub passive: PassiveRule,
    /// How long it takes to grow to its weight when it is new or back; default zero.
    pub slow_start: Duration,
    /// Whether only sessions that are bound to it reach it; default false.
    pub drain: bool,
    /// What `sticky` knows it by; default: the MD5 of its address.
    pub route: Option<Arc<str>>,
    /// What `hash … consistent` knows its server line by; default [`Member::line_of`] the address.
    pub line: u32,
}

impl Member {
    /// A primary at `address` with every default.
    #[must_use]
    pub fn new(address: PeerAddress) -> Self {
        let line = match &address {
            PeerAddress::Tcp(SocketAddr::V4(v4)) => Self::line_of(&v4.ip().to_string(), v4.port()),
            PeerAddress::Tcp(SocketAddr::V6(v6)) => {
                Self::line_of(&format!("[{}]", v6.ip()), v6.port())
            }
            PeerAddress::Unix(path) => ketama::line(&path.to_string_lossy(), None),
        };
        Self {
            address,
            host: None,
            copy: 0,
            weight: 1,
            tier: Tier::Primary,
            down: false,
            absent: false,
            max_conns: 0,
            passive: PassiveRule::default(),
            slow_start: Duration::ZERO,
            drain: false,
            route: None,
            line,
        }
    }

    /// What no two peers of an upstream share.
    pub(super) fn key(&self) -> (&PeerAddress, u16) {
        (&self.address, self.copy)
    }

    /// The number for a server line's host and port, made as nginx does for its ring.
    #[must_use]
    pub fn line_of(host: &str, port: u16) -> u32 {
        ketama::line(host, Some(port))
    }
}

/// What DNS says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its name has it.
    Listed,
    /// Its name has no address at all, and no connect has succeeded since.
    Absent,
    /// Its name has no address at all, but a connect has succeeded.
    Reached,
    /// Its name has other addresses.
    Removed,
}

impl Presence {
    /// After a connect succeeded.
    pub(super) fn reached(self) -> Self {
        if self == Self::Absent { Self::Reached } else { self }
    }

    /// After a connect failed.
    pub(super) fn lost(self) -> Self {
        if self == Self::Reached { Self::Absent } else { self }
    }

    /// After its name has it again: one that was reached all the time is the same peer.
    pub(super) fn found(self) -> Self {
        if self == Self::Reached { Self::Listed } else { self }
    }

    /// Whether a connect that is under way is not worth waiting for.
    fn has_left(self) -> bool {
        matches!(self, Self::Absent | Self::Removed)
    }
}

/// What probes have shown.
#[derive(Debug)]
pub(super) struct ProbeRecord {
    pub(super) verdict: Verdict,
    pub(super) since: Tick,
    /// Whether a probe has ever made it pass.
    pub(super) passed: bool,
    last: Option<(Tick, Result<Duration, String>)>,
}

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
    probe_asked: Notify,
}

impl Live {
    fn new(member: &Member, now: Tick) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let presence = if member.absent { Presence::Absent } else { Presence::Listed };
        let verdict = Verdict::default();
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
            probe: Mutex::new(ProbeRecord { verdict, since: now, passed: false, last: None }),
            probe_asked: Notify::new(),
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
    /// How probes decide, where the upstream has any.
    probes: Option<ProbeRule>,
    member: Member,
}

impl Peer {
    /// A peer that nothing is known of yet.
    pub(super) fn new(member: Member, policy: &Policy, now: Tick) -> Self {
        let live = Arc::new(Live::new(&member, now));
        let (probes, passive) = (policy.probes, policy.passive);
        let max_conns = member.max_conns;
        Self(Arc::new(Known { member, max_conns, probes, passive, line: None, live }))
    }

    /// The same peer, whose leases wake those that wait in the line when they end.
    pub(super) fn in_front_of(&self, line: Option<Arc<Line>>) -> Self {
        let Known { ref member, max_conns, probes, passive, ref live, .. } = *self.0;
        let (member, live) = (member.clone(), Arc::clone(live));
        Self(Arc::new(Known { member, max_conns, probes, passive, line, live }))
    }

    /// The same peer with other attributes.
    pub(super) fn with_member(&self, member: Member) -> Self {
        let Known { probes, passive, ref line, ref live, .. } = *self.0;
        let (max_conns, line, live) = (member.max_conns, line.clone(), Arc::clone(live));
        Self(Arc::new(Known { member, max_conns, probes, passive, line, live }))
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
        self.probe().verdict
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
        let (status, since) = match (presence, probe.verdict, standing) {
            _ if self.0.member.down => (Status::Down, present_since),
            _ if hand == Hand::Down => (Status::Down, hand_since),
            (Presence::Absent | Presence::Removed, ..) => (Status::Absent, present_since),
            (_, Verdict::Failing { .. }, _) => (Status::Failing, probe.since),
            (_, Verdict::Unknown { .. }, _) if self.0.probes.is_some() => {
                (Status::Waiting, probe.since)
            }
            _ if self.0.member.drain => (Status::Draining, present_since),
            _ if hand == Hand::Drain => (Status::Draining, hand_since),
            (.., Standing::Ejected { until, cause }) => {
                (Status::Ejected { until, cause }, standing_since)
            }
            (.., Standing::Probation { .. }) => (Status::Probation, standing_since),
            _ if self.full() => (Status::Full, now),
            _ => (Status::Up, present_since.max(standing_since).max(probe.since).max(hand_since)),
        };
        PeerState {
            address: self.address().clone(),
            member: self.0.member.clone(),
            status,
            since,
            last_probe: probe.last.clone(),
            requests: self.requests(),
            failures: self.failures(),
            in_flight: self.in_flight(),
            average: self.average(Measure::Header),
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

    /// Writes a probe's result down; the new verdict if it is another kind than before.
    pub(super) fn probed(&self, result: Result<Duration, String>, now: Tick) -> Option<Verdict> {
        let passed = result.is_ok();
        let mut record = self.probe();
        record.last = Some((now, result));
        let before = record.verdict;
        record.verdict = before.after(passed, self.0.probes?);
        record.passed |= record.verdict.is_passing();
        if std::mem::discriminant(&before) == std::mem::discriminant(&record.verdict) {
            return None;
        }
        record.since = now;
        Some(record.verdict)
    }

    /// Forgets that probes pass, and asks for one at once. False where they do not pass, or have done
    /// so for less than a second: who is reset by every other request is not probed for each.
    pub(super) fn ask_probe(&self, now: Tick) -> bool {
        let mut record = self.probe();
        if !record.verdict.is_passing() || now < record.since.after(Duration::from_secs(1)) {
            return false;
        }
        (record.verdict, record.since) = (Verdict::default(), now);
        self.0.live.probe_asked.notify_one();
        true
    }

    /// Resolves when a probe is asked for, at once if one was since the last call.
    ///
    /// # Cancel safety
    /// What was asked for is kept when it is dropped.
    pub async fn probe_asked(&self) {
        self.0.live.probe_asked.notified().await;
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
        Some(Lease { peer: self.clone(), state: AtomicU64::new(0) })
    }
}

/// One attempt at a peer. Counts in flight, and gives it back on `Drop`, also when the client
/// hangs up in the middle.
#[derive(Debug)]
pub struct Lease {
    peer: Peer,
    /// What [`Lease::SUCCEEDED`] and its like say; above, since when an answer is awaited, in milliseconds.
    state: AtomicU64,
}

impl Lease {
    /// The peer has begun an answer that counts as a success.
    const SUCCEEDED: u64 = 1;
    /// The age of the attempt counts, until the head of its answer is here …
    const AWAITED: u64 = 2;
    /// … or until its end.
    const TO_THE_END: u64 = 4;
    const FLAGS: u32 = 3;

    /// The head of an answer that counts as a success is here, so long after the attempt began.
    pub fn answered(&self, took: Duration, now: Tick) {
        let before = self.state.fetch_or(Self::SUCCEEDED, Relaxed);
        self.peer.0.live.pace.answered(took, now);
        if before & Self::TO_THE_END == 0 {
            self.await_no_more();
        }
    }

    /// The last byte of an answer is here, so long after the attempt began. It counts if its head
    /// did.
    pub fn finished(&self, took: Duration) {
        if self.state.load(Relaxed) & Self::SUCCEEDED != 0 {
            self.peer.0.live.pace.finished(took);
        }
    }

    /// The attempt has failed so long after it began.
    pub fn failed(&self, took: Duration, now: Tick) {
        self.peer.0.live.pace.failed(took, now);
    }

    /// `least_time` has chosen the peer.
    pub(super) fn chosen(&self, now: Tick) {
        self.peer.0.live.pace.chosen(self.peer.0.member.passive.fail_timeout, now);
    }

    /// Lets the age of this attempt count until its answer is here.
    pub(super) fn awaits(&self, measure: Measure, now: Tick) {
        self.peer.0.live.pace.awaits(now);
        let until = match measure {
            Measure::Header => Self::AWAITED,
            Measure::LastByte => Self::AWAITED | Self::TO_THE_END,
        };
        self.state.store(now.as_millis() << Self::FLAGS | until, Relaxed);
    }

    fn await_no_more(&self) {
        // No operation that others see where nothing is awaited, as with nearly every method.
        if self.state.load(Relaxed) & Self::AWAITED == 0 {
            return;
        }
        let before = self.state.fetch_and(!Self::AWAITED, Relaxed);
        if before & Self::AWAITED != 0 {
            let since = Tick::from_millis(before >> Self::FLAGS);
            self.peer.0.live.pace.awaits_no_more(since);
        }
    }
}

impl Deref for Lease {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        self.await_no_more();
        self.peer.0.live.attempts.end();
        if let Some(line) = &self.peer.0.line {
            line.wake();
        }
    }
}
