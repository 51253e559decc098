//! What is changed in an upstream's answer on its way to the client: headers that are not passed
//! on, `Location` and `Refresh`, cookies (`ngx_http_proxy_module`).

use http::header::{CONTENT_LENGTH, LOCATION, REFRESH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::variables::Facts;
use crate::config::model::passing::{CookieFlags, CookieMatch, Passing, Redirect};
use crate::config::model::{Action, PathMatch};
use crate::config::pattern::Pattern;
use crate::config::template::Template;

/// What nginx does not pass on (`ngx_http_proxy_hide_headers`), but for `Date`, which is the
/// upstream's as RFC 9110, section 6.6.1, has it, and `Server`, which is set elsewhere.
static HIDDEN: [HeaderName; 6] = [
    HeaderName::from_static("x-pad"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-accel-limit-rate"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-accel-charset"),
];

/// A header whose lines are replaced by these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its name.
    pub name: HeaderName,
    /// The new lines; none removes the header.
    pub values: Vec<HeaderValue>,
}

/// The headers of an upstream's answer that are not passed on.
#[must_use]
pub fn hidden(headers: &HeaderMap, passing: &Passing) -> Vec<HeaderName> {
    let hidden = |name: &&HeaderName| {
        ((name.as_str().starts_with("x-") && HIDDEN.contains(name)) || passing.hide.contains(name))
            // What frames the body is not ours to hide.
            && !passing.pass.contains(name)
            && **name != CONTENT_LENGTH
    };
    headers.keys().filter(hidden).cloned().collect()
}

/// Whether anything in the headers of an upstream's answer may have to be written anew.
#[must_use]
pub fn rewrites(headers: &HeaderMap, passing: &Passing) -> bool {
    let leads = |name: &HeaderName| *name == LOCATION || *name == REFRESH;
    let redirects = !passing.redirects.is_empty();
    let cookies = changes_cookies(passing);
    headers.keys().any(|name| (redirects && leads(name)) || (cookies && *name == SET_COOKIE))
}

/// What is written anew in the headers of an upstream's answer.
#[must_use]
pub fn edits(headers: &HeaderMap, passing: &Passing, facts: &Facts<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if !passing.redirects.is_empty() {
        edits.extend(location(headers, passing, facts));
        edits.extend(refresh(headers, passing, facts));
    }
    if changes_cookies(passing) && headers.contains_key(SET_COOKIE) {
        let lines = headers.get_all(SET_COOKIE).iter();
        let values = lines.map(|line| cookie(line, passing, facts)).collect();
        edits.push(Edit { name: SET_COOKIE, values });
    }
    edits
}

fn changes_cookies(passing: &Passing) -> bool {
    !passing.cookie_domains.is_empty()
        || !passing.cookie_paths.is_empty()
        || !passing.cookie_flags.is_empty()
}

fn value(bytes: Vec<u8>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).ok()
}

fn location(headers: &HeaderMap, passing: &Passing, facts: &Facts<'_>) -> Option<Edit> {
    let old = headers.get(LOCATION)?.as_bytes();
    let new = redirected(old, passing, facts)?;
    let new = super::location::absolute(facts, new);
    Some(Edit { name: LOCATION, values: vec![value(new)?] })
}

/// `Refresh: 5; url=…`.
fn refresh(headers: &HeaderMap, passing: &Passing, facts: &Facts<'_>) -> Option<Edit> {
    let old = headers.get(REFRESH)?.as_bytes();
    let url = old.windows(4).position(|w| w.eq_ignore_ascii_case(b"url="))? + 4;
    let new = redirected(&old[url..], passing, facts)?;
    Some(Edit { name: REFRESH, values: vec![value([&old[..url], &new].concat())?] })
}

/// What the first rule that fits makes of a URL.
fn redirected(url: &[u8], passing: &Passing, facts: &Facts<'_>) -> Option<Vec<u8>> {
    passing.redirects.iter().find_map(|rule| match rule {
        Redirect::Default => {
            let (from, to) = default_rule(facts)?;
            Some([&to, url.strip_prefix(&from[..])?].concat())
        }
        Redirect::Prefix { from, to } => {
            let rest = url.strip_prefix(&facts.text(from)[..])?;
            Some([&facts.text(to), rest].concat())
        }
        Redirect::Pattern { from, to } => substituted(url, from, to, facts),
    })
}

/// The target of the route becomes its path; without a URI of its own it is the root's. As nginx
/// inherits the rule with what it was made of, that of the outermost route which has a target
/// counts.
fn default_rule(facts: &Facts<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let config = facts.scene.config;
    let server = facts.course.virtual_server(config)?;
    let mut route = facts.course.route(config)?;
    while let Some(outer) = route.parent.and_then(|parent| server.routes.get(parent)) {
        let makes_one = outer.settings.passing.redirects.contains(&Redirect::Default);
        if !makes_one || !matches!(&outer.action, Action::Proxy(_)) {
            break;
        }
        route = outer;
    }
    let Action::Proxy(proxy) = &route.action else { return None };
    let scheme = if proxy.tls { "https" } else { "http" };
    let Some(uri) = &proxy.uri else {
        return Some((format!("{scheme}://{}/", proxy.host).into(), b"/".to_vec()));
    };
    let path = match &route.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::PrefixOnly(path) => path,
        PathMatch::Pattern(_) | PathMatch::Named(_) | PathMatch::If => return None,
    };
    Some((format!("{scheme}://{}{uri}", proxy.host).into(), path.clone().into()))
}

/// Replaces what a pattern matches; the template may name its groups.
fn substituted(text: &[u8], from: &Pattern, to: &Template, facts: &Facts<'_>) -> Option<Vec<u8>> {
    let captures = from.captures(text)?;
    let whole = captures.first().cloned().flatten()?;
    let start = text.windows(whole.len().max(1)).position(|w| w.starts_with(&whole))?;
    let new = facts.text_with(to, from, &captures);
    Some([&text[..start], &new, &text[start + whole.len()..]].concat())
}

/// One `Set-Cookie` with what the rules make of it.
fn cookie(line: &HeaderValue, passing: &Passing, facts: &Facts<'_>) -> HeaderValue {
    let mut parts = line.as_bytes().split(|b| *b == b';');
    let first = parts.next().unwrap_or_default();
    let name = first.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
    let mut attributes: Vec<Vec<u8>> =
        parts.map(|part| part.trim_ascii().to_vec()).filter(|part| !part.is_empty()).collect();
    for attribute in &mut attributes {
        let Some(equals) = attribute.iter().position(|b| *b == b'=') else { continue };
        let (key, old) = (&attribute[..equals], &attribute[equals + 1..]);
        let (rules, domain) = if key.eq_ignore_ascii_case(b"domain") {
            (&passing.cookie_domains, true)
        } else if key.eq_ignore_ascii_case(b"path") {
            (&passing.cookie_paths, false)
        } else {
            continue;
        };
        let new = rules.iter().find_map(|rule| match &rule.from {
            CookieMatch::Pattern(pattern) => substituted(old, pattern, &rule.to, facts),
            CookieMatch::Text(text) => {
                let text = facts.text(text);
                if domain {
                    let bare = old.strip_prefix(b".").unwrap_or(old);
                    bare.eq_ignore_ascii_case(&text).then(|| facts.text(&rule.to))
                } else {
                    let rest = old.strip_prefix(&text[..])?;
                    Some([&facts.text(&rule.to), rest].concat())
                }
            }
        });
        if let Some(new) = new {
            *attribute = [&attribute[..=equals], &new].concat();
        }
    }
    let flags = passing.cookie_flags.iter().find(|rule| match &rule.cookie {
        CookieMatch::Text(text) => facts.text(text).eq_ignore_ascii_case(name),
        CookieMatch::Pattern(pattern) => pattern.is_match(name),
    });
    if let Some(flags) = flags {
        set_flags(&mut attributes, flags);
    }
    let mut new = first.to_vec();
    for attribute in attributes {
        new.extend_from_slice(b"; ");
        new.extend_from_slice(&attribute);
    }
    value(new).unwrap_or_else(|| line.clone())
}

fn set_flags(attributes: &mut Vec<Vec<u8>>, flags: &CookieFlags) {
    let is = |attribute: &[u8], name: &str| {
        attribute
            .split(|b| *b == b'=')
            .next()
            .is_some_and(|key| key.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    let mut set = |name: &str, to: Option<String>| {
        attributes.retain(|attribute| !is(attribute, name));
        attributes.extend(to.map(String::into_bytes));
    };
    if let Some(secure) = flags.secure {
        set("Secure", secure.then(|| "Secure".to_owned()));
    }
    if let Some(http_only) = flags.http_only {
        set("HttpOnly", http_only.then(|| "HttpOnly".to_owned()));
    }
    if let Some(same_site) = &flags.same_site {
        let value = (!same_site.is_empty()).then(|| format!("SameSite={same_site}"));
        set("SameSite", value);
    }
}
