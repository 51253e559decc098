//! A second attempt where the first takes longer than nearly all do.

mod common;

use std::time::Duration;

use common::client::{Client, Request};
use common::net::replicas;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use common::{PATIENCE, eventually};

/// Two origins that answer at once, but for `/slow`.
struct Stack {
    origins: Vec<Origin>,
    robin: Robin,
    client: Client,
}

impl Stack {
    fn new(retry: &str) -> Self {
        let addresses = replicas(2);
        let origins: Vec<_> =
            addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
        let robin = Robin::with(&format!(
            "upstreams: {{ api: {{ servers: [\"{}\", \"{}\"] }} }}\nretry: {{ {retry} }}\n\
             timeouts: {{ read: 10s }}\nroutes: {{ /: api }}",
            addresses[0], addresses[1]
        ));
        let client = Client::connect(robin.address()).expect("it listens").with_limit(PATIENCE);
        let mut stack = Self { origins, robin, client };
        // So that it is known how long answers take.
        for _ in 0..40 {
            stack.ask(&Request::get("/"));
        }
        stack
    }

    fn ask(&mut self, request: &Request) -> String {
        let answer = self.client.exchange(request).expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.header("x-replica").expect("it says which").to_owned()
    }

    fn slow(&self, index: usize, delay: Duration) {
        let late = Reply::new("late").after(delay);
        self.origins[index].set_path("/slow", Behaviour::Answer(late));
    }
}

#[test]
fn the_answer_comes_from_the_fast_one() {
    let mut stack = Stack::new("hedge: 95%, budget: off");
    stack.origins[0].set_path("/slow", Behaviour::Hang);
    let fast = stack.origins[1].address().to_string();
    for _ in 0..6 {
        assert_eq!(stack.ask(&Request::get("/slow")), fast);
    }
    let lines = stack.robin.access_lines(46);
    let slow = &stack.origins[0];
    let asked = slow.requests().iter().filter(|request| request.target() == "/slow").count();
    let both = |line: &&String| line.contains("/slow") && line.contains("overtaken, ");
    let hedged: Vec<_> = lines.iter().filter(both).collect();
    // The fast one may be late as well, on a busy machine.
    assert!((1..=hedged.len()).contains(&asked), "{asked} requests: {lines:#?}");
    for line in hedged {
        assert!(line.contains(&format!("{fast} 200 ")), "{line}");
    }
    let closed = || slow.open_connections() <= 1;
    eventually("the connections of the slow one are closed", PATIENCE, closed);
}

#[test]
fn a_first_that_answers_in_the_end_is_not_asked_twice() {
    let mut stack = Stack::new("hedge: 95%, budget: off");
    for index in 0..2 {
        stack.slow(index, Duration::from_millis(300));
    }
    for _ in 0..4 {
        stack.ask(&Request::get("/slow"));
    }
    let lines = stack.robin.access_lines(44);
    for line in lines.iter().filter(|line| line.contains("/slow")) {
        assert_eq!(line.matches(" 200 0.").count(), 1, "one of both has answered: {line}");
    }
}

#[test]
fn only_what_may_be_repeated_goes_to_a_second_peer() {
    let mut stack = Stack::new("hedge: 95%, budget: off, non_idempotent: on");
    for index in 0..2 {
        stack.slow(index, Duration::from_millis(300));
    }
    let before = stack.origins.iter().map(Origin::count).sum::<usize>();
    stack.ask(&Request::post("/slow", "a=b"));
    stack.ask(&Request::new("DELETE", "/slow"));
    stack.ask(&Request::get("/slow").header("Content-Length", "3").body("abc"));
    assert_eq!(stack.origins.iter().map(Origin::count).sum::<usize>(), before + 3);
}

#[test]
fn hedges_are_taken_out_of_the_retry_budget() {
    let mut stack = Stack::new("hedge: 95%, budget: { percent: 0%, floor: 0 }");
    for index in 0..2 {
        stack.slow(index, Duration::from_millis(100));
    }
    let before = stack.origins.iter().map(Origin::count).sum::<usize>();
    for _ in 0..4 {
        stack.ask(&Request::get("/slow"));
    }
    assert_eq!(stack.origins.iter().map(Origin::count).sum::<usize>(), before + 4);
}

#[test]
fn a_second_peer_that_fails_does_not_win() {
    let mut stack = Stack::new("hedge: 95%, budget: off");
    for (index, status) in [(0, 200), (1, 500)] {
        let delay = Duration::from_millis(if status == 200 { 300 } else { 0 });
        let reply = Reply { status, ..Reply::new("x") }.after(delay);
        stack.origins[index].set_path("/slow", Behaviour::Answer(reply));
    }
    let slow = stack.origins[0].address().to_string();
    let mut hedged = false;
    for _ in 0..4 {
        let answer = stack.client.exchange(&Request::get("/slow")).expect("an answer");
        // Its first attempt is one's or the other's.
        if answer.status() == 200 {
            hedged = true;
            assert_eq!(answer.header("x-replica"), Some(slow.as_str()));
        }
    }
    assert!(hedged);
}

#[test]
fn both_attempts_are_given_back() {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{{ address: \"{}\", max_conns: 1 }}, \
         {{ address: \"{}\", max_conns: 1 }}] }} }}\nretry: {{ hedge: 95%, budget: off }}\n\
         routes: {{ /: api }}",
        addresses[0], addresses[1]
    ));
    let mut client = Client::connect(robin.address()).expect("it listens").with_limit(PATIENCE);
    let mut ask = |path| client.exchange(&Request::get(path)).expect("an answer").status();
    for _ in 0..40 {
        assert_eq!(ask("/"), 200);
    }
    for origin in &origins {
        let late = Reply::new("late").after(Duration::from_millis(50));
        origin.set_path("/slow", Behaviour::Answer(late));
    }
    // A lease that was not given back would leave a peer full, and soon both.
    for _ in 0..20 {
        assert_eq!(ask("/slow"), 200);
    }
    for _ in 0..4 {
        assert_eq!(ask("/"), 200);
    }
    let counts: Vec<_> = origins.iter().map(Origin::count).collect();
    assert!(counts.iter().all(|count| *count >= 22), "{counts:?}");
}
