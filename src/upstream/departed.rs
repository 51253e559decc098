//! Peers that have left, kept for a while so that who looks a minute later still reads which one it was.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Peer, PeerAddress, Tier};
use crate::health::Tick;

/// How long one is remembered.
const KEPT: Duration = Duration::from_mins(10);
/// How many of one upstream are.
const MOST: usize = 16;

/// A peer that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its address.
    pub address: PeerAddress,
    /// Primary or backup.
    pub tier: Tier,
    /// When it left.
    pub at: Tick,
    /// Attempts that it has had.
    pub requests: u64,
}

/// Those of one upstream, the latest last.
#[derive(Debug, Default)]
pub(super) struct Departed(Mutex<VecDeque<Departure>>);

impl Departed {
    pub(super) fn note(&self, peer: &Peer, now: Tick) {
        let mut all = self.all();
        all.retain(|gone| gone.address != *peer.address());
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back(Departure {
            address: peer.address().clone(),
            tier: peer.member().tier,
            at: now,
            requests: peer.requests(),
        });
    }

    /// Those that are not `back` again and have not been away for too long.
    pub(super) fn read(&self, back: &[Peer], now: Tick) -> Vec<Departure> {
        let is_back = |gone: &Departure| back.iter().any(|peer| *peer.address() == gone.address);
        let mut all = self.all();
        all.retain(|gone| now < gone.at.after(KEPT) && !is_back(gone));
        all.iter().cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Departure>> {
        // Whole values are pushed or removed under it: a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Member, Policy};
    use super::*;

    fn peer(last: u8) -> Peer {
        let member = Member::new(([10, 0, 0, last], 80).into());
        Peer::new(member, &Policy::default(), Tick::default())
    }

    #[test]
    fn who_has_left_is_remembered_until_it_is_back_or_long_gone() {
        let departed = Departed::default();
        departed.note(&peer(1), Tick::from_millis(0));
        departed.note(&peer(2), Tick::from_millis(60_000));
        let left = |back: &[Peer], millis| {
            let left = departed.read(back, Tick::from_millis(millis));
            left.into_iter().map(|gone| gone.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(left(&[], 61_000), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(left(&[], 600_000), ["10.0.0.2:80"]);
        assert!(left(&[peer(2)], 600_000).is_empty());
    }

    #[test]
    fn the_latest_are_remembered() {
        let departed = Departed::default();
        for last in 0..=20 {
            departed.note(&peer(last), Tick::default());
        }
        let left = departed.read(&[], Tick::default());
        assert_eq!(left.len(), MOST);
        assert_eq!(left[0].address.to_string(), "10.0.0.5:80");
    }
}
