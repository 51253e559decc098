//! A peer's answer: the request goes out to it, the head of what it says comes in.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode, Version};
use pingora::protocols::http::date::get_cached_date;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::Clock;
use super::passed::Passed;
use super::peer::Line;
use super::relay::{Body, Relay};
use super::request::Plain;
use super::sent::Sent;
use crate::exchange::answers::Head as _;
use crate::health::clock::Still;
use crate::proxy::request::{Client as _, Exchange};

/// As long a head as Pingora reads.
const LONGEST: usize = 1 << 20;

/// The head of an answer, ready to go out, and what has come behind it.
#[derive(Debug)]
pub(super) struct Answer {
    head: Passed,
    body: Body,
    behind: Bytes,
    /// Whether the peer takes another request on this connection.
    stays: bool,
}

/// Sends the request and reads the head of its answer, up to where it may go out.
pub(super) async fn first(
    exchange: &mut Exchange,
    client: &mut Plain<'_>,
    line: &mut Line,
    clock: &mut Clock,
) -> Result<Answer> {
    exchange.use_wire(&line.wire, line.reused)?;
    let mut sent = Sent::new(client.req_header(), client.text());
    exchange.write_head(client, &mut sent)?;
    let closes = sent.closes();
    let text = sent.into_text(client.sends())?;
    exchange.tell_sent((text.len() - client.sends().len()) as u64);
    let timeouts = exchange.settings().map(|settings| settings.timeouts);
    let (send, read) = timeouts.map_or_else(Default::default, |t| (t.send, t.read));
    // A peer that does not take all of a body may have answered before.
    let sent = send_all(line, &text, send, clock).await;
    let sent = match sent {
        Err(error) if client.sends().is_empty() => return Err(error),
        sent => sent,
    };
    let read = head(client, line, read, clock).await;
    let (mut head, behind) = match (read, sent.is_err()) {
        (Err(_), true) => {
            return Err(sent.err().unwrap_or_else(|| Error::new(ErrorType::WriteError)));
        }
        (read, _) => read?,
    };
    let _still = Still::begin();
    exchange.take_answer(client, &head.head, head.length as u64)?;
    let body = Body::of(head.head.status, head.framing, client.req_header());
    let stays = sent.is_ok() && !closes && stays(&head) && !body.ends_with_connection();
    if body == Body::Connection && !head.framing.coded {
        // So the client's connection need not end with it.
        head.say_http11();
        head.set(&TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    exchange.buffer_answer(client, &head.head);
    exchange.finish_answer_head(client, &mut head);
    Ok(Answer { head, body, behind, stays })
}

impl Answer {
    /// Has its head go out with what is known of its body, which is to follow; tells whether the peer takes another
    /// request on the connection once all of it has come.
    pub(super) fn begin(self, client: &mut Plain<'_>) -> (Relay, bool) {
        let Self { mut head, body, behind, stays } = self;
        let (chunked, length) = (head.is_chunked(), head.is_measured());
        let ends = body != Body::Nothing && !chunked && !length;
        if ends {
            client.set_keepalive(None);
        }
        head.set(&header::DATE, get_cached_date());
        let connection = if client.keepalive { "keep-alive" } else { "close" };
        head.set(&CONNECTION, HeaderValue::from_static(connection));
        let mut relay = Relay::new(body, chunked, behind, !length);
        head.write(relay.front());
        client.write(Box::new(head.into_head()));
        (relay, stays)
    }
}

/// Waits until the client has got all that waits for it.
pub(super) async fn deliver(client: &mut Plain<'_>) -> io::Result<()> {
    client.stream.connection().deliver();
    poll_fn(|cx| client.stream.poll_clear(cx)).await
}

async fn send_all(line: &mut Line, text: &[u8], limit: Duration, clock: &mut Clock) -> Result<()> {
    let mut rest = text;
    let mut deadline = None;
    poll_fn(|cx| {
        while !rest.is_empty() {
            match Pin::new(&mut line.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    let none = io::Error::from(io::ErrorKind::WriteZero);
                    return Poll::Ready(Error::e_because(ErrorType::WriteError, "request", none));
                }
                Poll::Ready(Ok(count)) => rest = &rest[count..],
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Error::e_because(ErrorType::WriteError, "request", error));
                }
                Poll::Pending => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                    ready!(clock.poll(cx, deadline));
                    return Poll::Ready(Error::e_explain(ErrorType::WriteTimedout, "request"));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
    .map_err(|error: Box<Error>| error.into_up())
}

/// What a wait for the peer has come to.
pub(super) fn poll_wait(
    client: &mut Plain<'_>,
    cx: &mut Context<'_>,
    clock: &mut Clock,
    deadline: Instant,
) -> Poll<Box<Error>> {
    if let Poll::Ready(left) = client.stream.poll_left(cx) {
        client.keepalive = false;
        return Poll::Ready(match left {
            Ok(()) => {
                Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down()
            }
            Err(error) => Error::because(ErrorType::ReadError, "the client", error).into_down(),
        });
    }
    ready!(clock.poll(cx, deadline));
    Poll::Ready(Error::explain(ErrorType::ReadTimedout, "the answer").into_up())
}

/// Reads the head of the answer, those before it aside, and what has come behind it.
async fn head(
    client: &mut Plain<'_>,
    line: &mut Line,
    limit: Duration,
    clock: &mut Clock,
) -> Result<(Passed, Bytes)> {
    let mut text = Bytes::new();
    loop {
        let deadline = Instant::now() + limit;
        let count = poll_fn(|cx| {
            let read = line.poll_read(cx, |bytes| {
                // Nearly always all of a head comes at once.
                text = match text.is_empty() {
                    true => Bytes::copy_from_slice(bytes),
                    false => [&text[..], bytes].concat().into(),
                };
                bytes.len()
            });
            match read {
                Poll::Pending => poll_wait(client, cx, clock, deadline).map(Err),
                Poll::Ready(read) => Poll::Ready(read.map_err(|error| {
                    Error::because(ErrorType::ReadError, "the answer", error).into_up()
                })),
            }
        })
        .await?;
        if count == 0 {
            let message = "before the answer";
            return Err(Error::explain(ErrorType::ConnectionClosed, message).into_up());
        }
        loop {
            let parsed = Passed::parse(&text).map_err(|error| error.into_up())?;
            let Some(head) = parsed else { break };
            let behind = text.slice(head.length..);
            let interim = head.status() < 200 && head.status() != 101;
            if !interim {
                return Ok((head, behind));
            }
            // None of these is passed on here.
            text = behind;
        }
        if text.len() > LONGEST {
            let message = "a head that is too long";
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, message).into_up());
        }
    }
}

/// Whether the peer takes another request on the connection of this answer.
fn stays(head: &Passed) -> bool {
    let old = head.head.version < Version::HTTP_11;
    head.head.status != StatusCode::SWITCHING_PROTOCOLS && head.framing.stays(old)
}
