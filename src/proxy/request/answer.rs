//! The answer: a peer's, taken or passed over for the next one's, or our own page.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, Session};

use super::{Detour, Exchange, connection, is_answered, is_interim};
use crate::config::model::ServerHeader;
use crate::exchange::answers;
use crate::exchange::failure::Failure;
use crate::exchange::flow::Next;
use crate::exchange::head;
use crate::exchange::passing::{self, Edit};
use crate::health::{Outcome, Tick};
use crate::proxy::downstream::LAST_CHUNK;
use crate::proxy::gzip::Packer;
use crate::proxy::head::written;
use crate::proxy::{classify, told};
use crate::upstream::Lease;

/// Where an upstream sends the request instead of answering it.
const ACCEL_REDIRECT: &str = "x-accel-redirect";
/// What such an answer says that holds for what is there as well.
const PASSED_ON: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::EXPIRES,
];

impl Exchange {
    /// Takes note of the head of an answer, or refuses it for the next peer's.
    pub(in crate::proxy) fn take_answer(
        &mut self,
        session: &Session,
        response: &ResponseHeader,
    ) -> Result<()> {
        let status = response.status.as_u16();
        if is_interim(response.status) {
            return Ok(());
        }
        self.tell_head(response);
        if !self.end_race() {
            return Err(told(502));
        }
        if let Some(overdue) = self.meet_deadline() {
            return self.refuse(overdue);
        }
        let Some((settings, lease)) = self.settings().zip(self.lease.as_ref()) else {
            return Ok(());
        };
        if status == 101 && !self.upgrades {
            let failure = Failure::Broken {
                peer: lease.address().to_string(),
                error: "switches protocols unasked".into(),
                timeout: false,
                reused: false,
                invalid: false,
            };
            return self.refuse(failure);
        }
        if settings.retry.statuses.contains(&status) {
            let failure = Failure::Status { peer: lease.address().to_string(), status };
            if self.may_retry(session, &failure) {
                // Without another peer this answer is the best there is.
                self.next = self.pick_another(session);
                if self.next.is_some() {
                    return self.refuse(failure);
                }
                self.refund();
            }
            // A 404 says nothing against the peer, asked for as a reason or not.
            self.report(Some(failure.outcome().unwrap_or(Outcome::Success)));
        } else {
            lease.answered(self.attempt_began.elapsed(), Tick::now());
            self.learn_time();
            self.report(Some(Outcome::Success));
        }
        self.failure = None;
        self.learn_session(session, true);
        self.note_attempt(status);
        if let Some(detour) = self.detour_of(response) {
            self.release_peer(session);
            if matches!(detour, Detour::To(_)) {
                self.pass_on(response);
            }
            self.detour = Some(detour);
            return Err(told(status));
        }
        if has_no_body(session, response) {
            self.release_peer(session);
        }
        Ok(())
    }

    /// A peer beside those that have failed and the present one.
    fn pick_another(&self, session: &Session) -> Option<Lease> {
        let mut tried = self.tried.clone();
        tried.add(self.lease.as_ref()?);
        self.served()?.upstream.pick(&self.key(session), &tried, Tick::now()).ok()
    }

    /// Keeps what an answer that leads elsewhere says of what is there
    /// (`ngx_http_upstream_process_headers`).
    fn pass_on(&mut self, response: &ResponseHeader) {
        let named = |name: &HeaderName| response.headers.get_all(name).iter().cloned();
        let kept = PASSED_ON.iter().flat_map(|name| named(name).map(|value| (name.clone(), value)));
        self.passed_on = kept.collect();
    }

    /// Whether an answer sends the request elsewhere: to the page of its status
    /// (`proxy_intercept_errors`), or where it says (`X-Accel-Redirect`).
    fn detour_of(&self, response: &ResponseHeader) -> Option<Detour> {
        let passing = &self.settings()?.passing;
        let status = response.status.as_u16();
        let redirect = response.headers.get(ACCEL_REDIRECT);
        if let Some(target) =
            redirect.filter(|_| !passing.ignore.iter().any(|n| n == ACCEL_REDIRECT))
        {
            return Some(Detour::To(target.as_bytes().to_vec()));
        }
        let intercepted = passing.intercept_errors && status >= 300;
        (intercepted && self.has_error_page(status)).then_some(Detour::Error(status))
    }

    /// The peer has answered: it has room for another request before the client has read the
    /// answer's end, and so may send one.
    pub(in crate::proxy) fn release_peer(&mut self, session: &Session) {
        self.learn_session(session, false);
        self.retire_connection();
        if let Some(lease) = self.lease.take() {
            lease.finished(self.attempt_began.elapsed());
        }
    }

    /// Adjusts the head of the answer for the client.
    pub(in crate::proxy) fn finish_answer_head(
        &mut self,
        session: &mut Session,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        if session.req_header().headers.contains_key(header::EXPECT)
            && session.is_body_done()
            && let ServerSession::H1(http1) = session.as_mut()
        {
            // With an interim answer before the body, Pingora gave up on the connection.
            http1.respect_keepalive();
        }
        if self.runtime.config.keepalive_timeout.is_zero() || session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        for name in head::hop_by_hop(&response.headers) {
            response.remove_header(&name);
        }
        self.edit_answer(session, response)?;
        self.add_cookies(response)?;
        self.filter_answer(session, response)?;
        if let Some(server) = self.server().filter(|_| self.says_robin()) {
            response.insert_header(header::SERVER, server)?;
        }
        if session.req_header().version < Version::HTTP_11 && !response.status.is_informational() {
            // HTTP/1.0 knows no chunks: without a length the end of the body is the connection's.
            response.remove_header(&header::TRANSFER_ENCODING);
            if !response.headers.contains_key(header::CONTENT_LENGTH) {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    /// Does to an upstream's answer what is done to every answer.
    fn filter_answer(&mut self, session: &Session, response: &mut ResponseHeader) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if let Some(status) = self.course.status {
            response.set_status(status)?;
        }
        if let Some((name, value)) = self.location.take()
            && !response.headers.contains_key(&name)
        {
            response.append_header(written(&name), value)?;
        }
        let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
            return Ok(());
        };
        let answers = &settings.answers;
        if answers::leave_alone(answers) {
            return Ok(());
        }
        let facts = scene.with(&self.course);
        let level = answers::every(response, &facts, answers, false, SystemTime::now());
        if has_no_body(session, response) {
            return Ok(());
        }
        let status = response.status.as_u16();
        let trailed = answers.chunked
            && session.as_http1().is_some()
            && session.req_header().version >= Version::HTTP_11
            && answers::trailers::expected(answers, status);
        // HTTP/1.0 and HTTP/2 need no more than that the length is gone.
        if trailed || (level.is_some() && answers.chunked && session.as_http1().is_some()) {
            response.remove_header(&header::CONTENT_LENGTH);
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        self.trailed = trailed.then_some(status);
        self.packer = level.map(Packer::new);
        Ok(())
    }

    /// Does to a piece of an upstream's body what is to be done to it.
    pub(in crate::proxy) fn pass_body(
        &mut self,
        session: &Session,
        body: &mut Option<Bytes>,
        end: bool,
    ) {
        self.pack(body, end);
        let Some(status) = self.trailed else { return };
        let piece = body.as_deref().unwrap_or_default();
        if answers::trailers::looks_like(piece, LAST_CHUNK) {
            // The end of the chunks could not be told from it.
            self.trailed = None;
        } else if end && let Some(connection) = connection(session) {
            let said = self.trailers(session, status);
            connection.set_trailers(answers::trailers::lines(&said));
        }
    }

    /// Packs a piece of an upstream's body, if it is to be packed.
    fn pack(&mut self, body: &mut Option<Bytes>, end: bool) {
        // Who wants each piece at once (`proxy_buffering off`) gets it at once.
        let at_once = self.settings().is_some_and(|settings| !settings.passing.buffering);
        let Some(packer) = &mut self.packer else { return };
        let piece = body.take().unwrap_or_default();
        let mut packed = if at_once && !piece.is_empty() {
            packer.pack_and_flush(&piece)
        } else {
            packer.pack(&piece)
        };
        if end {
            packed = [&packed[..], &packer.finish()].concat().into();
        }
        *body = Some(packed);
    }

    /// Whether the `Server` of an upstream's answer gives way to our own.
    fn says_robin(&self) -> bool {
        self.settings().is_none_or(|settings| {
            settings.server_header != ServerHeader::Off
                && !settings.passing.pass.contains(&header::SERVER)
        })
    }

    /// Changes what the route says of an upstream's headers.
    fn edit_answer(&self, session: &Session, response: &mut ResponseHeader) -> Result<()> {
        let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
            return Ok(());
        };
        let facts = scene.with(&self.course);
        for Edit { name, values } in passing::edits(&response.headers, &settings.passing, &facts) {
            response.remove_header(&name);
            for value in values {
                response.append_header(name.clone(), value)?;
            }
        }
        Ok(())
    }

    /// Answers with the page for what went wrong, if the client still waits for one.
    pub(in crate::proxy) async fn answer_failure(
        &mut self,
        session: &mut Session,
        error: &Error,
    ) -> FailToProxy {
        if let Some(next) = self.pending.take()
            && !is_answered(session)
            && let Some(answered) = self.answer_instead(session, next).await
        {
            return answered;
        }
        let failure = self.failure.get_or_insert_with(|| classify::early(error));
        let status = failure.status();
        if is_answered(session) || status == 499 {
            session.set_keepalive(None);
            return FailToProxy { error_code: status, can_reuse_downstream: false };
        }
        // Only Pingora's early errors leave the connection usable; the answer has to say so.
        let reusable = self.course.route.is_none() && status == 404 && session.is_body_done();
        if !reusable {
            session.set_keepalive(None);
        }
        if !session.is_body_done()
            && let Some(connection) = connection(session)
        {
            connection.linger();
        }
        // What an error page before has made of the status is not this one's.
        self.course.status = None;
        let can_reuse_downstream =
            self.send_page(session, status, Vec::new()).await.is_ok() && reusable;
        FailToProxy { error_code: status, can_reuse_downstream }
    }

    /// Answers with what an error page has come to; none where the error's own page is due.
    async fn answer_instead(&mut self, session: &mut Session, next: Next) -> Option<FailToProxy> {
        let failure = self.failure.take();
        match self.act(session, next).await {
            Ok(true) => {
                let status = session.response_written().map_or(500, |r| r.status.as_u16());
                self.failure = failure;
                let can_reuse_downstream = session.is_body_done();
                Some(FailToProxy { error_code: status, can_reuse_downstream })
            }
            _ => None,
        }
    }
}

/// Whether an answer ends with its head (RFC 9112, section 6.3).
fn has_no_body(session: &Session, response: &ResponseHeader) -> bool {
    session.req_header().method == http::Method::HEAD
        || matches!(response.status.as_u16(), 204 | 304)
        || response.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
}
