//! The methods that choose a peer, one file each, as nginx's.
//!
//! A method only proposes peers, by their position in the set; whether one takes the request (it is
//! in rotation, below `max_conns`, not tried yet) is the set's to say, the same for all. What a
//! method needs is worked out before any request: from the rotation, anew whenever it changes, or,
//! for the methods that look at a key, once for each publication from all peers of a tier. Who is
//! out keeps his place there, so that the keys of the others stay where they are.

pub(crate) mod ewma;
pub(crate) mod hash;
pub(crate) mod ip_hash;
pub(crate) mod ketama;
pub(crate) mod least_conn;
pub(crate) mod least_time;
mod load;
pub(crate) mod random;
pub(crate) mod round_robin;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use super::{Lease, Peer};
use crate::config::model::{Measure, Method, Tier};
use crate::health::Tick;
pub(crate) use load::Load;

/// Candidates that a key is offered before round robin decides: one, and 20 more, as in nginx.
const CANDIDATES: usize = 21;

/// What a request is known by to the methods that keep it at one peer.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The client's address, for `ip_hash`. Default 0.0.0.0.
    pub client: IpAddr,
    /// What the template of `hash` makes of the request. Default: empty, which leaves the choice to round robin.
    pub text: &'a [u8],
    /// What the peer is known by that the request's session is bound to. Default: empty, it is bound to none.
    pub sid: &'a str,
}

impl Default for Key<'_> {
    fn default() -> Self {
        Self { client: Ipv4Addr::UNSPECIFIED.into(), text: &[], sid: "" }
    }
}

/// A method with what it works out from a publication, for each tier.
#[derive(Debug)]
pub(crate) enum Plan {
    RoundRobin,
    LeastConn,
    LeastTime { measure: Measure, in_flight: bool },
    IpHash([Spread; 2]),
    Hash([Spread; 2]),
    Ketama([ketama::Ring; 2]),
    Random,
    RandomTwo,
    RandomTwoLeastTime(Measure),
    Ewma,
}

impl Plan {
    pub(crate) fn new(method: &Method, peers: &[Peer]) -> Self {
        match method {
            Method::RoundRobin => Self::RoundRobin,
            Method::LeastConn => Self::LeastConn,
            &Method::LeastTime { measure, in_flight } => Self::LeastTime { measure, in_flight },
            Method::IpHash => Self::IpHash(tiers(peers, Spread::new)),
            Method::Hash { consistent: false, .. } => Self::Hash(tiers(peers, Spread::new)),
            Method::Hash { consistent: true, .. } => Self::Ketama(tiers(peers, ketama::Ring::new)),
            Method::Random => Self::Random,
            Method::RandomTwo => Self::RandomTwo,
            Method::RandomTwoLeastTime(measure) => Self::RandomTwoLeastTime(*measure),
            Method::Ewma => Self::Ewma,
        }
    }

    /// What the method makes of a peer that is due this share; of no use to one that compares none.
    pub(crate) fn load(&self, peer: &Peer, weight: u32, now: Tick) -> Load {
        let cost = match self {
            Self::LeastTime { measure, .. } | Self::RandomTwoLeastTime(measure) => {
                peer.reading(*measure, now).cost()
            }
            // Its lots fall by weight; beyond that, the faster of two is the faster.
            Self::Ewma => return Load { cost: peer.peak(now), weight: 1 },
            _ => peer.in_flight().into(),
        };
        Load { cost, weight }
    }

    /// Takes note of the peers that `least_time` is about to choose from.
    pub(crate) fn compare<'a>(&self, peers: impl Iterator<Item = &'a Peer>, now: Tick) {
        if matches!(self, Self::LeastTime { in_flight: true, .. }) {
            peers.for_each(|peer| peer.grow_old(now));
        }
    }

    /// Takes note of the peer that was chosen by its load.
    pub(crate) fn chosen(&self, lease: &Lease, now: Tick) {
        match *self {
            Self::LeastTime { measure, in_flight } => {
                lease.chosen(now);
                if in_flight {
                    lease.awaits(measure, now);
                }
            }
            Self::RandomTwoLeastTime(_) => lease.chosen(now),
            _ => {}
        }
    }
}

/// `make` of the peers of each tier, with their positions.
fn tiers<T>(peers: &[Peer], make: impl Fn(&[(u32, &Peer)]) -> T) -> [T; 2] {
    [Tier::Primary, Tier::Backup].map(|tier| {
        let of_tier = (0..).zip(peers).filter(|(_, p)| p.member().tier == tier);
        make(&of_tier.collect::<Vec<_>>())
    })
}

/// Peers laid end to end, each as long as its weight: nginx's way from a number to a peer.
#[derive(Debug)]
pub(crate) struct Spread {
    peers: Box<[u32]>,
    /// Where each of them ends.
    ends: Box<[u64]>,
}

impl Spread {
    fn new(peers: &[(u32, &Peer)]) -> Self {
        let weights = peers.iter().map(|&(index, peer)| (index, peer.member().weight.max(1)));
        Self::of(weights)
    }

    fn of(weights: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut end = 0;
        let (peers, ends): (Vec<_>, Vec<_>) = weights
            .map(|(index, weight)| {
                end += u64::from(weight);
                (index, end)
            })
            .unzip();
        Self { peers: peers.into(), ends: ends.into() }
    }

    /// The peer at `number`, counted round and round; none when there is no peer.
    fn at(&self, number: u64) -> Option<u32> {
        let number = number.checked_rem(*self.ends.last()?)?;
        self.peers.get(self.ends.partition_point(|end| *end <= number)).copied()
    }
}
