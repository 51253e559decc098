//! What is done to the head of every answer, ours and upstreams': nginx's header filters.
//!
//! Their order is nginx's, since each sees what the one before has left: conditions of the request
//! ([`conditions`]), added headers ([`headers`]), the charset ([`charset`]), packing ([`gzip`]),
//! ranges ([`ranges`]). Each is a function on a [`Head`]; what becomes of the body is said in a
//! [`Plan`], for who sends it to carry out. Answers of upstreams have had their conditions and
//! ranges heeded by the upstream.

pub mod charset;
pub mod conditions;
pub mod gzip;
pub mod headers;
pub mod ranges;
pub mod trailers;

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::failure::Failure;
use super::variables::Facts;
use crate::config::model::site::{Answers, Files};

/// The head of an answer, in whoever's type.
pub trait Head {
    /// Its status.
    fn status(&self) -> u16;
    /// Gives it another status.
    fn set_status(&mut self, status: u16);
    /// Its headers.
    fn headers(&self) -> &HeaderMap;
    /// Puts one line in the place of all of a name.
    fn set(&mut self, name: &HeaderName, value: HeaderValue);
    /// Adds a line, its name as it is written.
    fn add(&mut self, name: &HeaderName, written: &Bytes, value: HeaderValue);
    /// Takes all lines of a name away.
    fn remove(&mut self, name: &HeaderName);
}

/// What becomes of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// It is sent as it is.
    #[default]
    Whole,
    /// It is not sent: the answer has none.
    Nothing,
    /// It is packed, this hard.
    Packed(u8),
    /// These parts of it are sent.
    Parts(ranges::Parts),
}

/// What an answer of our own lets be done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Whether the request's conditions are heeded.
    pub conditions: bool,
    /// Whether parts of it may be sent.
    pub ranges: bool,
    /// Whether another client may get another body (`Vary`), packing by us aside.
    pub vary: bool,
}

/// All filters on an answer of our own.
///
/// # Errors
/// 412 and 416, for which there may be error pages.
pub fn ours(
    head: &mut impl Head,
    facts: &Facts<'_>,
    files: &Files,
    answers: &Answers,
    allowed: Allowed,
    now: SystemTime,
) -> Result<Plan, Failure> {
    let mut plan = Plan::Whole;
    if allowed.conditions
        && conditions::heed(head, facts.scene.head.headers, files.if_modified_since)?
    {
        plan = Plan::Nothing;
    }
    let packed = every(head, facts, answers, allowed.vary, now);
    if let Some(level) = packed {
        return Ok(Plan::Packed(level));
    }
    if allowed.ranges && plan == Plan::Whole {
        return ranges::heed(head, facts.scene.head.headers, files.max_ranges);
    }
    Ok(plan)
}

/// The filters that answers of upstreams have, too. Returns how hard the body is to be packed, if
/// so.
pub fn every(
    head: &mut impl Head,
    facts: &Facts<'_>,
    answers: &Answers,
    vary: bool,
    now: SystemTime,
) -> Option<u8> {
    headers::add(head, facts, answers, now);
    charset::say(head, facts, answers);
    gzip::pack(head, facts, &answers.gzip, vary)
}

/// Whether the filters that upstreams' answers have leave every head as it is.
#[must_use]
pub fn leave_alone(answers: &Answers) -> bool {
    use crate::config::model::site::Expires;
    answers.headers.is_empty()
        && !answers.secure_headers
        && answers.trailers.is_empty()
        && answers.expires == Expires::Off
        && answers.charset.is_none()
        && !answers.gzip.enabled
}

/// A time in a header; none where it is no time.
fn time(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok()
}

/// `Content-Length`.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// A type without its charset, and whether it has one (`ngx_http_upstream_copy_content_type`).
fn split_type(value: &[u8]) -> (&[u8], bool) {
    let mut from = 0;
    while let Some(at) = value[from..].iter().position(|b| *b == b';') {
        let end = from + at;
        let rest = value[end + 1..].trim_ascii_start();
        if rest.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"charset=")) {
            return (value[..end].trim_ascii_end(), true);
        }
        from = end + 1;
    }
    (value, false)
}

/// Whether the answer's type is one of these; `*` is any (`ngx_http_test_content_type`).
fn is_of_type(headers: &HeaderMap, types: &[String]) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).filter(|value| !value.is_empty()) else {
        return false;
    };
    let (kind, _) = split_type(value.as_bytes());
    let is_it = |known: &String| known == "*" || known.as_bytes().eq_ignore_ascii_case(kind);
    types.iter().any(is_it)
}

#[cfg(test)]
pub(crate) mod tests;
