//! What becomes of the connections to a peer that leaves or is not what it was.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::client::{Client, Request, get};
use common::dns::{Answer, DnsServer};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

/// Two replicas behind one name, whose connections are kept for long, and robin before them.
struct Service {
    dns: DnsServer,
    origins: Vec<Origin>,
    listen: SocketAddr,
    robin: Robin,
}

impl Service {
    fn new(behaviour: Behaviour, settings: &str) -> Self {
        let origins: Vec<_> =
            replicas(2).into_iter().map(|a| Origin::start(a, behaviour.clone())).collect();
        let (dns, listen) = (DnsServer::start(), free_address());
        dns.set("api.test", addresses(&origins));
        let port = origins[0].address().port();
        let robin = Robin::start(
            listen,
            &format!(
                "listen: {listen}\nresolver: {{ servers: {}, timeout: 500ms }}\nupstreams:\n  \
                 back-end: {{ servers: [api.test:{port}], refresh: 100ms, \
                 keepalive: {{ idle: 60s }}, {settings} }}\nroutes: {{ /: back-end }}\n",
                dns.address()
            ),
        );
        Self { dns, origins, listen, robin }
    }

    /// DNS knows only the first replica any more.
    fn drop_second(&self) {
        self.dns.set("api.test", addresses(&self.origins[..1]));
    }

    /// A request that the second replica has.
    fn in_flight_on_second(&self) -> Client {
        loop {
            let before = self.origins[1].count();
            let mut client = Client::connect(self.listen).expect("it listens");
            client.send(Request::get("/slow").bytes()).expect("sent");
            let first = self.origins[0].count();
            eventually("a replica has it", PATIENCE, || {
                self.origins[1].count() > before || self.origins[0].count() > first
            });
            if self.origins[1].count() > before {
                return client;
            }
        }
    }
}

fn addresses(origins: &[Origin]) -> Answer {
    let v4 = |origin: &Origin| match origin.address() {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    };
    let addresses: Vec<Ipv4Addr> = origins.iter().map(v4).collect();
    Answer::A(addresses)
}

#[test]
fn idle_connections_to_a_peer_that_leaves_are_closed_at_once() {
    let service = Service::new(Behaviour::ok(), "");
    for _ in 0..4 {
        assert_eq!(get(service.listen, "/").status(), 200);
    }
    let post = Request::post("/", "a=b");
    for _ in 0..4 {
        let mut client = Client::connect(service.listen).expect("it listens");
        assert_eq!(client.exchange(&post).expect("an answer").status(), 200);
    }
    assert!(service.origins[1].open_connections() > 0);
    service.drop_second();
    eventually("they are closed", PATIENCE, || service.origins[1].open_connections() == 0);
    assert!(service.origins[0].open_connections() > 0, "those to the other one are kept");
}

#[test]
fn what_is_in_flight_on_a_peer_that_leaves_finishes_and_its_connection_is_not_kept() {
    let service = Service::new(Behaviour::ok(), "");
    // The pieces of its body come one by one while the peer leaves.
    let body = Reply { pace: Duration::from_millis(300), ..Reply::new([b'x'; 5000]) };
    for origin in &service.origins {
        origin.set_path("/slow", Behaviour::Answer(body.clone()));
    }
    let mut client = service.in_flight_on_second();
    service.drop_second();
    let name = service.origins[1].address().to_string();
    service.robin.wait_for_line(Output::Stderr, &["peer left", &name]);
    let answer = client.response().expect("the whole answer");
    assert_eq!((answer.status(), answer.body.len()), (200, 5000));
    eventually("it is closed", PATIENCE, || service.origins[1].open_connections() == 0);
}

#[test]
fn what_is_in_flight_on_a_peer_that_leaves_is_cut_off_after_drain_timeout() {
    let service = Service::new(Behaviour::ok(), "drain_timeout: 200ms");
    for origin in &service.origins {
        let endless = Reply { pace: Duration::from_secs(60), ..Reply::new([b'x'; 5000]) };
        origin.set_path("/slow", Behaviour::Answer(endless));
    }
    let mut client = service.in_flight_on_second();
    service.drop_second();
    let name = service.origins[1].address().to_string();
    service.robin.wait_for_line(Output::Stderr, &["peer cut off", &name, "connections=1"]);
    client.response().expect_err("the answer is cut");
}

#[test]
fn a_request_without_an_answer_on_a_peer_that_leaves_goes_to_another_after_drain_timeout() {
    let service = Service::new(Behaviour::ok(), "drain_timeout: 200ms");
    service.origins[1].set_path("/slow", Behaviour::Hang);
    let mut client = service.in_flight_on_second();
    service.drop_second();
    let answer = client.response().expect("an answer");
    let first = service.origins[0].address().to_string();
    assert_eq!((answer.status(), answer.header("x-replica")), (200, Some(first.as_str())));
    let line = service.robin.wait_for_line(Output::Stdout, &["given up: the peer has left DNS"]);
    assert!(line.contains(&first), "{line}");
    eventually("it is closed", PATIENCE, || service.origins[1].open_connections() == 0);
}

#[test]
fn a_peer_that_resets_a_connection_is_probed_at_once() {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let server = |a| format!("{{ address: \"{a}\", max_fails: 0 }}");
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{}, {}], health_check: {{ http: /healthz, every: 600s }} }} \
         }}\nretry: {{ budget: off }}\nroutes: {{ /: api }}",
        server(addresses[0]),
        server(addresses[1])
    ));
    let probes = |origin: &Origin| {
        origin.requests().iter().filter(|r| r.target().starts_with("/healthz")).count()
    };
    eventually("both were probed", PATIENCE, || origins.iter().all(|o| probes(o) == 1));
    origins[0].set_path("/reset", Behaviour::Reset);
    eventually("the first one is probed again", PATIENCE, || {
        assert_eq!(get(robin.address(), "/reset").status(), 200);
        probes(&origins[0]) > 1
    });
    let name = addresses[0].to_string();
    robin.wait_for_line(Output::Stderr, &["peer waits for a probe", &name]);
    eventually("it serves again", PATIENCE, || get(robin.address(), "/").replica() == name);
    assert_eq!(probes(&origins[1]), 1);
}

#[test]
fn connections_of_before_are_not_used_once_one_of_them_was_reset() {
    let origin = Origin::start(replicas(1)[0], Behaviour::ok());
    origin.set_path("/reset", Behaviour::Reset);
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\"], keepalive: {{ idle: 60s }} }} }}\n\
         routes: {{ /: api }}",
        origin.address()
    ));
    let slow = Reply::new("late").after(Duration::from_millis(200));
    origin.set_path("/slow", Behaviour::Answer(slow));
    let mut clients = [(); 3].map(|()| Client::connect(robin.address()).expect("it listens"));
    for client in &mut clients {
        client.send(Request::get("/slow").bytes()).expect("sent");
    }
    for client in &mut clients {
        assert_eq!(client.response().expect("an answer").status(), 200);
    }
    assert_eq!(origin.open_connections(), 3);
    assert_eq!(get(robin.address(), "/reset").status(), 502);
    eventually("all are closed", PATIENCE, || origin.open_connections() == 0);
}
