//! Requests that wait while every peer is at `max_conns`.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::client::{Client, Request, get};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

/// Robin before one origin that takes one request at a time; one for `/hang` is never answered.
struct Narrow {
    origin: Origin,
    robin: Robin,
    listen: SocketAddr,
}

impl Narrow {
    fn origin() -> Origin {
        let reply = Reply::new("ok\n").after(Duration::from_millis(5));
        let origin = Origin::start(free_address(), Behaviour::Answer(reply));
        origin.set_path("/hang", Behaviour::Hang);
        origin
    }

    fn new(queue: &str) -> Self {
        let (origin, listen) = (Self::origin(), free_address());
        let robin = Robin::start(
            listen,
            &format!(
                "listen: {listen}\nthreads: 2\nerror_details: on\nupstreams:\n  back-end:\n    \
                 queue: {queue}\n    servers: [{{ address: \"{}\", max_conns: 1 }}]\n\
                 routes: {{ /: back-end }}\n",
                origin.address()
            ),
        );
        Self { origin, robin, listen }
    }

    fn nginx(queue: &str) -> Self {
        let (origin, listen) = (Self::origin(), free_address());
        let robin = Robin::nginx(
            listen,
            &format!(
                "upstream back-end {{ server {} max_conns=1; {queue} }}\n\
                 server {{ listen {listen}; location / {{ proxy_pass http://back-end; }} }}\n",
                origin.address()
            ),
        );
        Self { origin, robin, listen }
    }

    /// A client that has asked for this and reads nothing yet.
    fn client(&self, target: &str) -> Client {
        let mut client = Client::connect(self.listen).expect("it listens");
        client.send(Request::get(target).bytes()).expect("it reads");
        client
    }

    /// A client whose request the origin has and never answers.
    fn hang(&self) -> Client {
        let client = self.client("/hang");
        eventually("the origin has the request", PATIENCE, || self.origin.count() == 1);
        client
    }

    /// The statuses of this many requests at once, in order.
    fn statuses(&self, count: usize) -> Vec<u16> {
        let mut clients: Vec<Client> = (0..count).map(|_| self.client("/")).collect();
        let answers = clients.iter_mut().map(|client| client.response().expect("an answer"));
        let mut statuses: Vec<u16> = answers.map(|answer| answer.status()).collect();
        statuses.sort_unstable();
        statuses
    }
}

#[test]
fn twenty_clients_share_a_peer_that_takes_one_at_a_time() {
    let narrow = Narrow::new("100");
    assert_eq!(narrow.statuses(20), [200; 20]);
    assert_eq!((narrow.origin.count(), narrow.origin.most_at_once()), (20, 1));
}

#[test]
fn queue_is_nginx_s_word_for_it() {
    let narrow = Narrow::nginx("queue 100 timeout=10s;");
    assert_eq!(narrow.statuses(20), [200; 20]);
    assert_eq!((narrow.origin.count(), narrow.origin.most_at_once()), (20, 1));
}

#[test]
fn without_a_queue_there_is_no_room_for_a_second() {
    let narrow = Narrow::nginx("");
    let _hanging = narrow.hang();
    assert_eq!(narrow.statuses(3), [502; 3]);
    narrow.robin.wait_for_line(Output::Stdout, &[" 502 ", "1 peer, 1 full"]);
}

#[test]
fn as_many_wait_as_may_and_the_others_are_told_at_once() {
    let narrow = Narrow::new("5");
    let hanging = narrow.hang();
    // Five wait: who comes now is refused, whichever of them that is.
    let mut clients: Vec<Client> = (0..9).map(|_| narrow.client("/")).collect();
    let refused = || narrow.robin.count_lines(Output::Stdout, &[" 503 "]);
    eventually("four are refused", PATIENCE, || refused() == 4);
    let line = narrow.robin.wait_for_line(Output::Stdout, &[" 503 "]);
    assert!(line.contains("1 peer, 1 full, and 5 requests are queued already"), "{line}");
    drop(hanging);
    let answers = clients.iter_mut().map(|client| client.response().expect("an answer"));
    let mut statuses: Vec<u16> = answers.map(|answer| answer.status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503, 503, 503]);
}

#[test]
fn who_waits_in_vain_is_told_for_how_long_it_was() {
    let narrow = Narrow::new("{ max: 5, timeout: 300ms }");
    let _hanging = narrow.hang();
    let answer = get(narrow.listen, "/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("queued for 300ms, 1 peer, 1 full"), "{}", answer.text());
    narrow.robin.wait_for_line(Output::Stdout, &[" 502 ", "queued for 300ms"]);
}

#[test]
fn clients_that_hang_up_leave_the_queue_and_never_reach_the_peer() {
    let narrow = Narrow::new("50");
    let hanging = narrow.hang();
    for round in 1..=3 {
        // As many as may wait do so once one more is refused.
        let waiting: Vec<Client> = (0..51).map(|_| narrow.client("/")).collect();
        let refused = || narrow.robin.count_lines(Output::Stdout, &[" 503 "]);
        eventually("the queue is full", PATIENCE, || refused() == round);
        drop(waiting);
        let gone = || narrow.robin.count_lines(Output::Stdout, &["\"GET / HTTP/1.1\" 499 "]);
        eventually("all have left", PATIENCE, || gone() == round * 50);
    }
    assert_eq!(narrow.origin.count(), 1);
    drop(hanging);
    assert_eq!(narrow.statuses(10), [200; 10]);
    assert_eq!(narrow.origin.most_at_once(), 1);
}

#[test]
fn a_request_with_a_body_waits_as_well() {
    let narrow = Narrow::new("5");
    let hanging = narrow.hang();
    let mut client = Client::connect(narrow.listen).expect("it listens");
    client.send(Request::post("/", vec![b'x'; 100_000]).bytes()).expect("it reads");
    let gone = {
        let mut client = Client::connect(narrow.listen).expect("it listens");
        client.send(Request::post("/", "short").bytes()).expect("it reads");
        client
    };
    drop(gone);
    narrow.robin.wait_for_line(Output::Stdout, &["\"POST / HTTP/1.1\" 499 "]);
    drop(hanging);
    assert_eq!(client.response().expect("an answer").status(), 200);
    assert_eq!(narrow.origin.requests()[1].body.len(), 100_000);
    assert_eq!(narrow.origin.count(), 2);
}
