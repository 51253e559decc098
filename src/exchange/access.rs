//! Who may ask, by address (`ngx_http_access_module`), and what a client's address is behind
//! proxies (`ngx_http_realip_module`).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};

use super::forwarded;

use crate::config::model::site::{AccessRule, ClientSet, RealIp};

/// Whether a client may ask: nothing forbids it.
#[must_use]
pub fn may(rules: &[AccessRule], client: Option<IpAddr>) -> bool {
    verdict(rules, client) != Some(false)
}

/// What the first rule that fits says of a client; none where none fits. One whose connection has no
/// address came through a socket of the file system.
#[must_use]
pub fn verdict(rules: &[AccessRule], client: Option<IpAddr>) -> Option<bool> {
    let client = client.map(|address| address.to_canonical());
    rules.iter().find(|rule| holds(&rule.clients, client)).map(|rule| rule.allow)
}

fn holds(clients: &ClientSet, client: Option<IpAddr>) -> bool {
    match clients {
        ClientSet::All => true,
        ClientSet::Network(network) => client.is_some_and(|address| network.contains(&address)),
        ClientSet::Unix => client.is_none(),
    }
}

/// The client's address as a proxy that is believed says it; none where the connection's counts.
/// `proxied` is what the PROXY protocol says.
///
/// Of a list such as `X-Forwarded-For` the last address counts, or with `real_ip_recursive` the
/// last that is not such a proxy's.
#[must_use]
pub fn real_client(
    rule: &RealIp,
    headers: &HeaderMap,
    connection: Option<SocketAddr>,
    proxied: Option<SocketAddr>,
) -> Option<SocketAddr> {
    if !believes(rule, connection.map(|address| address.ip())) {
        return None;
    }
    let Some(header) = &rule.header else { return proxied };
    let lines = headers.get_all(header).iter().rev().map(HeaderValue::as_bytes);
    if *header == header::FORWARDED {
        return last(rule, lines.flat_map(|line| forwarded::hops(line).into_iter().rev()));
    }
    let hops = lines.flat_map(|line| line.rsplit(|b| matches!(b, b',' | b' ')));
    let hops = hops.filter(|hop| !hop.is_empty());
    last(rule, hops.map(|hop| std::str::from_utf8(hop).ok().and_then(parse)))
}

/// The address that counts of those that hops say, the last first; what is none ends them.
fn last(rule: &RealIp, hops: impl Iterator<Item = Option<SocketAddr>>) -> Option<SocketAddr> {
    let mut found = None;
    for address in hops {
        let Some(address) = address else { break };
        found = Some(address);
        if !rule.recursive || !believes(rule, Some(address.ip())) {
            break;
        }
    }
    found
}

/// Whether a proxy is one that may say for whom it asks.
#[must_use]
pub fn believes(rule: &RealIp, proxy: Option<IpAddr>) -> bool {
    let proxy = proxy.map(|address| address.to_canonical());
    rule.from.iter().any(|clients| holds(clients, proxy))
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
            header: Some(http::HeaderName::from_static("x-forwarded-for")),
            recursive: false,
        };
        let mut headers = HeaderMap::new();
        let list = "1.1.1.1, 2.2.2.2:99,10.0.0.9".parse().expect("a header value");
        headers.insert("x-forwarded-for", list);
        let proxy = Some(([10, 0, 0, 1], 5).into());
        assert_eq!(real_client(&rule, &headers, proxy, None), Some(([10, 0, 0, 9], 0).into()));
        rule.recursive = true;
        assert_eq!(real_client(&rule, &headers, proxy, None), Some(([2, 2, 2, 2], 99).into()));
        assert_eq!(real_client(&rule, &headers, Some(([11, 0, 0, 1], 5).into()), None), None);
    }

    #[test]
    fn forwarded_and_the_proxy_protocol_say_it_too() {
        let mut rule = RealIp {
            from: vec![ClientSet::Network("10.0.0.0/8".parse().expect("a network"))],
            header: Some(header::FORWARDED),
            recursive: true,
        };
        let mut headers = HeaderMap::new();
        let list = r#"for="[2001:db8::7]:47";proto=https, for=10.0.0.9;by=10.0.0.1"#;
        headers.insert("forwarded", list.parse().expect("a header value"));
        let proxy = Some(([10, 0, 0, 1], 5).into());
        let client: Option<SocketAddr> = "[2001:db8::7]:47".parse().ok();
        assert_eq!(real_client(&rule, &headers, proxy, None), client);
        rule.header = None;
        let said = Some(([192, 0, 2, 1], 9).into());
        assert_eq!(real_client(&rule, &headers, proxy, said), said);
        assert_eq!(real_client(&rule, &headers, said, said), None, "not from a stranger");
    }
}
