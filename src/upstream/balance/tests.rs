//! What each method makes of peers that are out, full, tried or busy, through `Upstream::pick`.

use super::hash::tests::peers_of;
use crate::config::template::Template;
use crate::health::{Outcome, Tick};
use crate::upstream::{Key, Lease, Member, Method, Tier, Tried, Upstream};

fn hash(consistent: bool) -> Method {
    let key = Template::parse("$request_uri").expect("there is such a variable");
    Method::Hash { key, consistent }
}

fn every_method() -> [Method; 7] {
    [
        Method::RoundRobin,
        Method::LeastConn,
        Method::IpHash,
        hash(false),
        hash(true),
        Method::Random,
        Method::RandomTwo,
    ]
}

/// The server lines of the nginx whose choices the tests hold.
fn members() -> [Member; 3] {
    [18101, 18102, 18103].map(|port| Member::new(([127, 0, 0, 1], port).into()))
}

fn upstream(method: &Method, members: &[Member]) -> Upstream {
    let upstream = Upstream::new("test", method, None);
    upstream.publish(members, at(0));
    upstream
}

fn at(seconds: u64) -> Tick {
    Tick::from_millis(1_000_000 + seconds * 1000)
}

/// The number that the test knows the peer by: 1 to 3.
fn number(lease: &Lease) -> u32 {
    u32::from(lease.address().port()) - 18100
}

fn text(text: &[u8]) -> Key<'_> {
    Key { text, ..Key::default() }
}

fn pick(upstream: &Upstream, key: Key<'_>, now: Tick) -> Lease {
    upstream.pick(key, &Tried::default(), now).expect("a peer is available")
}

/// Who gets twenty requests with different keys and clients, one after the other.
fn twenty(upstream: &Upstream, now: Tick) -> Vec<u32> {
    let picked = (0..20u8).map(|n| {
        let text = [b'k', n];
        let key = Key { client: [10, 0, n, 1].into(), text: &text };
        number(&pick(upstream, key, now))
    });
    picked.collect()
}

/// A key of its own peer, as it is while all peers are available.
fn key_of(method: &Method, peer: u32) -> [u8; 2] {
    let all = upstream(method, &members());
    let mut keys = (0..=255).map(|n| [b'k', n]);
    keys.find(|key| number(&pick(&all, text(key), at(0))) == peer).expect("each peer has keys")
}

#[test]
fn who_is_down_ejected_or_full_is_passed_over_by_every_method() {
    for method in every_method() {
        let [one, two, three] = members();
        let full = Member { max_conns: 1, ..Member::new(([127, 0, 0, 1], 18104).into()) };
        let down = Member { down: true, ..one };
        let u = upstream(&method, &[down, two, three, full]);
        u.report(&u.peers()[1], Outcome::ConnectFailure, at(0));
        let mut held = Vec::new();
        while u.peers()[3].in_flight() == 0 {
            let key = fastrand::u64(..).to_le_bytes();
            let client = [key[0], key[1], key[2], key[3]].into();
            held.push(pick(&u, Key { client, text: &key }, at(1)));
        }
        assert!(twenty(&u, at(1)).iter().all(|n| *n == 3), "{method:?}");
        u.connected(&u.peers()[1], at(1));
        held.clear();
        assert!(twenty(&u, at(1)).contains(&2), "{method:?}");
    }
}

#[test]
fn a_request_tries_each_peer_once_with_every_method() {
    for method in every_method() {
        let u = upstream(&method, &members());
        let mut tried = Tried::default();
        let mut order: Vec<u32> = Vec::new();
        for _ in 0..3 {
            let lease = u.pick(text(b"key"), &tried, at(0)).expect("one is untried");
            order.push(number(&lease));
            tried.add(&lease);
        }
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3], "{method:?}");
        let refusal = u.pick(text(b"key"), &tried, at(0)).expect_err("all were tried");
        assert_eq!(refusal.to_string(), "3 peers, 3 tried");
    }
}

#[test]
fn with_every_peer_ejected_one_is_tried_by_every_method() {
    for method in every_method() {
        let u = upstream(&method, &members());
        u.peers().iter().for_each(|p| drop(u.report(p, Outcome::Failure, at(0))));
        assert!((1..=3).contains(&number(&pick(&u, text(b"key"), at(1)))), "{method:?}");
    }
}

#[test]
fn with_every_peer_ejected_a_key_keeps_its_own() {
    for method in [hash(false), hash(true)] {
        let u = upstream(&method, &members());
        u.peers().iter().for_each(|p| drop(u.report(p, Outcome::Failure, at(0))));
        for peer in 1..=3 {
            let key = key_of(&method, peer);
            assert_eq!(number(&pick(&u, text(&key), at(1))), peer, "{method:?}");
        }
    }
}

#[test]
fn an_ejection_is_ended_by_a_request_of_the_peer_s_own() {
    for method in [hash(false), hash(true)] {
        let u = upstream(&method, &members());
        u.report(&u.peers()[1], Outcome::Failure, at(0));
        let (own, others) = (key_of(&method, 2), key_of(&method, 1));
        assert_ne!(number(&pick(&u, text(&own), at(1))), 2, "{method:?}");
        assert_eq!(number(&pick(&u, text(&others), at(11))), 1, "{method:?}");
        assert_eq!(number(&pick(&u, text(&own), at(11))), 2, "{method:?}");
        assert_ne!(number(&pick(&u, text(&own), at(11))), 2, "one attempt decides: {method:?}");
        u.report(&u.peers()[1], Outcome::Success, at(11));
        assert_eq!(number(&pick(&u, text(&own), at(11))), 2, "{method:?}");
    }
}

#[test]
fn keys_go_where_nginx_sends_them_with_a_server_down() {
    let [one, two, three] = members();
    let with_down = [one, Member { down: true, ..two }, three];
    let peers = |method| {
        let u = upstream(&method, &with_down);
        peers_of(|key| Some(number(&pick(&u, text(key), at(0)))))
    };
    assert_eq!(
        peers(hash(false)),
        "3313313133133113133333113311131333131333113311133333111331313313313333311333133313133311313131313111"
    );
    assert_eq!(
        peers(hash(true)),
        "1313333131113311131311131331131113133131331131131311131311131111333331313313111133331313331113133311"
    );
}

#[test]
fn an_ejection_moves_only_the_keys_of_the_ejected_peer() {
    for method in [hash(false), hash(true)] {
        let u = upstream(&method, &members());
        let before = twenty(&u, at(0));
        u.report(&u.peers()[0], Outcome::Failure, at(0));
        let pairs = before.into_iter().zip(twenty(&u, at(1)));
        let others: Vec<_> = pairs.filter(|(before, _)| *before != 1).collect();
        assert!(others.iter().all(|(before, after)| before == after), "{method:?}");
    }
}

#[test]
fn an_empty_key_is_round_robin_as_in_nginx() {
    for method in [hash(false), hash(true)] {
        let u = upstream(&method, &members());
        let picked: Vec<u32> = (0..6).map(|_| number(&pick(&u, text(b""), at(0)))).collect();
        assert_eq!(picked, [1, 2, 3, 1, 2, 3], "{method:?}");
    }
}

#[test]
fn when_no_rehash_finds_a_peer_round_robin_decides() {
    let [one, two, three] = members();
    let heavy = Member { weight: 1 << 30, down: true, ..one };
    let u = upstream(&hash(false), &[heavy, two, three]);
    let picked: Vec<u32> = (0..4).map(|_| number(&pick(&u, text(b"key"), at(0)))).collect();
    assert_eq!(picked, [2, 3, 2, 3]);
}

#[test]
fn least_conn_fills_up_the_idle_and_the_heavy() {
    let [one, two, three] = members();
    let u = upstream(&Method::LeastConn, &[Member { weight: 2, ..one }, two, three]);
    let mut held: Vec<Lease> = (0..8).map(|_| pick(&u, Key::default(), at(0))).collect();
    let in_flight: Vec<u32> = u.peers().iter().map(|p| p.in_flight()).collect();
    assert_eq!(in_flight, [4, 2, 2]);
    held.retain(|lease| number(lease) != 3);
    let next: Vec<Lease> = (0..2).map(|_| pick(&u, Key::default(), at(0))).collect();
    assert!(next.iter().all(|lease| number(lease) == 3));
}

#[test]
fn least_conn_has_backups() {
    let [one, two, three] = members();
    let backup = |m| Member { tier: Tier::Backup, ..m };
    let u = upstream(&Method::LeastConn, &[one, backup(two), backup(three)]);
    assert!(twenty(&u, at(0)).iter().all(|n| *n == 1));
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    let held = [pick(&u, Key::default(), at(1)), pick(&u, Key::default(), at(1))];
    assert_eq!(held.each_ref().map(number), [2, 3]);
}

#[test]
fn random_shares_an_ejected_peer_s_part_out() {
    fastrand::seed(7);
    let [one, two, three] = members();
    let u = upstream(&Method::Random, &[one, Member { weight: 3, ..two }, three]);
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    let picked = (0..10_000).map(|_| number(&pick(&u, Key::default(), at(1))));
    let of_two = picked.filter(|n| *n == 2).count();
    // Three of four; four standard deviations are 173.
    assert!((7327..=7673).contains(&of_two), "{of_two}");
}

#[test]
fn no_method_allocates() {
    for method in every_method() {
        let u = upstream(&method, &members());
        u.report(&u.peers()[2], Outcome::Failure, at(0));
        // The first lot of a thread makes its generator, the first CRC looks at the processor.
        drop(pick(&u, text(b"key"), at(0)));
        let info = allocation_counter::measure(|| {
            for n in 0..100 {
                drop(pick(&u, text(b"key"), at(n)));
            }
        });
        assert_eq!(info.count_total, 0, "{method:?}");
        let mut tried = Tried::default();
        u.peers().iter().for_each(|p| tried.add(p));
        let refused = allocation_counter::measure(|| {
            assert!(u.pick(text(b"key"), &tried, at(0)).is_err());
        });
        assert_eq!(refused.count_total, 0, "{method:?}");
    }
}
