//! What a request's head asks for, and whether it may be answered at all.
//!
//! Pingora accepts heads that nginx refuses; forwarded, they would let client and upstream
//! disagree about where a request ends or whom it is for. They end here with 400.

use http::header::{self, CONNECTION, CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::path;
use super::raw::{self, Absolute};
use crate::config::model::Requests;

/// What no `Connection` header can take away: without these an answer could not be read.
const FRAMING: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// The head of a request as the client sent it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target: a path with its query, or a whole URL.
    pub target: &'a [u8],
    /// The version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What a sound head asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The host, lower case and without a port; empty when the client named none.
    pub host: String,
    /// The normalized path.
    pub path: Vec<u8>,
}

/// Why a head is refused; the words reach the log and the error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// HTTP/1.1 asks for exactly one (RFC 9112, section 3.2).
    #[error("request without a Host header")]
    NoHost,
    /// More than one `Host`, or one that no host can have.
    #[error("request with an invalid Host header")]
    InvalidHost,
    /// A header that says one thing stands twice.
    #[error("request with a duplicate header")]
    Duplicate,
    /// Request smuggling begins with two of these (RFC 9112, section 6.1).
    #[error("request with more than one Content-Length or Transfer-Encoding")]
    TwoLengths,
    /// Where a body in another encoding than `chunked` ends is not known here.
    #[error("request body in an unknown transfer encoding")]
    Encoding,
    /// A method has capital letters, `-` and `_`.
    #[error("request with an invalid method")]
    InvalidMethod,
    /// TRACE sends credentials back to whoever can make a browser ask; CONNECT is for tunnels.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The request line is longer than one of `large_client_header_buffers`.
    #[error("request line too long")]
    LineTooLong,
    /// A header line is longer than one of `large_client_header_buffers`, or the head than all.
    #[error("request header too large")]
    HeadTooLarge,
    /// The path climbs above the root, is not a path, or has a broken escape.
    #[error("request with an invalid path")]
    InvalidPath,
    /// A space or control byte stands unescaped in the request line.
    #[error("request line with a raw space or control byte")]
    RawByte,
    /// HTTP/2.0, or a version of HTTP/1 that does not exist.
    #[error("request in an unknown version of HTTP")]
    Version,
    /// There are more headers than `max_headers`.
    #[error("request with too many headers")]
    TooManyHeaders,
}

impl Malformed {
    /// The status, nginx's.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::LineTooLong => 414,
            Self::Encoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// What stands in a head once (`ngx_http_process_unique_header_line`), beside `Host` and what
/// frames the body.
static UNIQUE: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::CONTENT_RANGE,
    header::EXPECT,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::PROXY_AUTHORIZATION,
];

impl Head<'_> {
    /// Checks the head. `raw` is its text as read, in which header lines that were merged or
    /// dropped on the way can still be found; `absolute` the target in absolute form, if it was
    /// written so: its authority counts, whatever `Host` says (RFC 9112, section 3.2.2).
    ///
    /// # Errors
    /// [`Malformed`] where nginx refuses.
    pub fn check(
        &self,
        raw: &[u8],
        absolute: Option<&Absolute>,
        rules: &Requests,
    ) -> Result<Asked, Malformed> {
        let longest = usize::try_from(rules.header_buffer_bytes).unwrap_or(usize::MAX);
        if absolute.is_some_and(|absolute| absolute.line.len() > longest) {
            return Err(Malformed::LineTooLong);
        }
        check_size(raw, rules)?;
        if u32::try_from(self.headers.len()).is_ok_and(|count| count > rules.max_headers) {
            return Err(Malformed::TooManyHeaders);
        }
        self.check_method()?;
        self.check_framing(raw)?;
        // Nearly always every name stands once.
        let repeats = self.headers.keys_len() < self.headers.len();
        if repeats && UNIQUE.iter().any(|name| self.headers.get_all(name).iter().nth(1).is_some()) {
            return Err(Malformed::Duplicate);
        }
        let mut hosts = self.headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (None, _) if self.version >= Version::HTTP_11 => return Err(Malformed::NoHost),
            (_, Some(_)) => return Err(Malformed::InvalidHost),
            (host, None) => host.map(|h| host_name(h.as_bytes()).ok_or(Malformed::InvalidHost)),
        };
        let host = host.transpose()?;
        let authority =
            absolute.map(|absolute| host_name(&absolute.authority).ok_or(Malformed::InvalidHost));
        let host = authority.transpose()?.or(host).unwrap_or_default();
        let (path, _) = path::split(self.target);
        let path =
            path::normalize(path, rules.merge_slashes).ok_or(Malformed::InvalidPath)?.into_owned();
        Ok(Asked { host, path })
    }

    fn check_method(&self) -> Result<(), Malformed> {
        let fits = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
        match self.method {
            &Method::TRACE | &Method::CONNECT => Err(Malformed::MethodNotAllowed),
            method if method.as_str().bytes().all(fits) => Ok(()),
            _ => Err(Malformed::InvalidMethod),
        }
    }

    /// The end of the body must be beyond doubt.
    fn check_framing(&self, raw: &[u8]) -> Result<(), Malformed> {
        if raw::is_framed_with_tabs(raw) {
            let coded = self.headers.contains_key(TRANSFER_ENCODING);
            return Err(if coded { Malformed::Encoding } else { Malformed::TwoLengths });
        }
        let mut encodings = self.headers.get_all(TRANSFER_ENCODING).iter();
        let Some(encoding) = encodings.next() else {
            let mut lengths = self.headers.get_all(CONTENT_LENGTH).iter();
            let number = |length: &HeaderValue| length.as_bytes().iter().all(u8::is_ascii_digit);
            let sound = lengths.next().is_none_or(number) && lengths.next().is_none();
            return if sound { Ok(()) } else { Err(Malformed::TwoLengths) };
        };
        if encodings.next().is_some() || has_header(raw, CONTENT_LENGTH.as_str()) {
            return Err(Malformed::TwoLengths);
        }
        if self.version < Version::HTTP_11 {
            return Err(Malformed::TwoLengths);
        }
        let known = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if known { Ok(()) } else { Err(Malformed::Encoding) }
    }
}

fn check_size(raw: &[u8], rules: &Requests) -> Result<(), Malformed> {
    let longest = usize::try_from(rules.header_buffer_bytes).unwrap_or(usize::MAX);
    if raw.len() <= longest {
        return Ok(());
    }
    let mut lines = raw.split(|b| *b == b'\n').map(|line| line.len() > longest);
    if lines.next() == Some(true) {
        return Err(Malformed::LineTooLong);
    }
    let buffers = usize::try_from(rules.header_buffers).unwrap_or(usize::MAX);
    let large = raw.len() > longest.saturating_mul(buffers) || lines.any(|long| long);
    if large { Err(Malformed::HeadTooLarge) } else { Ok(()) }
}

/// Whether a header of this name is passed over.
#[must_use]
pub fn is_ignored(name: &HeaderName, rules: &Requests) -> bool {
    let sound = |b: u8| {
        b.is_ascii_alphanumeric() || b == b'-' || (b == b'_' && rules.underscores_in_headers)
    };
    rules.ignore_invalid_headers && !name.as_str().bytes().all(sound)
}

/// Whether one of the header lines in `raw` has this name.
fn has_header(raw: &[u8], name: &str) -> bool {
    raw.split(|b| *b == b'\n').skip(1).any(|line| {
        line.len() > name.len()
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            && matches!(line[name.len()], b':' | b' ' | b'\t')
    })
}

/// The host without its port and in lower case; none when no host can be written so
/// (`ngx_http_validate_host`). An address in brackets has to be one, where nginx looks at its
/// characters only.
pub(super) fn host_name(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?;
    let (name, port) = match host.strip_prefix('[') {
        Some(literal) => {
            let (address, after) = literal.split_once(']')?;
            is_literal(address).then_some(())?;
            (&host[..address.len() + 2], after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match host.bytes().position(|b| b == b':') {
            Some(colon) => (&host[..colon], Some(&host[colon + 1..])),
            None => (host, Some("")),
        },
    };
    let literal = name.starts_with('[');
    if !is_port(port?) || !((literal && !name.contains("..")) || is_plain_host(name.as_bytes())) {
        return None;
    }
    // As in nginx, a dot at the end does not make another name.
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// Whether a name has nothing in it but what names have, and no two dots one after the other.
fn is_plain_host(name: &[u8]) -> bool {
    let mut dot = false;
    name.iter().all(|b| {
        let twice = std::mem::replace(&mut dot, *b == b'.') && dot;
        !twice
            && matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!'
                | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%')
    })
}

/// Whether this stands for a port, or says none.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

/// Whether this may stand in brackets (RFC 3986, section 3.2.2).
fn is_literal(address: &str) -> bool {
    let future = || {
        let (version, rest) = address.strip_prefix(['v', 'V'])?.split_once('.')?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&b);
        let sound = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        (sound && !rest.is_empty() && rest.bytes().all(fits)).then_some(())
    };
    address.parse::<std::net::Ipv6Addr>().is_ok() || future().is_some()
}

/// What is left of a request's `Connection` once it names no header that others rely on: with it a
/// client would take away credentials, conditions, or what a proxy before us has said of it, after
/// the route was chosen by them. None where it names no such header.
#[must_use]
pub fn connection_options(headers: &HeaderMap) -> Option<Vec<u8>> {
    const RELIED_ON: [&[u8]; 14] = [
        b"host",
        b"authorization",
        b"cookie",
        b"expect",
        b"forwarded",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"traceparent",
        b"user-agent",
        b"via",
        b"x-real-ip",
        b"x-request-id",
    ];
    const KINDS: [&[u8]; 4] = [b"x-forwarded-", b"content-", b"accept", b"if-"];
    let relied_on = |option: &&[u8]| {
        RELIED_ON.iter().any(|name| option.eq_ignore_ascii_case(name))
            || KINDS.iter().any(|kind| {
                option.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
            })
    };
    let lists = headers.get_all(CONNECTION).iter();
    let all = lists.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let all = all.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty());
    let (others, left): (Vec<_>, Vec<_>) = all.partition(relied_on);
    (!others.is_empty()).then(|| left.join(&b", "[..]))
}

/// The headers of an answer that say something about the connection to the peer only, and so end
/// here (RFC 9110, section 7.6.1). `Connection` and the framing are written anew for the client.
pub fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    static ALWAYS: [HeaderName; 3] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        TRAILER,
    ];
    let lists = headers.get_all(CONNECTION).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    let named: Vec<HeaderName> = lists
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !FRAMING.contains(name))
        .collect();
    let names = headers.keys().filter(|name| ALWAYS.contains(name) || named.contains(name));
    names.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, version: Version, headers: &[(&str, &str)]) -> Result<Asked, Malformed> {
        let mut map = HeaderMap::new();
        let mut raw = format!("GET {target} HTTP/1.1\r\n");
        for (name, value) in headers {
            raw.push_str(&format!("{name}: {value}\r\n"));
            let name: http::HeaderName = name.parse().expect("a header name");
            map.append(name, value.parse().expect("a header value"));
        }
        let head = Head { method: &Method::GET, target: target.as_bytes(), version, headers: &map };
        head.check(raw.as_bytes(), None, &Requests::default())
    }

    #[test]
    fn what_can_be_said_once_is_said_once() {
        let twice = [("Host", "h"), ("If-Match", "a"), ("If-Match", "b")];
        assert_eq!(check("/", Version::HTTP_11, &twice), Err(Malformed::Duplicate));
        let twice = [("Host", "h"), ("Accept", "a"), ("Accept", "b")];
        assert!(check("/", Version::HTTP_11, &twice).is_ok());
    }

    #[test]
    fn host_and_path_are_made_comparable() {
        let asked = check("/a/../api?x=1", Version::HTTP_11, &[("Host", "Example.COM.:8080")]);
        assert_eq!(asked, Ok(Asked { host: "example.com".into(), path: b"/api".to_vec() }));
        let asked = check("/", Version::HTTP_11, &[("Host", "[::1]:80")]);
        assert_eq!(asked.map(|a| a.host), Ok("[::1]".into()));
    }

    #[test]
    fn a_connection_header_takes_nothing_away_that_others_rely_on() {
        for (said, left) in [
            ("close", None),
            ("Keep-Alive, Upgrade, X-Own", None),
            ("close, Host", Some("close")),
            ("X-Real-IP, Cookie, x-forwarded-PROTO, Content-Length", Some("")),
            ("upgrade, If-Match, close", Some("upgrade, close")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, said.parse().expect("a header value"));
            let left = left.map(|text| text.as_bytes().to_vec());
            assert_eq!(connection_options(&headers), left, "{said}");
        }
    }

    #[test]
    fn only_http_1_0_may_come_without_a_host() {
        assert_eq!(check("/", Version::HTTP_11, &[]), Err(Malformed::NoHost));
        assert_eq!(check("/", Version::HTTP_10, &[]).map(|a| a.host), Ok(String::new()));
    }

    #[test]
    fn a_second_or_broken_host_is_refused() {
        let two = check("/", Version::HTTP_11, &[("Host", "a"), ("Host", "b")]);
        assert_eq!(two, Err(Malformed::InvalidHost));
        for host in
            ["a/b", "a b", "[::1", "a:80x", "a@b", "a..b", "a:65536", "[x]", "b[::1]", "\u{e9}"]
        {
            let asked = check("/", Version::HTTP_11, &[("Host", host)]);
            assert_eq!(asked, Err(Malformed::InvalidHost), "{host}");
        }
    }

    #[test]
    fn a_body_with_two_lengths_is_refused() {
        let headers = [("Host", "a"), ("Content-Length", "3"), ("Transfer-Encoding", "chunked")];
        assert_eq!(check("/", Version::HTTP_11, &headers), Err(Malformed::TwoLengths));
    }
}
