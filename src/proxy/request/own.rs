//! Answers that no upstream gives: files, lists of directories, replies, pages.

use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use super::{Client, Exchange, connection};
use crate::config::model::site::AutoindexFormat;
use crate::exchange::answers::{self, Allowed, Head, Plan, conditions};
use crate::exchange::failure::Failure;
use crate::exchange::flow::{FileFound, FileRule, Kind, Next, Stat};
use crate::exchange::listing::{self, Listing};
use crate::exchange::reply::Reply;
use crate::exchange::status::Shown;
use crate::exchange::{files, location, page};
use crate::observe::page as status_page;
use crate::observe::{counters, metrics};
use crate::proxy::disk::{self, Sent, blocking};
use crate::proxy::files::{self as bodies, Body, FRAME};
use crate::proxy::head::written;

/// The header that says the request's id, as people write it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is said of a file and not of the page that stands for it. Everything else that was added
/// before a range was refused stays, as nginx's filters leave it.
const OF_FILE: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::LAST_MODIFIED,
    header::ETAG,
    header::ACCEPT_RANGES,
];

/// An answer of our own, ready to go out.
#[derive(Debug)]
pub(in crate::proxy) struct Own {
    pub(in crate::proxy) head: Box<ResponseHeader>,
    /// What becomes of its body.
    pub(in crate::proxy) plan: Plan,
    /// Whether its head is all of it.
    pub(in crate::proxy) bodiless: bool,
    /// Whether trailers follow.
    trailers: bool,
}

impl Exchange {
    /// Sends what the request has come to; a failure where it cannot be had.
    pub(super) async fn send(
        &mut self,
        session: &mut Session,
        next: Next,
    ) -> Result<Option<Failure>> {
        match next {
            Next::Reply(reply) => self.send_reply(session, reply).await,
            Next::File(found) => self.send_file(session, found).await,
            Next::Listing(path) => self.send_listing(session, path).await,
            Next::StubStatus => {
                if !matches!(session.req_header().method, Method::GET | Method::HEAD) {
                    return Ok(Some(Failure::MethodNotAllowed));
                }
                let content_type = Some("text/plain".to_owned());
                let body = counters::page().into();
                let reply = Reply { status: 200, content_type, body, ..Reply::default() };
                self.send_reply(session, reply).await
            }
            Next::Status(shown) => {
                let reply = self.status_reply(shown);
                self.send_reply(session, reply).await
            }
            _ => Ok(Some(Failure::NoRoute)),
        }
    }

    /// What is known of the process at this moment.
    fn status_reply(&self, shown: Shown) -> Reply {
        let (content_type, body) = match shown {
            Shown::Page => {
                ("text/html; charset=utf-8", Bytes::from_static(status_page::html().as_bytes()))
            }
            Shown::Json => ("application/json", self.runtime.status().to_json().into()),
            Shown::Metrics => (metrics::CONTENT_TYPE, self.runtime.metrics().into()),
        };
        let mut headers = vec![
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        if shown == Shown::Page {
            let policy = HeaderValue::from_static(status_page::policy());
            headers.push((header::CONTENT_SECURITY_POLICY, policy));
        }
        let content_type = Some(content_type.to_owned());
        Reply { status: 200, headers, content_type, body, ..Reply::default() }
    }

    async fn send_reply(&mut self, session: &mut Session, reply: Reply) -> Result<Option<Failure>> {
        let status = self.course.status.unwrap_or(reply.status);
        let mut response = ResponseHeader::build(status, Some(8))?;
        if let Some(content_type) = reply.content_type.filter(|kind| !kind.is_empty()) {
            response.insert_header(header::CONTENT_TYPE, content_type)?;
        }
        for (name, value) in reply.headers {
            response.append_header(written(&name), value)?;
        }
        let allowed = Allowed { conditions: true, ..Allowed::default() };
        self.send_own(session, Box::new(response), Body::Bytes(reply.body), allowed).await
    }

    async fn send_file(
        &mut self,
        session: &mut Session,
        found: FileFound,
    ) -> Result<Option<Failure>> {
        let sent = match self.open_file(session, &found).await {
            Ok(sent) => sent,
            Err(failure) => return Ok(Some(failure)),
        };
        let response = self.file_head(session, &found, &sent.stat)?;
        let Sent { file, stat, bytes: first } = sent;
        let body = Body::File { file, length: stat.length, first };
        self.send_own(session, response, body, of_file(&found)).await
    }

    /// Opens the file that is to be sent; all of it is read where that is little and may be wanted.
    pub(in crate::proxy) async fn open_file(
        &self,
        client: &dyn Client,
        found: &FileFound,
    ) -> Result<Sent, Failure> {
        let rule = self.file_rule(client);
        let whole = rule.cache.is_on() || may_be_whole(client);
        let sent = disk::send(&found.path, rule, whole).await;
        let sent = sent.map_err(|error| Failure::of_file("open()", &found.path, &error))?;
        if sent.stat.kind == Kind::File { Ok(sent) } else { Err(Failure::NoRoute) }
    }

    /// The head of an answer that is a file; a failure where the request's conditions refuse it.
    pub(in crate::proxy) fn prepare_file(
        &mut self,
        client: &mut dyn Client,
        found: &FileFound,
        stat: &Stat,
    ) -> Result<Result<Own, Failure>> {
        let head = self.file_head(client, found, stat)?;
        self.prepare_own(client, head, Some(stat.length), of_file(found))
    }

    async fn send_listing(
        &mut self,
        session: &mut Session,
        path: PathBuf,
    ) -> Result<Option<Failure>> {
        let Some(settings) = self.settings() else { return Ok(Some(Failure::NoRoute)) };
        let style = settings.files.autoindex;
        let utf8 = self.charset(session).is_some_and(|name| name.eq_ignore_ascii_case(b"utf-8"));
        let callback = match style.format {
            AutoindexFormat::Jsonp => listing::callback(&self.course.args),
            _ => Some(&[][..]),
        };
        let Some(callback) = callback else { return Ok(Some(Failure::Configured(400))) };
        let folder = path.clone();
        let entries = match blocking(move || disk::entries(&folder)).await {
            Ok(entries) => entries,
            Err(error) => return Ok(Some(Failure::of_file("opendir()", &path, &error))),
        };
        let ahead = answers::headers::ahead_of_utc(SystemTime::now());
        let ahead = i32::try_from(ahead).unwrap_or(0);
        let listing = Listing { style, uri: &self.course.uri, callback, utf8, ahead };
        let status = self.course.status.unwrap_or(200);
        let mut response = ResponseHeader::build(status, Some(8))?;
        response.insert_header(header::CONTENT_TYPE, listing.content_type())?;
        let body = Body::Streamed(listing.write(entries).into());
        self.send_own(session, Box::new(response), body, Allowed::default()).await
    }

    /// What `charset` says here.
    fn charset(&self, session: &dyn Client) -> Option<Vec<u8>> {
        let scene = self.scene(session)?;
        let charset = self.settings()?.answers.charset.as_ref()?;
        Some(scene.with(&self.course).text(charset))
    }

    fn file_rule(&self, session: &dyn Client) -> FileRule {
        let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
            return FileRule::default();
        };
        files::rule(&settings.files, &scene.with(&self.course))
    }

    fn file_head(
        &self,
        session: &dyn Client,
        found: &FileFound,
        stat: &Stat,
    ) -> Result<Box<ResponseHeader>> {
        let mut response = ResponseHeader::build(self.course.status.unwrap_or(200), Some(12))?;
        let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
            return Ok(Box::new(response));
        };
        let kind = files::content_type(&scene.with(&self.course));
        if !kind.is_empty() {
            response.insert_header(header::CONTENT_TYPE, kind)?;
        }
        let modified = conditions::whole(stat.modified);
        response
            .insert_header(written(&header::LAST_MODIFIED), httpdate::fmt_http_date(modified))?;
        if settings.files.etag {
            response
                .insert_header(written(&header::ETAG), conditions::etag(modified, stat.length))?;
        }
        if found.packed {
            response.insert_header(header::CONTENT_ENCODING, "gzip")?;
        }
        Ok(Box::new(response))
    }

    /// Sends the page of a status, or what stands for it.
    pub(super) async fn send_page(
        &mut self,
        session: &mut Session,
        status: u16,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<()> {
        if self.send_call_status(session, status).await? {
            return Ok(());
        }
        let settings = self.settings();
        let details = settings.is_some_and(|s| s.error_details);
        let reason = self.failure.as_ref().filter(|_| details).map(Failure::for_page);
        let shown = page::shown(self.course.status.unwrap_or(status));
        let mut response = ResponseHeader::build(shown, Some(8))?;
        let mut body = Bytes::new();
        if page::exists(status) {
            let accept = session.req_header().headers.get_all(header::ACCEPT);
            let form = page::form(status, accept.iter().map(HeaderValue::as_bytes));
            let server = self.server().unwrap_or(super::SERVER);
            let reason = reason.as_deref();
            body = Bytes::from(page::page(form, status, &self.id, reason, server));
            response.insert_header(header::CONTENT_TYPE, form.content_type())?;
        }
        if page::is_error(status) {
            response.insert_header(written(&REQUEST_ID), &*self.id)?;
            if page::exists(status) {
                response.insert_header(header::VARY, "Accept")?;
            }
        }
        for (name, value) in headers {
            response.append_header(written(&name), value)?;
        }
        if let Some(Failure::Limited { retry_after: Some(after), .. }) = &self.failure {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header(written(&header::RETRY_AFTER), seconds.to_string())?;
        }
        if let Some(Failure::RangeNotSatisfiable { length }) = &self.failure {
            response.insert_header(written(&header::CONTENT_RANGE), format!("bytes */{length}"))?;
        }
        if connection(session).is_some_and(|c| c.is_leaving()) {
            session.set_keepalive(None);
        }
        if page::closes(status) || (!session.is_body_done() && expects(session)) {
            session.set_keepalive(None);
            if self.leaves_unread(session)
                && let Some(connection) = connection(session)
            {
                connection.linger();
            }
        }
        self.send_own(session, Box::new(response), Body::Bytes(body), Allowed::default()).await?;
        Ok(())
    }

    /// What `Server` says; none leaves the header to the upstream.
    pub(super) fn server(&self) -> Option<&'static str> {
        self.settings().map_or(Some(super::SERVER), |settings| settings.server_header.text())
    }

    /// Says the request's id in an answer where the route wants it there.
    pub(super) fn tell_id(&self, head: &mut impl Head) {
        if self.settings().is_some_and(|settings| settings.request_id.answer)
            && let Ok(id) = HeaderValue::try_from(&*self.id)
        {
            head.set(&REQUEST_ID, id);
        }
    }

    /// Sends an answer of our own through the filters; a failure where they refuse it.
    async fn send_own(
        &mut self,
        session: &mut Session,
        response: Box<ResponseHeader>,
        body: Body,
        allowed: Allowed,
    ) -> Result<Option<Failure>> {
        let length = (!matches!(body, Body::Streamed(_))).then(|| body.len());
        let own = match self.prepare_own(session, response, length, allowed)? {
            Ok(own) => own,
            Err(failure) => return Ok(Some(failure)),
        };
        let Own { head, plan, bodiless, trailers } = own;
        let status = head.status.as_u16();
        let empty = body.len() == 0 || bodiless;
        if let ServerSession::H2(http2) = session.as_mut()
            && empty
            && !trailers
        {
            // Through Pingora's session the head could not be all, as a client of gRPC wants it.
            http2.write_response_header(head, true)?;
            return Ok(None);
        }
        session.write_response_header(head, bodiless).await?;
        bodies::write(session, &body, plan, &mut self.gauge).await?;
        if trailers {
            self.send_trailers(session, status).await?;
        }
        session.write_response_body(None, true).await?;
        Ok(None)
    }

    /// The filters on an answer of our own, whose body has this length, or one that its head says nothing of; a
    /// failure where they refuse it.
    fn prepare_own(
        &mut self,
        session: &mut dyn Client,
        mut response: Box<ResponseHeader>,
        length: Option<u64>,
        allowed: Allowed,
    ) -> Result<Result<Own, Failure>> {
        if let Some(length) = length {
            response.insert_header(header::CONTENT_LENGTH, length)?;
        }
        for (name, value) in std::mem::take(&mut self.passed_on) {
            if name == header::CONTENT_TYPE {
                response.remove_header(&name);
            }
            response.append_header(written(&name), value)?;
        }
        self.add_cookies(&mut *response);
        if let Some((name, value)) = self.location.take().map(|location| *location)
            && !response.headers.contains_key(&name)
        {
            response.append_header(written(&name), value)?;
        }
        let mut plan = Plan::Whole;
        let mut chunked = true;
        if let Some((settings, scene)) = self.settings().zip(self.scene(session)) {
            let facts = scene.with(&self.course);
            let (files, answers) = (&settings.files, &settings.answers);
            if response.status == 204 {
                response.remove_header(&header::CONTENT_TYPE);
            }
            let now = SystemTime::now();
            plan = match answers::ours(&mut *response, &facts, files, answers, allowed, now) {
                Ok(plan) => plan,
                Err(failure) => {
                    let added = response.headers.iter().filter(|(name, _)| !OF_FILE.contains(name));
                    self.passed_on = added.map(|(n, v)| (n.clone(), v.clone())).collect();
                    return Ok(Err(failure));
                }
            };
            if !matches!(response.status.as_u16(), 200 | 206 | 304) {
                response.remove_header(&header::LAST_MODIFIED);
            }
            if let Some(at) = response.headers.get(header::LOCATION) {
                let at = location::absolute(&facts, at.as_bytes().to_vec());
                response.insert_header(written(&header::LOCATION), at)?;
            }
            chunked = answers.chunked;
        }
        if let Some(server) = self.server() {
            response.insert_header(header::SERVER, server)?;
        }
        self.tell_id(&mut *response);
        let bodiless = matches!(response.status.as_u16(), 204 | 304);
        if bodiless {
            response.remove_header(&header::CONTENT_LENGTH);
        }
        let head_only = session.req_header().method == Method::HEAD;
        let status = response.status.as_u16();
        let trailers = chunked
            && !bodiless
            && !head_only
            && session.req_header().version >= Version::HTTP_11
            && self.settings().is_some_and(|s| answers::trailers::expected(&s.answers, status));
        if trailers {
            response.remove_header(&header::CONTENT_LENGTH);
        }
        response.set_reason_phrase(page::reason_of(response.status.as_u16()))?;
        if !session.is_body_done()
            && !expects(session)
            && !page::closes(response.status.as_u16())
            && let Some(session) = session.session_mut()
        {
            // What is left of the body is read once the answer is sent.
            session.as_mut().set_close_on_response_before_downstream_finish(false);
        }
        let bodiless = bodiless || head_only;
        frame(session, &mut response, chunked && !head_only, bodiless)?;
        self.set_rate(session);
        self.bound_reader(session, FRAME);
        if bodiless {
            plan = Plan::Nothing;
        }
        Ok(Ok(Own { head: response, plan, bodiless, trailers }))
    }

    /// Sends what follows the body.
    async fn send_trailers(&self, session: &mut Session, status: u16) -> Result<()> {
        let said = self.trailers(session, status);
        if session.is_http1() {
            if let Some(connection) = connection(session) {
                connection.set_trailers(answers::trailers::lines(&said));
            }
            return Ok(());
        }
        let mut map = HeaderMap::new();
        for (name, value) in said {
            if let Ok(name) = HeaderName::from_bytes(&name) {
                map.append(name, value);
            }
        }
        session.as_mut().write_response_trailers(map).await
    }

    /// Whether anything is said behind the body of an answer here.
    pub(in crate::proxy) fn says_trailers(&self) -> bool {
        self.settings().is_some_and(|settings| !settings.answers.trailers.is_empty())
    }

    /// What is said behind the body of an answer of this status.
    pub(super) fn trailers(&self, session: &dyn Client, status: u16) -> Vec<(Bytes, HeaderValue)> {
        let Some((settings, scene)) = self.settings().zip(self.scene(session)) else {
            return Vec::new();
        };
        answers::trailers::said(&scene.with(&self.course), &settings.answers, status)
    }
}

/// What may be done to an answer that is a file.
fn of_file(found: &FileFound) -> Allowed {
    Allowed { conditions: true, ranges: !found.packed, vary: found.vary }
}

/// Says how the body ends.
fn frame(
    session: &mut dyn Client,
    response: &mut ResponseHeader,
    chunked: bool,
    nothing_follows: bool,
) -> Result<()> {
    if response.headers.contains_key(header::CONTENT_LENGTH) || !session.is_http1() {
        return Ok(());
    }
    if chunked && !nothing_follows && session.req_header().version == Version::HTTP_11 {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    } else if !nothing_follows {
        session.set_keepalive(None);
    }
    Ok(())
}

/// Whether the client waits to be told to send its body.
fn expects(session: &dyn Client) -> bool {
    session.req_header().headers.contains_key(header::EXPECT)
}

/// Whether the request may get all of a file: no condition, no part, not its head alone.
fn may_be_whole(session: &dyn Client) -> bool {
    let request = session.req_header();
    request.method != Method::HEAD
        && !request.headers.contains_key(header::RANGE)
        && !request.headers.contains_key(header::IF_NONE_MATCH)
        && !request.headers.contains_key(header::IF_MODIFIED_SINCE)
}
