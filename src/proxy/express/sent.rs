//! The head that a peer gets: the client's lines as they came, but for those that are changed.
//!
//! Nothing is built that is only written out again. What replaces a line stands behind the others, `Host` before
//! them.

use std::ops::Range;

use http::header::{CONNECTION, HOST};
use http::{HeaderName, HeaderValue, Method};
use memchr::memchr;
use pingora::http::{IntoCaseHeaderName as _, RequestHeader};
use pingora::protocols::http::authority::validate_request_authority;
use pingora::{Error, ErrorType, Result};

use super::lines::append_kept;
use crate::config::model::SetHeader;
use crate::exchange::variables::Facts;
use crate::proxy::request::PeerHead;

/// Changes of a plain head.
#[derive(Debug)]
pub(super) struct Sent<'c> {
    /// The client's head, and its text.
    head: &'c RequestHeader,
    text: &'c [u8],
    method: Option<Method>,
    target: Option<Vec<u8>>,
    /// What has become of a name: its new line, a place in `lines`, or none.
    changes: Vec<(HeaderName, Option<Line>)>,
    lines: Vec<u8>,
}

/// Where a line stands, and the value in it.
#[derive(Clone, Debug)]
struct Line {
    all: Range<usize>,
    value: usize,
}

impl<'c> Sent<'c> {
    /// No change yet to a head with this text.
    pub(super) fn new(head: &'c RequestHeader, text: &'c [u8]) -> Self {
        // Of what holds for one connection only, a plain head has nothing else.
        let mut changes = Vec::with_capacity(12);
        changes.push((CONNECTION, None));
        Self { head, text, method: None, target: None, changes, lines: Vec::with_capacity(512) }
    }

    /// All of it as it goes out.
    ///
    /// # Errors
    /// For a host that Pingora would not send.
    pub(super) fn into_text(self, body: &[u8]) -> Result<Vec<u8>> {
        self.check_host()?;
        let mut out = Vec::with_capacity(self.text.len() + self.lines.len() + body.len() + 16);
        let method = self.method.as_ref().unwrap_or(&self.head.method);
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_deref().unwrap_or(self.head.raw_path()));
        out.extend_from_slice(b" HTTP/1.1\r\n");
        match self.change(&HOST) {
            Some(Some(line)) => out.extend_from_slice(&self.lines[line.all.clone()]),
            // RFC 9112, section 3.2: there is always one.
            Some(None) => out.extend_from_slice(b"Host: \r\n"),
            None => {}
        }
        // Between the request line and the empty one.
        let from = memchr(b'\n', self.text).map_or(0, |end| end + 1);
        let lines = &self.text[from..self.text.len().saturating_sub(2).max(from)];
        append_kept(lines, self.changes.iter().map(|(name, _)| name), &mut out);
        for (name, line) in &self.changes {
            if let Some(line) = line.as_ref().filter(|_| *name != HOST) {
                out.extend_from_slice(&self.lines[line.all.clone()]);
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        Ok(out)
    }

    /// Whether the peer is asked to close the connection.
    pub(super) fn closes(&self) -> bool {
        matches!(self.change(&CONNECTION), Some(Some(_)))
    }

    fn change(&self, name: &HeaderName) -> Option<&Option<Line>> {
        self.changes.iter().find(|(changed, _)| changed == name).map(|(_, line)| line)
    }

    fn note(&mut self, name: &HeaderName, line: Option<Line>) {
        match self.changes.iter_mut().find(|(changed, _)| changed == name) {
            Some((_, change)) => *change = line,
            None => self.changes.push((name.clone(), line)),
        }
    }

    /// Begins a line; tells where, and where its value is to stand.
    fn begin(&mut self, name: &[u8]) -> (usize, usize) {
        let start = self.lines.len();
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        (start, self.lines.len())
    }

    fn end(&mut self, name: &HeaderName, (start, value): (usize, usize)) {
        self.lines.extend_from_slice(b"\r\n");
        self.note(name, Some(Line { all: start..self.lines.len(), value }));
    }

    /// Refuses what Pingora would not send. The client's own host was looked at before.
    fn check_host(&self) -> Result<()> {
        let Some(Some(line)) = self.change(&HOST) else { return Ok(()) };
        let host = &self.lines[line.value..line.all.end - 2];
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
        if host.iter().all(plain) {
            return Ok(());
        }
        if host.contains(&b'@') {
            let message = "userinfo in Host header";
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, message).into_in());
        }
        let mut request = self.head.clone();
        let value =
            HeaderValue::from_bytes(host).map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
        request.insert_header(HOST, value)?;
        validate_request_authority(&request).map_err(|error| error.into_in())
    }
}

impl PeerHead for Sent<'_> {
    fn has(&self, name: &HeaderName) -> bool {
        match self.change(name) {
            Some(change) => change.is_some(),
            None => self.head.headers.contains_key(name),
        }
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) -> Result<()> {
        // As Pingora writes it.
        let begun = self.begin(name.into_case_header_name().as_slice());
        self.lines.extend_from_slice(value.as_bytes());
        self.end(name, begun);
        Ok(())
    }

    fn set_from(&mut self, header: &SetHeader, facts: &Facts<'_>) -> Result<()> {
        let (start, value) = self.begin(&header.written);
        if facts.append_value(&header.value, &mut self.lines) {
            self.end(&header.name, (start, value));
        } else {
            self.lines.truncate(start);
            self.note(&header.name, None);
        }
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        self.note(name, None);
    }

    fn set_target(&mut self, target: &[u8]) -> Result<()> {
        let plain = |b: &u8| matches!(b, b'!'..=b'~') && *b != b'#';
        self.target = Some(if target.starts_with(b"/") && target.iter().all(plain) {
            target.to_vec()
        } else {
            RequestHeader::build_no_case(self.head.method.as_str(), target, None)?
                .raw_path()
                .to_vec()
        });
        Ok(())
    }

    fn set_method(&mut self, method: Method) {
        self.method = Some(method);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "GET /a HTTP/1.1\r\nHost: a\r\nAccept:*/*\r\nX-Some: 1\r\nconnection: keep-alive\r\nX-Last: 2\r\n\r\n";

    fn sent(change: impl FnOnce(&mut Sent<'_>)) -> String {
        let mut head = RequestHeader::build_no_case("GET", b"/a", None).expect("a head");
        for (name, value) in [("host", "a"), ("accept", "*/*"), ("x-some", "1"), ("x-last", "2")] {
            head.append_header(name, value).expect("a header");
        }
        let mut sent = Sent::new(&head, TEXT.as_bytes());
        change(&mut sent);
        String::from_utf8(sent.into_text(b"body").expect("it may be sent")).expect("text")
    }

    #[test]
    fn lines_go_out_as_they_came_but_for_the_connections_own() {
        let expected =
            "GET /a HTTP/1.1\r\nHost: a\r\nAccept:*/*\r\nX-Some: 1\r\nX-Last: 2\r\n\r\nbody";
        assert_eq!(sent(|_| {}), expected);
    }

    #[test]
    fn what_is_set_stands_in_the_place_of_all_lines_of_its_name() {
        let text = sent(|head| {
            let some = HeaderName::from_static("x-some");
            head.set(&some, HeaderValue::from_static("2")).expect("it may be set");
            head.set(&some, HeaderValue::from_static("3")).expect("it may be set");
            head.set(&HOST, HeaderValue::from_static("b:80")).expect("it may be set");
            head.remove(&HeaderName::from_static("x-last"));
            assert!(head.has(&some) && !head.has(&HeaderName::from_static("x-last")));
            head.set_target(b"/b?c").expect("a target");
            head.set_method(Method::POST);
        });
        assert_eq!(text, "POST /b?c HTTP/1.1\r\nHost: b:80\r\nAccept:*/*\r\nx-some: 3\r\n\r\nbody");
    }

    #[test]
    fn there_is_always_a_host() {
        let text = sent(|head| head.remove(&HOST));
        assert!(text.starts_with("GET /a HTTP/1.1\r\nHost: \r\nAccept:*/*\r\n"), "{text}");
    }

    #[test]
    fn a_host_with_a_user_is_refused() {
        let head = RequestHeader::build_no_case("GET", b"/a", None).expect("a head");
        let mut sent = Sent::new(&head, TEXT.as_bytes());
        sent.set(&HOST, HeaderValue::from_static("a@b")).expect("it may be set");
        assert!(sent.into_text(b"").is_err());
    }
}
