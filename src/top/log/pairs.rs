//! `key=value` as robin writes it, and times as it prints them.

use std::time::Duration;

/// The text before the first ` key=`, and the pairs behind it.
pub(super) fn split(text: &str) -> (&str, Vec<(String, String)>) {
    let first = text.match_indices(' ').map(|(at, _)| at).find(|at| key(&text[at + 1..]).is_some());
    match first {
        Some(at) => (&text[..at], pairs(&text[at..])),
        None => (text, Vec::new()),
    }
}

/// The key that a text begins with, where a `=` follows it.
fn key(text: &str) -> Option<&str> {
    let (key, _) = text.split_once('=')?;
    let of_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (!key.is_empty() && key.bytes().all(of_key)).then_some(key)
}

/// Pairs, separated by spaces; ends at what is none.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while let Some(key) = key(rest) {
        let (value, after) = value(&rest[key.len() + 1..]);
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    pairs
}

/// A value, in quotes or up to the next space, and what follows it.
pub(super) fn value(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        // Quotes within are escaped.
        Some(quoted) => {
            let (value, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
            (unescaped(value), rest)
        }
        None => {
            let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
            (unescaped(value), rest)
        }
    }
}

/// Text with its `\xHH` as the bytes that they stand for.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = rest.strip_prefix(b"\\x").and_then(|hex| {
            let hex = std::str::from_utf8(hex.get(..2)?).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &rest[4..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A time as robin prints it: `<1ms`, `7ms`, `1.5s`, `3m12s`, `2h05m`, `3d04h`.
pub(in crate::top) fn short(text: &str) -> Option<Duration> {
    if text == "<1ms" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        seconds += number
            * match &rest[digits..digits + unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[digits + unit..];
    }
    (!text.is_empty()).then_some(())?;
    Duration::try_from_secs_f64(seconds).ok()
}
