//! `add_trailer` (`ngx_http_trailers_filter`): headers behind the body.
//!
//! HTTP/1 has room for them behind chunks only, so an answer that has any is sent in chunks.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::headers::is_safe;
use crate::config::model::site::{AddHeader, Answers};
use crate::exchange::variables::{Answered, Facts};

/// More than this is not sent, in bytes.
const MOST: usize = 2048;

/// Whether an answer of this status has any.
#[must_use]
pub fn expected(answers: &Answers, status: u16) -> bool {
    answers.trailers.iter().any(|trailer| trailer.always || is_safe(status))
}

/// Names as written with what they say; those that say nothing are left out.
#[must_use]
pub fn said(facts: &Facts<'_>, answers: &Answers, status: u16) -> Vec<(Bytes, HeaderValue)> {
    let mut trailers = HeaderMap::new();
    let mut said = Vec::new();
    for AddHeader { name, written, value, always } in &answers.trailers {
        if !always && !is_safe(status) {
            continue;
        }
        let mut scene = *facts.scene;
        let answered = scene.so_far.answered.unwrap_or_default();
        scene.so_far.answered = Some(Answered { trailers: Some(&trailers), ..answered });
        let value = scene.with(facts.course).value(value);
        if let Some(value) = value {
            trailers.append(name, value.clone());
            said.push((written.clone(), value));
        }
    }
    said
}

/// The same as lines of a head.
#[must_use]
pub fn lines(trailers: &[(Bytes, HeaderValue)]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        let line = [&name[..], b": ", value.as_bytes(), b"\r\n"].concat();
        if lines.len() + line.len() <= MOST {
            lines.extend_from_slice(&line);
        }
    }
    lines
}

/// Whether a piece of a body could be a part of `end`: then what is written as `end` may not be it.
#[must_use]
pub fn looks_like(piece: &[u8], end: &[u8]) -> bool {
    !piece.is_empty() && end.windows(piece.len()).any(|part| part == piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_lines_of_a_head() {
        let value = |text: &'static str| HeaderValue::from_static(text);
        let trailers = [(Bytes::from("X-A"), value("1")), (Bytes::from("X-B"), value("2"))];
        assert_eq!(lines(&trailers), b"X-A: 1\r\nX-B: 2\r\n");
    }

    #[test]
    fn a_part_of_the_end_looks_like_it() {
        for (piece, expected) in
            [("0", true), ("\r\n", true), ("0\r\n\r\n", true), ("", false), ("a0", false)]
        {
            assert_eq!(looks_like(piece.as_bytes(), b"0\r\n\r\n"), expected, "{piece:?}");
        }
    }
}
