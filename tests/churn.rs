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
