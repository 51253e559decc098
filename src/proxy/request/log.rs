//! The lines of the access logs, once a request has ended.

use std::cell::RefCell;
use std::time::SystemTime;

use http::header;

use super::{Client, Exchange, connection};
use crate::config::model::{LogPath, LogStyle, Preset, RequestLog};
use crate::exchange::failure::Failure;
use crate::exchange::log::{Ended, asks_variables};
use crate::exchange::variables::Facts;
use crate::health::clock;
use crate::observe::access::{Record, RequestLine};
use crate::observe::counters::OWN;
use crate::proxy::Runtime;

/// A line is some 300 bytes; one with a very long path must not hold its memory for ever.
const KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Exchange {
    /// Writes the lines of the access logs.
    pub(in crate::proxy) fn end(&mut self, session: &dyn Client) {
        self.lease = None;
        self.course.slots.clear();
        self.tell_end();
        if self.return_word(session) {
            return;
        }
        if session.is_http2()
            && self.final_status(session) == 499
            && let Some(connection) = connection(session)
        {
            connection.count_given_up();
        }
        #[cfg(feature = "otlp")]
        self.export(session);
        if self.counted.is_some() {
            let requests = self.served().map_or(&OWN, |served| &served.upstream.tally().requests);
            requests.count(self.final_status(session), clock::since(self.began));
        }
        let logs = self.settings().and_then(|settings| settings.access_logs.as_deref());
        let Some(logs) = logs else {
            if !self.runtime.access_log.is_off() {
                let log = &self.runtime.access_log;
                self.record(session, |record| log.write(record, Preset::Robin));
            }
            return;
        };
        if logs.is_empty() {
            return;
        }
        let failed = self.final_status(session) >= 500 || self.failure.is_some();
        let ended = Ended { id: &self.id, failed };
        // What variables say need not be ready for logs that ask for none.
        let asked = logs.iter().any(asks_variables);
        let scene = asked.then(|| self.scene(session)).flatten();
        let facts = scene.as_ref().map(|scene| scene.with(&self.course));
        for log in logs {
            if let Some(preset) = write(log, ended, facts.as_ref(), &self.runtime) {
                let to = &self.runtime.logs[log.to];
                self.record(session, |record| to.write(record, preset));
            }
        }
    }

    /// What robin's own formats say of the request.
    fn record(&self, session: &dyn Client, write: impl FnOnce(&Record<'_>)) {
        let request = session.req_header();
        let reason = self.failure.as_ref().map(Failure::to_string);
        write(&Record {
            client: self
                .client
                .or(connection(session).and_then(|c| c.client))
                .map(|client| client.ip().to_canonical()),
            user: None,
            at: SystemTime::now(),
            request: match &self.kept.line {
                Some(line) => RequestLine::Raw(line),
                None => RequestLine::Parsed {
                    method: &request.method,
                    target: request.raw_path(),
                    version: request.version,
                },
            },
            status: self.final_status(session),
            body_bytes: self.body_bytes_sent(session),
            host: self.asked.as_ref().map(|asked| &*asked.host).filter(|host| !host.is_empty()),
            referer: request.headers.get(header::REFERER),
            user_agent: request.headers.get(header::USER_AGENT),
            upstream: self.served().map(|served| served.upstream.name()),
            attempts: &self.attempts,
            time: clock::since(self.began),
            id: &self.id,
            trace_id: self.trace.as_ref().map(|trace| &*trace.id),
            reason: reason.as_deref(),
        });
    }
}

/// Writes a line into a route's log, if it wants one; in which of robin's own formats it is still to be
/// written, where it has one of these.
pub(in crate::proxy) fn write(
    log: &RequestLog,
    ended: Ended<'_>,
    facts: Option<&Facts<'_>>,
    runtime: &Runtime,
) -> Option<Preset> {
    if !ended.is_sampled(log) || facts.is_some_and(|facts| !facts.is_logged(log)) {
        return None;
    }
    let format = match &log.style {
        LogStyle::Preset(preset) => return Some(*preset),
        LogStyle::Format(format) => format,
    };
    let facts = facts?;
    let name = match runtime.config.logs.get(log.to) {
        Some(LogPath::Template(path)) => Some(facts.text(path)),
        _ => None,
    };
    if let Some(to) = runtime.logs.get(log.to) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            facts.append_line(format, line);
            to.write_line(line, name.as_deref());
            line.shrink_to(KEPT_BYTES);
        });
    }
    None
}
