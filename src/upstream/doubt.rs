//! A reset or a refusal: what answers at a peer's address may be another than before.
//!
//! An address goes from one container to the next within seconds, faster than any refresh need see. Who
//! took over knows no connection that was made before, and resets it; or does not listen yet. So
//! the first of either is taken as the sign.

use super::set::PeerSet;
use super::{Change, Event, Peer, Upstream};
use crate::health::Tick;

impl Upstream {
    /// Takes into account that a connection to the peer was reset or refused: what answers at its
    /// address may be another than before. Connections that are kept to it are given up, and where the
    /// upstream has probes it gets traffic again once one has passed, unless there is no other.
    pub fn doubt(&self, peer: &Peer, now: Tick) -> Option<Event> {
        peer.renew();
        if self.policy.probes.is_empty() {
            return None;
        }
        let may = |set: &PeerSet| set.has_other(peer) && peer.ask_probe(now);
        self.turned_if(peer, now, Change::Doubted, may)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::health::{Outcome, ProbeRule};
    use crate::upstream::{Key, Member, Method, NoPeer, Tried};

    /// Two peers that have passed a probe at the beginning.
    fn probed() -> Upstream {
        let rule = ProbeRule::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let upstream = Upstream::new("test", &Method::default(), Some(rule));
        let member = |port: u16| Member::new(([127, 0, 0, 1], port).into());
        upstream.publish(&[member(1), member(2)], at(0));
        for index in 0..2 {
            passes(&upstream, index, at(0));
        }
        upstream
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(seconds * 1000)
    }

    fn passes(upstream: &Upstream, index: usize, now: Tick) {
        upstream.probed(&upstream.peers()[index], Ok(Duration::from_millis(1)), now);
    }

    fn doubt(upstream: &Upstream, index: usize, now: Tick) -> bool {
        upstream.doubt(&upstream.peers()[index], now).is_some()
    }

    fn ports(upstream: &Upstream) -> Result<[u16; 4], NoPeer> {
        let mut ports = [0; 4];
        for port in &mut ports {
            let lease = upstream.pick(&Key::default(), &Tried::default(), at(100))?;
            *port = lease.address().port();
        }
        ports.sort_unstable();
        Ok(ports)
    }

    #[test]
    fn a_doubted_peer_gets_traffic_again_once_a_probe_has_passed() {
        let upstream = probed();
        assert!(doubt(&upstream, 0, at(5)));
        assert_eq!(ports(&upstream), Ok([2, 2, 2, 2]));
        passes(&upstream, 0, at(5));
        assert_eq!(ports(&upstream), Ok([1, 1, 2, 2]));
    }

    #[test]
    fn the_last_peer_is_not_doubted() {
        let upstream = probed();
        assert!(doubt(&upstream, 0, at(5)));
        assert!(!doubt(&upstream, 1, at(5)));
        assert_eq!(ports(&upstream), Ok([2, 2, 2, 2]));

        let upstream = probed();
        for _ in 0..10 {
            upstream.report(&upstream.peers()[1], Outcome::Failure, at(5));
        }
        assert!(!doubt(&upstream, 0, at(5)), "the other one is ejected");
    }

    #[test]
    fn a_peer_is_doubted_once_a_second_at_most() {
        let upstream = probed();
        assert!(doubt(&upstream, 0, at(5)));
        passes(&upstream, 0, at(5));
        assert!(!doubt(&upstream, 0, at(5)));
        assert!(doubt(&upstream, 0, at(6)));
    }

    #[test]
    fn without_probes_connections_are_given_up_and_nothing_else() {
        let upstream = Upstream::new("test", &Method::default(), None);
        upstream.publish(&[Member::new(([127, 0, 0, 1], 1).into())], at(0));
        let generation = upstream.peers()[0].generation();
        assert!(!doubt(&upstream, 0, at(5)));
        assert_ne!(upstream.peers()[0].generation(), generation);
        assert_eq!(ports(&upstream), Ok([1, 1, 1, 1]));
    }
}
