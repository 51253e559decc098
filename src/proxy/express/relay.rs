//! The body of an answer on its way from a peer to the client.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::Clock;
use super::answer::poll_wait;
use super::framing::Framing;
use super::peer::Line;
use super::request::Plain;
use crate::exchange::raw::Chunks;
use crate::health::clock::Still;
use crate::proxy::request::Exchange;

/// How the body of a peer's answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    Nothing,
    /// After so many bytes more.
    Length(u64),
    /// With the last chunk.
    Chunked(Chunks),
    /// With the connection.
    Connection,
}

impl Body {
    /// That of an answer to this request (RFC 9112, section 6.3).
    pub(super) fn of(status: StatusCode, framing: Framing, request: &RequestHeader) -> Self {
        if request.method == Method::HEAD || matches!(status.as_u16(), 204 | 304) {
            Self::Nothing
        } else if framing.chunked {
            Self::Chunked(Chunks::default())
        } else {
            framing.length().map_or(Self::Connection, Self::Length)
        }
    }

    pub(super) fn ends_with_connection(&self) -> bool {
        *self == Self::Connection
    }

    /// How many of these bytes belong to it, how many of them it carries, and whether what follows them can be
    /// read.
    fn share(&self, bytes: &[u8]) -> (usize, usize, bool) {
        let (used, count) = match self {
            Self::Nothing => (0, 0),
            Self::Connection => (bytes.len(), bytes.len()),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                (count, count)
            }
            Self::Chunked(chunks) => {
                let (mut ahead, mut count) = (*chunks, 0);
                let used = ahead.follow_with(bytes, |data| count += data.len());
                return (used, count, !ahead.is_lost());
            }
        };
        (used, count, true)
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Nothing | Self::Length(0) => true,
            Self::Length(_) | Self::Connection => false,
            Self::Chunked(chunks) => chunks.is_done(),
        }
    }
}

/// Passes a body on.
#[derive(Debug)]
pub(super) struct Relay {
    body: Body,
    /// Whether the client gets it in chunks.
    chunked: bool,
    /// What was read and not looked at yet.
    behind: Bytes,
    /// What the client has yet to take.
    front: Vec<u8>,
    written: usize,
    /// How much of a body is in there.
    carried: usize,
    done: bool,
    /// Whether more has come than belongs to the answer.
    over: bool,
    /// Whether what comes first goes out at once, even if it is a head alone.
    at_once: bool,
}

impl Relay {
    pub(super) fn new(body: Body, chunked: bool, behind: Bytes, at_once: bool) -> Self {
        let front = Vec::with_capacity(512);
        let done = matches!(body, Body::Nothing | Body::Length(0));
        Self { body, chunked, behind, front, written: 0, carried: 0, done, over: false, at_once }
    }

    /// What goes out before the body.
    pub(super) fn front(&mut self) -> &mut Vec<u8> {
        &mut self.front
    }

    /// Whether the connection to the peer is at the end of the answer, and nowhere else.
    pub(super) fn is_clean(&self) -> bool {
        self.done && !self.over && self.behind.is_empty()
    }

    /// Passes all of it on.
    pub(super) async fn run(
        &mut self,
        exchange: &mut Exchange,
        client: &mut Plain<'_>,
        line: &mut Line,
        clock: &mut Clock,
    ) -> Result<()> {
        let limit = exchange.settings().map_or(Duration::ZERO, |s| s.timeouts.read);
        // What was sound before it goes out all the same.
        let mut failed = None;
        let mut deadline = None;
        let mut flush = self.at_once;
        poll_fn(|cx| {
            let _still = Still::begin();
            if !self.done && !self.behind.is_empty() {
                let behind = std::mem::take(&mut self.behind);
                failed = self.take(&behind, exchange, client).err();
            }
            loop {
                flush |= self.carried > 0;
                ready!(self.poll_write(cx, client))?;
                if let Some(error) = failed.take() {
                    return Poll::Ready(Err(error));
                }
                if self.done {
                    return Poll::Ready(Ok(()));
                }
                let read = line.poll_read(cx, |bytes| {
                    let taken = self.take(bytes, exchange, client);
                    taken.map(|()| bytes.len())
                });
                match read {
                    Poll::Ready(Ok(Ok(0))) => self.ended(exchange, client)?,
                    Poll::Ready(Ok(taken)) => failed = taken.err(),
                    Poll::Ready(Err(error)) => {
                        let error = Error::because(ErrorType::ReadError, "the answer", error);
                        return Poll::Ready(Err(error.into_up()));
                    }
                    Poll::Pending => {
                        // What is here must not wait for what is not.
                        if std::mem::take(&mut flush)
                            && let Poll::Ready(Err(error)) =
                                Pin::new(&mut *client.stream).poll_flush(cx)
                        {
                            return Poll::Ready(Err(of_client(error)));
                        }
                        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                        return poll_wait(client, cx, clock, deadline).map(Err);
                    }
                }
                deadline = None;
            }
        })
        .await
    }

    /// Writes what the client has yet to take.
    fn poll_write(&mut self, cx: &mut Context<'_>, client: &mut Plain<'_>) -> Poll<Result<()>> {
        while self.written < self.front.len() {
            let rest = &self.front[self.written..];
            let count = ready!(Pin::new(&mut *client.stream).poll_write(cx, rest));
            self.written += count.map_err(of_client)?;
        }
        client.send(std::mem::take(&mut self.carried));
        self.front.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// The connection has ended.
    fn ended(&mut self, exchange: &mut Exchange, client: &mut Plain<'_>) -> Result<()> {
        if self.body != Body::Connection {
            let message = "before the end of the answer";
            return Err(Error::explain(ErrorType::ConnectionClosed, message).into_up());
        }
        self.end(0, exchange, client);
        Ok(())
    }

    /// Takes bytes of the peer's for the client.
    fn take(
        &mut self,
        bytes: &[u8],
        exchange: &mut Exchange,
        client: &mut Plain<'_>,
    ) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (used, count, sound) = self.body.share(bytes);
        let ends = self.chunked && count > 0;
        if ends {
            // Writing into a Vec cannot fail.
            let _ = write!(self.front, "{count:X}\r\n");
        }
        match &mut self.body {
            Body::Chunked(chunks) => {
                chunks.follow_with(bytes, |data| self.front.extend_from_slice(data));
            }
            Body::Length(left) => {
                *left -= count as u64;
                self.front.extend_from_slice(&bytes[..count]);
            }
            Body::Nothing | Body::Connection => self.front.extend_from_slice(&bytes[..count]),
        }
        if ends {
            self.front.extend_from_slice(b"\r\n");
        }
        self.over |= used < bytes.len();
        if self.body.is_done() {
            self.end(count, exchange, client);
        } else if count > 0 {
            self.carried += count;
            exchange.tell_answer_part(count, false);
        }
        if !sound {
            let message = "invalid chunk in the answer";
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, message).into_up());
        }
        Ok(())
    }

    /// All of the body is here, with so many bytes that came last.
    fn end(&mut self, count: usize, exchange: &mut Exchange, client: &Plain<'_>) {
        self.done = true;
        self.carried += count;
        if self.chunked {
            self.front.extend_from_slice(b"0\r\n\r\n");
        }
        exchange.tell_answer_part(count, true);
        exchange.release_peer(client);
    }
}

pub(super) fn of_client(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "the answer", error).into_down()
}
