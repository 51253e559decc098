//! Lines of the access log: robin's own format, and its JSON.
//!
//! Only lines that name an upstream count: other containers of a stack log requests, too.

use jiff::fmt::strtime;
use serde_json::Value;

use super::event::Pairs;
use super::pairs;

/// A request that has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::top) struct Request {
    /// Its upstream; none where no route was found.
    pub(in crate::top) upstream: Option<String>,
    /// What the client got.
    pub(in crate::top) status: u16,
    /// How long it took.
    pub(in crate::top) millis: f64,
    /// Every try at a peer.
    pub(in crate::top) attempts: Vec<Attempt>,
}

/// One try at one peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::top) struct Attempt {
    /// The peer.
    pub(in crate::top) peer: String,
    /// The status of its answer, if one came.
    pub(in crate::top) status: Option<u16>,
    /// How long it took.
    pub(in crate::top) millis: f64,
}

/// `127.0.0.1 - - [21/Nov/2026:06:40:11 +0000] "GET / HTTP/1.1" 200 13 "-" "curl" upstream=…`
pub(super) fn text(line: &str) -> Option<(Option<u64>, Request)> {
    // A user's name may have a bracket.
    let stamped = line.match_indices(" [").find_map(|(at, begin)| {
        let (stamp, rest) = line[at + begin.len()..].split_once("] ")?;
        Some((stamp_millis(stamp)?, rest))
    });
    let (at, rest) = stamped?;
    let (_, rest) = pairs::value(rest);
    let (status, rest) = rest.trim_start().split_once(' ')?;
    let (_, rest) = rest.split_once(' ')?;
    let (_, rest) = pairs::value(rest);
    let (_, rest) = pairs::value(rest.trim_start());
    let fields = pairs::pairs(rest);
    let field = |key: &str| fields.iter().find(|(known, _)| known == key).map(|(_, v)| v.as_str());
    let request = Request {
        upstream: Some(field("upstream")?).filter(|name| *name != "-").map(str::to_owned),
        status: status.parse().ok()?,
        millis: field("time").and_then(seconds).unwrap_or(0.0),
        attempts: attempts(field("attempts").unwrap_or("-")),
    };
    Some((Some(at), request))
}

fn stamp_millis(stamp: &str) -> Option<u64> {
    let parsed = strtime::parse("%d/%b/%Y:%H:%M:%S %z", stamp).ok()?;
    u64::try_from(parsed.to_timestamp().ok()?.as_millisecond()).ok()
}

/// Seconds with decimals, in milliseconds.
fn seconds(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).map(|seconds| seconds * 1000.0)
}

/// `172.18.0.4:5252 - 0.001 connect refused, 172.18.0.5:5252 200 0.004`
fn attempts(text: &str) -> Vec<Attempt> {
    let attempt = |text: &str| {
        let mut words = text.splitn(4, ' ');
        let peer = words.next().filter(|peer| *peer != "-")?.to_owned();
        let status = words.next()?.parse().ok();
        Some(Attempt { peer, status, millis: words.next().and_then(seconds)? })
    };
    text.split(", ").filter_map(attempt).collect()
}

/// An object with a status and an upstream or attempts.
pub(super) fn json(object: &Pairs) -> Option<Request> {
    object.get("attempts").or_else(|| object.get("upstream"))?;
    let attempts = match object.get("attempts") {
        Some(Value::Array(items)) => items.iter().filter_map(attempt).collect(),
        Some(Value::String(text)) => attempts(text),
        _ => Vec::new(),
    };
    let upstream = object.get("upstream").and_then(Value::as_str).filter(|name| *name != "-");
    Some(Request {
        upstream: upstream.map(str::to_owned),
        status: number(object.get("status")?)?,
        millis: object.get("time_ms").and_then(float).unwrap_or(0.0),
        attempts,
    })
}

fn attempt(value: &Value) -> Option<Attempt> {
    let peer = value.get("peer").or_else(|| value.get("address"))?.as_str()?;
    Some(Attempt {
        peer: peer.to_owned(),
        status: value.get("status").and_then(number),
        millis: value.get("time_ms").and_then(float).unwrap_or(0.0),
    })
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok().filter(|float: &f64| float.is_finite()),
        other => other.as_f64(),
    }
}
