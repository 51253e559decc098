//! Versions of HTTP, framing, and how connections on either side are kept.

mod common;

use std::time::Duration;

use common::client::{Client, Request};
use common::origin::{Behaviour, Reply};
use common::stack::{Stack, stack};
use common::{PATIENCE, eventually};

impl Stack {
    fn client(&self) -> Client {
        Client::connect(self.robin.address()).expect("it listens")
    }
}

fn chunked(body: &str) -> Behaviour {
    Behaviour::Answer(Reply { chunked: true, ..Reply::new(body) })
}

fn old(target: &str) -> Request {
    Request::get(target).version("HTTP/1.0")
}

#[test]
fn an_old_client_gets_a_chunked_answer_up_to_the_end_of_the_connection() {
    let stack = stack(chunked("0123456789"), "");
    for request in [old("/"), old("/").header("Connection", "keep-alive")] {
        let mut client = stack.client();
        let response = client.exchange(&request).expect("an answer");
        assert_eq!(response.header("transfer-encoding"), None);
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(response.text(), "0123456789");
        assert!(client.is_closed());
    }
}

#[test]
fn an_old_client_keeps_its_connection_when_it_asks_to() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = stack.client();
    for _ in 0..3 {
        let response = client.exchange(&old("/").header("Connection", "keep-alive"));
        let response = response.expect("an answer");
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "ok\n");
    }
    let last = client.exchange(&old("/")).expect("an answer");
    assert_eq!(last.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(stack.origin.connections(), 1);
}

#[test]
fn answers_to_head_have_the_length_and_no_body() {
    for (behaviour, length) in [(Behaviour::ok(), Some("3")), (chunked("ok\n"), None)] {
        let stack = stack(behaviour, "");
        let mut client = stack.client();
        for _ in 0..2 {
            let head = client.exchange(&Request::new("HEAD", "/")).expect("an answer");
            assert_eq!((head.status(), head.header("content-length")), (200, length));
            let whole = client.exchange(&Request::get("/")).expect("an answer");
            assert_eq!(whole.text(), "ok\n");
        }
    }
}

#[test]
fn answers_without_body_leave_the_connection_usable() {
    if !common::one_pool() {
        return;
    }
    for status in [204, 304] {
        let stack = stack(Behaviour::Answer(Reply::status(status).header("ETag", "\"a\"")), "");
        let mut client = stack.client();
        for _ in 0..3 {
            let response = client.exchange(&Request::get("/")).expect("an answer");
            assert_eq!((response.status(), response.header("etag")), (status, Some("\"a\"")));
            assert_eq!(response.header("transfer-encoding"), None);
        }
        assert_eq!(stack.origin.connections(), 1);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stack = stack(Behaviour::Echo, "");
    stack
        .origin
        .set_path("/0", Behaviour::Answer(Reply::new("GET /0 ").after(Duration::from_millis(100))));
    let requests: Vec<u8> = (0..50)
        .flat_map(|n| {
            let target = format!("/{n}");
            match n % 3 {
                0 => Request::get(&target).bytes(),
                1 => Request::post(&target, "x".repeat(n * 10)).bytes(),
                _ => Request::post_chunked(&target, "x".repeat(n * 10)).bytes(),
            }
        })
        .collect();
    let mut client = stack.client();
    client.send(requests).expect("sent");
    for n in 0..50 {
        let text = client.response().expect("an answer").text();
        let target = text.split(' ').nth(1).map(str::to_owned);
        assert_eq!(target, Some(format!("/{n}")), "{text}");
    }
    assert_eq!(stack.robin.access_lines(50).len(), 50);
}

#[test]
fn a_request_that_comes_while_another_is_answered_waits_for_its_turn() {
    let stack = stack(Behaviour::ok(), "");
    let late = Reply::new("late").after(Duration::from_millis(200));
    stack.origin.set_path("/late", Behaviour::Answer(late));
    let mut client = stack.client();
    client.send(Request::get("/late").bytes()).expect("sent");
    eventually("the peer has the first", PATIENCE, || stack.origin.count() == 1);
    client.send(Request::get("/a%20b").bytes()).expect("sent");
    assert_eq!(client.response().expect("an answer").text(), "late");
    assert_eq!(client.response().expect("an answer").text(), "ok\n");
}

#[test]
fn client_connections_are_kept_and_so_are_those_to_peers() {
    if !common::one_pool() {
        return;
    }
    let stack = stack(Behaviour::ok(), "");
    let mut client = stack.client();
    for _ in 0..20 {
        assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    }
    // Another client's request takes the same connection to the peer.
    assert_eq!(stack.client().exchange(&Request::get("/")).expect("an answer").status(), 200);
    assert_eq!(stack.origin.connections(), 1);
}

#[test]
fn without_keepalive_the_connection_ends_with_each_answer() {
    let stack = stack(Behaviour::ok(), "keepalive_timeout: 0");
    for _ in 0..2 {
        let mut client = stack.client();
        let response = client.exchange(&Request::get("/")).expect("an answer");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let stack = stack(Behaviour::ok(), "keepalive_timeout: 1s");
    let mut client = stack.client();
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
    assert!(client.is_closed());
    assert_eq!(stack.robin.access_lines(1).len(), 1, "an idle connection is no request");
}

#[test]
fn a_head_that_takes_too_long_is_not_waited_for() {
    let stack = stack(Behaviour::ok(), "client_header_timeout: 200ms");
    let mut client = stack.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n").expect("sent");
    // nginx closes without an answer, an answer does no harm.
    if let Ok(response) = client.response() {
        assert_eq!(response.status(), 408);
    }
    assert!(client.is_closed());
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\"GET / HTTP/1.1\" 408 "), "{line}");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = stack.client();
    let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    for _ in 0..2 {
        client.send(head).expect("sent");
        assert_eq!(client.bytes(25).expect("an interim answer"), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hello").expect("sent");
        assert_eq!(client.response().expect("an answer").status(), 200);
        assert_eq!(stack.origin.requests().pop().expect("a request").body, b"hello");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_a_413_in_its_place() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 4");
    let mut client = stack.client();
    let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).expect("sent");
    let interim = client.bytes(12).expect("an answer");
    assert_eq!(interim, b"HTTP/1.1 413");
    assert_eq!(stack.origin.connections(), 0);
}

#[test]
fn an_answer_without_length_ends_with_the_peers_connection() {
    for head in [
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ] {
        let stack = stack(Behaviour::Raw(format!("{head}to the end").into_bytes()), "");
        let mut client = stack.client();
        for _ in 0..2 {
            let response = client.exchange(&Request::get("/")).expect("an answer");
            assert_eq!(response.text(), "to the end");
            assert!(response.line().starts_with("HTTP/1.1 200"), "{}", response.line());
        }
        let mut client = stack.client();
        assert_eq!(client.exchange(&old("/")).expect("an answer").text(), "to the end");
    }
}

#[test]
fn interim_answers_do_not_end_the_exchange() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    let stack = stack(Behaviour::Raw(bytes.to_vec()), "");
    let mut client = stack.client();
    let response = client.exchange(&Request::get("/")).expect("an answer");
    assert_eq!((response.status(), response.text().as_str()), (200, "ok\n"));
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\" 200 3 "), "{line}");
}

#[test]
fn the_upstream_is_asked_in_http_1_1_and_kept() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = stack.client();
    assert_eq!(client.exchange(&old("/")).expect("an answer").status(), 200);
    let forwarded = stack.origin.requests().pop().expect("a request");
    assert_eq!(forwarded.line(), "GET / HTTP/1.1");
    assert!(!forwarded.has_token("connection", "close"), "{}", forwarded.head);
}
