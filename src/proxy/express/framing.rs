//! What the head of an answer says of how its body ends and of what becomes of its connection.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

/// What the lines of a head have said so far; each is looked at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    /// The length that all lines and all values agree on (RFC 9110, section 8.6).
    length: Option<u64>,
    /// Whether there is a `Content-Length`, and whether one is no number or another one.
    measured: bool,
    unsound: bool,
    /// Whether there is a `Transfer-Encoding`.
    pub(super) coded: bool,
    /// Whether the last coding is `chunked`.
    pub(super) chunked: bool,
    /// What `Connection` asks for.
    keeps: bool,
    closes: bool,
}

impl Framing {
    /// Takes a line in.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                value.split(|b| *b == b',').for_each(|value| self.measure(value.trim_ascii()));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.coded = true;
                self.chunked = ends_chunked(value);
            }
            _ => {}
        }
    }

    fn measure(&mut self, value: &[u8]) {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let number: Option<u64> = text.and_then(|text| text.parse().ok());
        self.unsound |= number.is_none() || (self.measured && self.length != number);
        self.measured = true;
        self.length = number;
    }

    /// Whether its `Content-Length` says no length. Where a coding takes its place nobody asks (RFC 9112, section 6.3).
    pub(super) fn is_unsound(&self) -> bool {
        self.unsound && !self.coded
    }

    /// Whether it has a `Content-Length` that nothing takes the place of.
    pub(super) fn is_measured(&self) -> bool {
        self.measured && !self.coded
    }

    /// How long the body is.
    pub(super) fn length(&self) -> Option<u64> {
        self.length.filter(|_| self.is_measured())
    }

    /// Whether the connection takes another request after this answer; an `old` peer has to say so.
    pub(super) fn stays(&self, old: bool) -> bool {
        !self.closes && (!old || (self.keeps && !self.coded))
    }
}

/// Whether a body comes in chunks: that is the last of its codings.
pub(super) fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    last.is_some_and(|line| ends_chunked(line.as_bytes()))
}

fn ends_chunked(line: &[u8]) -> bool {
    let last = line.rsplit(|b| *b == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &[(&str, &str)]) -> Framing {
        let mut framing = Framing::default();
        lines.iter().for_each(|(name, value)| framing.note(name.as_bytes(), value.as_bytes()));
        framing
    }

    #[test]
    fn all_lengths_have_to_agree() {
        for (lines, length) in [
            (&["5"][..], Some(5)),
            (&["5", "5"], Some(5)),
            (&["5, 5"], Some(5)),
            (&["5", "6"], None),
            (&["6", "5", "5"], None),
            (&["x", "5"], None),
            (&["5,"], None),
            (&["+5"], None),
            (&[""], None),
            (&["99999999999999999999"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("Content-Length", *value)).collect();
            let framing = framing(&lines);
            let said = framing.length().filter(|_| !framing.is_unsound());
            assert_eq!((said, framing.is_unsound()), (length, length.is_none()), "{lines:?}");
        }
    }

    #[test]
    fn a_coding_takes_the_place_of_a_length() {
        let both = framing(&[("content-length", "x"), ("Transfer-Encoding", "gzip, Chunked")]);
        assert!(both.chunked && !both.is_unsound() && !both.is_measured());
        assert_eq!(both.length(), None);
        let last = framing(&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip")]);
        assert!(last.coded && !last.chunked);
    }

    #[test]
    fn an_old_peer_has_to_say_that_it_goes_on() {
        let stays = |value: &str, old| framing(&[("Connection", value)]).stays(old);
        assert!(stays("x", false) && !stays("x", true));
        assert!(stays("x, Keep-Alive", true));
        assert!(!stays("keep-alive, close", false));
        let coded = framing(&[("Connection", "keep-alive"), ("Transfer-Encoding", "chunked")]);
        assert!(coded.stays(false) && !coded.stays(true));
    }
}
