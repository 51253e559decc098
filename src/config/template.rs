//! Header values with `$variables`: which there are, and how a text with them is taken apart.
//!
//! What a variable stands for in one request is decided in `exchange`; this file knows names
//! only, so that an unknown one is found before the start. Names and meanings are nginx's;
//! `$forwarded_for`, `$forwarded_proto` and `$forwarded_host` are ours and heed `trust:`.

use std::fmt;

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$host`: the host asked for, lower case, without a port.
    Host,
    /// `$remote_addr`: the address of the client's end of the connection.
    RemoteAddr,
    /// `$remote_port`.
    RemotePort,
    /// `$server_addr`: our end of the connection.
    ServerAddr,
    /// `$server_port`.
    ServerPort,
    /// `$server_name`: the first name of the virtual server.
    ServerName,
    /// `$scheme`: `http` or `https`.
    Scheme,
    /// `$request_method`.
    RequestMethod,
    /// `$request_uri`: the path and query as the client sent them.
    RequestUri,
    /// `$uri`: the normalized path.
    Uri,
    /// `$args`: the query without its question mark.
    Args,
    /// `$server_protocol`: `HTTP/1.1` and so on.
    ServerProtocol,
    /// `$request_id`: 32 hexadecimal digits, random for each request.
    RequestId,
    /// `$proxy_host`: host and port of the route's target as written.
    ProxyHost,
    /// `$proxy_add_x_forwarded_for`: the client's `X-Forwarded-For` with `$remote_addr` appended.
    ProxyAddXForwardedFor,
    /// `$forwarded_for`: as `$proxy_add_x_forwarded_for` for a trusted client, else `$remote_addr`.
    ForwardedFor,
    /// `$forwarded_proto`: a trusted client's `X-Forwarded-Proto`, else `$scheme`.
    ForwardedProto,
    /// `$forwarded_host`: a trusted client's `X-Forwarded-Host`, else `$http_host`.
    ForwardedHost,
    /// `$real_ip`: a trusted client's `X-Real-IP`, else `$remote_addr`.
    RealIp,
    /// `$http_NAME`: the request header `NAME`, lower case, with `_` for `-`.
    Header(http::HeaderName),
}

const NAMED: [(&str, Variable); 19] = [
    ("args", Variable::Args),
    ("forwarded_for", Variable::ForwardedFor),
    ("forwarded_host", Variable::ForwardedHost),
    ("forwarded_proto", Variable::ForwardedProto),
    ("host", Variable::Host),
    ("proxy_add_x_forwarded_for", Variable::ProxyAddXForwardedFor),
    ("proxy_host", Variable::ProxyHost),
    ("real_ip", Variable::RealIp),
    ("remote_addr", Variable::RemoteAddr),
    ("remote_port", Variable::RemotePort),
    ("request_id", Variable::RequestId),
    ("request_method", Variable::RequestMethod),
    ("request_uri", Variable::RequestUri),
    ("scheme", Variable::Scheme),
    ("server_addr", Variable::ServerAddr),
    ("server_name", Variable::ServerName),
    ("server_port", Variable::ServerPort),
    ("server_protocol", Variable::ServerProtocol),
    ("uri", Variable::Uri),
];

impl Variable {
    /// Every name without `http_NAME`, for "did you mean".
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    fn parse(name: &str) -> Option<Self> {
        if let Some((_, variable)) = NAMED.iter().find(|(n, _)| *n == name) {
            return Some(variable.clone());
        }
        let header = name.strip_prefix("http_").filter(|n| !n.is_empty())?;
        header.replace('_', "-").parse().ok().map(Self::Header)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "http_{}", name.as_str().replace('-', "_")),
            named => {
                let entry = NAMED.iter().find(|(_, variable)| variable == named);
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

/// A text with `$name` and `${name}` in it; `$$` stands for a dollar sign.
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

impl Template {
    /// Takes a text apart.
    ///
    /// # Errors
    /// [`UnknownVariable`] for the first name that is not in the list, also for a lone `$`.
    pub fn parse(text: &str) -> Result<Self, UnknownVariable> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let at = text.len() - rest.len() + dollar;
            literal.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
                Some(braced) => braced,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
                }
            };
            let variable = Variable::parse(name)
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

    /// The pieces in order; none for an empty text.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
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
        assert_eq!(*host, Variable::Host);
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
