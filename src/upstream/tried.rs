//! What one request has tried, so that it does not try the same peer twice.

use super::Peer;

/// The peers that one request has tried. One that has left and come back is another.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [u64; Tried::MAX],
    len: usize,
}

impl Tried {
    /// `Retry::tries` in the configuration never goes above 16.
    const MAX: usize = 16;

    /// Remembers the peer; beyond 16 the oldest is forgotten.
    pub fn add(&mut self, peer: &Peer) {
        self.ids[self.len % Self::MAX] = peer.id();
        self.len += 1;
    }

    /// Whether none was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the peer was tried.
    #[must_use]
    pub fn contains(&self, peer: &Peer) -> bool {
        self.len > 0 && self.ids[..self.len.min(Self::MAX)].contains(&peer.id())
    }
}
