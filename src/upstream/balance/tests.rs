//! What each method makes of peers that are out, full, tried or busy, through `Upstream::pick`.

use std::time::Duration;

use super::hash::tests::peers_of;
use crate::config::template::Template;
use crate::health::{Outcome, Tick};
use crate::upstream::{Key, Lease, Measure, Member, Method, Tier, Tried, Upstream};

fn hash(consistent: bool) -> Method {
    let key = Template::parse("$request_uri").expect("there is such a variable");
    Method::Hash { key, consistent }
}

fn least_time(in_flight: bool) -> Method {
    Method::LeastTime { measure: Measure::Header, in_flight }
}

fn every_method() -> [Method; 11] {
    [
        Method::RoundRobin,
        Method::LeastConn,
        least_time(false),
        least_time(true),
        Method::IpHash,
        hash(false),
        hash(true),
        Method::Random,
        Method::RandomTwo,
        Method::RandomTwoLeastTime(Measure::LastByte),
        Method::Ewma,
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
    upstream.pick(&key, &Tried::default(), now).expect("a peer is available")
}

/// Who gets twenty requests with different keys and clients, one after the other.
fn twenty(upstream: &Upstream, now: Tick) -> Vec<u32> {
    let picked = (0..20u8).map(|n| {
        let text = [b'k', n];
        let key = Key { client: [10, 0, n, 1].into(), text: &text, ..Key::default() };
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
            held.push(pick(&u, Key { client, text: &key, sid: "" }, at(1)));
        }
        assert!(twenty(&u, at(1)).iter().all(|n| *n == 3), "{method:?}");
        u.connected(&u.peers()[1], at(1));
        held.clear();
        // Some methods choose at random.
        assert!((0..50).any(|_| twenty(&u, at(1)).contains(&2)), "{method:?}");
    }
}

#[test]
fn a_request_tries_each_peer_once_with_every_method() {
    for method in every_method() {
        let u = upstream(&method, &members());
        let mut tried = Tried::default();
        let mut order: Vec<u32> = Vec::new();
        for _ in 0..3 {
            let lease = u.pick(&text(b"key"), &tried, at(0)).expect("one is untried");
            order.push(number(&lease));
            tried.add(&lease);
        }
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3], "{method:?}");
        let refusal = u.pick(&text(b"key"), &tried, at(0)).expect_err("all were tried");
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

/// Gives each peer an answer that took so many milliseconds.
fn answer(u: &Upstream, took: [u64; 3], now: Tick) {
    for (peer, took) in u.peers().iter().zip(took) {
        let lease = peer.lease().expect("no limit is set");
        lease.answered(Duration::from_millis(took), now);
        lease.finished(Duration::from_millis(took));
    }
}

/// Who gets so many requests, each answered at once before the next.
fn one_by_one(u: &Upstream, n: usize, now: Tick) -> Vec<u32> {
    (0..n).map(|_| number(&pick(u, Key::default(), now))).collect()
}

#[test]
fn least_time_takes_the_fastest_and_turns_about_as_fast_in_turn() {
    let u = upstream(&least_time(false), &members());
    assert_eq!(one_by_one(&u, 6, at(0)), [1, 2, 3, 1, 2, 3]);
    answer(&u, [100, 31, 25], at(0));
    assert_eq!(one_by_one(&u, 4, at(0)), [2, 3, 2, 3]);
}

#[test]
fn least_time_weighs_what_is_in_flight_and_the_weight() {
    let [one, two, three] = members();
    let u = upstream(&least_time(false), &[one, two, Member { weight: 2, ..three }]);
    answer(&u, [30, 70, 90], at(0));
    // 40, 80 and 100 / 2 a request.
    let held: Vec<Lease> = (0..6).map(|_| pick(&u, Key::default(), at(0))).collect();
    let order: Vec<u32> = held.iter().map(number).collect();
    assert_eq!(order, [1, 3, 1, 2, 3, 1]);
}

#[test]
fn least_time_gives_a_slow_peer_another_chance() {
    let u = upstream(&least_time(false), &members());
    one_by_one(&u, 3, at(0));
    answer(&u, [150, 30, 30], at(0));
    assert_eq!(one_by_one(&u, 2, at(10)), [2, 3]);
    // Halved once after 11 s, twice after 22 s: 75 and 37.
    assert_eq!(one_by_one(&u, 2, at(11)), [2, 3]);
    // The others are at 15 until they are chosen.
    assert_eq!(one_by_one(&u, 3, at(22)), [3, 2, 1]);
    assert!(!one_by_one(&u, 9, at(22)).contains(&1), "it counts wholly again");
}

#[test]
fn least_time_inflight_sees_an_answer_that_does_not_come() {
    for in_flight in [false, true] {
        let u = upstream(&least_time(in_flight), &members()[..2]);
        let hanging = pick(&u, Key::default(), at(0));
        assert_eq!(number(&hanging), 1);
        let busy: Vec<Lease> = (0..3).map(|_| u.peers()[1].lease().expect("no limit")).collect();
        let expected = if in_flight { 2 } else { 1 };
        assert_eq!(number(&pick(&u, Key::default(), at(5))), expected, "inflight {in_flight}");
        drop(busy);
        hanging.answered(Duration::from_secs(5), at(5));
        drop(hanging);
        let after = u.peers()[0].reading(Measure::Header, at(6));
        assert_eq!((after.age, after.in_flight), (None, 0));
    }
}

#[test]
fn an_answer_that_is_no_success_makes_nobody_fast() {
    let u = upstream(&least_time(true), &members());
    answer(&u, [30, 30, 90], at(0));
    for _ in 0..200 {
        let lease = u.peers()[2].lease().expect("no limit is set");
        lease.failed(Duration::from_millis(1), at(0));
        lease.finished(Duration::from_millis(1));
    }
    let average = |measure| u.peers()[2].average(measure);
    assert_eq!(average(Measure::Header), Some(Duration::from_millis(90)));
    assert_eq!(average(Measure::LastByte), Some(Duration::from_millis(90)));
}

#[test]
fn random_two_least_time_never_takes_the_slowest() {
    fastrand::seed(3);
    let u = upstream(&Method::RandomTwoLeastTime(Measure::Header), &members());
    answer(&u, [30, 70, 500], at(0));
    let picked = one_by_one(&u, 300, at(0));
    assert!(picked.contains(&1) && picked.contains(&2) && !picked.contains(&3));
}

#[test]
fn ewma_leaves_one_that_stalls_alone_until_the_peak_has_faded() {
    fastrand::seed(3);
    let u = upstream(&Method::Ewma, &members());
    answer(&u, [10, 10, 2000], at(0));
    assert!(!one_by_one(&u, 300, at(0)).contains(&3));
    answer(&u, [10, 10, 2000], at(0));
    let held = u.peers()[2].lease();
    // 2 s have faded to 0.1 ms, those of the others were renewed.
    for peer in &u.peers()[..2] {
        peer.lease().expect("no limit is set").answered(Duration::from_millis(10), at(100));
    }
    assert!(one_by_one(&u, 300, at(100)).contains(&3));
    drop(held);
}

#[test]
fn ewma_takes_the_one_with_less_in_flight_of_two_as_fast() {
    fastrand::seed(3);
    let u = upstream(&Method::Ewma, &members()[..2]);
    answer(&u, [10, 10, 0], at(0));
    let held: Vec<Lease> = (0..100).map(|_| pick(&u, Key::default(), at(0))).collect();
    let in_flight = u.peers().iter().map(|p| p.in_flight()).collect::<Vec<_>>();
    assert_eq!((held.len(), in_flight), (100, vec![50, 50]));
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
            assert!(u.pick(&text(b"key"), &tried, at(0)).is_err());
        });
        assert_eq!(refused.count_total, 0, "{method:?}");
    }
}
