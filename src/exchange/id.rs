//! The id of a request: made here, or taken from who has sent it.
//!
//! What a client says is taken only where the configuration trusts it and it is one: it stands in
//! logs, in headers and on error pages as it came, so it must not be able to say anything else there.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::access;
use super::variables::is_trusted;
use crate::config::model::site::RealIp;

/// The header that says it.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken.
const LONGEST: usize = 128;

/// The id that a request came with, if it came with one that may be taken.
#[must_use]
pub fn said(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(HEADER).iter();
    let id = lines.next()?.to_str().ok()?;
    let is_one = lines.next().is_none()
        && (1..=LONGEST).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/+=@-".contains(&b));
    is_one.then_some(id)
}

/// Whether whoever is at the other end of the connection may say the id: anyone, unless the
/// configuration names those that may speak for clients.
#[must_use]
pub fn may_say(trust: &[IpNet], real_ip: Option<&RealIp>, peer: Option<SocketAddr>) -> bool {
    let anyone = trust.is_empty() && real_ip.is_none();
    let believed = real_ip.is_some_and(|rule| access::believes(rule, peer.map(|peer| peer.ip())));
    anyone || is_trusted(trust, peer) || believed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::site::ClientSet;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, http::HeaderValue::from_bytes(value).expect("a header value"));
        }
        headers
    }

    #[test]
    fn an_id_is_up_to_128_plain_characters_said_once() {
        let long = "a".repeat(LONGEST);
        for id in ["7", "Az09._:/+=@-", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", &long] {
            assert_eq!(said(&headers(&[id.as_bytes()])), Some(id));
        }
        let too_long = "a".repeat(LONGEST + 1);
        for bad in ["", " ", "a b", "a\"b", "a,b", "<b>", "a;b", "a%0Ab", "é", "\u{7}", &too_long]
        {
            let Ok(value) = http::HeaderValue::from_bytes(bad.as_bytes()) else { continue };
            let mut headers = HeaderMap::new();
            headers.append(HEADER, value);
            assert_eq!(said(&headers), None, "{bad:?}");
        }
        assert_eq!(said(&headers(&[b"a", b"b"])), None, "two ids are none");
        assert_eq!(said(&HeaderMap::new()), None);
    }

    #[test]
    fn anyone_may_say_it_unless_some_may_speak_for_clients() {
        let peer = |last| Some(SocketAddr::from(([10, 0, 0, last], 1)));
        let trust: [IpNet; 1] = ["10.0.0.1/32".parse().expect("a network")];
        let rule = RealIp {
            from: vec![ClientSet::Network("10.0.0.2/32".parse().expect("a network"))],
            header: Some(HeaderName::from_static("x-forwarded-for")),
            recursive: false,
        };
        assert!(may_say(&[], None, peer(9)) && may_say(&[], None, None));
        assert!(may_say(&trust, None, peer(1)) && !may_say(&trust, None, peer(2)));
        assert!(may_say(&[], Some(&rule), peer(2)) && !may_say(&[], Some(&rule), peer(9)));
        assert!(may_say(&trust, Some(&rule), peer(1)) && may_say(&trust, Some(&rule), peer(2)));
        assert!(!may_say(&trust, Some(&rule), None));
    }
}
