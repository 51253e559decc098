//! What is known of a client's connection beside its bytes.
//!
//! Pingora owns the stream; the phases of a request and the loop that serves the connection only
//! meet this. They tell it here what is to be done with the bytes, and learn what became of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outgoing::{Keep, Pace, Sending};
use crate::exchange::TlsFacts;
use crate::exchange::head::Malformed;
use crate::exchange::proxy_protocol::Said;
use crate::exchange::raw::Absolute;
use crate::observe::counters;

/// How much of a request line is kept for the log.
const LINE: usize = 64 * 1024;

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
    /// How many of them the client has given up before their answers.
    given_up: AtomicU64,
    /// The index of the listener that accepted it.
    pub listener: usize,
    /// What a proxy before this one says of it; none where the listener asks for no such header.
    pub proxied: Option<Box<Said>>,
    /// What its TLS handshake has settled on; none without TLS.
    pub tls: Option<Box<TlsFacts>>,
    /// Whether the client speaks plain HTTP to a listener with TLS.
    pub plain_to_tls: bool,
    /// Makes the page for a head that was refused before any phase saw it.
    pub(super) refuse: fn(u16, &str) -> Vec<u8>,
    /// Whether a head is being read: no phase of this request has run yet.
    in_head: AtomicBool,
    begun: Mutex<Begun>,
    /// Whether another protocol is spoken.
    upgraded: AtomicBool,
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
    /// Whether it is to be closed after the next answer.
    leaving: AtomicBool,
    /// None where it leads to the status listener.
    counted: Option<counters::Open>,
}

/// The head that is being read.
#[derive(Default)]
pub(in crate::proxy) struct Begun {
    /// Its first line as far as it has come.
    line: Vec<u8>,
    /// Whether it was judged as the client wrote it.
    pub(in crate::proxy) judged: bool,
    /// Its target in absolute form, if it has one.
    pub(in crate::proxy) absolute: Option<Absolute>,
    /// Whether some of it had come before the request before it was answered.
    pub(in crate::proxy) pipelined: bool,
    /// Why it is refused.
    why: Option<Malformed>,
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
    /// What is wrong with its request line.
    pub why: Option<Malformed>,
}

/// How Pingora ends a body in chunks.
pub(in crate::proxy) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Connection {
    /// A new connection between two ends, the client's first; `refuse` makes the page for a status
    /// and a request id. Unless it is `counted`, none of its requests is.
    #[must_use]
    pub fn new(
        ends: Option<(SocketAddr, SocketAddr)>,
        listener: usize,
        counted: bool,
        refuse: fn(u16, &str) -> Vec<u8>,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            since: Instant::now(),
            requests: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            client: ends.map(|(client, _)| client),
            local: ends.map(|(_, local)| local),
            proxied: None,
            tls: None,
            plain_to_tls: false,
            listener,
            refuse,
            in_head: AtomicBool::new(true),
            begun: Mutex::default(),
            upgraded: AtomicBool::new(false),
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
            leaving: AtomicBool::new(false),
            counted: counted.then(counters::Open::begin),
        }
    }

    /// Another with the same facts, for a request that does not read or write this one.
    #[must_use]
    pub(in crate::proxy) fn twin(&self) -> Self {
        let twin = Self::new(None, self.listener, false, self.refuse);
        twin.in_head.store(false, Relaxed);
        Self {
            client: self.client,
            local: self.local,
            number: self.number,
            since: self.since,
            tls: self.tls.clone(),
            plain_to_tls: self.plain_to_tls,
            ..twin
        }
    }

    /// Whether it and its requests are counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Whether it has had no request yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.requests.load(Relaxed) == 0
    }

    /// Has every answer from now on say that it is the last one.
    pub fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    /// Whether the next answer is the last one.
    pub(in crate::proxy) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    fn head(&self) -> std::sync::MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; returns how many there were, this one counted.
    pub(in crate::proxy) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }

    /// Takes note of a request that the client has given up before its answer.
    pub(in crate::proxy) fn count_given_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    /// How many requests there were, and how many of them the client has given up.
    #[must_use]
    pub fn given_up(&self) -> (u64, u64) {
        (self.requests.load(Relaxed), self.given_up.load(Relaxed))
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
    }

    /// Whether nothing of a request has come since the last one ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_in_head() && self.head().line.is_empty()
    }

    /// To be called by the first phase; tells what is known of the head. Where its target was in
    /// absolute form, Pingora has got the origin form.
    pub(in crate::proxy) fn head_read(&self) -> Begun {
        self.in_head.store(false, Relaxed);
        std::mem::take(&mut *self.head())
    }

    /// Takes note of the head that has come so far.
    pub(super) fn begun(&self, bytes: &[u8]) {
        let mut line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        line = &line[..line.len().min(LINE)];
        let head = &mut *self.head();
        head.line.clear();
        head.line.extend_from_slice(line);
    }

    /// Takes note of a head whose request line is sound.
    pub(super) fn judged(&self, absolute: Option<Absolute>, pipelined: bool) {
        let head = &mut *self.head();
        if let Some(absolute) = &absolute {
            head.line.clone_from(&absolute.line);
        }
        (head.judged, head.absolute, head.pipelined) = (true, absolute, pipelined);
    }

    /// Whether all of the present head was given to Pingora.
    pub(super) fn is_judged(&self) -> bool {
        self.head().judged
    }

    /// Takes note of why a head is refused.
    pub(super) fn refused_for(&self, why: Malformed) {
        self.head().why = Some(why);
    }

    /// To be called when another protocol follows.
    pub(in crate::proxy) fn upgrade(&self) {
        self.upgraded.store(true, Relaxed);
        self.body_read(false);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    /// Asks for the connection to be drained before it is closed.
    pub(in crate::proxy) fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    /// Whether a head is being read.
    pub(super) fn is_in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    /// To be called when the request's body has been read: what the client sends from now on belongs to the next request.
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
    /// `min_rate` is what it has to take in bytes a second; 0 for any.
    pub(in crate::proxy) fn set_send_timeout(&self, timeout: Duration, min_rate: u64) {
        let mut sending = self.sending();
        (sending.timeout, sending.min_rate) = (timeout, min_rate);
    }

    /// How fast the answer that follows goes out.
    pub(in crate::proxy) fn set_pace(&self, pace: Option<Pace>) {
        self.sending().pace = pace;
    }

    /// Lets the answer that follows wait for the client here, within these limits.
    pub(in crate::proxy) fn keep(&self, keep: Keep) {
        let mut sending = self.sending();
        (sending.keep, sending.rest) = (Some(keep), None);
        drop(sending);
        self.keeping.store(true, Relaxed);
    }

    /// Makes the next flush wait until the client has got everything; tells whether there is
    /// something to wait for.
    pub(in crate::proxy) fn deliver(&self) -> bool {
        if !self.keeping.swap(false, Relaxed) {
            return false;
        }
        let mut sending = self.sending();
        sending.rest = sending.keep.take();
        drop(sending);
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
        let head = self.head();
        let line = head.line.strip_suffix(b"\r").unwrap_or(&head.line).to_vec();
        let status = match self.refused.load(Relaxed) {
            0 if line.is_empty() => return None,
            0 if timed_out => 408,
            0 => 400,
            status => status,
        };
        Some(Refusal {
            status,
            line,
            body_bytes: self.refused_bytes.load(Relaxed),
            id,
            why: head.why,
        })
    }
}
