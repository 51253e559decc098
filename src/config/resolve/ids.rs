//! What a request is known by: its id, and the trace that it belongs to.

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::{RequestId, Trace};
use crate::config::raw::{Settings, Word};

impl RequestId {
    /// What holds inside of `outer` once these are said. What is not said stays as it is outside.
    pub(super) fn resolve(settings: &Settings, outer: Self, diags: &mut Diagnostics) -> Self {
        let Some(statement) = settings.last("robin_request_id") else { return outer };
        let mut id = outer;
        for word in &statement.args {
            match word.value.as_str() {
                "make" => id.trust = false,
                "trust" => id.trust = true,
                "answer=on" => id.answer = true,
                "answer=off" => id.answer = false,
                _ => unknown(word, diags),
            }
        }
        id
    }
}

fn unknown(word: &Word, diags: &mut Diagnostics) {
    match word.value.strip_prefix("answer=") {
        Some(switch) => diags
            .error(&word.place, format!("`answer` is on or off, found {}", quote(switch)))
            .expected("expected `answer=on` or `answer=off`"),
        None => diags
            .error(&word.place, format!("unknown source of request ids {}", quote(&word.value)))
            .expected("expected `make` or `trust`, and `answer=on` or `answer=off`")
            .nearest(&word.value, ["make", "trust"]),
    };
}

impl Trace {
    /// What holds inside of `outer` once this is said.
    pub(super) fn resolve(settings: &Settings, outer: Self, diags: &mut Diagnostics) -> Self {
        let Some(word) = settings.word("robin_trace") else { return outer };
        let is = |trace: &Self| trace.name() == word.value;
        if let Some(trace) = Self::ALL.into_iter().find(is) {
            return trace;
        }
        let names = Self::ALL.map(Self::name);
        diags
            .error(&word.place, format!("unknown way with traces {}", quote(&word.value)))
            .expected(format!("expected one of {}", names.join(", ")))
            .nearest(&word.value, names);
        outer
    }
}
