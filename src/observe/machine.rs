//! A log record as one JSON object a line (`event_format: json`).
//!
//! ```text
//! {"ts":"2026-11-21T06:40:11.123+00:00","level":"WARN","event":"peer ejected","upstream":"back-end","peer":"172.18.0.4:5252","fails":3,"for_ms":10000,…}
//! ```
//!
//! The keys are those of the record, in their order, behind `ts`, `level` and `event`; docs/events.md
//! lists them, and adding one is free. A record without keys of ours (a library's) has its text for an
//! `event`, and its `target`. A text is escaped by JSON's rules alone, so a reader gets the bytes that
//! were sent; no line but its last byte is a newline.

use log::Record;
use log::kv::{Error, Key, Value, VisitSource};

/// The line of `record`, with its newline; `ts` is the moment.
pub(super) fn line(ts: &str, record: &Record<'_>) -> String {
    let mut keys = Keys::default();
    // Only our own visitor could fail, and does not.
    let _ = record.key_values().visit(&mut keys);
    let mut head = format!("{{\"ts\":{},\"level\":\"{}\"", quoted(ts), record.level());
    if keys.event.is_none() {
        head += &format!(",\"event\":{}", quoted(&record.args().to_string()));
        head += &format!(",\"target\":{}", quoted(record.target()));
    }
    for (key, value) in keys.event.into_iter().chain(keys.rest) {
        head += &format!(",{}:{value}", quoted(&key));
    }
    head + "}\n"
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What the record's keys stand before, as JSON.
#[derive(Default)]
struct Keys {
    event: Option<(String, String)>,
    rest: Vec<(String, String)>,
}

impl<'kvs> VisitSource<'kvs> for Keys {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // What cannot be written as JSON is written as a text.
        let json = serde_json::to_string(&value).unwrap_or_else(|_| quoted(&value.to_string()));
        let pair = (key.as_str().to_owned(), json);
        match key.as_str() {
            "event" => self.event = Some(pair),
            // Ours; a library's would make the object ambiguous.
            "ts" | "level" | "target" => {}
            _ => self.rest.push(pair),
        }
        Ok(())
    }
}
