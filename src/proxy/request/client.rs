//! The client's side of a request, as an exchange meets it, whichever plumbing carries it.

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::proxy::downstream::Downstream;

/// The client's side of one request.
///
/// What only Pingora's session can do, or only HTTP/2 asks for, is asked of that session itself.
pub(in crate::proxy) trait Client: Send + Sync {
    /// Pingora's session, where it is one.
    fn session(&self) -> Option<&Session>;

    /// The same, to be changed.
    fn session_mut(&mut self) -> Option<&mut Session>;

    /// The stream of HTTP/1; none where the connection is shared, or stands for another.
    fn downstream(&self) -> Option<&Downstream>;

    /// Whether HTTP/1 is spoken.
    fn is_http1(&self) -> bool;

    /// Whether HTTP/2 is spoken.
    fn is_http2(&self) -> bool;

    /// The head as the upstream may get it.
    fn req_header(&self) -> &RequestHeader;

    /// The same, to be changed.
    fn req_header_mut(&mut self) -> &mut RequestHeader;

    /// The text of the head as it was read; none but of HTTP/1.
    fn raw_head(&self) -> Option<Bytes>;

    /// Whether all of the body was read.
    fn is_body_done(&mut self) -> bool;

    /// Bytes of the body that were read.
    fn body_bytes_read(&self) -> usize;

    /// Whether what was read of the body is still there.
    fn keeps_body(&self) -> bool;

    /// What was read of the body, as far as it is in memory.
    fn body(&self) -> Option<Bytes>;

    /// The head of the answer, once it was written.
    fn response_written(&self) -> Option<&ResponseHeader>;

    /// Bytes of the answer's body that were written.
    fn body_bytes_sent(&self) -> usize;

    /// How many seconds the connection is kept for another request; none for not at all, 0 without limit.
    fn set_keepalive(&mut self, seconds: Option<u64>);
}

impl Client for Session {
    fn session(&self) -> Option<&Session> {
        Some(self)
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        Some(self)
    }

    fn downstream(&self) -> Option<&Downstream> {
        self.as_http1()?.stream().as_any().downcast_ref()
    }

    fn is_http1(&self) -> bool {
        self.as_http1().is_some()
    }

    fn is_http2(&self) -> bool {
        self.downstream_session.is_http2()
    }

    fn req_header(&self) -> &RequestHeader {
        self.downstream_session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.downstream_session.req_header_mut()
    }

    fn raw_head(&self) -> Option<Bytes> {
        self.as_http1().map(|http1| http1.get_headers_raw_bytes())
    }

    fn is_body_done(&mut self) -> bool {
        self.downstream_session.is_body_done()
    }

    fn body_bytes_read(&self) -> usize {
        self.downstream_session.body_bytes_read()
    }

    fn keeps_body(&self) -> bool {
        !self.downstream_session.retry_buffer_truncated()
    }

    fn body(&self) -> Option<Bytes> {
        self.downstream_session.get_retry_buffer()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.downstream_session.response_written()
    }

    fn body_bytes_sent(&self) -> usize {
        self.downstream_session.body_bytes_sent()
    }

    fn set_keepalive(&mut self, seconds: Option<u64>) {
        self.downstream_session.set_keepalive(seconds);
    }
}
