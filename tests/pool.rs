//! Kept connections to peers, which peers close when they like: no request may fail of that.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::client::{Client, Request};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use common::{PATIENCE, eventually};

/// The pause between two requests is what these tests are about, so they let real time pass.
fn pause(time: Duration) {
    common::holds_within(time, || false);
}

/// `count` requests with pauses of up to `longest` between them; those that failed.
fn failures(
    address: SocketAddr,
    request: &Request,
    count: usize,
    longest: Duration,
    seed: u64,
) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = Client::connect(address).expect("it listens");
    let mut failed = Vec::new();
    for number in 0..count {
        match client.exchange(request) {
            Ok(response) if response.status() == 200 => {}
            Ok(response) => {
                failed.push(format!("client {seed}, request {number}: {}", response.line()));
                client = Client::connect(address).expect("it listens");
            }
            Err(error) => {
                failed.push(format!("client {seed}, request {number}: {error}"));
                client = Client::connect(address).expect("it listens");
            }
        }
        pause(longest.mul_f64(random.f64()));
    }
    failed
}

fn posts_at_random_gaps(least: Duration) {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    for origin in &origins {
        origin.close_idle(least..Duration::from_secs(2));
    }
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\", \"{}\"] }} }}\nroutes: {{ /: api }}",
        addresses[0], addresses[1]
    ));
    let address = robin.address();
    let clients: Vec<_> = (0..40)
        .map(|seed| {
            std::thread::spawn(move || {
                let request = Request::post("/", "a=b");
                failures(address, &request, 10, Duration::from_millis(2200), seed)
            })
        })
        .collect();
    let failed: Vec<_> =
        clients.into_iter().flat_map(|c| c.join().expect("the client ends")).collect();
    assert!(failed.is_empty(), "{} of 400 failed: {failed:#?}", failed.len());
    assert_eq!(origins.iter().map(Origin::count).sum::<usize>(), 400, "none was sent twice");
    let connections: usize = origins.iter().map(Origin::connections).sum();
    assert!(connections < 400, "some were sent on kept connections");
}

#[test]
fn no_post_fails_when_peers_close_idle_connections_after_half_a_second_or_more() {
    posts_at_random_gaps(Duration::from_millis(600));
}

#[test]
fn no_get_fails_when_the_peer_closes_after_each_answer_without_a_word() {
    // `cut` at the whole length: nothing in the answer says that the connection ends with it.
    let reply = Reply { cut: Some(3), ..Reply::new("ok\n") };
    let origin = Origin::start(free_address(), Behaviour::Answer(reply));
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    for seed in 0..4 {
        let failed =
            failures(robin.address(), &Request::get("/"), 100, Duration::from_millis(2), seed);
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[test]
fn a_get_on_a_connection_that_breaks_is_sent_again_to_the_same_peer() {
    let mut origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    // Stopped and started again: the kept connection is gone.
    origin.set(Behaviour::Refuse);
    origin.set(Behaviour::ok());
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_post_soon_after_another_takes_its_connection() {
    if !common::one_pool() {
        return;
    }
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for _ in 0..5 {
        assert_eq!(client.exchange(&Request::post("/", "a=b")).expect("an answer").status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_post_does_not_take_a_connection_that_was_idle_for_half_a_second() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    assert_eq!(client.exchange(&Request::post("/", "a=b")).expect("an answer").status(), 200);
    pause(Duration::from_millis(600));
    assert_eq!(client.exchange(&Request::post("/", "a=b")).expect("an answer").status(), 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_idle_connection_to_a_peer_is_closed_in_time() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\"], keepalive: {{ idle: 300ms }} }} }}\n\
         routes: {{ /: api }}",
        origin.address()
    ));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for request in [Request::get("/"), Request::post("/", "a=b")] {
        assert_eq!(client.exchange(&request).expect("an answer").status(), 200);
    }
    eventually("both are closed", PATIENCE, || origin.open_connections() == 0);
}

#[test]
fn no_connection_is_kept_where_that_is_switched_off() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    for (number, keepalive) in ["idle: 0", "max: 0"].into_iter().enumerate() {
        let robin = Robin::with(&format!(
            "upstreams: {{ api: {{ servers: [\"{}\"], keepalive: {{ {keepalive} }} }} }}\n\
             routes: {{ /: api }}",
            origin.address()
        ));
        let mut client = Client::connect(robin.address()).expect("it listens");
        for _ in 0..3 {
            assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
        }
        assert_eq!(origin.connections(), 3 * (number + 1), "{keepalive}");
        eventually("all are closed", PATIENCE, || origin.open_connections() == 0);
    }
}

#[test]
fn upstreams_do_not_push_each_others_connections_out() {
    if !common::one_pool() {
        return;
    }
    let origins = [(); 3].map(|()| Origin::start(free_address(), Behaviour::ok()));
    let upstream = |n: usize| {
        let address = origins[n].address();
        format!("u{n}: {{ servers: [\"{address}\"], keepalive: {{ idle: 60s, max: 1 }} }}")
    };
    let robin = Robin::with(&format!(
        "upstreams: {{ {}, {}, {} }}\nroutes: {{ /0: u0, /1: u1, /2: u2 }}",
        upstream(0),
        upstream(1),
        upstream(2)
    ));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for _ in 0..4 {
        for path in ["/0", "/1", "/2"] {
            let answer = client.exchange(&Request::get(path)).expect("an answer");
            assert_eq!(answer.status(), 200);
        }
    }
    assert_eq!(origins.map(|origin| origin.connections()), [1, 1, 1]);
}

/// How many connections ten requests of a client take.
fn connections_of_ten(keepalive: &str) -> usize {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\"], keepalive: {{ {keepalive} }} }} }}\n\
         routes: {{ /: api }}",
        origin.address()
    ));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for number in 0..10 {
        let request = if number % 3 == 0 { Request::new("HEAD", "/") } else { Request::get("/") };
        client.send(request.bytes()).expect("sent");
        let answer = client.response_to(if number % 3 == 0 { "HEAD" } else { "GET" });
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    origin.connections()
}

#[test]
fn a_connection_to_a_peer_ends_with_its_last_request_or_its_time() {
    if !common::one_pool() {
        return;
    }
    assert_eq!(connections_of_ten("idle: 60s"), 1);
    assert_eq!(connections_of_ten("idle: 60s, requests: 3"), 4);
    assert_eq!(connections_of_ten("idle: 60s, requests: 1"), 10);
    assert_eq!(connections_of_ten("idle: 60s, time: 0"), 10);
    assert_eq!(connections_of_ten("idle: 60s, time: 1h"), 1);
}

#[test]
fn a_peer_that_says_close_is_not_asked_again_on_that_connection() {
    let reply = Reply { close: true, ..Reply::new("ok\n") };
    let origin = Origin::start(free_address(), Behaviour::Answer(reply));
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for _ in 0..20 {
        assert_eq!(client.exchange(&Request::post("/", "a=b")).expect("an answer").status(), 200);
    }
    assert_eq!((origin.count(), origin.connections()), (20, 20));
}

#[test]
fn a_route_may_have_each_connection_closed_after_its_answer() {
    if !common::one_pool() {
        return;
    }
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (listen, peer) = (free_address(), origin.address());
    let connections = |close: &str| {
        let conf = format!(
            "server {{ listen {listen}; location / {{ proxy_pass http://{peer}; {close} }} }}"
        );
        let _robin = Robin::nginx(listen, &conf);
        let before = origin.connections();
        let mut client = Client::connect(listen).expect("it listens");
        for _ in 0..5 {
            assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
        }
        origin.connections() - before
    };
    assert_eq!(connections("proxy_set_header Connection close;"), 5);
    assert_eq!(connections("proxy_set_header Connection '';"), 1);
    let asked = origin.requests();
    let says_close = |n: usize| asked[n].header("connection").is_some_and(|v| v == "close");
    assert!((0..5).all(says_close) && !(5..10).any(says_close));
}
