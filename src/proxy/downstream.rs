//! The client's connection, as Pingora reads and writes it.
//!
//! Wraps the socket to do what Pingora leaves out: small writes are gathered until a flush, so that
//! head and body of a short answer leave in one packet; what was read is kept long enough to see
//! the request line as the client wrote it; a head that Pingora's parser refuses is answered with
//! our page and can be logged; and a connection that is closed with a request body still
//! on its way is drained first, because closing it at once would reset it and lose the answer
//! (nginx's `lingering_close`).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::io::Io;
use crate::exchange::TlsFacts;

/// Writes below this many bytes are gathered; one of this size goes out by itself. A head and
/// a small body fit.
const GATHERED: usize = 4096;
/// How much of what was read is kept to look for the request line: Pingora reads no more at once.
const SEEN: usize = 64 * 1024;
/// nginx's `lingering_timeout` and `lingering_time`.
const LINGER_READ: Duration = Duration::from_secs(5);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// What is known of a connection beside its bytes; shared with the loop that serves it.
pub struct Connection {
    /// The client's end; none for a socket of the file system.
    pub client: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// The index of the listener that accepted it.
    pub listener: usize,
    /// What its TLS handshake has settled on; none without TLS.
    pub tls: Option<TlsFacts>,
    /// Whether the client speaks plain HTTP to a listener with TLS.
    pub plain_to_tls: bool,
    /// Makes the page for a head that was refused before any phase saw it.
    refuse: fn(u16, &str) -> Vec<u8>,
    /// Whether a head is being read: no phase of this request has run yet.
    in_head: AtomicBool,
    seen: Mutex<Seen>,
    /// The status of a refusal, 0 for none, and the bytes of its body.
    refused: AtomicU16,
    refused_bytes: AtomicU64,
    linger: AtomicBool,
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

impl Connection {
    /// A new connection between two ends, the client's first; `refuse` makes the page for a status and a request id.
    #[must_use]
    pub fn new(
        ends: Option<(SocketAddr, SocketAddr)>,
        listener: usize,
        refuse: fn(u16, &str) -> Vec<u8>,
    ) -> Self {
        Self {
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
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before each request is read.
    pub fn expect_head(&self) {
        self.in_head.store(true, Relaxed);
        let mut seen = self.seen();
        seen.head = if seen.exact { 0 } else { seen.bytes.len() };
    }

    /// To be called by the first phase; tells whether `parsed`, the head as Pingora shows it,
    /// begins with the line that the client wrote.
    ///
    /// Pingora escapes spaces and control bytes of a request line before it parses it; the line it
    /// then shows is one the client never wrote.
    pub(super) fn head_read(&self, parsed: &[u8], bodiless: bool) -> bool {
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
    pub(super) fn linger(&self) {
        self.linger.store(true, Relaxed);
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

    fn saw(&self, bytes: &[u8]) {
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

/// The stream that Pingora gets.
pub struct Downstream {
    io: Option<Io>,
    /// Bytes gathered for the next flush, and how many of them are written already.
    out: Vec<u8>,
    written: usize,
    /// How many writes are gathered.
    writes: usize,
    connection: Arc<Connection>,
    /// The id that a page for a refused head shows.
    refusal_id: String,
    digest: Arc<SocketDigest>,
}

impl Downstream {
    /// Wraps an accepted connection. `refusal_id` is the request id of a head that is refused.
    #[must_use]
    pub fn new(io: Io, connection: Arc<Connection>, refusal_id: String) -> Self {
        let digest = Arc::new(SocketDigest::from_raw_fd(io.as_raw_fd()));
        let out = Vec::with_capacity(GATHERED);
        Self { io: Some(io), out, written: 0, writes: 0, connection, refusal_id, digest }
    }

    /// What is known of the connection beside its bytes.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn io(&mut self) -> io::Result<Pin<&mut Io>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn gather(&mut self, bytes: &[u8]) -> usize {
        self.out.extend_from_slice(bytes);
        self.writes += 1;
        bytes.len()
    }

    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let Some(io) = self.io.as_mut() else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match ready!(Pin::new(io).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.out.clear();
        self.written = 0;
        self.writes = 0;
        Poll::Ready(Ok(()))
    }

    /// Puts our page in the place of Pingora's bare answer to a head that its parser refused.
    fn refuse(&mut self, answer: &[u8]) {
        let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok());
        let status = status.and_then(|s| s.parse().ok()).unwrap_or(400);
        if self.connection.refused.swap(status, Relaxed) == 0 {
            let page = (self.connection.refuse)(status, &self.refusal_id);
            let body = page.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |p| p + 4);
            self.connection.refused_bytes.store((page.len() - body) as u64, Relaxed);
            self.out.extend_from_slice(&page);
            self.connection.linger();
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.io()?.poll_read(cx, buf);
        if read.is_pending() && self.writes > 1 {
            // Whoever waits for the client has nothing more to write just now: a part of a body that
            // comes slowly must not wait for the next. A head alone does, as in nginx. An error
            // will show at the next write.
            let _ = self.as_mut().poll_flush(cx);
        }
        ready!(read)?;
        self.connection.saw(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.connection.in_head.load(Relaxed) {
            self.refuse(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        if self.out.len() + buf.len() <= GATHERED {
            return Poll::Ready(Ok(self.gather(buf)));
        }
        ready!(self.poll_gathered(cx))?;
        if buf.len() < GATHERED {
            return Poll::Ready(Ok(self.gather(buf)));
        }
        self.io()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        self.io()?.poll_shutdown(cx)
    }
}

/// Reads and forgets what the client still sends, until it is done or the time is over.
async fn drain(mut io: Io) {
    let mut nothing = [0; 4096];
    let drained = async {
        if AsyncWriteExt::shutdown(&mut io).await.is_ok() {
            while let Ok(Ok(1..)) = timeout(LINGER_READ, io.read(&mut nothing)).await {}
        }
    };
    // Either way the socket closes now.
    let _ = tokio::time::timeout_at(Instant::now() + LINGER_IN_ALL, drained).await;
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if self.connection.linger.load(Relaxed)
            && let Some(io) = self.io.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(drain(io));
        }
    }
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downstream")
            .field("client", &self.connection.client)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        self.io.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Ssl for Downstream {}
impl Peek for Downstream {}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
