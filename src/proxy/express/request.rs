//! One plain request from its head to its log line.

use std::sync::Arc;

use bytes::Bytes;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::lanes::Service;
use super::peer::{Line, Peers};
use super::plain::Message;
use super::relay::of_client;
use super::{Turn, answer, own};
use crate::exchange::flow::Next;
use crate::exchange::head::Asked;
use crate::health::Tick;
use crate::health::clock::Still;
use crate::proxy::dial::Pooled;
use crate::proxy::downstream::Downstream;
use crate::proxy::request::{Client, Exchange, Resume};
use crate::proxy::{Runtime, classify};

/// The client's side of a plain request.
#[derive(Debug)]
pub(super) struct Plain<'s> {
    pub(super) stream: &'s mut Downstream,
    message: Box<Message>,
    written: Option<Box<ResponseHeader>>,
    sent: usize,
    pub(super) keepalive: bool,
}

impl Plain<'_> {
    /// Takes note of the head of the answer that goes out.
    pub(super) fn write(&mut self, head: Box<ResponseHeader>) {
        self.written = Some(head);
    }

    /// Takes note of bytes of its body.
    pub(super) fn send(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// The head as it came.
    pub(super) fn text(&self) -> &[u8] {
        &self.message.text
    }

    /// The body.
    pub(super) fn sends(&self) -> &Bytes {
        &self.message.body
    }

    /// Has Pingora go on.
    fn hand_over(self, exchange: Box<Exchange>, resume: Resume) -> Turn {
        let Message { text, body, .. } = &*self.message;
        if !body.is_empty() {
            self.stream.put_back(body);
        }
        self.stream.put_back(text);
        Turn::Pingora(Some(exchange.hand_over(resume)))
    }
}

impl Client for Plain<'_> {
    fn session(&self) -> Option<&Session> {
        None
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        None
    }

    fn downstream(&self) -> Option<&Downstream> {
        Some(self.stream)
    }

    fn is_http1(&self) -> bool {
        true
    }

    fn is_http2(&self) -> bool {
        false
    }

    fn req_header(&self) -> &RequestHeader {
        &self.message.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.message.head
    }

    fn raw_head(&self) -> Option<Bytes> {
        Some(self.message.text.clone())
    }

    fn is_body_done(&mut self) -> bool {
        true
    }

    fn body_bytes_read(&self) -> usize {
        self.message.body.len()
    }

    fn keeps_body(&self) -> bool {
        true
    }

    fn body(&self) -> Option<Bytes> {
        let body = &self.message.body;
        (!body.is_empty()).then(|| body.clone())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn set_keepalive(&mut self, seconds: Option<u64>) {
        self.keepalive = seconds.is_some();
    }
}

/// Serves a plain request.
pub(super) async fn serve(
    stream: &mut Downstream,
    runtime: Arc<Runtime>,
    mut message: Box<Message>,
    mut peers: Peers<'_>,
    last: bool,
) -> Turn {
    let still = Still::begin();
    let mut exchange = Box::new(Exchange::new(runtime));
    let (asked, service) = (std::mem::take(&mut message.asked), message.service);
    let keepalive = message.keepalive && !last;
    let mut client = Plain { stream, message, written: None, sent: 0, keepalive };
    let served = match service {
        Service::Proxy => match begin(&mut exchange, &mut client, asked) {
            Ok(pooled) => {
                let kept = peers.kept(&mut exchange, pooled);
                drop(still);
                relay(&mut exchange, &mut client, kept, peers).await
            }
            Err(resume) => Err(resume),
        },
        Service::Files => {
            drop(still);
            Box::pin(own::serve(&mut exchange, &mut client, asked)).await
        }
    };
    match served {
        Ok(turn) => turn,
        Err(resume) => client.hand_over(exchange, resume),
    }
}

/// From the head to the peer of the only attempt that is made here.
fn begin(exchange: &mut Exchange, client: &mut Plain<'_>, asked: Asked) -> Result<Pooled, Resume> {
    exchange.judge_head(client, Some(asked)).map_err(Resume::Failed)?;
    match exchange.choose_route_at_once(client).map_err(Resume::Failed)? {
        Next::Proxy => {}
        next => return Err(Resume::Next(Box::new(next))),
    }
    exchange.prepare_connection(client);
    exchange.note_body_read(client);
    if !client.sends().is_empty() {
        exchange.take_body(client.sends().len() as u64);
    }
    exchange.tell_body(client);
    exchange.take_aim_at_once(client).map_err(Resume::Failed)?;
    exchange.prepare_pick(client);
    let now = Tick::now();
    let picked = exchange.pick_now(client, now);
    let taken = exchange.take_pick(client, picked, None, now);
    let (lease, pooled) = taken.map_err(Resume::Failed)?;
    exchange.hold(client, lease);
    Ok(pooled)
}

/// What follows from an attempt that has failed.
fn of(error: Box<Error>) -> Resume {
    if error.retry() { Resume::Attempt } else { Resume::Failed(error) }
}

/// Has the peer's answer go out, unless the attempt comes to none.
async fn relay(
    exchange: &mut Exchange,
    client: &mut Plain<'_>,
    kept: Option<Line>,
    peers: Peers<'_>,
) -> Result<Turn, Resume> {
    let mut line = match kept {
        Some(line) => line,
        None => match peers.connect(exchange).await {
            Ok(line) => line,
            Err(mut error) => {
                error.as_up();
                return Err(of(exchange.end_attempt(client, error, classify::connect)));
            }
        },
    };
    exchange.reused = line.reused;
    let answered = answer::first(exchange, client, &mut line, peers.clock).await;
    let answer =
        answered.map_err(|error| of(exchange.end_attempt(client, error, classify::exchange)))?;
    let (mut relay, stays) = answer.begin(client);
    let passed = relay.run(exchange, client, &mut line, peers.clock).await;
    let stays = stays && relay.is_clean();
    // Nobody needs its room while the client takes what waits.
    drop(relay);
    if let Err(error) = passed {
        exchange.end_attempt(client, error, classify::exchange);
        client.keepalive = false;
        drop(line);
        // The client gets what there is of it; the end of the connection follows, either way.
        let _ = answer::deliver(client).await;
        exchange.end(client);
        return Ok(Turn::Over);
    }
    if stays {
        peers.keep(exchange, line);
    } else {
        drop(line);
    }
    Ok(conclude(exchange, client).await)
}

/// Has the client get all that waits for it, and the request come to its end.
pub(super) async fn conclude(exchange: &mut Exchange, client: &mut Plain<'_>) -> Turn {
    let delivered = answer::deliver(client).await.map_err(of_client);
    if let Err(error) = &delivered {
        exchange.tell_failure(error);
    }
    let _still = Still::begin();
    exchange.end(client);
    if client.keepalive && delivered.is_ok() { Turn::Answered } else { Turn::Over }
}
