//! From a route to an answer of our own, or to an upstream: nginx's phases run, and an error page stands
//! for an error.

use http::header;
use pingora::Result;
use pingora_proxy::Session;

use super::subrequest::Outside;
use super::{Client, Exchange, limits, queued};
use crate::exchange::failure::Failure;
use crate::exchange::flow::{self, ErrorNext, Next, Start};
use crate::observe::event;

impl Exchange {
    /// Goes on until the request has come to something.
    pub(super) async fn advance(&mut self, session: &mut dyn Client, start: Start) -> Next {
        let next = self.step(session, start).await;
        self.wait_out(session, next).await
    }

    /// Goes on from where the request may have to wait.
    pub(super) async fn wait_out(&mut self, session: &mut dyn Client, mut next: Next) -> Next {
        while let Next::Wait(wait) = next {
            // No peer is held meanwhile, and no body was read.
            let stays = match session.session_mut() {
                Some(session) => queued::stays(session, wait).await,
                None => {
                    tokio::time::sleep(wait).await;
                    true
                }
            };
            if !stays {
                return Next::Fail(Failure::ClientGone);
            }
            next = self.step(session, Start::Content).await;
        }
        next
    }

    /// Goes on until the request has come to something, which may be that it has to wait.
    pub(super) async fn step(&mut self, session: &dyn Client, start: Start) -> Next {
        let mut course = std::mem::take(&mut self.course);
        let next = match self.scene(session) {
            Some(scene) => {
                let outside = Outside { exchange: self, session };
                flow::run(&mut course, &scene, &outside, start).await
            }
            None => Next::Fail(Failure::Internal("no connection".into())),
        };
        self.course = course;
        self.client = self.course.client.or(self.client);
        self.tell_stopped();
        next
    }

    /// Tells the log of limits that this request is the first to meet in a while.
    pub(super) fn tell_stopped(&mut self) {
        for stopped in self.course.stopped.drain(..) {
            limits::tell(&self.runtime, &stopped);
        }
    }

    /// Answers what needs no upstream, error pages included. Returns whether the request is
    /// answered.
    pub(super) async fn act(&mut self, session: &mut Session, mut next: Next) -> Result<bool> {
        loop {
            let (status, headers) = match next {
                Next::Proxy => return Ok(false),
                Next::Close => {
                    session.set_keepalive(None);
                    return Ok(true);
                }
                Next::Fail(Failure::ClientGone) => return self.refuse(Failure::ClientGone),
                Next::Reply(reply) if reply.page => (reply.status, reply.headers),
                Next::Fail(failure) => (self.fail(failure), Vec::new()),
                Next::Refuse(failure, headers) => {
                    let delay = self.settings().map(|settings| settings.clients.admission.delay);
                    let delay = delay.filter(|delay| !delay.is_zero() && failure.status() == 401);
                    if let Some(delay) = delay
                        && !queued::stays(session, delay).await
                    {
                        return self.refuse(Failure::ClientGone);
                    }
                    (self.fail(failure), headers)
                }
                own => match self.send(session, own).await? {
                    None => return Ok(true),
                    Some(failure) => (self.fail(failure), Vec::new()),
                },
            };
            let (status, headers) = match self.error_page(session, status) {
                ErrorNext::Page(status) => (status, headers),
                ErrorNext::Reply(reply) => (reply.status, reply.headers),
                ErrorNext::Go(start) => {
                    // Where a redirect leads and what a client needs is said whatever page stands
                    // for it.
                    let needs = headers.iter().filter(|(n, _)| *n == header::WWW_AUTHENTICATE);
                    self.passed_on.extend(needs.cloned());
                    let location = headers.into_iter().find(|(n, _)| *n == header::LOCATION);
                    self.location = location.map(Box::new);
                    next = self.advance(session, start).await;
                    continue;
                }
            };
            self.send_page(session, status, headers).await?;
            return Ok(true);
        }
    }

    /// Remembers why the request fails; returns its status.
    pub(super) fn fail(&mut self, failure: Failure) -> u16 {
        let status = failure.status();
        let told = self.settings().is_none_or(|settings| settings.files.log_not_found);
        if let Failure::NoFile { .. } | Failure::NoIndex(_) = &failure
            && (told || status != 404)
        {
            event::no_file(&failure);
        }
        self.failure = Some(failure);
        status
    }

    /// What follows from an error.
    pub(super) fn error_page(&mut self, session: &dyn Client, status: u16) -> ErrorNext {
        let mut course = std::mem::take(&mut self.course);
        let next = match self.scene(session) {
            Some(scene) => flow::error_page(&mut course, &scene, status),
            None => ErrorNext::Page(status),
        };
        self.course = course;
        next
    }
}
