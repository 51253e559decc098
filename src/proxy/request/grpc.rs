//! gRPC: deadlines of clients, and errors of our own as its clients understand them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use super::{Client, Exchange, PeerHead, connection};
use crate::exchange::failure::Failure;
use crate::exchange::{answers, grpc, page};

/// No timeout of Pingora's may be none at all.
const LEAST: Duration = Duration::from_millis(1);

impl Exchange {
    /// Whether the request is handed on as gRPC.
    pub(super) fn speaks_grpc(&self) -> bool {
        self.aim.as_ref().is_some_and(|aimed| aimed.aim.grpc)
    }

    /// Whether its client wants to be told in gRPC's words what is wrong: it is a call, and its route
    /// leads to a server of gRPC, or there is none.
    fn is_call(&self, session: &dyn Client) -> bool {
        let headers = &session.req_header().headers;
        session.is_http2()
            && grpc::is_call(headers)
            && self.route().is_none_or(|route| route.action.speaks_grpc())
    }

    /// What is left of the time that the client gives a call; none where it says nothing.
    fn call_time_left(&self, headers: &HeaderMap) -> Option<Duration> {
        if !self.speaks_grpc() {
            return None;
        }
        let whole = grpc::timeout(headers)?;
        Some(whole.saturating_sub(self.began.elapsed()))
    }

    /// Until when an answer has to have begun, over a connection that is shared.
    pub(super) fn time_left(&self, session: &dyn Client) -> Option<Duration> {
        if !self.speaks_http2() {
            return None;
        }
        let attempt = self.settings().map(|s| s.retry.try_timeout).filter(|time| !time.is_zero());
        let call = self.call_time_left(&session.req_header().headers);
        let least = attempt.into_iter().chain(call).min()?;
        Some(least.max(LEAST))
    }

    /// Whether the time of a call is over.
    pub(super) fn is_overdue(&self, session: &dyn Client) -> bool {
        self.call_time_left(&session.req_header().headers).is_some_and(|left| left.is_zero())
    }

    /// Refuses a call whose time is over.
    pub(super) fn check_call_time(&mut self, session: &dyn Client) -> Result<()> {
        if !self.is_overdue(session) {
            return Ok(());
        }
        let peer = self.lease.as_ref().map(|lease| lease.address().to_string());
        self.refuse(Failure::Broken {
            peer: peer.unwrap_or_default(),
            error: "the call's deadline has passed".into(),
            timeout: true,
            reused: false,
            invalid: false,
        })
    }

    /// Ends an answer that goes on after the call's time is over.
    pub(in crate::proxy) fn check_answer_time(&mut self, session: &dyn Client) -> Result<()> {
        if self.speaks_grpc() { self.check_call_time(session) } else { Ok(()) }
    }

    /// Tells the upstream how much of the call's time is left.
    pub(super) fn pass_on_timeout(
        &self,
        session: &dyn Client,
        head: &mut impl PeerHead,
    ) -> Result<()> {
        let left = self.call_time_left(&session.req_header().headers);
        match left.filter(|_| head.has(&grpc::TIMEOUT)) {
            Some(left) => head.set(&grpc::TIMEOUT, grpc::timeout_value(left)),
            None => Ok(()),
        }
    }

    /// Tells the client of a call what is wrong, in a head that is all. Returns whether the request is
    /// one.
    pub(super) async fn send_call_status(
        &mut self,
        session: &mut Session,
        status: u16,
    ) -> Result<bool> {
        if !self.is_call(session) {
            return Ok(false);
        }
        let mut response = ResponseHeader::build(200, Some(6))?;
        response.insert_header(header::CONTENT_TYPE, grpc::TYPE)?;
        for (name, value) in &self.call_status(session, status) {
            response.insert_header(name.clone(), value.clone())?;
        }
        if let Some(server) = self.server() {
            response.insert_header(header::SERVER, server)?;
        }
        self.tell_id(&mut response);
        // Through Pingora's session the head could not be all.
        if let ServerSession::H2(http2) = session.as_mut() {
            http2.write_response_header(Box::new(response), true)?;
        }
        Ok(true)
    }

    /// Ends an answer to a call that broke off: what is wrong is said behind it.
    pub(super) async fn end_call(&mut self, session: &mut Session, status: u16) {
        if self.is_call(session) && status != 499 {
            let said = self.call_status(session, status);
            // The client has left, then.
            let _ = session.as_mut().write_response_trailers(said).await;
        }
    }

    fn call_status(&self, session: &dyn Client, status: u16) -> HeaderMap {
        let overdue = self.is_overdue(session);
        let code = grpc::status_of(status, overdue);
        let details = self.settings().is_some_and(|s| s.error_details);
        let reason = self.failure.as_ref().filter(|_| details).map(Failure::for_page);
        let text = match reason {
            Some(reason) => reason,
            None if overdue => "deadline exceeded".to_owned(),
            None => page::reason_of(status).unwrap_or("error").to_owned(),
        };
        HeaderMap::from_iter([
            (grpc::STATUS, HeaderValue::from(u16::from(code))),
            (grpc::MESSAGE, grpc::message(&text)),
        ])
    }

    /// Whether what is said behind an answer reaches the client: of gRPC always, else where it takes
    /// it and the route lets it.
    pub(super) fn wants_trailers(&self, headers: &HeaderMap) -> bool {
        let said = headers.get_all(header::TE).iter();
        let mut tokens = said.flat_map(|value| value.as_bytes().split(|b| *b == b','));
        let takes = tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"));
        takes && self.settings().is_some_and(|settings| settings.passing.trailers)
    }

    /// Passes on what an upstream says behind its answer, or leaves it out. HTTP/1 clients get it
    /// behind the last chunk.
    pub(in crate::proxy) fn pass_trailers(
        &mut self,
        session: &dyn Client,
        trailers: &mut HeaderMap,
    ) {
        if !self.speaks_grpc() && !self.wants_trailers(&session.req_header().headers) {
            trailers.clear();
        } else if session.is_http1()
            && let Some(connection) = connection(session)
        {
            let lines = trailers.iter();
            let lines: Vec<_> = lines
                .map(|(name, value)| (Bytes::from(name.as_str().to_owned()), value.clone()))
                .collect();
            connection.set_trailers(answers::trailers::lines(&lines));
        }
    }
}
