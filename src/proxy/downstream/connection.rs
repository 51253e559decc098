//! What is known of a client's connection beside its bytes.
//!
//! Pingora owns the stream; the phases of a request and the loop that serves the connection only
//! meet this. They tell it here what is to be done with the bytes, and learn what became of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outgoing::{Keep, Sending};
use crate::exchange::TlsFacts;
use crate::proxy::counters;

/// How much of what was read is kept to look for the request line: Pingora reads no more at once.
const SEEN: usize = 64 * 1024;

/// What is known of a connection beside its bytes; shared with the loop that serves it.
pub struct Connection {
    /// The client's end; none for a socket of the file system.
    pub client: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Its number in this process.
    pub number: u64,
    /// When it was made.
    pub since: Instant,
    /// How many requests it has had.
    requests: AtomicU64,
    /// The index of the listener that accepted it.
    pub listener: usize,
    /// What its TLS handshake has settled on; none without TLS.
    pub tls: Option<TlsFacts>,
    /// Whether the client speaks plain HTTP to a listener with TLS.
    pub plain_to_tls: bool,
    /// Makes the page for a head that was refused before any phase saw it.
    pub(super) refuse: fn(u16, &str) -> Vec<u8>,
    /// Whether a head is being read: no phase of this request has run yet.
    in_head: AtomicBool,
    seen: Mutex<Seen>,
    /// The status of a refusal, 0 for none, and the bytes of its body.
    pub(super) refused: AtomicU16,
    pub(super) refused_bytes: AtomicU64,
    pub(super) linger: AtomicBool,
    /// Whether the body of the request was read: what comes belongs to the next one.
    body_read: AtomicBool,
    /// Whether the answer is waited for although the client has left.
    patient: AtomicBool,
    /// Whether the body that is read again is to be read from its beginning.
    rewind: AtomicBool,
    /// Whether a flush may leave bytes waiting for the client.
    keeping: AtomicBool,
    /// How many bytes wait for the client.
    waiting: AtomicU64,
    pub(super) sending: Arc<Mutex<Sending>>,
    /// What is sent behind the last chunk of the present answer, as lines of a head.
    trailers: Mutex<Vec<u8>>,
    _counted: counters::Open,
}

/// What was read last and may belong to a head that is yet to be parsed: the head of a pipelined
/// request may come in one read with the end of a body before it.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    /// Where the present request's bytes begin, as far as is known.
    head: usize,
    /// Whether what is left here begins with the next request.
    exact: bool,
}

/// A request that was refused before any phase saw it, for the access log.
pub struct Refusal {
    /// 400, 405 for CONNECT, or 408.
    pub status: u16,
    /// The first line as it came.
    pub line: Vec<u8>,
    /// Bytes of the page's body that were sent.
    pub body_bytes: u64,
    /// The id that the page shows.
    pub id: String,
}

/// How Pingora ends a body in chunks.
pub(in crate::proxy) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Connection {
    /// A new connection between two ends, the client's first; `refuse` makes the page for a status
    /// and a request id.
    #[must_use]
    pub fn new(
        ends: Option<(SocketAddr, SocketAddr)>,
        listener: usize,
        refuse: fn(u16, &str) -> Vec<u8>,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            since: Instant::now(),
            requests: AtomicU64::new(0),
            client: ends.map(|(client, _)| client),
            local: ends.map(|(_, local)| local),
            tls: None,
            plain_to_tls: false,
            listener,
            refuse,
            in_head: AtomicBool::new(true),
            seen: Mutex::default(),
            refused: AtomicU16::new(0),
            refused_bytes: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            body_read: AtomicBool::new(false),
            patient: AtomicBool::new(false),
            rewind: AtomicBool::new(false),
            keeping: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            sending: Arc::default(),
            trailers: Mutex::default(),
            _counted: counters::Open::new(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; returns how many there were, this one counted.
    pub(in crate::proxy) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }

    /// Sends these lines behind the last chunk, which is what is to be written next or, for an
    /// upstream's answer, behind pieces none of which looks like a part of it: Pingora's HTTP/1
    /// knows no trailers.
    pub(in crate::proxy) fn set_trailers(&self, lines: Vec<u8>) {
        *self.trailers.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// The last chunk with its trailers; none for any other bytes, and where there are none.
    pub(super) fn with_trailers(&self, written: &[u8]) -> Option<Vec<u8>> {
        if written != LAST_CHUNK {
            return None;
        }
        let lines = self.trailers.lock().unwrap_or_else(PoisonError::into_inner);
        (!lines.is_empty()).then(|| [b"0\r\n", &lines[..], b"\r\n"].concat())
    }

    /// To be called before each request is read.
    pub fn expect_head(&self) {
        self.in_head.store(true, Relaxed);
        self.body_read.store(false, Relaxed);
        let mut seen = self.seen();
        seen.head = if seen.exact { 0 } else { seen.bytes.len() };
    }

    /// Whether nothing of a request has come since the last one ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let seen = self.seen();
        self.is_in_head() && seen.bytes.len() <= seen.head
    }

    /// To be called by the first phase; tells whether `parsed`, the head as Pingora shows it,
    /// begins with the line that the client wrote.
    ///
    /// Pingora escapes spaces and control bytes of a request line before it parses it; the line it
    /// then shows is one the client never wrote.
    pub(in crate::proxy) fn head_read(&self, parsed: &[u8], bodiless: bool) -> bool {
        self.in_head.store(false, Relaxed);
        let mut seen = self.seen();
        let line = parsed.split(|b| *b == b'\n').next().unwrap_or_default();
        let found = if seen.bytes.starts_with(parsed) {
            Some(0)
        } else {
            seen.bytes.windows(line.len().max(1)).position(|window| window == line)
        };
        if let Some(start) = found {
            let end = (start + parsed.len()).min(seen.bytes.len());
            seen.bytes.drain(..end);
        }
        seen.exact = bodiless && found.is_some();
        // Escaping always leaves a percent sign.
        found.is_some() || !line.contains(&b'%')
    }

    /// Asks for the connection to be drained before it is closed.
    pub(in crate::proxy) fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    /// Whether a head is being read.
    pub(super) fn is_in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    /// To be called when the request's body has been read, and again with `false` when the
    /// connection is upgraded: what the client sends from now on belongs to the next request.
    pub(in crate::proxy) fn body_read(&self, read: bool) {
        self.body_read.store(read, Relaxed);
    }

    /// Whether Pingora only looks whether the client is still there.
    pub(super) fn is_body_read(&self) -> bool {
        self.body_read.load(Relaxed)
    }

    /// Says whether a client that leaves before its answer ends the request.
    pub(in crate::proxy) fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Relaxed);
    }

    pub(super) fn is_patient(&self) -> bool {
        self.patient.load(Relaxed)
    }

    /// Lets the body that was read come once more.
    pub(in crate::proxy) fn rewind(&self) {
        self.rewind.store(true, Relaxed);
    }

    pub(super) fn take_rewind(&self) -> bool {
        self.rewind.swap(false, Relaxed)
    }

    /// The time within which the client has to take something.
    pub(in crate::proxy) fn set_send_timeout(&self, timeout: Duration) {
        self.sending().timeout = timeout;
    }

    /// Lets the answer that follows wait for the client here, within these limits.
    pub(in crate::proxy) fn keep(&self, keep: Keep) {
        self.sending().keep = Some(keep);
        self.keeping.store(true, Relaxed);
    }

    /// Makes the next flush wait until the client has got everything; tells whether there is
    /// something to wait for.
    pub(in crate::proxy) fn deliver(&self) -> bool {
        if !self.keeping.swap(false, Relaxed) {
            return false;
        }
        self.sending().keep = None;
        self.waiting() > 0
    }

    /// How many bytes were taken from Pingora and not by the client.
    pub(in crate::proxy) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    pub(super) fn set_waiting(&self, bytes: u64) {
        self.waiting.store(bytes, Relaxed);
    }

    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.load(Relaxed)
    }

    fn sending(&self) -> std::sync::MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to log when the connection ended while a head was being read; none when it was idle.
    #[must_use]
    pub fn refusal(&self, id: String, timed_out: bool) -> Option<Refusal> {
        if !self.in_head.load(Relaxed) {
            return None;
        }
        let seen = self.seen();
        let head = seen.bytes.get(seen.head..).unwrap_or_default();
        let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        let status = match self.refused.load(Relaxed) {
            0 if line.is_empty() => return None,
            0 if timed_out => 408,
            0 => 400,
            status => status,
        };
        Some(Refusal { status, line, body_bytes: self.refused_bytes.load(Relaxed), id })
    }

    pub(super) fn saw(&self, bytes: &[u8]) {
        let mut seen = self.seen();
        // A part of a body takes the place of the part before. While Pingora waits for an answer
        // it reads single bytes, of a request behind this one.
        if !self.in_head.load(Relaxed) && bytes.len() > 1 {
            seen.bytes.clear();
            seen.exact = false;
        }
        seen.bytes.extend_from_slice(bytes);
        if let Some(surplus) = seen.bytes.len().checked_sub(SEEN) {
            seen.bytes.drain(..surplus);
            seen.head = seen.head.saturating_sub(surplus);
        }
    }
}
