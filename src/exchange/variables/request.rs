//! Variables of the request and of the connection that it came on.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::{HeaderName, header};

use super::{Facts, append_display, append_lines};
use crate::config::template::{Known, Variable};
use crate::exchange::{files, head};
use crate::observe::host::hostname;
use crate::observe::text::push_seconds;

impl Facts<'_> {
    /// Appends a variable of the request; none where it is of another kind.
    pub(super) fn append_of_request(&self, known: Known, out: &mut Vec<u8>) -> Option<bool> {
        let scene = self.scene;
        let found: Option<Cow<'_, [u8]>> = match known {
            Known::Host if !scene.asked.host.is_empty() => Some(scene.asked.host.as_bytes().into()),
            Known::Host | Known::ServerName => {
                out.extend_from_slice(self.server_name().as_bytes());
                return Some(true);
            }
            Known::Scheme => Some(scene.scheme.as_bytes().into()),
            Known::RequestMethod => match scene.so_far.line {
                Some(_) => None,
                None => Some(scene.head.method.as_str().as_bytes().into()),
            },
            Known::RequestUri if scene.so_far.line.is_some() => None,
            Known::RequestUri => match head::absolute(scene.head.target) {
                Some((_, target)) => Some(target),
                None => Some(scene.head.target.into()),
            },
            Known::Uri | Known::DocumentUri => Some(self.course.uri.as_slice().into()),
            Known::Args | Known::QueryString => match &self.course.args[..] {
                [] if !scene.head.target.contains(&b'?') => None,
                args => Some(args.into()),
            },
            Known::IsArgs if self.course.args.is_empty() => Some(b""[..].into()),
            Known::IsArgs => Some(b"?"[..].into()),
            Known::Request => self.request_line(),
            Known::RequestId => Some(scene.request_id.as_bytes().into()),
            Known::RequestBody => scene.so_far.body.map(Cow::Borrowed),
            Known::RequestBodyFile => None,
            Known::ContentLength => {
                return Some(append_lines(scene.head.headers, &header::CONTENT_LENGTH, out));
            }
            Known::ContentType => {
                return Some(append_lines(scene.head.headers, &header::CONTENT_TYPE, out));
            }
            Known::RemoteUser => self.remote_user().map(Cow::Owned),
            Known::DocumentRoot | Known::RealpathRoot => {
                files::asked_for(self).map(|(mut path, root)| {
                    path.truncate(root);
                    Cow::Owned(path)
                })
            }
            Known::RequestFilename => files::asked_for(self).map(|(path, _)| Cow::Owned(path)),
            Known::LimitRate => {
                append_display(self.course.limit_rate, out);
                return Some(true);
            }
            Known::RequestPort => self.request_port().map(Cow::Owned),
            Known::ProxyAddXForwardedFor => return Some(self.append_forwarded_for(out)),
            Known::ForwardedFor if scene.trusted => return Some(self.append_forwarded_for(out)),
            Known::ForwardedFor => return Some(append_address(scene.client, out)),
            Known::RealIp => {
                return Some(self.append_believed(
                    "x-real-ip",
                    &Variable::Known(Known::RemoteAddr),
                    out,
                ));
            }
            Known::ForwardedProto => {
                return Some(self.append_believed(
                    "x-forwarded-proto",
                    &Variable::Known(Known::Scheme),
                    out,
                ));
            }
            Known::ForwardedHost => {
                let host = Variable::Header(header::HOST);
                return Some(self.append_believed("x-forwarded-host", &host, out));
            }
            _ => return None,
        };
        out.extend_from_slice(found.as_deref().unwrap_or_default());
        Some(found.is_some())
    }

    /// Appends a variable of the connection or of the process; none where it is of another kind.
    pub(super) fn append_of_connection(&self, known: Known, out: &mut Vec<u8>) -> Option<bool> {
        let scene = self.scene;
        let text = match known {
            Known::RemoteAddr => return Some(append_address(scene.client, out)),
            Known::RemotePort => return Some(append_port(scene.client, out)),
            Known::RealipRemoteAddr => return Some(append_address(scene.peer, out)),
            Known::RealipRemotePort => return Some(append_port(scene.peer, out)),
            Known::ServerAddr => return Some(append_address(scene.local, out)),
            Known::ServerPort => return Some(append_port(scene.local, out)),
            Known::BinaryRemoteAddr => {
                match scene.client.map(|client| client.ip().to_canonical()) {
                    Some(std::net::IpAddr::V4(v4)) => out.extend_from_slice(&v4.octets()),
                    Some(std::net::IpAddr::V6(v6)) => out.extend_from_slice(&v6.octets()),
                    None => out.extend_from_slice(b"unix:"),
                }
                return Some(true);
            }
            Known::ServerProtocol => match scene.so_far.line {
                Some(_) => None,
                None => {
                    append_display(format_args!("{:?}", scene.head.version), out);
                    return Some(true);
                }
            },
            Known::Connection => {
                append_display(scene.so_far.connection, out);
                return Some(true);
            }
            Known::ConnectionRequests => {
                append_display(scene.so_far.requests, out);
                return Some(true);
            }
            Known::ConnectionTime => {
                push_seconds(out, scene.so_far.connected);
                return Some(true);
            }
            Known::Pid => {
                append_display(std::process::id(), out);
                return Some(true);
            }
            // Pingora reads one request at a time, whatever has come behind it.
            Known::Pipe => Some("."),
            Known::Hostname => Some(hostname()),
            Known::NginxVersion => Some(env!("CARGO_PKG_VERSION")),
            Known::Https => Some(if scene.scheme == "https" { "on" } else { "" }),
            Known::SslCipher
            | Known::SslProtocol
            | Known::SslServerName
            | Known::SslSessionReused
            | Known::SslCurve
            | Known::SslAlpnProtocol => scene.tls.and_then(|tls| tls.variable(known)),
            _ => return None,
        };
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
        Some(text.is_some())
    }

    fn request_line(&self) -> Option<Cow<'_, [u8]>> {
        let head = self.scene.head;
        match self.scene.so_far.line {
            Some([]) => None,
            Some(line) => Some(line.into()),
            None => {
                let version = format!(" {:?}", head.version);
                Some(
                    [head.method.as_str().as_bytes(), b" ", head.target, version.as_bytes()]
                        .concat()
                        .into(),
                )
            }
        }
    }

    /// The name of Basic authentication (RFC 7617), never its password.
    fn remote_user(&self) -> Option<Vec<u8>> {
        let value = self.scene.head.headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, code) = value.split_at_checked(6)?;
        let mut pair =
            scheme.eq_ignore_ascii_case(b"basic ").then(|| base64(code.trim_ascii()))??;
        let end = pair.iter().position(|b| *b == b':')?;
        pair.truncate(end);
        (end > 0).then_some(pair)
    }

    /// The port that the client asked for, if it named one.
    fn request_port(&self) -> Option<Vec<u8>> {
        let host = self.scene.head.headers.get(header::HOST)?.as_bytes();
        let colon = host.iter().rposition(|b| *b == b':')?;
        let port = &host[colon + 1..];
        (!port.is_empty() && port.iter().all(u8::is_ascii_digit)).then(|| port.to_vec())
    }

    /// The first argument of this name in the query, as it is written there (`ngx_http_arg`).
    pub(super) fn argument(&self, name: &str) -> Option<&[u8]> {
        if name.is_empty() {
            return None;
        }
        let mut args = self.course.args.split(|b| *b == b'&');
        args.find_map(|arg| {
            let (key, value) = arg.split_at_checked(name.len())?;
            (key.eq_ignore_ascii_case(name.as_bytes())).then(|| value.strip_prefix(b"="))?
        })
    }

    /// The first cookie of this name (`ngx_http_parse_multi_header_lines`).
    pub(in crate::exchange) fn cookie(&self, name: &str) -> Option<&[u8]> {
        let lines = self.scene.head.headers.get_all(header::COOKIE).iter();
        lines.map(|line| line.as_bytes()).find_map(|line| cookie_in(line, name))
    }

    /// What a trusted client sent under `name`; without it, or from another client, `otherwise`.
    fn append_believed(&self, name: &'static str, otherwise: &Variable, out: &mut Vec<u8>) -> bool {
        let name = HeaderName::from_static(name);
        if self.scene.trusted && self.scene.head.headers.contains_key(&name) {
            append_lines(self.scene.head.headers, &name, out)
        } else {
            self.append(otherwise, out)
        }
    }

    fn append_forwarded_for(&self, out: &mut Vec<u8>) -> bool {
        let name = HeaderName::from_static("x-forwarded-for");
        if append_lines(self.scene.head.headers, &name, out) {
            out.extend_from_slice(b", ");
        }
        append_address(self.scene.client, out)
    }
}

/// The value of the first cookie of this name; a comma ends none, but another may follow it.
pub(super) fn cookie_in<'l>(mut line: &'l [u8], name: &str) -> Option<&'l [u8]> {
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

/// nginx has a prefix for the address that a socket of the file system has not.
fn append_address(end: Option<SocketAddr>, out: &mut Vec<u8>) -> bool {
    match end {
        Some(end) => append_display(end.ip().to_canonical(), out),
        None => out.extend_from_slice(b"unix:"),
    }
    true
}

fn append_port(end: Option<SocketAddr>, out: &mut Vec<u8>) -> bool {
    if let Some(end) = end {
        append_display(end.port(), out);
    }
    true
}

/// Decodes base64 (RFC 4648, section 4); none where it is something else.
fn base64(code: &[u8]) -> Option<Vec<u8>> {
    let code = code.strip_suffix(b"==").or_else(|| code.strip_suffix(b"=")).unwrap_or(code);
    let mut text = Vec::with_capacity(code.len());
    let (mut bits, mut held) = (0_u32, 0);
    for byte in code {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            text.push((bits >> held & 0xff) as u8);
        }
    }
    Some(text)
}
