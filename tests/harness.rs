//! Whether the scripted origins and the raw client do what the tests that use them rely on.

mod common;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use common::client::{Client, Request, exchange, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Blackhole, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use tokio::time::Instant;

#[test]
fn replicas_share_a_port_and_answer_with_their_names() {
    let addresses = replicas(3);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    for (origin, address) in origins.iter().zip(&addresses) {
        let response = get(*address, "/api/hello?x=1");
        assert_eq!((response.status(), response.text().as_str()), (200, "ok\n"));
        assert_eq!(response.header("x-replica"), Some(address.to_string().as_str()));
        assert_eq!(origin.requests()[0].target(), "/api/hello?x=1");
    }
    assert!(addresses.iter().all(|a| a.port() == addresses[0].port()));
}

#[test]
fn an_origin_refuses_and_listens_again() {
    let mut origin = Origin::start(free_address(), Behaviour::ok());
    let mut idle = Client::connect(origin.address()).expect("it listens");
    origin.set(Behaviour::Refuse);
    assert!(idle.is_closed());
    let refused = Client::connect(origin.address()).err().expect("it refuses");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    origin.set(Behaviour::ok());
    assert_eq!(get(origin.address(), "/").status(), 200);
}

#[test]
fn connections_are_kept_counted_and_pipelined() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let mut client = Client::connect(origin.address()).expect("it listens");
    let twice = [Request::get("/1").bytes(), Request::get("/2").bytes()].concat();
    client.send(twice).expect("sent");
    assert_eq!(client.response().expect("the first").status(), 200);
    assert_eq!(client.response().expect("the second").status(), 200);
    assert_eq!(client.exchange(&Request::new("HEAD", "/3")).expect("the third").body, b"");
    assert_eq!((origin.connections(), origin.count()), (1, 3));
    assert_eq!(origin.open_connections(), 1);
    drop(client);
    eventually("the connection ends", PATIENCE, || origin.open_connections() == 0);
}

#[test]
fn what_was_received_is_echoed() {
    let origin = Origin::start(free_address(), Behaviour::Echo);
    let body = "0123456789".repeat(300);
    for request in [Request::post("/form", body.clone()), Request::post_chunked("/form", body)] {
        let response = exchange(origin.address(), &request.header("X-Test", "a b"));
        let text = response.expect("an answer").text();
        assert!(text.starts_with("POST /form HTTP/1.1\r\nHost: test\r\n"), "{text}");
        assert!(text.contains("\r\nX-Test: a b\r\n"), "{text}");
        assert!(text.ends_with("0123456789"), "{text}");
        let received = origin.requests();
        assert_eq!(received.last().expect("a request").body.len(), 3000);
    }
    assert!(origin.received() > 6000);
}

#[test]
fn answers_come_slow_chunked_and_with_any_status() {
    let mut origin = Origin::start(free_address(), Behaviour::ok());
    let slow =
        Reply { chunked: true, pace: Duration::from_millis(20), ..Reply::new("x".repeat(5000)) };
    origin.set(Behaviour::Answer(slow.after(Duration::from_millis(50)).header("X-One", "1")));
    let begin = Instant::now();
    let response = get(origin.address(), "/");
    assert!(begin.elapsed() >= Duration::from_millis(130), "{:?}", begin.elapsed());
    assert_eq!(response.body.len(), 5000);
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    assert_eq!(response.header("x-one"), Some("1"));

    let old =
        exchange(origin.address(), &Request::get("/").version("HTTP/1.0")).expect("an answer");
    assert_eq!((old.body.len(), old.header("transfer-encoding")), (5000, None));

    origin.set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    assert_eq!(get(origin.address(), "/healthz?x").status(), 503);
    origin.set(Behaviour::Answer(Reply::status(204)));
    let mut client = Client::connect(origin.address()).expect("it listens");
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 204);
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 204);
}

#[test]
fn origins_break_in_every_way() {
    let mut origin = Origin::start(free_address(), Behaviour::Close);
    let error = |origin: &Origin| {
        let mut client = Client::connect(origin.address()).expect("it listens");
        client = client.with_limit(Duration::from_millis(300));
        client.exchange(&Request::get("/")).expect_err("no whole answer").kind()
    };
    assert_eq!(error(&origin), ErrorKind::UnexpectedEof);
    origin.set(Behaviour::close_mid_body());
    assert_eq!(error(&origin), ErrorKind::UnexpectedEof);
    origin.set(Behaviour::Reset);
    assert_eq!(error(&origin), ErrorKind::ConnectionReset);
    origin.set(Behaviour::Hang);
    assert!(matches!(error(&origin), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    origin.set(Behaviour::Raw(b"HTTP/1.1 200 OK\r\nBad\r\n\r\nto the end".to_vec()));
    assert_eq!(get(origin.address(), "/").text(), "to the end");
}

#[test]
fn an_origin_that_hangs_or_waits_ends_at_once_when_dropped() {
    let addresses = replicas(2);
    let late = Behaviour::Answer(Reply::new("late").after(Duration::from_secs(60)));
    let origins = [Origin::start(addresses[0], Behaviour::Hang), Origin::start(addresses[1], late)];
    let clients = addresses.iter().map(|address| {
        let mut client = Client::connect(*address).expect("it listens");
        client.send(Request::get("/").bytes()).expect("sent");
        client
    });
    let clients: Vec<_> = clients.collect();
    eventually("both have read", PATIENCE, || origins.iter().all(|o| o.count() == 1));
    let begin = Instant::now();
    drop(origins);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(clients);
}

#[test]
fn a_blackhole_neither_accepts_nor_refuses() {
    let blackhole = Blackhole::start(free_address());
    for _ in 0..3 {
        let connect = TcpStream::connect_timeout(&blackhole.address(), Duration::from_millis(300));
        assert_eq!(connect.expect_err("no connection").kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn idle_connections_are_closed_at_random_times() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    origin.close_idle(Duration::from_millis(10)..Duration::from_millis(50));
    let mut client = Client::connect(origin.address()).expect("it listens");
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    assert!(client.is_closed());
}

#[test]
fn an_upgraded_connection_echoes_bytes() {
    let origin = Origin::start(free_address(), Behaviour::Upgrade);
    let mut client = Client::connect(origin.address()).expect("it listens");
    let request =
        Request::get("/ws").header("Connection", "upgrade").header("Upgrade", "websocket");
    let response = client.exchange(&request).expect("an answer");
    assert_eq!((response.status(), response.header("upgrade")), (101, Some("websocket")));
    client.send("ping").expect("sent");
    assert_eq!(client.bytes(4).expect("an echo"), b"ping");
}

#[test]
fn what_the_binary_prints_is_kept_until_it_ends() {
    let mut robin = Robin::spawn("", &["--version"], &[]);
    robin.wait_for_line(Output::Stdout, &["robin", env!("CARGO_PKG_VERSION")]);
    let (status, _) = robin.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(robin.stdout_has("robin") && robin.printed(Output::Stderr).is_empty());
}
