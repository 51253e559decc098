//! What an object looks like, and that it is one whatever a client sends.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{Method, Version};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::*;
use crate::observe::access::Measured;
use crate::upstream::PeerAddress;

const GET: RequestLine<'_> =
    RequestLine::Parsed { method: &Method::GET, target: b"/a?x=1", version: Version::HTTP_11 };

fn record() -> Record<'static> {
    Record {
        client: Some(IpAddr::from([127, 0, 0, 1])),
        user: None,
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_243_211_123),
        request: GET,
        status: 200,
        body_bytes: 13,
        host: Some("example.org"),
        referer: None,
        user_agent: None,
        upstream: None,
        attempts: &[],
        time: Duration::from_micros(5_012),
        id: "9f31c0d2",
        trace_id: None,
        reason: None,
    }
}

fn printed(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    format(&mut out, record, &mut IsoStamp::new(TimeZone::UTC));
    let line = String::from_utf8(out).expect("a line is UTF-8");
    line.strip_suffix('\n').expect("a line ends in a newline").to_owned()
}

fn attempt(status: Option<u16>, error: Option<&'static str>) -> Attempt {
    Attempt {
        address: PeerAddress::from(([172, 18, 0, 4], 5252)),
        status,
        time: Duration::from_millis(4),
        error: error.map(Into::into),
        measured: Measured::default(),
    }
}

#[test]
fn a_line_has_these_keys_in_this_order() {
    let agent = HeaderValue::from_static("curl/7.88");
    let attempts = [attempt(None, Some("connect refused")), attempt(Some(200), None)];
    let record = Record {
        user_agent: Some(&agent),
        upstream: Some("back-end"),
        attempts: &attempts,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        reason: Some("why"),
        ..record()
    };
    let golden = include_str!("../../../../tests/golden/access_log.json");
    assert_eq!(printed(&record), golden.trim_end());
}

#[test]
fn what_was_not_understood_is_a_line_and_what_is_missing_null() {
    let request = RequestLine::Raw(b"GET / x\x16");
    let line = printed(&Record { client: None, host: None, request, ..record() });
    let json: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["line"], "GET / x\u{16}");
    for key in ["method", "target", "protocol", "host", "referer", "user_agent", "upstream"] {
        assert!(json.get(key).is_some_and(Value::is_null), "{key}: {line}");
    }
    assert_eq!(json["client"], "unix:");
    assert!(json.get("reason").is_none() && json.get("trace_id").is_none(), "{line}");
}

#[test]
fn text_is_what_was_sent_but_for_what_is_no_text() {
    let agent = HeaderValue::from_bytes("é \u{9b}2J \u{2028}\u{1f426}".as_bytes()).expect("legal");
    let referer = HeaderValue::from_bytes(b"a\"b\\c\td \xff\xc3").expect("legal");
    let line = printed(&Record { user_agent: Some(&agent), referer: Some(&referer), ..record() });
    assert!(line.contains(r#""user_agent":"é \u009b2J "#), "{line}");
    assert!(line.contains(r#""referer":"a\"b\\c\td "#), "{line}");
    let json: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["user_agent"], "é \u{9b}2J \u{2028}\u{1f426}");
    assert_eq!(json["referer"], "a\"b\\c\td \u{fffd}\u{fffd}");
}

/// What a client chooses, at random: bytes, pieces of UTF-8 cut anywhere, what JSON escapes.
fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..40) {
        match random.u8(..4) {
            0 => bytes.push(random.u8(..)),
            1 => bytes.push(*random.choice(b"\"\\/\n\r\t\x00\x1f\x7f").expect("not empty")),
            2 => {
                let text = random.char(..).to_string().into_bytes();
                bytes.extend_from_slice(&text[..random.usize(1..=text.len())]);
            }
            _ => bytes.push(random.u8(b' '..=b'~')),
        }
    }
    bytes
}

#[test]
fn a_line_is_one_object_whatever_bytes_come() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..4_000 {
        let [line, target, agent, reason] = std::array::from_fn(|_| noise(&mut random));
        let agent = HeaderValue::from_bytes(&agent).ok();
        let reason = String::from_utf8_lossy(&reason).into_owned();
        let request = match round % 2 {
            0 => RequestLine::Raw(&line),
            _ => RequestLine::Parsed {
                method: &Method::GET,
                target: &target,
                version: Version::HTTP_2,
            },
        };
        let record = Record {
            request,
            user_agent: agent.as_ref(),
            host: Some(&reason),
            reason: Some(&reason),
            ..record()
        };
        let printed = printed(&record);
        assert!(!printed.contains(char::is_control), "{printed:?}");
        let json: Value =
            serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
        let (key, sent) = if round % 2 == 0 { ("line", &line) } else { ("target", &target) };
        assert_eq!(json[key], *String::from_utf8_lossy(sent));
        assert_eq!(json["reason"], *reason);
        let agent = agent.map_or(Value::Null, |a| String::from_utf8_lossy(a.as_bytes()).into());
        assert_eq!(json["user_agent"], agent);
    }
}
