//! What one request has tried, so that it does not try the same peer twice.

use super::Peer;

/// The peers that one request has tried. One that has left and come back is another.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// The ids of the first few, and zeros. Every request has one of these and few try more.
    first: [u64; 4],
    more: Vec<u64>,
}

impl Tried {
    /// Remembers the peer.
    pub fn add(&mut self, peer: &Peer) {
        match self.first.iter_mut().find(|id| **id == 0) {
            Some(free) => *free = peer.id(),
            None => self.more.push(peer.id()),
        }
    }

    /// Whether none was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first[0] == 0
    }

    /// Whether the peer was tried.
    #[must_use]
    pub fn contains(&self, peer: &Peer) -> bool {
        !self.is_empty() && self.first.iter().chain(&self.more).any(|id| *id == peer.id())
    }
}
