//! What takes a peer out beside nginx's rule, and what happens when too many are out.

mod common;

use std::net::SocketAddr;

use common::client::{answered_by, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

/// Robin before origins, with these settings of the upstream.
fn start(count: usize, settings: &str) -> (SocketAddr, Vec<Origin>, Robin) {
    let (listen, addresses) = (free_address(), replicas(count));
    let origins = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let servers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let yaml = format!(
        "listen: {listen}\nerror_details: on\nupstreams:\n  back-end:\n    servers: [{}]\n    \
         {settings}\nroutes: {{ /: back-end }}\n",
        servers.join(", ")
    );
    (listen, origins, Robin::start(listen, &yaml))
}

#[test]
fn failures_in_a_row_eject_and_the_next_ejection_is_twice_as_long() {
    let (listen, mut origins, robin) =
        start(2, "passive: { consecutive: 3, eject: 300ms, eject_max: 10m }");
    origins[0].set(Behaviour::Close);
    let (first, second) = (origins[0].address().to_string(), origins[1].address().to_string());
    assert_eq!(answered_by(listen, "/", 12), vec![second; 12]);
    let ejected = |rest: &[&str]| {
        let texts = [&["peer ejected upstream=back-end", first.as_str()], rest].concat();
        robin.count_lines(Output::Stderr, &texts) > 0
    };
    eventually("it is ejected", PATIENCE, || ejected(&["fails=3 for=300ms cause=answer"]));
    eventually("its trial fails", PATIENCE, || {
        get(listen, "/").status() == 200 && ejected(&["fails=1 for=600ms"])
    });
    origins[0].set(Behaviour::ok());
    eventually("it serves", PATIENCE, || get(listen, "/").replica() == first);
}

#[test]
fn a_low_rate_of_successes_ejects_and_the_line_says_which() {
    let passive =
        "passive: { success_rate: 80%, requests: 5, window: 10m, eject: 10m, eject_max: 10m }";
    let (listen, mut origins, robin) = start(2, passive);
    origins[0].set(Behaviour::Close);
    let second = origins[1].address().to_string();
    assert_eq!(answered_by(listen, "/", 20), vec![second; 20]);
    assert_eq!(origins[0].count(), 5);
    let first = origins[0].address().to_string();
    robin.wait_for_line(
        Output::Stderr,
        &["peer ejected", &first, "fails=5 of=5 rate=0% for=10m00s"],
    );
}

#[test]
fn with_too_many_peers_out_all_are_used_until_enough_are_back() {
    let check = "health_check: { http: /healthz, every: 100ms, fall: 1 }";
    let (listen, mut origins, robin) = start(3, &format!("{check}\n    panic: 50%"));
    for origin in &origins[..2] {
        origin.set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    }
    robin.wait_for_line(
        Output::Stderr,
        &["WARN panic: too many peers out, using all upstream=back-end out=2 of=3"],
    );
    let mut served = answered_by(listen, "/", 6);
    served.sort();
    let mut all: Vec<String> = origins.iter().map(|o| o.address().to_string()).collect();
    all.sort();
    served.dedup();
    assert_eq!(served, all);
    robin.wait_for_line(Output::Stderr, &["health dashboard: back-end 1/3 up, panic"]);
    robin.wait_for_line(Output::Stderr, &["panic: too many are out, all are used"]);

    // Nobody is there any more: that is no judgement.
    origins[1].set(Behaviour::Refuse);
    let gone = origins[1].address().to_string();
    eventually("it gets no request", PATIENCE, || {
        let lines = robin.count_lines(Output::Stdout, &[&gone]);
        let statuses = [get(listen, "/"), get(listen, "/"), get(listen, "/")].map(|a| a.status());
        assert_eq!(statuses, [200; 3]);
        robin.count_lines(Output::Stdout, &[&gone]) == lines
    });

    origins[1].set(Behaviour::ok());
    origins[1].set_path("/healthz", Behaviour::ok());
    robin.wait_for_line(Output::Stderr, &["INFO panic is over", "upstream=back-end"]);
}

#[test]
fn without_panic_the_rest_has_to_do() {
    let check = "health_check: { http: /healthz, every: 100ms, fall: 1 }";
    let (listen, origins, robin) = start(3, &format!("{check}\n    panic: off"));
    for origin in &origins[..2] {
        origin.set_path("/healthz", Behaviour::Answer(Reply::status(503)));
        let peer = origin.address().to_string();
        robin.wait_for_line(Output::Stderr, &["peer fails probes", &peer]);
    }
    assert_eq!(answered_by(listen, "/", 4), vec![origins[2].address().to_string(); 4]);
    assert!(!robin.stderr_has("panic"));
}
