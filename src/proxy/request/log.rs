//! The lines of the access logs, once a request has ended.

use std::cell::RefCell;
use std::time::SystemTime;

use http::header;
use pingora_proxy::Session;

use super::{Exchange, connection};
use crate::config::model::{LogPath, RequestLog};
use crate::exchange::failure::Failure;
use crate::exchange::variables::Facts;
use crate::observe::access::{Record, RequestLine};
use crate::proxy::Runtime;

/// A line is some 300 bytes; one with a very long path must not hold its memory for ever.
const KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Exchange {
    /// Writes the lines of the access logs.
    pub(in crate::proxy) fn end(&mut self, session: &Session) {
        self.lease = None;
        self.tell_end();
        let logs = self.settings().and_then(|settings| settings.access_logs.as_deref());
        let Some(logs) = logs else {
            if !self.runtime.access_log.is_off() {
                self.record(session, |record| self.runtime.access_log.write(record));
            }
            return;
        };
        if logs.is_empty() {
            return;
        }
        let Some(scene) = self.scene(session) else { return };
        let facts = scene.with(&self.course);
        for log in logs {
            if !write(log, &facts, &self.runtime) {
                self.record(session, |record| self.runtime.logs[log.to].write(record));
            }
        }
    }

    /// What robin's own format says of the request.
    fn record(&self, session: &Session, write: impl FnOnce(&Record<'_>)) {
        let request = session.req_header();
        let written = session.response_written().map(|r| r.status.as_u16());
        let reason = self.failure.as_ref().map(Failure::to_string);
        let failed = self.failure.as_ref().map(Failure::status);
        let written = written.filter(|s| *s >= 200 || *s == 101);
        // Closing without an answer has a status, too.
        let status = written.or(failed).or(self.course.status);
        write(&Record {
            client: self
                .client
                .or(connection(session).and_then(|c| c.client))
                .map(|client| client.ip().to_canonical()),
            user: None,
            at: SystemTime::now(),
            request: RequestLine::Parsed {
                method: &request.method,
                target: request.raw_path(),
                version: request.version,
            },
            status: status.unwrap_or(499),
            body_bytes: self.body_bytes_sent(session),
            referer: request.headers.get(header::REFERER),
            user_agent: request.headers.get(header::USER_AGENT),
            upstream: self.served().map(|served| served.upstream.name()),
            attempts: &self.attempts,
            time: self.began.elapsed(),
            id: &self.id,
            reason: reason.as_deref(),
        });
    }
}

/// Writes a line into a route's log; false where the log has robin's own format.
pub(in crate::proxy) fn write(log: &RequestLog, facts: &Facts<'_>, runtime: &Runtime) -> bool {
    if !facts.is_logged(log) {
        return true;
    }
    let Some(format) = &log.format else { return false };
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
    true
}
