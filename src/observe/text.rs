//! How text gets into a log line: `key=value`, numbers, and durations for a reader. Escaping is
//! [`super::escape`]'s.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Version;

pub(crate) use super::escape::push_escaped;
pub(super) use super::escape::{push_hex, unsafe_in_log};
pub(super) use crate::health::Short;
use crate::upstream::PeerAddress;

/// Appends a number in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends an address. As its `Display`, which takes ten times as long to write into a `Vec`; each line of
/// an access log has some.
pub(crate) fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else { return push_display(out, address) };
    let [first, rest @ ..] = address.octets();
    push_decimal(out, u64::from(first));
    for octet in rest {
        out.push(b'.');
        push_decimal(out, u64::from(octet));
    }
}

/// Appends the address of a peer.
pub(crate) fn push_peer(out: &mut Vec<u8>, peer: &PeerAddress) {
    let Some(SocketAddr::V4(address)) = peer.as_tcp() else { return push_display(out, peer) };
    push_ip(out, IpAddr::V4(*address.ip()));
    out.push(b':');
    push_decimal(out, u64::from(address.port()));
}

/// Appends what is printed.
pub(crate) fn push_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing into a Vec cannot fail, and none of the values' `Display` does.
    let _ = io::Write::write_fmt(out, format_args!("{value}"));
}

/// Appends a value of a `key=value` pair.
pub(super) fn push_value(out: &mut Vec<u8>, value: &str) {
    let value = Value(value);
    match value.is_bare() {
        true => out.extend_from_slice(value.0.as_bytes()),
        false => push_display(out, value),
    }
}

/// The protocol of a request line.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        // There is no other.
        _ => "HTTP/1.1",
    }
}

/// Appends seconds with three decimals, as nginx's `$request_time`.
pub(crate) fn push_seconds(out: &mut Vec<u8>, time: Duration) {
    push_decimal(out, time.as_secs());
    let millis = time.subsec_millis();
    let digit = |place: u32| b'0' + (millis / place % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// Text that prints escaped.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b if unsafe_in_log(b) => write!(f, "\\x{b:02X}"),
            b => f.write_char(char::from(b)),
        })
    }
}

/// The value of a `key=value` pair: escaped, and quoted where a reader could not see its end.
pub(super) struct Value<'a>(pub(super) &'a str);

impl Value<'_> {
    fn is_bare(&self) -> bool {
        let hides = |b: u8| unsafe_in_log(b) | matches!(b, b' ' | b'=');
        !self.0.is_empty() && !self.0.bytes().fold(false, |found, b| found | hides(b))
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_bare() {
            true => f.write_str(self.0),
            false => write!(f, "\"{}\"", Escaped(self.0)),
        }
    }
}

/// Escaped text, cut to so many characters, and not within a `\xHH`.
pub(super) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return text.into();
    }
    // What is escaped is ASCII, but for the mark of an earlier cut.
    let end = text.char_indices().nth(width.saturating_sub(1)).map_or(0, |(at, _)| at);
    let kept = &text[..end];
    let end = kept.rfind('\\').filter(|at| kept.len() - at < 4).unwrap_or(end);
    format!("{}…", &kept[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, text);
        String::from_utf8(out).expect("escaped text is ASCII")
    }

    #[test]
    fn text_is_escaped_as_nginx_does() {
        assert_eq!(escaped(b"plain /a?b=c'~"), "plain /a?b=c'~");
        assert_eq!(escaped(b"\"\\\n\x1b[2J\x7f"), r"\x22\x5C\x0A\x1B[2J\x7F");
        assert_eq!(escaped("é".as_bytes()), r"\xC3\xA9");
        assert_eq!(Escaped("\"é\u{1b}").to_string(), r"\x22\xC3\xA9\x1B");
    }

    #[test]
    fn a_value_is_quoted_only_where_its_end_would_not_be_seen() {
        for (value, printed) in [
            ("back-end", "back-end"),
            ("[::1]:80", "[::1]:80"),
            ("no such name", "\"no such name\""),
            ("", "\"\""),
            ("a=b", "\"a=b\""),
            ("x\ny", r#""x\x0Ay""#),
        ] {
            assert_eq!(Value(value).to_string(), printed);
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        for ip in ["0.0.0.0", "127.0.0.1", "255.10.9.100", "::1", "::ffff:1.2.3.4"] {
            let ip: IpAddr = ip.parse().expect("an address");
            for port in [0, 80, 65535] {
                let peer = PeerAddress::from((ip, port));
                let mut out = Vec::new();
                push_peer(&mut out, &peer);
                assert_eq!(out, peer.to_string().as_bytes());
            }
            let mut out = Vec::new();
            push_ip(&mut out, ip);
            assert_eq!(out, ip.to_string().as_bytes());
        }
    }

    #[test]
    fn durations_keep_two_units() {
        for (millis, printed) in [
            (0, "0s"),
            (7, "7ms"),
            (1_500, "1.5s"),
            (9_040, "9s"),
            (12_300, "12s"),
            (192_000, "3m12s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(Short(Duration::from_millis(millis)).to_string(), printed);
        }
    }

    #[test]
    fn seconds_have_three_decimals() {
        for (millis, printed) in [(0, "0.000"), (5, "0.005"), (61_234, "61.234")] {
            let mut out = Vec::new();
            push_seconds(&mut out, Duration::from_millis(millis));
            assert_eq!(out, printed.as_bytes());
        }
    }
}
