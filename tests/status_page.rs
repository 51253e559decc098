//! What the status page promises: a page that needs nothing from outside, and the last hour of each peer.

mod common;

use std::net::SocketAddr;

use common::client::get;
use common::dns::{Answer, DnsServer};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Two replicas of one name, and robin before them with a status listener.
struct Site {
    status: SocketAddr,
    robin: Robin,
    dns: DnsServer,
    origins: Vec<Origin>,
}

impl Site {
    fn new() -> Self {
        let (status, addresses, dns) = (free_address(), replicas(2), DnsServer::start());
        let origins: Vec<Origin> =
            addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
        dns.set("site.test", known(&origins));
        let robin = Robin::with(&format!(
            "status: {status}\nresolver: {}\nupstreams:\n  site:\n    servers: [site.test:{}]\n    \
             passive: {{ consecutive: 1, eject: 30s }}\nroutes: {{ /: site }}",
            dns.address(),
            addresses[0].port()
        ));
        Self { status, robin, dns, origins }
    }

    fn ask(&self, count: usize) {
        for _ in 0..count {
            get(self.robin.address(), "/");
        }
    }

    /// Of the peers, or of those that left, the one that this origin is.
    fn peer(&self, list: &str, origin: usize) -> Value {
        let status: Value =
            serde_json::from_slice(&get(self.status, "/status.json").body).expect("it is JSON");
        let address = self.origins[origin].address().to_string();
        let peers = status["upstreams"][0][list].as_array().expect("a list");
        peers.iter().find(|peer| peer["address"] == address).cloned().unwrap_or_default()
    }

    /// What a key of a peer's history adds up to; the minute may have turned.
    fn sum(&self, list: &str, origin: usize, key: &str) -> u64 {
        let peer = self.peer(list, origin);
        let slots = peer["history"][key].as_array().cloned().unwrap_or_default();
        slots.iter().filter_map(Value::as_u64).sum()
    }
}

fn known(origins: &[Origin]) -> Answer {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    Answer::of(&addresses)
}

#[test]
fn the_page_may_ask_for_nothing_but_its_json() {
    let site = Site::new();
    let page = get(site.status, "/");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("; connect-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = String::from_utf8(page.body).expect("text");
    assert!(html.starts_with("<!doctype html>"), "{html}");
    assert!(html.contains("fetch('status.json'"), "a relative address works below any location");
    assert!(!html.contains("innerHTML"), "no text becomes markup");
    assert_eq!(get(site.status, "/status.json").header("content-security-policy"), None);
}

#[test]
fn the_history_of_a_peer_adds_up_to_what_it_got() {
    let mut site = Site::new();
    site.ask(10);
    site.origins[1].set(Behaviour::Answer(Reply::status(500)));
    site.ask(4);
    let all = || [0, 1].map(|peer| site.sum("peers", peer, "requests")) == [7, 7];
    eventually("all requests are in the history", PATIENCE, all);
    // An answer is counted with its end.
    eventually("all answers are", PATIENCE, || site.sum("peers", 1, "5xx") == 2);
    assert_eq!(site.sum("peers", 0, "5xx"), 0);
    assert_eq!(site.sum("peers", 1, "failures"), 0, "500 is no failure unless it is said");
    let history = &site.peer("peers", 0)["history"];
    let from = history["from_ms"].as_u64().expect("a moment");
    assert_eq!(from % 60_000, 0, "a minute of the clock begins there");
    assert_eq!(history["states"][0], "up");
}

#[test]
fn the_history_tells_when_a_peer_was_out() {
    let mut site = Site::new();
    site.origins[0].set(Behaviour::Close);
    site.ask(2);
    site.robin.wait_for_line(Output::Stderr, &["peer ejected"]);
    eventually("the time out is counted", PATIENCE, || site.sum("peers", 0, "out_ms") > 500);
    let history = &site.peer("peers", 0)["history"];
    let states = history["states"].as_array().expect("a list");
    assert!(states.contains(&"ejected".into()), "{history}");
    assert_eq!(site.sum("peers", 0, "failures"), 1);
    assert_eq!(site.sum("peers", 1, "out_ms"), 0);
}

#[test]
fn the_history_outlives_a_reload_and_the_peers_leaving() {
    let site = Site::new();
    site.ask(6);
    eventually("all is in the history", PATIENCE, || site.sum("peers", 1, "requests") == 3);

    let file = site.robin.config_file();
    let yaml = std::fs::read_to_string(&file).expect("the configuration");
    // Another specification: the upstream and its peers are new, with counters that begin anew.
    let changed = yaml.replace("consecutive: 1", "consecutive: 2");
    std::fs::write(&file, changed).expect("the configuration can be written");
    site.robin.signal(Signal::SIGHUP);
    site.robin.wait_for_line(Output::Stderr, &["INFO", "reloaded"]);
    site.ask(2);
    eventually("the history goes on", PATIENCE, || site.sum("peers", 1, "requests") == 4);

    site.dns.set("site.test", known(&site.origins[..1]));
    site.robin.wait_for_line(Output::Stderr, &["peer left"]);
    assert_eq!(site.sum("left", 1, "requests"), 4);
    assert_eq!(site.peer("peers", 1), Value::Null);
}
