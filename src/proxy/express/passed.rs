//! The head that a client gets: the peer's lines as they came, but for those that are changed.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use httparse::{Header, ParserConfig, Response, Status};
use memchr::memchr;
use pingora::http::{ResponseHeader, header_value_from_raw};
use pingora::{ErrorType, OrErr as _, Result};

use super::framing::{Framing, is_chunked};
use super::lines::append_kept;
use crate::exchange::answers::Head;
use crate::proxy::head::written;

/// As many headers as Pingora reads.
const HEADERS: usize = 256;
/// So much of a body may stay in memory with its head, until all of it has gone out.
const BEHIND: usize = 1024;

/// A peer's head, and what has become of it.
#[derive(Debug)]
pub(super) struct Passed {
    /// As it stands now; names are known by `lines` and `changed` as they are written.
    pub(super) head: Parts,
    /// What stands behind the status, where that is not what always does.
    reason: Option<Bytes>,
    /// Its length, as it came.
    pub(super) length: usize,
    /// What it said of its body and its connection.
    pub(super) framing: Framing,
    /// Its lines as they came; empty where they cannot go out like that.
    lines: Bytes,
    changed: Vec<Change>,
}

/// A name whose lines are not as they came.
#[derive(Debug)]
struct Change {
    name: HeaderName,
    written: Bytes,
    /// Its only line; none where there may be others.
    value: Option<HeaderValue>,
}

impl Passed {
    /// Takes a head apart, as leniently as Pingora does; none where more of it is needed.
    ///
    /// # Errors
    /// For what is no head.
    pub(super) fn parse(text: &Bytes) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut space = [const { MaybeUninit::uninit() }; HEADERS];
        let mut response = Response::new(&mut []);
        let mut parser = ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let parsed = parser.parse_response_with_uninit_headers(&mut response, text, &mut space);
        let end = match parsed.or_err(ErrorType::InvalidHTTPHeader, "the head of an answer")? {
            Status::Complete(end) => end,
            Status::Partial => return Ok(None),
        };
        let whole = match text.len() - end > BEHIND {
            true => Bytes::copy_from_slice(&text[..end]),
            false => text.clone(),
        };
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
            match start.checked_add(part.len()) {
                Some(last) if last <= end => whole.slice(start..last),
                // Nothing at all may stand anywhere.
                _ => Bytes::copy_from_slice(part),
            }
        };
        let (mut head, ()) = http::Response::new(()).into_parts();
        let status = StatusCode::from_u16(response.code.unwrap_or(0));
        head.status = status.or_err(ErrorType::InvalidHTTPHeader, "the status of an answer")?;
        head.version = match response.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        };
        // With room for what is added on the way.
        head.headers = HeaderMap::with_capacity(response.headers.len() + 4);
        let mut framing = Framing::default();
        for header in response.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.or_err(ErrorType::InvalidHTTPHeader, "a name in an answer")?;
            let value = header_value_from_raw(place(header.value));
            framing.note(header.name.as_bytes(), value.as_bytes());
            let added = head.headers.try_append(name, value);
            added.or_err(ErrorType::InvalidHTTPHeader, "too many headers in an answer")?;
        }
        let said = response.reason.unwrap_or_default();
        let reason = (head.status.canonical_reason() != Some(said)).then(|| place(said.as_bytes()));
        let lines = plain_lines(text, end, response.headers);
        let lines = lines.map(|from| whole.slice(from..end - 2)).unwrap_or_default();
        let mut passed = Self { head, reason, length: end, framing, lines, changed: Vec::new() };
        if passed.lines.is_empty() {
            for header in response.headers.iter() {
                if let Ok(name) = HeaderName::from_bytes(header.name.as_bytes()) {
                    passed.change(&name, || place(header.name.as_bytes()), None);
                }
            }
        }
        if framing.coded {
            // It takes precedence (RFC 9112, section 6.3).
            Head::remove(&mut passed, &CONTENT_LENGTH);
        } else if framing.is_unsound() {
            let message = "invalid Content-Length header";
            return pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, message);
        }
        Ok(Some(passed))
    }

    /// Says HTTP/1.1.
    pub(super) fn say_http11(&mut self) {
        self.head.version = Version::HTTP_11;
    }

    /// Whether the client gets the body in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        match self.is_changed(&TRANSFER_ENCODING) {
            true => is_chunked(&self.head.headers),
            false => self.framing.chunked,
        }
    }

    /// Whether the client is told the length of the body.
    pub(super) fn is_measured(&self) -> bool {
        match self.is_changed(&CONTENT_LENGTH) {
            true => self.head.headers.contains_key(CONTENT_LENGTH),
            false => self.framing.is_measured(),
        }
    }

    /// The head as it went out.
    pub(super) fn into_head(self) -> ResponseHeader {
        let mut head = ResponseHeader::from(self.head);
        if let Some(reason) = self.reason {
            // That one was taken for text before.
            let _ = head.set_reason_phrase(std::str::from_utf8(&reason).ok());
        }
        head
    }

    /// Writes it as HTTP/1 has it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        out.put_slice(if head.version < Version::HTTP_11 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.put_slice(head.status.as_str().as_bytes());
        out.put_u8(b' ');
        match &self.reason {
            Some(reason) => out.put_slice(reason),
            None => out.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
        }
        out.put_slice(b"\r\n");
        append_kept(&self.lines, self.changed.iter().map(|change| &change.name), out);
        for Change { name, written, value } in &self.changed {
            let mut put = |value: &HeaderValue| {
                out.put_slice(written);
                out.put_slice(b": ");
                out.put_slice(value.as_bytes());
                out.put_slice(b"\r\n");
            };
            match value {
                Some(value) => put(value),
                None => head.headers.get_all(name).iter().for_each(put),
            }
        }
        out.put_slice(b"\r\n");
    }

    fn is_changed(&self, name: &HeaderName) -> bool {
        self.changed.iter().any(|change| change.name == *name)
    }

    /// Takes note that lines of a name are not as they came, and of the only one that is left.
    fn change(
        &mut self,
        name: &HeaderName,
        written: impl FnOnce() -> Bytes,
        value: Option<HeaderValue>,
    ) {
        match self.changed.iter_mut().find(|change| change.name == *name) {
            Some(change) => change.value = value,
            None => self.changed.push(Change { name: name.clone(), written: written(), value }),
        }
    }
}

impl Head for Passed {
    fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    fn set_status(&mut self, status: u16) {
        // Statuses that filters set have three digits.
        self.head.status = StatusCode::from_u16(status).unwrap_or(self.head.status);
    }

    fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        self.change(name, || written(name), Some(value.clone()));
        // There are never that many.
        let _ = self.head.headers.try_insert(name.clone(), value);
    }

    fn add(&mut self, name: &HeaderName, written: &Bytes, value: HeaderValue) {
        self.change(name, || written.clone(), None);
        if !self.head.headers.contains_key(name) {
            let known = self.changed.iter_mut().find(|change| change.name == *name);
            known.into_iter().for_each(|known| known.written.clone_from(written));
        }
        let _ = self.head.headers.try_append(name.clone(), value);
    }

    fn remove(&mut self, name: &HeaderName) {
        if self.head.headers.remove(name).is_some() {
            self.change(name, || written(name), None);
        }
    }
}

/// Where the lines of a head begin that are written as they would be written here: one behind the other, without
/// blanks but for the one behind the colon.
fn plain_lines(text: &[u8], end: usize, headers: &[Header<'_>]) -> Option<usize> {
    let from = memchr(b'\n', text)? + 1;
    let mut at = from;
    for header in headers {
        let name_end = at + header.name.len();
        let is_there = text.get(at..name_end)?.as_ptr() == header.name.as_ptr();
        let blank = if text.get(name_end..name_end + 2)? == b": " { 2 } else { 1 };
        let value_end = name_end + blank + header.value.len();
        let sound = is_there
            && text.get(name_end + blank..value_end)? == header.value
            // One that goes on in the next line was put together.
            && memchr(b'\n', header.value).is_none()
            && text.get(value_end..value_end + 2)? == b"\r\n";
        if !sound {
            return None;
        }
        at = value_end + 2;
    }
    (at + 2 == end && text.get(at..end)? == b"\r\n").then_some(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Passed {
        let all = Bytes::copy_from_slice(text.as_bytes());
        let passed = Passed::parse(&all).expect("sound").expect("whole");
        assert_eq!(passed.length, text.len());
        passed
    }

    fn written(passed: &Passed) -> String {
        let mut out = Vec::new();
        passed.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_head_goes_out_as_it_came() {
        let text = "HTTP/1.1 200 Fine\r\nX-ONE: 1\r\nx-two:2\r\nX-One: 3\r\nempty: \r\n\r\n";
        assert_eq!(written(&parsed(text)), text);
        assert_eq!(written(&parsed("HTTP/1.0 404 \r\n\r\n")), "HTTP/1.0 404 \r\n\r\n");
    }

    #[test]
    fn what_is_changed_stands_behind_the_others() {
        let mut passed =
            parsed("HTTP/1.1 200 OK\r\nServer: a\r\nX-A: 1\r\nx-b: 2\r\nx-c: 3\r\nX-A: 4\r\n\r\n");
        let name = HeaderName::from_static;
        passed.set(&name("server"), HeaderValue::from_static("robin"));
        passed.remove(&name("x-b"));
        passed.remove(&name("x-none"));
        passed.add(&name("x-a"), &Bytes::from_static(b"X-a"), HeaderValue::from_static("5"));
        passed.add(&name("x-new"), &Bytes::from_static(b"X-NEW"), HeaderValue::from_static("6"));
        passed.set_status(404);
        passed.say_http11();
        let expected = "HTTP/1.1 404 Not Found\r\nx-c: 3\r\nServer: robin\r\nX-a: 1\r\nX-a: 4\r\nX-a: 5\r\nX-NEW: 6\r\n\r\n";
        assert_eq!(written(&passed), expected);
    }

    #[test]
    fn lines_that_are_written_strangely_are_written_anew() {
        for text in [
            "HTTP/1.1 200 OK\r\nX-Some:   1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Some : 1\r\n\r\n",
            "HTTP/1.1 200 OK\nX-Some: 1\n\n",
            "HTTP/1.1 200 OK\r\nX-Some: 1 \r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Some:\r\n 1\r\n\r\n",
        ] {
            assert_eq!(written(&parsed(text)), "HTTP/1.1 200 OK\r\nX-Some: 1\r\n\r\n", "{text:?}");
        }
    }

    #[test]
    fn a_line_that_goes_on_in_the_next_is_one() {
        let mut passed = parsed(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a\r\n 9\r\nX-A: b\r\n Set-Cookie: c\r\n\r\n",
        );
        passed.set(&http::header::SERVER, HeaderValue::from_static("robin"));
        let text = written(&passed);
        assert!(text.lines().all(|line| !line.starts_with([' ', '\t'])), "{text}");
        assert!(text.lines().all(|line| !line.starts_with("Set-Cookie")), "{text}");
        assert!(text.contains("\r\nServer: robin\r\n") && !text.contains('9'), "{text}");
    }

    #[test]
    fn what_is_added_is_written_as_said() {
        let mut passed = parsed("HTTP/1.1 200 OK\r\nX-XSS-Protection: 1\r\n\r\n");
        let name = HeaderName::from_static("x-xss-protection");
        passed.remove(&name);
        passed.add(&name, &Bytes::from_static(b"X-XSS-Protection"), HeaderValue::from_static("0"));
        assert_eq!(written(&passed), "HTTP/1.1 200 OK\r\nX-XSS-Protection: 0\r\n\r\n");
    }

    #[test]
    fn of_two_ways_to_frame_a_body_one_stays() {
        let passed =
            parsed("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(written(&passed), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let unsound = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
        assert!(Passed::parse(&unsound).is_err());
    }
}
