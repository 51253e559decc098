//! The client's connection, as Pingora reads and writes it.
//!
//! Wraps the socket to do what Pingora leaves out: small writes are gathered until a flush, so that
//! head and body of a short answer leave in one packet; what comes is taken apart into requests, each
//! judged as the client wrote it; a head that Pingora's parser refuses is answered with
//! our page and can be logged; and a connection that is closed with a request body still
//! on its way is drained first, because closing it at once would reset it and lose the answer
//! (nginx's `lingering_close`).

mod connection;
mod direct;
mod intake;
mod outgoing;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::io::Io;
use super::request::request_id;
use super::spool::Replay;
use crate::exchange::head::Malformed;
use intake::{Intake, Judged};
use outgoing::Outgoing;

pub(in crate::proxy) use connection::LAST_CHUNK;
pub use connection::{Connection, Refusal};
pub(in crate::proxy) use outgoing::{Keep, Pace, SLOW_SPAN};

/// How much is read at once where it has to be looked at.
const READ: usize = 8 * 1024;
/// nginx's `lingering_timeout` and `lingering_time`.
const LINGER_READ: Duration = Duration::from_secs(5);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// The stream that Pingora gets.
pub struct Downstream {
    io: Option<Io>,
    outgoing: Outgoing,
    /// The body of the present request, for each time it is sent to a peer.
    replay: Option<Replay>,
    intake: Intake,
    /// Why the present head is refused.
    refusing: Option<Malformed>,
    connection: Arc<Connection>,
    /// The id that a page for a refused head shows, and what Pingora keeps of the socket; none before Pingora reads.
    refusal_id: String,
    digest: Option<Arc<SocketDigest>>,
}

impl Downstream {
    /// Wraps an accepted connection.
    #[must_use]
    pub fn new(io: Io, connection: Arc<Connection>) -> Self {
        let mut new = Self::closed(connection);
        new.io = Some(io);
        new
    }

    /// One without a socket, to stand in for a while.
    pub(in crate::proxy) fn closed(connection: Arc<Connection>) -> Self {
        let outgoing = Outgoing::new(Arc::clone(&connection.sending));
        Self {
            io: None,
            outgoing,
            replay: None,
            intake: Intake::default(),
            refusing: None,
            connection,
            refusal_id: String::new(),
            digest: None,
        }
    }

    /// To be called before Pingora reads, which wants to know of the socket; tells the request id of a head that is
    /// refused.
    #[must_use]
    pub fn identify(&mut self) -> String {
        if let (None, Some(io)) = (&self.digest, &self.io) {
            self.digest = Some(Arc::new(SocketDigest::from_raw_fd(io.as_raw_fd())));
            self.refusal_id = request_id();
        }
        self.refusal_id.clone()
    }

    /// What is known of the connection beside its bytes.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Lets the body of the request be read again, and `behind` after it.
    pub(in crate::proxy) fn replay(&mut self, body: Replay, behind: Option<BytesMut>) {
        self.replay = Some(body);
        debug_assert!(behind.is_none_or(|b| b.is_empty()), "Pingora gets one message at a time");
    }

    /// Writes all that waits to the socket, as far as it has room.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let drained = self.outgoing.poll_drain(io, cx);
        self.connection.set_waiting(self.outgoing.waiting());
        drained
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_read(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads what is there and puts it away; tells how much that was.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(self.poll_socket(cx, &mut read))?;
        self.intake.keep(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Reads a body or the next head.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_upgraded() {
            self.intake.loosen();
        } else if self.connection.is_in_head() && !self.intake.is_ready() {
            if self.refusing.is_some() || self.connection.is_judged() || !self.intake.expect_head()
            {
                // Pingora takes a message for ended that is not, or a head for more than it is.
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            return self.poll_head(cx, buf);
        }
        if !self.intake.is_ready() {
            self.intake.free();
        }
        if self.intake.is_ready() {
            self.intake.give(buf);
            return Poll::Ready(Ok(()));
        }
        if let Some(most) = self.intake.straight() {
            let before = buf.filled().len();
            if buf.remaining() <= most {
                ready!(self.poll_socket(cx, buf))?;
            } else {
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
                ready!(self.poll_socket(cx, &mut part))?;
                let count = part.filled().len();
                buf.advance(count);
            }
            let count = buf.filled().len() - before;
            self.intake.read_straight(count);
            return Poll::Ready(Ok(()));
        }
        if self.intake.is_done() {
            return self.poll_presence(cx);
        }
        if self.intake.is_lost() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if ready!(self.poll_more(cx))? > 0 {
            self.intake.free();
            self.intake.give(buf);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a head: its first byte as soon as it comes, the rest once all of it was judged.
    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.connection.begun(self.intake.bytes());
            match self.intake.judge() {
                Some(Judged::Sound(absolute)) => {
                    self.connection.judged(absolute, self.intake.is_pipelined());
                }
                Some(Judged::Refused(why)) => {
                    self.refusing = Some(why);
                    self.connection.refused_for(why);
                }
                None => {}
            }
            if self.intake.is_ready() {
                self.intake.give(buf);
                return Poll::Ready(Ok(()));
            }
            if self.intake.give_first(buf) || ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Looks whether the client is still there while it waits for its answer. A byte of its next
    /// request stays here: Pingora, which would put it aside, would then look no more, and what
    /// waits for the client is written when it looks.
    fn poll_presence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.intake.is_empty() {
            return Poll::Pending;
        }
        let mut byte = [0; 1];
        let mut buf = ReadBuf::new(&mut byte);
        let read = ready!(self.poll_socket(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            return if self.connection.is_patient() { Poll::Pending } else { Poll::Ready(read) };
        }
        self.intake.keep(buf.filled());
        Poll::Pending
    }

    /// Puts our page in the place of Pingora's bare answer to a head that its parser refused.
    fn refuse(&mut self, answer: &[u8]) {
        let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok());
        let status = status.and_then(|s| s.parse().ok()).unwrap_or(400);
        let status = self.refusing.map_or(status, Malformed::status);
        if self.connection.refused.swap(status, Relaxed) == 0 {
            let page = (self.connection.refuse)(status, &self.refusal_id);
            let body = page.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |p| p + 4);
            self.connection.refused_bytes.store((page.len() - body) as u64, Relaxed);
            self.outgoing.push(&page);
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
        let this = &mut *self;
        if let Some(replay) = &mut this.replay {
            if this.connection.take_rewind() {
                replay.rewind();
            }
            let before = buf.filled().len();
            ready!(replay.poll_read(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if this.connection.is_in_head() {
                this.replay = None;
            }
        }
        let read = if this.connection.is_body_read() {
            this.poll_presence(cx)
        } else {
            this.poll_bytes(cx, buf)
        };
        if read.is_pending() && this.outgoing.is_due() {
            // Whoever waits for the client has nothing more to write just now: a part of a body that
            // comes slowly must not wait for the next. An error also shows at the next write.
            if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.connection.is_in_head() {
            self.refuse(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let this = &mut *self;
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(last) = this.connection.with_trailers(buf) else {
            return this.outgoing.poll_write(io, cx, buf);
        };
        // So few bytes are gathered: all are taken at once.
        let written = ready!(this.outgoing.poll_write(io, cx, &last))?;
        this.connection.set_trailers(Vec::new());
        let taken =
            if written == last.len() { Ok(buf.len()) } else { Err(io::ErrorKind::WriteZero) };
        Poll::Ready(taken.map_err(Into::into))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_drain(cx)? {
            Poll::Pending if self.connection.is_keeping() => Poll::Ready(Ok(())),
            drained => drained.map(Ok),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
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
        self.digest.clone()
    }
}
