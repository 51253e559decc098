//! What keeps a session at one peer, and by which name it knows the peers.

use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::{Learn, Sticky, StickyCookie};
use crate::config::raw::{self, List, Place, Word};
use crate::config::resolve::leaf::Zero;
use crate::config::template::{Part, Template};
use crate::config::words;

/// nginx's `NGX_HTTP_UPSTREAM_SID_LEN`: as long as the MD5 that stands in for a route.
const LONGEST_ROUTE: usize = 32;

pub(super) fn sticky(raw: &raw::Sticky, diags: &mut Diagnostics) -> Option<Sticky> {
    let kinds: [(&str, Option<&Place>); 3] = [
        ("cookie", raw.cookie.as_ref().map(|word| &word.place)),
        ("route", raw.route.as_ref().map(|list| &list.place)),
        ("learn", raw.learn.as_ref().map(|learn| &learn.place)),
    ];
    let mut said = kinds.into_iter().filter_map(|(key, place)| Some((key, place?)));
    let Some((kind, first)) = said.next() else {
        if !raw.broken {
            diags
                .error(&raw.place, "`sticky` does not say by what")
                .expected("expected `cookie: NAME`, `route: [$variable]` or `learn: { … }` in it");
        }
        return None;
    };
    if let Some((other, place)) = said.next() {
        diags
            .error(place, format!("`sticky` is either `{kind}` or `{other}`"))
            .expected("this one")
            .also(first, "and this one");
        return None;
    }
    if kind != "cookie" {
        refuse_options_of_cookie(raw, diags);
    }
    match (&raw.cookie, &raw.route, &raw.learn) {
        (Some(name), _, _) => Some(Sticky::Cookie(cookie(name, raw, diags)?)),
        (_, Some(route), _) => Some(Sticky::Route(variables("route", route, diags)?)),
        (_, _, raw) => learn(raw.as_ref()?, diags).map(Sticky::Learn),
    }
}

fn refuse_options_of_cookie(raw: &raw::Sticky, diags: &mut Diagnostics) {
    for (key, word) in [
        ("expires", &raw.expires),
        ("domain", &raw.domain),
        ("path", &raw.path),
        ("httponly", &raw.http_only),
        ("secure", &raw.secure),
        ("samesite", &raw.same_site),
    ] {
        if let Some(word) = word {
            diags
                .error(&word.place, format!("`{key}` without a cookie"))
                .expected("it belongs beside `cookie`");
        }
    }
}

fn cookie(name: &Word, raw: &raw::Sticky, diags: &mut Diagnostics) -> Option<StickyCookie> {
    // A token: RFC 6265, section 4.1.1.
    let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let fits = !name.value.is_empty() && name.value.chars().all(in_token);
    if !fits {
        diags
            .error(&name.place, format!("{} cannot name a cookie", quote(&name.value)))
            .in_nginx(format!("invalid cookie name \"{}\"", name.value))
            .expected("expected letters, digits, `-` and `_`");
    }
    let domain =
        attribute("domain", raw.domain.as_ref(), diags).and_then(|word| diags.template(word));
    let path = attribute("path", raw.path.as_ref(), diags).map(|word| word.value.clone());
    let cookie = StickyCookie {
        name: name.value.clone(),
        expires: raw.expires.as_ref().and_then(|word| expires(word, diags)),
        domain,
        path,
        http_only: diags.switch("httponly", raw.http_only.as_ref()).unwrap_or(false),
        secure: diags.switch("secure", raw.secure.as_ref()).unwrap_or(false),
        same_site: raw.same_site.as_ref().and_then(|word| same_site(word, diags)),
    };
    fits.then_some(cookie)
}

/// A text that may stand behind the name of an attribute. As nginx, it may bring others with it, as in
/// `path="/; partitioned"`; it may not end the header.
fn attribute<'w>(key: &str, word: Option<&'w Word>, diags: &mut Diagnostics) -> Option<&'w Word> {
    let word = word?;
    let fits = !word.value.is_empty() && !word.value.chars().any(char::is_control);
    if !fits {
        diags
            .error(&word.place, format!("`{key}` cannot be {}", quote(&word.value)))
            .in_nginx(match word.value.as_str() {
                "" => format!("\"sticky\" directive no value for \"{key}\""),
                _ => format!("\"sticky\" directive invalid \"{key}\" parameter value"),
            })
            .expected("expected a text of one line");
    }
    fits.then_some(word)
}

/// A cookie's age is told in seconds.
fn expires(word: &Word, diags: &mut Diagnostics) -> Option<Duration> {
    if word.value == "max" {
        return Some(Duration::MAX);
    }
    let time = words::duration(&word.value).ok().filter(|time| time.subsec_nanos() == 0);
    if time.is_none() {
        diags
            .error(&word.place, format!("`expires` takes seconds, found {}", quote(&word.value)))
            .in_nginx("\"sticky\" directive invalid \"expires\" parameter value")
            .expected("expected a time such as `1h` or `30d`, or `max`");
    }
    time
}

fn same_site(word: &Word, diags: &mut Diagnostics) -> Option<Template> {
    const VALUES: [&str; 3] = ["strict", "lax", "none"];
    let template = diags.template(word)?;
    let literal = template.as_literal();
    if literal.is_some_and(|text| !VALUES.iter().any(|value| text.eq_ignore_ascii_case(value))) {
        diags
            .error(&word.place, format!("`samesite` cannot be {}", quote(&word.value)))
            .in_nginx("\"sticky\" directive invalid \"samesite\" parameter value")
            .expected("expected strict, lax, none or a variable")
            .nearest(&word.value, VALUES);
        return None;
    }
    Some(template)
}

/// One variable each, of which the first with a value counts.
fn variables(key: &str, list: &List<Word>, diags: &mut Diagnostics) -> Option<Vec<Template>> {
    let mut variables = Vec::new();
    for word in &list.items {
        let template =
            if word.value.starts_with('$') { diags.template(word)? } else { Template::default() };
        if !matches!(template.parts(), [Part::Variable(_)]) {
            diags
                .error(
                    &word.place,
                    format!("`{key}` takes variables, found {}", quote(&word.value)),
                )
                .in_nginx(match key {
                    "route" => format!("invalid variable name \"{}\"", word.value),
                    _ => {
                        format!("\"sticky\" directive missing variable in the \"{key}\" parameter")
                    }
                })
                .expected("expected a variable such as `$cookie_session`");
            return None;
        }
        variables.push(template);
    }
    if variables.is_empty() {
        if !list.broken {
            diags
                .error(&list.place, format!("`{key}` has no variable"))
                .in_nginx(format!("\"sticky\" directive \"{key}\" parameter is not specified"))
                .expected("expected at least one such as `$cookie_session`");
        }
        return None;
    }
    Some(variables)
}

fn learn(raw: &raw::Learn, diags: &mut Diagnostics) -> Option<Learn> {
    /// About what fits into four megabytes of nginx's.
    const SESSIONS: usize = 32_000;
    /// A session costs some hundred bytes: beyond this it is a slip.
    const MOST: u64 = 100_000_000;
    let mut list = |key: &str, list: &Option<List<Word>>| match list {
        Some(list) => variables(key, list, diags),
        None => {
            if !raw.broken {
                diags
                    .error(&raw.place, format!("`learn` has no `{key}`"))
                    .expected(format!("expected `{key}:` with variables in it"));
            }
            None
        }
    };
    let (lookup, create) = (list("lookup", &raw.lookup), list("create", &raw.create));
    let sessions = diags.number("sessions", raw.sessions.as_ref(), 1..=MOST);
    let timeout = diags.time("timeout", raw.timeout.as_ref(), Zero::Refused);
    let header = diags.switch("header", raw.header.as_ref());
    Some(Learn {
        create: create?,
        lookup: lookup?,
        sessions: sessions.unwrap_or(SESSIONS),
        timeout: timeout.unwrap_or(Duration::from_mins(10)),
        header: header.unwrap_or(false),
    })
}

/// What a server line says that its peers are known by.
pub(super) fn route(word: Option<&Word>, diags: &mut Diagnostics) -> Option<Arc<str>> {
    let word = word?;
    let text = word.value.as_str();
    let visible = |c: char| c.is_ascii_graphic() && c != ';';
    let problem = if text.is_empty() {
        ("is empty".to_owned(), "route is empty".to_owned())
    } else if text.len() > LONGEST_ROUTE {
        let longer = format!("is longer than {LONGEST_ROUTE}");
        (longer.clone(), format!("route {longer}"))
    } else if !text.chars().all(visible) {
        ("has characters that no cookie may have".to_owned(), format!("invalid route \"{text}\""))
    } else {
        return Some(Arc::from(text));
    };
    diags
        .error(&word.place, format!("`route` {}", problem.0))
        .in_nginx(problem.1)
        .expected("expected a short name such as `a`");
    None
}
