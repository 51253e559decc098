//! `Range`: parts of a file (`ngx_http_range_filter_module`).

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED,
    RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Head, Plan, length, time};
use crate::exchange::failure::Failure;

/// Parts of a body, each with what is sent before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The text before a part, and its bytes.
    pub parts: Vec<(Bytes, Range<u64>)>,
    /// What is sent at the end.
    pub end: Bytes,
}

impl Parts {
    /// How many bytes are sent.
    fn length(&self) -> u64 {
        let part =
            |(before, range): &(Bytes, Range<u64>)| before.len() as u64 + (range.end - range.start);
        self.parts.iter().map(part).sum::<u64>() + self.end.len() as u64
    }
}

/// What a list of ranges asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing that is worth it: the whole body.
    Whole,
    /// Nothing that there is.
    Nothing,
    /// These.
    Ranges(Vec<Range<u64>>),
}

/// Makes an answer one of the parts that are asked for.
///
/// # Errors
/// 416 where there are no such parts.
pub fn heed(head: &mut impl Head, request: &HeaderMap, most: Option<u32>) -> Result<Plan, Failure> {
    let (200, Some(length)) = (head.status(), length(head.headers())) else {
        return Ok(Plan::Whole);
    };
    if most == Some(0) {
        return Ok(Plan::Whole);
    }
    let asked = match request.get(RANGE).map(HeaderValue::as_bytes) {
        Some(list) if is_bytes(list) && is_same(head.headers(), request) => {
            parse(&list[6..], length, most)
        }
        _ => Asked::Whole,
    };
    let ranges = match asked {
        Asked::Whole => {
            set(head, &ACCEPT_RANGES, "bytes".to_owned());
            return Ok(Plan::Whole);
        }
        Asked::Nothing => return Err(Failure::RangeNotSatisfiable { length }),
        Asked::Ranges(ranges) => ranges,
    };
    head.set_status(206);
    let parts = match &ranges[..] {
        [range] => {
            set(head, &CONTENT_RANGE, content_range(range, length));
            Parts { parts: vec![(Bytes::new(), range.clone())], end: Bytes::new() }
        }
        _ => multipart(head, ranges, length),
    };
    set(head, &CONTENT_LENGTH, parts.length().to_string());
    Ok(Plan::Parts(parts))
}

fn is_bytes(list: &[u8]) -> bool {
    list.len() >= 7 && list[..6].eq_ignore_ascii_case(b"bytes=")
}

/// Whether what the client has a part of is what is here (`If-Range`).
fn is_same(answer: &HeaderMap, request: &HeaderMap) -> bool {
    let Some(condition) = request.get(IF_RANGE) else { return true };
    if condition.len() >= 2 && condition.as_bytes().ends_with(b"\"") {
        return answer.get(ETAG) == Some(condition);
    }
    let modified = time(answer, &LAST_MODIFIED);
    modified.is_some() && time(request, &IF_RANGE) == modified
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end - 1)
}

fn set(head: &mut impl Head, name: &HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        head.set(name, value);
    }
}

/// `multipart/byteranges`.
fn multipart(head: &mut impl Head, ranges: Vec<Range<u64>>, length: u64) -> Parts {
    let boundary = format!("{:020}", fastrand::u64(..));
    let kind = head.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
    let mut before = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(kind) = kind {
        before.extend_from_slice(&[b"Content-Type: ", &kind[..], b"\r\n"].concat());
    }
    let parts = ranges.into_iter().map(|range| {
        let line = format!("Content-Range: {}\r\n\r\n", content_range(&range, length));
        (Bytes::from([&before[..], line.as_bytes()].concat()), range)
    });
    let parts = parts.collect();
    set(head, &CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
    Parts { parts, end: Bytes::from(format!("\r\n--{boundary}--\r\n")) }
}

/// Reads what follows `bytes=` (`ngx_http_range_parse`).
fn parse(list: &[u8], length: u64, most: Option<u32>) -> Asked {
    /// nginx's numbers have a sign.
    const LARGEST: u64 = i64::MAX as u64;
    let number = |text: &[u8]| -> Option<u64> {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
        text.parse().ok().filter(|number| *number <= LARGEST)
    };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut size = 0_u64;
    for range in list.split(|b| *b == b',') {
        // A trailing comma ends in nothing, which is no number.
        let Some(dash) = range.iter().position(|b| *b == b'-') else { return Asked::Nothing };
        let (first, last) = (range[..dash].trim_ascii(), range[dash + 1..].trim_ascii());
        let (start, end) = match (first, last) {
            (b"", last) => {
                let Some(suffix) = number(last) else { return Asked::Nothing };
                (length.saturating_sub(suffix), length)
            }
            (first, b"") => {
                let Some(start) = number(first) else { return Asked::Nothing };
                (start, length)
            }
            (first, last) => {
                let (Some(start), Some(end)) = (number(first), number(last)) else {
                    return Asked::Nothing;
                };
                (start, end.saturating_add(1).min(length))
            }
        };
        if start < end {
            size = size.saturating_add(end - start);
            ranges.push(start..end);
            if most.is_some_and(|most| ranges.len() > most as usize) {
                return Asked::Whole;
            }
        } else if start == 0 {
            return Asked::Whole;
        }
    }
    match ranges.len() {
        0 => Asked::Nothing,
        1 => Asked::Ranges(ranges),
        // More than the whole is not asked for in earnest; without a limit of ours, what stands
        // between the parts counts as well.
        _ if size > length => Asked::Whole,
        count if most.is_none() && size + count as u64 * 256 > length + 4096 => Asked::Whole,
        _ => Asked::Ranges(ranges),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Plain;
    use super::*;

    fn ranges(list: &str, most: Option<u32>) -> Asked {
        parse(list.as_bytes(), 1000, most)
    }

    #[test]
    fn ranges_are_read_as_nginx_reads_them() {
        let some = |ranges: &[(u64, u64)]| {
            Asked::Ranges(ranges.iter().map(|(start, end)| *start..*end).collect())
        };
        for (list, expected) in [
            ("0-8", some(&[(0, 9)])),
            ("-9", some(&[(991, 1000)])),
            ("900-", some(&[(900, 1000)])),
            ("900-5000", some(&[(900, 1000)])),
            ("-2000", some(&[(0, 1000)])),
            (" 0 - 8 ", some(&[(0, 9)])),
            ("0-0,-1", some(&[(0, 1), (999, 1000)])),
            ("1000-", Asked::Nothing),
            ("2000-3000", Asked::Nothing),
            ("5-3", Asked::Nothing),
            ("x-3", Asked::Nothing),
            ("0-8,", Asked::Nothing),
            ("-", Asked::Nothing),
            ("99999999999999999999-", Asked::Nothing),
            ("0-899,100-999", Asked::Whole),
            ("-0", Asked::Nothing),
        ] {
            assert_eq!(ranges(list, None), expected, "{list}");
        }
        assert_eq!(ranges("0-1,3-4", Some(1)), Asked::Whole);
        assert_eq!(ranges("0-1", Some(1)), some(&[(0, 2)]));
    }

    #[test]
    fn one_part_has_its_place_in_the_head_and_several_have_heads_of_their_own() {
        let mut head =
            Plain::new(200, &[("content-length", "1000"), ("content-type", "text/plain")]);
        let request = Plain::new(0, &[("range", "bytes=0-8")]);
        let plan = heed(&mut head, &request.headers, None).expect("there is such a part");
        assert!(matches!(plan, Plan::Parts(_)));
        assert_eq!(head.status, 206);
        assert_eq!(head.get("content-range"), Some("bytes 0-8/1000"));
        assert_eq!(head.get("content-length"), Some("9"));

        let mut head =
            Plain::new(200, &[("content-length", "1000"), ("content-type", "text/plain")]);
        let request = Plain::new(0, &[("range", "bytes=0-8,-1")]);
        let Ok(Plan::Parts(parts)) = heed(&mut head, &request.headers, None) else {
            panic!("there are such parts");
        };
        let kind = head.get("content-type").expect("it has a type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("of many parts");
        let before = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-8/1000\r\n\r\n"
        );
        assert_eq!(parts.parts[0], (Bytes::from(before), 0..9));
        assert_eq!(parts.end, format!("\r\n--{boundary}--\r\n"));
        assert_eq!(head.get("content-length"), Some(&*parts.length().to_string()));
        assert_eq!(head.get("content-range"), None);
    }

    #[test]
    fn a_part_of_something_else_is_not_sent() {
        for (condition, status) in [
            ("\"a\"", 206),
            ("\"b\"", 200),
            ("W/\"a\"", 200),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
            ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
        ] {
            let mut head = Plain::new(
                200,
                &[
                    ("content-length", "1000"),
                    ("etag", "\"a\""),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
            );
            let request = Plain::new(0, &[("range", "bytes=0-8"), ("if-range", condition)]);
            heed(&mut head, &request.headers, None).expect("it is sent");
            assert_eq!(head.status, status, "{condition}");
        }
    }
}
