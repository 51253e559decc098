//! The open connections to a peer, as far as they can be ended from outside.
//!
//! Who makes connections also pools them and reads from them; here they are only known, so that
//! those to a peer that has left can be ended. A connection that is closed is forgotten by and by.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// One open connection to a peer.
pub trait Connection: Debug + Send + Sync {
    /// Whether no attempt uses it.
    fn is_idle(&self) -> bool;

    /// Ends it: who reads from it finds its end. Doing so twice, or after it was closed, does nothing.
    fn cut(&self);

    /// Ends it if no attempt uses it; none uses it from then on.
    fn cut_idle(&self);
}

/// The connections of one peer.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Vec<Weak<dyn Connection>>>);

impl Connections {
    /// Takes note of a new one.
    pub(super) fn add(&self, connection: &Arc<dyn Connection>) {
        let mut all = self.all();
        // Where it would grow, those that are closed make room; then it is at most half full.
        if all.len() == all.capacity() {
            all.retain(|known| known.strong_count() > 0);
            let open = all.len();
            all.reserve(open.max(8));
        }
        all.push(Arc::downgrade(connection));
    }

    /// Ends those that no attempt uses.
    pub(super) fn cut_idle(&self) {
        self.open().into_iter().for_each(|c| c.cut_idle());
    }

    /// Ends all; returns how many an attempt was using.
    pub(super) fn cut_all(&self) -> usize {
        let open = self.open();
        let used = open.iter().filter(|c| !c.is_idle()).count();
        open.iter().for_each(|c| c.cut());
        used
    }

    fn open(&self) -> Vec<Arc<dyn Connection>> {
        self.all().iter().filter_map(Weak::upgrade).collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<dyn Connection>>> {
        // Whole values are pushed or removed under it: a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[derive(Debug, Default)]
    struct Wire {
        used: bool,
        cut: AtomicBool,
    }

    impl Connection for Wire {
        fn is_idle(&self) -> bool {
            !self.used
        }

        fn cut(&self) {
            self.cut.store(true, Relaxed);
        }

        fn cut_idle(&self) {
            self.cut.fetch_or(!self.used, Relaxed);
        }
    }

    fn add(connections: &Connections, used: bool) -> Arc<Wire> {
        let wire = Arc::new(Wire { used, ..Wire::default() });
        let known: Arc<dyn Connection> = wire.clone();
        connections.add(&known);
        wire
    }

    #[test]
    fn what_is_in_use_outlives_what_is_idle() {
        let connections = Connections::default();
        let (idle, used) = (add(&connections, false), add(&connections, true));
        connections.cut_idle();
        assert_eq!((idle.cut.load(Relaxed), used.cut.load(Relaxed)), (true, false));
        assert_eq!(connections.cut_all(), 1);
        assert!(used.cut.load(Relaxed));
    }

    #[test]
    fn those_that_are_closed_are_forgotten() {
        let connections = Connections::default();
        let kept: Vec<_> = (0..10).map(|_| add(&connections, false)).collect();
        for _ in 0..10_000 {
            add(&connections, false);
        }
        assert!(connections.all().len() <= 64, "{}", connections.all().len());
        assert_eq!(connections.open().len(), kept.len());
    }
}
