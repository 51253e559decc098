//! What each balancing method makes of uneven replicas: a simulation with the real `Upstream::pick`.
//!
//! Eight replicas with four workers each, requests of 50 ms on the average (exponential). Replica 7
//! stops for a second every five, replica 8 is five times slower than the others. Requests come at
//! random moments (Poisson) at 70 % of what all can do together, and wait at a replica for a worker. Every
//! method gets the very same requests on a simulated clock. It prints a table and draws it:
//!
//!     cargo run --release --example balance -- docs/balance.svg

#[path = "common/svg.rs"]
mod svg;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use robin::config::template::Template;
use robin::health::Tick;
use robin::upstream::{Key, Lease, Measure, Member, Method, Tried, Upstream};

const REPLICAS: usize = 8;
const WORKERS: usize = 4;
const MEAN_MICROS: f64 = 50_000.0;
const STALLING: usize = 6;
const SLOW: usize = 7;
const SLOWER: f64 = 5.0;
const STALL_EVERY: u64 = 5_000_000;
const STALL: u64 = 1_000_000;
const LOAD: f64 = 0.7;
const LASTS: u64 = 300_000_000;
/// nginx's `proxy_read_timeout`: who waits longer gets a 504, so no more is shown.
const TIMEOUT: u64 = 60_000_000;
/// Clients that come again and again, for the methods that keep them at one replica.
const CLIENTS: u32 = 1000;

/// One request: when it comes, how much work it is, whose it is. Microseconds.
#[derive(Clone, Copy)]
struct Request {
    at: u64,
    work: f64,
    client: u32,
}

fn exponential(lots: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - lots.f64()).ln()
}

fn requests() -> Vec<Request> {
    let mut lots = fastrand::Rng::with_seed(2026);
    let whole = REPLICAS as f64 - 2.0;
    let stalls = 1.0 - STALL as f64 / STALL_EVERY as f64;
    let a_second = LOAD * WORKERS as f64 * (whole + stalls + 1.0 / SLOWER) / MEAN_MICROS;
    let mut at = 0.0;
    let mut requests = Vec::new();
    loop {
        at += exponential(&mut lots, 1.0 / a_second);
        if at >= LASTS as f64 {
            return requests;
        }
        let work = exponential(&mut lots, MEAN_MICROS);
        requests.push(Request { at: at as u64, work, client: lots.u32(..CLIENTS) });
    }
}

/// When work that begins at `now` is done by the replica.
fn done(replica: usize, now: u64, work: f64) -> u64 {
    let work = if replica == SLOW { work * SLOWER } else { work } as u64;
    if replica != STALLING {
        return now + work;
    }
    // It stands still in the last part of each span.
    let (mut now, mut left) = (now, work);
    loop {
        let stall = now - now % STALL_EVERY + (STALL_EVERY - STALL);
        if now >= stall {
            now = stall + STALL;
        } else if now + left <= stall {
            return now + left;
        } else {
            left -= stall - now;
            now = stall + STALL;
        }
    }
}

/// A request that a replica has.
struct Begun {
    request: Request,
    lease: Lease,
}

#[derive(Default)]
struct Replica {
    busy: usize,
    waiting: VecDeque<Begun>,
}

/// What came out for one method: the times of all requests in order, and each replica's share.
struct Outcome {
    micros: Vec<u64>,
    shares: [usize; REPLICAS],
}

fn tick(micros: u64) -> Tick {
    Tick::from_millis(1 + micros / 1000)
}

fn run(method: &Method, requests: &[Request]) -> Outcome {
    // The lots of a method are this thread's.
    fastrand::seed(7);
    let upstream = Upstream::new("simulated", method, None);
    let members: Vec<Member> =
        (1..=REPLICAS as u8).map(|n| Member::new(([10, 0, 0, n], 5252).into())).collect();
    upstream.publish(&members, tick(0));
    let mut replicas: [Replica; REPLICAS] = Default::default();
    let mut outcome = Outcome { micros: Vec::new(), shares: [0; REPLICAS] };
    // What workers are at, the first to be done on top; a place in `working` for each.
    let mut ends: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let mut working: Vec<Option<Begun>> = Vec::new();
    let mut coming = requests.iter().peekable();
    loop {
        let next_end = ends.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        if let Some(request) = coming.next_if(|request| request.at <= next_end) {
            let text = request.client.to_be_bytes();
            let client = Ipv4Addr::from_bits(request.client.wrapping_mul(0x9e37_79b1)).into();
            let key = Key { client, text: &text, ..Key::default() };
            let picked = upstream.pick(&key, &Tried::default(), tick(request.at));
            let lease = picked.expect("nobody is ever out");
            let replica = lease.address().ip().map_or(0, |ip| match ip {
                std::net::IpAddr::V4(v4) => usize::from(v4.octets()[3]) - 1,
                std::net::IpAddr::V6(_) => 0,
            });
            outcome.shares[replica] += 1;
            let begun = Begun { request: *request, lease };
            if replicas[replica].busy < WORKERS {
                replicas[replica].busy += 1;
                ends.push(Reverse((
                    done(replica, request.at, request.work),
                    replica,
                    working.len(),
                )));
                working.push(Some(begun));
            } else {
                replicas[replica].waiting.push_back(begun);
            }
            continue;
        }
        let Some(Reverse((now, replica, place))) = ends.pop() else { break };
        if let Some(Begun { request, lease }) = working[place].take() {
            let took = now - request.at;
            lease.answered(Duration::from_micros(took), tick(now));
            lease.finished(Duration::from_micros(took));
            outcome.micros.push(took);
        }
        match replicas[replica].waiting.pop_front() {
            None => replicas[replica].busy -= 1,
            Some(next) => {
                ends.push(Reverse((done(replica, now, next.request.work), replica, place)));
                working[place] = Some(next);
            }
        }
    }
    outcome.micros.sort_unstable();
    outcome
}

fn methods() -> [(&'static str, Method); 11] {
    let hash = |consistent| {
        let key = Template::parse("$remote_addr").expect("there is such a variable");
        Method::Hash { key, consistent }
    };
    let least_time = |in_flight| Method::LeastTime { measure: Measure::Header, in_flight };
    [
        ("round_robin", Method::RoundRobin),
        ("least_conn", Method::LeastConn),
        ("least_time header", least_time(false)),
        ("least_time header inflight", least_time(true)),
        ("ewma", Method::Ewma),
        ("random two", Method::RandomTwo),
        ("random two least_time", Method::RandomTwoLeastTime(Measure::Header)),
        ("random", Method::Random),
        ("ip_hash", Method::IpHash),
        ("hash", hash(false)),
        ("hash consistent", hash(true)),
    ]
}

fn main() {
    let requests = requests();
    println!("| method | p50 | p99 | max | to the slow one | to the one that stalls |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut rows = Vec::new();
    for (name, method) in methods() {
        let Outcome { micros, shares } = run(&method, &requests);
        let at = |part: f64| {
            let place = ((micros.len() - 1) as f64 * part) as usize;
            micros[place].min(TIMEOUT) as f64 / 1000.0
        };
        let text = |part: f64| match at(part) {
            ms if ms * 1000.0 >= TIMEOUT as f64 => "timed out".to_owned(),
            ms => format!("{ms:.0} ms"),
        };
        let share = |replica: usize| shares[replica] as f64 * 100.0 / micros.len() as f64;
        println!(
            "| `{name}` | {} | {} | {} | {:.1} % | {:.1} % |",
            text(0.5),
            text(0.99),
            text(1.0),
            share(SLOW),
            share(STALLING)
        );
        rows.push((name.to_owned(), vec![at(0.5), at(0.99), at(1.0)]));
    }
    if let Some(file) = std::env::args().nth(1) {
        let title =
            "Time of a request with 8 replicas, one 5 times slower, one that stalls, at 70 % load";
        let drawn = svg::bars(title, &["p50", "p99", "max"], &rows, "ms");
        if let Err(error) = std::fs::write(&file, drawn) {
            eprintln!("{file}: {error}");
            std::process::exit(1);
        }
    }
}
