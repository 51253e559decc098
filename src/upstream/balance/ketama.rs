//! `hash KEY consistent`: a change of the set moves only the keys it must, as
//! `ngx_http_upstream_get_chash_peer`.
//!
//! A server line has 160 points a weight on a ring of 32 bits, made from its text as
//! `Cache::Memcached::Fast` does; a key belongs to the first point at or after its CRC-32. Keys
//! have the server line that nginx gives them, if the line is written with its port. nginx then
//! shares the requests of a line whose name has several addresses out in turn, so that a key has
//! no place there; here such a line has a ring of its own, of its addresses. While a peer is not to
//! be had the next points are asked, 20 on each ring, and then round robin decides.

use super::CANDIDATES;
use crate::upstream::{Member, Peer};

/// Points a weight: `ngx_http_upstream_init_chash`.
const POINTS: u32 = 160;
/// The most weight on one ring. More is scaled down, so that a ring stays below 6 MiB; its keys
/// are then no longer where nginx has them.
const MOST_WEIGHT: u64 = 4096;

/// The server lines of a tier on a ring.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Points,
    lines: Box<[Line]>,
}

/// The peers of one server line.
#[derive(Debug)]
enum Line {
    One(u32),
    Many(Points),
}

/// In order of their hashes, each hash once: the hash and whose it is.
#[derive(Debug)]
struct Points(Box<[(u32, u32)]>);

/// The part of each hash of a server line that is the same: `crc32(HOST \0 PORT)`. A socket of the
/// file system is its path and has no port.
pub(crate) fn line(host: &str, port: Option<u16>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(host.as_bytes());
    crc.update(b"\0");
    if let Some(port) = port {
        crc.update(port.to_string().as_bytes());
    }
    crc.finalize()
}

impl Ring {
    pub(super) fn new(peers: &[(u32, &Peer)]) -> Self {
        let mut lines: Vec<(u32, Vec<Node>)> = Vec::new();
        for &(owner, peer) in peers {
            let member = peer.member();
            let base = Member::new(member.address.clone()).line;
            let node = Node { owner, base, weight: member.weight.max(1) };
            match lines.iter_mut().find(|(line, _)| *line == member.line) {
                Some((_, nodes)) => nodes.push(node),
                None => lines.push((member.line, vec![node])),
            }
        }
        let heaviest = |nodes: &[Node]| nodes.iter().map(|n| n.weight).max().unwrap_or(1);
        let on_ring = (0..).zip(&lines).map(|(owner, (base, nodes))| Node {
            owner,
            base: *base,
            weight: heaviest(nodes),
        });
        let points = Points::new(&on_ring.collect::<Vec<_>>());
        let line = |(_, nodes): (u32, Vec<Node>)| match nodes[..] {
            [Node { owner, .. }] => Line::One(owner),
            _ => Line::Many(Points::new(&nodes)),
        };
        Self { points, lines: lines.into_iter().map(line).collect() }
    }

    /// The peers for a key, the best first.
    pub(crate) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        let hash = crc32fast::hash(key);
        self.points.from(hash).filter_map(|line| self.lines.get(line as usize)).flat_map(
            move |line| {
                let (one, many) = match line {
                    Line::One(peer) => (Some(*peer), None),
                    Line::Many(points) => (None, Some(points.from(hash))),
                };
                one.into_iter().chain(many.into_iter().flatten())
            },
        )
    }
}

/// Something with a place on a ring.
struct Node {
    owner: u32,
    base: u32,
    weight: u32,
}

impl Points {
    fn new(nodes: &[Node]) -> Self {
        let total: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let mut points = Vec::new();
        for node in nodes {
            let weight = match u64::from(node.weight) {
                weight if total > MOST_WEIGHT => (weight * MOST_WEIGHT / total).max(1),
                weight => weight,
            };
            let mut hash = 0u32;
            for _ in 0..weight * u64::from(POINTS) {
                let mut crc = crc32fast::Hasher::new_with_initial(node.base);
                crc.update(&hash.to_le_bytes());
                hash = crc.finalize();
                points.push((hash, node.owner));
            }
        }
        // Of equal hashes the first keeps the point, so the sort must be stable.
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self(points.into())
    }

    /// Whose the points are from `hash` on, each owner once in a row.
    fn from(&self, hash: u32) -> impl Iterator<Item = u32> {
        let first = self.0.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.0.split_at(first);
        let mut last = None;
        let owners = after.iter().chain(before).map(|(_, owner)| *owner);
        owners.take(CANDIDATES).filter(move |owner| last.replace(*owner) != Some(*owner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::health::Tick;
    use crate::upstream::Policy;
    use crate::upstream::balance::hash::tests::peers_of;

    /// Peers 1 to 3 as the server lines of the nginx that was asked name them.
    fn members() -> [Member; 3] {
        [18101, 18102, 18103].map(|port| Member::new(([127, 0, 0, 1], port).into()))
    }

    fn ring(members: &[Member]) -> Ring {
        let peer =
            |member: &Member| Peer::new(member.clone(), &Policy::default(), Tick::from_millis(0));
        let peers: Vec<Peer> = members.iter().map(peer).collect();
        Ring::new(&(1..).zip(&peers).collect::<Vec<_>>())
    }

    fn first(ring: &Ring) -> String {
        peers_of(|key| ring.candidates(key).next())
    }

    /// A server line whose name has the addresses 10.0.0.1 and so on.
    fn replicas(n: u8) -> Vec<Member> {
        let line = Member::line_of("back-end", 5252);
        let member = |host| Member { line, ..Member::new(([10, 0, 0, host], 5252).into()) };
        (1..=n).map(member).collect()
    }

    #[test]
    fn equal_peers_are_nginx_s() {
        assert_eq!(
            first(&ring(&members())),
            "1313232131212322121311221332131113123132322131131221131311131111333321313313111233331212231113132311"
        );
    }

    #[test]
    fn weighted_peers_are_nginx_s() {
        let [one, two, three] = members();
        let weighted = [Member { weight: 3, ..one }, two, Member { weight: 2, ..three }];
        assert_eq!(
            first(&ring(&weighted)),
            "1313211133212323123111123312131113323112122313131131331331131111333121311313113313331232211113111311"
        );
    }

    #[test]
    fn with_the_second_peer_out_its_keys_go_where_nginx_sends_them() {
        let ring = ring(&members());
        assert_eq!(
            peers_of(|key| ring.candidates(key).find(|p| *p != 2)),
            "1313333131113311131311131331131113133131331131131311131311131111333331313313111133331313331113133311"
        );
    }

    #[test]
    fn a_server_line_with_a_name_is_on_the_ring_by_its_name() {
        let [one, two, three] = members();
        let named = Member { line: Member::line_of("localhost", 18101), ..one };
        assert_eq!(
            first(&ring(&[named, two, three])),
            "3323211232112111123123222332332123123131322111211221133313312112333311321133311231333112211321132312"
        );
    }

    #[test]
    fn the_addresses_of_one_name_share_its_keys_alike() {
        let shares = peers_of_many(&ring(&replicas(5)), 10_000);
        // 160 points each: shares of a fifth, give or take a quarter.
        let counts = (1..=5).map(|n| shares.iter().filter(|p| **p == n).count());
        let counts: Vec<usize> = counts.collect();
        assert!(counts.iter().all(|n| (1500..=2500).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_sixth_replica_takes_keys_and_moves_no_other() {
        let (before, after) = (ring(&replicas(5)), ring(&replicas(6)));
        let pairs = peers_of_many(&before, 1000).into_iter().zip(peers_of_many(&after, 1000));
        let moved: Vec<_> = pairs.filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| *after == 6));
        assert!((80..=260).contains(&moved.len()), "about a sixth moves, not {}", moved.len());
    }

    #[test]
    fn huge_weights_keep_the_ring_small() {
        let heavy = members().map(|member| Member { weight: 1 << 20, ..member });
        let ring = ring(&heavy);
        assert!(ring.points.0.len() as u64 <= MOST_WEIGHT * u64::from(POINTS));
        let owners: HashSet<u32> = ring.points.0.iter().map(|(_, owner)| *owner).collect();
        assert_eq!(owners.len(), 3);
    }

    #[test]
    fn without_a_peer_there_is_no_candidate() {
        assert_eq!(ring(&[]).candidates(b"key").next(), None);
    }

    fn peers_of_many(ring: &Ring, keys: u32) -> Vec<u32> {
        let peer = |n| ring.candidates(format!("key-{n}").as_bytes()).next();
        (0..keys).filter_map(peer).collect()
    }
}
