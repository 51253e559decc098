//! A line of a log, read: whose it is, when it was written, and what it says.
//!
//! It takes what `docker compose logs` makes of robin's output: a prefix with the container's name, Docker's
//! time stamps, colours. What is not robin's is none: the log of a stack holds other containers' lines, too.
//! No line, however broken, is more than ignored.

mod access;
mod block;
mod event;
mod pairs;

use jiff::Timestamp;
use serde_json::Value;

pub(super) use access::{Attempt, Request};
pub(super) use block::{Block, Cells, Row};
pub(super) use event::Told;
pub(super) use pairs::short;

use crate::observe::view::UpstreamView;

/// A line longer than this is no line of ours.
const LONGEST: usize = 16 << 20;

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// The container that it is of; empty without a prefix.
    pub(super) source: String,
    /// When it was written, in milliseconds since 1970, where it says so.
    pub(super) at: Option<u64>,
    /// What it says.
    pub(super) what: What,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// An event.
    Event(Told),
    /// The first line of a block of the dashboard, with the names of its upstreams.
    Begin(Vec<String>),
    /// A line within a block.
    Within(String),
    /// A whole block.
    Views(Vec<UpstreamView>),
    /// A summary: nothing that is not known, but that the source is alive.
    Summary,
    /// A request.
    Request(Request),
}

/// Reads a line; none where it is not robin's.
pub(super) fn read(line: &[u8]) -> Option<Entry> {
    if line.len() > LONGEST {
        return None;
    }
    let text = plain(&String::from_utf8_lossy(line));
    let (source, text) = prefix(&text);
    let (stamp, text) = docker_stamp(text);
    let (at, what) = say(text)?;
    Some(Entry { source: source.to_owned(), at: at.or(stamp), what })
}

fn say(text: &str) -> Option<(Option<u64>, What)> {
    if text.starts_with(' ') {
        return Some((None, What::Within(text.to_owned())));
    }
    if text.starts_with('{') {
        return json(text);
    }
    if let Some((at, told)) = event::text(text) {
        let what = match told.event.as_str() {
            "health dashboard" => What::Begin(block::names(&told.text)),
            "health summary" => What::Summary,
            _ => What::Event(told),
        };
        return Some((Some(at), what));
    }
    access::text(text).map(|(at, request)| (at, What::Request(request)))
}

fn json(text: &str) -> Option<(Option<u64>, What)> {
    let mut object: event::Pairs = serde_json::from_str(text).ok()?;
    let time = object.get("ts").or_else(|| object.get("time")).and_then(Value::as_str);
    let at = time.and_then(millis);
    let what = match object.get("event").and_then(Value::as_str) {
        Some("health dashboard") => {
            What::Views(serde_json::from_value(object.take("upstreams")?).ok()?)
        }
        Some("health summary") => What::Summary,
        Some(_) => What::Event(event::json(&object)?),
        None => What::Request(access::json(&object)?),
    };
    Some((at, what))
}

/// A time stamp in milliseconds since 1970.
fn millis(text: &str) -> Option<u64> {
    text.parse::<Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok())
}

/// Text without commands to a terminal and without its line's end.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars),
            '\t' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Skips the rest of an escape sequence (ECMA-48): parameters and a letter, or a string and its end.
fn escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => drop(chars.find(|c| ('@'..='~').contains(c))),
        Some(']' | 'P' | '^' | '_') => drop(chars.find(|c| matches!(c, '\u{7}' | '\u{1b}'))),
        _ => {}
    }
}

/// The container's name that Compose puts before a line, and the line: `proxy-1  | …`.
fn prefix(text: &str) -> (&str, &str) {
    const LONGEST_NAME: usize = 100;
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = text.find(|c| !of_name(c)).unwrap_or(text.len());
    let rest = text[end..].trim_start_matches(' ');
    match rest.strip_prefix('|') {
        Some(rest) if (1..=LONGEST_NAME).contains(&end) => {
            (&text[..end], rest.strip_prefix(' ').unwrap_or(rest))
        }
        _ => ("", text),
    }
}

/// The stamp of `docker logs --timestamps`, always in UTC with a `Z`, which robin's own never has.
fn docker_stamp(text: &str) -> (Option<u64>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first.ends_with('Z').then(|| millis(first)).flatten() {
        Some(at) => (Some(at), rest),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests;
