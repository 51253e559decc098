//! What gRPC says in its own words: how long a call may take, and how it ended.
//!
//! A client of gRPC does not look at statuses of HTTP: what it is told stands in `grpc-status` and
//! `grpc-message`. An error of ours is a head that ends at once (`Trailers-Only`), with what
//! `http-grpc-status-mapping.md` makes of its status. See `docs/grpc.md`.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// How long a call may take, as its client says.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How a call ended, a number.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The same for people.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The type of all that gRPC sends.
pub const TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Its client's time is over.
const DEADLINE_EXCEEDED: u8 = 4;
/// The greatest number that a timeout may have: eight digits.
const MOST: u128 = 99_999_999;

/// Whether a request is one of gRPC, by its type: `application/grpc`, `application/grpc+proto`.
#[must_use]
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = kind.strip_prefix(TYPE.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long a call may take; none where nothing sound is said.
#[must_use]
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let sound = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| sound)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What an upstream is told of the time that is left, in the finest unit that has room for it.
#[must_use]
pub fn timeout_value(left: Duration) -> HeaderValue {
    let units = [("u", left.as_micros()), ("m", left.as_millis()), ("S", left.as_secs().into())];
    let fitting = units.into_iter().find(|(_, number)| *number <= MOST);
    let (unit, number) = fitting.unwrap_or(("S", MOST));
    HeaderValue::from_maybe_shared(bytes::Bytes::from(format!("{number}{unit}")))
        .unwrap_or(HeaderValue::from_static("0u"))
}

/// What becomes of a status of HTTP; `overdue` where the client's own time was over.
#[must_use]
pub fn status_of(status: u16, overdue: bool) -> u8 {
    match status {
        _ if overdue => DEADLINE_EXCEEDED,
        // INTERNAL
        400 | 500 => 13,
        // UNAUTHENTICATED
        401 => 16,
        // PERMISSION_DENIED
        403 => 7,
        // UNIMPLEMENTED
        404 => 12,
        // RESOURCE_EXHAUSTED, what a server says of a message that is too large
        413 => 8,
        // CANCELLED
        499 => 1,
        // UNAVAILABLE: the client may try again
        408 | 429 | 502..=504 => 14,
        // UNKNOWN
        _ => 2,
    }
}

/// A message as `grpc-message` has it: what is not printable, and `%`, is escaped.
#[must_use]
pub fn message(text: &str) -> HeaderValue {
    const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
    let escaped = utf8_percent_encode(text, ESCAPED).to_string();
    HeaderValue::from_str(&escaped).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_call_is_told_by_its_type() {
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&with(CONTENT_TYPE, kind)), call, "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_have_eight_digits_at_most_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000n", None),
            ("m", None),
            ("1", None),
            ("1x", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(timeout(&with(TIMEOUT, text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_said_as_finely_as_there_is_room_for() {
        for (left, expected) in [
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout_value(left), expected);
        }
    }

    #[test]
    fn statuses_are_mapped_and_messages_escaped() {
        for (status, expected) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (504, 14), (418, 2)]
        {
            assert_eq!(status_of(status, false), expected, "{status}");
        }
        assert_eq!(status_of(504, true), 4);
        assert_eq!(message("100 % ä\n"), "100 %25 %C3%A4%0A");
    }
}
