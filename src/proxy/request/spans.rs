//! What a request and its attempts leave in a trace that is exported.

use std::time::SystemTime;

use http::header;

use super::{Client, Exchange};
use crate::exchange::failure::Failure;
use crate::exchange::path;
use crate::exchange::trace::{SAMPLED, Trace};
use crate::observe::access::Attempt;
use crate::observe::otlp::{Side, Span, Value};

impl Exchange {
    /// Hands the spans of the request over.
    pub(super) fn export(&self, session: &dyn Client) {
        let Some(exporter) = &self.runtime.exporter else { return };
        let recorded = self.settings().is_some_and(|settings| settings.record);
        let trace = self.trace.as_deref().filter(|trace| trace.flags & SAMPLED != 0);
        if let Some(trace) = trace.filter(|_| recorded) {
            let began = SystemTime::now().checked_sub(self.began.elapsed());
            let began = began.unwrap_or(SystemTime::UNIX_EPOCH);
            let id = u128::from_str_radix(&trace.id, 16).unwrap_or_default();
            let base = Span {
                trace: id,
                id: trace.span,
                parent: trace.parent.map(|parent| parent.span),
                state: trace.state.clone().unwrap_or_default(),
                side: Side::Server,
                name: session.req_header().method.to_string(),
                began,
                time: self.began.elapsed(),
                attributes: Vec::new(),
                failed: None,
            };
            let tries = self.attempts.iter().enumerate();
            let mut spans: Vec<Span> =
                tries.map(|(n, attempt)| of_attempt(&base, trace, n, attempt)).collect();
            spans.push(self.of_request(session, base));
            exporter.export(spans);
        }
    }

    fn of_request(&self, session: &dyn Client, base: Span) -> Span {
        let request = session.req_header();
        let status = self.final_status(session);
        let text = |bytes: &[u8]| Value::Text(String::from_utf8_lossy(bytes).into_owned());
        // The query may hold what is nobody's business.
        let path = path::split(request.raw_path()).0;
        let mut attributes = vec![
            ("http.request.method", text(request.method.as_str().as_bytes())),
            ("url.path", text(path)),
            ("http.response.status_code", Value::Number(status.into())),
            ("robin.request_id", text(self.id.as_bytes())),
        ];
        if let Some(scene) = self.scene(session) {
            attributes.push(("url.scheme", text(scene.scheme.as_bytes())));
            attributes.push(("server.address", text(scene.asked.host.as_bytes())));
            let client = scene.client.map(|client| client.ip().to_canonical().to_string());
            attributes.extend(client.map(|client| ("client.address", Value::Text(client))));
        }
        if let Some(agent) = request.headers.get(header::USER_AGENT) {
            attributes.push(("user_agent.original", text(agent.as_bytes())));
        }
        if let Some(served) = self.served() {
            attributes.push(("robin.upstream", text(served.upstream.name().as_bytes())));
        }
        // A client that has left is no failure of the server's.
        let reason = self.failure.as_ref().filter(|_| status >= 500).map(Failure::to_string);
        let failed = reason.or_else(|| (status >= 500).then(String::new));
        if failed.is_some() {
            attributes.push(("error.type", Value::Text(status.to_string())));
        }
        Span { attributes, failed, ..base }
    }
}

/// The span of an attempt, a part of the request's.
fn of_attempt(request: &Span, trace: &Trace, nth: usize, attempt: &Attempt) -> Span {
    let measured = &attempt.measured;
    let mut attributes = vec![
        ("http.request.method", Value::Text(request.name.clone())),
        ("network.peer.address", Value::Text(attempt.address.to_string())),
    ];
    if nth > 0 {
        let nth = i64::try_from(nth).unwrap_or(i64::MAX);
        attributes.push(("http.request.resend_count", Value::Number(nth)));
    }
    if let Some(status) = attempt.status {
        attributes.push(("http.response.status_code", Value::Number(status.into())));
    }
    let error = attempt.error.as_deref().map(str::to_owned);
    let refused = attempt.status.filter(|status| *status >= 400);
    if let Some(status) = refused {
        attributes.push(("error.type", Value::Text(status.to_string())));
    } else if let Some(error) = &error {
        attributes.push(("error.type", Value::Text(error.clone())));
    }
    Span {
        id: if measured.span == 0 { fastrand::u64(1..) } else { measured.span },
        parent: Some(trace.span),
        side: Side::Client,
        began: request.began + measured.after,
        time: measured.end.unwrap_or(attempt.time).max(attempt.time),
        attributes,
        failed: error.or_else(|| refused.map(|_| String::new())),
        ..request.clone()
    }
}
