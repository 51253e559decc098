//! Requests that wait for a peer, first come, first served (nginx Plus `queue`).
//!
//! A request joins the line when no peer can take it now and waiting can help: some are full, or
//! out for a while. While others wait it joins at once, so that it overtakes nobody. Whatever gives
//! a peer room (a lease that ends, a peer that returns, a publication) wakes the first, who picks
//! again; who has got a peer, or has left, wakes the next. One that cannot use what is free, because
//! it has tried that peer or is not bound to it, lets the next one try.
//!
//! The line is bounded, and so is the time in it. An upstream without one pays a look at an `Option`
//! when a lease ends.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Key, Lease, NoPeer, Tried, Upstream};
use crate::config::model;
use crate::health::Tick;

/// Why a request got no peer though it may wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with the peers.
    pub why: NoPeer,
    /// What came of waiting; none where that is of no use.
    pub waited: Option<Waited>,
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// So many may wait, and did already.
    Full(u32),
    /// It waited for so long in vain.
    InVain(Duration),
}

/// A queue at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// How many requests wait.
    pub waiting: usize,
    /// How many may.
    pub max: u32,
    /// How many were refused because it was full, or waited in vain.
    pub refused: u64,
}

impl From<NoPeer> for Refusal {
    fn from(why: NoPeer) -> Self {
        Self { why, waited: None }
    }
}

impl Upstream {
    /// As [`Upstream::pick`]; where the upstream has a queue, the request waits in it for its turn.
    ///
    /// # Errors
    /// When there is no peer and waiting cannot help, when as many wait as may, or when it has
    /// waited in vain.
    ///
    /// # Cancel safety
    /// Who drops it leaves the queue at once and holds no peer.
    pub async fn pick_or_wait(
        &self,
        key: Key<'_>,
        tried: &Tried,
        now: Tick,
    ) -> Result<Lease, Refusal> {
        let Some(line) = &self.line else { return Ok(self.pick(&key, tried, now)?) };
        if line.waiting() == 0 {
            match self.pick(&key, tried, now) {
                Err(why) if is_of_use(why, tried) => {}
                picked => return Ok(picked?),
            }
        }
        let refusal = |waited| Refusal { why: self.refusal(tried), waited: Some(waited) };
        let Some(place) = line.join() else {
            return Err(refusal(Waited::Full(line.rule.max.get())));
        };
        let served = async {
            loop {
                place.turn().await;
                match self.pick(&key, tried, Tick::now()) {
                    Err(why) if is_of_use(why, tried) => place.pass_on(why),
                    picked => return picked,
                }
            }
        };
        match timeout(line.rule.timeout, served).await {
            Ok(picked) => Ok(picked?),
            Err(_) => {
                line.refused.fetch_add(1, Relaxed);
                Err(refusal(Waited::InVain(line.rule.timeout)))
            }
        }
    }

    /// How many requests wait for a peer.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.waiting())
    }

    /// How many requests were refused because the queue was full, or waited in vain.
    #[must_use]
    pub fn queue_refused(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.refused.load(Relaxed))
    }

    /// How its queue stands; none where there is none.
    pub(super) fn queue(&self) -> Option<QueueState> {
        let line = self.line.as_ref()?;
        let max = line.rule.max.get();
        Some(QueueState { waiting: line.waiting(), max, refused: self.queue_refused() })
    }

    /// Lets those that wait look for a peer again.
    pub(super) fn wake(&self) {
        if let Some(line) = &self.line {
            line.wake();
        }
    }
}

/// Whether waiting can help. It cannot where there is no address, or where all are down; and one that
/// has failed at a peer waits for one that is full, but not for one that is out.
fn is_of_use(why: NoPeer, tried: &Tried) -> bool {
    let NoPeer::Unavailable(census) = why else { return false };
    let out = census.ejected + census.absent + census.failing + census.waiting;
    census.full > 0 || tried.is_empty() && out > 0
}

/// Those that wait at one upstream.
#[derive(Debug)]
pub(super) struct Line {
    rule: model::Queue,
    /// How many wait, for those who only want to know whether anybody does.
    waiting: AtomicUsize,
    refused: AtomicU64,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// The number of the next to come.
    next: u64,
    waiters: BTreeMap<u64, Arc<Notify>>,
}

impl Line {
    pub(super) fn new(rule: model::Queue) -> Self {
        Self {
            rule,
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            places: Mutex::default(),
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// A place at the end; none when as many wait as may.
    fn join(&self) -> Option<Place<'_>> {
        let mut places = self.places();
        if places.waiters.len() >= self.rule.max.get() as usize {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        let number = places.next;
        places.next += 1;
        let woken = Arc::new(Notify::new());
        places.waiters.insert(number, Arc::clone(&woken));
        self.waiting.store(places.waiters.len(), Relaxed);
        // Room that was made since it picked in vain was announced to nobody: the first looks again,
        // be it this one.
        if let Some((_, first)) = places.waiters.first_key_value() {
            first.notify_one();
        }
        drop(places);
        fence(SeqCst);
        Some(Place { line: self, number, woken })
    }

    /// Lets the first look for a peer again, because there may be room.
    pub(super) fn wake(&self) {
        // Who joins counts itself and then looks for room; who makes room then looks whether anybody
        // is counted. With a fence between each two, one of them sees the other.
        fence(SeqCst);
        if self.waiting() > 0
            && let Some((_, first)) = self.places().waiters.first_key_value()
        {
            first.notify_one();
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing under the lock can leave it half done: a poisoned one is as good as any.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line. Who leaves it, for whatever reason, wakes the first of the others: what
/// woke it may serve them, and there may be room for more than one.
#[derive(Debug)]
struct Place<'l> {
    line: &'l Line,
    number: u64,
    woken: Arc<Notify>,
}

impl Place<'_> {
    /// Resolves when it is time to look for a peer.
    async fn turn(&self) {
        self.woken.notified().await;
    }

    /// Lets the next one look for a peer, if it may use one that this one cannot.
    fn pass_on(&self, why: NoPeer) {
        if let NoPeer::Unavailable(census) = why
            && census.tried + census.draining > 0
            && let Some((_, next)) =
                self.line.places().waiters.range((Excluded(self.number), Unbounded)).next()
        {
            next.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = self.line.places();
        places.waiters.remove(&self.number);
        self.line.waiting.store(places.waiters.len(), Relaxed);
        if let Some((_, first)) = places.waiters.first_key_value() {
            first.notify_one();
        }
    }
}
