//! What one request has tried, so that it does not try the same peer twice.

use super::{Member, Peer, PeerAddress};

/// The addresses that one request has tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    keys: [Option<(PeerAddress, u16)>; Tried::MAX],
    len: usize,
}

impl Tried {
    /// `Retry::tries` in the configuration never goes above 16.
    const MAX: usize = 16;

    /// Remembers the peer; beyond 16 the oldest is forgotten.
    pub fn add(&mut self, peer: &Peer) {
        let Member { address, copy, .. } = peer.member();
        self.keys[self.len % Self::MAX] = Some((address.clone(), *copy));
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
        let mut tried = self.keys[..self.len.min(Self::MAX)].iter().flatten();
        tried.any(|(address, copy)| (address, *copy) == peer.member().key())
    }
}
