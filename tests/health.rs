//! `robin health --upstream`: what a HEALTHCHECK of a container learns.

mod common;

use std::process::{Command, Output as Finished};

use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

fn health(robin: &Robin, upstreams: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
    command.args(["health", "-c"]).arg(robin.config_file());
    for upstream in upstreams {
        command.args(["--upstream", upstream]);
    }
    command.output().expect("robin runs")
}

/// Two upstreams, `api` of two probed origins and `site` of one.
fn start() -> (Vec<Origin>, Robin) {
    let origins: Vec<Origin> =
        replicas(3).into_iter().map(|a| Origin::start(a, Behaviour::ok())).collect();
    let robin = Robin::with(&format!(
        "control: off\nupstreams:\n  api:\n    servers: [\"{}\", \"{}\"]\n    panic: off\n    \
         health_check: {{ http: /healthz, every: 100ms, fall: 1 }}\n  site: {{ servers: [\"{}\"] }}\n\
         routes: {{ /: site, /api: api }}",
        origins[0].address(),
        origins[1].address(),
        origins[2].address()
    ));
    eventually("both pass", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["peer passes probes", "upstream=api"]) == 2
    });
    (origins, robin)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_upstream_with_a_peer_available_is_healthy_and_told_in_a_line() {
    let (origins, robin) = start();
    let told = health(&robin, &["api"]);
    assert_eq!((told.status.code(), text(&told.stdout).as_str()), (Some(0), "api: 2/2 peers up\n"));
    let told = health(&robin, &["api", "site"]);
    assert_eq!(text(&told.stdout), "api: 2/2 peers up; site: 1/1 peers up\n");
    let told = health(&robin, &[]);
    assert_eq!((told.status.code(), told.stdout.is_empty()), (Some(0), true));

    origins[0].set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    robin.wait_for_line(Output::Stderr, &["peer fails probes"]);
    let told = health(&robin, &["api"]);
    let address = origins[0].address();
    let expected =
        format!("api: 1/2 peers up: {address} failing probes: status 503, expected 200-399\n");
    assert_eq!((told.status.code(), text(&told.stdout)), (Some(0), expected));
}

#[test]
fn an_upstream_without_a_peer_available_is_not_healthy_and_says_why() {
    let (origins, robin) = start();
    for origin in &origins[..2] {
        origin.set_path("/healthz", Behaviour::Answer(Reply::status(503)));
    }
    eventually("both fail", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["peer fails probes", "upstream=api"]) == 2
    });
    let told = health(&robin, &["site", "api"]);
    assert_eq!((told.status.code(), told.stdout.is_empty()), (Some(1), true));
    let [first, second] = [0, 1].map(|index: usize| origins[index].address());
    let why = "failing probes: status 503, expected 200-399";
    let expected =
        format!("robin: not healthy: api: 0/2 peers up: {first} {why}, {second} {why}\n");
    assert_eq!(text(&told.stderr), expected);
    assert_eq!(health(&robin, &["site"]).status.code(), Some(0));
    assert_eq!(health(&robin, &[]).status.code(), Some(0), "it listens");
}

#[test]
fn an_unknown_upstream_is_told_with_those_that_there_are() {
    let (_origins, robin) = start();
    let told = health(&robin, &["site", "app"]);
    assert_eq!(told.status.code(), Some(1));
    let expected = "robin: not healthy: no upstream is called `app`; there are: api, site\n";
    assert_eq!(text(&told.stderr), expected);
    let free = free_address().to_string();
    assert_eq!(health(&robin, &[&free]).status.code(), Some(1));
}
