//! One connection of HTTP/2: its streams are served side by side.
//!
//! As Pingora's own loop, which hides where a request came from: here each carries its connection.
//! What a client may do to us without asking for anything is bounded here, too; what its frames may
//! hold is the h2 crate's matter. See `docs/http2.md`.

use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use h2::server::Connection as Http2;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self as http2, H2Accept, H2Options, HttpSession};
use pingora::protocols::{Digest, Stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{GOODBYE, Serving, after};
use crate::config::model::{Config, Requests};
use crate::proxy::{Connection, Framed, Io};

/// Requests that cannot be understood end a connection when there are so many. Pingora's own loop has
/// this limit.
const MALFORMED: usize = 32;
/// From so many requests on, a client that has given up at least half of them before their answers
/// is told to calm down: opening streams costs us more than resetting them costs it (CVE-2023-44487).
/// Envoy's limits (`overload.premature_reset_total_stream_count`).
const MANY: u64 = 500;
/// How long what was said last may take to be written: the reason of the end, and the answers before.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// As many streams may be reset by the client before we have seen them, and by us for what is wrong
/// with them, before the connection ends with ENHANCE_YOUR_CALM. The h2 crate's defaults, named: they
/// are what holds.
const RESET_UNSEEN: usize = 20;
const RESET_BY_US: usize = 1024;
/// Bytes of an upload that a client may send before we have read them: what HTTP/2 has for each stream
/// unless told otherwise, and as many as a connection may have.
const WINDOW: u32 = 65_535;
const MOST_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of an answer that wait in the connection for each stream: beyond these the upstream waits.
const SEND_BUFFER: usize = 256 * 1024;

/// What holds for all streams of a connection: as in nginx, what the address's default virtual
/// server says.
struct Limits {
    /// As many at a time.
    streams: u32,
    /// Bytes of a head, as HTTP/2 counts them.
    head_bytes: u32,
    /// As many in all.
    requests: u64,
    header_timeout: Duration,
    keepalive_timeout: Duration,
}

impl Limits {
    fn of(config: &Config, server: Option<usize>) -> Self {
        let server = server.and_then(|server| config.virtual_servers.get(server));
        let default = Requests::default();
        let rules = server.map_or(&default, |server| &server.requests);
        Self {
            streams: rules.concurrent_streams,
            head_bytes: head_bytes(rules),
            requests: server.map_or(u64::MAX, |s| s.settings.clients.keepalive_requests),
            header_timeout: config.client_header_timeout,
            keepalive_timeout: config.keepalive_timeout,
        }
    }

    fn options(&self) -> H2Options {
        let mut options = http2::default_h2_options();
        options
            .max_concurrent_streams(self.streams)
            // An upload that nobody reads must not hold up those beside it.
            .initial_connection_window_size(WINDOW.saturating_mul(self.streams).min(MOST_WINDOW))
            .max_header_list_size(self.head_bytes)
            .max_pending_accept_reset_streams(RESET_UNSEEN)
            .max_local_error_reset_streams(Some(RESET_BY_US))
            .max_send_buffer_size(SEND_BUFFER);
        options
    }
}

/// How long a head may be (`large_client_header_buffers`). HTTP/2 counts 32 bytes more for each field
/// (RFC 9113, section 6.5.2): there is room for as many as HTTP/1 may have.
fn head_bytes(rules: &Requests) -> u32 {
    const FIELDS: u64 = 256 * 32;
    let bytes = u64::from(rules.header_buffers).saturating_mul(rules.header_buffer_bytes);
    u32::try_from(bytes.saturating_add(FIELDS)).unwrap_or(u32::MAX)
}

impl Serving {
    /// Serves the streams of a connection until either side has enough.
    pub(super) async fn http2(self, io: Io) {
        let runtime = self.pools.runtime();
        let limits = Limits::of(&runtime.config, runtime.router.default(self.connection.listener));
        drop(runtime);
        let (io, offence) = Framed::new(io);
        let settled = http2::handshake(Box::new(io), Some(limits.options()));
        let settled = tokio::select! {
            settled = timeout(limits.header_timeout, settled) => settled,
            () = after(self.ending.clone(), GOODBYE) => return,
        };
        let Ok(Ok(mut io)) = settled else { return };
        let connection = Arc::new(self.connection);
        let digest = Arc::new(Digest::default());
        let mut ending = self.ending.clone();
        let (mut malformed, mut requests, mut draining) = (0, 0, false);
        let mut streams = JoinSet::new();
        loop {
            let idle = if draining { GOODBYE } else { limits.keepalive_timeout };
            let accepted = tokio::select! {
                biased;
                () = ending.reached(), if !draining => {
                    io.graceful_shutdown();
                    draining = true;
                    continue;
                }
                reason = offence.seen() => return end(io, &mut streams, reason).await,
                accepted = HttpSession::from_h2_conn(&mut io, Arc::clone(&digest)) => accepted,
                Some(_) = streams.join_next() => {
                    if gives_up(&connection) {
                        return end(io, &mut streams, Reason::ENHANCE_YOUR_CALM).await;
                    }
                    continue;
                }
                () = sleep(idle), if streams.is_empty() => return,
            };
            match accepted {
                Ok(Some(H2Accept::Session(mut stream))) => {
                    requests += 1;
                    if requests >= limits.requests && !draining {
                        io.graceful_shutdown();
                        draining = true;
                    }
                    stream.req_header_mut().extensions_mut().insert(Arc::clone(&connection));
                    let (proxy, shutdown) = (self.pools.proxy(), self.ending.process.clone());
                    let alive = self.alive.clone();
                    streams.spawn(async move {
                        let session = ServerSession::new_http2(stream);
                        proxy.process_new_http(session, &shutdown).await;
                        drop(alive);
                    });
                }
                Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
                Ok(Some(H2Accept::Rejected)) => {
                    return end(io, &mut streams, Reason::ENHANCE_YOUR_CALM).await;
                }
                // Those under way find out by themselves, and tell the access log.
                _ => return streams.detach_all(),
            }
        }
    }
}

/// Whether the client asks for much and waits for little of it.
fn gives_up(connection: &Connection) -> bool {
    let (requests, given_up) = connection.given_up();
    requests >= MANY && given_up * 2 >= requests
}

/// Ends a connection whose client has done what it must not, and says why.
async fn end(mut io: Http2<Stream, bytes::Bytes>, streams: &mut JoinSet<()>, reason: Reason) {
    streams.detach_all();
    io.abrupt_shutdown(reason);
    let said = std::future::poll_fn(|cx| io.poll_closed(cx));
    // A client that does not read has not asked to know.
    let _ = timeout(LAST_WORDS, said).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_may_be_as_long_as_over_http_1() {
        assert_eq!(head_bytes(&Requests::default()), 4 * 8 * 1024 + 8192);
        let huge = Requests { header_buffers: u32::MAX, ..Requests::default() };
        assert_eq!(head_bytes(&huge), u32::MAX);
    }
}
