use super::*;
use crate::observe::view::{LookupView, QueueView};

fn upstream(name: &str) -> (UpstreamView, Totals) {
    let peers = vec![PeerView { requests: 3, ..PeerView::plain("10.0.0.1:80") }];
    let view = UpstreamView { name: name.to_owned(), peers, ..UpstreamView::default() };
    (view, Totals::default())
}

fn shown(upstreams: Vec<(UpstreamView, Totals)>) -> Vec<String> {
    let text = text(&StatusView::default(), upstreams, None);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_name_cannot_leave_its_label() {
    let lines = shown(vec![upstream("a\"} 1\nrobin_x{b=\"\\ü")]);
    let expected = r#"robin_retries_total{upstream="a\"} 1\nrobin_x{b=\"\\ü"} 0"#;
    assert!(lines.contains(&expected.to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("robin_x")), "{lines:#?}");
}

#[test]
fn two_upstreams_of_one_name_are_told_apart() {
    let lines = shown(vec![upstream("a:80"), upstream("a:80")]);
    for name in ["a:80", "a:80 (address)"] {
        let line = format!("robin_retries_total{{upstream=\"{name}\"}} 0");
        assert_eq!(lines.iter().filter(|known| **known == line).count(), 1, "{lines:#?}");
    }
}

#[test]
fn a_peer_has_one_state_of_all() {
    let lines = shown(vec![upstream("a")]);
    let states: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("robin_peer_state{")).collect();
    assert_eq!(states.len(), State::ALL.len());
    assert_eq!(states.iter().filter(|line| line.ends_with(" 1")).count(), 1, "{states:?}");
    assert!(states[0].contains("state=\"up\"") && states[0].ends_with(" 1"), "{states:?}");
}

#[test]
fn buckets_grow_to_the_count_of_all() {
    let tally = crate::upstream::Tally::default();
    for millis in [1, 3, 3, 70_000] {
        tally.first_byte.count(std::time::Duration::from_millis(millis));
    }
    let lines = shown(vec![(upstream("a").0, tally.read())]);
    let name = "robin_upstream_first_byte_seconds";
    for (rest, value) in [
        ("_bucket{upstream=\"a\",le=\"0.0005\"}", "0"),
        ("_bucket{upstream=\"a\",le=\"0.001\"}", "1"),
        ("_bucket{upstream=\"a\",le=\"0.005\"}", "3"),
        ("_bucket{upstream=\"a\",le=\"60\"}", "3"),
        ("_bucket{upstream=\"a\",le=\"+Inf\"}", "4"),
        ("_sum{upstream=\"a\"}", "70.007"),
        ("_count{upstream=\"a\"}", "4"),
    ] {
        assert!(lines.contains(&format!("{name}{rest} {value}")), "{rest}: {lines:#?}");
    }
}

#[test]
fn what_is_not_there_has_no_metric() {
    let lines = shown(vec![upstream("a")]);
    assert!(!lines.iter().any(|line| line.contains("robin_queue") || line.contains("robin_dns")));
    let lookup = LookupView {
        host: "api".into(),
        good: 2,
        bad: 1,
        age_ms: Some(1500),
        addresses: 3,
        error: None,
    };
    let queue = Some(QueueView { waiting: 4, max: 10, refused: 0 });
    let (view, totals) = upstream("a");
    let lines = shown(vec![(UpstreamView { queue, lookups: vec![lookup], ..view }, totals)]);
    for line in [
        "robin_queue_waiting{upstream=\"a\"} 4",
        "robin_dns_refreshes_total{upstream=\"a\",host=\"api\",result=\"failed\"} 1",
        "robin_dns_refresh_age_seconds{upstream=\"a\",host=\"api\"} 1.5",
    ] {
        assert!(lines.contains(&line.to_owned()), "{lines:#?}");
    }
}

#[test]
fn every_name_is_explained() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let docs = std::fs::read_to_string(docs).expect("it is part of the repository");
    let lookup = LookupView {
        host: "api".into(),
        good: 0,
        bad: 0,
        age_ms: Some(0),
        addresses: 0,
        error: None,
    };
    let queue = Some(QueueView { waiting: 0, max: 1, refused: 0 });
    let (view, totals) = upstream("a");
    let lines = shown(vec![(UpstreamView { queue, lookups: vec![lookup], ..view }, totals)]);
    let types = lines.iter().filter_map(|line| line.strip_prefix("# TYPE "));
    let rows = types.map(|line| line.split_once(' ').expect("a name and a type"));
    let missing: Vec<_> =
        rows.filter(|(name, kind)| !docs.contains(&format!("| `{name}` | {kind} |"))).collect();
    assert!(missing.is_empty(), "{missing:?} are not in docs/metrics.md");
    let of = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    // As the docs say; with a queue and one name.
    assert_eq!(of("peer=\"10.0.0.1:80\""), 22);
    assert_eq!(of("upstream=\"a\""), 66 + 3 + 3 + 22);
}
