//! `Forwarded` (RFC 7239): for whom each proxy on the way has asked; and whose word about that, there and in
//! `X-Forwarded-*`, is passed on.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

/// How all headers begin that say what `Forwarded` does, and more than that: its port, its prefix.
const KIN: &str = "x-forwarded-";

/// Whether a client's `Forwarded` is heard, if its word counts at all. Beside any of its kin it is not: a proxy
/// that writes these may pass on what its own client says in `Forwarded`.
#[must_use]
pub fn is_heard(headers: &HeaderMap) -> bool {
    const SAME: [&str; 4] =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];
    !SAME.iter().any(|name| headers.contains_key(*name))
}

/// The headers in which a client says for whom it asks without being believed.
#[must_use]
pub fn unbelieved(headers: &HeaderMap, trusted: bool) -> Vec<HeaderName> {
    let drops = |name: &&HeaderName| match **name == header::FORWARDED {
        true => !(trusted && is_heard(headers)),
        false => !trusted && name.as_str().starts_with(KIN),
    };
    headers.keys().filter(drops).cloned().collect()
}

/// The `for` of each element of a line, in its order; none where it is hidden (`unknown`, `_name`) or
/// cannot be read.
#[must_use]
pub fn hops(line: &[u8]) -> Vec<Option<SocketAddr>> {
    let Ok(line) = std::str::from_utf8(line) else { return vec![None] };
    let elements = split(line, ',').into_iter();
    let elements = elements.filter(|element| !element.trim().is_empty());
    elements.map(|element| node(&value(element, "for")?)).collect()
}

/// What the proxy that has spoken last says of a parameter: the last element is its own.
#[must_use]
pub fn last(line: &[u8], wanted: &str) -> Option<String> {
    value(split(std::str::from_utf8(line).ok()?, ',').last()?, wanted)
}

/// The value of a parameter of an element, its quotes taken off.
fn value(element: &str, wanted: &str) -> Option<String> {
    split(element, ';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case(wanted) {
            return None;
        }
        let value = value.trim();
        let Some(quoted) = value.strip_prefix('"') else { return Some(value.to_owned()) };
        let mut text = String::new();
        let mut bytes = quoted.strip_suffix('"')?.chars();
        while let Some(c) = bytes.next() {
            text.push(if c == '\\' { bytes.next()? } else { c });
        }
        Some(text)
    })
}

/// The parts between separators that stand in no quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// A node: an IPv4 address, an IPv6 address in brackets, either with a port that may be hidden.
fn node(text: &str) -> Option<SocketAddr> {
    let (address, rest): (IpAddr, &str) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (IpAddr::V4(text[..end].parse().ok()?), &text[end..])
        }
    };
    let port = match rest.strip_prefix(':') {
        // An obfuscated port, as in `:_http`, hides nothing that is asked for here.
        Some(port) if port.starts_with('_') => 0,
        Some(port) => port.parse().ok()?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_element_is_the_last_proxy_s() {
        let line = br#"for=1.1.1.1;proto=http;host=forged, for=2.2.2.2;Proto=https;host="a:8443""#;
        assert_eq!(last(line, "proto").as_deref(), Some("https"));
        assert_eq!(last(line, "host").as_deref(), Some("a:8443"));
        assert_eq!(last(b"proto=http, for=1.1.1.1", "proto"), None);
        assert_eq!(last(b"", "proto"), None);
    }

    #[test]
    fn a_client_s_word_goes_no_further_than_it_is_believed() {
        let names = ["forwarded", "x-forwarded-prefix", "x-forwarded-for", "x-forwarded", "accept"];
        let of = |names: &[&'static str], trusted| {
            let headers = names.iter().map(|name| {
                (HeaderName::from_static(name), http::HeaderValue::from_static("for=1.1.1.1"))
            });
            let mut dropped: Vec<_> = unbelieved(&headers.collect(), trusted)
                .into_iter()
                .map(|name| name.as_str().to_owned())
                .collect();
            dropped.sort();
            dropped
        };
        assert_eq!(of(&names, false), ["forwarded", "x-forwarded-for", "x-forwarded-prefix"]);
        assert_eq!(of(&names, true), ["forwarded"], "beside its kin");
        assert_eq!(of(&["forwarded", "x-forwarded-prefix"], true), [""; 0]);
        assert_eq!(of(&["accept"], false), [""; 0]);
    }

    #[test]
    fn each_element_says_for_whom() {
        for (line, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60:0"][..]),
            (r#"For="[2001:db8:cafe::17]:4711""#, &["[2001:db8:cafe::17]:4711"]),
            ("for=192.0.2.43, for=198.51.100.17", &["192.0.2.43:0", "198.51.100.17:0"]),
            (r#"for="192.0.2.43:_port"; host="a,b;for=1.1.1.1""#, &["192.0.2.43:0"]),
            (r#"for="192.0.2.4\3""#, &["192.0.2.43:0"]),
            ("for=unknown, for=_hidden, proto=http", &["", "", ""]),
            ("for=2001:db8::1", &[""]),
            (r#"for="192.0.2.43"#, &[""]),
            ("for=192.0.2.43:99999", &[""]),
            ("", &[]),
        ] {
            let expected: Vec<Option<SocketAddr>> =
                expected.iter().map(|text| text.parse().ok()).collect();
            assert_eq!(hops(line.as_bytes()), expected, "{line}");
        }
    }
}
