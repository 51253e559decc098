//! One request over HTTP/1.1, and whether its answer is as expected.

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderValue, Method};
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;

use super::ProbeError;
use crate::config::model::health_check::HttpProbe;
use crate::health::answer;

/// How much of the body is looked at.
const BODY_BYTES: usize = 64 * 1024;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) probe: &'a HttpProbe,
    pub(super) host: &'a str,
    /// Whether the connection is to serve further probes.
    pub(super) keep: bool,
}

/// What probes call themselves.
pub(super) const AGENT: &str = concat!("robin/", env!("CARGO_PKG_VERSION"), " (health check)");

impl Question<'_> {
    fn request(&self) -> pingora::Result<RequestHeader> {
        let HttpProbe { method, path, headers, .. } = self.probe;
        let mut request = RequestHeader::build(method.as_str(), path.as_bytes(), Some(6))?;
        request.insert_header(HOST, self.host)?;
        request.insert_header(USER_AGENT, AGENT)?;
        request.insert_header(ACCEPT, "*/*")?;
        if *method == Method::POST {
            request.insert_header(CONTENT_LENGTH, "0")?;
        }
        if !self.keep {
            request.insert_header(CONNECTION, "close")?;
        }
        // What is written takes the place of what is said above.
        for (name, _) in headers {
            request.remove_header(name);
        }
        for (name, value) in headers {
            request.append_header(name.clone(), HeaderValue::clone(value))?;
        }
        Ok(request)
    }
}

/// Asks over `stream` and checks the answer. The time limit is the caller's. The stream, if it can be asked again.
pub(super) async fn ask(
    stream: Stream,
    question: &Question<'_>,
) -> Result<Option<Stream>, ProbeError> {
    let expected = &question.probe.expected;
    let request = question.request().map_err(|_| ProbeError::Request)?;
    let mut session = HttpSession::new(stream);
    session.write_request_header(Box::new(request)).await.map_err(broken)?;
    session.finish_body().await.map_err(broken)?;
    loop {
        session.read_response().await.map_err(broken)?;
        let status = session.get_status().ok_or(ProbeError::NotHttp)?;
        // 101 ends the headers; the other 1xx announce the answer that follows.
        if !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS {
            break;
        }
    }
    let head = session.resp_header().ok_or(ProbeError::NotHttp)?;
    answer::check_head(expected, head.status.as_u16(), &head.headers)?;
    if expected.body.is_empty() && !question.keep {
        return Ok(None);
    }
    let mut body: Vec<u8> = Vec::new();
    while body.len() < BODY_BYTES {
        let Some(chunk) = session.read_body_ref().await.map_err(broken)? else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES - body.len())]);
        if !question.keep && answer::is_enough(expected, &body) {
            return Ok(None);
        }
    }
    answer::check_body(expected, &body)?;
    session.respect_keepalive();
    Ok(if question.keep { session.reuse().await } else { None })
}

#[expect(clippy::boxed_local, reason = "it is what `map_err` hands over")]
fn broken(error: Box<pingora::Error>) -> ProbeError {
    match error.etype() {
        ErrorType::InvalidHTTPHeader => ProbeError::NotHttp,
        _ => ProbeError::Closed,
    }
}
