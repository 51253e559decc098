//! What `sticky` knows peers by, and the way from there to a peer.
//!
//! A peer's session id (nginx's SID) is the `route=` of its server line or the MD5 of its address
//! in hexadecimal digits, as `ngx_http_upstream_init_round_robin_sid`. It is worked out when the peers
//! are published, so that a request finds its peer by one look into a table. Where several
//! peers have one id, as all of a name with `route=` have, the first that is available counts; in
//! nginx only the first of them ever does.

use std::collections::HashMap;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::{Peer, PeerAddress, Tier};

/// The id of a peer without `route=`.
pub(super) fn of_address(address: &PeerAddress) -> Arc<str> {
    let digest = Md5::digest(address.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The peers of each id.
#[derive(Debug, Default)]
pub(super) struct Sids([HashMap<Arc<str>, Vec<u32>>; 2]);

impl Sids {
    /// Those of the peers that have an id.
    pub(super) fn new(peers: &[Peer]) -> Self {
        let mut sids = Self::default();
        for (index, peer) in (0..).zip(peers) {
            if let Some(sid) = &peer.member().route {
                let of_tier = &mut sids.0[peer.member().tier as usize];
                of_tier.entry(Arc::clone(sid)).or_default().push(index);
            }
        }
        sids
    }

    /// The positions of the peers of `tier` with this id.
    pub(super) fn peers(&self, tier: Tier, sid: &str) -> &[u32] {
        self.0[tier as usize].get(sid).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::model::{Method, Sticky};
    use crate::health::{Outcome, Tick};
    use crate::upstream::{Hand, Key, Lease, Member, NoPeer, Policy, Tried, Upstream};

    #[test]
    fn an_address_has_the_id_that_nginx_gives_it() {
        // `printf 127.0.0.1:8081 | md5sum`, and so on.
        for (address, sid) in [
            (PeerAddress::from(([127, 0, 0, 1], 8081)), "df2b80dc43705d28db9be6f29fe58da3"),
            (
                PeerAddress::from(([0_u16, 0, 0, 0, 0, 0, 0, 1], 80)),
                "c1308178d10b33ec4a853215e9af4ea2",
            ),
            (
                PeerAddress::Unix(Path::new("/run/app.sock").into()),
                "939db79304b0f599c2c20969650359ab",
            ),
        ] {
            assert_eq!(&*of_address(&address), sid, "{address}");
        }
    }

    fn member(port: u16) -> Member {
        Member {
            route: Some(port.to_string().into()),
            ..Member::new(([127, 0, 0, 1], port).into())
        }
    }

    fn backup(port: u16) -> Member {
        Member { tier: Tier::Backup, ..member(port) }
    }

    /// One for each method that looks for peers in a way of its own.
    fn upstreams(members: &[Member]) -> Vec<Upstream> {
        let key = crate::config::template::Template::literal("k");
        let hash = |consistent| Method::Hash { key: key.clone(), consistent };
        let methods = [
            Method::RoundRobin,
            Method::LeastConn,
            Method::IpHash,
            hash(false),
            hash(true),
            Method::Random,
            Method::RandomTwo,
        ];
        let upstream = |method| {
            let sticky = Some(Sticky::Route(vec![]));
            let upstream = Upstream::with("test", Policy { method, sticky, ..Policy::default() });
            upstream.publish(members, Tick::from_millis(0));
            upstream
        };
        methods.map(upstream).into()
    }

    fn pick_at(u: &Upstream, sid: &str, tried: &Tried, now: u64) -> Result<Lease, NoPeer> {
        u.pick(&Key { sid, text: b"k", ..Key::default() }, tried, Tick::from_millis(now))
    }

    fn port(u: &Upstream, sid: &str) -> u16 {
        pick_at(u, sid, &Tried::default(), 0).expect("a peer").address().port()
    }

    #[test]
    fn a_session_stays_at_its_peer_whatever_the_method() {
        for u in upstreams(&[member(1), member(2), member(3)]) {
            for sid in ["2", "3", "1", "2"] {
                assert_eq!(port(&u, sid).to_string(), sid, "{:?}", u.policy().method);
            }
            let unknown: Vec<u16> = (0..3).map(|_| port(&u, "unknown")).collect();
            let none: Vec<u16> = (0..3).map(|_| port(&u, "")).collect();
            if u.policy().method == Method::RoundRobin {
                assert_eq!((unknown, none), (vec![1, 2, 3], vec![1, 2, 3]));
            }
        }
    }

    #[test]
    fn one_that_is_out_full_or_tried_is_left_to_the_method() {
        for u in upstreams(&[Member { max_conns: 1, ..member(1) }, member(2), member(3)]) {
            let held = pick_at(&u, "1", &Tried::default(), 0).expect("a peer");
            assert_ne!(port(&u, "1"), 1, "it is full");
            drop(held);
            let mut tried = Tried::default();
            tried.add(&u.peers()[0]);
            assert_ne!(pick_at(&u, "1", &tried, 0).expect("a peer").address().port(), 1);
            u.report(&u.peers()[0], Outcome::Failure, Tick::from_millis(0));
            assert_ne!(port(&u, "1"), 1, "it is ejected");
            let late = pick_at(&u, "1", &Tried::default(), 10_001).expect("a peer");
            assert_eq!(late.address().port(), 1, "its time is over");
            u.tell(&u.peers()[1], Hand::Down, Tick::from_millis(0));
            assert_ne!(port(&u, "2"), 2, "it is down");
        }
    }

    #[test]
    fn one_that_drains_serves_its_sessions_and_nothing_else() {
        for u in upstreams(&[member(1), member(2), Member { drain: true, ..member(3) }]) {
            assert_eq!(port(&u, "3"), 3);
            assert!((0..20).all(|_| port(&u, "") != 3));
            u.tell(&u.peers()[0], Hand::Drain, Tick::from_millis(0));
            assert_eq!(port(&u, "1"), 1);
            assert!((0..20).all(|_| port(&u, "") == 2));
        }
        let alone = upstreams(&[Member { drain: true, ..member(1) }]);
        for u in alone {
            assert_eq!(port(&u, "1"), 1);
            let refused = pick_at(&u, "", &Tried::default(), 0).expect_err("it only drains");
            assert_eq!(refused.to_string(), "1 peer, 1 draining");
        }
    }

    #[test]
    fn a_backup_serves_its_sessions_when_no_primary_is_available() {
        let u = &upstreams(&[member(1), backup(2), backup(3)])[0];
        assert_eq!(port(u, "3"), 1);
        u.tell(&u.peers()[0], Hand::Down, Tick::from_millis(0));
        assert_eq!([port(u, "3"), port(u, "3"), port(u, "2")], [3, 3, 2]);
    }

    #[test]
    fn of_several_with_one_id_the_first_that_is_available_serves() {
        let of = |port| Member { route: Some("a".into()), ..member(port) };
        let u = &upstreams(&[of(1), of(2), member(3)])[0];
        assert_eq!([port(u, "a"), port(u, "a")], [1, 1]);
        u.tell(&u.peers()[0], Hand::Down, Tick::from_millis(0));
        assert_eq!([port(u, "a"), port(u, "a")], [2, 2]);
    }

    #[test]
    fn peers_without_a_route_are_known_by_their_addresses() {
        let members = [1, 2].map(|port| Member { route: None, ..member(port) });
        let u = &upstreams(&members)[0];
        let sid = of_address(&([127, 0, 0, 1], 2).into());
        assert_eq!([port(u, &sid), port(u, &sid)], [2, 2]);
        assert_eq!(u.publish(&members, Tick::from_millis(1)), [], "nothing has changed");
    }
}
