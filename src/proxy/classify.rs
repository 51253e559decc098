//! Pingora's errors in our own terms.

use std::io;

use h2::Reason;
use pingora::{Error, ErrorSource, ErrorType};

use crate::exchange::failure::Failure;

/// What is known of the attempt that failed.
pub(super) struct Attempted {
    /// The peer's address.
    pub(super) peer: String,
    /// Whether its connection had served a request before.
    pub(super) reused: bool,
}

/// An error of a connect: nothing was sent.
pub(super) fn connect(error: &Error, attempted: Attempted) -> Failure {
    match error.etype() {
        // No socket, no memory: the peer is not to blame.
        ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError => {
            Failure::Internal(words(error))
        }
        etype => Failure::Connect {
            peer: attempted.peer,
            error: words(error),
            timeout: *etype == ErrorType::ConnectTimedout,
        },
    }
}

/// An error after a connection was there.
pub(super) fn exchange(error: &Error, attempted: Attempted) -> Failure {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, etype) => downstream(etype, error),
        (ErrorSource::Upstream, _) if let Some(leaving) = unprocessed(error) => {
            let error = if leaving { "connection ends (GOAWAY)" } else { "stream refused" };
            Failure::Unprocessed { peer: attempted.peer, error: error.into(), leaving }
        }
        (ErrorSource::Upstream, etype) => Failure::Broken {
            peer: attempted.peer,
            error: words(error),
            timeout: matches!(etype, ErrorType::ReadTimedout | ErrorType::WriteTimedout),
            reused: attempted.reused,
            invalid: matches!(etype, ErrorType::InvalidHTTPHeader),
        },
        _ => Failure::Internal(words(error)),
    }
}

/// Whether a peer of HTTP/2 says that it has not looked at the request, because its connection ends
/// (true) or because it would not have it.
fn unprocessed(error: &Error) -> Option<bool> {
    let error = error.root_cause().downcast_ref::<h2::Error>().filter(|error| error.is_remote())?;
    match error.reason() {
        Some(Reason::NO_ERROR) if error.is_go_away() => Some(true),
        Some(Reason::REFUSED_STREAM) if error.is_reset() => Some(false),
        _ => None,
    }
}

/// Whether an error of the upstream's side shows that another may answer at the peer's address than
/// before: nobody listens there, or knows a connection that we have.
pub(super) fn shows_another(error: &Error) -> bool {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    *error.etype() == ErrorType::ConnectRefused
        || (*error.esource() == ErrorSource::Upstream
            && kind == Some(io::ErrorKind::ConnectionReset))
}

/// An error of the client's side.
fn downstream(etype: &ErrorType, error: &Error) -> Failure {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    match etype {
        ErrorType::ReadTimedout => Failure::ClientTimeout,
        // What our own reader says of a body that it cannot follow.
        ErrorType::ReadError if kind == Some(io::ErrorKind::InvalidData) => {
            Failure::InvalidBody("chunks that cannot be told apart".into())
        }
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed
        // The stream was reset: what is wrong with a body of HTTP/2 is found before.
        | ErrorType::H2Error => Failure::ClientGone,
        _ => Failure::InvalidBody(words(error)),
    }
}

/// An error before any attempt.
pub(super) fn early(error: &Error) -> Failure {
    match error.esource() {
        ErrorSource::Downstream => downstream(error.etype(), error),
        _ => Failure::Internal(words(error)),
    }
}

/// The shortest words that say what happened: ours where there are some, else the system's.
fn words(error: &Error) -> String {
    let what = match error.etype() {
        ErrorType::ConnectRefused => "connection refused",
        ErrorType::ConnectTimedout => "connect timed out",
        ErrorType::ConnectNoRoute => "no route to host",
        ErrorType::ReadTimedout => "read timed out",
        ErrorType::WriteTimedout => "write timed out",
        ErrorType::ConnectionClosed => "connection closed before the end of the answer",
        ErrorType::InvalidHTTPHeader => "invalid HTTP header",
        _ => "",
    };
    if !what.is_empty() {
        return what.to_owned();
    }
    match (&error.cause, &error.context) {
        (Some(_), _) => error.root_cause().to_string(),
        (None, Some(context)) => context.as_str().to_owned(),
        (None, None) => error.etype().as_str().to_lowercase(),
    }
}
