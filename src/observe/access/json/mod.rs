//! A line of the access log as an object of JSON, for machines.
//!
//! The keys are a public format, in this order, all of them in every line but the last two:
//!
//! | Key | Means |
//! | --- | --- |
//! | `time` | when the request ended, as `2026-11-21T06:40:11.123+00:00` |
//! | `client` | its address; `unix:` for a Unix socket |
//! | `method`, `target`, `protocol` | the request line; `null` where it was not understood, and `line` says what came |
//! | `status` | the status that the client got; 499 where it left before |
//! | `bytes` | bytes of the answer's body that were sent |
//! | `referer`, `user_agent`, `host` | as the client said; `null` where it did not |
//! | `upstream` | the upstream's name; `null` where no route was found |
//! | `attempts` | for each attempt in turn `peer`, `status`, `time_ms`, `error`; the status or the error may be `null` |
//! | `time_ms` | how long the request took, in milliseconds with three decimals |
//! | `id` | the request's id |
//! | `trace_id` | the trace that it belongs to, where there is one |
//! | `reason` | why the request failed; only on failures |
//!
//! A line is valid JSON in UTF-8 whatever bytes a client sends: what is no UTF-8 becomes U+FFFD.
//! Control characters are escaped, those of C1 (U+0080 to U+009F) too: a terminal would obey them.

use std::time::Duration;

use http::HeaderValue;

use super::{Attempt, Record, RequestLine};
use crate::observe::stamp::IsoStamp;
use crate::observe::text::{protocol, push_decimal, push_display, push_ip, push_peer};

/// Appends the line of `record` with its newline.
pub(super) fn format(out: &mut Vec<u8>, record: &Record<'_>, stamp: &mut IsoStamp) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp.push(out, record.at);
    out.extend_from_slice(b"\",\"client\":\"");
    match record.client {
        Some(client) => push_ip(out, client),
        None => out.extend_from_slice(b"unix:"),
    }
    out.push(b'"');
    push_request(out, record.request);
    out.extend_from_slice(b",\"status\":");
    push_decimal(out, u64::from(record.status));
    out.extend_from_slice(b",\"bytes\":");
    push_decimal(out, record.body_bytes);
    out.extend_from_slice(b",\"referer\":");
    push_text_or_null(out, record.referer.map(HeaderValue::as_bytes));
    out.extend_from_slice(b",\"user_agent\":");
    push_text_or_null(out, record.user_agent.map(HeaderValue::as_bytes));
    out.extend_from_slice(b",\"host\":");
    push_text_or_null(out, record.host.map(str::as_bytes));
    out.extend_from_slice(b",\"upstream\":");
    push_text_or_null(out, record.upstream.map(str::as_bytes));
    out.extend_from_slice(b",\"attempts\":[");
    for (index, attempt) in record.attempts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_attempt(out, attempt);
    }
    out.extend_from_slice(b"],\"time_ms\":");
    push_millis(out, record.time);
    out.extend_from_slice(b",\"id\":");
    push_text(out, record.id.as_bytes());
    if let Some(trace) = record.trace_id {
        out.extend_from_slice(b",\"trace_id\":");
        push_text(out, trace.as_bytes());
    }
    if let Some(reason) = record.reason {
        out.extend_from_slice(b",\"reason\":");
        push_text(out, reason.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

fn push_request(out: &mut Vec<u8>, request: RequestLine<'_>) {
    match request {
        RequestLine::Parsed { method, target, version } => {
            out.extend_from_slice(b",\"method\":");
            push_text(out, method.as_str().as_bytes());
            out.extend_from_slice(b",\"target\":");
            push_text(out, target);
            out.extend_from_slice(b",\"protocol\":\"");
            out.extend_from_slice(protocol(version).as_bytes());
            out.push(b'"');
        }
        RequestLine::Raw(line) => {
            out.extend_from_slice(b",\"method\":null,\"target\":null,\"protocol\":null,\"line\":");
            push_text(out, line);
        }
    }
}

fn push_attempt(out: &mut Vec<u8>, attempt: &Attempt) {
    out.extend_from_slice(b"{\"peer\":\"");
    // The path of a Unix socket may hold anything.
    let from = out.len();
    push_peer(out, &attempt.address);
    if out[from..].iter().any(|byte| needs_care(*byte)) {
        let peer = out.split_off(from);
        push_inside(out, &peer);
    }
    out.extend_from_slice(b"\",\"status\":");
    match attempt.status {
        Some(status) => push_decimal(out, u64::from(status)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"time_ms\":");
    push_millis(out, attempt.time);
    out.extend_from_slice(b",\"error\":");
    push_text_or_null(out, attempt.error.as_deref().map(str::as_bytes));
    out.push(b'}');
}

/// Appends milliseconds with three decimals. They are always there: a store that learns the type of a
/// key from the first line sees no whole number.
fn push_millis(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    push_decimal(out, micros / 1_000);
    let digit = |place: u64| b'0' + (micros / place % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

fn push_text_or_null(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => push_text(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a string with its quotes.
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Nearly every text needs nothing.
    match text.iter().fold(false, |found, byte| found | needs_care(*byte)) {
        true => push_inside(out, text),
        false => out.extend_from_slice(text),
    }
    out.push(b'"');
}

fn needs_care(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..=0x1f | 0x7f..)
}

fn push_inside(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            push_char(out, char);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        char if char.is_control() => {
            push_display(out, format_args!("\\u{:04x}", u32::from(char)));
        }
        char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests;
