//! Sticky sessions: what a request says of the peer that its session is bound to, the cookie that
//! tells the client, and the session that an answer begins. All as nginx's
//! `ngx_http_upstream_sticky_module` has them, down to the order of the cookie's attributes.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::variables::Facts;
use crate::config::model::{Learn, Sticky, StickyCookie};
use crate::config::template::Template;

/// What `expires=max` says: as far as Netscape 3 could count.
const MAX_EXPIRES: &str = "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

/// What a request says of its session: with `learn` the session's id, else what the peer is known
/// by. None for one that says nothing.
#[must_use]
pub fn said(sticky: &Sticky, facts: &Facts<'_>) -> Option<Vec<u8>> {
    match sticky {
        Sticky::Cookie(cookie) => {
            facts.cookie(&cookie.name).filter(|sid| !sid.is_empty()).map(<[u8]>::to_vec)
        }
        Sticky::Route(templates) => first(templates, facts),
        Sticky::Learn(learn) => first(&learn.lookup, facts),
    }
}

/// The session that an answer begins or prolongs, and whether one that is not known begins: it does
/// if the answer names it, and not if only the request does.
#[must_use]
pub fn learnt(learn: &Learn, facts: &Facts<'_>, said: Option<&[u8]>) -> Option<(Vec<u8>, bool)> {
    let begun = first(&learn.create, facts).map(|id| (id, true));
    begun.or_else(|| said.map(|id| (id.to_vec(), false)))
}

fn first(templates: &[Template], facts: &Facts<'_>) -> Option<Vec<u8>> {
    templates.iter().map(|template| facts.text(template)).find(|text| !text.is_empty())
}

/// The cookie that binds a client to the peer known by `sid`
/// (`ngx_http_upstream_sticky_cookie_insert`).
#[must_use]
pub fn cookie(
    cookie: &StickyCookie,
    sid: &str,
    facts: &Facts<'_>,
    now: SystemTime,
) -> Option<HeaderValue> {
    let mut text = [cookie.name.as_bytes(), b"=", sid.as_bytes()].concat();
    let mut add = |parts: &[&[u8]]| text.extend(parts.concat());
    match cookie.expires {
        None => {}
        Some(Duration::MAX) => add(&[MAX_EXPIRES.as_bytes()]),
        Some(expires) => {
            let age = expires.as_secs().to_string();
            let date = cookie_time(now + expires);
            add(&[b"; expires=", date.as_bytes(), b"; max-age=", age.as_bytes()]);
        }
    }
    let written = |template: &Option<Template>| {
        template.as_ref().map(|t| facts.text(t)).filter(|value| !value.is_empty())
    };
    if let Some(domain) = written(&cookie.domain) {
        add(&[b"; domain=", &domain]);
    }
    if cookie.http_only {
        add(&[b"; httponly"]);
    }
    if cookie.secure {
        add(&[b"; secure"]);
    }
    if let Some(value) = written(&cookie.same_site) {
        let known = |word: &&[u8]| value.eq_ignore_ascii_case(word);
        let words: [&[u8]; 3] = [b"strict", b"lax", b"none"];
        // What variables say may be none of them: the strictest then.
        add(&[b"; samesite=", if words.iter().any(known) { &value } else { b"strict" }]);
    }
    if let Some(path) = &cookie.path {
        add(&[b"; path=", path.as_bytes()]);
    }
    // What variables say must not begin another header (RFC 9110, section 5.5).
    text.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
    HeaderValue::from_bytes(&text).ok()
}

/// A date as cookies have it (`ngx_http_cookie_time`): with dashes, and with two digits for a year that
/// Netscape 3 could count to.
fn cookie_time(at: SystemTime) -> String {
    // "Sun, 06 Nov 1994 08:49:37 GMT" becomes "Sun, 06-Nov-94 08:49:37 GMT".
    let date = httpdate::fmt_http_date(at);
    let parts: Vec<&str> = date.split(' ').collect();
    let [week_day, day, month, year, time, zone] = parts[..] else { return date };
    let short = if year > "2037" { year } else { &year[2..] };
    format!("{week_day} {day}-{month}-{short} {time} {zone}")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::*;
    use crate::exchange::Course;
    use crate::exchange::head::{Asked, Head};
    use crate::exchange::variables::{Scene, SoFar};
    use crate::route::Router;

    /// Asks `ask` with the facts of a request for `/?QUERY` with a cookie line.
    fn with<T>(query: &str, line: &'static str, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let conf = "server { listen 80; location / { proxy_pass http://back-end:5252; } }";
        let config = crate::config::parse_nginx("test.conf".as_ref(), conf).expect("it is sound");
        let router = Router::new(&config);
        let headers =
            HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static(line))]);
        let asked = Asked { host: "site".into(), path: b"/".to_vec() };
        let course = Course::new(0, b"/".to_vec(), query.into(), &[]);
        let scene = Scene {
            config: &config,
            router: &router,
            tables: &crate::limits::Tables::default(),
            head: Head {
                method: &Method::GET,
                target: b"/",
                version: Version::HTTP_11,
                headers: &headers,
            },
            asked: &asked,
            client: None,
            peer: None,
            local: None,
            proxied: None,
            tls: None,
            scheme: "http",
            request_id: "0123",
            trace: None,
            trusted: false,
            so_far: SoFar::default(),
        };
        ask(&scene.with(&course))
    }

    fn template(text: &str) -> Template {
        Template::parse(text).expect("every name is known")
    }

    fn plain() -> StickyCookie {
        StickyCookie {
            name: "srv".into(),
            expires: None,
            domain: None,
            path: None,
            http_only: false,
            secure: false,
            same_site: None,
        }
    }

    fn written(spec: &StickyCookie, query: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let value = with(query, "a=b", |facts| cookie(spec, "sid", facts, now));
        value.expect("a header value").to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_cookie_has_its_attributes_in_nginx_s_order() {
        assert_eq!(written(&plain(), ""), "srv=sid");
        let all = StickyCookie {
            expires: Some(Duration::from_secs(3780)),
            domain: Some(template("example.com")),
            path: Some("/".into()),
            http_only: true,
            secure: true,
            same_site: Some(template("lax")),
            ..plain()
        };
        let expected = "srv=sid; expires=Sun, 06-Nov-94 09:52:37 GMT; max-age=3780; \
                        domain=example.com; httponly; secure; samesite=lax; path=/";
        assert_eq!(written(&all, ""), expected);
    }

    #[test]
    fn a_cookie_for_ever_ends_in_2037() {
        let max = StickyCookie { expires: Some(Duration::MAX), ..plain() };
        let expected = "srv=sid; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";
        assert_eq!(written(&max, ""), expected);
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(2_145_916_800);
        assert_eq!(cookie_time(late), "Fri, 01-Jan-2038 00:00:00 GMT");
    }

    #[test]
    fn what_variables_say_is_checked() {
        let asked = StickyCookie {
            domain: Some(template("$arg_d")),
            same_site: Some(template("$arg_s")),
            ..plain()
        };
        assert_eq!(written(&asked, ""), "srv=sid");
        assert_eq!(written(&asked, "d=x&s=None"), "srv=sid; domain=x; samesite=None");
        assert_eq!(written(&asked, "s=wrong"), "srv=sid; samesite=strict");
        assert_eq!(written(&asked, "d=x\r\nEvil:1"), "srv=sid; domain=x  Evil:1");
    }

    #[test]
    fn the_first_that_says_something_is_heeded() {
        let cookie = Sticky::Cookie(plain());
        assert_eq!(with("", "a=b; SRV=x; srv=y", |f| said(&cookie, f)).as_deref(), Some(&b"x"[..]));
        assert_eq!(with("", "srv=", |f| said(&cookie, f)), None);
        let route = Sticky::Route(vec![template("$cookie_route"), template("$arg_route")]);
        let ask = |query, line| with(query, line, |f| said(&route, f));
        assert_eq!(ask("route=2", "route=1").as_deref(), Some(&b"1"[..]));
        assert_eq!(ask("route=2", "route=").as_deref(), Some(&b"2"[..]));
        assert_eq!(ask("", "a=b"), None);
    }

    #[test]
    fn an_answer_begins_a_session_and_prolongs_the_request_s() {
        let learn = Learn {
            create: vec![template("$arg_new")],
            lookup: vec![template("$cookie_s")],
            sessions: 1,
            timeout: Duration::from_secs(1),
            header: false,
        };
        let ask = |query, said| with(query, "a=b", |f| learnt(&learn, f, said));
        assert_eq!(ask("new=1", Some(b"2")), Some((b"1".to_vec(), true)));
        assert_eq!(ask("", Some(b"2")), Some((b"2".to_vec(), false)));
        assert_eq!(ask("", None), None);
    }
}
