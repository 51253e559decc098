//! Upgrades to WebSocket: on the routes that allow them, in both directions, to the end.

mod common;

use std::time::Duration;

use common::client::{Client, Request};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;
use common::{PATIENCE, eventually};

struct Stack {
    origin: Origin,
    robin: Robin,
}

fn stack(behaviour: Behaviour) -> Stack {
    let origin = Origin::start(free_address(), behaviour);
    let at = origin.address();
    let robin = Robin::with(&format!(
        "timeouts: {{ read: 10s }}\nclient_header_timeout: 200ms\nroutes: {{ /: \"{at}\", /ws: {{ to: \"{at}\", websocket: on }} }}"
    ));
    Stack { origin, robin }
}

fn upgrade(target: &str) -> Request {
    Request::get(target)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13")
}

impl Stack {
    fn client(&self) -> Client {
        Client::connect(self.robin.address()).expect("it listens")
    }

    fn upgraded(&self) -> Client {
        let mut client = self.client();
        let response = client.exchange(&upgrade("/ws")).expect("an answer");
        assert_eq!((response.status(), response.header("upgrade")), (101, Some("websocket")));
        assert!(response.has_token("connection", "upgrade"), "{}", response.head);
        client
    }
}

#[test]
fn bytes_go_both_ways_once_upgraded() {
    let stack = stack(Behaviour::Upgrade);
    let mut client = stack.upgraded();
    let forwarded = stack.origin.requests().pop().expect("a request");
    assert!(forwarded.has_token("connection", "upgrade"), "{}", forwarded.head);
    assert_eq!(forwarded.header("upgrade"), Some("websocket"));
    assert_eq!(forwarded.header("sec-websocket-version"), Some("13"));
    for message in ["ping", "\0\x01\u{80}", "GET / HTTP/1.1\r\n\r\n"] {
        client.send(message).expect("sent");
        assert_eq!(client.bytes(message.len()).expect("an echo"), message.as_bytes());
    }
    let large = vec![7; 1 << 20];
    for part in large.chunks(64 << 10) {
        client.send(part).expect("sent");
        assert!(client.bytes(part.len()).expect("an echo") == part);
    }
}

#[test]
fn what_the_client_sends_right_behind_its_request_arrives() {
    let stack = stack(Behaviour::Upgrade);
    let mut client = stack.client();
    client.send([upgrade("/ws").bytes(), b"early".to_vec()].concat()).expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 101);
    assert_eq!(client.bytes(5).expect("an echo"), b"early");
}

#[test]
fn the_end_of_the_client_reaches_the_peer_and_the_log() {
    let stack = stack(Behaviour::Upgrade);
    let mut client = stack.upgraded();
    client.send("bye").expect("sent");
    assert_eq!(client.bytes(3).expect("an echo"), b"bye");
    drop(client);
    eventually("the peer is left", PATIENCE, || stack.origin.open_connections() == 0);
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\"GET /ws HTTP/1.1\" 101 3 "), "{line}");
    assert!(line.contains(" 101 "), "{line}");
}

#[test]
fn the_end_of_the_peer_reaches_the_client() {
    let stack = stack(Behaviour::Upgrade);
    let mut client = stack.upgraded();
    stack.origin.close_connections();
    assert!(client.is_closed());
}

#[test]
fn an_upgraded_connection_may_be_silent_for_a_while() {
    let stack = stack(Behaviour::Upgrade);
    let mut client = stack.upgraded().with_limit(Duration::from_millis(300));
    client.bytes(1).expect_err("nothing comes");
    client = client.with_limit(PATIENCE);
    client.send("still there").expect("sent");
    assert_eq!(client.bytes(11).expect("an echo"), b"still there");
}

#[test]
fn elsewhere_the_wish_to_upgrade_is_not_passed_on() {
    let stack = stack(Behaviour::Echo);
    let mut client = stack.client();
    for _ in 0..2 {
        let response = client.exchange(&upgrade("/")).expect("an answer");
        assert_eq!(response.status(), 200);
        let forwarded = stack.origin.requests().pop().expect("a request");
        assert_eq!(forwarded.header("upgrade"), None, "{}", forwarded.head);
        assert!(!forwarded.has_token("connection", "upgrade"), "{}", forwarded.head);
    }
}

#[test]
fn a_peer_that_does_not_upgrade_answers_as_ever() {
    let stack = stack(Behaviour::ok());
    let mut client = stack.client();
    let response = client.exchange(&upgrade("/ws")).expect("an answer");
    assert_eq!((response.status(), response.text().as_str()), (200, "ok\n"));
    let ordinary = client.exchange(&Request::get("/ws")).expect("an answer");
    assert_eq!(ordinary.status(), 200);
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_an_error_of_the_peer() {
    let stack = stack(Behaviour::Upgrade);
    let response = stack.client().exchange(&Request::get("/")).expect("an answer");
    assert_eq!(response.status(), 502, "{}", response.head);
}
