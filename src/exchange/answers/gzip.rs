//! `gzip`: which answers are packed (`ngx_http_gzip_filter_module`, `ngx_http_gzip_ok`).

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    DATE, ETAG, EXPIRES, LAST_MODIFIED, USER_AGENT, VARY, VIA,
};
use http::{HeaderMap, HeaderValue, Version};

use super::{Head, is_of_type, length, time};
use crate::config::model::site::Gzip;
use crate::exchange::variables::Facts;

/// Makes the head that of a packed answer where it may be packed; returns how hard. `vary` says
/// that another client may get another answer whether we pack it or not.
pub fn pack(head: &mut impl Head, facts: &Facts<'_>, gzip: &Gzip, vary: bool) -> Option<u8> {
    let candidate = is_candidate(head, gzip);
    let packs = candidate && accepted(facts, gzip, head.headers());
    if packs {
        head.remove(&CONTENT_LENGTH);
        head.remove(&ACCEPT_RANGES);
        weaken_etag(head);
    }
    if (candidate || vary) && gzip.vary {
        head.add(&VARY, &Bytes::from_static(b"Vary"), HeaderValue::from_static("Accept-Encoding"));
    }
    if packs {
        head.set(&CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    packs.then_some(gzip.level)
}

/// Whether an answer would be packed for a client that accepts it.
fn is_candidate(head: &impl Head, gzip: &Gzip) -> bool {
    gzip.enabled
        && matches!(head.status(), 200 | 403 | 404)
        && head.headers().get(CONTENT_ENCODING).is_none_or(HeaderValue::is_empty)
        && length(head.headers()).is_none_or(|length| length >= gzip.min_length)
        && is_of_type(head.headers(), &gzip.types)
}

/// A packed body is another one with the same meaning (`ngx_http_weak_etag`).
fn weaken_etag(head: &mut impl Head) {
    let Some(etag) = head.headers().get(ETAG).map(|etag| etag.as_bytes().to_vec()) else { return };
    if etag.len() > 2 && etag.starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", &etag[..]].concat()) {
        Ok(weak) if etag.starts_with(b"\"") => head.set(&ETAG, weak),
        _ => head.remove(&ETAG),
    }
}

/// Whether the client of a request gets packed answers with these headers.
#[must_use]
pub fn accepted(facts: &Facts<'_>, gzip: &Gzip, answer: &HeaderMap) -> bool {
    let request = facts.scene.head;
    let Some(encodings) = request.headers.get(ACCEPT_ENCODING) else { return false };
    let old = request.version < Version::HTTP_11;
    accepts(encodings.as_bytes())
        && (!old || (gzip.http10 && request.version == Version::HTTP_10))
        && (!request.headers.contains_key(VIA) || proxied(gzip, request.headers, answer))
        && !request.headers.get(USER_AGENT).is_some_and(|agent| {
            gzip.disable.iter().any(|pattern| pattern.is_match(agent.as_bytes()))
        })
}

/// Whether a proxy before us gets packed answers.
fn proxied(gzip: &Gzip, request: &HeaderMap, answer: &HeaderMap) -> bool {
    let rule = gzip.proxied;
    if rule == Default::default() {
        return false;
    }
    if rule.any || (rule.auth && request.contains_key(AUTHORIZATION)) {
        return true;
    }
    if answer.contains_key(EXPIRES) {
        let now = SystemTime::now;
        let date = if answer.contains_key(DATE) { time(answer, &DATE) } else { Some(now()) };
        let expired = time(answer, &EXPIRES).zip(date).is_some_and(|(at, date)| at < date);
        return rule.expired && expired;
    }
    if answer.contains_key(CACHE_CONTROL) {
        let says = |word: &str| {
            let lines = answer.get_all(CACHE_CONTROL).iter();
            let words = lines.flat_map(|line| line.as_bytes().split(|b| matches!(b, b',' | b';')));
            words.into_iter().any(|w| {
                let name = w.split(|b| *b == b'=').next().unwrap_or_default();
                name.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
            })
        };
        return (rule.no_cache && says("no-cache"))
            || (rule.no_store && says("no-store"))
            || (rule.private && says("private"));
    }
    let kept = (rule.no_last_modified && answer.contains_key(LAST_MODIFIED))
        || (rule.no_etag && answer.contains_key(ETAG));
    !kept
}

/// Whether `gzip` is among the encodings and its weight is not zero (`ngx_http_gzip_accept_encoding`).
fn accepts(encodings: &[u8]) -> bool {
    let lower = encodings.to_ascii_lowercase();
    let begins = |at: usize| at == 0 || matches!(lower[at - 1], b',' | b' ');
    let mut starts =
        (0..lower.len().saturating_sub(3)).filter(|at| lower[*at..].starts_with(b"gzip"));
    let Some(at) = starts.find(|at| begins(*at)) else { return false };
    let rest = lower[at + 4..].trim_ascii_start();
    match rest.split_first() {
        None | Some((b',', _)) => true,
        Some((b';', weight)) => match weight.trim_ascii_start().split_first() {
            None => true,
            Some((b'q', value)) => value.strip_prefix(b"=").is_some_and(has_weight),
            Some(_) => false,
        },
        Some(_) => false,
    }
}

/// Whether a weight is sound and more than zero (`ngx_http_gzip_quantity`).
fn has_weight(text: &[u8]) -> bool {
    let end = text.iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(text.len());
    let (whole, rest) = match text[..end].split_first() {
        Some((whole @ (b'0' | b'1'), rest)) => (*whole, rest),
        _ => return false,
    };
    let digits = match rest {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return false,
    };
    let sound = digits.iter().all(u8::is_ascii_digit);
    let more = digits.iter().any(|digit| *digit != b'0');
    sound && (if whole == b'1' { !more } else { more })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Plain;
    use super::*;

    #[test]
    fn encodings_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("gzip", true),
            ("gzip, deflate", true),
            ("deflate, gzip", true),
            ("deflate,GZIP;q=0.5", true),
            ("gzip; q=0.001", true),
            ("gzip;q=1.000", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip;q=1.001", false),
            ("gzip;q=2", false),
            ("gzip;level=1", false),
            ("x-gzip", false),
            ("x-gzip, gzip", true),
            ("gzipped", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_strong_tag_becomes_weak_and_one_without_quotes_goes() {
        for (tag, expected) in
            [("\"a\"", Some("W/\"a\"")), ("W/\"a\"", Some("W/\"a\"")), ("a", None)]
        {
            let mut head = Plain::new(200, &[("etag", tag)]);
            weaken_etag(&mut head);
            assert_eq!(head.get("etag"), expected, "{tag}");
        }
    }
}
