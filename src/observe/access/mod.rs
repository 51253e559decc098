//! The access log: one line a request, every attempt in it.
//!
//! A public format: adding a key is free, renaming one is a breaking change. A line is nginx's
//! `combined` followed by `key=value` pairs in this order:
//!
//! ```text
//! 127.0.0.1 - - [21/Nov/2026:06:40:11 +0000] "GET /api/hello HTTP/1.1" 200 13 "-" "curl/7.88" upstream=back-end attempts="172.18.0.4:5252 - 0.001 connect refused, 172.18.0.5:5252 200 0.004" time=0.005 id=9f31c0
//! ```
//!
//! | Key | Means |
//! | --- | --- |
//! | `upstream` | the upstream's name, `-` where no route was found |
//! | `attempts` | `address status seconds`, and an error where there was one, for each attempt in turn, separated by `, `; a status of `-` means no answer; `-` alone means no attempt |
//! | `time` | seconds from the first byte of the request to the end of the answer |
//! | `id` | the request's id, which error pages show too |
//! | `reason` | why the request failed; only on failures |
//! | `trace_id` | the trace that it belongs to; only where there is one |
//!
//! What is missing is `-`. Text is escaped as in nginx; in an attempt's error a comma is escaped
//! too, so that `, ` always separates attempts. The status is 499 where the client left.
//!
//! The same as an object of JSON is in `json`.

mod far;
mod json;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Version};

use self::far::{ByName, Packed, ToSyslog};
use super::queue::Queue;
use super::sink::Sink;
use super::stamp::{AccessStamp, IsoStamp, local_zone};
use super::text::{
    protocol, push_decimal, push_escaped, push_hex, push_ip, push_peer, push_seconds, push_value,
};
use super::{counters, event};
use crate::config::model::{self, LogPath, Preset};
use crate::upstream::PeerAddress;

/// What one line says.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The client; none for a Unix socket, which prints `unix:` as in nginx.
    pub client: Option<IpAddr>,
    /// The name from Basic authentication, never its password.
    pub user: Option<&'a [u8]>,
    /// When the request ended.
    pub at: SystemTime,
    /// The request line.
    pub request: RequestLine<'a>,
    /// The status that the client got; 499 where it left before.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub body_bytes: u64,
    /// The host that was asked for; none where no head was understood.
    pub host: Option<&'a str>,
    /// The `Referer` header.
    pub referer: Option<&'a HeaderValue>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a HeaderValue>,
    /// The name of the upstream; none where no route was found.
    pub upstream: Option<&'a str>,
    /// Every attempt, in order.
    pub attempts: &'a [Attempt],
    /// How long the request took, from its first byte to the end of the answer.
    pub time: Duration,
    /// The request's id.
    pub id: &'a str,
    /// The trace that it belongs to, if there is one.
    pub trace_id: Option<&'a str>,
    /// Why the request failed, if it did.
    pub reason: Option<&'a str>,
}

/// What the client asked for.
#[derive(Clone, Copy, Debug)]
pub enum RequestLine<'a> {
    /// A request line that was understood.
    Parsed {
        /// The method.
        method: &'a Method,
        /// The path and query as the client sent them.
        target: &'a [u8],
        /// The version of HTTP.
        version: Version,
    },
    /// The first line as it came, because it was not understood; empty where none came.
    Raw(&'a [u8]),
}

/// One try at one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The peer.
    pub address: PeerAddress,
    /// The status of its answer, if one came.
    pub status: Option<u16>,
    /// How long it took, the connect included.
    pub time: Duration,
    /// What went wrong, if something did.
    pub error: Option<Cow<'static, str>>,
    /// What nginx's variables tell of it beyond that.
    pub measured: Measured,
}

/// What nginx's variables tell of a try at a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How long the connect took; none where there was no connection.
    pub connect: Option<Duration>,
    /// How long the head of the answer took.
    pub header: Option<Duration>,
    /// How long all of the answer took.
    pub end: Option<Duration>,
    /// Bytes of the answer's head.
    pub head_bytes: u64,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// The status that its failure would have for the client.
    pub failed: Option<u16>,
    /// Whether an internal redirect has led to it.
    pub redirected: bool,
    /// How long after the request it began.
    pub after: Duration,
    /// Its part of the trace; 0 where there is none.
    pub span: u64,
}

/// A handle on the access log. Cheap to clone; all clones write to one place.
#[derive(Clone)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("off", &self.is_off()).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// A log that goes nowhere.
    #[must_use]
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// The log that the configuration asks for.
    ///
    /// # Errors
    /// As [`AccessLog::stdout`] and [`AccessLog::file`].
    pub fn open(target: &model::AccessLog) -> io::Result<Self> {
        match target {
            model::AccessLog::Off => Ok(Self::off()),
            model::AccessLog::Stdout => Self::stdout(),
            model::AccessLog::File(path) => Self::file(path),
        }
    }

    /// The log that a route asks for.
    ///
    /// # Errors
    /// As [`AccessLog::file`].
    pub fn of_route(path: &LogPath) -> io::Result<Self> {
        match path {
            LogPath::Stdout => Self::stdout(),
            LogPath::Stderr => Self::to(Sink::stderr()?),
            LogPath::File(path) => Self::file(path),
            LogPath::Packed(path, level) => Self::to(Packed::new(Sink::open(path)?, *level)),
            LogPath::Template(_) => Self::to(ByName),
            LogPath::Syslog(syslog) => Self::to(ToSyslog::new(syslog.clone())),
        }
    }

    /// A log on standard output.
    ///
    /// # Errors
    /// Where standard output cannot be used or no thread can be started.
    pub fn stdout() -> io::Result<Self> {
        Self::to(Sink::stdout()?)
    }

    /// A log appended to a file, which is made where there is none.
    ///
    /// # Errors
    /// Where the file cannot be opened or no thread can be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::to(Sink::open(path)?)
    }

    fn to(sink: impl io::Write + Send + 'static) -> io::Result<Self> {
        let queue =
            Queue::start("access-log", sink, &counters::ACCESS_LINES_LOST, event::access_log)?;
        Ok(Self { queue: Some(Arc::new(queue)) })
    }

    /// Whether lines go nowhere, so that no record need be made.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.queue.is_none()
    }

    /// Hands a line to the writer. Never waits: where the writer does not keep up, the line is
    /// dropped and counted.
    pub fn write(&self, record: &Record<'_>, preset: Preset) {
        let Some(queue) = &self.queue else { return };
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { line, stamp, iso } = scratch;
            line.clear();
            match preset {
                Preset::Robin => format(line, record, stamp),
                Preset::Json => json::format(line, record, iso),
            }
            queue.push(line.as_slice().into());
            line.shrink_to(Scratch::KEPT_BYTES);
        });
    }

    /// Hands over a line that ends in a newline, for a file of this name where the log is one whose
    /// name requests decide.
    pub fn write_line(&self, line: &[u8], name: Option<&[u8]>) {
        let Some(queue) = &self.queue else { return };
        match name {
            Some(name) => queue.push(far::frame(name, line).into()),
            None => queue.push(line.into()),
        }
    }

    /// Writes what was handed over and ends the writer; true where that was done in time. Blocks
    /// the thread, but no longer than `limit`. Lines handed over later are lost.
    #[must_use]
    pub fn close(&self, limit: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.close(limit))
    }
}

/// What a thread keeps from one line to the next.
struct Scratch {
    line: Vec<u8>,
    stamp: AccessStamp,
    iso: IsoStamp,
}

impl Scratch {
    /// A line is some 300 bytes; one with a very long path must not hold its memory for ever.
    const KEPT_BYTES: usize = 16 * 1024;
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        line: Vec::new(),
        stamp: AccessStamp::new(local_zone()),
        iso: IsoStamp::new(local_zone()),
    });
}

/// Appends the line of `record` with its newline.
fn format(out: &mut Vec<u8>, record: &Record<'_>, stamp: &mut AccessStamp) {
    match record.client {
        Some(client) => push_ip(out, client),
        None => out.extend_from_slice(b"unix:"),
    }
    out.extend_from_slice(b" - ");
    push_escaped(out, record.user.filter(|user| !user.is_empty()).unwrap_or(b"-"));
    out.push(b' ');
    out.extend_from_slice(stamp.at(record.at));
    out.extend_from_slice(b" \"");
    push_request(out, record.request);
    out.extend_from_slice(b"\" ");
    push_decimal(out, u64::from(record.status));
    out.push(b' ');
    push_decimal(out, record.body_bytes);
    for header in [record.referer, record.user_agent] {
        out.extend_from_slice(b" \"");
        push_escaped(out, header.map_or(b"-", HeaderValue::as_bytes));
        out.push(b'"');
    }
    out.extend_from_slice(b" upstream=");
    push_value(out, record.upstream.unwrap_or("-"));
    out.extend_from_slice(b" attempts=\"");
    push_attempts(out, record.attempts);
    out.extend_from_slice(b"\" time=");
    push_seconds(out, record.time);
    out.extend_from_slice(b" id=");
    push_value(out, record.id);
    if let Some(reason) = record.reason {
        out.extend_from_slice(b" reason=\"");
        push_escaped(out, reason.as_bytes());
        out.push(b'"');
    }
    if let Some(trace) = record.trace_id {
        out.extend_from_slice(b" trace_id=");
        push_value(out, trace);
    }
    out.push(b'\n');
}

fn push_request(out: &mut Vec<u8>, request: RequestLine<'_>) {
    match request {
        RequestLine::Parsed { method, target, version } => {
            push_escaped(out, method.as_str().as_bytes());
            out.push(b' ');
            push_escaped(out, target);
            out.push(b' ');
            out.extend_from_slice(protocol(version).as_bytes());
        }
        RequestLine::Raw(b"") => out.push(b'-'),
        RequestLine::Raw(line) => push_escaped(out, line),
    }
}

fn push_attempts(out: &mut Vec<u8>, attempts: &[Attempt]) {
    if attempts.is_empty() {
        out.push(b'-');
    }
    for (index, attempt) in attempts.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        push_peer(out, &attempt.address);
        out.push(b' ');
        match attempt.status {
            Some(status) => push_decimal(out, u64::from(status)),
            None => out.push(b'-'),
        }
        out.push(b' ');
        push_seconds(out, attempt.time);
        if let Some(error) = &attempt.error {
            out.push(b' ');
            for (index, part) in error.split(',').enumerate() {
                if index > 0 {
                    push_hex(out, b',');
                }
                push_escaped(out, part.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
