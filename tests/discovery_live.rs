//! How the running process follows DNS: replicas that come, leave, move or hang.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use common::client::{answered_by, get};
use common::dns::{Answer, DnsServer};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Blackhole, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually, lock};
use tokio::time::Instant;

/// What the issue grants a new replica, and as much again for a busy machine.
const REFRESHED: Duration = Duration::from_secs(4);

/// Replicas of one service, a DNS server that knows them as `api.test`, and robin before them.
struct Service {
    dns: DnsServer,
    origins: Vec<Origin>,
    listen: SocketAddr,
}

impl Service {
    /// `count` replicas that answer; DNS has the first `known`.
    fn new(count: usize, known: usize) -> Self {
        let origins = replicas(count).into_iter().map(|a| Origin::start(a, Behaviour::ok()));
        let service =
            Self { dns: DnsServer::start(), origins: origins.collect(), listen: free_address() };
        service.publish(0..known);
        service
    }

    fn publish(&self, replicas: std::ops::Range<usize>) {
        self.dns.set("api.test", self.answer(replicas));
    }

    fn answer(&self, replicas: std::ops::Range<usize>) -> Answer {
        let addresses: Vec<SocketAddr> =
            self.origins[replicas].iter().map(Origin::address).collect();
        Answer::of(&addresses)
    }

    fn name(&self, index: usize) -> String {
        self.origins[index].address().to_string()
    }

    /// A configuration for them.
    fn yaml(&self, refresh: &str) -> String {
        let (listen, dns) = (self.listen, self.dns.address());
        let port = self.origins[0].address().port();
        format!(
            "listen: {listen}\nresolver: {{ servers: {dns}, timeout: 500ms }}\nerror_details: on\n\
             upstreams:\n  back-end: {{ servers: [api.test:{port}], refresh: {refresh} }}\n\
             routes: {{ /: back-end }}\n"
        )
    }

    fn robin(&self, refresh: &str) -> Robin {
        Robin::start(self.listen, &self.yaml(refresh))
    }

    /// Waits until exactly these replicas serve, strictly in turn.
    #[track_caller]
    fn await_turns(&self, indices: &[usize]) {
        let mut expected: Vec<String> = indices.iter().map(|i| self.name(*i)).collect();
        expected.sort_unstable();
        eventually("the replicas of DNS serve in turn", REFRESHED, || {
            let answers = answered_by(self.listen, "/", 2 * expected.len());
            let (first, second) = answers.split_at(expected.len());
            let mut sorted = first.to_vec();
            sorted.sort_unstable();
            first == second && sorted == expected
        });
    }
}

#[test]
fn replicas_that_dns_adds_serve_and_those_it_drops_do_not() {
    let service = Service::new(5, 2);
    let robin = service.robin("1s");
    service.await_turns(&[0, 1]);
    service.publish(0..5);
    service.await_turns(&[0, 1, 2, 3, 4]);
    robin.wait_for_line(Output::Stderr, &["peer joined", "upstream=back-end", &service.name(4)]);

    service.publish(2..3);
    service.await_turns(&[2]);
    robin.wait_for_line(Output::Stderr, &["peer left", "upstream=back-end", &service.name(0)]);
    let served: Vec<usize> = service.origins.iter().map(Origin::count).collect();
    assert_eq!(answered_by(service.listen, "/", 10), vec![service.name(2); 10]);
    let served_later: Vec<usize> = service.origins.iter().map(Origin::count).collect();
    assert_eq!(served_later[2], served[2] + 10);
    assert_eq!((&served_later[..2], &served_later[3..]), (&served[..2], &served[3..]));
}

#[test]
fn the_order_of_an_answer_does_not_disturb_the_turns() {
    // The DNS server turns its answer at each question.
    let service = Service::new(4, 4);
    let _robin = service.robin("100ms");
    service.await_turns(&[0, 1, 2, 3]);
    let first = answered_by(service.listen, "/", 4);
    let asked = service.dns.queries("api.test");
    let mut refreshed = 0;
    while refreshed < 5 {
        assert_eq!(answered_by(service.listen, "/", 4), first);
        refreshed = service.dns.queries("api.test") - asked;
    }
}

#[test]
fn a_name_that_is_gone_is_a_502_with_the_reason_until_it_is_back() {
    for (answer, reason) in [
        (Answer::NxDomain, "no such name (NXDOMAIN)"),
        (Answer::Empty, "no address (empty answer)"),
    ] {
        let mut service = Service::new(2, 2);
        // Long: what is learnt, is learnt because a connect fails.
        let robin = service.robin("60s");
        service.await_turns(&[0, 1]);
        service.dns.set("api.test", answer);
        for origin in &mut service.origins {
            origin.set(Behaviour::Refuse);
        }
        assert_eq!(get(service.listen, "/").status(), 502);
        eventually("the page says why", REFRESHED, || {
            let answer = get(service.listen, "/");
            assert_eq!(answer.status(), 502);
            let text = answer.text();
            text.contains("2 peers, 2 absent from DNS") && text.contains(reason)
        });
        robin.wait_for_line(Output::Stdout, &[" 502 ", "2 absent from DNS", "api.test", reason]);
        robin.wait_for_line(
            Output::Stderr,
            &["name has no address any more", "upstream=back-end", "host=api.test", reason],
        );
        robin.wait_for_line(Output::Stderr, &["no peer available", "upstream=back-end"]);
    }
}

#[test]
fn a_name_that_comes_back_serves_again() {
    let mut service = Service::new(3, 2);
    let robin = service.robin("60s");
    service.await_turns(&[0, 1]);
    service.dns.set("api.test", Answer::NxDomain);
    service.origins[0].set(Behaviour::Refuse);
    service.origins[1].set(Behaviour::Refuse);
    eventually("nobody serves", REFRESHED, || {
        get(service.listen, "/").text().contains("absent from DNS")
    });
    // Under another address, as a container that was created anew, beside one that is as it was.
    service.origins[1].set(Behaviour::ok());
    service.publish(1..3);
    service.await_turns(&[1, 2]);
    robin.wait_for_line(Output::Stderr, &["refresh recovered", "host=api.test", "peers=2"]);
    eventually("a request tells that the outage is over", PATIENCE, || {
        let _ = get(service.listen, "/");
        robin.stderr_has("peer available again upstream=back-end")
    });
}

#[test]
fn a_start_before_the_name_exists_is_a_502_with_the_reason_and_recovers() {
    for (answer, reason) in [
        (Answer::NxDomain, "no such name (NXDOMAIN)"),
        (Answer::Empty, "no address (empty answer)"),
        (Answer::ServFail, "answered SERVFAIL"),
        (Answer::Silence, "no answer from"),
    ] {
        let service = Service::new(2, 2);
        service.dns.set("api.test", answer);
        // Long: nobody can fail to connect to a name without an address, and yet it recovers.
        let robin = service.robin("60s");
        eventually("the page says why", REFRESHED, || {
            let answer = get(service.listen, "/");
            assert_eq!(answer.status(), 502);
            let text = answer.text();
            text.contains("upstream back-end: no addresses yet (api.test: ")
                && text.contains(reason)
        });
        robin.wait_for_line(Output::Stdout, &[" 502 ", "no addresses yet", reason]);
        robin.wait_for_line(Output::Stderr, &["name has no address yet", "host=api.test", reason]);
        service.publish(0..2);
        service.await_turns(&[0, 1]);
    }
}

#[test]
fn a_dns_server_that_fails_takes_no_peer_away_and_is_told_once() {
    for (answer, reason) in [
        (Answer::ServFail, "SERVFAIL"),
        (Answer::Refused, "REFUSED"),
        (Answer::Silence, "no answer from"),
    ] {
        let service = Service::new(3, 2);
        let robin = service.robin("100ms");
        service.await_turns(&[0, 1]);
        service.dns.set("api.test", answer);
        let failed = ["refresh failed, keeping peers", "host=api.test", "peers=2", reason];
        robin.wait_for_line(Output::Stderr, &failed);
        let asked = service.dns.queries("api.test");
        eventually("it was asked again", PATIENCE, || {
            service.await_turns(&[0, 1]);
            service.dns.queries("api.test") > asked + 3
        });
        assert_eq!(robin.count_lines(Output::Stderr, &failed), 1);
        service.publish(0..3);
        service.await_turns(&[0, 1, 2]);
        robin.wait_for_line(Output::Stderr, &["refresh recovered", "peers=3"]);
    }
}

#[test]
fn a_name_with_sixty_addresses_has_sixty_peers() {
    let service = Service::new(60, 60);
    let _robin = service.robin("1s");
    service.await_turns(&(0..60).collect::<Vec<_>>());
}

#[test]
fn several_names_make_one_upstream() {
    let addresses = replicas(3);
    let origins: Vec<_> = addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let dns = DnsServer::start();
    dns.set("one.test", Answer::of(&addresses[..2]));
    dns.set("two.test", Answer::of(&addresses[2..3]));
    let (listen, port) = (free_address(), addresses[0].port());
    let yaml = format!(
        "listen: {listen}\nresolver: {}\nupstreams:\n  back-end:\n    refresh: 200ms\n    \
         servers: [one.test:{port}, two.test:{port}]\nroutes: {{ /: back-end }}\n",
        dns.address()
    );
    let _robin = Robin::start(listen, &yaml);
    let served = |expected: &[usize]| {
        let mut names = answered_by(listen, "/", expected.len());
        names.sort_unstable();
        let mut wanted: Vec<_> = expected.iter().map(|i| addresses[*i].to_string()).collect();
        wanted.sort_unstable();
        names == wanted
    };
    eventually("all three serve", REFRESHED, || served(&[0, 1, 2]));
    // One name without an answer does not touch what the other one has.
    dns.set("one.test", Answer::NxDomain);
    drop(origins.into_iter().take(2).collect::<Vec<_>>());
    let _third = Origin::start(addresses[2], Behaviour::ok());
    eventually("the other name serves alone", REFRESHED, || served(&[2, 2, 2]));
}

#[test]
fn a_target_written_in_a_route_is_looked_up_as_an_upstream_is() {
    let service = Service::new(2, 0);
    service.dns.set("api.test", Answer::NxDomain);
    let (listen, dns) = (service.listen, service.dns.address());
    let target = format!("api.test:{}", service.origins[0].address().port());
    let yaml = format!(
        "listen: {listen}\nresolver: {dns}\nerror_details: on\nroutes: {{ /: \"{target}\" }}\n"
    );
    let _robin = Robin::start(listen, &yaml);
    let text = get(listen, "/").text();
    assert!(text.contains(&format!("upstream {target}: no addresses yet")), "{text}");
    service.publish(0..1);
    service.await_turns(&[0]);
    service.publish(1..2);
    service.await_turns(&[1]);
}

#[test]
fn ipv6_addresses_serve_where_there_is_no_other() {
    // Machines without IPv6 have nothing to test here.
    let Ok(free) = std::net::TcpListener::bind("[::1]:0") else { return };
    let address = free.local_addr().expect("a bound socket has an address");
    drop(free);
    let _origin = Origin::start(address, Behaviour::ok());
    let dns = DnsServer::start();
    dns.set("api.test", Answer::Aaaa(vec![std::net::Ipv6Addr::LOCALHOST]));
    let listen = free_address();
    let target = format!("api.test:{}", address.port());
    let _robin = Robin::start(
        listen,
        &format!("listen: {listen}\nresolver: {}\nroutes: {{ /: \"{target}\" }}\n", dns.address()),
    );
    eventually("it serves", REFRESHED, || get(listen, "/").replica() == address.to_string());
}

#[test]
fn a_failed_connect_asks_dns_at_once() {
    let mut service = Service::new(2, 1);
    let _robin = service.robin("60s");
    service.await_turns(&[0]);
    service.publish(1..2);
    service.origins[0].set(Behaviour::Refuse);
    // The first request finds out; none of those after it needs to wait for the minute to end.
    let _ = get(service.listen, "/");
    service.await_turns(&[1]);
}

#[test]
fn a_flood_of_failures_asks_dns_ten_times_a_second_at_most() {
    let mut service = Service::new(1, 1);
    let _robin = service.robin("60s");
    service.await_turns(&[0]);
    service.origins[0].set(Behaviour::Refuse);
    let asked = service.dns.queries("api.test");
    let begin = Instant::now();
    let failures = std::sync::Mutex::new(0);
    let flood = || {
        while begin.elapsed() < Duration::from_secs(2) {
            assert_eq!(get(service.listen, "/").status(), 502);
            *lock(&failures) += 1;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(flood);
        }
    });
    let asked = service.dns.queries("api.test") - asked;
    // One question a refresh, since there is an A record; one more at either end.
    let most = usize::try_from(begin.elapsed().as_millis() / 100).expect("a short time") + 2;
    assert!((5..=most).contains(&asked), "{asked} questions, {most} at most");
    assert!(*lock(&failures) > 2 * most, "this was no flood");
}

#[test]
fn a_connect_that_hangs_is_given_up_when_its_peer_leaves_dns() {
    let mut service = Service::new(2, 2);
    service.origins[0].set(Behaviour::Refuse);
    let _hole = Blackhole::start(service.origins[0].address());
    let _robin = service.robin("200ms");
    std::thread::scope(|scope| {
        // Two at once: it is the turn of the hole for one of them.
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(|| get(service.listen, "/"))).collect();
        eventually("the other one is served", PATIENCE, || service.origins[1].count() == 1);
        service.publish(1..2);
        for client in clients {
            assert_eq!(client.join().expect("an answer").replica(), service.name(1));
        }
    });
}

#[test]
fn a_connect_that_hangs_is_a_502_once_its_name_is_gone() {
    let mut service = Service::new(1, 1);
    service.origins[0].set(Behaviour::Refuse);
    let _hole = Blackhole::start(service.origins[0].address());
    let _robin = service.robin("200ms");
    eventually("the name was looked up", PATIENCE, || service.dns.queries("api.test") > 1);
    let answer = std::thread::scope(|scope| {
        let client = scope.spawn(|| get(service.listen, "/"));
        service.dns.set("api.test", Answer::NxDomain);
        client.join().expect("an answer")
    });
    assert_eq!(answer.status(), 502);
    // The reason is the connect's or, where the answer of DNS was faster, that of DNS.
    let text = answer.text();
    assert!(text.contains("left DNS") || text.contains("absent from DNS"), "{text}");
}

#[test]
fn a_connect_that_hangs_makes_dns_be_asked() {
    let mut service = Service::new(2, 2);
    service.origins[0].set(Behaviour::Refuse);
    let _hole = Blackhole::start(service.origins[0].address());
    let _robin = service.robin("60s");
    eventually("DNS was asked", PATIENCE, || service.dns.queries("api.test") > 0);
    service.publish(1..2);
    assert_eq!(answered_by(service.listen, "/", 4), vec![service.name(1); 4]);
}

#[test]
fn no_request_is_lost_while_replicas_come_and_go() {
    let mut service = Service::new(5, 2);
    let robin = service.robin("200ms");
    service.await_turns(&[0, 1]);
    let listen = service.listen;
    let stop = AtomicBool::new(false);
    // Should the test fail, its clients end all the same.
    let end = Instant::now() + 6 * PATIENCE;
    std::thread::scope(|scope| {
        let load = || {
            let mut lost = Vec::new();
            while !stop.load(SeqCst) && Instant::now() < end {
                let answer = get(listen, "/");
                if answer.status() != 200 {
                    lost.push(answer.text());
                }
            }
            lost
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        let served = |service: &Service, index: usize, more: usize| {
            let before = service.origins[index].count();
            eventually("it serves", PATIENCE, || service.origins[index].count() > before + more);
        };
        service.publish(0..5);
        served(&service, 4, 10);
        // As Docker does it: the process ends, and a moment later the name loses its address.
        for last in (1..5).rev() {
            service.origins[last].set(Behaviour::Refuse);
            served(&service, 0, 10);
            service.publish(0..last);
        }
        robin.wait_for_line(Output::Stderr, &["peer left", &service.name(1)]);
        service.origins[2].set(Behaviour::ok());
        service.publish(0..3);
        served(&service, 2, 10);
        stop.store(true, SeqCst);
        for client in clients {
            assert_eq!(client.join().expect("every request has an answer"), Vec::<String>::new());
        }
    });
}
