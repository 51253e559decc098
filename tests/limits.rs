//! What happens to clients that ask for more than they may, and to those that are slow about it?

mod common;

use std::time::Duration;

use common::client::{Client, Request, exchange, get};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use tokio::time::Instant;

#[test]
fn too_many_requests_are_refused_with_the_reason_and_a_time_to_come_back() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = "error_details: on\nlimits: { requests: { rate: 1r/m, burst: 2, nodelay: on } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    let statuses: Vec<u16> = (0..4).map(|_| get(robin.address(), "/").status()).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let refused = get(robin.address(), "/");
    assert!(refused.text().contains("more requests a second than zone"), "{}", refused.text());
    let after: u64 = refused.header("retry-after").and_then(|s| s.parse().ok()).expect("seconds");
    assert!((1..=63).contains(&after), "{after}");
    assert_eq!(origin.count(), 3, "no peer sees what is refused");
    robin.wait_for_line(Output::Stderr, &["limiting requests", "excess=3."]);
    assert_eq!(robin.count_lines(Output::Stderr, &["limiting requests"]), 1, "told once");
}

#[test]
fn a_request_that_waits_holds_no_peer() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = "limits: { requests: { rate: 1r/s, burst: 5 } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    assert_eq!(get(robin.address(), "/").status(), 200);
    let mut waiting = Client::connect(robin.address()).expect("a connection");
    waiting.send(Request::get("/").bytes()).expect("room");
    robin.wait_for_line(Output::Stderr, &["delaying request"]);
    assert_eq!(origin.count(), 1, "it has not left yet");
    assert_eq!(waiting.response().expect("an answer").status(), 200);
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_noticed_at_once_and_no_peer_hears_of_it() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = "limits: { requests: { rate: 1r/m, burst: 5 } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    assert_eq!(get(robin.address(), "/").status(), 200);
    let half = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n";
    for (request, method) in [(Request::get("/").bytes(), "GET"), (half.into(), "POST")] {
        let mut waiting = Client::connect(robin.address()).expect("a connection");
        waiting.send(request).expect("room");
        // It is not there before it is looked for.
        robin.wait_for_line(Output::Stderr, &["delaying request"]);
        drop(waiting);
        robin.wait_for_line(Output::Stdout, &[&format!("\"{method} / HTTP/1.1\" 499 0 ")]);
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_comes_while_a_request_waits_is_kept_for_later() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = "limits: { requests: { rate: 2r/s, burst: 5 } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    assert_eq!(get(robin.address(), "/").status(), 200);
    let mut waiting = Client::connect(robin.address()).expect("a connection");
    waiting.send("POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n").expect("room");
    robin.wait_for_line(Output::Stderr, &["delaying request"]);
    for piece in ["a b", "ody", " itGET /b HTTP/1.1\r\nHost: t\r\n\r\n"] {
        waiting.send(piece).expect("room");
    }
    for _ in 0..2 {
        assert_eq!(waiting.response().expect("an answer").status(), 200);
    }
    let requests = origin.requests();
    assert_eq!(requests[1].body, b"a body it");
    assert_eq!(requests[2].target(), "/b");
}

#[test]
fn keys_are_counted_apart_and_an_empty_one_is_not() {
    let yaml = "limits: { requests: { key: $http_x_key, rate: 1r/m, status: 503 } }";
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    let ask = |key: &str| {
        exchange(robin.address(), &Request::get("/").header("X-Key", key))
            .expect("an answer")
            .status()
    };
    assert_eq!([ask("a"), ask("b"), ask("a"), ask("b")], [200, 200, 503, 503]);
    let statuses: Vec<u16> = (0..3).map(|_| get(robin.address(), "/").status()).collect();
    assert_eq!(statuses, [200; 3]);
}

#[test]
fn what_was_counted_survives_a_reload() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = "limits: { requests: { rate: 1r/m } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    assert_eq!(get(robin.address(), "/").status(), 200);
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["reloaded"]);
    assert_eq!(get(robin.address(), "/").status(), 429);
}

#[test]
fn requests_at_once_are_limited_until_one_is_done() {
    let mut origin = Origin::start(free_address(), Behaviour::Hang);
    let yaml = "limits: { connections: { max: 1 } }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    let mut first = Client::connect(robin.address()).expect("a connection");
    first.send(Request::get("/").bytes()).expect("room");
    eventually("the first is at the peer", PATIENCE, || origin.count() == 1);
    let refused = get(robin.address(), "/");
    assert_eq!((refused.status(), refused.header("retry-after")), (429, Some("1")));
    origin.set(Behaviour::ok());
    drop(first);
    eventually("there is room again", PATIENCE, || get(robin.address(), "/").status() == 200);
}

#[test]
fn an_answer_goes_out_at_the_rate_of_its_route() {
    let origin = Origin::start(free_address(), Behaviour::Answer(Reply::new(vec![b'x'; 30_000])));
    let yaml = "limits: { rate: 10k, rate_after: 1k }";
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    let began = Instant::now();
    let answer = get(robin.address(), "/");
    assert_eq!(answer.body.len(), 30_000);
    // No upper bound: a busy machine is slower.
    assert!(began.elapsed() > Duration::from_millis(1000), "{:?}", began.elapsed());
}

#[test]
fn a_listener_has_no_more_connections_than_it_may() {
    let (origin, listen) = (Origin::start(free_address(), Behaviour::ok()), free_address());
    let yaml = format!("listen: {{ address: \"{listen}\", max_connections: 2 }}\nthreads: 1");
    let robin = Robin::start(listen, &format!("{yaml}\nroutes: {{ /: \"{}\" }}", origin.address()));
    let ask = |client: &mut Client| client.exchange(&Request::get("/")).map(|m| m.status()).ok();
    let mut kept: Vec<Client> = Vec::new();
    eventually("two connections are served", PATIENCE, || {
        let mut client = Client::connect(listen).expect("it listens");
        if ask(&mut client) == Some(200) {
            kept.push(client);
        }
        kept.len() == 2
    });
    let mut third = Client::connect(listen).expect("the system accepts it");
    assert_eq!(ask(&mut third), None);
    robin.wait_for_line(Output::Stderr, &["listener full, connection closed connections=2"]);
    assert!(kept.iter_mut().all(|client| ask(client) == Some(200)), "the others do not notice");
    kept.pop();
    eventually("there is room again", PATIENCE, || {
        ask(&mut Client::connect(listen).expect("it listens")) == Some(200)
    });
}

#[test]
fn a_head_has_no_more_lines_than_it_may() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("max_headers: 5\nroutes: {{ /: {} }}", origin.address()));
    let ask = |count: usize| {
        // `Host` is one of them.
        let named = |request: Request, n: usize| request.header(&format!("X-A{n}"), "b");
        let request = (1..count).fold(Request::get("/"), named);
        exchange(robin.address(), &request).expect("an answer").status()
    };
    assert_eq!([ask(4), ask(9)], [200, 400]);
}

/// A stack whose listener reads PROXY protocol headers from these.
fn behind_a_proxy(trust: &str) -> (Origin, Robin) {
    let (origin, listen) = (Origin::start(free_address(), Behaviour::ok()), free_address());
    let said = format!("proxy_protocol: {{ trust: [{trust}] }}");
    let yaml = format!("listen: {{ address: \"{listen}\", {said} }}\nthreads: 1");
    let real = "set_real_ip_from: 127.0.0.1\nreal_ip_header: proxy_protocol";
    let yaml = format!("{yaml}\n{real}\nroutes: {{ /: \"{}\" }}", origin.address());
    (origin, Robin::start(listen, &yaml))
}

#[test]
fn what_a_trusted_proxy_says_of_the_connection_is_the_client() {
    let (origin, robin) = behind_a_proxy("127.0.0.0/8");
    let mut client = Client::connect(robin.address()).expect("it listens");
    // In two pieces, and the request right behind.
    client.send("PROXY TCP4 192.0.2.1 ").expect("room");
    client.send("192.0.2.2 123 5678\r\n").expect("room");
    for _ in 0..2 {
        assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    }
    let forwarded: Vec<_> = origin.requests();
    let clients = forwarded.iter().map(|request| request.header("x-real-ip"));
    assert_eq!(clients.collect::<Vec<_>>(), [Some("192.0.2.1"); 2]);
}

#[test]
fn an_upstream_is_told_for_which_client_a_connection_is() {
    for version in ["v1", "v2"] {
        let (origin, back) = behind_a_proxy("127.0.0.0/8");
        let listen = free_address();
        let upstream = format!(
            "{{ servers: [\"{}\"], send_proxy: {version}, health_check: {{ http: /, every: 100ms }} }}",
            back.address()
        );
        let front = Robin::start(
            listen,
            &format!(
                "listen: {{ address: \"{listen}\", proxy_protocol: {{ trust: [127.0.0.1] }} }}\n\
                 set_real_ip_from: 127.0.0.1\nreal_ip_header: proxy_protocol\n\
                 upstreams: {{ back: {upstream} }}\nroutes: {{ /: back }}"
            ),
        );
        // Each client has connections of its own to the upstream, kept ones, too.
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
            let mut client = Client::connect(front.address()).expect("it listens");
            client.send(format!("PROXY TCP4 {address} 192.0.2.9 123 80\r\n")).expect("room");
            for _ in 0..2 {
                let answer = client.exchange(&Request::get("/asked")).expect("an answer");
                assert_eq!(answer.status(), 200, "{version} {address}");
            }
            let told = origin.requests().pop().expect("a request");
            assert_eq!(told.header("x-real-ip"), Some(address), "{version}");
        }
    }
}

#[test]
fn who_is_no_such_proxy_gets_nothing() {
    let (origin, robin) = behind_a_proxy("192.0.2.0/24");
    let mut stranger = Client::connect(robin.address()).expect("it listens");
    stranger.send("PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n").expect("room");
    assert!(stranger.exchange(&Request::get("/")).is_err());
    let (_, robin) = behind_a_proxy("127.0.0.1");
    let mut bare = Client::connect(robin.address()).expect("it listens");
    assert!(bare.exchange(&Request::get("/")).is_err(), "a header is missing");
    assert_eq!(origin.count(), 0);
}
