//! `add_header`, `expires`, `hsts` (`ngx_http_headers_filter_module`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue};

use super::{Head, time};
use crate::config::model::site::{AddHeader, Answers, Expires};
use crate::config::template::Template;
use crate::exchange::variables::{Answered, Facts};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Adds what is to be added.
pub fn add(head: &mut impl Head, facts: &Facts<'_>, answers: &Answers, now: SystemTime) {
    let safe = is_safe(head.status());
    if safe {
        expire(head, facts, &answers.expires, now);
    }
    // Over plain HTTP anybody could have said it (RFC 6797, section 7.2).
    if let (Some(hsts), "https") = (&answers.hsts, facts.scene.scheme) {
        set(head, &STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    for AddHeader { name, written, value, always } in &answers.headers {
        if !safe && !always {
            continue;
        }
        let value = said_of(value, head, facts);
        // Of these there is one; with nothing to say it goes.
        let only_one = *name == LAST_MODIFIED || *name == ETAG;
        match value {
            Some(value) if only_one => head.set(name, value),
            Some(value) => head.add(name, written, value),
            None if only_one => head.remove(name),
            None => {}
        }
    }
    if answers.secure_headers {
        secure(head);
    }
}

/// What browsers are told to refuse (`secure_headers on`), as OWASP's Secure Headers Project advises
/// where nothing of the site is known; what the answer says itself stays.
const SECURE: [(&str, &str); 5] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
];

/// What tells strangers which versions to attack.
const TALKATIVE: [HeaderName; 3] = [
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
];

fn secure(head: &mut impl Head) {
    for (written, value) in SECURE {
        let Ok(name) = HeaderName::from_bytes(written.as_bytes()) else { continue };
        if !head.headers().contains_key(&name) {
            head.add(
                &name,
                &Bytes::from_static(written.as_bytes()),
                HeaderValue::from_static(value),
            );
        }
    }
    for name in &TALKATIVE {
        head.remove(name);
    }
}

/// What a template says, the headers so far in `$sent_http_*`.
fn said_of(value: &Template, head: &impl Head, facts: &Facts<'_>) -> Option<HeaderValue> {
    if !value.has_variables() {
        return facts.value(value);
    }
    let mut scene = *facts.scene;
    let answered = scene.so_far.answered.unwrap_or_default();
    let (status, headers) = (head.status(), Some(head.headers()));
    scene.so_far.answered = Some(Answered { status, headers, ..answered });
    scene.with(facts.course).value(value)
}

/// Whether an answer of this status gets headers that are not `always` added.
#[must_use]
pub fn is_safe(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}

fn expire(head: &mut impl Head, facts: &Facts<'_>, expires: &Expires, now: SystemTime) {
    let asked;
    let expires = match expires {
        Expires::Variable { value, modified } => {
            let text = facts.text(value);
            match std::str::from_utf8(&text).ok().and_then(|t| Expires::parse(t, *modified).ok()) {
                Some(expires) => {
                    asked = expires;
                    &asked
                }
                None => return,
            }
        }
        other => other,
    };
    let modified = time(head.headers(), &LAST_MODIFIED);
    let Some((expires, cache)) = said(expires, modified, now, ahead_of_utc(now)) else { return };
    set(head, &EXPIRES, expires);
    set(head, &CACHE_CONTROL, cache);
}

fn set(head: &mut impl Head, name: &HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        head.set(name, value);
    }
}

/// What `Expires` and `Cache-Control` say; none where they stay as they are.
fn said(
    expires: &Expires,
    modified: Option<SystemTime>,
    now: SystemTime,
    ahead: i64,
) -> Option<(String, String)> {
    let now = seconds(now);
    let (at, age) = match *expires {
        Expires::Off | Expires::Variable { .. } => return None,
        Expires::Epoch => {
            return Some(("Thu, 01 Jan 1970 00:00:01 GMT".into(), "no-cache".into()));
        }
        Expires::Max => {
            return Some(("Thu, 31 Dec 2037 23:55:55 GMT".into(), "max-age=315360000".into()));
        }
        Expires::In(0) | Expires::Modified(0) => (now, 0),
        Expires::At(second) => {
            let at = next(now, i64::from(second), ahead);
            (at, at - now)
        }
        Expires::In(age) => (now + age, age),
        Expires::Modified(age) => match modified {
            Some(modified) => {
                let at = seconds(modified) + age;
                (at, at - now)
            }
            None => (now + age, age),
        },
    };
    let never = age < 0 || matches!(*expires, Expires::Modified(age) if age < 0);
    let cache = if never { "no-cache".to_owned() } else { format!("max-age={age}") };
    let at = u64::try_from(at).unwrap_or(0);
    Some((httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at)), cache))
}

/// When it is this second of the day for the next time, `ahead` of UTC (`ngx_next_time`).
fn next(now: i64, second: i64, ahead: i64) -> i64 {
    let local = now + ahead;
    let today = local - local.rem_euclid(DAY) + second - ahead;
    if today > now { today } else { today + DAY }
}

/// How many seconds local time is ahead of UTC.
#[must_use]
pub fn ahead_of_utc(now: SystemTime) -> i64 {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    jiff::tz::TimeZone::system().to_offset(now).seconds().into()
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_expires_says_what_nginx_says() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let text = |expires: Expires, modified: Option<u64>| {
            said(&expires, modified.map(at), now, 0).map(|(at, cache)| format!("{at} / {cache}"))
        };
        for (expires, modified, expected) in [
            (Expires::In(3600), None, "Sun, 06 Nov 1994 09:49:37 GMT / max-age=3600"),
            (Expires::In(-1), None, "Sun, 06 Nov 1994 08:49:36 GMT / no-cache"),
            (Expires::In(0), None, "Sun, 06 Nov 1994 08:49:37 GMT / max-age=0"),
            (
                Expires::Modified(60),
                Some(784_111_757),
                "Sun, 06 Nov 1994 08:50:17 GMT / max-age=40",
            ),
            (Expires::Modified(1), Some(784_111_757), "Sun, 06 Nov 1994 08:49:18 GMT / no-cache"),
            (Expires::Modified(60), None, "Sun, 06 Nov 1994 08:50:37 GMT / max-age=60"),
            (Expires::At(9 * 3600), None, "Sun, 06 Nov 1994 09:00:00 GMT / max-age=623"),
            (Expires::At(0), None, "Mon, 07 Nov 1994 00:00:00 GMT / max-age=54623"),
            (Expires::Epoch, None, "Thu, 01 Jan 1970 00:00:01 GMT / no-cache"),
        ] {
            assert_eq!(text(expires.clone(), modified).as_deref(), Some(expected), "{expires:?}");
        }
        assert_eq!(text(Expires::Off, None), None);
    }
}
