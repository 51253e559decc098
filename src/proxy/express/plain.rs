//! Plain requests: what the express lane fully understands of what a client sends.
//!
//! This is narrower than what `exchange` takes for a sound head, which judges it all the same. Nothing is
//! mended: a head is plain when it is written as it would be written here.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use httparse::{ParserConfig, Request, Status};
use pingora::http::RequestHeader;

use super::lanes::Service;
use super::with_space;
use crate::exchange::head::{Asked, Head};
use crate::proxy::Runtime;
use crate::proxy::downstream::Downstream;

/// More headers than nearly all requests have.
const HEADERS: usize = 64;
/// The longest head that is taken.
const LONGEST: usize = 16 * 1024;
/// The longest body that is taken: as much as Pingora keeps of one to be sent again.
const LONGEST_BODY: u64 = 64 * 1024;

/// A whole request.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: RequestHeader,
    /// The head as it came.
    pub(super) text: Bytes,
    pub(super) body: Bytes,
    /// Whether the client may send another request after this one.
    pub(super) keepalive: bool,
    /// What it asks for, until the request begins.
    pub(super) asked: Asked,
    pub(super) service: Service,
}

/// What a plain head says of itself; its parts are places in its text.
#[derive(Debug)]
struct Shape {
    end: usize,
    method: Range<usize>,
    target: Range<usize>,
    headers: [(Range<u16>, Range<u16>); HEADERS],
    count: usize,
    body_bytes: u64,
    keepalive: bool,
}

/// Takes a whole plain request to a route that the lane serves; nothing of any other.
pub(super) async fn read(stream: &mut Downstream, runtime: &Runtime) -> Option<Box<Message>> {
    let (text, body_bytes, found) = take(stream, runtime)?;
    let mut message = match found {
        Some(message) if is_here(stream, body_bytes).await => message,
        _ => {
            stream.put_back(&text);
            return None;
        }
    };
    message.body = match body_bytes {
        0 => Bytes::new(),
        bytes => stream.take_message(bytes),
    };
    stream.tell_pipelined();
    Some(message)
}

/// Takes a plain head; tells how long its body is, and the message that it begins if it is one of the lane's.
fn take(
    stream: &mut Downstream,
    runtime: &Runtime,
) -> Option<(Bytes, usize, Option<Box<Message>>)> {
    let shape = shape(stream.untouched()?)?;
    let text = stream.take_message(shape.end);
    let found = find(&text, &shape, stream.connection().listener, runtime);
    Some((text, usize::try_from(shape.body_bytes).unwrap_or(usize::MAX), found))
}

/// The message without its body; none for a route that is not the lane's.
fn find(text: &Bytes, shape: &Shape, listener: usize, runtime: &Runtime) -> Option<Box<Message>> {
    let router = &runtime.router;
    let servers = &runtime.config.virtual_servers;
    let rules = &servers.get(router.default(listener)?)?.requests;
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::from_bytes(&text[shape.method.clone()]).ok()?;
    head.uri = PathAndQuery::from_maybe_shared(text.slice(shape.target.clone())).ok()?.into();
    head.version = Version::HTTP_11;
    head.headers = HeaderMap::with_capacity(shape.count);
    for (name, value) in &shape.headers[..shape.count] {
        let place = |range: &Range<u16>| usize::from(range.start)..usize::from(range.end);
        let value = HeaderValue::from_maybe_shared(text.slice(place(value))).ok()?;
        let name = HeaderName::from_bytes(&text[place(name)]).ok()?;
        head.headers.try_append(name, value).ok()?;
    }
    // All of it stands in there as it came.
    let head = RequestHeader::from(head);
    let said = Head {
        method: &head.method,
        target: head.raw_path(),
        version: head.version,
        headers: &head.headers,
    };
    let asked = said.check(text, None, rules).ok()?;
    let (server, None) = router.server(listener, &asked.host)? else { return None };
    let found = router.route(server, &asked.path);
    let route = found.route.filter(|_| !found.wants_slash && found.matched.is_empty())?;
    let clients = &servers.get(server)?.routes.get(route)?.settings.clients;
    let fits = shape.body_bytes <= clients.body_buffer_bytes.min(LONGEST_BODY);
    let service = runtime.lanes.service(server, route).filter(|_| fits)?;
    // What is handed on from here is small.
    Some(Box::new(Message {
        head,
        text: text.clone(),
        body: Bytes::new(),
        keepalive: shape.keepalive,
        asked,
        service,
    }))
}

/// Whether so many bytes of a body have come.
async fn is_here(stream: &mut Downstream, bytes: usize) -> bool {
    poll_fn(|cx| {
        while stream.held() < bytes {
            match with_space(|space| stream.poll_further(cx, space)) {
                Poll::Ready(Ok(true)) => {}
                // What comes slowly is waited for by Pingora, which also finds out that it never comes.
                _ => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    })
    .await
}

fn shape(text: &[u8]) -> Option<Shape> {
    let mut space = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = Request::new(&mut []);
    let parser = ParserConfig::default();
    let parsed = parser.parse_request_with_uninit_headers(&mut request, text, &mut space);
    let Ok(Status::Complete(end)) = parsed else { return None };
    if end > LONGEST || request.version != Some(1) {
        return None;
    }
    let (method, target) = (request.method?, request.path?);
    let named = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let plain = |b: u8| matches!(b, b'!'..=b'~') && b != b'#';
    if !method.bytes().all(named) || !target.starts_with('/') || !target.bytes().all(plain) {
        return None;
    }
    let method_end = method.len();
    let target_end = method_end + 1 + target.len();
    let line_end = target_end + b" HTTP/1.1\r\n".len();
    let written = text.starts_with(method.as_bytes())
        && text.get(method_end + 1..)?.starts_with(target.as_bytes())
        && text.get(target_end..line_end)? == b" HTTP/1.1\r\n";
    if !written {
        return None;
    }
    let mut shape = Shape {
        end,
        method: 0..method_end,
        target: method_end + 1..target_end,
        headers: [const { (0..0, 0..0) }; HEADERS],
        count: 0,
        body_bytes: 0,
        keepalive: true,
    };
    let mut at = line_end;
    let (mut hosts, mut lengths, mut connections) = (0, 0, 0);
    for (header, place) in request.headers.iter().zip(&mut shape.headers) {
        let name = place_of(header.name.as_bytes(), text)?;
        let value = place_of(header.value, text)?;
        // One after the other, without blanks but for the one behind the colon.
        let blank = value.start.checked_sub(name.end)?;
        let sound = name.start == at
            && (blank == 1 || (blank == 2 && text.get(name.end + 1) == Some(&b' ')))
            && (blank == 2 || !header.value.is_empty())
            && text.get(value.end..)?.starts_with(b"\r\n");
        if !sound || !header.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return None;
        }
        at = value.end + 2;
        match of(header.name) {
            Kind::Other => {}
            Kind::Host => {
                let known = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
                hosts += 1;
                if header.value.is_empty() || !header.value.iter().all(known) {
                    return None;
                }
            }
            Kind::Length => {
                lengths += 1;
                let digits = std::str::from_utf8(header.value).ok()?;
                if digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                shape.body_bytes = digits.parse().ok()?;
            }
            Kind::Connection => {
                connections += 1;
                shape.keepalive = header.value.eq_ignore_ascii_case(b"keep-alive");
                if !shape.keepalive && !header.value.eq_ignore_ascii_case(b"close") {
                    return None;
                }
            }
            Kind::Strange => return None,
        }
        // No head is longer than fits.
        let short = |range: Range<usize>| -> Option<Range<u16>> {
            Some(u16::try_from(range.start).ok()?..u16::try_from(range.end).ok()?)
        };
        *place = (short(name)?, short(value)?);
        shape.count += 1;
    }
    let whole = shape.count == request.headers.len() && at + 2 == end;
    let sound = hosts == 1 && lengths <= 1 && connections <= 1;
    (whole && sound && text.get(at..end)? == b"\r\n").then_some(shape)
}

/// Where a part of a text stands in it.
fn place_of(part: &[u8], text: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

/// What the lane has to know of a header.
enum Kind {
    Other,
    Host,
    Length,
    Connection,
    /// It asks for something that is not plain.
    Strange,
}

fn of(name: &str) -> Kind {
    const STRANGE: [&str; 10] = [
        "transfer-encoding",
        "upgrade",
        "expect",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "http2-settings",
    ];
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        4 if is("host") => Kind::Host,
        14 if is("content-length") => Kind::Length,
        10 if is("connection") => Kind::Connection,
        _ if STRANGE.iter().any(|known| is(known)) => Kind::Strange,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(head: &str) -> bool {
        shape(head.as_bytes()).is_some()
    }

    #[test]
    fn a_plain_head_is_taken_apart() {
        let text =
            b"POST /a?b HTTP/1.1\r\nHost: a:80\r\nX-Empty: \r\nContent-Length:5\r\n\r\nhello";
        let shape = shape(text).expect("it is plain");
        assert_eq!((shape.end, shape.count, shape.body_bytes), (text.len() - 5, 3, 5));
        assert_eq!(&text[shape.method.clone()], b"POST");
        assert_eq!(&text[shape.target.clone()], b"/a?b");
        assert!(shape.keepalive);
        assert!(is_plain("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n"));
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Some:\t1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(!is_plain(head), "{head:?}");
        }
    }
}
