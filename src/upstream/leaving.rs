//! Peers that have left, until what is still in flight on them is cut off (`drain_timeout`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Change, Event, Peer};
use crate::health::Tick;

/// Those that are waited for, each with the moment until which.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<Vec<(Tick, Peer)>>);

impl Leaving {
    /// Begins to wait for a peer that has left; zero waits for ever.
    pub(super) fn note(&self, peer: &Peer, limit: Duration, now: Tick) {
        if !limit.is_zero() {
            self.all().push((now.after(limit), peer.clone()));
        }
    }

    /// Cuts off what is in flight on peers whose time is over, and says so.
    pub(super) fn cut_off(&self, now: Tick) -> Vec<Event> {
        let mut over = Vec::new();
        self.all().retain(|(until, peer)| {
            let waits = now < *until;
            if !waits {
                over.push(peer.clone());
            }
            waits
        });
        let event = |peer: Peer| match peer.cut_all() {
            0 => None,
            connections => {
                let change = Change::CutOff { connections };
                Some(Event::of(&peer, change, now))
            }
        };
        over.into_iter().filter_map(event).collect()
    }

    /// The first moment at which one's time is over.
    pub(super) fn next(&self) -> Option<Tick> {
        self.all().iter().map(|(until, _)| *until).min()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Tick, Peer)>> {
        // Whole values are pushed or removed under it: a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
