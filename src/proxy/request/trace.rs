//! The trace that a request belongs to.

use pingora::Result;

use super::{Client, Exchange, PeerHead};
use crate::config::model::Trace as Rule;
use crate::exchange::trace::{SAMPLED, TRACEPARENT, TRACESTATE, Trace};

impl Exchange {
    /// Finds out which trace the request belongs to, as the level that it has come to wants it.
    pub(super) fn settle_trace(&mut self, session: &dyn Client) {
        let Some(rule) = self.settings().map(|settings| settings.trace) else { return };
        let wanted = (rule, self.records());
        if wanted == self.trace_wanted {
            return;
        }
        self.trace_wanted = wanted;
        self.trace = match rule {
            Rule::Off | Rule::Pass => None,
            Rule::Ignore if !self.records() => None,
            _ => {
                let span = self.trace.as_ref().map_or_else(span, |trace| trace.span);
                let headers = &session.req_header().headers;
                let said = rule.extracts().then(|| Trace::of(headers, span)).flatten();
                Some(Box::new(said.unwrap_or_else(|| self.begin_trace(span))))
            }
        };
    }

    fn begin_trace(&self, span: u64) -> Trace {
        let id = trace_id();
        let sampled = match self.runtime.config.otlp.as_ref().filter(|_| self.records()) {
            // The lower half decides, whose bits are random whoever makes an id.
            Some(otlp) => (id as u64) % 10_000 < u64::from(otlp.sample),
            // Who is told of a trace is to choose, and would not without it.
            None => true,
        };
        Trace::begin(id, span, if sampled { SAMPLED } else { 0 })
    }

    /// Whether the route's traces are exported.
    fn records(&self) -> bool {
        let recorded = || self.settings().is_some_and(|settings| settings.record);
        self.runtime.config.otlp.is_some() && recorded()
    }

    /// An attempt is a part of the trace where it is exported; else the request is.
    pub(super) fn begin_span(&mut self) {
        let exported = self.trace.as_ref().is_some_and(|trace| trace.flags & SAMPLED != 0);
        self.attempt_span = if exported && self.records() { span() } else { 0 };
    }

    fn span_of_attempt(&self, trace: &Trace) -> u64 {
        if self.attempt_span == 0 { trace.span } else { self.attempt_span }
    }

    /// Tells the upstream of the trace.
    pub(super) fn write_trace(&self, head: &mut impl PeerHead) -> Result<()> {
        let (rule, _) = self.trace_wanted;
        if rule != Rule::Off && !rule.injects() {
            return Ok(());
        }
        head.remove(&TRACEPARENT);
        head.remove(&TRACESTATE);
        let Some(trace) = self.trace.as_deref().filter(|_| rule.injects()) else { return Ok(()) };
        if let Some(value) = trace.traceparent(self.span_of_attempt(trace)) {
            head.set(&TRACEPARENT, value)?;
        }
        if let Some(value) = trace.tracestate() {
            head.set(&TRACESTATE, value)?;
        }
        Ok(())
    }
}

/// A new trace's id; 0 is none.
fn trace_id() -> u128 {
    fastrand::u128(1..)
}

/// A new span's id; 0 is none.
pub(super) fn span() -> u64 {
    fastrand::u64(1..)
}
