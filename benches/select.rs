//! What choosing a peer costs a request: `Upstream::pick` with each method and, beside its round
//! robin, Pingora's own `LoadBalancer::<RoundRobin>::select`, every other peer unhealthy.
//!
//! `select_two_threads` is the time in which each of two threads makes one. One iteration is one choice; for `pick` it includes counting the attempt and giving it back.

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pingora_load_balancing::{Backend, Backends, LoadBalancer, discovery, selection::RoundRobin};
use robin::config::template::Template;
use robin::health::{Outcome, Tick};
use robin::upstream::{Key, Member, Method, Tried, Upstream};

const SIZES: [u16; 4] = [2, 16, 128, 1024];

fn address(n: u16) -> SocketAddr {
    ([127, 0, 0, 1], 1024 + n).into()
}

fn ours(method: &Method, size: u16) -> Upstream {
    let upstream = Upstream::new("bench", method, None);
    let members: Vec<Member> = (0..size).map(|n| Member::new(address(n).into())).collect();
    upstream.publish(&members, Tick::from_millis(0));
    for peer in upstream.peers().iter().step_by(2) {
        upstream.report(peer, Outcome::Failure, Tick::from_millis(0));
    }
    upstream
}

fn theirs(size: u16) -> LoadBalancer<RoundRobin> {
    let backends: BTreeSet<Backend> = (0..size)
        .map(|n| Backend::new(&address(n).to_string()).expect("a literal address parses"))
        .collect();
    let lb = LoadBalancer::from_backends(Backends::new(discovery::Static::new(backends)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(lb.update()).expect("a static set publishes");
    let sick: HashMap<_, _> = lb.backends().get_backend().iter().cloned().zip(0..).collect();
    for (backend, n) in &sick {
        lb.backends().set_enable(backend, n % 2 == 1);
    }
    lb
}

/// Each method by the name its ids have.
fn methods() -> [(&'static str, Method); 7] {
    let hash = |consistent| {
        let key = Template::parse("$request_uri").expect("there is such a variable");
        Method::Hash { key, consistent }
    };
    [
        ("round_robin", Method::RoundRobin),
        ("least_conn", Method::LeastConn),
        ("ip_hash", Method::IpHash),
        ("hash", hash(false)),
        ("hash_consistent", hash(true)),
        ("random", Method::Random),
        ("random_two", Method::RandomTwo),
    ]
}

fn select(c: &mut Criterion) {
    let mut group = c.benchmark_group("select");
    let now = Tick::from_millis(1);
    for size in SIZES {
        for (name, method) in methods() {
            let upstream = ours(&method, size);
            // Each request has a client and a key of its own.
            let mut request = 0u32;
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    request = request.wrapping_add(1);
                    let text = request.to_be_bytes();
                    let key = Key { client: text.into(), text: &text, sid: "" };
                    let tried = Tried::default();
                    black_box(upstream.pick(black_box(key), black_box(&tried), now)).is_ok()
                });
            });
        }
        let lb = theirs(size);
        group.bench_function(BenchmarkId::new("pingora", size), |b| {
            b.iter(|| black_box(lb.select(black_box(b""), 256)).is_some());
        });
    }
    group.finish();
}

/// Two threads that choose all the time: what the shared position and counters cost.
fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("select_two_threads");
    let now = Tick::from_millis(1);
    for size in SIZES {
        let upstream = ours(&Method::RoundRobin, size);
        group.bench_function(BenchmarkId::new("round_robin", size), |b| {
            b.iter_custom(|n| {
                on_two_threads(n, || upstream.pick(Key::default(), &Tried::default(), now).is_ok())
            });
        });
        let lb = theirs(size);
        group.bench_function(BenchmarkId::new("pingora", size), |b| {
            b.iter_custom(|n| on_two_threads(n, || lb.select(b"", 256).is_some()));
        });
    }
    group.finish();
}

/// The time until both threads have made `n` choices each.
fn on_two_threads(n: u64, choice: impl Fn() -> bool + Sync) -> Duration {
    let start = tokio::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..n).for_each(|_| {
                    black_box(choice());
                })
            });
        }
    });
    start.elapsed()
}

criterion_group!(benches, select, contended);
criterion_main!(benches);
