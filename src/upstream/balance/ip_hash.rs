//! `ip_hash`: requests of one network go to one peer, as `ngx_http_upstream_get_ip_hash_peer`.
//!
//! Of an IPv4 address the first three octets count, of an IPv6 address all sixteen. While the peer
//! is not to be had the hash goes on from where it stands, 20 times, and then round robin decides.
//! nginx hashes an IPv4 client of a dual-stack listener as the IPv6 address `::ffff:a.b.c.d`; here
//! it is the IPv4 address that the log shows, so it has the same peer on either listener.

use std::net::IpAddr;

use super::{CANDIDATES, Spread};

/// The peers for a client, the best first.
pub(crate) fn candidates(spread: &Spread, client: IpAddr) -> impl Iterator<Item = u32> {
    let (octets, len) = match client.to_canonical() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), 3),
        IpAddr::V6(v6) => (v6.octets(), 16),
    };
    // A mapped address has its IPv4 octets at the end.
    let first = if len == 3 { 12 } else { 0 };
    let mut hash = 89;
    (0..CANDIDATES).filter_map(move |_| {
        let octets = octets.iter().skip(first).take(len);
        hash = octets.fold(hash, |hash, octet| (hash * 113 + u64::from(*octet)) % 6271);
        spread.at(hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nginx 1.22.1 does, found out with `curl --interface`: clients, then their peers.
    const CLIENTS: [[u8; 4]; 16] = [
        [127, 0, 0, 1],
        [127, 0, 0, 200],
        [127, 0, 1, 1],
        [127, 0, 2, 1],
        [127, 1, 0, 1],
        [127, 1, 2, 3],
        [127, 7, 7, 7],
        [127, 20, 30, 40],
        [127, 99, 0, 5],
        [127, 100, 100, 100],
        [127, 128, 5, 6],
        [127, 172, 16, 9],
        [127, 192, 168, 1],
        [127, 200, 201, 202],
        [127, 254, 254, 254],
        [127, 255, 255, 1],
    ];

    fn first(spread: &Spread, client: impl Into<IpAddr>) -> Option<u32> {
        candidates(spread, client.into()).next()
    }

    #[test]
    fn equal_peers_are_nginx_s() {
        let spread = Spread::of([(1, 1), (2, 1), (3, 1)].into_iter());
        let peers = CLIENTS.map(|client| first(&spread, client).expect("there are peers"));
        assert_eq!(peers, [3, 3, 1, 2, 2, 1, 3, 3, 1, 1, 1, 3, 2, 3, 1, 1]);
        assert_eq!(first(&spread, std::net::Ipv6Addr::LOCALHOST), Some(3));
    }

    #[test]
    fn weighted_peers_are_nginx_s() {
        let spread = Spread::of([(1, 3), (2, 1), (3, 2)].into_iter());
        let peers = CLIENTS.map(|client| first(&spread, client).expect("there are peers"));
        assert_eq!(peers, [1, 1, 2, 3, 1, 2, 1, 3, 2, 1, 2, 3, 3, 3, 2, 2]);
        assert_eq!(first(&spread, std::net::Ipv6Addr::LOCALHOST), Some(3));
    }

    #[test]
    fn with_the_second_peer_out_its_clients_go_where_nginx_sends_them() {
        let spread = Spread::of([(1, 1), (2, 1), (3, 1)].into_iter());
        let peers = CLIENTS.map(|client| {
            candidates(&spread, client.into()).find(|p| *p != 2).expect("a rehash finds another")
        });
        assert_eq!(peers, [3, 3, 1, 1, 3, 1, 3, 3, 1, 1, 1, 3, 3, 3, 1, 1]);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let spread = Spread::of([(1, 1), (2, 1), (3, 1)].into_iter());
        let mapped: IpAddr = "::ffff:127.0.2.1".parse().expect("an address");
        assert_eq!(first(&spread, mapped), first(&spread, [127, 0, 2, 1]));
    }

    #[test]
    fn without_a_peer_there_is_no_candidate() {
        assert_eq!(first(&Spread::of(std::iter::empty()), [127, 0, 0, 1]), None);
    }
}
