//! Exact sequences of `pick`, and what takes a peer out and brings it back.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::*;

fn member(port: u16) -> Member {
    Member::new(([127, 0, 0, 1], port).into())
}

fn upstream(members: &[Member]) -> Upstream {
    let upstream = Upstream::new("test", &Method::default(), None);
    upstream.publish(members, at(0));
    upstream
}

/// One whose peers are probed: two passes in a row and two failures in a row decide.
fn probed(members: &[Member]) -> Upstream {
    let two = NonZeroU32::new(2).expect("two is not zero");
    let upstream = Upstream::new("test", &Method::default(), Some(ProbeRule::new(two, two)));
    upstream.publish(members, at(0));
    upstream
}

fn passes(u: &Upstream, index: usize) -> Option<Change> {
    u.probed(&u.peers()[index], Ok(Duration::from_millis(3)), at(0)).map(|e| e.change)
}

fn fails(u: &Upstream, index: usize) -> Option<Change> {
    u.probed(&u.peers()[index], Err("refused".to_owned()), at(0)).map(|e| e.change)
}

fn refusal(u: &Upstream) -> String {
    u.pick(&Key::default(), &Tried::default(), at(0)).expect_err("no peer is available").to_string()
}

/// The changes with the ports they are about.
fn changes(events: Vec<Event>) -> Vec<(u16, Change)> {
    events.into_iter().map(|e| (e.peer.port(), e.change)).collect()
}

const JOINED: Change = Change::Joined { tier: Tier::Primary };

fn at(seconds: u64) -> Tick {
    Tick::from_millis(1_000_000 + seconds * 1000)
}

fn pick(upstream: &Upstream, now: Tick) -> Lease {
    upstream.pick(&Key::default(), &Tried::default(), now).expect("a peer is available")
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
        u.connected(peer, at(2));
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
        let lease = u.pick(&Key::default(), &tried, at(0)).expect("an untried peer is there");
        assert!(!tried.contains(&lease));
        tried.add(&lease);
    }
    let refusal = u.pick(&Key::default(), &tried, at(0)).expect_err("both were tried");
    assert_eq!(refusal.to_string(), "2 peers, 2 tried");
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
    let down = Member { down: true, ..member(1) };
    assert_eq!(refusal(&upstream(&[down])), "1 peer, 1 down");
    assert_eq!(refusal(&upstream(&[])), "no addresses yet");
}

#[test]
fn the_refusal_counts_each_peer_once() {
    let down = Member { down: true, ..member(3) };
    let u = upstream(&[member(1), member(2), down]);
    let mut tried = Tried::default();
    for _ in 0..2 {
        let lease = u.pick(&Key::default(), &tried, at(0)).expect("an untried peer is there");
        u.report(&lease, Outcome::ConnectFailure, at(0));
        tried.add(&lease);
    }
    let refusal = u.pick(&Key::default(), &tried, at(0)).expect_err("both were tried");
    assert_eq!(refusal.to_string(), "3 peers, 2 ejected, 1 down");
}

#[test]
fn every_full_peer_is_a_refusal() {
    let u = upstream(&[Member { max_conns: 1, ..member(1) }]);
    let _held = pick(&u, at(0));
    assert_eq!(refusal(&u), "1 peer, 1 full");
}

#[test]
fn when_a_request_has_tried_all_primaries_it_goes_on_to_the_backups() {
    let u = upstream(&[member(1), member(2), Member { tier: Tier::Backup, ..member(3) }]);
    let mut tried = Tried::default();
    let order: Vec<u16> = (0..3)
        .map(|_| {
            let lease = u.pick(&Key::default(), &tried, at(0)).expect("an untried peer is there");
            tried.add(&lease);
            lease.address().port()
        })
        .collect();
    assert_eq!(order, [1, 2, 3]);
}

/// Two primaries and a backup, all of them ejected; the ports that one request then gets.
fn after_all_were_ejected(panic: Option<u8>) -> Vec<u16> {
    let u = Upstream::with("test", Policy { panic, ..Policy::default() });
    u.publish(&[member(1), member(2), Member { tier: Tier::Backup, ..member(3) }], at(0));
    for peer in &u.peers() {
        u.report(peer, Outcome::Failure, at(0));
    }
    let mut tried = Tried::default();
    let next = || {
        let lease = u.pick(&Key::default(), &tried, at(1)).ok()?;
        tried.add(&lease);
        Some(lease.address().port())
    };
    std::iter::from_fn(next).take(4).collect()
}

#[test]
fn with_every_peer_of_both_tiers_ejected_the_primaries_are_tried_first() {
    let mut order = after_all_were_ejected(Some(100));
    assert_eq!(order.pop(), Some(3));
    order.sort_unstable();
    assert_eq!(order, [1, 2]);
}

#[test]
fn without_panic_an_ejected_peer_is_for_requests_that_have_tried_none() {
    assert_eq!(after_all_were_ejected(None).len(), 1);
}

#[test]
fn a_success_of_a_peer_tried_before_its_time_brings_it_back() {
    let u = upstream(&[member(1), member(2)]);
    for peer in &u.peers() {
        u.report(peer, Outcome::Failure, at(0));
    }
    let lease = pick(&u, at(1));
    let event = u.report(&lease, Outcome::Success, at(1)).expect("it is in rotation again");
    assert_eq!((event.peer, event.change), (lease.address().clone(), Change::Readmitted));
    let port = lease.address().port();
    assert_eq!(ports(&u, 3, at(2)), [port, port, port]);
}

#[test]
fn a_peer_beside_one_that_is_down_is_lone() {
    let u = upstream(&[member(1), Member { down: true, ..member(2) }]);
    assert_eq!(u.report(&u.peers()[0], Outcome::Failure, at(0)), None);
    assert!(u.peers()[0].standing().is_up());
}

#[test]
fn one_primary_with_a_backup_is_not_lone() {
    let u = upstream(&[member(1), Member { tier: Tier::Backup, ..member(2) }]);
    let event = u.report(&u.peers()[0], Outcome::ConnectFailure, at(0)).expect("it is ejected");
    let lasts = Duration::from_secs(10);
    assert_eq!(event.change, Change::Ejected { fails: 1, of: None, lasts, connect: true });
    assert_eq!(ports(&u, 2, at(0)), [2, 2]);
}

#[test]
fn a_publication_that_changes_the_weight_keeps_the_state() {
    let u = upstream(&[member(1), member(2)]);
    let id = u.peers()[0].id();
    u.report(&u.peers()[0], Outcome::Failure, at(0));
    assert_eq!(u.publish(&[Member { weight: 5, ..member(1) }, member(2)], at(1)), []);
    assert!(!u.peers()[0].standing().is_up());
    assert_eq!(u.peers()[0].id(), id);
}

#[test]
fn a_peer_that_left_and_came_back_starts_new() {
    let u = upstream(&[member(1), member(2)]);
    let before = u.peers()[0].clone();
    u.report(&before, Outcome::Failure, at(0));
    assert_eq!(changes(u.publish(&[member(2)], at(1))), [(1, Change::Left)]);
    assert_eq!(changes(u.publish(&[member(1), member(2)], at(2))), [(1, JOINED)]);
    let after = &u.peers()[0];
    assert!(after.standing().is_up());
    assert_ne!(after.id(), before.id());
    assert_eq!(u.report(&before, Outcome::Failure, at(3)), None, "it is not the one that left");
}

#[test]
fn the_same_publication_again_changes_nothing() {
    let u = upstream(&[member(1), member(2)]);
    let publications = u.publications();
    let ids: Vec<u64> = u.peers().iter().map(Peer::id).collect();
    assert_eq!(u.publish(&[member(1), member(2)], at(1)), []);
    assert!(!publications.has_changed().expect("the upstream is there"));
    assert_eq!(u.peers().iter().map(Peer::id).collect::<Vec<_>>(), ids);
    u.publish(&[member(2)], at(1));
    assert!(publications.has_changed().expect("the upstream is there"));
}

#[test]
fn an_address_that_comes_twice_is_one_peer() {
    let absent = Member { absent: true, ..member(1) };
    let u = upstream(&[absent, member(2), member(1), member(2)]);
    assert_eq!(ports(&u, 4, at(0)), [1, 2, 1, 2]);
}

#[test]
fn a_new_peer_waits_for_its_first_pass_once_another_has_passed() {
    let u = probed(&[member(1)]);
    assert_eq!(passes(&u, 0), Some(Change::Passing));
    u.publish(&[member(1), member(2)], at(1));
    assert_eq!(ports(&u, 3, at(1)), [1, 1, 1]);
    assert_eq!(passes(&u, 1), Some(Change::Passing));
    assert!(ports(&u, 2, at(1)).contains(&2));
}

#[test]
fn while_none_has_passed_new_peers_are_tried_and_failing_ones_are_not() {
    let u = probed(&[member(1), member(2)]);
    assert_eq!(ports(&u, 4, at(0)), [1, 2, 1, 2]);
    assert_eq!(fails(&u, 0), None);
    assert_eq!(fails(&u, 0), Some(Change::Failing { error: "refused".to_owned() }));
    assert_eq!(ports(&u, 3, at(0)), [2, 2, 2]);
    fails(&u, 1);
    fails(&u, 1);
    assert_eq!(refusal(&u), "2 peers, 2 failing probes");
    assert_eq!(passes(&u, 0), None, "rise is 2");
    assert_eq!(passes(&u, 0), Some(Change::Passing));
    assert_eq!(ports(&u, 2, at(0)), [1, 1]);
}

#[test]
fn a_new_peer_waits_even_while_the_one_that_had_passed_fails() {
    let u = probed(&[member(1), member(2)]);
    passes(&u, 0);
    fails(&u, 0);
    fails(&u, 0);
    assert_eq!(refusal(&u), "2 peers, 1 failing probes, 1 not probed yet");
}

#[test]
fn probes_and_traffic_do_not_write_each_others_record() {
    let u = probed(&[member(1), member(2)]);
    passes(&u, 0);
    passes(&u, 1);
    u.report(&u.peers()[0], Outcome::ConnectFailure, at(0));
    passes(&u, 0);
    assert!(!u.peers()[0].standing().is_up());
    u.report(&u.peers()[1], Outcome::Failure, at(0));
    assert!(u.peers()[1].verdict().is_passing());
}

#[test]
fn an_absent_peer_gets_traffic_only_once_it_was_reached() {
    let u = upstream(&[member(1), member(2)]);
    let gone = [Member { absent: true, ..member(1) }, Member { absent: true, ..member(2) }];
    assert_eq!(changes(u.publish(&gone, at(1))), [(1, Change::Absent), (2, Change::Absent)]);
    assert_eq!(refusal(&u), "2 peers, 2 absent from DNS");
    let event = u.connected(&u.peers()[1], at(2)).expect("it is in rotation");
    assert_eq!(event.change, Change::Reached);
    assert_eq!(ports(&u, 2, at(2)), [2, 2]);
    let event = u.report(&u.peers()[1], Outcome::ConnectFailure, at(3)).expect("it is out");
    assert_eq!(event.change, Change::Absent);
    assert_eq!(refusal(&u), "2 peers, 2 absent from DNS");
}

#[test]
fn a_peer_found_again_is_new_unless_it_was_reached_all_the_time() {
    let u = upstream(&[member(1), member(2)]);
    let ids: Vec<u64> = u.peers().iter().map(Peer::id).collect();
    let gone = [Member { absent: true, ..member(1) }, Member { absent: true, ..member(2) }];
    u.publish(&gone, at(1));
    u.connected(&u.peers()[0], at(2));
    let found = changes(u.publish(&[member(1), member(2)], at(3)));
    assert_eq!(found, [(1, Change::Found), (2, Change::Found)]);
    assert_eq!(u.peers()[0].id(), ids[0]);
    assert_ne!(u.peers()[1].id(), ids[1]);
    assert_eq!(ports(&u, 2, at(3)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_peer_to_leave_is_told() {
    let u = upstream(&[member(1), member(2)]);
    let (stays, goes) = (u.peers()[0].clone(), u.peers()[1].clone());
    let waiting = tokio::spawn({
        let goes = goes.clone();
        async move { goes.left().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    u.publish(&[Member { absent: true, ..member(1) }], at(1));
    waiting.await.expect("it resolves");
    goes.left().await;
    stays.left().await;
    u.connected(&stays, at(2));
    let left = tokio::time::timeout(Duration::from_secs(60), stays.left()).await;
    assert!(left.is_err(), "a connect to one that was reached is worth waiting for");
}

#[tokio::test(start_paused = true)]
async fn many_wishes_for_a_refresh_are_one() {
    let u = upstream(&[]);
    u.ask_refresh();
    u.ask_refresh();
    u.refresh_asked().await;
    let second = tokio::time::timeout(Duration::from_secs(60), u.refresh_asked()).await;
    assert!(second.is_err());
}

#[test]
fn the_snapshot_says_how_each_peer_stands_and_since_when() {
    let gone = Member { absent: true, ..member(4) };
    let backup = Member { tier: Tier::Backup, ..member(5) };
    let down = Member { down: true, ..member(6) };
    let u = probed(&[member(1), member(2), member(3), gone, backup, down]);
    let peers = u.peers();
    u.probed(&peers[0], Ok(Duration::from_millis(3)), at(2));
    u.probed(&peers[1], Ok(Duration::from_millis(3)), at(2));
    u.report(&peers[1], Outcome::Failure, at(3));
    for t in [3, 4] {
        u.probed(&peers[2], Err("status 503".to_owned()), at(t));
    }
    let _held = pick(&u, at(5));
    let state = u.snapshot(at(5));
    assert_eq!(state.name, "test");
    assert_eq!(state.primaries, TierCount { available: 1, total: 5 });
    assert_eq!(state.backups, TierCount { available: 0, total: 1 });
    let ejected = Status::Ejected { until: at(13), cause: crate::health::Cause::Answer };
    let standing: Vec<_> = state.peers.iter().map(|p| (p.status, p.since)).collect();
    assert_eq!(
        standing,
        [
            (Status::Up, at(2)),
            (ejected, at(3)),
            (Status::Failing, at(4)),
            (Status::Absent, at(0)),
            (Status::Waiting, at(0)),
            (Status::Down, at(0)),
        ]
    );
    assert_eq!((state.peers[0].requests, state.peers[0].in_flight), (1, 1));
    assert_eq!(state.peers[2].last_probe, Some((at(4), Err("status 503".to_owned()))));
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
    let mut tried = Tried::default();
    u.peers().iter().for_each(|p| tried.add(p));
    let refused = allocation_counter::measure(|| {
        assert!(u.pick(&Key::default(), &tried, at(0)).is_err());
    });
    assert_eq!(refused.count_total, 0);
}

#[test]
fn a_peer_drained_by_hand_gets_no_request_until_it_is_let_go() {
    let u = upstream(&[member(1), member(2)]);
    let second = u.peers()[1].clone();
    assert!(u.tell(&second, Hand::Drain, at(0)).is_some());
    assert_eq!(u.tell(&second, Hand::Drain, at(0)), None, "said twice is said once");
    assert_eq!(ports(&u, 4, at(0)), [1, 1, 1, 1]);
    u.tell(&second, Hand::Off, at(0));
    let mut both = ports(&u, 4, at(0));
    both.sort_unstable();
    assert_eq!(both, [1, 1, 2, 2]);
}

#[test]
fn each_peer_that_did_not_take_a_request_is_named_with_its_reason() {
    let down = Member { down: true, ..member(3) };
    let full = Member { max_conns: 1, ..member(2) };
    let u = upstream(&[member(1), full, down, member(4)]);
    u.report(&u.peers()[0], Outcome::ConnectFailure, at(0));
    u.tell(&u.peers()[3], Hand::Drain, at(0));
    let held = pick(&u, at(0));
    assert_eq!(held.address().port(), 2);
    let text = u.explain(&Tried::default(), at(3));
    assert_eq!(
        text,
        "127.0.0.1:1 ejected for connect, 7s left; 127.0.0.1:2 full (1 in flight); \
         127.0.0.1:3 down; 127.0.0.1:4 draining by hand"
    );
    let mut tried = Tried::default();
    tried.add(&held);
    assert!(u.explain(&tried, at(3)).contains("127.0.0.1:2 tried; "));
}

#[test]
fn of_many_peers_the_first_ten_are_named() {
    let u = upstream(&(1..=200).map(member).collect::<Vec<_>>());
    let text = u.explain(&Tried::default(), at(0));
    assert_eq!(text.matches("127.0.0.1:").count(), 10);
    assert!(text.ends_with("127.0.0.1:10 up; and 190 more"), "{text}");
}
