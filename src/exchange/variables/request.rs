//! Variables of the request and of the connection that it came on.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;

use http::{HeaderName, header};

use super::{Facts, append_display, append_lines, since};
use crate::config::template::{Known, Variable};
use crate::exchange::trace::Trace;
use crate::exchange::{files, forwarded, password};
use crate::observe::host::hostname;
use crate::observe::text::push_seconds;

impl Facts<'_> {
    /// The ends of the connection as a proxy before this one says them.
    fn said(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.scene.proxied.and_then(|said| said.ends).unzip()
    }

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
            Known::RequestUri => Some(scene.head.target.into()),
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
            Known::RequestBodyFile => {
                scene.so_far.body_file.map(|path| path.as_os_str().as_bytes().into())
            }
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
            Known::LimitReqStatus => {
                self.course.limit_req.map(|said| said.name().as_bytes().into())
            }
            Known::LimitConnStatus => {
                self.course.limit_conn.map(|said| said.name().as_bytes().into())
            }
            Known::LimitRate => {
                append_display(self.course.limit_rate.unwrap_or(0), out);
                return Some(true);
            }
            Known::RequestPort => self.request_port().map(Cow::Owned),
            Known::ProxyAddXForwardedFor => return Some(self.append_forwarded_for(out)),
            Known::ForwardedFor if scene.trusted => return Some(self.append_believed_hops(out)),
            Known::ForwardedFor => return Some(append_address(self.client(), out)),
            Known::RealIp => {
                let client = Variable::Known(Known::RemoteAddr);
                return Some(self.append_believed("x-real-ip", "for", &client, out));
            }
            Known::ForwardedProto => {
                let scheme = Variable::Known(Known::Scheme);
                return Some(self.append_believed("x-forwarded-proto", "proto", &scheme, out));
            }
            Known::ForwardedHost => {
                let host = Variable::Header(header::HOST);
                return Some(self.append_believed("x-forwarded-host", "host", &host, out));
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
            Known::RemoteAddr => return Some(append_address(self.client(), out)),
            Known::RemotePort => return Some(append_port(self.client(), out)),
            Known::RealipRemoteAddr => return Some(append_address(scene.peer, out)),
            Known::RealipRemotePort => return Some(append_port(scene.peer, out)),
            Known::ProxyProtocolAddr => return Some(append_said_address(self.said().0, out)),
            Known::ProxyProtocolPort => return Some(append_port(self.said().0, out)),
            Known::ProxyProtocolServerAddr => return Some(append_said_address(self.said().1, out)),
            Known::ProxyProtocolServerPort => return Some(append_port(self.said().1, out)),
            Known::ServerAddr => return Some(append_address(scene.local, out)),
            Known::ServerPort => return Some(append_port(scene.local, out)),
            Known::BinaryRemoteAddr => {
                match self.client().map(|client| client.ip().to_canonical()) {
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
            Known::OtelTraceId
            | Known::OtelSpanId
            | Known::OtelParentId
            | Known::OtelParentSampled => return Some(append_of_trace(scene.trace, known, out)),
            Known::Connection => {
                append_display(scene.so_far.connection, out);
                return Some(true);
            }
            Known::ConnectionRequests => {
                append_display(scene.so_far.requests, out);
                return Some(true);
            }
            Known::ConnectionTime => {
                push_seconds(out, since(scene.so_far.connected));
                return Some(true);
            }
            Known::Pid => {
                append_display(std::process::id(), out);
                return Some(true);
            }
            Known::Pipe => Some(if scene.so_far.pipelined { "p" } else { "." }),
            Known::Hostname => Some(hostname()),
            Known::NginxVersion => Some(env!("CARGO_PKG_VERSION")),
            Known::Https => Some(if scene.scheme == "https" { "on" } else { "" }),
            Known::SslCipher
            | Known::SslProtocol
            | Known::SslServerName
            | Known::SslSessionReused
            | Known::SslCurve
            | Known::SslCurves
            | Known::SslCiphers
            | Known::SslSessionId
            | Known::SslClientCert
            | Known::SslClientEscapedCert
            | Known::SslClientFingerprint
            | Known::SslClientIDn
            | Known::SslClientIDnLegacy
            | Known::SslClientRawCert
            | Known::SslClientSDn
            | Known::SslClientSDnLegacy
            | Known::SslClientSerial
            | Known::SslClientVEnd
            | Known::SslClientVRemain
            | Known::SslClientVStart
            | Known::SslClientVerify
            | Known::SslAlpnProtocol => {
                let text = scene.tls.and_then(|tls| tls.variable(known));
                out.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
                return Some(text.is_some());
            }
            _ => return None,
        };
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
        Some(text.is_some())
    }

    fn request_line(&self) -> Option<Cow<'_, [u8]>> {
        let head = self.scene.head;
        match self.scene.so_far.line.or(self.scene.so_far.written) {
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
        let value = self.scene.head.headers.get(header::AUTHORIZATION)?;
        password::credentials(value.as_bytes()).map(|said| said.user)
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

    /// What a trusted client sent under `name`, or says in `Forwarded`; without it, or from another
    /// client, `otherwise`.
    fn append_believed(
        &self,
        name: &'static str,
        parameter: &str,
        otherwise: &Variable,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.scene.trusted {
            return self.append(otherwise, out);
        }
        let name = HeaderName::from_static(name);
        if self.scene.head.headers.contains_key(&name) {
            return append_lines(self.scene.head.headers, &name, out);
        }
        let line = self.forwarded_line();
        let said = match parameter {
            "for" => {
                line.and_then(|line| forwarded::hops(&line).pop()?).map(|a| a.ip().to_string())
            }
            // What is no scheme and no host goes into no header.
            _ => line.and_then(|line| forwarded::last(&line, parameter)).filter(|said| {
                said.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:[]".contains(&b))
            }),
        };
        match said.filter(|said| !said.is_empty()) {
            Some(said) => out.extend_from_slice(said.as_bytes()),
            None => return self.append(otherwise, out),
        }
        true
    }

    /// All lines of `Forwarded` (RFC 7239) as one; none where there are none that are heard.
    fn forwarded_line(&self) -> Option<Vec<u8>> {
        let headers = self.scene.head.headers;
        let mut line = Vec::new();
        let found = append_lines(headers, &header::FORWARDED, &mut line);
        (found && forwarded::is_heard(headers)).then_some(line)
    }

    fn append_forwarded_for(&self, out: &mut Vec<u8>) -> bool {
        let name = HeaderName::from_static("x-forwarded-for");
        if append_lines(self.scene.head.headers, &name, out) {
            out.extend_from_slice(b", ");
        }
        append_address(self.client(), out)
    }

    /// As `X-Forwarded-For`, what a trusted client says in it or in `Forwarded` before its own address.
    fn append_believed_hops(&self, out: &mut Vec<u8>) -> bool {
        if let Some(line) = self.forwarded_line() {
            for hop in forwarded::hops(&line) {
                let hop = hop.map_or("unknown".to_owned(), |hop| hop.ip().to_string());
                out.extend_from_slice(hop.as_bytes());
                out.extend_from_slice(b", ");
            }
        }
        self.append_forwarded_for(out)
    }
}

/// The value of the first cookie of this name; only a semicolon ends one.
pub(super) fn cookie_in<'l>(mut line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    loop {
        let value = line.split_at_checked(name.len()).and_then(|(key, value)| {
            let value = value.trim_ascii_start().strip_prefix(b"=")?;
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii_start())
        });
        if let Some(value) = value {
            return value.split(|b| *b == b';').next();
        }
        let end = line.iter().position(|b| *b == b';')?;
        line = line[end + 1..].trim_ascii_start();
    }
}

/// The address that a header says; nothing without one.
fn append_said_address(end: Option<SocketAddr>, out: &mut Vec<u8>) -> bool {
    if let Some(end) = end {
        append_display(end.ip(), out);
    }
    end.is_some()
}

/// As it shows itself: nearly every request says it, several times.
fn append_v4(address: Ipv4Addr, out: &mut Vec<u8>) {
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// nginx has a prefix for the address that a socket of the file system has not.
fn append_address(end: Option<SocketAddr>, out: &mut Vec<u8>) -> bool {
    match end {
        Some(end) => match end.ip().to_canonical() {
            IpAddr::V4(address) => append_v4(address, out),
            address @ IpAddr::V6(_) => append_display(address, out),
        },
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

/// As nginx's otel module, which has no values where nothing is traced.
fn append_of_trace(trace: Option<&Trace>, known: Known, out: &mut Vec<u8>) -> bool {
    let Some(trace) = trace else { return false };
    let sampled = trace.parent.is_some_and(|parent| parent.sampled);
    match (known, trace.parent) {
        (Known::OtelTraceId, _) => out.extend_from_slice(trace.id.as_bytes()),
        (Known::OtelSpanId, _) => append_display(format_args!("{:016x}", trace.span), out),
        (Known::OtelParentSampled, _) => out.push(if sampled { b'1' } else { b'0' }),
        (_, Some(parent)) => append_display(format_args!("{:016x}", parent.span), out),
        (_, None) => return false,
    }
    true
}
