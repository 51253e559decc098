//! What happens when replicas fail under traffic: the next one answers, and the sick one rests.

mod common;

use std::net::SocketAddr;

use common::client::{Request, answered_by, exchange, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

/// Robin before one origin for each address; `rest` is added to each server line.
fn start(count: usize, rest: &str) -> (SocketAddr, Vec<Origin>, Robin) {
    let (listen, addresses) = (free_address(), replicas(count));
    let origins = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let mut yaml = format!("listen: {listen}\nerror_details: on\nupstreams:\n  back-end:\n");
    yaml += "    servers:\n";
    for address in &addresses {
        yaml += &format!("      - {{ address: \"{address}\"{rest} }}\n");
    }
    yaml += "routes:\n  /: back-end\n";
    let robin = Robin::start(listen, &yaml);
    (listen, origins, robin)
}

#[test]
fn one_failed_connect_ejects_a_peer_and_costs_no_request() {
    let (listen, mut origins, robin) = start(3, "");
    origins[1].set(Behaviour::Refuse);
    let (first, third) = (origins[0].address().to_string(), origins[2].address().to_string());
    for name in answered_by(listen, "/", 6) {
        assert!(name == first || name == third, "{name}");
    }
    let peer = format!("peer={}", origins[1].address());
    let ejected = ["peer ejected", "upstream=back-end", &peer, "fails=1", "for=10s"];
    robin.wait_for_line(Output::Stderr, &ejected);
    assert_eq!(robin.count_lines(Output::Stderr, &ejected), 1);
    // Both attempts are in the line of the request that found out.
    let attempts = format!("attempts=\"{} - ", origins[1].address());
    robin.wait_for_line(Output::Stdout, &[" 200 ", &attempts, "connection refused, "]);
}

#[test]
fn a_post_goes_to_the_next_peer_when_no_connection_could_be_made() {
    let (listen, mut origins, _robin) = start(2, "");
    origins[0].set(Behaviour::Refuse);
    let answer = exchange(listen, &Request::post("/", "x=1")).expect("an answer");
    assert_eq!(answer.replica(), origins[1].address().to_string());
    assert_eq!(origins[1].requests()[0].body, b"x=1");
}

#[test]
fn a_peer_that_breaks_off_answers_rests_for_fail_timeout() {
    let (listen, mut origins, robin) = start(2, ", fail_timeout: 1s");
    origins[0].set(Behaviour::Close);
    let second = origins[1].address().to_string();
    assert_eq!(answered_by(listen, "/", 4), vec![second; 4]);
    assert_eq!(origins[0].count(), 1);
    let peer = format!("peer={}", origins[0].address());
    robin.wait_for_line(Output::Stderr, &["peer ejected", &peer, "fails=1", "for=1s"]);

    origins[0].set(Behaviour::ok());
    let first = origins[0].address().to_string();
    eventually("it is tried again", PATIENCE, || get(listen, "/").replica() == first);
    robin.wait_for_line(Output::Stderr, &["peer readmitted", &peer]);
}

#[test]
fn max_fails_are_allowed_before_a_peer_is_ejected() {
    let (listen, mut origins, robin) = start(2, ", max_fails: 3, fail_timeout: 60s");
    origins[0].set(Behaviour::Close);
    let second = origins[1].address().to_string();
    assert_eq!(answered_by(listen, "/", 12), vec![second; 12]);
    assert_eq!(origins[0].count(), 3);
    robin.wait_for_line(Output::Stderr, &["peer ejected", "fails=3", "for=1m00s"]);
}

#[test]
fn max_fails_of_zero_never_ejects() {
    let (listen, mut origins, robin) = start(2, ", max_fails: 0");
    origins[0].set(Behaviour::Close);
    let second = origins[1].address().to_string();
    assert_eq!(answered_by(listen, "/", 6), vec![second; 6]);
    assert!(origins[0].count() >= 3, "{} attempts", origins[0].count());
    assert!(!robin.stderr_has("peer ejected"));
}

#[test]
fn with_every_peer_ejected_one_is_tried_for_each_request() {
    let (listen, mut origins, robin) = start(2, ", fail_timeout: 60s");
    for origin in &mut origins {
        origin.set(Behaviour::Close);
    }
    assert_eq!(get(listen, "/").status(), 502);
    for origin in &origins {
        let peer = format!("peer={}", origin.address());
        robin.wait_for_line(Output::Stderr, &["peer ejected", &peer]);
    }
    let attempts = |origins: &[Origin]| origins.iter().map(Origin::count).sum::<usize>();
    let before = attempts(&origins);
    assert_eq!(get(listen, "/").status(), 502);
    assert!(attempts(&origins) > before, "nobody was tried");

    origins[1].set(Behaviour::ok());
    let second = origins[1].address().to_string();
    assert_eq!(answered_by(listen, "/", 4), vec![second; 4]);
}

#[test]
fn a_lone_peer_is_never_ejected() {
    let (listen, mut origins, robin) = start(1, ", fail_timeout: 60s");
    origins[0].set(Behaviour::Close);
    assert_eq!(answered_by(listen, "/", 5), vec!["502"; 5]);
    assert_eq!(origins[0].count(), 5);
    origins[0].set(Behaviour::Refuse);
    assert_eq!(answered_by(listen, "/", 2), vec!["502"; 2]);
    origins[0].set(Behaviour::ok());
    assert_eq!(get(listen, "/").status(), 200);
    assert!(!robin.stderr_has("peer ejected"));
}

#[test]
fn errors_that_a_peer_answers_with_are_answers() {
    let (listen, mut origins, robin) = start(2, "");
    origins[0].set(Behaviour::Answer(Reply::status(500)));
    let answers: Vec<u16> = (0..4).map(|_| get(listen, "/").status()).collect();
    assert_eq!(answers, [500, 200, 500, 200]);
    assert!(!robin.stderr_has("peer ejected"));
}

#[test]
fn an_ejection_for_a_failed_connect_ends_when_the_peer_listens_again() {
    let (listen, mut origins, robin) = start(2, ", fail_timeout: 60s");
    origins[0].set(Behaviour::Refuse);
    let (first, second) = (origins[0].address().to_string(), origins[1].address().to_string());
    assert_eq!(answered_by(listen, "/", 4), vec![second; 4]);
    robin.wait_for_line(Output::Stderr, &["peer ejected", &first, "cause=connect"]);
    origins[0].set(Behaviour::ok());
    robin.wait_for_line(Output::Stderr, &["peer readmitted", &first]);
    eventually("it serves", PATIENCE, || get(listen, "/").replica() == first);
}
