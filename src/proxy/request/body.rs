//! Bodies of both directions, kept here so that a slow client holds no peer.
//!
//! A request's body is read to its end before a peer is picked. Up to 64 KiB wait in Pingora's
//! buffer for retries, from where each attempt sends them. A longer body waits in a [`Body`], which
//! the client's connection then gives to Pingora as if the client sent it, once for each attempt:
//! for that the head is parsed anew, and for the first time the session is rebuilt around its
//! stream, because only so it hands out what it has read behind the body.
//!
//! An answer waits in the client's connection; see there.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::{Error, ErrorType, OrErr as _, Result};
use pingora_proxy::Session;
use tokio::time::{Instant, timeout};

use super::{Client, Exchange, PeerHead};
use crate::config::model::site::BodyFile;
use crate::exchange::failure::Failure;
use crate::health::clock;
use crate::proxy::downstream::{Connection, Downstream, Keep};
use crate::proxy::spool::{Body, Replay};

/// The size of Pingora's buffer for retries.
const RETRY_BUFFER: u64 = 64 * 1024;

/// The largest frame of HTTP/2 unless both sides agree on more.
const FRAME: u64 = 16 * 1024;

/// As much of an answer as Pingora reads from a peer at once.
const PIECE: u64 = 64 * 1024;

/// The header in which an upstream may ask for its answer to be buffered, or not to be.
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of a request as far as it is here.
#[derive(Debug, Default)]
pub(super) enum Buffered {
    /// It streams, or there is none.
    #[default]
    No,
    /// Pingora has all of it.
    Small { bytes: u64, at: Instant },
    /// We have all of it.
    Large { body: Arc<Body>, at: Instant, attempts: usize },
}

impl Buffered {
    /// Whether all of it can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// When it could be sent first; a request without a buffered body from `began` on.
    pub(super) fn since(&self, began: Instant) -> Instant {
        match self {
            Self::No => began,
            Self::Small { at, .. } | Self::Large { at, .. } => *at,
        }
    }

    /// Announces the body to the upstream by its length, however it came, and asks for no leave.
    pub(super) fn frame(&self, head: &mut impl PeerHead) -> Result<()> {
        let bytes = match self {
            Self::No => return Ok(()),
            Self::Small { bytes, .. } => *bytes,
            Self::Large { body, .. } => body.len(),
        };
        head.remove(&header::TRANSFER_ENCODING);
        head.remove(&header::EXPECT);
        head.set(&header::CONTENT_LENGTH, bytes.into())
    }
}

/// What an upstream gets in the place of the client's body (`proxy_set_body`,
/// `proxy_pass_request_body off`); it goes with the first part of that, the others are empty.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    body: Option<Bytes>,
    sent: bool,
}

impl Replaced {
    /// Announces it, if there is something to announce.
    pub(super) fn frame(&self, head: &mut impl PeerHead) -> Result<()> {
        let Some(own) = &self.body else { return Ok(()) };
        let chunked = head.has(&header::TRANSFER_ENCODING);
        head.remove(&header::TRANSFER_ENCODING);
        if !own.is_empty() || chunked || head.has(&header::CONTENT_LENGTH) {
            head.set(&header::CONTENT_LENGTH, own.len().into())?;
        }
        Ok(())
    }
}

impl Exchange {
    /// Reads the request's body to its end, if it is to be here before a peer is picked.
    ///
    /// # Cancel safety
    /// None: what was read is lost.
    pub(in crate::proxy) async fn buffer_body(&mut self, session: &mut Session) -> Result<()> {
        self.prepare_connection(session);
        let Some(settings) = self.settings() else { return Ok(()) };
        let clients = &settings.clients;
        let (http2, patience) = (session.is_http2(), clients.body_timeout);
        if http2 {
            self.bound_reader(session, PIECE);
        }
        if session.as_mut().is_body_empty() {
            // As nginx, leave is given to send nothing, too.
            return say_continue(session).await;
        }
        session.as_mut().set_read_timeout(Some(clients.body_timeout));
        if !settings.passing.request_buffering {
            return Ok(());
        }
        let told = self.runtime.config.asks.body_file;
        let most = match clients.body_file {
            BodyFile::Off if told => clients.body_buffer_bytes,
            BodyFile::Off => clients.body_buffer_bytes.max(RETRY_BUFFER),
            BodyFile::Clean | BodyFile::Kept => 0,
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut body = Body::new(most, clients.body_temp_path.clone());
        if told || clients.body_file != BodyFile::Off {
            body = body.named(clients.body_file == BodyFile::Kept);
        }
        say_continue(session).await?;
        session.enable_retry_buffering();
        loop {
            let read = session.read_request_body();
            // Pingora knows no timeout for this in HTTP/2.
            let read = if http2 {
                match timeout(patience, read).await {
                    Ok(read) => read,
                    Err(_) => return self.refuse(Failure::ClientTimeout),
                }
            } else {
                read.await
            };
            let Some(piece) = read.map_err(|e| e.into_down())? else { break };
            self.check_body_so_far(session)?;
            if let Err(error) = body.append(&piece).await {
                return self.refuse(Failure::Internal(error.to_string()));
            }
            // An HTTP/2 stream cannot be read twice: what Pingora's buffer cannot hold streams.
            if session.is_http2() && body.len() + FRAME > RETRY_BUFFER {
                return Ok(());
            }
        }
        if let Err(error) = body.complete().await {
            return self.refuse(Failure::Internal(error.to_string()));
        }
        let at = self.kept.body_since.unwrap_or_else(Instant::now);
        let body = Arc::new(body);
        if body.path().is_some() {
            self.kept.body_file = Some(Arc::clone(&body));
        }
        if session.retry_buffer_truncated() {
            self.body = Buffered::Large { body, at, attempts: 0 };
        } else {
            self.body = Buffered::Small { bytes: body.len(), at };
        }
        self.note_body_read(session);
        Ok(())
    }

    /// Says how long the client may be silent, and whether it may leave.
    pub(in crate::proxy) fn prepare_connection(&self, session: &dyn Client) {
        let Some((settings, connection)) = self.settings().zip(connection(session)) else { return };
        let least = settings.limits.send_min_rate;
        connection.set_patient(settings.passing.ignore_client_abort);
        connection.set_send_timeout(settings.clients.send_timeout, least);
    }

    /// Takes note of a body which is here that can be sent again.
    pub(in crate::proxy) fn take_body(&mut self, bytes: u64) {
        self.body = Buffered::Small { bytes, at: clock::now() };
    }

    /// Makes ready the body that the attempt that begins sends: lets Pingora read the client's once
    /// more, and says what takes its place.
    ///
    /// # Cancel safety
    /// None: the session may be without its stream.
    pub(in crate::proxy) async fn rewind_body(&mut self, session: &mut Session) -> Result<()> {
        self.replaced = self.replace(session);
        let Buffered::Large { body, attempts, .. } = &mut self.body else { return Ok(()) };
        *attempts += 1;
        if *attempts == 1 {
            return rebuild(session, body).await;
        }
        if let Some(connection) = connection(session) {
            connection.rewind();
        }
        match session.as_mut() {
            ServerSession::H1(http1) => parse_again(http1).await,
            _ => Ok(()),
        }
    }

    fn replace(&self, session: &dyn Client) -> Replaced {
        let Some(passing) = self.settings().map(|s| &s.passing) else { return Replaced::default() };
        let own = match &passing.body {
            Some(template) => self.scene(session).map(|s| s.with(&self.course).text(template)),
            None => (!passing.request_body).then(Vec::new),
        };
        Replaced { body: own.map(Bytes::from), sent: false }
    }

    /// Hands on what takes the place of a part of the client's body, if something does.
    pub(in crate::proxy) fn replace_body(
        &mut self,
        session: &Session,
        part: &mut Option<Bytes>,
        end: bool,
    ) {
        if let Some(own) = &self.replaced.body
            && !session.was_upgraded()
        {
            let sent = std::mem::replace(&mut self.replaced.sent, true);
            let own = if sent { Bytes::new() } else { own.clone() };
            // Nothing at all would be the end.
            *part = (!own.is_empty() || !end).then_some(own);
        }
    }

    /// Takes note of a body that was read to its end.
    pub(in crate::proxy) fn note_body_read(&self, session: &mut dyn Client) {
        if session.is_body_done()
            && !super::was_upgraded(session)
            && let Some(connection) = connection(session)
        {
            connection.body_read(true);
        }
    }

    /// Lets the answer that begins wait for a slow client, unless it is to be passed on as it comes.
    pub(in crate::proxy) fn buffer_answer(&self, session: &mut dyn Client, response: &Parts) {
        // While the body is still being sent, nobody would look after what waits.
        let read = session.is_body_done();
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // Who is silent for too long is judged by the upstream's time limit alone, as in nginx.
            if let Some(session) = session.session_mut() {
                session.as_mut().set_read_timeout(None);
            }
        }
        let Some(connection) = connection(session) else { return };
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            connection.upgrade();
        } else if read && !response.status.is_informational() {
            let Some(passing) = self.settings().map(|s| &s.passing) else { return };
            let ignored = passing.ignore.contains(&ACCEL_BUFFERING);
            let asked = self.said_to_us(&response.headers, &ACCEL_BUFFERING).filter(|_| !ignored);
            let default = passing.buffering && !is_event_stream(&response.headers);
            if asked.and_then(asks_for_buffering).unwrap_or(default) {
                let directory = passing.temp_path.clone();
                connection.keep(Keep::new(
                    passing.buffer_bytes,
                    passing.temp_file_bytes,
                    directory,
                ));
            }
        }
    }

    /// Waits until the client has got all that waits for it of a complete answer.
    pub(in crate::proxy) async fn deliver_answer(&self, session: &mut Session) {
        if connection(session).is_some_and(|c| c.deliver())
            && let ServerSession::H1(http1) = session.as_mut()
        {
            // Flushes. That it failed, Pingora finds out when it does the same.
            let _ = http1.finish_body().await;
        }
    }

    /// Waits until the client has got all there is of an answer that broke off: Pingora drops what
    /// it has not flushed. The end of the connection follows.
    pub(super) async fn deliver_part(&self, session: &mut Session) {
        if let Some(connection) = connection(session) {
            connection.deliver();
        }
        if let ServerSession::H1(http1) = session.as_mut() {
            http1.shutdown().await;
        }
    }

    /// How many bytes of the answer's body the client's system has got.
    pub(super) fn body_bytes_sent(&self, session: &dyn Client) -> u64 {
        let waiting = connection(session).map_or(0, |c| c.waiting());
        (session.body_bytes_sent() as u64).saturating_sub(waiting)
    }
}

/// The client's connection, unless it is shared by the streams of HTTP/2: their bytes do not go
/// through a [`Downstream`].
fn connection(session: &dyn Client) -> Option<&Arc<Connection>> {
    session.downstream().map(Downstream::connection)
}

/// Whether an answer has no end and each piece is waited for (Server-Sent Events).
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.and_then(|kind| kind.split(|b| *b == b';').next()).unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// What an upstream says about buffering its answer.
fn asks_for_buffering(value: &HeaderValue) -> Option<bool> {
    match value.as_bytes() {
        yes if yes.eq_ignore_ascii_case(b"yes") => Some(true),
        no if no.eq_ignore_ascii_case(b"no") => Some(false),
        _ => None,
    }
}

/// Asks a client that waits for leave to send its body.
async fn say_continue(session: &mut Session) -> Result<()> {
    let request = session.req_header();
    let waits = request.version == Version::HTTP_11
        && request
            .headers
            .get(header::EXPECT)
            .is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let ServerSession::H1(http1) = session.as_mut() else { return Ok(()) };
    if !waits {
        return Ok(());
    }
    // With an answer before the body, Pingora gives up on the connection; this one is interim.
    let keepalive = http1.get_keepalive_timeout();
    let written = http1.write_continue_response().await.map_err(|e| e.into_down());
    http1.set_server_keepalive(keepalive);
    written
}

/// Builds the session anew around its stream, which is then to give `body` and after it whatever
/// was read behind it.
async fn rebuild(session: &mut Session, body: &Arc<Body>) -> Result<()> {
    let chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
    let lost = || Error::explain(ErrorType::InternalError, "the session lost its stream");
    let connection = connection(session).map(Arc::clone).ok_or_else(lost)?;
    let stand_in = ServerSession::new_http1(Box::new(Downstream::closed(connection)));
    let ServerSession::H1(mut old) = std::mem::replace(session.as_mut(), stand_in) else {
        return Err(lost());
    };
    let keepalive = old.get_keepalive_timeout();
    let reuses = old.get_keepalive_reuses_remaining();
    let timeout = old.get_read_timeout();
    let raw = old.get_headers_raw_bytes();
    let header = old.req_header().clone();
    // Else it would not be taken apart.
    old.set_server_keepalive(Some(0));
    let (stream, behind) = old.reuse().await?.ok_or_else(lost)?.into_parts();
    let mut stream = stream.into_any().downcast::<Downstream>().map_err(|_| lost())?;
    stream.replay(Replay::new(body, chunked), behind);
    let mut new = HttpSession::new(stream);
    new.set_pipelining_enabled(true);
    new.set_read_timeout(timeout);
    new.set_keepalive_reuses_remaining(reuses);
    parse(&mut new, &raw, header, keepalive).await?;
    *session.as_mut() = ServerSession::H1(new);
    Ok(())
}

/// Parses the head once more: from there on Pingora expects the body.
async fn parse_again(http1: &mut HttpSession) -> Result<()> {
    let raw = http1.get_headers_raw_bytes();
    let header = http1.req_header().clone();
    let keepalive = http1.get_keepalive_timeout();
    parse(http1, &raw, header, keepalive).await
}

/// Parses `raw`, and keeps what has become of it since.
async fn parse(
    http1: &mut HttpSession,
    raw: &[u8],
    header: RequestHeader,
    keepalive: Option<u64>,
) -> Result<()> {
    http1.set_pipelined_prefix(BytesMut::from(raw));
    http1.read_request().await.or_err(ErrorType::InternalError, "parsing the head again")?;
    *http1.req_header_mut() = header;
    http1.set_server_keepalive(keepalive);
    Ok(())
}
