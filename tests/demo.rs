//! `robin demo`: the whole stack in one process.

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use common::client::{Client, Request, answered_by, get};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use tokio::time::Instant;

/// A free port of 127.0.0.1, below those that the kernel gives to clients.
fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut candidates = (0..100).map(|_| fastrand::u16(10_000..30_000));
    candidates.find(free).expect("one of a hundred ports is free")
}

fn demo(replicas: &str) -> (SocketAddr, Robin) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let port = address.port().to_string();
    let robin = Robin::run(&["demo", "--replicas", replicas, "--port", &port]);
    let robin = robin.listening(address);
    robin.wait_for_line(Output::Stdout, &[&format!("http://localhost:{port}/")]);
    (address, robin)
}

#[test]
fn the_page_is_served_and_six_requests_come_from_three_replicas_in_turn() {
    let (address, _robin) = demo("3");
    let page = get(address, "/");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("dynamic-content"), "{}", page.text());
    for file in ["/style.css", "/app.js", "/robin.svg"] {
        assert_eq!(get(address, file).status(), 200, "{file}");
    }
    assert_eq!(get(address, "/api/hello").text(), "Hello, World!");
    let answers = answered_by(address, "/api/hello", 6);
    let mut turn = answers[..3].to_vec();
    assert_eq!(answers[3..], turn);
    turn.sort_unstable();
    assert_eq!(turn, ["replica-1", "replica-2", "replica-3"]);
}

#[test]
fn a_replica_that_is_stopped_on_stdin_is_left_out_until_it_is_started() {
    let (address, mut robin) = demo("3");
    robin.enter("2");
    robin.wait_for_line(Output::Stdout, &["replica 2 stopped"]);
    let answers = answered_by(address, "/api/hello", 9);
    assert!(answers.iter().all(|a| a == "replica-1" || a == "replica-3"), "{answers:?}");
    robin.wait_for_line(Output::Stderr, &["health dashboard: ", "back-end 2/3 up"]);

    robin.enter("2");
    robin.wait_for_line(Output::Stdout, &["replica 2 started"]);
    eventually("it serves again", PATIENCE, || {
        answered_by(address, "/api/hello", 3).contains(&"replica-2".to_owned())
    });
    robin.enter("4");
    robin.wait_for_line(Output::Stdout, &["`4` is not the number of a replica, 1 to 3"]);
}

#[test]
fn with_every_replica_stopped_the_page_says_why() {
    let (address, mut robin) = demo("2");
    for replica in ["1", "2"] {
        robin.enter(replica);
        robin.wait_for_line(Output::Stdout, &[&format!("replica {replica} stopped")]);
    }
    let answer = get(address, "/api/hello");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("Reason: "), "{}", answer.text());
    assert_eq!(get(address, "/").status(), 200);
}

#[test]
fn answers_are_not_held_back() {
    let (address, _robin) = demo("3");
    let mut client = Client::connect(address).expect("robin listens");
    let times = (0..100).map(|_| {
        let begin = Instant::now();
        let answer = client.exchange(&Request::get("/api/hello")).expect("an answer");
        assert_eq!(answer.status(), 200);
        begin.elapsed()
    });
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    // Waiting for a delayed acknowledgement takes 40 ms each time; a busy machine, only sometimes.
    assert!(times[50] < Duration::from_millis(40), "{times:?}");
}

#[test]
fn it_ends_at_once_although_stdin_is_open() {
    let (_, mut robin) = demo("2");
    robin.signal(Signal::SIGINT);
    assert_eq!(robin.wait_exit(Duration::from_secs(3)).0.code(), Some(0));
}

#[test]
fn a_port_in_use_is_told_and_ends_it_although_stdin_is_open() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let mut robin = Robin::run(&["demo", "--port", &address.port().to_string()]);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(1));
    let printed = robin.text(Output::Stderr);
    assert!(printed.contains(&format!("cannot listen on {address}")), "{printed}");
    assert!(printed.contains("--port"), "{printed}");
}

#[test]
fn it_goes_on_when_nobody_reads_what_it_prints() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let (program, port) = (env!("CARGO_BIN_EXE_robin"), address.port());
    let robin = Robin::of_shell(&format!("exec {program} demo --port {port} >/dev/full"));
    let robin = robin.listening(address);
    robin.wait_for_line(Output::Stderr, &["started version="]);
    assert_eq!(get(address, "/api/hello").status(), 200);
}
