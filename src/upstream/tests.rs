//! Exact sequences of `pick`, and what takes a peer out and brings it back.

use std::collections::HashMap;

use super::*;

fn member(port: u16) -> Member {
    Member::new(([127, 0, 0, 1], port).into())
}

fn upstream(members: &[Member]) -> Upstream {
    let upstream = Upstream::new();
    upstream.publish(members);
    upstream
}

fn at(seconds: u64) -> Tick {
    Tick::from_millis(1_000_000 + seconds * 1000)
}

fn pick(upstream: &Upstream, now: Tick) -> Lease {
    upstream.pick(&Tried::default(), now).expect("a peer is available")
}

fn ports(upstream: &Upstream, n: usize, now: Tick) -> Vec<u16> {
    (0..n).map(|_| pick(upstream, now).address().port()).collect()
}

#[test]
fn peers_take_turns() {
    let u = upstream(&[member(1), member(2), member(3)]);
    assert_eq!(ports(&u, 6, at(0)), [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_thousand_picks_from_many_threads_differ_by_at_most_one() {
    let u = upstream(&[member(1), member(2), member(3)]);
    let mut shares: HashMap<u16, usize> = HashMap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| ports(&u, 250, at(0)))).collect();
        for thread in threads {
            for port in thread.join().expect("the thread picks without a panic") {
                *shares.entry(port).or_default() += 1;
            }
        }
    });
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [333, 333, 334]);
}

#[test]
fn backup_serves_only_when_every_primary_is_out() {
    let backup = Member { tier: Tier::Backup, ..member(3) };
    let u = upstream(&[member(1), member(2), backup]);
    assert_eq!(ports(&u, 4, at(0)), [1, 2, 1, 2]);
    for peer in &u.peers()[..2] {
        u.report(peer, Outcome::ConnectFailure, at(0));
    }
    assert_eq!(ports(&u, 3, at(1)), [3, 3, 3]);
    for peer in &u.peers()[..2] {
        u.connected(peer);
    }
    assert!(!ports(&u, 4, at(2)).contains(&3));
}

#[test]
fn the_share_of_an_ejected_peer_goes_to_all_others() {
    let u = upstream(&[member(1), member(2), member(3)]);
    u.report(&u.peers()[1], Outcome::Failure, at(0));
    let picked = ports(&u, 10, at(1));
    assert_eq!(picked.iter().filter(|p| **p == 1).count(), 5);
    assert_eq!(picked.iter().filter(|p| **p == 3).count(), 5);
}

#[test]
fn after_fail_timeout_one_attempt_is_made() {
    let u = upstream(&[member(1), member(2)]);
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    let picked = ports(&u, 5, at(10));
    assert_eq!(picked.iter().filter(|p| **p == 1).count(), 1);
    u.report(&u.peers()[0], Outcome::Success, at(11));
    assert_eq!(ports(&u, 4, at(11)).iter().filter(|p| **p == 1).count(), 2);
}

#[test]
fn a_lone_peer_is_never_ejected() {
    let u = upstream(&[member(1)]);
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    assert!(u.peers()[0].standing().is_up());
}

#[test]
fn with_every_peer_ejected_one_is_tried() {
    let u = upstream(&[member(1), member(2)]);
    for peer in &u.peers() {
        u.report(peer, Outcome::Failure, at(0));
    }
    assert_eq!(ports(&u, 2, at(1)).len(), 2);
}

#[test]
fn a_tried_peer_is_not_picked_again() {
    let u = upstream(&[member(1), member(2)]);
    let mut tried = Tried::default();
    for _ in 0..2 {
        let lease = u.pick(&tried, at(0)).expect("an untried peer is there");
        assert!(!tried.contains(&lease));
        tried.add(&lease);
    }
    let refusal = u.pick(&tried, at(0)).expect_err("both were tried");
    assert_eq!(refusal.to_string(), "2 peers, 0 down, 0 full, 2 tried");
}

#[test]
fn a_full_peer_yields_and_a_dropped_lease_frees_it() {
    let u = upstream(&[Member { max_conns: 1, ..member(1) }, member(2)]);
    let held = pick(&u, at(0));
    assert_eq!(held.address().port(), 1);
    assert_eq!(ports(&u, 3, at(0)), [2, 2, 2]);
    drop(held);
    assert!(ports(&u, 2, at(0)).contains(&1));
}

#[test]
fn a_down_peer_gets_nothing_and_the_refusal_says_so() {
    let u = upstream(&[Member { down: true, ..member(1) }]);
    let refusal = u.pick(&Tried::default(), at(0)).expect_err("it is down");
    assert_eq!(refusal.to_string(), "1 peers, 1 down, 0 full, 0 tried");
    let none = Upstream::new().pick(&Tried::default(), at(0));
    assert_eq!(none.err(), Some(NoPeer::NoAddresses));
}

#[test]
fn a_publication_that_changes_the_weight_keeps_the_state() {
    let u = upstream(&[member(1), member(2)]);
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    u.publish(&[Member { weight: 5, ..member(1) }, member(2)]);
    assert!(!u.peers()[0].standing().is_up());
    u.publish(&[member(2)]);
    u.publish(&[member(1), member(2)]);
    assert!(u.peers()[0].standing().is_up(), "one that had left starts new");
}

#[test]
fn pick_makes_no_allocation() {
    let u = upstream(&[member(1), member(2), member(3)]);
    u.report(&u.peers()[2], Outcome::Failure, at(0));
    drop(pick(&u, at(0)));
    let info = allocation_counter::measure(|| {
        for n in 0..100 {
            drop(pick(&u, at(n)));
        }
    });
    assert_eq!(info.count_total, 0);
}
