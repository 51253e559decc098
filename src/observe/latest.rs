//! The latest event lines, for whoever asks what has happened.
//!
//! They are changes of state, some a minute at most, so a lock may guard them; what can happen with
//! each request ([`event::no_file`](super::event::no_file)) does not come here.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use log::Level;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Field, Line};

/// How many are kept.
const KEPT: usize = 100;

static LATEST: Mutex<VecDeque<EventView>> = Mutex::new(VecDeque::new());

/// An event line as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: String,
    /// The phrase that it begins with.
    pub event: String,
    /// The whole line, without time and level.
    pub text: String,
    /// Its keys; times are milliseconds and say so in their names.
    pub fields: Map<String, Value>,
}

impl EventView {
    fn of(level: Level, line: &Line) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let fields = line.fields().iter().map(|(key, value)| match value {
            Field::Text(text) => ((*key).to_owned(), text.as_str().into()),
            Field::Number(number) => ((*key).to_owned(), (*number).into()),
            Field::Time(key, time) => ((*key).to_owned(), millis(*time).into()),
        });
        Self {
            at_ms: since.map(millis).unwrap_or_default(),
            level: level.to_string(),
            event: line.phrase().to_owned(),
            text: line.to_string(),
            fields: fields.collect(),
        }
    }
}

/// Keeps a line that somebody may have to act on, or that is a change of shape.
pub(super) fn keep(level: Level, line: &Line) {
    if level > Level::Info {
        return;
    }
    let view = EventView::of(level, line);
    // Whole values are pushed or removed under it: a poisoned one is as good as any.
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    if latest.len() == KEPT {
        latest.pop_front();
    }
    latest.push_back(view);
}

/// The latest event lines, the newest last.
#[must_use]
pub fn events() -> Vec<EventView> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
