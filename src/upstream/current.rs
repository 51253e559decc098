//! The set that holds at present, as each request reads it.
//!
//! `ArcSwap` alone costs two shared operations a read, as much as all that a choice in turn does beside
//! counting. So each thread keeps the sets it read last and looks whether the number of the
//! present one is still theirs, which is one plain load. A thread that picks no more keeps at most
//! [`SLOTS`] old sets; they cost memory and nothing else, for what is said of a peer is not in them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use arc_swap::{ArcSwap, Guard};

use super::set::PeerSet;

/// Sets that a thread keeps; upstreams beyond that number take turns.
const SLOTS: usize = 16;

thread_local! {
    static READ: RefCell<[Option<Arc<Numbered>>; SLOTS]> =
        const { RefCell::new([const { None }; SLOTS]) };
}

/// A set and the number it has, which no other of the process has.
#[derive(Debug)]
struct Numbered {
    number: u64,
    set: PeerSet,
}

impl Numbered {
    fn new(set: PeerSet) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { number: NEXT.fetch_add(1, Relaxed), set }
    }
}

/// What an upstream's requests read. Written by one at a time.
#[derive(Debug)]
pub(super) struct Current {
    /// The number of what `swap` holds, or shortly the one before.
    number: AtomicU64,
    swap: ArcSwap<Numbered>,
    slot: usize,
}

impl Current {
    pub(super) fn new(set: PeerSet) -> Self {
        static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);
        let first = Numbered::new(set);
        Self {
            number: AtomicU64::new(first.number),
            swap: ArcSwap::from_pointee(first),
            slot: NEXT_SLOT.fetch_add(1, Relaxed) % SLOTS,
        }
    }

    pub(super) fn store(&self, set: PeerSet) {
        let next = Numbered::new(set);
        let number = next.number;
        self.swap.store(Arc::new(next));
        // After the set: who reads the number finds it, or a later one.
        self.number.store(number, Release);
    }

    pub(super) fn load(&self) -> Loaded {
        Loaded(self.swap.load())
    }

    /// What `reader` says of the present set.
    #[inline]
    pub(super) fn read<T>(&self, reader: impl Fn(&PeerSet) -> T) -> T {
        // None when the thread ends, or `reader` reads another set.
        self.glance(|set| Some(reader(set))).unwrap_or_else(|| reader(&self.swap.load().set))
    }

    /// The same, for a reader that may as well not be asked: it says nothing then.
    #[inline]
    pub(super) fn glance<T>(&self, reader: impl FnOnce(&PeerSet) -> Option<T>) -> Option<T> {
        // Pairs with the release in `store`.
        let number = self.number.load(Acquire);
        let read = READ.try_with(|read| {
            let mut read = read.try_borrow_mut().ok()?;
            let kept = &mut read[self.slot];
            if kept.as_ref().is_none_or(|kept| kept.number != number) {
                self.renew(kept);
            }
            reader(&kept.as_ref()?.set)
        });
        read.ok()?
    }

    #[cold]
    fn renew(&self, kept: &mut Option<Arc<Numbered>>) {
        *kept = Some(self.swap.load_full());
    }
}

/// The set of one moment, for whoever makes the next.
pub(super) struct Loaded(Guard<Arc<Numbered>>);

impl std::ops::Deref for Loaded {
    type Target = PeerSet;

    fn deref(&self) -> &PeerSet {
        &self.0.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Tick;
    use crate::upstream::{Member, Peer, Policy};

    fn set(peers: u16) -> PeerSet {
        let policy = Policy::default();
        let peer = |port| Peer::new(Member::new(([127, 0, 0, 1], port).into()), &policy, at());
        PeerSet::new((1..=peers).map(peer).collect(), &Policy::default(), at())
    }

    fn at() -> Tick {
        Tick::from_millis(1)
    }

    fn peers(current: &Current) -> usize {
        current.read(|set| set.peers.len())
    }

    #[test]
    fn what_was_stored_is_read_by_every_thread() {
        let current = Current::new(set(1));
        for n in 2..5 {
            assert_eq!(peers(&current), n - 1);
            std::thread::scope(|scope| {
                scope.spawn(|| current.store(set(n as u16)));
            });
            assert_eq!((peers(&current), current.load().peers.len()), (n, n));
        }
    }

    #[test]
    fn those_that_share_a_slot_do_not_read_each_other_s() {
        let all: Vec<Current> = (0..40).map(|n| Current::new(set(n))).collect();
        for _ in 0..2 {
            assert!((0..).zip(&all).all(|(n, current)| peers(current) == n));
        }
    }

    #[test]
    fn a_reader_may_read_another() {
        let (one, two) = (Current::new(set(1)), Current::new(set(2)));
        assert_eq!(one.read(|set| set.peers.len() + peers(&two)), 3);
    }

    #[test]
    fn an_old_set_is_kept_until_the_thread_reads_again() {
        let current = Current::new(set(1));
        let peer = current.read(|set| set.peers[0].clone());
        let before = peer.holders();
        current.store(set(2));
        assert_eq!(peer.holders(), before);
        peers(&current);
        assert_eq!(peer.holders(), before - 1);
    }
}
