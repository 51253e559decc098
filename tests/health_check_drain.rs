//! Who is not to get new requests is not probed: the upstream's log shows nothing any more.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use common::client::{answered_by, get};
use common::dns::{Answer, DnsServer};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::stack::before_a_name;
use common::{PATIENCE, eventually};
use tempfile::TempDir;

/// Robin before origins that it probes ten times a second.
struct Stack {
    listen: SocketAddr,
    origins: Vec<Origin>,
    socket: PathBuf,
    robin: Robin,
    _folder: TempDir,
}

fn stack(more_of_the_first: &str) -> Stack {
    let (listen, addresses) = (free_address(), replicas(2));
    let origins = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("control.sock");
    let yaml = format!(
        "listen: {listen}\nupstreams:\n  back-end:\n    servers:\n      - {{ address: {}{more_of_the_first} }}\n      \
         - {}\n    health_check: {{ http: /healthz, every: 100ms, fall: 1 }}\nroutes: {{ /: back-end }}\n",
        addresses[0], addresses[1]
    );
    let arguments = ["--socket", socket.to_str().expect("a UTF-8 path")];
    let robin = Robin::spawn(&yaml, &arguments, &[]).listening(listen);
    robin.wait_for_line(Output::Stderr, &["started version="]);
    Stack { listen, origins, socket, robin, _folder: folder }
}

impl Stack {
    fn told(&self, word: &str) {
        let peer = self.origins[0].address().to_string();
        let out = Command::new(env!("CARGO_BIN_EXE_robin"))
            .args([word, &peer, "--socket"])
            .arg(&self.socket)
            .output()
            .expect("robin runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// The first one gets no probe while the second gets several.
    fn assert_first_is_left_alone(&self) {
        assert_left_alone(&self.origins[0], &self.origins[1]);
    }
}

fn probes(origin: &Origin) -> usize {
    origin.requests().iter().filter(|r| r.target().starts_with("/healthz")).count()
}

#[track_caller]
fn assert_left_alone(one: &Origin, other: &Origin) {
    // One may have been under way.
    let still = probes(other) + 2;
    eventually("the other is probed", PATIENCE, || probes(other) >= still);
    let (before, at) = (probes(one), probes(other));
    eventually("the other is probed on", PATIENCE, || probes(other) >= at + 5);
    assert_eq!(probes(one), before, "the other had five more");
}

#[test]
fn a_peer_that_is_drained_or_down_by_hand_is_probed_again_at_once_after_it() {
    for (word, back) in [("drain", "undrain"), ("down", "up")] {
        let stack = stack("");
        eventually("it is probed", PATIENCE, || probes(&stack.origins[0]) >= 2);
        stack.told(word);
        stack.assert_first_is_left_alone();
        let first = stack.origins[0].address().to_string();
        stack.origins[0].set_path("/healthz", Behaviour::Answer(Reply::status(503)));
        stack.told(back);
        stack.robin.wait_for_line(Output::Stderr, &["peer fails probes", &first, "status 503"]);
    }
}

#[test]
fn a_peer_that_drains_or_is_down_by_configuration_is_not_probed() {
    for more in [", drain: on", ", down: on"] {
        let stack = stack(more);
        stack.assert_first_is_left_alone();
        assert_eq!(probes(&stack.origins[0]), 0);
        let second = stack.origins[1].address().to_string();
        assert_eq!(answered_by(stack.listen, "/", 3), vec![second; 3]);
    }
}

#[test]
fn a_peer_that_has_left_with_a_request_in_flight_is_not_probed() {
    let addresses = replicas(2);
    let dns = DnsServer::start();
    dns.set("api.test", Answer::of(&addresses));
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    origins[0].set_path("/slow", Behaviour::Wait);
    let (listen, robin) = before_a_name(&dns, addresses[0].port());
    robin.wait_for_line(Output::Stderr, &["started version="]);
    std::thread::scope(|scope| {
        let slow = |_| scope.spawn(move || get(listen, "/slow").replica());
        let asked: Vec<_> = (0..2).map(slow).collect();
        let is_in_flight = || origins[0].requests().iter().any(|r| r.target() == "/slow");
        eventually("one is in flight", PATIENCE, is_in_flight);
        dns.set("api.test", Answer::of(&addresses[1..]));
        let first = addresses[0].to_string();
        robin.wait_for_line(Output::Stderr, &["peer left", &first]);
        assert_left_alone(&origins[0], &origins[1]);
        origins[0].release();
        let by: Vec<String> = asked.into_iter().map(|a| a.join().expect("an answer")).collect();
        assert!(by.contains(&first), "{by:?}");
    });
}
