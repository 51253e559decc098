//! When the next peer is tried, and what the client gets when none answers.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::PATIENCE;
use common::client::{Client, Request, exchange};
use common::http::Message;
use common::net::replicas;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};

/// Origins behind one upstream, whose peers are never ejected, so that turns stay predictable.
struct Stack {
    origins: Vec<Origin>,
    robin: Robin,
}

fn stack(behaviours: impl IntoIterator<Item = Behaviour>, settings: &str) -> Stack {
    let behaviours: Vec<_> = behaviours.into_iter().collect();
    let addresses = replicas(behaviours.len());
    let origins: Vec<_> =
        addresses.iter().zip(behaviours).map(|(a, b)| Origin::start(*a, b)).collect();
    let robin = Robin::with(&format!("{}\n{settings}\nroutes: {{ /: api }}", upstream(&addresses)));
    Stack { origins, robin }
}

fn upstream(addresses: &[SocketAddr]) -> String {
    let server = |a| format!("{{ address: \"{a}\", max_fails: 0 }}");
    let servers: Vec<String> = addresses.iter().map(server).collect();
    format!("upstreams: {{ api: {{ servers: [{}] }} }}", servers.join(", "))
}

impl Stack {
    #[track_caller]
    fn ask(&self, request: &Request) -> Message {
        exchange(self.robin.address(), request).expect("an answer")
    }

    fn counts(&self) -> Vec<usize> {
        self.origins.iter().map(Origin::count).collect()
    }

    /// What the only line of the access log says of `key`.
    #[track_caller]
    fn logged(&self, key: &str) -> String {
        let line = self.robin.access_lines(1).remove(0);
        let (_, value) = line.split_once(&format!(" {key}=")).expect("the key is there");
        let quoted = value.strip_prefix('"').map(|v| v.split('"').next());
        quoted.unwrap_or_else(|| value.split(' ').next()).unwrap_or_default().to_owned()
    }
}

fn put(bytes: usize) -> Request {
    Request::new("PUT", "/").header("Content-Length", &bytes.to_string()).body(vec![b'x'; bytes])
}

#[test]
fn a_refused_connect_goes_to_the_next_peer_whatever_the_method() {
    let refusing = || [Behaviour::Refuse, Behaviour::ok(), Behaviour::Refuse];
    let large = Request::post("/", vec![b'x'; 300_000]);
    for request in [Request::get("/"), Request::post("/", "a=b"), large, Request::new("PATCH", "/")]
    {
        let stack = stack(refusing(), "");
        for _ in 0..3 {
            assert_eq!(stack.ask(&request).status(), 200);
        }
        assert_eq!(stack.counts(), [0, 3, 0]);
    }
}

#[test]
fn once_bytes_went_out_only_idempotent_methods_are_sent_again() {
    for (method, answered) in
        [("GET", true), ("HEAD", true), ("DELETE", true), ("OPTIONS", true), ("PATCH", false)]
    {
        let stack = stack([Behaviour::Close, Behaviour::ok()], "");
        let status = stack.ask(&Request::new(method, "/")).status();
        let expected = if answered { (200, vec![1, 1]) } else { (502, vec![1, 0]) };
        assert_eq!((status, stack.counts()), expected, "{method}");
    }
}

#[test]
fn a_post_is_not_sent_twice() {
    for behaviour in [Behaviour::Close, Behaviour::Reset, Behaviour::Raw(b"HTTP/1.1 20".to_vec())] {
        let stack = stack([behaviour, Behaviour::ok()], "");
        assert_eq!(stack.ask(&Request::post("/", "a=b")).status(), 502);
        assert_eq!(stack.counts(), [1, 0]);
    }
}

#[test]
fn a_post_is_sent_twice_where_that_is_allowed() {
    let stack = stack([Behaviour::Close, Behaviour::ok()], "retry: { non_idempotent: on }");
    assert_eq!(stack.ask(&Request::post("/", "a=b")).status(), 200);
    assert_eq!(stack.counts(), [1, 1]);
    assert_eq!(stack.origins[1].requests()[0].body, b"a=b");
}

#[test]
fn a_body_is_replayed_however_large() {
    for size in [60_000, 200_000] {
        let stack = stack([Behaviour::Close, Behaviour::ok()], "");
        assert_eq!(stack.ask(&put(size)).status(), 200);
        assert_eq!(stack.origins[1].requests()[0].body.len(), size);
    }
}

#[test]
fn a_chunked_body_is_replayed_whole() {
    let stack = stack([Behaviour::Close, Behaviour::ok()], "retry: { non_idempotent: on }");
    let body: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_be_bytes()).take(50_000).collect();
    assert_eq!(stack.ask(&Request::post_chunked("/", body.clone())).status(), 200);
    assert!(stack.origins[1].requests()[0].body == body);
}

#[test]
fn every_peer_is_tried_once_and_none_twice() {
    let stack = stack([const { Behaviour::Close }; 4], "");
    assert_eq!(stack.ask(&Request::get("/")).status(), 502);
    assert_eq!(stack.counts(), [1, 1, 1, 1]);
    let attempts = stack.logged("attempts");
    for origin in &stack.origins {
        assert_eq!(attempts.matches(&origin.address().to_string()).count(), 1, "{attempts}");
    }
}

#[test]
fn tries_limit_the_attempts() {
    let stack = stack([const { Behaviour::Close }; 4], "retry: { tries: 2 }");
    assert_eq!(stack.ask(&Request::get("/")).status(), 502);
    assert_eq!(stack.counts().iter().sum::<usize>(), 2);
}

#[test]
fn after_the_time_for_retries_no_attempt_begins() {
    let stack = stack(
        [Behaviour::Hang, Behaviour::Hang, Behaviour::ok()],
        "timeouts: { read: 200ms }\nretry: { timeout: 300ms }",
    );
    assert_eq!(stack.ask(&Request::get("/")).status(), 504);
    assert_eq!(stack.counts(), [1, 1, 0]);
}

#[test]
fn a_timeout_goes_to_the_next_peer_for_idempotent_methods_only() {
    let stack = stack([Behaviour::Hang, Behaviour::ok()], "timeouts: { read: 200ms }");
    assert_eq!(stack.ask(&Request::get("/")).status(), 200);
    assert_eq!(stack.counts(), [1, 1]);
    // The second request's turn would be the first peer's.
    assert_eq!(stack.ask(&Request::post("/", "a=b")).status(), 504);
    assert_eq!(stack.counts(), [2, 1]);
}

#[test]
fn an_answer_with_a_listed_status_goes_to_the_next_peer() {
    let sick = || Behaviour::Answer(Reply::status(503));
    let stack = stack([sick(), sick(), Behaviour::ok()], "retry: { statuses: [503] }");
    let response = stack.ask(&Request::get("/"));
    assert_eq!((response.status(), response.text().as_str()), (200, "ok\n"));
    assert_eq!(stack.counts(), [1, 1, 1]);
    let attempts = stack.logged("attempts");
    assert_eq!(attempts.matches(" 503 ").count(), 2, "{attempts}");
}

#[test]
fn without_another_peer_the_last_answer_is_passed_on() {
    let sick = |text: &str| {
        let reply = Reply { status: 503, ..Reply::new(text) };
        Behaviour::Answer(reply.header("Retry-After", "7"))
    };
    let stack = stack([sick("first"), sick("second")], "retry: { statuses: [503] }");
    let response = stack.ask(&Request::get("/"));
    assert_eq!((response.status(), response.text().as_str()), (503, "second"));
    assert_eq!(response.header("retry-after"), Some("7"));
    assert_eq!(stack.counts(), [1, 1]);
    let response = stack.ask(&Request::post("/", "a=b"));
    assert_eq!(response.status(), 503);
    assert_eq!(stack.counts().iter().sum::<usize>(), 3, "a POST is not sent twice");
}

#[test]
fn a_listed_status_is_passed_on_when_the_tries_are_used_up() {
    let sick = || Behaviour::Answer(Reply::status(502));
    let stack = stack([sick(), sick(), sick()], "retry: { statuses: [502], tries: 2 }");
    let response = stack.ask(&Request::get("/"));
    assert_eq!((response.status(), response.text().as_str()), (502, "status 502\n"));
    assert_eq!(stack.counts().iter().sum::<usize>(), 2);
}

#[test]
fn an_answer_that_fails_after_a_listed_status_is_a_502() {
    let sick = Behaviour::Answer(Reply::status(503));
    let stack = stack([sick, Behaviour::Refuse], "retry: { statuses: [503] }");
    let response = stack.ask(&Request::get("/"));
    assert_eq!(response.status(), 502, "{}", response.text());
    assert_eq!(stack.counts(), [1, 0]);
}

#[test]
fn statuses_say_who_failed_and_how() {
    for (behaviour, settings, status, error) in [
        (Behaviour::Refuse, "", 502, "connection refused"),
        (Behaviour::Close, "", 502, "closed"),
        (Behaviour::Reset, "", 502, "reset"),
        (Behaviour::Hang, "timeouts: { read: 200ms }", 504, "read timed out"),
        (Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), "", 502, "closed"),
        (Behaviour::Raw(b"garbage\r\n\r\n".to_vec()), "", 502, "invalid"),
    ] {
        let shown = format!("{behaviour:?}");
        let stack = stack([behaviour], settings);
        let response = stack.ask(&Request::get("/"));
        assert_eq!(response.status(), status, "{shown}");
        let attempts = stack.logged("attempts");
        assert!(attempts.to_lowercase().contains(error), "{shown}: {attempts}");
        assert!(stack.logged("reason").to_lowercase().contains(error), "{shown}");
    }
}

#[test]
fn a_connect_that_gets_no_answer_is_a_504_after_its_timeout() {
    // The backlog of a listener that accepts nothing fills up, then connects hang.
    let address = replicas(1)[0];
    let listener = common::origin::Blackhole::start(address);
    let robin = Robin::with(&format!(
        "{}\ntimeouts: {{ connect: 200ms }}\nroutes: {{ /: api }}",
        upstream(&[address])
    ));
    let response = exchange(robin.address(), &Request::post("/", "a=b")).expect("an answer");
    assert_eq!(response.status(), 504);
    assert!(robin.access_lines(1)[0].contains("connect timed out"));
    drop(listener);
}

#[test]
fn an_answer_that_breaks_in_its_body_is_cut_and_never_a_second_answer() {
    let chunked = Reply { chunked: true, cut: Some(500), ..Reply::new([b'x'; 1000]) };
    for behaviour in [Behaviour::close_mid_body(), Behaviour::Answer(chunked)] {
        let stack = stack([behaviour, Behaviour::ok()], "");
        let mut client = Client::connect(stack.robin.address()).expect("it listens");
        client.send(Request::get("/").bytes()).expect("sent");
        let error = client.response().expect_err("the answer is cut");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(stack.counts(), [1, 0]);
        let line = &stack.robin.access_lines(1)[0];
        assert!(line.contains("\" 200 500 "), "{line}");
        assert!(line.contains("closed"), "{line}");
    }
}

#[test]
fn a_client_that_leaves_is_logged_as_499_and_ends_the_attempt() {
    let stack = stack([Behaviour::Hang, Behaviour::ok()], "");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send(Request::get("/").bytes()).expect("sent");
    common::eventually("the peer has the request", PATIENCE, || stack.origins[0].count() == 1);
    drop(client);
    let line = &stack.robin.access_lines(1)[0];
    assert!(line.contains("\" 499 0 "), "{line}");
    let gone = || stack.origins[0].open_connections() == 0;
    common::eventually("the connection to the peer is closed", PATIENCE, gone);
    assert_eq!(stack.counts(), [1, 0]);
}

#[test]
fn a_peer_that_failed_is_left_alone_for_fail_timeout() {
    let addresses = replicas(2);
    let origins = [Behaviour::Close, Behaviour::ok()];
    let origins: Vec<_> =
        addresses.iter().zip(origins).map(|(a, b)| Origin::start(*a, b)).collect();
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\", \"{}\"] }} }}\nroutes: {{ /: api }}",
        addresses[0], addresses[1]
    ));
    for _ in 0..6 {
        let response = exchange(robin.address(), &Request::get("/")).expect("an answer");
        assert_eq!(response.status(), 200);
    }
    assert_eq!(origins.iter().map(Origin::count).collect::<Vec<_>>(), [1, 6]);
}

#[test]
fn without_any_peer_that_answers_the_page_comes_at_once() {
    let stack = stack([const { Behaviour::Refuse }; 3], "");
    let limit = Duration::from_secs(5);
    let mut client = Client::connect(stack.robin.address()).expect("it listens").with_limit(limit);
    assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 502);
}

/// The status of each of `count` requests.
fn statuses(stack: &Stack, count: usize) -> Vec<u16> {
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    (0..count).map(|_| client.exchange(&Request::get("/")).expect("an answer").status()).collect()
}

#[test]
fn retries_cost_no_more_than_their_budget() {
    let sick = || Behaviour::Answer(Reply::status(500));
    let rule = "retry: { statuses: [500], budget: { percent: 20%, floor: 1 } }";
    let stack = stack([sick(), sick(), sick()], rule);
    let begun = tokio::time::Instant::now();
    assert_eq!(statuses(&stack, 200), [500; 200]);
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let extra = stack.counts().iter().sum::<usize>() - 200;
    assert!(extra >= 20, "{extra} retries of 200 requests");
    assert!(extra <= 40 + seconds, "{extra} retries of 200 requests");
    stack.robin.wait_for_line(Output::Stderr, &["retry budget spent", "upstream=api"]);
}

#[test]
fn without_a_budget_every_peer_is_tried() {
    let sick = || Behaviour::Answer(Reply::status(500));
    let stack = stack([sick(), sick(), sick()], "retry: { statuses: [500], budget: off }");
    assert_eq!(statuses(&stack, 50), [500; 50]);
    assert_eq!(stack.counts(), [50, 50, 50]);
}

#[test]
fn failed_connects_are_not_limited_by_the_budget() {
    let rule = "retry: { budget: { percent: 0%, floor: 0 } }";
    let stack = stack([Behaviour::Refuse, Behaviour::ok(), Behaviour::Refuse], rule);
    assert_eq!(statuses(&stack, 60), [200; 60]);
    assert_eq!(stack.counts(), [0, 60, 0]);
}

#[test]
fn an_attempt_has_a_time_of_its_own() {
    let stack = stack([Behaviour::Hang, Behaviour::ok()], "retry: { try_timeout: 200ms }");
    for _ in 0..4 {
        assert_eq!(stack.ask(&Request::get("/")).status(), 200);
    }
    assert_eq!(stack.counts()[1], 4);
    let line = &stack.robin.access_lines(4)[0];
    assert!(line.contains("no answer within 200ms"), "{line}");
    let gone = || stack.origins[0].open_connections() == 0;
    common::eventually("the connections that were given up are closed", PATIENCE, gone);
}

#[test]
fn the_time_of_an_attempt_is_a_504_where_no_other_peer_is_left() {
    let stack = stack([Behaviour::Hang], "retry: { try_timeout: 200ms }");
    assert_eq!(stack.ask(&Request::get("/")).status(), 504);
    assert_eq!(stack.ask(&Request::post("/", "a=b")).status(), 504);
}

#[test]
fn a_body_may_take_longer_than_an_attempt() {
    if !common::one_pool() {
        return;
    }
    let slow = Reply { pace: Duration::from_millis(150), ..Reply::new([b'x'; 4000]) };
    let stack = stack([Behaviour::Answer(slow)], "retry: { try_timeout: 200ms }");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    for _ in 0..2 {
        let answer = client.exchange(&Request::get("/")).expect("an answer");
        assert_eq!((answer.status(), answer.body.len()), (200, 4000));
    }
    assert_eq!(stack.origins[0].connections(), 1, "the connection is kept");
}

#[test]
fn a_connect_counts_as_time_of_its_attempt() {
    let addresses = replicas(2);
    let listener = common::origin::Blackhole::start(addresses[0]);
    let origin = Origin::start(addresses[1], Behaviour::ok());
    let robin = Robin::with(&format!(
        "{}\nretry: {{ try_timeout: 200ms }}\nroutes: {{ /: api }}",
        upstream(&addresses)
    ));
    let response = exchange(robin.address(), &Request::post("/", "a=b")).expect("an answer");
    assert_eq!((response.status(), origin.count()), (200, 1));
    assert!(robin.access_lines(1)[0].contains("connect timed out"));
    drop(listener);
}

#[test]
fn a_body_is_replayed_after_a_listed_status() {
    let sick = || Behaviour::Answer(Reply::status(503));
    let rule = "retry: { statuses: [503], non_idempotent: on }";
    let stack = stack([sick(), sick(), Behaviour::ok()], rule);
    let body = vec![b'x'; 200_000];
    assert_eq!(stack.ask(&Request::post("/", body.clone())).status(), 200);
    assert!(stack.origins.iter().all(|origin| origin.requests()[0].body == body));
}
