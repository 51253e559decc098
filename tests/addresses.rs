//! What DNS can say of one name, as clients of the running process see it: many addresses, both
//! families, service records.

mod common;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::client::{answered_by, get};
use common::dns::{Answer, DnsServer};
use common::eventually;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::Robin;

const SOON: Duration = Duration::from_secs(10);

fn origins(addresses: &[SocketAddr]) -> Vec<Origin> {
    addresses.iter().map(|address| Origin::start(*address, Behaviour::ok())).collect()
}

fn v4(address: &SocketAddr) -> Ipv4Addr {
    match address {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(_) => panic!("{address} is no IPv4 address"),
    }
}

/// How many of `count` requests each peer answered.
fn shares(listen: SocketAddr, count: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for name in answered_by(listen, "/", count) {
        *shares.entry(name).or_default() += 1;
    }
    shares
}

#[test]
fn a_name_with_two_hundred_addresses_has_two_hundred_peers() {
    let addresses = replicas(200);
    let _origins = origins(&addresses);
    let dns = DnsServer::start();
    dns.set("api.test", Answer::A(addresses.iter().map(v4).collect()));
    let (listen, port) = (free_address(), addresses[0].port());
    let yaml = format!(
        "listen: {listen}\nresolver: {}\nroutes: {{ /: api.test:{port} }}\n",
        dns.address()
    );
    let _robin = Robin::start(listen, &yaml);
    eventually("each answers one of 200 requests", SOON, || {
        let shares = shares(listen, 200);
        shares.len() == 200 && shares.values().all(|n| *n == 1)
    });
    assert!(dns.queries_over_tcp() > 0, "so many do not fit into a datagram");
}

#[test]
fn sixteen_replicas_and_one_over_ipv6_take_turns() {
    // Machines without IPv6 have nothing to test here.
    let addresses = replicas(16);
    let port = addresses[0].port();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if std::net::TcpListener::bind(six).is_err() {
        return;
    }
    let _origins = origins(&addresses);
    let _six = Origin::start(six, Behaviour::ok());
    let dns = DnsServer::start();
    let known = addresses.iter().map(v4).collect();
    dns.set("api.test", Answer::Both(known, vec![Ipv6Addr::LOCALHOST]));
    let listen = free_address();
    let yaml = format!(
        "listen: {listen}\nresolver: {{ servers: {}, ipv6: on }}\nroutes: {{ /: api.test:{port} }}\n",
        dns.address()
    );
    let _robin = Robin::start(listen, &yaml);
    eventually("each of 17 answers two of 34 requests", SOON, || {
        let shares = shares(listen, 34);
        shares.len() == 17
            && shares.contains_key(&six.to_string())
            && shares.values().all(|n| *n == 2)
    });
}

#[test]
fn an_address_listed_twice_gets_one_share() {
    let addresses = replicas(2);
    let _origins = origins(&addresses);
    let dns = DnsServer::start();
    let (one, two) = (v4(&addresses[0]), v4(&addresses[1]));
    dns.set("api.test", Answer::A(vec![one, two, one]));
    let (listen, port) = (free_address(), addresses[0].port());
    let yaml = format!(
        "listen: {listen}\nresolver: {}\nroutes: {{ /: api.test:{port} }}\n",
        dns.address()
    );
    let _robin = Robin::start(listen, &yaml);
    eventually("both answer half of the requests", SOON, || {
        let shares = shares(listen, 10);
        shares.len() == 2 && shares.values().all(|n| *n == 5)
    });
}

#[test]
fn service_records_share_by_weight_and_fall_back_by_priority() {
    // Each target has a port of its own, as containers on one host would.
    let addresses: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
    let mut origins = origins(&addresses);
    let dns = DnsServer::start();
    let targets = ["one.test.", "two.test.", "spare.test."];
    for (target, address) in targets.iter().zip(&addresses) {
        dns.set(target.trim_end_matches('.'), Answer::A(vec![v4(address)]));
    }
    let record = |priority, weight, n: usize| (priority, weight, addresses[n].port(), targets[n]);
    let records = vec![record(10, 3, 0), record(10, 1, 1), record(20, 9, 2)];
    dns.set("_http._tcp.api.test", Answer::Srv(records));
    let listen = free_address();
    let yaml = format!(
        "listen: {listen}\nresolver: {}\nupstreams:\n  api: {{ servers: [_http._tcp.api.test], refresh: 200ms }}\n\
         routes: {{ /: api }}\n",
        dns.address()
    );
    let _robin = Robin::start(listen, &yaml);
    let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    eventually("the weights are 3 and 1, and the last resort rests", SOON, || {
        let shares = shares(listen, 40);
        shares.get(&names[0]) == Some(&30)
            && shares.get(&names[1]) == Some(&10)
            && shares.len() == 2
    });
    let spare = origins.pop().expect("there are three");
    drop(origins);
    eventually("only the last resort is left", SOON, || get(listen, "/").replica() == names[2]);
    drop(spare);
}
