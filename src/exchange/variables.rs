//! What the variables of a header template stand for in one request.

use std::net::SocketAddr;

use http::HeaderValue;
use ipnet::IpNet;

use super::head::{Asked, Head};
use super::path;
use crate::config::template::{Part, Template, Variable};

/// All that a template can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The request's head as it came.
    pub head: Head<'a>,
    /// What it asks for.
    pub asked: &'a Asked,
    /// The client's end of the connection.
    pub client: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// The first name of the virtual server.
    pub server_name: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    /// Host and port of the route's target as written.
    pub proxy_host: &'a str,
    /// Whether the client's `X-Forwarded-*` headers are believed.
    pub trusted: bool,
}

/// Whether `trust` holds the client's address.
#[must_use]
pub fn is_trusted(trust: &[IpNet], client: SocketAddr) -> bool {
    let address = client.ip().to_canonical();
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
        for part in template.parts() {
            match part {
                Part::Literal(text) => value.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => self.append(variable, &mut value),
            }
        }
        value
    }

    fn append(&self, variable: &Variable, value: &mut Vec<u8>) {
        let (path, query) = path::split(self.head.target);
        match variable {
            Variable::Host if self.asked.host.is_empty() => {
                value.extend_from_slice(self.server_name.as_bytes());
            }
            Variable::Host => value.extend_from_slice(self.asked.host.as_bytes()),
            Variable::RemoteAddr => append_display(self.client.ip().to_canonical(), value),
            Variable::RemotePort => append_display(self.client.port(), value),
            Variable::ServerAddr => append_display(self.local.ip().to_canonical(), value),
            Variable::ServerPort => append_display(self.local.port(), value),
            Variable::ServerName => value.extend_from_slice(self.server_name.as_bytes()),
            Variable::Scheme => value.extend_from_slice(self.scheme.as_bytes()),
            Variable::RequestMethod => {
                value.extend_from_slice(self.head.method.as_str().as_bytes());
            }
            Variable::RequestUri => {
                value.extend_from_slice(path);
                if let Some(query) = query {
                    value.push(b'?');
                    value.extend_from_slice(query);
                }
            }
            Variable::Uri => value.extend_from_slice(&self.asked.path),
            Variable::Args => value.extend_from_slice(query.unwrap_or_default()),
            Variable::ServerProtocol => append_debug(self.head.version, value),
            Variable::RequestId => value.extend_from_slice(self.request_id.as_bytes()),
            Variable::ProxyHost => value.extend_from_slice(self.proxy_host.as_bytes()),
            Variable::Header(name) => self.append_header(name.as_str(), value),
            Variable::ProxyAddXForwardedFor => self.append_forwarded_for(value),
            Variable::ForwardedFor if self.trusted => self.append_forwarded_for(value),
            Variable::ForwardedFor => append_display(self.client.ip().to_canonical(), value),
            Variable::RealIp => self.append_believed("x-real-ip", &Variable::RemoteAddr, value),
            Variable::ForwardedProto => {
                self.append_believed("x-forwarded-proto", &Variable::Scheme, value);
            }
            Variable::ForwardedHost => {
                let host = Variable::Header(http::header::HOST);
                self.append_believed("x-forwarded-host", &host, value);
            }
        }
    }

    /// What a trusted client sent under `name`; without it, or from another client, `otherwise`.
    fn append_believed(&self, name: &str, otherwise: &Variable, value: &mut Vec<u8>) {
        if self.trusted && self.head.headers.contains_key(name) {
            self.append_header(name, value);
        } else {
            self.append(otherwise, value);
        }
    }

    /// All values of a header, as one list (RFC 9110, section 5.3).
    fn append_header(&self, name: &str, value: &mut Vec<u8>) {
        for (index, line) in self.head.headers.get_all(name).iter().enumerate() {
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
        append_display(self.client.ip().to_canonical(), value);
    }
}

fn append_display(shown: impl std::fmt::Display, value: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = std::io::Write::write_fmt(value, format_args!("{shown}"));
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
        let asked = Asked { host: "example.com".into(), path: b"/a b".to_vec() };
        let facts = Facts {
            head: Head {
                method: &Method::GET,
                target: b"/a%20b?x=1",
                version: Version::HTTP_11,
                headers: &map,
            },
            asked: &asked,
            client: ([10, 0, 0, 9], 4711).into(),
            local: ([10, 0, 0, 1], 80).into(),
            server_name: "site",
            scheme: "http",
            request_id: "0123",
            proxy_host: "back-end:5252",
            trusted,
        };
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
        assert!(is_trusted(&trust, ([10, 1, 2, 3], 1).into()));
        assert!(is_trusted(&trust, "[::ffff:10.1.2.3]:1".parse().expect("an address")));
        assert!(!is_trusted(&trust, ([11, 1, 2, 3], 1).into()));
        assert!(!is_trusted(&[], ([127, 0, 0, 1], 1).into()));
    }
}
