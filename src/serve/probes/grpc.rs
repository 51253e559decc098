//! One call of `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! Both messages have one field, so they are written and read here, without a compiler for such. A server that
//! lacks the service answers UNIMPLEMENTED (12), which `grpc_status` may let pass.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use pingora::protocols::Stream;
use tokio::task::AbortHandle;

use super::ProbeError;
use super::http::AGENT;
use crate::config::model::health_check::GrpcProbe;
use crate::health::answer::told;

/// How much of an answer is read: its message is a few bytes long.
const ANSWER_BYTES: usize = 4096;
/// The field of the service in the question, and that of the status in the answer.
const FIRST_FIELD: u8 = 1;
/// That it serves, in the answer.
const SERVING: u64 = 1;

/// A connection to call over; it is closed when dropped.
pub(super) struct Channel {
    send: SendRequest<Bytes>,
    /// What reads and writes it.
    driver: AbortHandle,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Channel {
    /// Begins HTTP/2 on a connection.
    pub(super) async fn open(stream: Stream) -> Result<Self, ProbeError> {
        let (send, connection) = h2::client::handshake(stream).await.map_err(not_http2)?;
        let driver = tokio::spawn(async move {
            // What goes wrong shows in the call.
            let _ = connection.await;
        });
        Ok(Self { send, driver: driver.abort_handle() })
    }

    /// Calls the service and checks what it says. The time limit is the caller's.
    pub(super) async fn ask(
        &self,
        probe: &GrpcProbe,
        authority: &str,
        tls: bool,
    ) -> Result<(), ProbeError> {
        let scheme = if tls { "https" } else { "http" };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(())
            .map_err(|_| ProbeError::Request)?;
        let mut send = self.send.clone().ready().await.map_err(not_http2)?;
        let (answer, mut body) = send.send_request(request, false).map_err(not_http2)?;
        body.send_data(question(&probe.service), true).map_err(not_http2)?;
        let (head, mut body) = answer.await.map_err(not_http2)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(ProbeError::NotGrpc(format!("status {}", head.status.as_u16())));
        }
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(not_http2)?;
            if message.len() + data.len() > ANSWER_BYTES {
                return Err(ProbeError::NotGrpc("it is too long".into()));
            }
            // Who is not told that it was read may not send more.
            let _ = body.flow_control().release_capacity(data.len());
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(not_http2)?;
        // An answer without a message has its status in the head.
        let status = trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&head.headers));
        judge(probe, status, &message)
    }
}

/// Whether an answer passes.
fn judge(
    probe: &GrpcProbe,
    status: Option<(u32, String)>,
    message: &[u8],
) -> Result<(), ProbeError> {
    match status {
        None => Err(ProbeError::NotGrpc("it has no grpc-status".into())),
        Some((status, _)) if status != 0 && Some(status) == probe.status => Ok(()),
        Some((0, _)) => match serving_status(message) {
            Some(SERVING) => Ok(()),
            Some(other) => Err(ProbeError::NotServing(other)),
            None => Err(ProbeError::NotGrpc("its message cannot be read".into())),
        },
        Some((status, message)) => Err(ProbeError::GrpcStatus { status, message }),
    }
}

/// `grpc-status` and `grpc-message`.
fn grpc_status(headers: &HeaderMap) -> Option<(u32, String)> {
    let status = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|message| told(message.as_bytes()));
    Some((status, message.unwrap_or_default()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn not_http2(error: h2::Error) -> ProbeError {
    if error.is_io() {
        return ProbeError::Closed;
    }
    ProbeError::NotHttp2(told(error.to_string().as_bytes()))
}

/// `HealthCheckRequest { service }` in a frame of gRPC: not compressed, its length, the message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Wire type 2: a length, then as many bytes.
        message.put_u8(FIRST_FIELD << 3 | 2);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The status in `HealthCheckResponse { status }` in a frame of gRPC; none where it is none.
fn serving_status(mut frame: &[u8]) -> Option<u64> {
    const PREFIX: usize = 5;
    if frame.len() < PREFIX || frame.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(frame.get_u32()).ok()?;
    let mut message = frame.get(..length)?;
    // What is not said is 0, UNKNOWN.
    let mut status = 0;
    while message.has_remaining() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == u64::from(FIRST_FIELD) {
                    status = value;
                }
            }
            // A field of a later version.
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn the_answer_says_whether_it_serves() {
        for (frame, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x05\x12\x01x\x08\x01", Some(1)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x09\x08\x01", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0", None),
        ] {
            assert_eq!(serving_status(frame), status, "{frame:?}");
        }
    }

    #[test]
    fn a_status_that_is_allowed_passes() {
        let probe = GrpcProbe { service: String::new(), host: None, status: Some(12) };
        let status = |status| Some((status, "no".to_owned()));
        let serving = b"\0\0\0\0\x02\x08\x01";
        assert!(judge(&probe, status(12), b"").is_ok());
        assert!(judge(&probe, status(0), serving).is_ok());
        let error = |status| judge(&probe, status, b"").expect_err("it fails").to_string();
        assert_eq!(error(status(14)), "grpc status 14 UNAVAILABLE (no), expected SERVING");
        assert_eq!(error(None), "the answer is not gRPC: it has no grpc-status");
    }
}
