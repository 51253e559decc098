//! Whether what deploy/ has for Prometheus and Grafana fits robin: names that it exports, panels that can be drawn.
//!
//! What needs promtool or a Prometheus is in tests/observe/run.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::client::get;
use common::dns::{Answer, DnsServer};
use common::net::free_address;
use common::robin::Robin;
use robin::config::{self, LoadOptions};
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/robin.json")).expect("it is JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("a list of panels")
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("robin_")).map(str::to_owned).collect()
}

/// Every name that robin exports, those of a histogram's parts, too.
fn exported() -> BTreeSet<String> {
    let (status, dns) = (free_address(), DnsServer::start());
    dns.set("site.test", Answer::a(&["127.0.0.1"]));
    let yaml = format!(
        "status: {status}\nresolver: {}\nupstreams:\n  site:\n    servers: [site.test]\n    queue: 5\n    \
         health_check: tcp\nroutes: {{ /: site }}",
        dns.address()
    );
    let _robin = Robin::with(&yaml);
    let metrics = String::from_utf8(get(status, "/metrics").body).expect("text");
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn every_name_in_the_dashboard_and_the_rules_is_exported() {
    let exported = exported();
    for file in [
        "deploy/grafana/robin.json",
        "deploy/prometheus/rules.yml",
        "deploy/prometheus/rules.test.yml",
    ] {
        let used = names(&read(file));
        assert!(used.len() > 5, "{file}: {used:?}");
        let unknown: Vec<&String> = used.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} are none of {exported:?}");
    }
}

#[test]
fn the_dashboard_shows_most_of_what_is_exported() {
    let used = names(&read("deploy/grafana/robin.json"));
    // A histogram's parts beside its buckets; how many may wait is no news.
    let apart = |name: &str| name.ends_with("_sum") || name.ends_with("_count");
    let missing: Vec<String> = exported()
        .into_iter()
        .filter(|name| !used.contains(name) && !apart(name) && !name.starts_with("robin_queue_"))
        .collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn every_panel_has_an_id_and_a_place_of_its_own() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let id = panel["id"].as_u64().expect("an id");
        assert!(ids.insert(id), "two panels have the id {id}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| {
            let place = panel["gridPos"][key].as_u64();
            place.unwrap_or_else(|| panic!("{id} has no {key}"))
        });
        assert!(w > 0 && h > 0 && x + w <= 24, "{id} is out of the 24 columns");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{id} lies on another panel at {cell:?}");
        }
    }
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "Grafana 10 or later");
}

#[test]
fn every_query_asks_the_chosen_data_source() {
    let dashboard = dashboard();
    let chosen = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    for panel in panels(&dashboard).iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        assert_eq!(panel["datasource"], chosen, "{title}");
        let targets = panel["targets"].as_array().expect("a list of queries");
        assert!(!targets.is_empty(), "{title} asks nothing");
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
        assert_eq!(refs.len(), targets.len(), "{title}: two queries have one name");
        for target in targets {
            assert_eq!(target["datasource"], chosen, "{title}");
            let query = target["expr"].as_str().expect("a query");
            assert!(query.contains("instance=~\"$instance\""), "{title}: {query}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("a list of variables");
    let named = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    assert_eq!(named("datasource").expect("it is chosen")["type"], "datasource");
    for name in ["instance", "upstream"] {
        assert_eq!(named(name).expect("it is chosen")["datasource"], chosen);
    }
}

#[test]
fn states_have_the_words_of_the_other_views() {
    let text = read("deploy/grafana/robin.json");
    for (state, words) in [
        ("up", "up"),
        ("full", "full"),
        ("probation", "on probation"),
        ("waiting", "waiting for first probe"),
        ("absent", "absent from DNS"),
        ("draining", "draining"),
        ("down", "down"),
        ("failing", "failing probes"),
        ("ejected", "ejected"),
    ] {
        assert!(text.contains(&format!("state=\\\"{state}\\\"")), "{state}");
        assert!(text.contains(&format!("\"text\": \"{words}\"")), "{words}");
    }
}

#[test]
fn the_observed_configuration_is_the_shipped_one_with_a_status_listener() {
    let settings = |path: &str| {
        let text = read(path);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut observed = settings("conf/robin.observe.yaml");
    assert_eq!(observed.remove(0), "status: 0.0.0.0:9180");
    assert_eq!(observed, settings("conf/robin.yaml"));
    config::load("conf/robin.observe.yaml".as_ref(), &LoadOptions::default())
        .unwrap_or_else(|diags| panic!("{diags}"));
}
