//! Event lines: robin's own form, nginx's, and JSON.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{millis, pairs};
use crate::health::Short;

/// What an event line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::top) struct Told {
    /// `ERROR`, `WARN`, `INFO` or `DEBUG`.
    pub(in crate::top) level: String,
    /// Its phrase.
    pub(in crate::top) event: String,
    /// The line without time and level.
    pub(in crate::top) text: String,
    /// Its keys, with times as they are written there.
    pub(in crate::top) fields: Vec<(String, String)>,
}

impl Told {
    /// What stands behind a key.
    pub(in crate::top) fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// A number behind a key.
    pub(in crate::top) fn number(&self, key: &str) -> Option<u64> {
        self.field(key)?.parse().ok()
    }

    fn new(level: &str, text: &str) -> Self {
        let (phrase, fields) = match text.split_once(": ") {
            // What follows is a list of upstreams, not pairs.
            Some((phrase @ ("health dashboard" | "health summary"), _)) => (phrase, Vec::new()),
            _ => pairs::split(text),
        };
        let (level, event) = (level.to_owned(), phrase.to_owned());
        Self { level, event, text: text.to_owned(), fields }
    }
}

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// A line of text with its time.
pub(super) fn text(line: &str) -> Option<(u64, Told)> {
    own(line).or_else(|| of_nginx(line))
}

/// `2026-11-21T06:40:11.123+00:00 WARN peer ejected …`
fn own(line: &str) -> Option<(u64, Told)> {
    let (stamp, rest) = line.split_once(' ')?;
    let (level, text) = rest.split_once(' ')?;
    let level = LEVELS.iter().find(|known| **known == level)?;
    Some((millis(stamp)?, Told::new(level, text)))
}

/// `2026/11/21 06:40:11 [warn] 17#17: peer ejected …`, in local time.
fn of_nginx(line: &str) -> Option<(u64, Told)> {
    let (stamp, rest) = line.split_at_checked("2026/11/21 06:40:11".len())?;
    let (level, rest) = rest.strip_prefix(" [")?.split_once("] ")?;
    let level = match level {
        "error" | "crit" | "alert" | "emerg" => "ERROR",
        "warn" => "WARN",
        "notice" => "INFO",
        "info" | "debug" => "DEBUG",
        _ => return None,
    };
    let (process, text) = rest.split_once(": ")?;
    process.contains('#').then_some(())?;
    let at: DateTime = strtime::parse("%Y/%m/%d %H:%M:%S", stamp).ok()?.to_datetime().ok()?;
    let at = at.to_zoned(TimeZone::system()).ok()?.timestamp().as_millisecond();
    Some((u64::try_from(at).ok()?, Told::new(level, text)))
}

/// An object with an `event`; the same as the line of text that it stands for.
pub(super) fn json(object: &Pairs) -> Option<Told> {
    let event = object.get("event")?.as_str()?.to_owned();
    let level = object.get("level").and_then(Value::as_str).unwrap_or("INFO").to_owned();
    let fields =
        object.0.iter().filter(|(key, _)| !["ts", "level", "event"].contains(&key.as_str()));
    let fields: Vec<(String, String)> = fields.map(|(key, value)| field(key, value)).collect();
    let mut text = event.clone();
    for (key, value) in &fields {
        let quote = if value.is_empty() || value.contains([' ', '=']) { "\"" } else { "" };
        text += &format!(" {key}={quote}{value}{quote}");
    }
    Some(Told { level, event, text, fields })
}

/// A key with its value, as a line of text has them: a time with its unit.
fn field(key: &str, value: &Value) -> (String, String) {
    let time = key.strip_suffix("_ms").and_then(|key| Some((key, value.as_u64()?)));
    match (time, value) {
        (Some((key, millis)), _) => {
            (key.to_owned(), Short(Duration::from_millis(millis)).to_string())
        }
        (None, Value::String(text)) => (key.to_owned(), text.clone()),
        (None, other) => (key.to_owned(), other.to_string()),
    }
}

/// An object of JSON with its keys as they are written.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(String, Value)>);

impl Pairs {
    /// What stands behind a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The same, taken out.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let (_, value) = self.0.iter_mut().find(|(known, _)| known == key)?;
        Some(value.take())
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Pairs::default();
        while let Some(pair) = map.next_entry()? {
            pairs.0.push(pair);
        }
        Ok(pairs)
    }
}
