//! The head that a client gets: the peer's lines as they came, but for those that are changed.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use httparse::{Header, ParserConfig, Response, Status};
use memchr::memchr;
use pingora::http::{ResponseHeader, header_value_from_raw};
use pingora::{ErrorType, OrErr as _, Result};

use super::lines::append_kept;
use super::relay::content_length;
use crate::exchange::answers::Head;
use crate::proxy::head::written;

/// As many headers as Pingora reads.
const HEADERS: usize = 256;

/// A peer's head, and what has become of it.
#[derive(Debug)]
pub(super) struct Passed {
    /// As it stands now; names are known by `text` and `changed` as they are written.
    pub(super) head: Box<ResponseHeader>,
    /// Its lines as they came; empty where they cannot go out like that.
    lines: Bytes,
    changed: Vec<(HeaderName, Bytes)>,
}

impl Passed {
    /// Takes a head apart, as leniently as Pingora does, and tells its length; none where more of it is needed.
    ///
    /// # Errors
    /// For what is no head.
    pub(super) fn parse(text: &[u8]) -> Result<Option<(usize, Self)>> {
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
        let whole = Bytes::copy_from_slice(&text[..end]);
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
            match start.checked_add(part.len()) {
                Some(last) if last <= end => whole.slice(start..last),
                // Nothing at all may stand anywhere.
                _ => Bytes::copy_from_slice(part),
            }
        };
        let count = response.headers.len();
        let code = response.code.unwrap_or(0);
        let mut head = Box::new(ResponseHeader::build_no_case(code, Some(count + 4))?);
        head.set_version(match response.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        });
        head.set_reason_phrase(response.reason)?;
        for header in response.headers.iter() {
            let value = header_value_from_raw(place(header.value));
            head.append_header(place(header.name.as_bytes()), value)?;
        }
        let lines = plain_lines(text, end, response.headers);
        let lines = lines.map(|from| whole.slice(from..end - 2)).unwrap_or_default();
        let mut passed = Self { head, lines, changed: Vec::new() };
        if passed.lines.is_empty() {
            for header in response.headers.iter() {
                if let Ok(name) = HeaderName::from_bytes(header.name.as_bytes()) {
                    passed.change(&name, || place(header.name.as_bytes()));
                }
            }
        }
        let headers = &passed.head.headers;
        if headers.contains_key(TRANSFER_ENCODING) {
            // It takes precedence (RFC 9112, section 6.3).
            Head::remove(&mut passed, &CONTENT_LENGTH);
        } else if headers.contains_key(CONTENT_LENGTH) && content_length(headers).is_none() {
            let message = "invalid Content-Length header";
            return pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, message);
        }
        Ok(Some((end, passed)))
    }

    /// Says HTTP/1.1.
    pub(super) fn say_http11(&mut self) {
        self.head.set_version(Version::HTTP_11);
    }

    /// Writes it as HTTP/1 has it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        out.put_slice(if head.version < Version::HTTP_11 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.put_slice(head.status.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
        out.put_slice(b"\r\n");
        append_kept(&self.lines, self.changed.iter().map(|(name, _)| name), out);
        for (name, written) in &self.changed {
            for value in head.headers.get_all(name) {
                out.put_slice(written);
                out.put_slice(b": ");
                out.put_slice(value.as_bytes());
                out.put_slice(b"\r\n");
            }
        }
        out.put_slice(b"\r\n");
    }

    /// Takes note that lines of a name are not as they came.
    fn change(&mut self, name: &HeaderName, written: impl FnOnce() -> Bytes) {
        if !self.changed.iter().any(|(changed, _)| changed == name) {
            self.changed.push((name.clone(), written()));
        }
    }
}

impl Head for Passed {
    fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    fn set_status(&mut self, status: u16) {
        // Statuses that filters set have three digits.
        let _ = self.head.set_status(status);
    }

    fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        self.change(name, || written(name));
        // Both are sound.
        let _ = self.head.insert_header(name, value);
    }

    fn add(&mut self, name: &HeaderName, written: &Bytes, value: HeaderValue) {
        self.change(name, || written.clone());
        if !self.head.headers.contains_key(name) {
            let known = self.changed.iter_mut().find(|(changed, _)| changed == name);
            known.into_iter().for_each(|(_, known)| known.clone_from(written));
        }
        let _ = self.head.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        if self.head.remove_header(name).is_some() {
            self.change(name, || written(name));
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
        let (length, passed) = Passed::parse(text.as_bytes()).expect("sound").expect("whole");
        assert_eq!(length, text.len());
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
        assert!(Passed::parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
    }
}
