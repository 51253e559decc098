//! A connection to a peer, as the express lane uses it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::timeout;

use super::idle::Idle;
use super::{Clock, with_space};
use crate::proxy::dial::{self, Dialer, Pooled};
use crate::proxy::request::Exchange;
use crate::proxy::socket::Socket;
use crate::proxy::wire::{Closing, Wire};
#[cfg(test)]
use crate::upstream::Peer;

/// A connection to a peer.
#[derive(Debug)]
pub(super) struct Line {
    // Dropped before the connection is closed.
    closing: Closing,
    pub(super) io: Socket,
    pub(super) wire: Arc<Wire>,
    /// Whether it has served a request before.
    pub(super) reused: bool,
    /// What its peer's appearance is known by.
    key: u64,
}

impl Line {
    fn new(io: Socket, exchange: &Exchange) -> Result<Self> {
        let lease = exchange.peer().ok_or_else(|| Error::new(ErrorType::InternalError))?;
        let (wire, closing) = Wire::watch(io.descriptor(), lease);
        let key = Pooled::Any.group_key(lease);
        Ok(Self { closing, io, wire, reused: false, key })
    }

    /// One to a peer.
    #[cfg(test)]
    pub(super) fn of(io: Socket, peer: &Peer) -> Self {
        let (wire, closing) = Wire::watch(io.descriptor(), peer);
        Self { closing, io, wire, reused: false, key: 0 }
    }

    /// The same connection for the worker of who calls; none where it has ended.
    pub(super) fn hand_over(self) -> Option<Self> {
        let Self { closing, io, wire, reused, key } = self;
        // Whoever wants to end it meanwhile says so to the wire alone.
        drop(closing);
        let io = io.hand_over().ok()?;
        let line = Self { closing: wire.watch_again(io.descriptor()), io, wire, reused, key };
        (!line.wire.is_cut()).then_some(line)
    }

    /// Whether nothing has come over it that nobody has asked for, its end above all; `surely` asks the
    /// system, where the runtime may not have heard of it yet.
    pub(super) fn is_quiet(&mut self, surely: bool) -> bool {
        if surely {
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            return recv(self.io.descriptor(), &mut [0], flags) == Err(Errno::EAGAIN);
        }
        self.io.has_nothing()
    }

    /// Reads into the thread's room and hands it to `take`.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut [u8]) -> T,
    ) -> Poll<io::Result<T>> {
        with_space(|space| {
            let mut read = ReadBuf::new(space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(take(read.filled_mut())))
        })
    }
}

/// How the lane comes to a connection.
pub(super) struct Peers<'p> {
    pub(super) idle: &'p Idle,
    pub(super) clock: &'p mut Clock,
}

impl Peers<'_> {
    /// A connection that is kept for the attempt that has begun, if it may take one.
    pub(super) fn kept(&mut self, exchange: &mut Exchange, pooled: Pooled) -> Option<Line> {
        let (served, lease) = exchange.served().zip(exchange.peer())?;
        let keeps = served.spec.keepalive > 0 && !served.spec.keepalive_idle.is_zero();
        if !keeps || pooled == Pooled::None {
            return None;
        }
        let line = self.idle.take(Pooled::Any.group_key(lease), pooled == Pooled::Fresh)?;
        exchange.tell_connected(true);
        Some(line)
    }

    /// A new connection for the attempt that has begun.
    pub(super) async fn connect(&self, exchange: &mut Exchange) -> Result<Line> {
        let missing = || Error::new(ErrorType::InternalError);
        let (served, lease) = exchange.served().zip(exchange.peer()).ok_or_else(missing)?;
        let settings = exchange.settings().ok_or_else(missing)?;
        let dialer = Dialer::new(&served.upstream, lease, None, &settings.passing, None);
        let limit = dial::connect_limit(settings);
        // Connects are rare: what waits for an answer holds no room for one.
        let io = match Box::pin(timeout(limit, dialer.reach())).await {
            Ok(io) => io?,
            Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, "connect"),
        };
        io.send_at_once();
        exchange.tell_connected(false);
        Line::new(io, exchange)
    }

    /// Keeps a connection whose answer has come to its end.
    pub(super) fn keep(&self, exchange: &Exchange, line: Line) {
        let Some(served) = exchange.served() else { return };
        let time = Pooled::Any.idle(&served.spec);
        if served.spec.keepalive > 0 && !time.is_zero() && !line.wire.is_cut() {
            self.idle.put(line.key, line, time);
        }
    }
}
