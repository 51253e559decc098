//! What discovery makes of the answers of a DNS server.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use common::dns::{Answer, DnsServer};
use hickory_proto::rr::RecordType;
use robin::config::model::{self, Host, Tier, Upstream, UpstreamServer};
use robin::discovery::{Discovery, Event, Reason, Refreshed, Resolver};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_millis(1200);

fn resolver(servers: &[&DnsServer]) -> Resolver {
    let servers = servers.iter().map(|s| s.address()).collect();
    let spec = model::Resolver { servers, timeout: LIMIT, ..model::Resolver::default() };
    Resolver::new(&spec).expect("a resolver").with_search(&[]).with_hosts("")
}

fn line(host: Host) -> UpstreamServer {
    UpstreamServer::at(host, 5252)
}

fn name(name: &str) -> UpstreamServer {
    line(Host::Name(name.into()))
}

fn discovery(resolver: Resolver, servers: Vec<UpstreamServer>) -> Discovery {
    let upstream = Upstream::new("back-end".into(), servers);
    Discovery::new(&upstream, Arc::new(resolver))
}

/// The members as text: address, then what differs from the default.
fn members(refreshed: &Refreshed) -> Vec<String> {
    let text = refreshed.members.iter().map(|m| {
        let mut text = m.address.to_string();
        if m.weight != 1 {
            text += &format!(" weight={}", m.weight);
        }
        if m.tier == Tier::Backup {
            text += " backup";
        }
        if m.absent {
            text += " absent";
        }
        text
    });
    text.collect()
}

async fn refresh(discovery: &Discovery) -> (Vec<String>, Vec<Event>) {
    let refreshed = discovery.refresh().await;
    (members(&refreshed), refreshed.events)
}

#[tokio::test]
async fn every_address_is_a_member_in_the_same_order_each_time() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.10", "172.18.0.4", "172.18.0.5"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    for _ in 0..4 {
        let (members, events) = refresh(&discovery).await;
        assert_eq!(members, ["172.18.0.4:5252", "172.18.0.5:5252", "172.18.0.10:5252"]);
        assert_eq!(events, []);
    }
    assert_eq!(dns.queries_for(RecordType::AAAA), 0);
}

#[tokio::test]
async fn a_changed_answer_is_seen_whatever_its_ttl_said() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
    dns.set("back-end", Answer::a(&["172.18.0.6", "172.18.0.5"]));
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.5:5252", "172.18.0.6:5252"]);
    assert_eq!(events, []);
}

#[tokio::test]
async fn aaaa_records_serve_where_there_is_no_a_record() {
    let dns = DnsServer::start();
    let v6: Vec<Ipv6Addr> = vec!["fd00::5".parse().unwrap(), "fd00::4".parse().unwrap()];
    dns.set("six", Answer::Aaaa(v6.clone()));
    dns.set("both", Answer::Both(vec![Ipv4Addr::new(172, 18, 0, 4)], v6));
    let discovery = discovery(resolver(&[&dns]), vec![name("both"), name("six")]);
    let (members, _) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252", "[fd00::4]:5252", "[fd00::5]:5252"]);
}

#[tokio::test]
async fn sixteen_replicas_have_an_address_of_each_family_that_is_asked_for() {
    let dns = DnsServer::start();
    let v4: Vec<Ipv4Addr> = (1..=16).map(|n| Ipv4Addr::new(172, 18, 0, n)).collect();
    let v6: Vec<Ipv6Addr> = (1..=16).map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n)).collect();
    dns.set("six", Answer::Aaaa(v6.clone()));
    dns.set("both", Answer::Both(v4.clone(), v6.clone()));
    let printed = |ips: Vec<std::net::IpAddr>| -> Vec<String> {
        ips.into_iter().map(|ip| std::net::SocketAddr::new(ip, 5252).to_string()).collect()
    };
    let first: Vec<std::net::IpAddr> = v4.into_iter().map(Into::into).collect();
    let second: Vec<std::net::IpAddr> = v6.into_iter().map(Into::into).collect();
    let six = discovery(resolver(&[&dns]), vec![name("six")]);
    assert_eq!(refresh(&six).await.0, printed(second.clone()));
    let plain = discovery(resolver(&[&dns]), vec![name("both")]);
    assert_eq!(refresh(&plain).await.0, printed(first.clone()));
    let spec = model::Resolver {
        servers: vec![dns.address()],
        timeout: LIMIT,
        ipv6: Some(true),
        ..model::Resolver::default()
    };
    let asked = Resolver::new(&spec).expect("a resolver").with_search(&[]).with_hosts("");
    let all = discovery(asked, vec![name("both")]);
    assert_eq!(refresh(&all).await.0, printed([first, second].concat()));
}

#[tokio::test]
async fn an_address_listed_twice_is_one_member() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4", "172.18.0.5", "172.18.0.4"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252", "172.18.0.5:5252"]);
}

#[tokio::test]
async fn nxdomain_without_aa_and_soa_marks_the_peers_absent_once() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4", "172.18.0.5"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    refresh(&discovery).await;
    dns.set("back-end", Answer::NxDomain);
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252 absent", "172.18.0.5:5252 absent"]);
    let gone = Event::Gone { host: "back-end".into(), reason: Reason::NoSuchName };
    assert_eq!(events, [gone]);
    assert_eq!(discovery.reason().as_deref(), Some("back-end: no such name (NXDOMAIN)"));

    // A failure brings nobody back, and is no news.
    dns.set("back-end", Answer::ServFail);
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252 absent", "172.18.0.5:5252 absent"]);
    assert_eq!(events, []);

    dns.set("back-end", Answer::a(&["172.18.0.9"]));
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.9:5252"]);
    assert_eq!(events, [Event::Recovered { host: "back-end".into(), addresses: 1 }]);
    assert_eq!(discovery.reason(), None);
}

#[tokio::test]
async fn an_empty_answer_marks_the_peers_absent() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    refresh(&discovery).await;
    dns.set("back-end", Answer::Empty);
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252 absent"]);
    assert_eq!(events, [Event::Gone { host: "back-end".into(), reason: Reason::NoAddress }]);
}

#[tokio::test]
async fn a_name_that_never_resolved_has_a_reason_and_recovers() {
    let dns = DnsServer::start();
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    assert_eq!(discovery.reason().as_deref(), Some("back-end: not looked up yet"));
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, [""; 0]);
    let unresolved = Event::Unresolved { host: "back-end".into(), error: Reason::NoSuchName };
    assert_eq!(events, [unresolved]);
    assert_eq!(refresh(&discovery).await.1, []);
    assert_eq!(discovery.reason().as_deref(), Some("back-end: no such name (NXDOMAIN)"));
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252"]);
    assert_eq!(events, [Event::Recovered { host: "back-end".into(), addresses: 1 }]);
}

#[tokio::test]
async fn servfail_keeps_the_last_good_peers_and_says_so_once() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4", "172.18.0.5"]));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    refresh(&discovery).await;
    for (answer, code, told) in
        [(Answer::ServFail, "SERVFAIL", true), (Answer::Refused, "REFUSED", false)]
    {
        dns.set("back-end", answer);
        let (members, events) = refresh(&discovery).await;
        assert_eq!(members, ["172.18.0.4:5252", "172.18.0.5:5252"]);
        let error = Reason::Refused { server: dns.address(), code: code.into() };
        let failed = Event::RefreshFailed { host: "back-end".into(), error, kept: 2 };
        assert_eq!(events, if told { vec![failed] } else { vec![] });
    }
    assert_eq!(discovery.reason(), None);
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252"]);
    assert_eq!(events, [Event::Recovered { host: "back-end".into(), addresses: 1 }]);
}

#[tokio::test]
async fn silence_keeps_the_last_good_peers_and_ends_within_the_limit() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let resolver = resolver(&[&dns]).with_search(&["lan", "example"]);
    let discovery = discovery(resolver, vec![name("back-end"), name("other")]);
    refresh(&discovery).await;
    for silent in ["back-end", "back-end.lan", "other", "other.lan", "other.example"] {
        dns.set(silent, Answer::Silence);
    }
    let begin = Instant::now();
    let (members, events) = refresh(&discovery).await;
    assert!(begin.elapsed() < LIMIT + Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(members, ["172.18.0.4:5252"]);
    let error = Reason::Timeout { server: dns.address() };
    assert_eq!(events, [Event::RefreshFailed { host: "back-end".into(), error, kept: 1 }]);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_asked_for_over_tcp() {
    let dns = DnsServer::start();
    let many: Vec<Ipv4Addr> = (0..200).map(|n| Ipv4Addr::new(172, 18, 1, n)).collect();
    dns.set("back-end", Answer::A(many));
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end")]);
    for _ in 0..3 {
        let (members, events) = refresh(&discovery).await;
        assert_eq!(members.len(), 200);
        assert_eq!(events, []);
    }
    assert!(dns.queries_over_tcp() >= 3);
}

#[tokio::test]
async fn names_are_asked_as_written_first_then_with_the_search_list() {
    let dns = DnsServer::start();
    dns.set("back-end.b.example", Answer::a(&["172.18.0.4"]));
    let resolver = resolver(&[&dns]).with_search(&["a.example", "b.example"]);
    let discovery = discovery(resolver, vec![name("back-end")]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
    assert_eq!(dns.asked(), ["back-end", "back-end.a.example", "back-end.b.example"]);
    dns.set("back-end", Answer::a(&["172.18.0.5"]));
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.5:5252"]);
}

#[tokio::test]
async fn a_name_found_as_written_is_gone_although_a_search_domain_fails() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    dns.set("back-end.lan", Answer::Silence);
    let resolver = resolver(&[&dns]).with_search(&["lan"]);
    let discovery = discovery(resolver, vec![name("back-end")]);
    refresh(&discovery).await;
    dns.set("back-end", Answer::NxDomain);
    let begin = Instant::now();
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252 absent"]);
    assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_name_found_under_a_search_domain_stays_while_that_domain_fails() {
    let dns = DnsServer::start();
    dns.set("back-end.ns.svc", Answer::a(&["172.18.0.4"]));
    let resolver = resolver(&[&dns]).with_search(&["ns.svc"]);
    let discovery = discovery(resolver, vec![name("back-end")]);
    refresh(&discovery).await;
    dns.set("back-end.ns.svc", Answer::ServFail);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
    dns.set("back-end.ns.svc", Answer::NxDomain);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252 absent"]);
}

#[tokio::test]
async fn a_failing_search_domain_is_named_when_nothing_was_ever_found() {
    let dns = DnsServer::start();
    dns.set("back-end.lan", Answer::ServFail);
    let resolver = resolver(&[&dns]).with_search(&["lan"]);
    let discovery = discovery(resolver, vec![name("back-end")]);
    refresh(&discovery).await;
    let server = dns.address();
    let reason = format!(
        "back-end: no such name (NXDOMAIN); with the search list: {server} answered SERVFAIL"
    );
    assert_eq!(discovery.reason(), Some(reason));
}

#[tokio::test]
async fn srv_records_give_ports_weights_and_backups() {
    let dns = DnsServer::start();
    let records = vec![
        (20, 0, 9003, "spare.example."),
        (10, 5, 9001, "one.example."),
        (10, 0, 9002, "two.example."),
        (10, 1, 9004, "left.example."),
    ];
    dns.set("_http._tcp.back-end", Answer::Srv(records));
    dns.set("one.example", Answer::a(&["172.18.0.4", "172.18.0.5"]));
    dns.set("two.example", Answer::a(&["172.18.0.4"]));
    dns.set("spare.example", Answer::a(&["172.18.0.9"]));
    let service = UpstreamServer {
        weight: NonZeroU32::new(2).unwrap(),
        ..line(Host::Service("_http._tcp.back-end".into()))
    };
    let discovery = discovery(resolver(&[&dns]), vec![service]);
    let good = [
        "172.18.0.4:9001 weight=10",
        "172.18.0.4:9002 weight=2",
        "172.18.0.5:9001 weight=10",
        "172.18.0.9:9003 weight=2 backup",
    ];
    assert_eq!(refresh(&discovery).await, (good.map(String::from).to_vec(), vec![]));

    // One target that cannot be looked up does not cost its addresses, nor the others' news.
    dns.set("one.example", Answer::ServFail);
    dns.set("spare.example", Answer::a(&["172.18.0.8"]));
    let (members, events) = refresh(&discovery).await;
    assert!(members.contains(&"172.18.0.5:9001 weight=10".to_string()), "{members:?}");
    assert!(members.contains(&"172.18.0.8:9003 weight=2 backup".to_string()), "{members:?}");
    assert!(matches!(events[..], [Event::RefreshFailed { kept: 5, .. }]), "{events:?}");

    dns.set("_http._tcp.back-end", Answer::Srv(vec![(0, 0, 0, ".")]));
    let (members, _) = refresh(&discovery).await;
    assert!(members.iter().all(|m| m.ends_with(" absent")), "{members:?}");
}

#[tokio::test]
async fn a_service_under_another_name_is_found_there() {
    let dns = DnsServer::start();
    dns.set("_http._tcp.back-end", Answer::Alias("_http._tcp.real.example."));
    dns.set("_http._tcp.real.example", Answer::Srv(vec![(1, 1, 9001, "one.example.")]));
    dns.set("one.example", Answer::Alias("two.example."));
    dns.set("two.example", Answer::a(&["172.18.0.4"]));
    let service = line(Host::Service("_http._tcp.back-end".into()));
    let discovery = discovery(resolver(&[&dns]), vec![service]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:9001"]);
}

#[tokio::test]
async fn a_dead_server_of_two_delays_only_the_first_lookups() {
    let (dead, live) = (DnsServer::start(), DnsServer::start());
    dead.set("back-end", Answer::Silence);
    live.set("back-end", Answer::a(&["172.18.0.4"]));
    let discovery = discovery(resolver(&[&dead, &live]), vec![name("back-end")]);
    for _ in 0..4 {
        let begin = Instant::now();
        assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
        assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
    }
    let begin = Instant::now();
    live.set("back-end", Answer::NxDomain);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252 absent"]);
    assert!(begin.elapsed() < LIMIT / 4, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_second_server_answers_where_the_first_fails() {
    let (first, second) = (DnsServer::start(), DnsServer::start());
    first.set("back-end", Answer::ServFail);
    second.set("back-end", Answer::a(&["172.18.0.4"]));
    let discovery = discovery(resolver(&[&first, &second]), vec![name("back-end")]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
}

#[tokio::test]
async fn a_second_server_is_not_believed_that_a_name_is_gone_while_the_first_is_slow() {
    let (first, second) = (DnsServer::start(), DnsServer::start());
    first.set("back-end", Answer::a(&["172.18.0.4"]));
    let discovery = discovery(resolver(&[&first, &second]), vec![name("back-end")]);
    refresh(&discovery).await;
    first.set("back-end", Answer::Silence);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252"]);
    assert_eq!(second.queries("back-end"), 1);
}

#[tokio::test]
async fn no_server_at_all_is_a_reason() {
    let dns = DnsServer::start();
    let resolver = resolver(&[&dns]);
    let address = dns.address();
    drop(dns);
    let discovery = discovery(resolver, vec![name("back-end")]);
    refresh(&discovery).await;
    let reason = discovery.reason().expect("a reason");
    assert!(reason.starts_with("back-end: "), "{reason}");
    assert!(reason.contains(&address.to_string()), "{reason}");
}

#[tokio::test]
async fn literal_addresses_and_localhost_ask_nobody() {
    let dns = DnsServer::start();
    let lines = vec![
        line(Host::Address("127.0.0.7".parse().unwrap())),
        name("127.0.0.8"),
        name("localhost"),
        line(Host::Address("::1".parse().unwrap())),
    ];
    let discovery = discovery(resolver(&[&dns]), lines);
    let (members, events) = refresh(&discovery).await;
    assert_eq!(members, ["127.0.0.7:5252", "127.0.0.8:5252", "127.0.0.1:5252", "[::1]:5252"]);
    assert_eq!(events, []);
    assert_eq!(dns.asked(), [""; 0]);
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let dns = DnsServer::start();
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    let hosts = "127.0.0.9 back-end alias # ours\n::1 localhost\n127.0.0.1 localhost\n";
    let resolver = resolver(&[&dns]).with_hosts(hosts);
    let discovery = discovery(resolver, vec![name("Back-End"), name("localhost")]);
    assert_eq!(refresh(&discovery).await.0, ["127.0.0.9:5252", "127.0.0.1:5252"]);
    assert_eq!(dns.asked(), [""; 0]);
}

#[tokio::test]
async fn of_two_lines_with_one_address_the_first_wins_unless_it_is_absent() {
    let dns = DnsServer::start();
    dns.set("one", Answer::a(&["172.18.0.4"]));
    dns.set("two", Answer::a(&["172.18.0.4", "172.18.0.5"]));
    let two = UpstreamServer { tier: Tier::Backup, ..name("two") };
    let discovery = discovery(resolver(&[&dns]), vec![name("one"), two]);
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252", "172.18.0.5:5252 backup"]);
    dns.set("one", Answer::NxDomain);
    let (members, _) = refresh(&discovery).await;
    assert_eq!(members, ["172.18.0.4:5252 backup", "172.18.0.5:5252 backup"]);
}

#[tokio::test]
async fn two_lines_with_one_host_ask_once_and_tell_once() {
    let dns = DnsServer::start();
    let other = UpstreamServer { port: 5353, ..name("back-end") };
    let discovery = discovery(resolver(&[&dns]), vec![name("back-end"), other]);
    assert_eq!(refresh(&discovery).await.1.len(), 1);
    assert_eq!(dns.queries("back-end"), 1);
    dns.set("back-end", Answer::a(&["172.18.0.4"]));
    assert_eq!(refresh(&discovery).await.0, ["172.18.0.4:5252", "172.18.0.4:5353"]);
}

#[tokio::test]
async fn a_refresh_can_be_a_task() {
    let dns = DnsServer::start();
    let discovery = Arc::new(discovery(resolver(&[&dns]), vec![name("back-end")]));
    let task = tokio::spawn(async move { discovery.refresh().await.members });
    assert_eq!(task.await.expect("no panic"), []);
}
