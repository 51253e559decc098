//! Texts with `$variables`: which there are, and how a text with them is taken apart.
//!
//! What a variable stands for in one request is decided in `exchange`; this file knows names
//! only, so that an unknown one is found before the start. Names and meanings are nginx's;
//! `$forwarded_for`, `$forwarded_proto`, `$forwarded_host` and `$real_ip` are ours and heed `trust:`.

mod known;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use self::known::KNOWN;
pub use self::known::Known;

use super::model::limits::Zones;
use super::model::{LogFormat, LogPath};

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// One with a fixed name.
    Known(Known),
    /// `$http_NAME`: the request header `NAME`, lower case, with `_` for `-`.
    Header(HeaderName),
    /// `$sent_http_NAME`: a header of the answer.
    SentHeader(HeaderName),
    /// `$sent_trailer_NAME`.
    SentTrailer(HeaderName),
    /// `$proxy_protocol_tlv_NAME`: what a proxy before this one says beside addresses.
    ProxyTlv(String),
    /// `$upstream_http_NAME`: a header of the last peer's answer.
    UpstreamHeader(HeaderName),
    /// `$upstream_trailer_NAME`.
    UpstreamTrailer(HeaderName),
    /// `$upstream_cookie_NAME`: a cookie that the last peer set.
    UpstreamCookie(String),
    /// `$arg_NAME`: an argument of the query.
    Arg(String),
    /// `$cookie_NAME`.
    Cookie(String),
    /// `$1` to `$9`: a group of the last pattern that matched.
    Capture(u8),
    /// One that the configuration makes, by its slot.
    Own {
        /// Its name.
        name: Arc<str>,
        /// Its position in the configuration's list.
        slot: usize,
    },
}

/// What templates ask for that costs something to keep, so that it is kept only then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// The head of the last upstream's answer.
    pub upstream_head: bool,
    /// The body of the request.
    pub body: bool,
    /// The name of the file that it is in.
    pub body_file: bool,
}

impl Asks {
    /// Takes note of what a template asks for.
    pub fn note(&mut self, template: &Template) {
        for part in template.parts() {
            match part {
                Part::Variable(Variable::UpstreamHeader(_) | Variable::UpstreamCookie(_)) => {
                    self.upstream_head = true;
                }
                Part::Variable(Variable::Known(Known::RequestBody)) => self.body = true,
                Part::Variable(Variable::Known(Known::RequestBodyFile)) => self.body_file = true,
                _ => {}
            }
        }
    }
}

/// Which variables a text may name beside nginx's.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    own: HashMap<String, usize>,
    /// What `log_format` has named.
    pub(super) formats: HashMap<String, Arc<LogFormat>>,
    /// Where access logs go.
    pub(super) logs: Vec<LogPath>,
    /// What requests and connections are counted by.
    pub(super) zones: Zones,
    /// What the templates that were read so far ask for.
    pub asks: Asks,
}

impl Scope {
    /// The slot of a name, made if it is new.
    pub fn declare(&mut self, name: &str) -> usize {
        let next = self.own.len();
        *self.own.entry(name.to_ascii_lowercase()).or_insert(next)
    }

    /// The slot of a name.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.own.get(&name.to_ascii_lowercase()).copied()
    }

    /// The names of the configuration's own variables, by their slots.
    pub fn in_order(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.own.iter().map(|(name, slot)| (*slot, &name[..])).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The names of the configuration's own variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }
}

/// Whether nginx has a variable of this name, other than by a prefix such as `http_`. Ours may be
/// made anew: a configuration of nginx's may use these names for its own.
#[must_use]
pub fn is_nginx_s(name: &str) -> bool {
    const OURS: [Known; 4] =
        [Known::ForwardedFor, Known::ForwardedHost, Known::ForwardedProto, Known::RealIp];
    let is = |(known, variable): &(&str, Known)| {
        known.eq_ignore_ascii_case(name) && !OURS.contains(variable)
    };
    KNOWN.iter().any(is)
}

impl Variable {
    /// Every fixed name, for "did you mean".
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// The variable of a name in a scope.
    #[must_use]
    pub fn parse(name: &str, scope: &Scope) -> Option<Self> {
        // As in nginx, capitals do not matter.
        let name = &name.to_ascii_lowercase()[..];
        if let Ok(group @ 1..=9) = name.parse() {
            return Some(Self::Capture(group));
        }
        if let Some(slot) = scope.slot(name) {
            return Some(Self::Own { name: name.into(), slot });
        }
        if let Some((_, known)) = KNOWN.iter().find(|(n, _)| *n == name) {
            return Some(Self::Known(*known));
        }
        let after = |prefix| name.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty());
        let header = |name: &str| name.replace('_', "-").parse().ok();
        if let Some(name) = after("http_") {
            return header(name).map(Self::Header);
        }
        if let Some(name) = after("sent_http_") {
            return header(name).map(Self::SentHeader);
        }
        if let Some(name) = after("sent_trailer_") {
            return header(name).map(Self::SentTrailer);
        }
        if let Some(name) = after("upstream_http_") {
            return header(name).map(Self::UpstreamHeader);
        }
        if let Some(name) = after("upstream_trailer_") {
            return header(name).map(Self::UpstreamTrailer);
        }
        if let Some(name) = after("proxy_protocol_tlv_") {
            return Some(Self::ProxyTlv(name.to_owned()));
        }
        if let Some(name) = after("upstream_cookie_") {
            return Some(Self::UpstreamCookie(name.to_owned()));
        }
        if let Some(name) = name.strip_prefix("cookie_") {
            return Some(Self::Cookie(name.to_owned()));
        }
        // As in nginx, `$arg_` alone is one that no request has.
        name.strip_prefix("arg_").map(|name| Self::Arg(name.to_owned()))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut header = |prefix: &str, name: &HeaderName| {
            write!(f, "{prefix}{}", name.as_str().replace('-', "_"))
        };
        match self {
            Self::Header(name) => header("http_", name),
            Self::SentHeader(name) => header("sent_http_", name),
            Self::SentTrailer(name) => header("sent_trailer_", name),
            Self::UpstreamHeader(name) => header("upstream_http_", name),
            Self::UpstreamTrailer(name) => header("upstream_trailer_", name),
            Self::UpstreamCookie(name) => write!(f, "upstream_cookie_{name}"),
            Self::ProxyTlv(name) => write!(f, "proxy_protocol_tlv_{name}"),
            Self::Arg(name) => write!(f, "arg_{name}"),
            Self::Cookie(name) => write!(f, "cookie_{name}"),
            Self::Capture(group) => write!(f, "{group}"),
            Self::Own { name, .. } => f.write_str(name),
            Self::Known(known) => {
                let entry = KNOWN.iter().find(|(_, k)| k == known);
                f.write_str(entry.map_or("", |(name, _)| name))
            }
        }
    }
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Literal(String),
    /// What a variable stands for.
    Variable(Variable),
}

/// A text with `$name` and `${name}` in it; `$$` stands for a dollar sign, which nginx has no sign for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A variable that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown variable `${name}`")]
pub struct UnknownVariable {
    /// What was written after the dollar sign.
    pub name: String,
    /// Where the dollar sign stands, in bytes.
    pub at: usize,
}

/// What `$$` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dollar {
    /// A dollar sign, as in YAML.
    Escaped,
    /// A mistake, as in nginx.
    Bare,
}

impl Template {
    /// A text that stands for itself.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(if text.is_empty() { Vec::new() } else { vec![Part::Literal(text)] })
    }

    /// Whether a request decides what it makes.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Variable(_)))
    }

    /// Takes a text apart that names no variable of the configuration's own.
    ///
    /// # Errors
    /// [`UnknownVariable`] for the first name that is not in the list, also for a lone `$`.
    pub fn parse(text: &str) -> Result<Self, UnknownVariable> {
        Self::parse_in(text, &Scope::default(), Dollar::Escaped)
    }

    /// Takes a text apart.
    ///
    /// # Errors
    /// [`UnknownVariable`] for the first name that is not in the list, also for a lone `$`.
    pub fn parse_in(text: &str, scope: &Scope, dollars: Dollar) -> Result<Self, UnknownVariable> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let at = text.len() - rest.len() + dollar;
            literal.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if dollars == Dollar::Escaped
                && let Some(after) = rest.strip_prefix('$')
            {
                literal.push('$');
                rest = after;
                continue;
            }
            let (name, after) = name_at(rest);
            let variable = Variable::parse(name, scope)
                .ok_or_else(|| UnknownVariable { name: name.to_owned(), at })?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(variable));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// One text of several.
    #[must_use]
    pub fn joined(templates: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for part in templates.into_iter().flat_map(|template| template.0) {
            match (parts.last_mut(), part) {
                (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
                (_, part) => parts.push(part),
            }
        }
        Self(parts)
    }

    /// The pieces in order; none for an empty text.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text, where it names no variable.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// The name behind a dollar sign, and what follows it.
fn name_at(rest: &str) -> (&str, &str) {
    if let Some(braced) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
        return braced;
    }
    // `$1a` is the first group and an `a`.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = match rest.as_bytes().first() {
        Some(b'1'..=b'9') => 1,
        _ => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
    };
    rest.split_at(end)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('$', "$$")),
            Part::Variable(variable) => write!(f, "${{{variable}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_apart_into_literals_and_variables() {
        let template = Template::parse("a $host-${http_x_id}$$1").expect("every name is known");
        let [
            Part::Literal(a),
            Part::Variable(host),
            Part::Literal(dash),
            Part::Variable(header),
            Part::Literal(end),
        ] = template.parts()
        else {
            panic!("five parts, found {template:?}");
        };
        assert_eq!((a.as_str(), dash.as_str(), end.as_str()), ("a ", "-", "$1"));
        assert_eq!(*host, Variable::Known(Known::Host));
        assert_eq!(header.to_string(), "http_x_id");
    }

    #[test]
    fn an_unknown_variable_is_named_with_its_place() {
        let error = Template::parse("x $hots").expect_err("there is no such variable");
        assert_eq!(error, UnknownVariable { name: "hots".into(), at: 2 });
        assert_eq!(error.to_string(), "unknown variable `$hots`");
        assert!(Template::parse("5 $").is_err());
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for text in ["", "plain", "$remote_addr, $$5 ${scheme}x", "$http_user_agent"] {
            let template = Template::parse(text).expect("every name is known");
            assert_eq!(Template::parse(&template.to_string()), Ok(template));
        }
    }
}
