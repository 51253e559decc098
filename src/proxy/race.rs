//! A second attempt beside the first (`hedge`): the same request to another peer, once the first takes
//! longer than nearly all do.
//!
//! It runs outside of Pingora, over a connection of its own, until the first bytes of an answer are
//! here. If they come before the first peer's, the first connection is ended, Pingora asks for another
//! attempt, and gets this connection: what was sent over it is not sent again, and what was read
//! is read once more. Else it is dropped, which closes the connection and gives its peer back. An
//! answer that says that the server failed wins nothing: the first peer's may be better.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::dial::Dialer;
use super::socket::Socket;
use super::wire::Wire;
use crate::health::{Outcome, Tick};
use crate::observe::event;
use crate::upstream::{Connection as _, Lease, Peer, Upstream};

/// As much of an answer as says its status: `HTTP/1.1 200`.
const STATUS: usize = 12;

/// The second attempt, from the moment on at which it is decided when it would begin. It ends when
/// dropped.
#[derive(Debug)]
pub(super) struct Race {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    second: Mutex<Second>,
}

const OPEN: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// How far the second attempt is.
#[derive(Debug, Default)]
struct Second {
    /// None before.
    begun: Option<Begun>,
    winner: Option<Winner>,
}

/// An attempt that has begun.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) peer: Peer,
    pub(super) at: Instant,
    /// Whether it has a connection.
    pub(super) connected: bool,
}

/// A connection over which an answer has begun to come.
#[derive(Debug)]
pub(super) struct Winner {
    pub(super) lease: Lease,
    pub(super) began: Instant,
    pub(super) connection: Ahead,
}

impl Race {
    /// Begins a second attempt at `at`, with the peer that `pick` gives then, unless one of the
    /// attempts has won before. When it wins it ends `first`.
    pub(super) fn begin(
        at: Instant,
        first: Arc<Wire>,
        dialer: Dialer,
        head: Bytes,
        pick: impl Fn() -> Option<Lease> + Send + 'static,
        failed: Vec<u16>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let Some(lease) = pick() else { return };
            let began = Instant::now();
            let (peer, connected) = (Peer::clone(&lease), false);
            ours.second().begun = Some(Begun { peer, at: began, connected });
            let dialer = dialer.to(&lease);
            let connected = || {
                ours.second().begun.iter_mut().for_each(|begun| begun.connected = true);
            };
            let asked = ask(&dialer, &head, connected).await;
            let (socket, read) = match asked {
                Ok(answered) => answered,
                Err(outcome) => return tell(dialer.upstream(), &lease, outcome),
            };
            let status = status(&read);
            if status >= 500 || failed.contains(&status) {
                return tell(dialer.upstream(), &lease, Outcome::Failure);
            }
            let connection = Ahead { socket, read: read.freeze() };
            ours.second().winner = Some(Winner { lease, began, connection });
            if ours.decide(SECOND) {
                first.cut();
            } else {
                ours.second().winner = None;
            }
        });
        Self { shared, task: task.abort_handle() }
    }

    /// The first attempt has an answer; false if the second had one before.
    pub(super) fn end(&self) -> bool {
        self.shared.decide(FIRST)
    }

    /// The second attempt, where it has won.
    pub(super) fn winner(&self) -> Option<Winner> {
        if self.shared.state.load(Relaxed) != SECOND {
            return None;
        }
        self.shared.second().winner.take()
    }

    /// The second attempt, if it began.
    pub(super) fn begun(&self) -> Option<Begun> {
        self.shared.second().begun.clone()
    }
}

impl Drop for Race {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn decide(&self, state: u8) -> bool {
        self.state.compare_exchange(OPEN, state, Relaxed, Relaxed).is_ok()
    }

    fn second(&self) -> MutexGuard<'_, Second> {
        // Whole values are put there: a poisoned one is as good as any.
        self.second.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the request and reads until the status of an answer is here.
async fn ask(
    dialer: &Dialer,
    head: &[u8],
    connected: impl FnOnce(),
) -> Result<(Socket, BytesMut), Outcome> {
    let mut socket = dialer.open().await.map_err(|_| Outcome::ConnectFailure)?;
    connected();
    let failed = |_| Outcome::Failure;
    socket.write_all(head).await.map_err(failed)?;
    socket.flush().await.map_err(failed)?;
    let mut read = BytesMut::with_capacity(4096);
    while read.len() < STATUS {
        if socket.read_buf(&mut read).await.map_err(failed)? == 0 {
            return Err(Outcome::Failure);
        }
    }
    Ok((socket, read))
}

/// The status of an answer; 0 where it is none.
fn status(answer: &[u8]) -> u16 {
    let digits = answer.get(9..STATUS).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn tell(upstream: &Upstream, peer: &Peer, outcome: Outcome) {
    if let Some(change) = upstream.report(peer, outcome, Tick::now()) {
        event::peer(upstream.name(), &change);
    }
}

/// A connection that the request has gone out on already.
#[derive(Debug)]
pub(super) struct Ahead {
    socket: Socket,
    /// What has come of the answer.
    read: Bytes,
}

impl Ahead {
    /// What gives this connection to Pingora, once.
    pub(super) fn connector(self, peer: &Peer) -> Arc<dyn Connect + Send + Sync> {
        Arc::new(Taken { peer: peer.clone(), connection: Mutex::new(Some(self)) })
    }
}

/// Gives the connection that has won in place of a new one.
#[derive(Debug)]
struct Taken {
    peer: Peer,
    connection: Mutex<Option<Ahead>>,
}

#[async_trait]
impl Connect for Taken {
    async fn connect(&self, _: &Address) -> Result<Stream> {
        let taken = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ahead) = taken else {
            return Error::e_explain(ErrorType::ConnectError, "the connection was taken before");
        };
        let descriptor = ahead.socket.descriptor();
        let mut stream = Stream::from(VirtualSocketStream::new(Box::new(ahead)));
        Wire::attach(&mut stream, descriptor, &self.peer)?;
        Ok(stream)
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    /// The request has no body: what is written is its head once more.
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl VirtualSocket for Ahead {
    /// The connect has set what is to be set.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
