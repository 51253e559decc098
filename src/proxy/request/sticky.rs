//! The session of a request: what it says is worked out once for each upstream that it goes to, the
//! cookie of the peer that is tried last goes out with whatever answer the client gets.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, header};

use super::{Client, Exchange};
use crate::config::model::Sticky;
use crate::exchange::answers::Head;
use crate::exchange::sticky;
use crate::health::Tick;
use crate::proxy::head::written;

/// A request's session.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Whether the request was asked for the present upstream.
    asked: bool,
    /// What the request says of its session.
    said: Option<Vec<u8>>,
    /// What the peer is known by that the session is bound to; empty for none.
    pub(super) sid: Arc<str>,
    /// The cookies that the answer gets, one for each upstream that the request went to.
    cookies: Vec<HeaderValue>,
    /// Whether the last of them is that of the present upstream.
    has_cookie: bool,
    /// Whether the table of sessions was told of the present attempt.
    learnt: bool,
}

impl Exchange {
    /// Finds out which peer of the upstream the request's session is bound to.
    pub(super) fn find_session(&mut self, session: &dyn Client) {
        if self.bound.asked {
            return;
        }
        self.bound.asked = true;
        let Some(served) = self.served() else { return };
        // Before the scene: most upstreams keep no sessions, and every request comes here.
        let Some(spec) = &served.spec.sticky else { return };
        let Some(scene) = self.scene(session) else { return };
        let Some(said) = sticky::said(spec, &scene.with(&self.course)) else { return };
        let sid = match served.upstream.sessions() {
            Some(sessions) => sessions.lookup(&said, Tick::now()),
            // No peer is known by anything else than text.
            None => std::str::from_utf8(&said).ok().map(Arc::from),
        };
        self.bound.sid = sid.unwrap_or_default();
        self.bound.said = Some(said);
    }

    /// Forgets what holds for the present upstream, since the request turns to another.
    pub(super) fn leave_session(&mut self) {
        let cookies = std::mem::take(&mut self.bound.cookies);
        self.bound = Bound { cookies, ..Bound::default() };
    }

    /// Says which peer is tried now: the client's next request is to go there, too.
    pub(super) fn mark_session(&mut self, session: &dyn Client) {
        self.bound.learnt = false;
        let cookie = self.cookie(session);
        let Some(cookie) = cookie else { return };
        if self.bound.has_cookie {
            self.bound.cookies.pop();
        }
        self.bound.has_cookie = true;
        self.bound.cookies.push(cookie);
    }

    fn cookie(&self, session: &dyn Client) -> Option<HeaderValue> {
        let Some(Sticky::Cookie(spec)) = &self.served()?.spec.sticky else { return None };
        let sid = self.lease.as_ref()?.member().route.as_deref()?;
        let scene = self.scene(session)?;
        sticky::cookie(spec, sid, &scene.with(&self.course), SystemTime::now())
    }

    /// Tells the table of sessions that the present peer has answered, once for each attempt; at its
    /// head if that is what was asked for, else at its end.
    pub(super) fn learn_session(&mut self, session: &dyn Client, at_head: bool) {
        if self.bound.learnt {
            return;
        }
        let Some(served) = self.served() else { return };
        let Some(Sticky::Learn(learn)) = &served.spec.sticky else { return };
        if at_head != learn.header {
            return;
        }
        let sid = self.lease.as_ref().and_then(|lease| lease.member().route.as_ref());
        let found = sid.zip(served.upstream.sessions()).zip(self.scene(session));
        let Some(((sid, sessions), scene)) = found else { return };
        let facts = scene.with(&self.course);
        if let Some((id, begin)) = sticky::learnt(learn, &facts, self.bound.said.as_deref()) {
            sessions.learn(&id, sid, begin, Tick::now());
        }
        self.bound.learnt = true;
    }

    /// Adds the cookies to an answer, before those of the upstream, as nginx does.
    pub(super) fn add_cookies(&mut self, head: &mut impl Head) {
        if self.bound.cookies.is_empty() {
            return;
        }
        let mut cookies = std::mem::take(&mut self.bound.cookies);
        cookies.extend(head.headers().get_all(header::SET_COOKIE).iter().cloned());
        let written = written(&header::SET_COOKIE);
        head.remove(&header::SET_COOKIE);
        cookies.into_iter().for_each(|cookie| head.add(&header::SET_COOKIE, &written, cookie));
    }
}
