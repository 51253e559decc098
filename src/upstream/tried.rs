//! What one request has tried, so that it does not try the same peer twice.

use super::{Peer, PeerAddress};

/// The addresses that one request has tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    addresses: [Option<PeerAddress>; Tried::MAX],
    len: usize,
}

impl Tried {
    /// `Retry::tries` in the configuration never goes above 16.
    const MAX: usize = 16;

    /// Remembers the peer; beyond 16 the oldest is forgotten.
    pub fn add(&mut self, peer: &Peer) {
        self.addresses[self.len % Self::MAX] = Some(peer.address().clone());
        self.len += 1;
    }

    /// Whether the peer was tried.
    #[must_use]
    pub fn contains(&self, peer: &Peer) -> bool {
        let tried = &self.addresses[..self.len.min(Self::MAX)];
        tried.iter().any(|address| address.as_ref() == Some(peer.address()))
    }
}
