//! The head of a request as bytes, before any parser has changed it.
//!
//! Pingora's parser mends what it can: it escapes spaces, takes a target in absolute form only where
//! it names the same host as `Host`, and drops a `Content-Length` beside `Transfer-Encoding`. So the
//! request line is judged here as it was written, by nginx's rules (`ngx_http_parse_request_line`)
//! or stricter ones; and an absolute form becomes the origin form with an authority beside it
//! (RFC 9112, section 3.2.2). Header lines are judged by Pingora's parser and by
//! [`Head::check`](super::head::Head::check).

use super::head::{Malformed, host_name};

/// How a request's body ends, as far as its head says so without doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// A target that was written in absolute form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absolute {
    /// Its authority: whom the request is for, whatever `Host` says.
    pub authority: Vec<u8>,
    /// The request line as it was written.
    pub line: Vec<u8>,
}

/// A head whose request line is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Where the target was in absolute form: that, and the head with the origin form in its place.
    pub rewritten: Option<(Absolute, Vec<u8>)>,
    /// How the body ends.
    pub framing: Framing,
}

/// Where the head ends: behind its empty line. `from` is where looking for it may begin.
#[must_use]
pub fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(line_end) = bytes.get(at..)?.iter().position(|b| *b == b'\n') {
        at += line_end + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Whether what has come of a head so far can still become one.
///
/// # Errors
/// What is wrong with it.
pub fn begins(bytes: &[u8]) -> Result<(), Malformed> {
    match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => Line::read(without_cr(&bytes[..end])).map(drop),
        None if !bytes.first().is_none_or(|b| of_method(*b)) => Err(Malformed::InvalidMethod),
        None => {
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if bytes.iter().any(u8::is_ascii_control) { Err(Malformed::RawByte) } else { Ok(()) }
        }
    }
}

/// Judges the request line of a whole head, its empty line included.
///
/// # Errors
/// What is wrong with it.
pub fn read(head: &[u8]) -> Result<Sound, Malformed> {
    let line_end = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
    let written = without_cr(&head[..line_end]);
    let line = Line::read(written)?;
    let rewritten = line.absolute.map(|(authority, path)| {
        let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
        let start = [line.method, b" ", slash, path, b" ", line.version].concat();
        let absolute = Absolute { authority: authority.to_vec(), line: written.to_vec() };
        (absolute, [&start, &head[written.len()..]].concat())
    });
    let lines = &head[line_end..];
    if line.version == b"HTTP/1.1" && is_coded(lines) {
        return Err(Malformed::Encoding);
    }
    Ok(Sound { rewritten, framing: framing(lines) })
}

/// Whether the body is in another coding than `chunked`. As in nginx, blanks may stand around the word, and
/// nothing else; two such lines, and broken ones, are not judged here.
fn is_coded(lines: &[u8]) -> bool {
    let folded = |line: &[u8]| matches!(line.first(), Some(b' ' | b'\t'));
    if lines.split(|b| *b == b'\n').any(folded) {
        return false;
    }
    let mut codings = lines.split(|b| *b == b'\n').filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let coding = line[..colon].eq_ignore_ascii_case(b"transfer-encoding");
        coding.then(|| without_cr(&line[colon + 1..]))
    });
    let (Some(coding), None) = (codings.next(), codings.next()) else { return false };
    let blank = |b: &u8| *b != b' ';
    let start = coding.iter().position(blank).unwrap_or(coding.len());
    let end = coding.iter().rposition(blank).map_or(start, |last| last + 1);
    !coding.contains(&b'\r') && !coding[start..end].eq_ignore_ascii_case(b"chunked")
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn of_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')
}

/// The parts of a request line.
struct Line<'a> {
    method: &'a [u8],
    version: &'a [u8],
    /// Authority and the rest of a target in absolute form.
    absolute: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Result<Self, Malformed> {
        if line.iter().any(u8::is_ascii_control) {
            return Err(Malformed::RawByte);
        }
        let mut parts = line.split(|b| *b == b' ');
        let (method, target) = (parts.next().unwrap_or_default(), parts.next());
        if method.is_empty() || !method.iter().all(|b| of_method(*b)) {
            return Err(Malformed::InvalidMethod);
        }
        let (Some(target), Some(version), None) = (target, parts.next(), parts.next()) else {
            return Err(Malformed::RawByte);
        };
        let absolute = match target.first() {
            _ if method == b"CONNECT" => {
                let port = target.iter().rposition(|b| *b == b':').map(|at| &target[at + 1..]);
                let sound = port.is_some_and(|p| !p.is_empty()) && host_name(target).is_some();
                let why = if sound { Malformed::MethodNotAllowed } else { Malformed::InvalidPath };
                return Err(why);
            }
            Some(b'/') => None,
            _ => Some(split_absolute(target)?),
        };
        match version {
            b"HTTP/1.1" | b"HTTP/1.0" => Ok(Self { method, version, absolute }),
            _ => Err(version_error(version)),
        }
    }
}

/// Takes a target in absolute form apart into authority and the rest.
fn split_absolute(target: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let bad = Malformed::InvalidPath;
    let scheme = target.windows(3).position(|w| w == b"://").ok_or(bad)?;
    let known = [&b"http"[..], b"https"].iter().any(|s| target[..scheme].eq_ignore_ascii_case(s));
    if !known {
        return Err(bad);
    }
    let rest = &target[scheme + 3..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // As nginx: fewer characters than in `Host` may stand in a name here.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    let sound = authority.first() == Some(&b'[') || authority.iter().all(plain);
    if !sound || host_name(authority).is_none() {
        return Err(Malformed::InvalidHost);
    }
    Ok((authority, path))
}

/// What is wrong with a version that is not spoken here.
fn version_error(version: &[u8]) -> Malformed {
    let number = version.strip_prefix(b"HTTP/").unwrap_or_default();
    let (major, minor) = match number.iter().position(|b| *b == b'.') {
        Some(dot) => (&number[..dot], Some(&number[dot + 1..])),
        None => (number, None),
    };
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let known = digits(major) && major[0] != b'0';
    let sound = if major == b"1" { minor.is_some_and(digits) } else { known };
    if sound { Malformed::Version } else { Malformed::RawByte }
}

/// How the body ends. Where that is in doubt [`Head::check`](super::head::Head::check) refuses.
fn framing(lines: &[u8]) -> Framing {
    let mut length = 0;
    for line in lines.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Framing::Chunked;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(line[colon + 1..].trim_ascii());
            length = value.ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        }
    }
    Framing::Length(length)
}

/// Whether a header line that frames the body has a tab in it, which some take for a blank and nginx
/// does not.
#[must_use]
pub fn is_framed_with_tabs(head: &[u8]) -> bool {
    head.contains(&b'\t')
        && head.split(|b| *b == b'\n').skip(1).any(|line| {
            let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
            let name = &line[..colon];
            line.contains(&b'\t')
                && (name.eq_ignore_ascii_case(b"transfer-encoding")
                    || name.eq_ignore_ascii_case(b"content-length"))
        })
}

/// Follows a body in chunks to its end, as [`Framing::Chunked`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    at: Place,
    /// The size of the chunk as far as it was read, then what is left of it.
    size: u64,
    digits: u8,
}

/// Where in a body in chunks something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the empty line that ends all.
    Trailer,
    InTrailer,
    TrailerEnd,
    LastLf,
    Done,
    /// It is no body in chunks.
    Lost,
}

impl Chunks {
    /// Whether all of it was there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == Place::Done
    }

    /// Whether it cannot be followed: where it ends is not known.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.at == Place::Lost
    }

    /// Follows these bytes; tells how many of them belong to the body.
    pub fn follow(&mut self, bytes: &[u8]) -> usize {
        self.follow_with(bytes, |_| {})
    }

    /// The same, and hands on what is carried.
    pub fn follow_with(&mut self, bytes: &[u8], mut carried: impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.at {
                Place::Done => return at,
                Place::Lost => return bytes.len(),
                Place::Data => {
                    let here = (bytes.len() - at) as u64;
                    let taken = here.min(self.size);
                    self.size -= taken;
                    // No more than the slice is long.
                    let taken = usize::try_from(taken).unwrap_or(usize::MAX);
                    carried(&bytes[at..at + taken]);
                    at += taken;
                    if self.size == 0 {
                        self.at = Place::DataCr;
                    }
                    continue;
                }
                _ => self.at = self.after(*byte),
            }
            at += 1;
        }
        at
    }

    fn after(&mut self, byte: u8) -> Place {
        /// A size of so many digits fits.
        const DIGITS: u8 = 15;
        match (self.at, byte) {
            (Place::Size, byte) if byte.is_ascii_hexdigit() && self.digits < DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                Place::Size
            }
            (Place::Size, b'\r') if self.digits > 0 => Place::SizeEnd,
            (Place::Size, b';' | b' ' | b'\t') if self.digits > 0 => Place::Extension,
            (Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, byte) if byte != b'\n' => Place::Extension,
            (Place::SizeEnd, b'\n') if self.size > 0 => Place::Data,
            (Place::SizeEnd, b'\n') => Place::Trailer,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => {
                self.digits = 0;
                Place::Size
            }
            (Place::Trailer, b'\r') => Place::LastLf,
            (Place::Trailer | Place::InTrailer, byte) if !matches!(byte, b'\r' | b'\n') => {
                Place::InTrailer
            }
            (Place::InTrailer, b'\r') => Place::TrailerEnd,
            (Place::TrailerEnd, b'\n') => Place::Trailer,
            (Place::LastLf, b'\n') => Place::Done,
            _ => Place::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> Result<Option<(String, String)>, Malformed> {
        let sound = read(format!("{line}\r\nHost: h\r\n\r\n").as_bytes())?;
        Ok(sound.rewritten.map(|(absolute, head)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let line = text(&head).lines().next().unwrap_or_default().to_owned();
            (text(&absolute.authority), line)
        }))
    }

    #[test]
    fn an_absolute_form_becomes_the_origin_form_and_an_authority() {
        for (target, authority, path) in [
            ("http://a/", "a", "/"),
            ("http://a", "a", "/"),
            ("HTTPS://A.b:80/x?y", "A.b:80", "/x?y"),
            ("http://a?x", "a", "/?x"),
            ("http://[::1]:5/x", "[::1]:5", "/x"),
        ] {
            let expected = (authority.to_owned(), format!("GET {path} HTTP/1.1"));
            assert_eq!(judged(&format!("GET {target} HTTP/1.1")), Ok(Some(expected)), "{target}");
        }
        assert_eq!(judged("GET /a://b HTTP/1.1"), Ok(None));
    }

    #[test]
    fn what_is_no_request_line_is_refused() {
        use Malformed::*;
        for (line, why) in [
            ("GET  / HTTP/1.1", RawByte),
            ("GET / HTTP/1.1 ", RawByte),
            ("GET /a\tb HTTP/1.1", RawByte),
            ("GET /", RawByte),
            ("get / HTTP/1.1", InvalidMethod),
            (" GET / HTTP/1.1", InvalidMethod),
            ("GET / http/1.1", RawByte),
            ("GET / HTTP/1.2", Version),
            ("GET / HTTP/2.0", Version),
            ("GET / HTTP/0.9", RawByte),
            ("GET / HTTP/01.1", RawByte),
            ("GET / HTTP/1.", RawByte),
            ("GET / HTTP/11", Version),
            ("PRI * HTTP/2.0", InvalidPath),
            ("GET ftp://a/ HTTP/1.1", InvalidPath),
            ("GET http://u@a/ HTTP/1.1", InvalidHost),
            ("GET http://a_b/ HTTP/1.1", InvalidHost),
            ("GET http://a#x HTTP/1.1", InvalidHost),
            ("GET http://a:99999/ HTTP/1.1", InvalidHost),
            ("GET http:/// HTTP/1.1", InvalidHost),
            ("CONNECT a:1 HTTP/1.1", MethodNotAllowed),
            ("CONNECT a HTTP/1.1", InvalidPath),
            ("CONNECT / HTTP/1.1", InvalidPath),
        ] {
            assert_eq!(judged(line), Err(why), "{line}");
        }
    }

    #[test]
    fn a_body_in_another_coding_than_chunked_is_refused() {
        let judged = |lines: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
            read(head.as_bytes()).map(|sound| sound.framing)
        };
        for good in ["Transfer-Encoding: chunked", "transfer-encoding:  Chunked "] {
            assert_eq!(judged(good), Ok(Framing::Chunked), "{good}");
        }
        for bad in ["gzip, chunked", "identity", "", "\tchunked", "chunked\u{b}", "chunked;x"] {
            let judged = judged(&format!("Transfer-Encoding: {bad}"));
            assert_eq!(judged, Err(Malformed::Encoding), "{bad}");
        }
    }

    #[test]
    fn a_head_that_cannot_become_one_is_told_by_its_beginning() {
        for good in ["", "G", "GET /", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHo"] {
            assert_eq!(begins(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["\u{16}", "get", "GET /\u{1}", "GET\r /", "GET / HTTP/3.0\r\nHo"] {
            assert!(begins(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(end(b"GET\r\nA: b\r\n\r\nrest", 0), Some(13));
        assert_eq!(end(b"GET\nA: b\n\nrest", 0), Some(10));
        assert_eq!(end(b"GET\r\nA: b\r\n\r", 0), None);
    }

    #[test]
    fn a_body_in_chunks_is_followed_to_its_end_however_it_is_cut() {
        for body in ["0\r\n\r\n", "5;x=y\r\nhello\r\n00\r\nT: 1\r\n\r\n", "1\r\na\r\n0\r\n\r\n"] {
            let bytes = [body.as_bytes(), b"GET /"].concat();
            for cut in 0..bytes.len() {
                let mut chunks = Chunks::default();
                let first = chunks.follow(&bytes[..cut]);
                let second = chunks.follow(&bytes[cut..]);
                assert_eq!(first + second, body.len(), "{body:?} cut at {cut}");
                assert!(chunks.is_done());
            }
        }
        for body in
            ["x", "\r\n", "5\nhello", "1\r\nab", "0\r\n\n", "-1\r\n", "1234567890123456\r\n"]
        {
            let mut chunks = Chunks::default();
            chunks.follow(body.as_bytes());
            assert!(chunks.is_lost(), "{body:?}");
        }
    }
}
