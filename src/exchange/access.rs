//! Who may ask, by address (`ngx_http_access_module`), and what a client's address is behind
//! proxies (`ngx_http_realip_module`).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::config::model::site::{AccessRule, ClientSet, RealIp};

/// Whether a client may ask: the first rule that fits decides. One whose connection has no address
/// came through a socket of the file system.
#[must_use]
pub fn may(rules: &[AccessRule], client: Option<IpAddr>) -> bool {
    let client = client.map(|address| address.to_canonical());
    rules.iter().find(|rule| holds(&rule.clients, client)).is_none_or(|rule| rule.allow)
}

fn holds(clients: &ClientSet, client: Option<IpAddr>) -> bool {
    match clients {
        ClientSet::All => true,
        ClientSet::Network(network) => client.is_some_and(|address| network.contains(&address)),
        ClientSet::Unix => client.is_none(),
    }
}

/// The client's address as a proxy that is believed says it; none where the connection's counts.
///
/// Of a list such as `X-Forwarded-For` the last address counts, or with `real_ip_recursive` the
/// last that is not such a proxy's.
#[must_use]
pub fn real_client(
    rule: &RealIp,
    headers: &HeaderMap,
    connection: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let believed = |client: Option<IpAddr>| {
        let client = client.map(|address| address.to_canonical());
        rule.from.iter().any(|clients| holds(clients, client))
    };
    if !believed(connection.map(|address| address.ip())) {
        return None;
    }
    let lines: Vec<&[u8]> = headers.get_all(&rule.header).iter().map(|v| v.as_bytes()).collect();
    let mut found = None;
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|b| matches!(b, b',' | b' ')));
    for hop in hops.filter(|hop| !hop.is_empty()) {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(parse) else { break };
        found = Some(address);
        if !rule.recursive || !believed(Some(address.ip())) {
            break;
        }
    }
    found
}

/// An address with or without a port.
fn parse(text: &str) -> Option<SocketAddr> {
    let bare = text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| SocketAddr::new(ip, 0));
    text.parse().or(bare).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let network = |text: &str| ClientSet::Network(text.parse().expect("a network"));
        let rules = [
            AccessRule { allow: false, clients: network("10.0.0.1/32") },
            AccessRule { allow: true, clients: network("10.0.0.0/8") },
            AccessRule { allow: false, clients: ClientSet::All },
        ];
        for (client, expected) in [("10.0.0.1", false), ("10.0.0.2", true), ("11.0.0.1", false)] {
            assert_eq!(may(&rules, client.parse().ok()), expected, "{client}");
        }
        assert!(!may(&rules, None), "a socket of the file system is among all");
        assert!(may(&[], None));
    }

    #[test]
    fn the_address_is_the_last_that_is_not_a_proxys() {
        let mut rule = RealIp {
            from: vec![ClientSet::Network("10.0.0.0/8".parse().expect("a network"))],
            header: http::HeaderName::from_static("x-forwarded-for"),
            recursive: false,
        };
        let mut headers = HeaderMap::new();
        let list = "1.1.1.1, 2.2.2.2:99,10.0.0.9".parse().expect("a header value");
        headers.insert("x-forwarded-for", list);
        let proxy = Some(([10, 0, 0, 1], 5).into());
        assert_eq!(real_client(&rule, &headers, proxy), Some(([10, 0, 0, 9], 0).into()));
        rule.recursive = true;
        assert_eq!(real_client(&rule, &headers, proxy), Some(([2, 2, 2, 2], 99).into()));
        assert_eq!(real_client(&rule, &headers, Some(([11, 0, 0, 1], 5).into())), None);
    }
}
