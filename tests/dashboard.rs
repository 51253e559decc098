//! What a reader of the log sees of the health of the stack.

mod common;

use std::net::SocketAddr;

use common::client::get;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

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
