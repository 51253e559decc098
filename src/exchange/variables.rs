//! What variables stand for in one request.
//!
//! A [`Scene`] holds what stays the same as long as a request is on its way, a [`Course`] what
//! changes; together they are the [`Facts`] that a template asks. A variable that says nothing,
//! or that nobody has set, is empty.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::HeaderValue;
use ipnet::IpNet;

use super::Course;
use super::TlsFacts;
use super::head::{Asked, Head};
use super::path;
use crate::config::model::{Action, Config, VirtualServer};
use crate::config::pattern::Pattern;
use crate::config::template::{Known, Part, Template, Variable};
use crate::route::{Captures, Router};

/// What stays the same while a request is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Which route a path belongs to.
    pub router: &'a Router,
    /// The request's head as it came.
    pub head: Head<'a>,
    /// What it asks for.
    pub asked: &'a Asked,
    /// The client's end of the connection; none for a socket of the file system.
    pub client: Option<SocketAddr>,
    /// Our end of it.
    pub local: Option<SocketAddr>,
    /// Its TLS handshake; none without TLS.
    pub tls: Option<&'a TlsFacts>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    /// Whether the client's `X-Forwarded-*` headers are believed.
    pub trusted: bool,
}

/// All that a template can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What stays the same.
    pub scene: &'a Scene<'a>,
    /// Where the request stands.
    pub course: &'a Course,
    /// What the groups of the last pattern have matched.
    pub(super) captures: &'a [Option<Vec<u8>>],
    /// How many variables this one is made for.
    pub(super) depth: u8,
}

/// Whether `trust` holds the client's address.
#[must_use]
pub fn is_trusted(trust: &[IpNet], client: Option<SocketAddr>) -> bool {
    let Some(address) = client.map(|client| client.ip().to_canonical()) else { return false };
    trust.iter().any(|network| network.contains(&address))
}

impl Facts<'_> {
    /// The header value that a template makes; none when it is empty, which removes the header.
    #[must_use]
    pub fn value(&self, template: &Template) -> Option<HeaderValue> {
        let value = self.text(template);
        // A value with a control byte in it, which only an escaped path can bring, is left out.
        (!value.is_empty())
            .then(|| HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok())?
    }

    /// What a template makes, whatever its bytes.
    #[must_use]
    pub fn text(&self, template: &Template) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        self.append_template(template, &mut value);
        value
    }

    /// Appends what a template makes.
    pub fn append_template(&self, template: &Template, value: &mut Vec<u8>) {
        for part in template.parts() {
            match part {
                Part::Literal(text) => value.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => self.append(variable, value),
            }
        }
    }

    /// What a template makes where its `$1` and named groups are those of this pattern.
    #[must_use]
    pub fn text_with(
        &self,
        template: &Template,
        pattern: &Pattern,
        captures: &Captures,
    ) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        for part in template.parts() {
            let group = match part {
                Part::Variable(Variable::Capture(group)) => Some(usize::from(*group)),
                Part::Variable(Variable::Own { name, .. }) => {
                    let mut named = pattern.named().iter();
                    named.find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(group, _)| *group)
                }
                _ => None,
            };
            match (group, part) {
                (Some(group), _) => {
                    let group = captures.get(group).and_then(Option::as_deref);
                    value.extend_from_slice(group.unwrap_or_default());
                }
                (None, Part::Literal(text)) => value.extend_from_slice(text.as_bytes()),
                (None, Part::Variable(variable)) => self.append(variable, &mut value),
            }
        }
        value
    }

    fn server(&self) -> Option<&VirtualServer> {
        self.course.virtual_server(self.scene.config)
    }

    /// The first name of the virtual server.
    #[must_use]
    pub fn server_name(&self) -> Cow<'_, str> {
        let name = self.server().and_then(|server| server.names.first());
        name.map_or(Cow::Borrowed(""), |name| Cow::Owned(name.to_string()))
    }

    /// What a group of the last pattern has matched.
    pub(super) fn captured(&self, group: u8) -> &[u8] {
        let group = self.captures.get(usize::from(group));
        group.and_then(Option::as_deref).unwrap_or_default()
    }

    pub(super) fn append(&self, variable: &Variable, value: &mut Vec<u8>) {
        match variable {
            Variable::Known(known) => self.append_known(*known, value),
            Variable::Header(name) => self.append_header(name.as_str(), value),
            Variable::Own { slot, .. } => self.append_own(*slot, value),
            Variable::Capture(group) => value.extend_from_slice(self.captured(*group)),
            Variable::Arg(name) => value.extend_from_slice(self.argument(name)),
            Variable::Cookie(name) => value.extend_from_slice(self.cookie(name)),
            _ => {}
        }
    }

    /// The first argument of this name in the query, as it is written there (`ngx_http_arg`).
    fn argument(&self, name: &str) -> &[u8] {
        let mut args = self.course.args.split(|b| *b == b'&');
        args.find_map(|arg| {
            let (key, value) = arg.split_at_checked(name.len())?;
            (key.eq_ignore_ascii_case(name.as_bytes())).then(|| value.strip_prefix(b"="))?
        })
        .unwrap_or_default()
    }

    /// The first cookie of this name (`ngx_http_parse_multi_header_lines`).
    fn cookie(&self, name: &str) -> &[u8] {
        let lines = self.scene.head.headers.get_all(http::header::COOKIE).iter();
        lines.map(|line| line.as_bytes()).find_map(|line| cookie_in(line, name)).unwrap_or_default()
    }

    fn append_known(&self, known: Known, value: &mut Vec<u8>) {
        let scene = self.scene;
        match known {
            Known::Host if scene.asked.host.is_empty() => {
                value.extend_from_slice(self.server_name().as_bytes());
            }
            Known::Host => value.extend_from_slice(scene.asked.host.as_bytes()),
            Known::RemoteAddr => append_address(scene.client, value),
            Known::RemotePort => append_port(scene.client, value),
            Known::ServerAddr => append_address(scene.local, value),
            Known::ServerPort => append_port(scene.local, value),
            Known::ServerName => value.extend_from_slice(self.server_name().as_bytes()),
            Known::Scheme => value.extend_from_slice(scene.scheme.as_bytes()),
            Known::Https
            | Known::SslCipher
            | Known::SslProtocol
            | Known::SslServerName
            | Known::SslSessionReused => {
                let said = scene.tls.and_then(|tls| tls.variable(known));
                value.extend_from_slice(said.unwrap_or_default().as_bytes());
            }
            Known::RequestMethod => {
                value.extend_from_slice(scene.head.method.as_str().as_bytes());
            }
            Known::RequestUri => {
                let (path, query) = path::split(scene.head.target);
                value.extend_from_slice(path);
                if let Some(query) = query {
                    value.push(b'?');
                    value.extend_from_slice(query);
                }
            }
            Known::Uri | Known::DocumentUri => value.extend_from_slice(&self.course.uri),
            Known::Args | Known::QueryString => value.extend_from_slice(&self.course.args),
            Known::IsArgs if self.course.args.is_empty() => {}
            Known::IsArgs => value.push(b'?'),
            Known::ServerProtocol => append_debug(scene.head.version, value),
            Known::RequestId => value.extend_from_slice(scene.request_id.as_bytes()),
            Known::ProxyHost => {
                let route = self.course.route(scene.config);
                let written = route.and_then(|route| match &route.action {
                    Action::Proxy(proxy) => Some(proxy.host.as_str()),
                    _ => None,
                });
                let aimed = Some(self.course.proxy_host.as_str()).filter(|host| !host.is_empty());
                value.extend_from_slice(aimed.or(written).unwrap_or_default().as_bytes());
            }
            Known::ProxyAddXForwardedFor => self.append_forwarded_for(value),
            Known::ForwardedFor if scene.trusted => self.append_forwarded_for(value),
            Known::ForwardedFor => append_address(scene.client, value),
            Known::RealIp => {
                self.append_believed("x-real-ip", &known_var(Known::RemoteAddr), value)
            }
            Known::ForwardedProto => {
                self.append_believed("x-forwarded-proto", &known_var(Known::Scheme), value);
            }
            Known::ForwardedHost => {
                let host = Variable::Header(http::header::HOST);
                self.append_believed("x-forwarded-host", &host, value);
            }
            _ => {}
        }
    }

    /// What a trusted client sent under `name`; without it, or from another client, `otherwise`.
    fn append_believed(&self, name: &str, otherwise: &Variable, value: &mut Vec<u8>) {
        if self.scene.trusted && self.scene.head.headers.contains_key(name) {
            self.append_header(name, value);
        } else {
            self.append(otherwise, value);
        }
    }

    /// All values of a header, as one list (RFC 9110, section 5.3).
    fn append_header(&self, name: &str, value: &mut Vec<u8>) {
        for (index, line) in self.scene.head.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                value.extend_from_slice(b", ");
            }
            value.extend_from_slice(line.as_bytes());
        }
    }

    fn append_forwarded_for(&self, value: &mut Vec<u8>) {
        self.append_header("x-forwarded-for", value);
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        append_address(self.scene.client, value);
    }
}

/// The value of the first cookie of this name; a comma ends none, but another may follow it.
fn cookie_in<'l>(mut line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    loop {
        let value = line.split_at_checked(name.len()).and_then(|(key, value)| {
            let value = value.trim_ascii_start().strip_prefix(b"=")?;
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii_start())
        });
        if let Some(value) = value {
            return value.split(|b| *b == b';').next();
        }
        let end = line.iter().position(|b| matches!(b, b';' | b','))?;
        line = line[end + 1..].trim_ascii_start();
    }
}

fn known_var(known: Known) -> Variable {
    Variable::Known(known)
}

fn append_display(shown: impl std::fmt::Display, value: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = std::io::Write::write_fmt(value, format_args!("{shown}"));
}

/// nginx has a prefix for the address that a socket of the file system has not.
fn append_address(end: Option<SocketAddr>, value: &mut Vec<u8>) {
    match end {
        Some(end) => append_display(end.ip().to_canonical(), value),
        None => value.extend_from_slice(b"unix:"),
    }
}

fn append_port(end: Option<SocketAddr>, value: &mut Vec<u8>) {
    if let Some(end) = end {
        append_display(end.port(), value);
    }
}

fn append_debug(shown: impl std::fmt::Debug, value: &mut Vec<u8>) {
    append_display(format_args!("{shown:?}"), value);
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::*;

    fn value(template: &str, headers: &[(&'static str, &str)], trusted: bool) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let conf = "server { listen 80; server_name site; \
                    location / { proxy_pass http://back-end:5252; } }";
        let config = crate::config::parse_nginx("test.conf".as_ref(), conf).expect("it is sound");
        let router = Router::new(&config);
        let asked = Asked { host: "example.com".into(), path: b"/a b".to_vec() };
        let mut course = Course::new(0, asked.path.clone(), b"x=1".to_vec(), &[]);
        course.find_route(&router);
        let scene = Scene {
            config: &config,
            router: &router,
            head: Head {
                method: &Method::GET,
                target: b"/a%20b?x=1",
                version: Version::HTTP_11,
                headers: &map,
            },
            asked: &asked,
            client: Some(([10, 0, 0, 9], 4711).into()),
            local: Some(([10, 0, 0, 1], 80).into()),
            tls: None,
            scheme: "http",
            request_id: "0123",
            trusted,
        };
        let facts = scene.with(&course);
        let template = Template::parse(template).expect("every name is known");
        facts.value(&template).map(|v| v.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn each_variable_stands_for_what_nginx_says() {
        let headers = [("host", "Example.com:8080"), ("x-a", "1"), ("x-a", "2")];
        for (template, expected) in [
            ("$host", "example.com"),
            ("$http_host", "Example.com:8080"),
            ("$remote_addr:$remote_port", "10.0.0.9:4711"),
            ("$server_addr:$server_port $server_name", "10.0.0.1:80 site"),
            ("$scheme $request_method $server_protocol", "http GET HTTP/1.1"),
            ("$request_uri", "/a%20b?x=1"),
            ("$uri?$args", "/a b?x=1"),
            ("$http_x_a", "1, 2"),
            ("$request_id@$proxy_host", "0123@back-end:5252"),
            ("$proxy_add_x_forwarded_for", "10.0.0.9"),
        ] {
            assert_eq!(value(template, &headers, false).as_deref(), Some(expected), "{template}");
        }
        assert_eq!(value("$http_none", &headers, false), None, "an empty value removes the header");
    }

    #[test]
    fn forwarded_headers_are_believed_from_trusted_clients_only() {
        let headers = [
            ("host", "h"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front"),
            ("x-real-ip", "1.1.1.1"),
        ];
        let template = "$forwarded_for $forwarded_proto $forwarded_host $real_ip";
        let expected = "1.1.1.1, 10.0.0.9 https front 1.1.1.1";
        assert_eq!(value(template, &headers, true).as_deref(), Some(expected));
        let expected = "10.0.0.9 http h 10.0.0.9";
        assert_eq!(value(template, &headers, false).as_deref(), Some(expected));
    }

    #[test]
    fn trust_is_a_matter_of_networks() {
        let trust = ["10.0.0.0/8".parse().expect("a network")];
        assert!(is_trusted(&trust, Some(([10, 1, 2, 3], 1).into())));
        assert!(is_trusted(&trust, "[::ffff:10.1.2.3]:1".parse().ok()));
        assert!(!is_trusted(&trust, Some(([11, 1, 2, 3], 1).into())));
        assert!(!is_trusted(&[], Some(([127, 0, 0, 1], 1).into())));
    }
}
