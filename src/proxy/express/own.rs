//! An answer of our own: a file, as far as it is in memory.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;

use bytes::{BufMut as _, Bytes};
use http::HeaderValue;
use http::header::{CONNECTION, DATE};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::date::get_cached_date;
use tokio::io::AsyncWrite as _;

use super::Turn;
use super::framing::is_chunked;
use super::relay::of_client;
use super::request::{Plain, conclude};
use crate::exchange::flow::{FileFound, Next};
use crate::exchange::head::Asked;
use crate::proxy::disk::Sent;
use crate::proxy::files::{self, PIECE};
use crate::proxy::head::written;
use crate::proxy::request::{Exchange, Own, Resume};

/// From the head to the log line, unless the request comes to something else than a small file.
pub(super) async fn serve(
    exchange: &mut Exchange,
    client: &mut Plain<'_>,
    asked: Asked,
) -> Result<Turn, Resume> {
    exchange.judge_head(client, Some(asked)).map_err(Resume::Failed)?;
    let next = exchange.choose_route_unless_it_waits(client).await.map_err(Resume::Failed)?;
    let fail = |failure| Resume::Next(Box::new(Next::Fail(failure)));
    let found = match next {
        // Where an index or `try_files` has led to, trailers may follow.
        Next::File(found) if found.stat.length <= PIECE && !exchange.says_trailers() => found,
        next => return Err(Resume::Next(Box::new(next))),
    };
    match exchange.open_file(client, &found).await.map_err(fail)? {
        Sent { bytes: Some(bytes), stat, .. } => {
            let own = exchange.prepare_file(client, &found, &stat).map_err(Resume::Failed)?;
            Ok(send(exchange, client, own.map_err(fail)?, &bytes).await)
        }
        Sent { bytes: None, .. } => Err(whole(found)),
    }
}

/// One that is read piece by piece.
fn whole(found: FileFound) -> Resume {
    Resume::Next(Box::new(Next::File(found)))
}

async fn send(exchange: &mut Exchange, client: &mut Plain<'_>, own: Own, bytes: &Bytes) -> Turn {
    let Own { mut head, plan, .. } = own;
    let body = files::pieces(plan, bytes);
    let length: usize = body.iter().map(Bytes::len).sum();
    let text = text(&mut head, client.keepalive, &body, length);
    client.write(head);
    let mut rest = &text[..];
    let sent = poll_fn(|cx| {
        while !rest.is_empty() {
            let count = std::task::ready!(Pin::new(&mut *client.stream).poll_write(cx, rest))?;
            rest = &rest[count..];
        }
        std::task::Poll::Ready(Ok(()))
    });
    match sent.await {
        Ok(()) => client.send(length),
        Err(error) => {
            exchange.tell_failure(&of_client(error));
            client.keepalive = false;
        }
    }
    conclude(exchange, client).await
}

/// All that goes out.
fn text(head: &mut ResponseHeader, stays: bool, body: &[Bytes], length: usize) -> Vec<u8> {
    // Both are sound.
    let _ = head.insert_header(written(&DATE), get_cached_date());
    let connection = HeaderValue::from_static(if stays { "keep-alive" } else { "close" });
    let _ = head.insert_header(written(&CONNECTION), connection);
    let mut text = Vec::with_capacity(length + 512);
    text.put_slice(b"HTTP/1.1 ");
    text.put_slice(head.status.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    text.put_slice(b"\r\n");
    head.header_to_h1_wire(&mut text);
    text.put_slice(b"\r\n");
    let chunked = is_chunked(&head.headers);
    if chunked && length > 0 {
        // Writing into a Vec cannot fail.
        let _ = write!(text, "{length:X}\r\n");
    }
    body.iter().for_each(|piece| text.put_slice(piece));
    if chunked {
        text.put_slice(if length > 0 { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" });
    }
    text
}
