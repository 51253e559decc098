//! What choosing a peer costs a request: `Upstream::pick` with each method and, beside it, the `select` of Pingora's
//! `LoadBalancer` with each selection it has.
//!
//! One iteration is one choice; for `pick` it includes counting the attempt and giving it back, and
//! for every one its key. `floor` is what a choice in turn costs at least: one shared position, an
//! index, and a count on an `Arc`, taken and given back. With `half_out` every other peer is ejected,
//! or unhealthy for Pingora. With `two_threads` it is the time in which each of two makes one. `docs/balancing.md` has
//! the numbers; `cargo run --example select_plot` draws them.

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin,
};
use pingora_load_balancing::{Backend, Backends, LoadBalancer, discovery};
use robin::config::template::Template;
use robin::health::{Outcome, Tick};
use robin::upstream::{Key, Measure, Member, Method, Tried, Upstream};

const SIZES: [u16; 4] = [2, 16, 128, 1024];

fn address(n: u16) -> SocketAddr {
    ([127, 0, 0, 1], 1024 + n).into()
}

/// Each method by the name its ids have.
fn methods() -> [(&'static str, Method); 11] {
    let hash = |consistent| {
        let key = Template::parse("$request_uri").expect("there is such a variable");
        Method::Hash { key, consistent }
    };
    let least_time = |in_flight| Method::LeastTime { measure: Measure::Header, in_flight };
    [
        ("round_robin", Method::RoundRobin),
        ("least_conn", Method::LeastConn),
        ("least_time", least_time(false)),
        ("least_time_inflight", least_time(true)),
        ("ip_hash", Method::IpHash),
        ("hash", hash(false)),
        ("hash_consistent", hash(true)),
        ("random", Method::Random),
        ("random_two", Method::RandomTwo),
        ("random_two_least_time", Method::RandomTwoLeastTime(Measure::Header)),
        ("ewma", Method::Ewma),
    ]
}

/// Peers that have all answered, in a few milliseconds more or less.
fn ours(method: &Method, size: u16, half_out: bool) -> Upstream {
    let upstream = Upstream::new("bench", method, None);
    let members: Vec<Member> = (0..size).map(|n| Member::new(address(n).into())).collect();
    let now = Tick::from_millis(0);
    upstream.publish(&members, now);
    let mut tried = Tried::default();
    for n in 0..size {
        if n % 16 == 0 {
            tried = Tried::default();
        }
        let lease = upstream.pick(&Key::default(), &tried, now).expect("there are peers");
        lease.answered(Duration::from_millis(u64::from(n % 7)), now);
        tried.add(&lease);
    }
    if half_out {
        for peer in upstream.peers().iter().step_by(2) {
            upstream.report(peer, Outcome::Failure, now);
        }
    }
    upstream
}

fn theirs<S>(size: u16, half_out: bool) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let backends: BTreeSet<Backend> = (0..size)
        .map(|n| Backend::new(&address(n).to_string()).expect("a literal address parses"))
        .collect();
    let lb = LoadBalancer::from_backends(Backends::new(discovery::Static::new(backends)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(lb.update()).expect("a static set publishes");
    let sick: HashMap<_, _> = lb.backends().get_backend().iter().cloned().zip(0..).collect();
    for (backend, n) in &sick {
        lb.backends().set_enable(backend, !half_out || n % 2 == 1);
    }
    lb
}

/// Who chooses how many times at once.
type Group<'a, 'b> = &'a mut BenchmarkGroup<'b, WallTime>;

/// Times one choice, made with a number that no other choice has.
fn time(group: Group, id: BenchmarkId, threads: bool, choice: impl Fn(u32) -> bool + Sync) {
    if threads {
        group.bench_function(id, |b| b.iter_custom(|n| on_two_threads(n, &choice)));
        return;
    }
    let mut request = 0u32;
    group.bench_function(id, |b| {
        b.iter(|| {
            request = request.wrapping_add(1);
            choice(black_box(request))
        });
    });
}

/// The time until both threads have made `n` choices each.
fn on_two_threads(n: u64, choice: &(impl Fn(u32) -> bool + Sync)) -> Duration {
    let start = tokio::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            scope.spawn(move || {
                for request in 0..n {
                    black_box(choice(black_box(request as u32 * 2 + thread)));
                }
            });
        }
    });
    start.elapsed()
}

fn floor(group: Group, size: u16, threads: bool) {
    let peers: Vec<Arc<SocketAddr>> = (0..size).map(|n| Arc::new(address(n))).collect();
    let turn = AtomicUsize::new(0);
    time(group, BenchmarkId::new("floor", size), threads, |_| {
        let turn = turn.fetch_add(1, Relaxed);
        black_box(Arc::clone(&peers[turn % peers.len()])).port() > 0
    });
}

fn pingora<S>(group: Group, name: &str, (size, half_out): (u16, bool), threads: bool)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let lb = theirs::<S>(size, half_out);
    time(group, BenchmarkId::new(name, size), threads, |request| {
        black_box(&lb.select(&request.to_be_bytes(), 256)).is_some()
    });
}

/// Every choice of one size, healthy or half out, on one thread or two.
fn select_of(group: Group, size: u16, half_out: bool, threads: bool) {
    let now = Tick::from_millis(1);
    floor(group, size, threads);
    for (name, method) in methods() {
        let upstream = ours(&method, size, half_out);
        time(group, BenchmarkId::new(name, size), threads, |request| {
            // Each request has a client and a key of its own.
            let text = request.to_be_bytes();
            let key = Key { client: text.into(), text: &text, ..Key::default() };
            let tried = Tried::default();
            let (key, tried) = (black_box(&key), black_box(&tried));
            black_box(&upstream.pick(key, tried, now)).is_ok()
        });
    }
    let of = (size, half_out);
    pingora::<RoundRobin>(group, "pingora_round_robin", of, threads);
    pingora::<Random>(group, "pingora_random", of, threads);
    pingora::<FNVHash>(group, "pingora_fnv", of, threads);
    pingora::<Consistent>(group, "pingora_ketama", of, threads);
}

fn select(c: &mut Criterion) {
    for (name, half_out, threads) in [
        ("select", false, false),
        ("select_half_out", true, false),
        ("select_two_threads", false, true),
        ("select_two_threads_half_out", true, true),
    ] {
        let mut group = c.benchmark_group(name);
        group.warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(600)).sample_size(20);
        for size in SIZES {
            select_of(&mut group, size, half_out, threads);
        }
        group.finish();
    }
}

criterion_group!(benches, select);
criterion_main!(benches);
