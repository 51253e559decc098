//! What variables stand for in one request.
//!
//! A [`Scene`] holds what stays the same as long as a request is on its way, a [`Course`] what
//! changes; together they are the [`Facts`] that a template asks. A variable that says nothing,
//! or that nobody has set, is empty; a log tells one that does not exist from an empty one.
//! Values have nginx's form. There is a file for those of the request, of the answer, and of the
//! upstream.

mod answer;
mod request;
mod upstream;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use tokio::time::Instant;

use super::Course;
use super::TlsFacts;
use super::head::{Asked, Head};
use super::proxy_protocol::Said;
use super::trace::Trace;
use crate::config::model::{Config, ServerName, VirtualServer};
use crate::config::pattern::Pattern;
use crate::config::template::{Known, Part, Template, Variable};
use crate::health::clock;
use crate::limits::Tables;
use crate::observe::access::Attempt;
use crate::route::{Captures, Router};

/// What stays the same while a request is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Which route a path belongs to.
    pub router: &'a Router,
    /// What limits have counted.
    pub tables: &'a Tables,
    /// The request's head as it came.
    pub head: Head<'a>,
    /// What it asks for.
    pub asked: &'a Asked,
    /// The client's end of the connection; none for a socket of the file system.
    pub client: Option<SocketAddr>,
    /// The other end of the connection, which a proxy that is believed may stand for.
    pub peer: Option<SocketAddr>,
    /// Our end of it.
    pub local: Option<SocketAddr>,
    /// What a proxy before this one says of the connection; none without the PROXY protocol.
    pub proxied: Option<&'a Said>,
    /// Its TLS handshake; none without TLS.
    pub tls: Option<&'a TlsFacts>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    /// The trace that it belongs to, where robin heeds such.
    pub trace: Option<&'a Trace>,
    /// Whether the client's `X-Forwarded-*` headers are believed.
    pub trusted: bool,
    /// What has come of it so far.
    pub so_far: SoFar<'a>,
}

/// What has come of a request so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoFar<'a> {
    /// The number of the client's connection.
    pub connection: u64,
    /// How many requests it has had, this one counted.
    pub requests: u64,
    /// When it was made.
    pub connected: Option<Instant>,
    /// When the request's first byte came. Times that few ask for are worked out for these.
    pub began: Option<Instant>,
    /// Bytes of the request: line, headers and what came of the body.
    pub request_bytes: u64,
    /// The request line as it came, where no head could be read.
    pub line: Option<&'a [u8]>,
    /// The file that its body is in, where that has a name.
    pub body_file: Option<&'a Path>,
    /// Whether nothing more comes of the request.
    pub ended: bool,
    /// Whether it had come, in part at least, before the request before it was answered.
    pub pipelined: bool,
    /// The request line as it came, where its target was in absolute form.
    pub written: Option<&'a [u8]>,
    /// The request's body, where all of it is in memory.
    pub body: Option<&'a [u8]>,
    /// What the client has got; none before the head of an answer is ready.
    pub answered: Option<Answered<'a>>,
    /// The tries at peers.
    pub attempts: &'a [Attempt],
    /// The upstream that had no peer for the request.
    pub without_peer: Option<&'a str>,
    /// The head of the last peer's answer, where a template asks for such.
    pub upstream: Option<&'a HeaderMap>,
}

/// What the client has got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answered<'a> {
    /// The status.
    pub status: u16,
    /// The headers; none where there was no answer.
    pub headers: Option<&'a HeaderMap>,
    /// The trailers so far; none where they are not being written.
    pub trailers: Option<&'a HeaderMap>,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Bytes of all of it.
    pub bytes: u64,
    /// Whether it went out to its end.
    pub complete: bool,
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
        let mut value = Vec::with_capacity(32);
        self.append_value(template, &mut value)
            .then(|| HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok())?
    }

    /// Appends the header value that a template makes; tells whether there is one.
    pub fn append_value(&self, template: &Template, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.append_template(template, out);
        let value = &mut out[start..];
        // An escaped path can bring control bytes: none of them may begin another header (RFC 9110,
        // section 5.5).
        let bad = |byte: u8| byte.is_ascii_control() && byte != b'\t';
        // Hardly any has one, and to look is cheaper than to write.
        if value.iter().fold(false, |found, byte| found | bad(*byte)) {
            value.iter_mut().filter(|byte| bad(**byte)).for_each(|byte| *byte = b' ');
        }
        !value.is_empty()
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
                Part::Variable(variable) => {
                    self.append(variable, value);
                }
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
                (None, Part::Variable(variable)) => {
                    self.append(variable, &mut value);
                }
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
        match self.server().and_then(|server| server.names.first()) {
            Some(ServerName::Exact(name)) => Cow::Borrowed(name),
            Some(name) => Cow::Owned(name.to_string()),
            None => Cow::Borrowed(""),
        }
    }

    /// What a group of the last pattern has matched.
    pub(super) fn captured(&self, group: u8) -> Option<&[u8]> {
        self.captures.get(usize::from(group))?.as_deref()
    }

    /// Appends what a variable says; false where it does not exist, which a log shows as `-`.
    pub(super) fn append(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        let found = match variable {
            Variable::Known(known) => return self.append_known(*known, out),
            Variable::Header(name) => return append_lines(self.scene.head.headers, name, out),
            Variable::SentHeader(name) => return self.append_sent_header(name, out),
            Variable::SentTrailer(name) => return self.append_sent_trailer(name, out),
            Variable::UpstreamHeader(name) => {
                return self
                    .scene
                    .so_far
                    .upstream
                    .is_some_and(|head| append_lines(head, name, out));
            }
            Variable::Own { slot, .. } => {
                self.append_own(*slot, out);
                return true;
            }
            Variable::ProxyTlv(name) => {
                let value = self.scene.proxied.and_then(|said| said.tlv(name));
                out.extend_from_slice(value.as_deref().unwrap_or_default());
                return value.is_some();
            }
            // Trailers of HTTP/1 do not come through Pingora.
            Variable::UpstreamTrailer(_) => None,
            Variable::Capture(group) => self.captured(*group),
            Variable::Arg(name) => self.argument(name),
            Variable::Cookie(name) => self.cookie(name),
            Variable::UpstreamCookie(name) => self.upstream_cookie(name),
        };
        out.extend_from_slice(found.unwrap_or_default());
        found.is_some()
    }

    /// Those of one request are told where they belong: the request, the answer, the upstream.
    fn append_known(&self, known: Known, out: &mut Vec<u8>) -> bool {
        self.append_of_request(known, out)
            .or_else(|| self.append_of_connection(known, out))
            .or_else(|| self.append_of_answer(known, out))
            .or_else(|| self.append_of_upstream(known, out))
            .unwrap_or(false)
    }
}

/// Appends all values of a header, as one list (RFC 9110, section 5.3); cookies have another sign.
fn append_lines(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    let separator = if *name == header::COOKIE { b"; " } else { b", " };
    let mut found = false;
    for line in headers.get_all(name) {
        if found {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(line.as_bytes());
        found = true;
    }
    found
}

/// How long ago something was; no time for what never was.
fn since(moment: Option<Instant>) -> Duration {
    moment.map_or(Duration::ZERO, clock::since)
}

fn append_display(shown: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = std::io::Write::write_fmt(out, format_args!("{shown}"));
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
            tables: &Tables::default(),
            head: Head {
                method: &Method::GET,
                target: b"/a%20b?x=1",
                version: Version::HTTP_11,
                headers: &map,
            },
            asked: &asked,
            client: Some(([10, 0, 0, 9], 4711).into()),
            peer: Some(([10, 0, 0, 9], 4711).into()),
            local: Some(([10, 0, 0, 1], 80).into()),
            proxied: None,
            tls: None,
            scheme: "http",
            request_id: "0123",
            trace: Some(&Trace::begin(0xabc, 0xdef, 1)),
            trusted,
            so_far: SoFar::default(),
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
            ("$otel_trace_id-$otel_span_id", "00000000000000000000000000000abc-0000000000000def"),
            ("<$otel_parent_id|$otel_parent_sampled>", "<|0>"),
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
    fn trusted_clients_may_say_the_same_in_forwarded() {
        let line = r#"for=1.1.1.1, for="[2001:db8::1]:80";proto=https;host="front:8443""#;
        let headers = [("host", "h"), ("forwarded", line)];
        let template = "$forwarded_for|$forwarded_proto|$forwarded_host|$real_ip";
        let expected = "1.1.1.1, 2001:db8::1, 10.0.0.9|https|front:8443|2001:db8::1";
        assert_eq!(value(template, &headers, true).as_deref(), Some(expected));
        let expected = "10.0.0.9|http|h|10.0.0.9";
        assert_eq!(value(template, &headers, false).as_deref(), Some(expected));
        let headers = [("host", "h"), ("forwarded", "for=_hidden;proto=\"a b\";host=\"a b\"")];
        let expected = "unknown, 10.0.0.9|http|h|10.0.0.9";
        assert_eq!(value(template, &headers, true).as_deref(), Some(expected));
        let headers = [("host", "h"), ("x-forwarded-for", "1.1.1.1"), ("forwarded", line)];
        let expected = "1.1.1.1, 10.0.0.9|http|h|10.0.0.9";
        assert_eq!(
            value(template, &headers, true).as_deref(),
            Some(expected),
            "not beside its kin"
        );
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
