//! Variables of the answer, and of the time.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::{Facts, append_display, append_lines, since};
use crate::config::template::Known;
use crate::observe::stamp;
use crate::observe::text::push_seconds;

impl Facts<'_> {
    /// Appends a variable of the answer; none where it is of another kind.
    pub(super) fn append_of_answer(&self, known: Known, out: &mut Vec<u8>) -> Option<bool> {
        let so_far = &self.scene.so_far;
        let answered = so_far.answered;
        match known {
            Known::Status => match answered.map(|a| a.status).or(self.course.saying) {
                Some(status) => append_display(format_args!("{status:03}"), out),
                None => out.extend_from_slice(b"000"),
            },
            Known::BodyBytesSent => append_display(answered.map_or(0, |a| a.body_bytes), out),
            Known::BytesSent => append_display(answered.map_or(0, |a| a.bytes), out),
            Known::RequestLength => append_display(so_far.request_bytes, out),
            Known::RequestTime => push_seconds(out, since(so_far.began)),
            Known::RequestCompletion if answered.is_some_and(|a| a.complete) => {
                out.extend_from_slice(b"OK");
            }
            Known::RequestCompletion => {}
            Known::Msec => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                push_seconds(out, now.unwrap_or(Duration::ZERO));
            }
            Known::TimeLocal => stamp::push_local(out, SystemTime::now()),
            Known::TimeIso8601 => stamp::push_iso8601(out, SystemTime::now()),
            // Answers are packed without looking back.
            Known::GzipRatio => return Some(false),
            _ => return None,
        }
        Some(true)
    }

    /// Appends a header of the answer.
    pub(super) fn append_sent_header(&self, name: &HeaderName, out: &mut Vec<u8>) -> bool {
        let headers = self.scene.so_far.answered.and_then(|answered| answered.headers);
        headers.is_some_and(|headers| append_lines(headers, name, out))
    }

    pub(super) fn append_sent_trailer(&self, name: &HeaderName, out: &mut Vec<u8>) -> bool {
        let trailers = self.scene.so_far.answered.and_then(|answered| answered.trailers);
        trailers.is_some_and(|trailers| append_lines(trailers, name, out))
    }
}
