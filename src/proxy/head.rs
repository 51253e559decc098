//! Pingora's head of an answer, as the filters of `exchange` see it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;

use crate::exchange::answers::Head;

impl Head for ResponseHeader {
    fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn set_status(&mut self, status: u16) {
        // Statuses that filters set have three digits.
        let _ = self.set_status(status);
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.insert_header(written(name), value);
    }

    fn add(&mut self, name: &HeaderName, written: &Bytes, value: HeaderValue) {
        if self.append_header(written.clone(), value.clone()).is_err() {
            let _ = self.append_header(name.clone(), value);
        }
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

/// A name as people write it; Pingora knows some only.
pub(super) fn written(name: &HeaderName) -> Bytes {
    let known: &[u8] = match name.as_str() {
        "etag" => b"ETag",
        "www-authenticate" => b"WWW-Authenticate",
        // These are in nearly every answer.
        "connection" => b"Connection",
        "date" => b"Date",
        "server" => b"Server",
        _ => b"",
    };
    if !known.is_empty() {
        return Bytes::from_static(known);
    }
    let mut begins = true;
    let letters = name.as_str().bytes().map(|letter| {
        let written = if begins { letter.to_ascii_uppercase() } else { letter };
        begins = letter == b'-';
        written
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_people_do() {
        for name in ["ETag", "Last-Modified", "Content-Range", "X-Frame-Options"] {
            let lower = name.parse().expect("a name");
            assert_eq!(written(&lower), name);
        }
    }
}
