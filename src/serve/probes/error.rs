//! What a probe met: what was expected and what came.

use std::io;
use std::time::Duration;

use crate::health::answer::Unexpected;

/// What kept a probe from passing. A text that the peer has sent is cut; whoever prints it escapes it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens.
    #[error("connect refused")]
    Refused,
    /// The connect failed otherwise.
    #[error("connect failed: {0}")]
    Connect(io::ErrorKind),
    /// The time limit passed before there was a connection.
    #[error("no connection within {0:?}")]
    NoConnection(Duration),
    /// The handshake of TLS failed.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The time limit passed after that.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The connection ended before the answer did.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// What came is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// What came is not HTTP/2.
    #[error("the answer is not HTTP/2: {0}")]
    NotHttp2(String),
    /// The answer is not as expected.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
    /// gRPC's health service says something else than that it serves.
    #[error("grpc {}, expected SERVING", Serving(*.0))]
    NotServing(u64),
    /// The call failed.
    #[error("grpc status {status}{}{}, expected SERVING", name(*.status), colon(.message))]
    GrpcStatus {
        /// Its status.
        status: u32,
        /// What the peer has to say of it.
        message: String,
    },
    /// The answer is none of gRPC.
    #[error("the answer is not gRPC: {0}")]
    NotGrpc(String),
    /// The request cannot be written.
    #[error("the path or host of the health check cannot be sent")]
    Request,
}

impl ProbeError {
    /// Whether there was a connection before things went wrong.
    pub(super) fn has_connected(&self) -> bool {
        !matches!(self, Self::Refused | Self::Connect(_) | Self::NoConnection(_))
    }

    /// Whether a kept connection may have been closed before it was asked again.
    pub(super) fn may_be_stale(&self) -> bool {
        matches!(self, Self::Closed | Self::NotHttp2(_))
    }
}

/// A `ServingStatus` of `grpc.health.v1`.
struct Serving(u64);

impl std::fmt::Display for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("UNKNOWN"),
            1 => f.write_str("SERVING"),
            2 => f.write_str("NOT_SERVING"),
            3 => f.write_str("SERVICE_UNKNOWN"),
            other => write!(f, "serving status {other}"),
        }
    }
}

/// The name of a status of gRPC, behind its number.
fn name(status: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    name.map(|name| format!(" {name}")).unwrap_or_default()
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}
