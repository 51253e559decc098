//! What a reader of the log sees of the health of the stack.

mod common;

use std::net::SocketAddr;

use common::client::get;
use common::dns::{Answer, DnsServer};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

fn start(dashboard: &str) -> (SocketAddr, Vec<Origin>, Robin) {
    let (listen, addresses) = (free_address(), replicas(3));
    let origins = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let [first, second, third] = [addresses[0], addresses[1], addresses[2]];
    let yaml = format!(
        "listen: {listen}\ndashboard: {dashboard}\nupstreams:\n  back-end:\n    servers:\n      \
         - {{ address: \"{first}\", fail_timeout: 60s }}\n      - {second}\n      \
         - {{ address: \"{third}\", backup: on }}\nroutes: {{ /: back-end }}\n"
    );
    let robin = Robin::start(listen, &yaml);
    (listen, origins, robin)
}

/// The lines of the last block that begins with this overview.
fn block(robin: &Robin, overview: &str) -> Vec<String> {
    let first = robin.wait_for_line(Output::Stderr, &["health dashboard: ", overview]);
    let lines = robin.printed(Output::Stderr);
    let from = lines.iter().position(|line| *line == first).unwrap_or_default();
    lines[from + 1..].iter().take_while(|line| line.starts_with(' ')).cloned().collect()
}

#[test]
fn it_is_shown_at_the_start_and_when_a_peer_goes_and_returns() {
    let (listen, mut origins, robin) = start("on");
    let overview = "back-end 2/2 up, backups 1/1";
    eventually("the block is whole", PATIENCE, || block(&robin, overview).len() == 5);
    let shown = block(&robin, overview);
    assert!(shown[0].contains("peer") && shown[0].contains("state"), "{shown:?}");
    assert!(shown[1].contains("back-end: 2/2 peers up, 1/1 backups up"), "{shown:?}");
    for (line, origin) in shown[2..].iter().zip(&origins) {
        assert!(line.contains(&format!("+ {}", origin.address())), "{line}");
        assert!(line.contains(" up "), "{line}");
    }
    assert!(shown[4].contains("backup"), "{shown:?}");

    origins[0].set(Behaviour::Close);
    let first = origins[0].address();
    for _ in 0..2 {
        assert_eq!(get(listen, "/").status(), 200);
    }
    robin.wait_for_line(Output::Stderr, &["WARN peer ejected upstream=back-end"]);
    let overview = "back-end 1/2 up, backups 1/1";
    eventually("the block is whole", PATIENCE, || block(&robin, overview).len() == 5);
    let shown = block(&robin, overview);
    let ejected = format!("! {first}");
    assert!(shown[2].contains(&ejected) && shown[2].contains("ejected for answer"), "{shown:?}");
}

#[test]
fn nothing_is_shown_again_while_nothing_changes() {
    let (listen, _origins, robin) = start("{ summary: 1s }");
    for _ in 0..20 {
        assert_eq!(get(listen, "/").status(), 200);
    }
    eventually("two summaries", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["health summary"]) >= 2
    });
    let summary = robin.wait_for_line(Output::Stderr, &["health summary"]);
    assert!(summary.contains("back-end 2/2"), "{summary}");
    assert_eq!(robin.count_lines(Output::Stderr, &["health dashboard"]), 1);
}

#[test]
fn it_can_be_switched_off() {
    let (listen, _origins, robin) = start("{ enabled: off, summary: 1s }");
    assert_eq!(get(listen, "/").status(), 200);
    robin.wait_for_line(Output::Stderr, &["health summary"]);
    assert!(!robin.stderr_has("health dashboard"));
    let (listen, mut origins, robin) = start("off");
    origins[0].set(Behaviour::Refuse);
    for _ in 0..2 {
        assert_eq!(get(listen, "/").status(), 200);
    }
    // The events are told all the same.
    robin.wait_for_line(Output::Stderr, &["peer ejected"]);
    robin.wait_for_line(Output::Stderr, &["peer joined", "tier=backup"]);
    assert!(!robin.stderr_has("health dashboard"));
}

/// What was printed on standard error so far, each line as JSON where it is some.
fn objects(robin: &Robin) -> Vec<Option<Value>> {
    let lines = robin.printed(Output::Stderr);
    lines.iter().map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn for_machines_each_line_is_an_object_and_a_reload_changes_that() {
    let (listen, addresses) = (free_address(), replicas(2));
    let mut origins: Vec<Origin> =
        addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let (first, second) = (addresses[0], addresses[1]);
    let yaml = |format: &str| {
        format!(
            "listen: {listen}\nevent_format: {format}\ndashboard: {{ summary: 1s }}\nupstreams:\n  \
             back-end: {{ servers: [\"{first}\", \"{second}\"] }}\nroutes: {{ /: back-end }}\n"
        )
    };
    let robin = Robin::start(listen, &yaml("json"));
    origins[0].set(Behaviour::Refuse);
    for _ in 0..2 {
        assert_eq!(get(listen, "/").status(), 200);
    }
    let find = |event: &str, wanted: &dyn Fn(&Value) -> bool| {
        let mut found = Value::Null;
        eventually(event, PATIENCE, || {
            let objects = objects(&robin).into_iter().flatten();
            found =
                objects.into_iter().find(|o| o["event"] == event && wanted(o)).unwrap_or_default();
            !found.is_null()
        });
        found
    };
    let ejected = find("peer ejected", &|_| true);
    let expected =
        [("level", "WARN"), ("upstream", "back-end"), ("cause", "connect"), ("was", "up")];
    for (key, value) in expected {
        assert_eq!(ejected[key], value, "{ejected}");
    }
    assert_eq!(ejected["peer"], first.to_string());
    assert!(ejected["for_ms"].is_u64() && ejected["was_for_ms"].is_u64(), "{ejected}");
    find("health dashboard", &|o| o["upstreams"][0]["peers"][0]["state"] == "ejected");
    let summary = find("health summary", &|o| o["upstreams"][0]["requests"] == 2);
    assert_eq!(summary["upstreams"][0]["retries"], 1, "{summary}");
    assert!(objects(&robin).iter().all(Option::is_some), "{:?}", robin.printed(Output::Stderr));

    std::fs::write(robin.config_file(), yaml("text")).expect("it can be written");
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["INFO reloaded listen="]);
    robin.wait_for_line(Output::Stderr, &["INFO health dashboard: back-end"]);
}

#[test]
fn a_peer_that_left_dns_is_named_for_a_while() {
    let (listen, addresses) = (free_address(), replicas(2));
    let origins: Vec<Origin> =
        addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let dns = DnsServer::start();
    let names: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    dns.set("api.test", Answer::a(&[&names[0], &names[1]]));
    let (resolver, port) = (dns.address(), addresses[0].port());
    let robin = Robin::start(
        listen,
        &format!(
            "listen: {listen}\nresolver: {{ servers: {resolver} }}\nupstreams:\n  \
             back-end: {{ servers: [\"api.test:{port}\"], refresh: 100ms }}\nroutes: {{ /: back-end }}\n"
        ),
    );
    robin.wait_for_line(Output::Stderr, &["health dashboard: ", "back-end 2/2 up"]);
    dns.set("api.test", Answer::a(&[&names[0]]));
    let gone = origins[1].address().to_string();
    let line = robin.wait_for_line(Output::Stderr, &["INFO peer left", &gone]);
    assert!(line.contains(" was=up was_for=") && line.contains("reason=\"left DNS\""), "{line}");
    let overview = "back-end 1/1 up";
    eventually("the block is whole", PATIENCE, || block(&robin, overview).len() == 4);
    let last = block(&robin, overview).remove(3);
    assert!(last.contains(&format!("- {gone}")) && last.contains("left DNS"), "{last}");
    assert_eq!(robin.count_lines(Output::Stderr, &["peer left"]), 1);
}
