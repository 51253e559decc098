//! Who waits gets his turn, and whoever leaves leaves nothing behind.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;

use futures_util::FutureExt as _;
use tokio::task::{JoinHandle, JoinSet, yield_now};

use super::*;
use crate::config::model::{Method, Queue};
use crate::upstream::{Hand, Member, Policy};

const TIMEOUT: Duration = Duration::from_secs(60);

fn member(port: u16, max_conns: u32) -> Member {
    Member { max_conns, ..Member::new(([127, 0, 0, 1], port).into()) }
}

fn upstream(max: u32, members: &[Member]) -> Arc<Upstream> {
    let max = NonZeroU32::new(max).expect("more than zero");
    let queue = Some(Queue { max, timeout: TIMEOUT });
    let policy = Policy { method: Method::RoundRobin, queue, ..Policy::default() };
    let upstream = Upstream::with("test", policy);
    upstream.publish(members, Tick::now());
    Arc::new(upstream)
}

fn pick(u: &Upstream) -> Lease {
    u.pick(&Key::default(), &Tried::default(), Tick::now()).expect("a peer has room")
}

type Waiting = JoinHandle<Result<Lease, Refusal>>;

/// A request that has tried `tried`, in its place of the queue.
async fn ask_after(u: &Arc<Upstream>, tried: Tried) -> Waiting {
    let upstream = Arc::clone(u);
    let asked =
        tokio::spawn(
            async move { upstream.pick_or_wait(Key::default(), &tried, Tick::now()).await },
        );
    settle().await;
    asked
}

async fn ask(u: &Arc<Upstream>) -> Waiting {
    ask_after(u, Tried::default()).await
}

/// Lets all others go on until they wait for something.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

async fn served(waiting: Waiting) -> Lease {
    waiting.await.expect("no panic").expect("a peer")
}

async fn refused(waiting: Waiting) -> Refusal {
    waiting.await.expect("no panic").expect_err("no peer")
}

#[tokio::test(start_paused = true)]
async fn with_room_nobody_waits() {
    let u = upstream(1, &[member(1, 1)]);
    assert!(ask(&u).await.is_finished());
    assert_eq!((u.queued(), u.queue_refused()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_came_first_is_served_first() {
    let u = upstream(10, &[member(1, 1)]);
    let held = pick(&u);
    let (first, second, third) = (ask(&u).await, ask(&u).await, ask(&u).await);
    assert_eq!(u.queued(), 3);
    drop(held);
    let held = served(first).await;
    settle().await;
    assert!(!second.is_finished() && !third.is_finished());
    drop(held);
    let held = served(second).await;
    settle().await;
    assert!(!third.is_finished());
    drop(held);
    drop(served(third).await);
    assert_eq!((u.queued(), u.peers()[0].in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_others_wait_overtakes_nobody() {
    let u = upstream(10, &[member(1, 1)]);
    let held = pick(&u);
    let first = ask(&u).await;
    drop(held);
    // The first is woken and has not run yet.
    let tried = Tried::default();
    let mut late = std::pin::pin!(u.pick_or_wait(Key::default(), &tried, Tick::now()));
    assert!(late.as_mut().now_or_never().is_none());
    let held = served(first).await;
    drop(held);
    assert!(late.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn several_that_become_free_at_once_serve_several() {
    let u = upstream(10, &[member(1, 3)]);
    let held = [pick(&u), pick(&u), pick(&u)];
    let waiting = [ask(&u).await, ask(&u).await, ask(&u).await];
    drop(held);
    settle().await;
    assert!(waiting.iter().all(Waiting::is_finished));
}

#[tokio::test(start_paused = true)]
async fn one_more_than_may_wait_is_refused_at_once() {
    let u = upstream(2, &[member(1, 1)]);
    let _held = pick(&u);
    let _waiting = [ask(&u).await, ask(&u).await];
    let refusal = refused(ask(&u).await).await;
    assert_eq!(refusal.waited, Some(Waited::Full(2)));
    assert_eq!(refusal.why.to_string(), "1 peer, 1 full");
    assert_eq!((u.queued(), u.queue_refused()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_he_may() {
    let u = upstream(2, &[member(1, 1)]);
    let _held = pick(&u);
    let begin = tokio::time::Instant::now();
    let refusal = refused(ask(&u).await).await;
    assert_eq!(begin.elapsed(), TIMEOUT);
    assert_eq!(refusal.waited, Some(Waited::InVain(TIMEOUT)));
    assert_eq!((u.queued(), u.queue_refused()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_when_it_is_his_turn_leaves_it_to_the_next() {
    let u = upstream(2, &[member(1, 1)]);
    let held = pick(&u);
    let (first, second) = (ask(&u).await, ask(&u).await);
    drop(held);
    first.abort();
    drop(served(second).await);
    assert_eq!((u.queued(), u.peers()[0].in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_waiting_cannot_help() {
    let none = upstream(2, &[]);
    let down = upstream(2, &[Member { down: true, ..member(1, 1) }]);
    let drained = upstream(2, &[Member { drain: true, ..member(1, 1) }]);
    for (u, why) in
        [(none, "no addresses yet"), (down, "1 peer, 1 down"), (drained, "1 peer, 1 draining")]
    {
        let refusal = refused(ask(&u).await).await;
        assert_eq!((refusal.waited, &*refusal.why.to_string()), (None, why));
    }
    let u = upstream(2, &[member(1, 1)]);
    let mut tried = Tried::default();
    tried.add(&u.peers()[0]);
    let refusal = refused(ask_after(&u, tried).await).await;
    assert_eq!((refusal.waited, &*refusal.why.to_string()), (None, "1 peer, 1 tried"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_from_now_on_is_told_at_once() {
    let u = upstream(2, &[member(1, 1)]);
    let _held = pick(&u);
    let waiting = [ask(&u).await, ask(&u).await];
    u.tell(&u.peers()[0], Hand::Down, Tick::now());
    for waiting in waiting {
        let refusal = refused(waiting).await;
        assert_eq!((refusal.waited, &*refusal.why.to_string()), (None, "1 peer, 1 down"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_comes_or_returns_serves_those_that_wait() {
    let absent = Member { absent: true, ..member(1, 1) };
    let u = upstream(2, &[absent]);
    let (first, second) = (ask(&u).await, ask(&u).await);
    u.publish(&[member(1, 1)], Tick::now());
    let held = served(first).await;
    settle().await;
    assert!(!second.is_finished());
    u.publish(&[member(1, 1), member(2, 1)], Tick::now());
    assert_eq!(served(second).await.address().port(), 2);
    u.tell(&u.peers()[1], Hand::Down, Tick::now());
    let third = ask(&u).await;
    u.tell(&u.peers()[1], Hand::Off, Tick::now());
    assert_eq!(served(third).await.address().port(), 2);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_the_first_cannot_use_serves_the_next() {
    let u = upstream(5, &[member(1, 1), member(2, 1)]);
    let held = [pick(&u), pick(&u)];
    let mut tried = Tried::default();
    tried.add(&held[0]);
    let (picky, other) = (ask_after(&u, tried.clone()).await, ask(&u).await);
    let [of_first, of_second] = held;
    drop(of_first);
    let held = served(other).await;
    assert_eq!(held.address().port(), 1);
    drop(held);
    settle().await;
    // The same for one that comes when there is room already.
    let late = served(ask(&u).await).await;
    assert_eq!(late.address().port(), 1);
    drop(of_second);
    assert_eq!(served(picky).await.address().port(), 2);
}

/// Requests that are given up before they begin, in the queue, and at a peer; those that are not
/// are all served.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_requests_that_are_given_up_leave_nothing_behind() {
    let u = upstream(20_000, &[member(1, 2), member(2, 3)]);
    let done = Arc::new(AtomicU32::new(0));
    let mut requests = JoinSet::new();
    let mut given_up = Vec::new();
    for n in 0..12_000_u32 {
        let (u, done) = (Arc::clone(&u), Arc::clone(&done));
        let request = requests.spawn(async move {
            let picked = u.pick_or_wait(Key::default(), &Tried::default(), Tick::now()).await;
            let lease = picked.expect("there is time and room");
            assert!(lease.in_flight() <= lease.member().max_conns);
            if n % 6 == 0 {
                yield_now().await;
                done.fetch_add(1, Relaxed);
            } else {
                // Until it is given up.
                std::future::pending::<()>().await;
            }
        });
        if n % 6 != 0 {
            given_up.push(request);
        }
    }
    fastrand::Rng::with_seed(7).shuffle(&mut given_up);
    assert_eq!(given_up.len(), 10_000);
    for (n, request) in given_up.into_iter().enumerate() {
        request.abort();
        if n % 16 == 0 {
            yield_now().await;
        }
    }
    while let Some(ended) = requests.join_next().await {
        assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
    }
    assert_eq!(done.load(Relaxed), 2000);
    assert_eq!((u.queued(), u.queue_refused()), (0, 0));
    assert!(u.peers().iter().all(|peer| peer.in_flight() == 0));
}
