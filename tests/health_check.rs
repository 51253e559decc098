//! Probes of the running process: who is taken out, who is let in, and what a probe sends.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::client::{answered_by, get};
use common::dns::{Answer, DnsServer};
use common::net::{free_address, is_free, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::stack::before_a_name;
use common::{PATIENCE, eventually};

/// Robin before one origin for each address, probed as `check` says.
fn start(count: usize, check: &str) -> (SocketAddr, Vec<Origin>, Robin) {
    let addresses = replicas(count);
    let origins = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let (listen, robin) = before(&addresses, check);
    (listen, origins, robin)
}

fn before(addresses: &[SocketAddr], check: &str) -> (SocketAddr, Robin) {
    let listen = free_address();
    let servers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let yaml = format!(
        "listen: {listen}\nerror_details: on\nupstreams:\n  back-end:\n    servers: [{}]\n    \
         health_check: {check}\n    panic: off\nroutes: {{ /: back-end }}\n",
        servers.join(", ")
    );
    let robin = Robin::start(listen, &yaml);
    // By then each peer was probed once, or a second has passed.
    robin.wait_for_line(Output::Stderr, &["started version="]);
    (listen, robin)
}

/// Waits until this was told of a peer so many times.
#[track_caller]
fn told(robin: &Robin, phrase: &str, peer: &str, times: usize) {
    eventually(phrase, PATIENCE, || {
        robin.count_lines(Output::Stderr, &[phrase, "upstream=back-end", peer]) >= times
    });
}

fn probes(origin: &Origin) -> usize {
    origin.requests().iter().filter(|r| r.target().starts_with("/healthz")).count()
}

const QUICK: &str = "{ http: /healthz, every: 100ms, fall: 1 }";

#[test]
fn a_failing_probe_takes_a_peer_out_and_a_passing_one_brings_it_back() {
    let (listen, origins, robin) = start(2, QUICK);
    let [first, second] = [0, 1].map(|index: usize| origins[index].address().to_string());
    origins[0].set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    robin.wait_for_line(
        Output::Stderr,
        &["WARN peer fails probes upstream=back-end", &first, "503"],
    );
    assert_eq!(answered_by(listen, "/", 4), vec![second; 4]);
    robin.wait_for_line(Output::Stderr, &["health dashboard: back-end 1/2 up"]);

    origins[0].set_path("/healthz", Behaviour::ok());
    told(&robin, "INFO peer passes probes", &first, 2);
    eventually("it serves", PATIENCE, || get(listen, "/").replica() == first);
}

#[test]
fn with_every_peer_failing_the_page_says_so() {
    let (listen, origins, robin) = start(2, QUICK);
    for origin in &origins {
        origin.set_path("/healthz", Behaviour::Close);
        let peer = format!("peer={}", origin.address());
        robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer]);
    }
    let answer = get(listen, "/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("2 peers, 2 failing probes"), "{}", answer.text());
}

#[test]
fn a_probe_that_hangs_has_failed_after_its_timeout() {
    let (_, origins, robin) = start(2, "{ http: /healthz, every: 100ms, timeout: 200ms, fall: 2 }");
    origins[1].set_path("/healthz", Behaviour::Hang);
    let peer = format!("peer={}", origins[1].address());
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer, "no answer within 200ms"]);
}

#[test]
fn rise_passes_in_a_row_bring_a_peer_back() {
    let (_, origins, robin) = start(2, "{ http: /healthz, every: 100ms, fall: 1, rise: 3 }");
    origins[0].set_path("/healthz", Behaviour::Answer(Reply::status(500)));
    let peer = format!("peer={}", origins[0].address());
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer]);
    let before = probes(&origins[0]);
    origins[0].set_path("/healthz", Behaviour::ok());
    told(&robin, "peer passes probes", &peer, 2);
    assert!(probes(&origins[0]) >= before + 3);
}

#[test]
fn a_new_peer_gets_no_traffic_before_its_first_probe_has_passed() {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let dns = DnsServer::start();
    dns.set("api.test", Answer::of(&addresses[..1]));
    let (listen, robin) = before_a_name(&dns, addresses[0].port());
    let [first, second] = [0, 1].map(|index: usize| addresses[index].to_string());
    eventually("the first one serves", PATIENCE, || get(listen, "/").replica() == first);

    origins[1].set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    dns.set("api.test", Answer::of(&addresses));
    robin.wait_for_line(Output::Stderr, &["peer joined", &second]);
    assert_eq!(answered_by(listen, "/", 6), vec![first; 6]);
    eventually("it is probed", PATIENCE, || probes(&origins[1]) >= 2);
    assert_eq!(origins[1].count(), probes(&origins[1]));

    origins[1].set_path("/healthz", Behaviour::ok());
    eventually("it serves", PATIENCE, || get(listen, "/").replica() == second);
}

#[test]
fn while_no_peer_has_passed_one_is_tried() {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    for origin in &origins {
        origin.set_path("/healthz", Behaviour::Hang);
    }
    let (listen, _robin) = before(&addresses, "{ http: /healthz, every: 60s, timeout: 60s }");
    assert_eq!(get(listen, "/").status(), 200);
}

#[test]
fn status_and_body_decide_whether_a_probe_passes() {
    let check =
        "{ http: \"/healthz?deep=1\", every: 100ms, fall: 1, status: 200-204, body: ready }";
    let (_, origins, robin) = start(2, check);
    let peer = |index: usize| format!("peer={}", origins[index].address());
    let ready =
        |status: u16| Behaviour::Answer(Reply { status, ..Reply::new("the service is ready\n") });
    // "ok" is not what is asked for.
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer(0), "body"]);
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer(1), "body"]);
    origins[0].set_path("/healthz", ready(200));
    robin.wait_for_line(Output::Stderr, &["peer passes probes", &peer(0)]);
    origins[1].set_path("/healthz", ready(302));
    let before = probes(&origins[1]);
    eventually("it was probed on", PATIENCE, || probes(&origins[1]) > before + 2);
    assert_eq!(robin.count_lines(Output::Stderr, &["peer passes probes", &peer(1)]), 0);
}

#[test]
fn a_probe_asks_for_the_path_with_the_host_it_is_told() {
    let (_, origins, _robin) =
        start(1, "{ http: \"/healthz?x=1\", every: 100ms, host: api.example }");
    eventually("it is probed", PATIENCE, || probes(&origins[0]) > 0);
    let probe = origins[0].requests()[0].clone();
    assert_eq!((probe.method(), probe.target()), ("GET", "/healthz?x=1"));
    assert_eq!(probe.header("host"), Some("api.example"));
}

#[test]
fn a_probe_may_go_to_a_port_of_its_own() {
    // Two addresses with a port in common: the probed one and, at another port, the serving one.
    let address = free_address();
    let serving = Origin::start(address, Behaviour::ok());
    let other = (10_000..30_000)
        .map(|port| SocketAddr::new(address.ip(), port))
        .find(|a| a.port() != address.port() && is_free(*a))
        .expect("a free port");
    let probed = Origin::start(other, Behaviour::Answer(Reply::status(503)));
    let check = format!("{{ http: /healthz, every: 100ms, fall: 1, port: {} }}", other.port());
    let (listen, robin) = before(&[address], &check);
    let peer = format!("peer={address}");
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer]);
    assert_eq!(get(listen, "/").status(), 502);
    assert_eq!((probes(&serving), probes(&probed) > 0), (0, true));
}

#[test]
fn a_connect_is_enough_for_a_tcp_probe() {
    let (listen, mut origins, robin) = start(2, "{ tcp: on, every: 100ms, fall: 1 }");
    let second = origins[1].address().to_string();
    origins[0].set(Behaviour::Refuse);
    let first = format!("peer={}", origins[0].address());
    robin.wait_for_line(Output::Stderr, &["peer fails probes", &first]);
    assert_eq!(answered_by(listen, "/", 4), vec![second; 4]);
    origins[0].set(Behaviour::ok());
    told(&robin, "peer passes probes", &first, 2);
}

#[test]
fn a_peer_that_is_gone_from_dns_serves_while_a_probe_reaches_it() {
    let address = free_address();
    let mut origin = Origin::start(address, Behaviour::ok());
    let dns = DnsServer::start();
    dns.set("api.test", Answer::of(&[address]));
    let listen = free_address();
    let yaml = format!(
        "listen: {listen}\nerror_details: on\nresolver: {}\nupstreams:\n  back-end:\n    servers: \
         [api.test:{}]\n    refresh: 100ms\n    health_check: {{ http: /healthz, every: 100ms }}\n\
         routes: {{ /: back-end }}\n",
        dns.address(),
        address.port()
    );
    let robin = Robin::start(listen, &yaml);
    eventually("it serves", PATIENCE, || get(listen, "/").status() == 200);
    dns.set("api.test", Answer::NxDomain);
    robin.wait_for_line(Output::Stderr, &["absent peer reached by probe", "upstream=back-end"]);
    assert_eq!(get(listen, "/").status(), 200);
    origin.set(Behaviour::Refuse);
    eventually("the page says why", Duration::from_secs(4), || {
        let answer = get(listen, "/");
        answer.status() == 502 && answer.text().contains("no such name (NXDOMAIN)")
    });
}
