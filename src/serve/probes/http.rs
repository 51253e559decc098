//! One GET over HTTP/1.1 on a connection of its own, and what is wanted of the answer.

use std::ops::RangeInclusive;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::l4::stream::Stream;

use super::ProbeError;

/// How much of the body is searched.
const BODY_BYTES: usize = 64 * 1024;

/// What is asked for, and what passes.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) status: &'a [RangeInclusive<u16>],
    pub(super) body: Option<&'a str>,
}

impl Wanted<'_> {
    fn request(&self) -> pingora::Result<RequestHeader> {
        let mut request = RequestHeader::build("GET", self.path.as_bytes(), Some(4))?;
        request.insert_header(HOST, self.host)?;
        request.insert_header(
            USER_AGENT,
            concat!("robin/", env!("CARGO_PKG_VERSION"), " (health check)"),
        )?;
        request.insert_header(ACCEPT, "*/*")?;
        request.insert_header(CONNECTION, "close")?;
        Ok(request)
    }
}

/// Asks over `stream` and checks the answer. The time limit is the caller's.
pub(super) async fn ask(stream: Stream, wanted: &Wanted<'_>) -> Result<(), ProbeError> {
    let request = wanted.request().map_err(|_| ProbeError::Request)?;
    let mut session = HttpSession::new(Box::new(stream));
    session.write_request_header(Box::new(request)).await.map_err(broken)?;
    session.finish_body().await.map_err(broken)?;
    let status = loop {
        session.read_response().await.map_err(broken)?;
        let status = session.get_status().ok_or(ProbeError::NotHttp)?;
        // 101 ends the headers; the other 1xx announce the answer that follows.
        if !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS {
            break status.as_u16();
        }
    };
    if !wanted.status.iter().any(|range| range.contains(&status)) {
        return Err(ProbeError::Status { status, expected: wanted.status.to_vec() });
    }
    match wanted.body {
        Some(text) => find(&mut session, text).await,
        None => Ok(()),
    }
}

/// Reads until the text is there, the body ends or enough was read.
async fn find(session: &mut HttpSession, text: &str) -> Result<(), ProbeError> {
    let mut body: Vec<u8> = Vec::new();
    while body.len() < BODY_BYTES {
        let Some(chunk) = session.read_body_ref().await.map_err(broken)? else { break };
        // The text may have begun in what was read before.
        let from = body.len().saturating_sub(text.len());
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES - body.len())]);
        if body[from..].windows(text.len().max(1)).any(|window| window == text.as_bytes()) {
            return Ok(());
        }
    }
    if text.is_empty() { Ok(()) } else { Err(ProbeError::Body(text.to_owned())) }
}

fn broken(error: impl AsRef<pingora::Error>) -> ProbeError {
    match error.as_ref().etype() {
        ErrorType::InvalidHTTPHeader => ProbeError::NotHttp,
        _ => ProbeError::Closed,
    }
}
