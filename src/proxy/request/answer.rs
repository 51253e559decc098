//! The answer: a peer's, taken or passed over for the next one's, or our own page.

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::protocols::http::ServerSession;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, Session};

use super::body::is_event_stream;
use super::{Client, Detour, Exchange, connection, is_answered, is_interim};
use crate::config::model::Identity;
use crate::exchange::answers::{self, Head};
use crate::exchange::failure::Failure;
use crate::exchange::flow::Next;
use crate::exchange::head;
use crate::exchange::passing::{self, Edit};
use crate::health::{Outcome, Tick, clock};
use crate::proxy::downstream::LAST_CHUNK;
use crate::proxy::gzip::Packer;
use crate::proxy::head::written;
use crate::proxy::{classify, told};
use crate::upstream::Lease;

/// The status of an answer behind which another protocol is spoken.
const SWITCHES: u16 = StatusCode::SWITCHING_PROTOCOLS.as_u16();
/// Where an upstream sends the request instead of answering it.
static ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");
/// What such an answer says that holds for what is there as well.
const PASSED_ON: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::EXPIRES,
];

impl Exchange {
    /// Takes note of the head of an answer, which had this length, or refuses it for the next peer's.
    pub(in crate::proxy) fn take_answer(
        &mut self,
        session: &dyn Client,
        response: &Parts,
        head_bytes: u64,
    ) -> Result<()> {
        let status = response.status.as_u16();
        if is_interim(response.status) {
            return Ok(());
        }
        self.tell_head(response, head_bytes);
        self.hear_rate(response);
        self.set_upstream_rate(session);
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
            lease.answered(clock::since(self.attempt_began), Tick::now());
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
        if has_no_body(session, status, &response.headers) {
            self.release_peer(session);
        }
        Ok(())
    }

    /// A peer beside those that have failed and the present one.
    fn pick_another(&self, session: &dyn Client) -> Option<Lease> {
        let mut tried = self.tried.clone();
        tried.add(self.lease.as_ref()?);
        self.served()?.upstream.pick(&self.key(session), &tried, Tick::now()).ok()
    }

    /// Keeps what an answer that leads elsewhere says of what is there
    /// (`ngx_http_upstream_process_headers`).
    fn pass_on(&mut self, response: &Parts) {
        let named = |name: &HeaderName| response.headers.get_all(name).iter().cloned();
        let kept = PASSED_ON.iter().flat_map(|name| named(name).map(|value| (name.clone(), value)));
        self.passed_on = kept.collect();
    }

    /// Whether an answer sends the request elsewhere: to the page of its status
    /// (`proxy_intercept_errors`), or where it says (`X-Accel-Redirect`).
    fn detour_of(&self, response: &Parts) -> Option<Detour> {
        let passing = &self.settings()?.passing;
        let status = response.status.as_u16();
        let redirect = self.said_to_us(&response.headers, &ACCEL_REDIRECT);
        if let Some(target) = redirect.filter(|_| !passing.ignore.contains(&ACCEL_REDIRECT)) {
            return Some(Detour::To(target.as_bytes().to_vec()));
        }
        let intercepted = passing.intercept_errors && status >= 300;
        (intercepted && self.has_error_page(status)).then_some(Detour::Error(status))
    }

    /// The peer has answered: it has room for another request before the client has read the
    /// answer's end, and so may send one.
    pub(in crate::proxy) fn release_peer(&mut self, session: &dyn Client) {
        self.learn_session(session, false);
        self.retire_connection();
        if let Some(lease) = self.lease.take() {
            lease.finished(clock::since(self.attempt_began));
        }
    }

    /// Adjusts the head of the answer for the client.
    pub(in crate::proxy) fn finish_answer_head(
        &mut self,
        session: &mut dyn Client,
        head: &mut impl Head,
    ) {
        if session.session().is_some_and(|s| s.req_header().headers.contains_key(header::EXPECT))
            && session.is_body_done()
            && let Some(ServerSession::H1(http1)) = session.session_mut().map(Session::as_mut)
        {
            // With an interim answer before the body, Pingora gave up on the connection.
            http1.respect_keepalive();
        }
        self.settle_keepalive(session);
        let (status, switches) = (head.status(), head.status() == SWITCHES);
        if status < 200 && !switches {
            self.choose_interim(session, status);
            return;
        }
        if !switches {
            self.set_rate(session);
        }
        for name in head::hop_by_hop(head.headers()) {
            head.remove(&name);
        }
        self.edit_answer(session, head);
        self.add_cookies(head);
        if !switches {
            self.filter_answer(session, head);
        }
        if let Some(server) = self.server().filter(|_| self.says_robin()) {
            head.set(&header::SERVER, HeaderValue::from_static(server));
        }
        self.tell_id(head);
        if session.req_header().version < Version::HTTP_11 && !switches {
            // HTTP/1.0 knows no chunks: without a length the end of the body is the connection's.
            head.remove(&header::TRANSFER_ENCODING);
            if !head.headers().contains_key(header::CONTENT_LENGTH) {
                session.set_keepalive(None);
            }
        }
    }

    /// Lets 103 pass where the route wants it, and nothing else: what a client that waits for leave to
    /// send its body is told is told by us, or comes from an upstream that has been asked. Clients of
    /// HTTP/1.0 know none of these.
    fn choose_interim(&self, session: &mut dyn Client, status: u16) {
        let wanted = || {
            let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
                return false;
            };
            let facts = scene.with(&self.course);
            let mut said = settings.passing.early_hints.iter().map(|hint| facts.text(hint));
            said.any(|text| !matches!(&text[..], b"" | b"0"))
        };
        let passes = status == StatusCode::EARLY_HINTS.as_u16()
            && session.req_header().version >= Version::HTTP_11
            && wanted();
        if let Some(ServerSession::H1(http1)) = session.session_mut().map(Session::as_mut) {
            http1.set_ignore_info_resp(!passes);
        }
    }

    /// Does to an upstream's answer what is done to every answer.
    fn filter_answer(&mut self, session: &dyn Client, head: &mut impl Head) {
        if let Some(status) = self.course.status {
            head.set_status(status);
        }
        if let Some((name, value)) = self.location.take().map(|location| *location)
            && !head.headers().contains_key(&name)
        {
            head.set(&name, value);
        }
        let Some(settings) = self.settings() else { return };
        let (answers, buffering) = (&settings.answers, settings.passing.buffering);
        if answers::leave_alone(answers) {
            return;
        }
        let Some(scene) = self.scene(session) else { return };
        let facts = scene.with(&self.course);
        let mut level = answers::every(head, &facts, answers, false, SystemTime::now());
        if level.is_some() && self.speaks_grpc() {
            // Messages are packed by those who write them, if at all.
            head.remove(&header::CONTENT_ENCODING);
            level = None;
        }
        let status = head.status();
        if has_no_body(session, status, head.headers()) {
            return;
        }
        let trailed = answers.chunked
            && session.is_http1()
            && session.req_header().version >= Version::HTTP_11
            && answers::trailers::expected(answers, status);
        // HTTP/1.0 and HTTP/2 need no more than that the length is gone.
        if trailed || (level.is_some() && answers.chunked && session.is_http1()) {
            head.remove(&header::CONTENT_LENGTH);
            head.set(&header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.trailed = trailed.then_some(status);
        self.packer = level.map(|level| Box::new(Packer::new(level)));
        // Who wants each piece at once (`proxy_buffering off`) gets it at once.
        self.flushes = !buffering || is_event_stream(head.headers());
    }

    /// Does to a piece of an upstream's body what is to be done to it.
    pub(in crate::proxy) fn pass_body(
        &mut self,
        session: &dyn Client,
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

    /// What is left of a packed body once all of it is here, where trailers follow it.
    pub(in crate::proxy) fn pack_rest(&mut self) -> Option<Bytes> {
        self.packer.take().map(|mut packer| packer.finish())
    }

    /// Packs a piece of an upstream's body, if it is to be packed.
    fn pack(&mut self, body: &mut Option<Bytes>, end: bool) {
        let at_once = self.flushes;
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
            settings.server_header.name != Identity::Upstream
                && !settings.passing.pass.contains(&header::SERVER)
        })
    }

    /// Changes what the route says of an upstream's headers.
    fn edit_answer(&self, session: &dyn Client, head: &mut impl Head) {
        let Some(passing) = self.settings().map(|settings| &settings.passing) else { return };
        for name in passing::hidden(head.headers(), passing) {
            head.remove(&name);
        }
        if !passing::rewrites(head.headers(), passing) {
            return;
        }
        let Some(scene) = self.scene(session) else { return };
        let facts = scene.with(&self.course);
        for Edit { name, values } in passing::edits(head.headers(), passing, &facts) {
            head.remove(&name);
            let written = written(&name);
            values.into_iter().for_each(|value| head.add(&name, &written, value));
        }
    }

    /// Answers with the page for what went wrong, if the client still waits for one.
    pub(in crate::proxy) async fn answer_failure(
        &mut self,
        session: &mut Session,
        error: &Error,
    ) -> FailToProxy {
        if let Some(next) = self.pending.take()
            && !is_answered(session)
            && let Some(answered) = self.answer_instead(session, *next).await
        {
            return answered;
        }
        let status = self.tell_failure(error);
        if is_answered(session) || status == 499 {
            session.set_keepalive(None);
            self.end_call(session, status).await;
            self.deliver_part(session).await;
            return FailToProxy { error_code: status, can_reuse_downstream: false };
        }
        // Only Pingora's early errors leave the connection usable; the answer has to say so.
        let reusable = self.course.route.is_none() && status == 404 && session.is_body_done();
        if !reusable {
            session.set_keepalive(None);
        }
        if self.leaves_unread(session)
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

    /// Takes note of an error beside all attempts, unless it is known why the request fails; tells the status.
    pub(in crate::proxy) fn tell_failure(&mut self, error: &Error) -> u16 {
        self.failure.get_or_insert_with(|| classify::early(error)).status()
    }

    /// Whether more of the request may come. Pingora takes a body that cannot be read for done.
    pub(super) fn leaves_unread(&self, session: &mut Session) -> bool {
        !session.is_body_done() || self.failure.as_ref().is_some_and(Failure::leaves_unread)
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
fn has_no_body(session: &dyn Client, status: u16, headers: &HeaderMap) -> bool {
    session.req_header().method == http::Method::HEAD
        || matches!(status, 204 | 304)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
}
