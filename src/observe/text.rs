//! How text gets into a log line: escaping, `key=value`, and durations for a reader.
//!
//! Escaping is nginx's (`ngx_http_log_escape`): `"`, `\`, control bytes and everything past ASCII
//! become `\xHH`. It serves all logs, so that a line is plain ASCII whatever a client sent.

use std::fmt::{self, Write as _};
use std::time::Duration;

pub(super) use crate::health::Short;

/// Whether the byte has to be escaped.
fn unsafe_in_log(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..=0x1f | 0x7f..)
}

/// Appends `text`, escaped.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    // Nearly every text needs nothing: runs are copied whole.
    while let Some(at) = rest.iter().position(|&b| unsafe_in_log(b)) {
        out.extend_from_slice(&rest[..at]);
        push_hex(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends `\xHH`.
pub(super) fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
}

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
        !self.0.is_empty() && !self.0.bytes().any(|b| unsafe_in_log(b) || matches!(b, b' ' | b'='))
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
