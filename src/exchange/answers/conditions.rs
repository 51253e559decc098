//! Conditions of a request on what it asks for: `If-Modified-Since` and its kin
//! (`ngx_http_not_modified_filter_module`).
//!
//! A time that cannot be read counts as nginx's -1: before every change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};

use super::{Head, time};
use crate::config::model::site::IfModifiedSince;
use crate::exchange::failure::Failure;

/// Makes an answer 304 where the client has it already. Returns whether it did.
///
/// # Errors
/// 412 where what the client has is not what is here.
pub fn heed(
    head: &mut impl Head,
    request: &HeaderMap,
    rule: IfModifiedSince,
) -> Result<bool, Failure> {
    if head.status() != 200 {
        return Ok(false);
    }
    let modified = time(head.headers(), &LAST_MODIFIED);
    let etag = head.headers().get(ETAG).map(|etag| etag.as_bytes().to_vec());
    let etag = etag.as_deref();
    if request.contains_key(IF_UNMODIFIED_SINCE) {
        let since = time(request, &IF_UNMODIFIED_SINCE);
        let unmodified = modified.zip(since).is_some_and(|(modified, since)| since >= modified);
        if !unmodified {
            return Err(Failure::Configured(412));
        }
    }
    if let Some(list) = request.get(IF_MATCH)
        && !matches(list.as_bytes(), etag, false)
    {
        return Err(Failure::Configured(412));
    }
    let since = request.get(IF_MODIFIED_SINCE);
    let none = request.get(IF_NONE_MATCH);
    if since.is_none() && none.is_none() {
        return Ok(false);
    }
    if since.is_some() && is_modified(modified, time(request, &IF_MODIFIED_SINCE), rule) {
        return Ok(false);
    }
    if none.is_some_and(|list| !matches(list.as_bytes(), etag, true)) {
        return Ok(false);
    }
    head.set_status(304);
    for name in [CONTENT_TYPE, CONTENT_LENGTH, ACCEPT_RANGES, CONTENT_ENCODING] {
        head.remove(&name);
    }
    Ok(true)
}

fn is_modified(
    modified: Option<SystemTime>,
    since: Option<SystemTime>,
    rule: IfModifiedSince,
) -> bool {
    let (Some(modified), false) = (modified, rule == IfModifiedSince::Off) else { return true };
    match since {
        Some(since) if since == modified => false,
        Some(since) => rule == IfModifiedSince::Exact || since < modified,
        None => true,
    }
}

/// Whether a list holds this tag; `weak` ignores whether tags are (`ngx_http_test_if_match`).
fn matches(list: &[u8], etag: Option<&[u8]>, weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    let strong = |tag: &[u8]| match tag.strip_prefix(b"W/") {
        Some(rest) if weak => rest.to_vec(),
        _ => tag.to_vec(),
    };
    let Some(etag) = etag.map(strong) else { return false };
    let mut rest = list;
    while !rest.is_empty() {
        let tag = match rest.strip_prefix(b"W/") {
            Some(tag) if weak => tag,
            _ => rest,
        };
        if let Some(after) = tag.strip_prefix(&etag[..]) {
            let after = after.trim_ascii_start();
            if after.is_empty() || after.starts_with(b",") {
                return true;
            }
        }
        let comma = rest.iter().position(|b| *b == b',').map_or(rest.len(), |at| at + 1);
        rest = rest[comma..].trim_ascii_start();
    }
    false
}

/// The tag of a file: when it was changed, and how long it is (`ngx_http_set_etag`).
#[must_use]
pub fn etag(modified: SystemTime, length: u64) -> String {
    format!("\"{:x}-{length:x}\"", seconds(modified))
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A time to the second, as headers say it.
#[must_use]
pub fn whole(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Plain;
    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn asked(request: &[(&'static str, &str)], rule: IfModifiedSince) -> u16 {
        let mut head = Plain::new(
            200,
            &[("last-modified", THEN), ("etag", "\"a-1\""), ("content-length", "1")],
        );
        let request = Plain::new(0, request);
        match heed(&mut head, &request.headers, rule) {
            Ok(not_modified) => {
                assert_eq!(not_modified, head.status == 304);
                assert_eq!(not_modified, head.get("content-length").is_none());
                head.status
            }
            Err(failure) => failure.status(),
        }
    }

    #[test]
    fn each_condition_is_heeded_as_in_nginx() {
        use IfModifiedSince::{Before, Exact, Off};
        const IMS: &str = "if-modified-since";
        const IUS: &str = "if-unmodified-since";
        for (request, rule, status) in [
            (vec![], Exact, 200),
            (vec![(IMS, THEN)], Exact, 304),
            (vec![(IMS, AFTER)], Exact, 200),
            (vec![(IMS, BEFORE)], Exact, 200),
            (vec![(IMS, AFTER)], Before, 304),
            (vec![(IMS, BEFORE)], Before, 200),
            (vec![(IMS, THEN)], Off, 200),
            (vec![(IMS, "yesterday")], Exact, 200),
            (vec![(IUS, THEN)], Exact, 200),
            (vec![(IUS, AFTER)], Exact, 200),
            (vec![(IUS, BEFORE)], Exact, 412),
            (vec![("if-none-match", "\"a-1\"")], Exact, 304),
            (vec![("if-none-match", "W/\"a-1\"")], Exact, 304),
            (vec![("if-none-match", "\"b\", \"a-1\" , \"c\"")], Exact, 304),
            (vec![("if-none-match", "\"b\"")], Exact, 200),
            (vec![("if-none-match", "\"a-1\"x")], Exact, 200),
            (vec![("if-none-match", "*")], Exact, 304),
            (vec![("if-match", "\"a-1\"")], Exact, 200),
            (vec![("if-match", "W/\"a-1\"")], Exact, 412),
            (vec![("if-match", "\"b\", \"c\"")], Exact, 412),
            (vec![("if-match", "*")], Exact, 200),
            (vec![(IMS, AFTER), ("if-none-match", "\"a-1\"")], Exact, 200),
            (vec![(IMS, THEN), ("if-none-match", "\"b\"")], Exact, 200),
            (vec![(IMS, THEN), ("if-none-match", "\"a-1\"")], Exact, 304),
        ] {
            assert_eq!(asked(&request, rule), status, "{request:?} {rule:?}");
        }
    }

    #[test]
    fn the_tag_of_a_file_is_nginx_s() {
        let modified = UNIX_EPOCH + Duration::from_millis(0x6500_0000 * 1000 + 999);
        assert_eq!(etag(modified, 300), "\"65000000-12c\"");
    }
}
