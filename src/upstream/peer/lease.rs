//! One attempt at a peer: counted in flight until it is dropped.
//!
//! It also tells the peer's pace how long the answer took, and lets the age of the attempt count meanwhile
//! where the method asks for that.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Peer;
use crate::config::model::Measure;
use crate::health::Tick;

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

    pub(super) fn of(peer: &Peer) -> Self {
        Self { peer: peer.clone(), state: AtomicU64::new(0) }
    }

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
    pub(in crate::upstream) fn chosen(&self, now: Tick) {
        self.peer.0.live.pace.chosen(self.peer.0.member.passive.fail_timeout, now);
    }

    /// Lets the age of this attempt count until its answer is here.
    pub(in crate::upstream) fn awaits(&self, measure: Measure, now: Tick) {
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
