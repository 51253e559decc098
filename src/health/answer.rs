//! Whether the answer to a probe is as expected: its status, its headers, the first part of its body.
//!
//! Everything that is expected has to hold. What is said of a header wants it to be there, save that it is to be
//! missing, as in nginx; one that comes several times passes with any of its values, and where it is not to be
//! something, with none of them.

use std::fmt;
use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::model::health_check::{
    BodyTest, Expected, ExpectedHeader, HeaderTest, Statuses,
};

/// How much of what a peer has sent is told, in characters.
const TOLD: usize = 100;

/// What of an answer is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexpected {
    /// Another status than those that pass.
    #[error("status {status}, expected {}", Passing(.expected))]
    Status {
        /// What was answered.
        status: u16,
        /// What passes.
        expected: Statuses,
    },
    /// A header that is to be there is not.
    #[error("header `{0}` is missing, expected {1}")]
    Missing(HeaderName, String),
    /// A header is something else.
    #[error("header `{name}` is `{value}`, expected {expected}")]
    Header {
        /// Which.
        name: HeaderName,
        /// The beginning of what it is.
        value: String,
        /// What it is to be.
        expected: String,
    },
    /// The text is not in the body.
    #[error("body lacks `{0}`")]
    Text(String),
    /// The pattern does not match the body.
    #[error("body does not match `{0}`")]
    NoMatch(String),
    /// The pattern matches the body.
    #[error("body matches `{0}`, expected no match")]
    Match(String),
}

/// The beginning of a text that came from outside; whoever prints it escapes it.
#[must_use]
pub fn told(text: &[u8]) -> String {
    beginning(&String::from_utf8_lossy(text), TOLD)
}

/// So many characters of a text.
#[must_use]
pub fn beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

struct Passing<'a>(&'a Statuses);

impl fmt::Display for Passing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.except { "any but " } else { "" })?;
        let print = |f: &mut fmt::Formatter<'_>, range: &RangeInclusive<u16>| match range {
            single if single.start() == single.end() => write!(f, "{}", single.start()),
            range => write!(f, "{}-{}", range.start(), range.end()),
        };
        for (n, range) in self.0.ranges.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            print(f, range)?;
        }
        Ok(())
    }
}

/// Checks status and headers.
///
/// # Errors
/// The first thing that is not as expected.
pub fn check_head(expected: &Expected, status: u16, headers: &HeaderMap) -> Result<(), Unexpected> {
    if !expected.status.contains(status) {
        return Err(Unexpected::Status { status, expected: expected.status.clone() });
    }
    expected.headers.iter().try_for_each(|wanted| check_header(wanted, headers))
}

fn check_header(wanted: &ExpectedHeader, headers: &HeaderMap) -> Result<(), Unexpected> {
    let ExpectedHeader { name, test } = wanted;
    let unexpected = |value: &HeaderValue| Unexpected::Header {
        name: name.clone(),
        value: told(value.as_bytes()),
        expected: in_words(test),
    };
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return match test {
            HeaderTest::Absent => Ok(()),
            _ => Err(Unexpected::Missing(name.clone(), in_words(test))),
        };
    };
    let mut all = std::iter::once(first).chain(values);
    let bad = match test {
        HeaderTest::Present => None,
        HeaderTest::Absent => Some(first),
        HeaderTest::Is(text) => (!all.any(|value| value == text.as_str())).then_some(first),
        HeaderTest::IsNot(text) => all.find(|value| *value == text.as_str()),
        HeaderTest::Matches(pattern) => {
            (!all.any(|value| pattern.is_match(value.as_bytes()))).then_some(first)
        }
        HeaderTest::Lacks(pattern) => all.find(|value| pattern.is_match(value.as_bytes())),
    };
    bad.map_or(Ok(()), |value| Err(unexpected(value)))
}

/// What a header is to be.
fn in_words(test: &HeaderTest) -> String {
    match test {
        HeaderTest::Present => "any value".into(),
        HeaderTest::Absent => "none".into(),
        HeaderTest::Is(text) => format!("`{text}`"),
        HeaderTest::IsNot(text) => format!("another than `{text}`"),
        HeaderTest::Matches(pattern) => format!("a match of `{}`", pattern.text()),
        HeaderTest::Lacks(pattern) => format!("no match of `{}`", pattern.text()),
    }
}

/// Whether a part of the body shows already that all of it passes.
#[must_use]
pub fn is_enough(expected: &Expected, part: &[u8]) -> bool {
    expected.body.iter().all(|test| matches!(test, BodyTest::Holds(text) if holds(part, text)))
}

/// Checks the body, or as much of it as is looked at.
///
/// # Errors
/// The first thing that is not as expected.
pub fn check_body(expected: &Expected, body: &[u8]) -> Result<(), Unexpected> {
    expected.body.iter().try_for_each(|test| match test {
        BodyTest::Holds(text) if !holds(body, text) => Err(Unexpected::Text(text.clone())),
        BodyTest::Matches(pattern) if !pattern.is_match(body) => {
            Err(Unexpected::NoMatch(pattern.text().to_owned()))
        }
        BodyTest::Lacks(pattern) if pattern.is_match(body) => {
            Err(Unexpected::Match(pattern.text().to_owned()))
        }
        _ => Ok(()),
    })
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len().max(1)).any(|window| window == text.as_bytes()) || text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pattern::Pattern;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text, false).expect("it is well formed")
    }

    fn statuses(except: bool, ranges: &[RangeInclusive<u16>]) -> Expected {
        let status = Statuses { except, ranges: ranges.to_vec() };
        Expected { status, headers: Vec::new(), body: Vec::new() }
    }

    #[test]
    fn statuses_pass_as_in_nginx() {
        let except = true;
        for (expected, passes, fails) in [
            (statuses(!except, &[200..=200]), &[200][..], &[201, 404, 500][..]),
            (statuses(except, &[500..=500]), &[200, 404, 501], &[500]),
            (statuses(!except, &[200..=200, 204..=204]), &[200, 204], &[201, 203]),
            (statuses(except, &[301..=301, 302..=302]), &[200, 303], &[301, 302]),
            (statuses(!except, &[200..=399]), &[200, 399], &[199, 400]),
            (statuses(except, &[400..=599]), &[200, 399], &[400, 599]),
            (statuses(!except, &[301..=303, 307..=307]), &[301, 303, 307], &[300, 304, 308]),
            (statuses(except, &[]), &[100, 200, 599], &[]),
        ] {
            let check = |status: &u16| check_head(&expected, *status, &HeaderMap::new()).is_ok();
            assert!(passes.iter().all(check), "{expected:?}");
            assert!(!fails.iter().any(check), "{expected:?}");
        }
    }

    fn head(test: HeaderTest, values: &[&'static str]) -> Result<(), String> {
        let name = HeaderName::from_static("x-state");
        let expected = Expected {
            headers: vec![ExpectedHeader { name: name.clone(), test }],
            ..statuses(true, &[])
        };
        let value = |value: &&'static str| (name.clone(), HeaderValue::from_static(value));
        let headers = values.iter().map(value).collect();
        check_head(&expected, 200, &headers).map_err(|unexpected| unexpected.to_string())
    }

    #[test]
    fn headers_pass_as_in_nginx() {
        let is = || HeaderTest::Is("ok".into());
        let is_not = || HeaderTest::IsNot("ok".into());
        let matches = || HeaderTest::Matches(pattern("^o"));
        let lacks = || HeaderTest::Lacks(pattern("^o"));
        for (test, values) in [
            (HeaderTest::Present, &["x"][..]),
            (HeaderTest::Absent, &[]),
            (is(), &["ok"]),
            (is(), &["no", "ok"]),
            (is_not(), &["no"]),
            (matches(), &["ok"]),
            (lacks(), &["no"]),
        ] {
            assert_eq!(head(test.clone(), values), Ok(()), "{test:?} {values:?}");
        }
        for (test, values, error) in [
            (HeaderTest::Present, &[][..], "header `x-state` is missing, expected any value"),
            (HeaderTest::Absent, &["x"], "header `x-state` is `x`, expected none"),
            (is(), &[], "header `x-state` is missing, expected `ok`"),
            (is(), &["OK"], "header `x-state` is `OK`, expected `ok`"),
            (is_not(), &[], "header `x-state` is missing, expected another than `ok`"),
            (is_not(), &["no", "ok"], "header `x-state` is `ok`, expected another than `ok`"),
            (matches(), &["no"], "header `x-state` is `no`, expected a match of `^o`"),
            (lacks(), &[], "header `x-state` is missing, expected no match of `^o`"),
            (lacks(), &["no", "ok"], "header `x-state` is `ok`, expected no match of `^o`"),
        ] {
            assert_eq!(head(test.clone(), values), Err(error.into()), "{test:?} {values:?}");
        }
    }

    #[test]
    fn every_test_of_the_body_has_to_hold() {
        let body = vec![
            BodyTest::Holds("all".into()),
            BodyTest::Matches(pattern("w.ll")),
            BodyTest::Lacks(pattern("(?i)error")),
        ];
        let expected = Expected { body, ..statuses(true, &[]) };
        for (body, error) in [
            ("all well", None),
            ("well", Some("body lacks `all`")),
            ("all", Some("body does not match `w.ll`")),
            ("all well, no Error", Some("body matches `(?i)error`, expected no match")),
        ] {
            let checked = check_body(&expected, body.as_bytes());
            assert_eq!(checked.err().map(|e| e.to_string()).as_deref(), error, "{body}");
        }
    }

    #[test]
    fn statuses_that_pass_are_listed() {
        let error = |expected: Expected| {
            check_head(&expected, 500, &HeaderMap::new()).expect_err("500 fails").to_string()
        };
        let ranges = [200..=299, 404..=404];
        assert_eq!(error(statuses(false, &ranges)), "status 500, expected 200-299, 404");
        assert_eq!(error(statuses(true, &[500..=503])), "status 500, expected any but 500-503");
    }

    #[test]
    fn what_a_peer_sends_is_told_in_part() {
        assert_eq!(told("ö".repeat(100).as_bytes()), "ö".repeat(100));
        assert_eq!(told("x".repeat(5000).as_bytes()), format!("{}...", "x".repeat(100)));
        assert_eq!(told(b"\xff"), "\u{fffd}");
    }
}
