//! One attempt: a peer is picked, and what came of it is told to its upstream.

use std::borrow::Cow;

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::Session;
use tokio::time::Instant;

use super::{Exchange, connection, is_answered};
use crate::exchange::failure::{self, Failure};
use crate::exchange::flow::{ErrorNext, Next};
use crate::health::{Outcome, Tick};
use crate::observe::access::Attempt;
use crate::observe::event;
use crate::proxy::classify::Attempted;
use crate::proxy::dial::{self, Pooled};
use crate::proxy::told;
use crate::upstream::{Key, Method, Tried};

impl Exchange {
    /// Picks a peer and says how to connect to it.
    ///
    /// An error page that is due is looked for first: it may lead to another upstream, or to an
    /// answer of our own, which waits in `pending` for [`Exchange::answer_failure`].
    pub(in crate::proxy) async fn begin_attempt(
        &mut self,
        session: &Session,
    ) -> Result<Box<HttpPeer>> {
        loop {
            if let Some(status) = self.detour.take() {
                self.take_detour(session, status).await?;
            }
            let picked = self.pick_peer(session);
            let status = self.failure.as_ref().map(Failure::status);
            match (picked, status) {
                (Err(_), Some(status)) if self.has_error_page(status) => self.detour = Some(status),
                (picked, _) => return picked,
            }
        }
    }

    /// Turns to the error page for a status.
    async fn take_detour(&mut self, session: &Session, status: u16) -> Result<()> {
        let next = match self.error_page(session, status) {
            ErrorNext::Page(_) => return Err(told(status)),
            ErrorNext::Reply(reply) => Next::Reply(reply),
            ErrorNext::Go(start) => self.advance(session, start).await,
        };
        self.tried = Tried::default();
        self.hash_key = None;
        if next == Next::Proxy {
            return Ok(());
        }
        self.pending = Some(next);
        Err(told(status))
    }

    /// Whether an error page answers this status here.
    pub(super) fn has_error_page(&self, status: u16) -> bool {
        self.settings().is_some_and(|settings| {
            let answers = &settings.answers;
            (!self.course.in_error_page || answers.recursive_error_pages)
                && answers.error_pages.iter().any(|page| page.statuses.contains(&status))
        })
    }

    fn pick_peer(&mut self, session: &Session) -> Result<Box<HttpPeer>> {
        self.lease = None;
        self.reused = false;
        self.attempt_began = Instant::now();
        let now = Tick::now();
        let next = self.next.take();
        self.hash_key = self.hash_key.take().or_else(|| self.make_hash_key(session));
        let Some((settings, (served, spec))) = self.settings().zip(self.served()) else {
            return self.refuse(Failure::Internal("no upstream".into()));
        };
        let picked =
            next.map_or_else(|| served.upstream.pick(self.key(session), &self.tried, now), Ok);
        let lease = match picked {
            Ok(lease) => lease,
            // The failure of the last peer tells more than that none is left.
            Err(_) if self.failure.is_some() => return Err(told(502)),
            Err(why) => {
                event::no_peer(&served.outage, served.upstream.name(), why, now);
                let failure = Failure::NoPeer {
                    upstream: served.upstream.name().to_owned(),
                    why,
                    discovery: (served.reason)(),
                };
                return self.refuse(failure);
            }
        };
        event::peer_found(&served.outage, served.upstream.name(), now);
        let repeatable = session.req_header().method.is_idempotent();
        let pooled = match (self.distrust_pool, repeatable) {
            (true, _) => Pooled::None,
            (false, true) => Pooled::Any,
            (false, false) => Pooled::Fresh,
        };
        let peer = dial::http_peer(&served.upstream, spec, &lease, settings, pooled);
        self.lease = Some(lease);
        Ok(peer)
    }

    /// What the request is known by to the upstream's method.
    pub(super) fn key(&self, session: &Session) -> Key<'_> {
        let text = self.hash_key.as_deref().unwrap_or_default();
        let client = connection(session).and_then(|c| Some(c.client?.ip()));
        Key { client: client.unwrap_or(Key::default().client), text }
    }

    fn make_hash_key(&self, session: &Session) -> Option<Vec<u8>> {
        let (_, spec) = self.served()?;
        let Method::Hash { key, .. } = &spec.method else { return None };
        Some(self.scene(session)?.with(&self.course).text(key))
    }

    /// Takes note of an attempt that failed and tells Pingora whether to make another.
    pub(in crate::proxy) fn end_attempt(
        &mut self,
        session: &mut Session,
        mut error: Box<Error>,
        classify: fn(&Error, Attempted) -> Failure,
    ) -> Box<Error> {
        let address = self.lease.as_ref().map(|lease| lease.address().clone());
        let failure = match self.failure.take() {
            // A phase of ours has refused the request or the answer.
            Some(told) if matches!(error.etype(), pingora::ErrorType::HTTPStatus(_)) => told,
            _ => {
                let peer = address.map(|a| a.to_string()).unwrap_or_default();
                classify(&error, Attempted { peer, reused: self.reused })
            }
        };
        self.report(failure.outcome());
        if let Some((served, _)) = self.served()
            && matches!(failure, Failure::Connect { .. } | Failure::Broken { .. })
        {
            served.upstream.ask_refresh();
        }
        match &failure {
            Failure::Status { status, .. } => self.note_attempt(Some(*status), None),
            // Its head is noted already; what follows broke.
            broken if is_answered(session) => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.time = self.attempt_began.elapsed();
                    attempt.error = Some(short(broken));
                }
            }
            failed => self.note_attempt(None, Some(short(failed))),
        }
        // A pooled connection that had ended tells nothing of its peer, which may be tried again.
        self.distrust_pool = matches!(failure, Failure::Broken { reused: true, .. });
        if !self.distrust_pool
            && let Some(lease) = &self.lease
        {
            self.tried.add(lease);
        }
        let retry = self.settings().is_some_and(|settings| {
            failure::may_retry(&failure, &self.attempted(session), &settings.retry)
        });
        self.lease = None;
        let status = failure.status();
        let page = !retry && !is_answered(session) && status != 499 && self.has_error_page(status);
        if page {
            self.detour = Some(status);
        }
        self.failure = Some(failure);
        error.set_retry(retry || page);
        error
    }

    pub(super) fn attempted<'a>(&self, session: &'a Session) -> failure::Attempted<'a> {
        failure::Attempted {
            method: &session.req_header().method,
            replayable: self.body.is_whole() || !session.as_ref().retry_buffer_truncated(),
            answered: is_answered(session),
            attempts: self.attempts.len(),
            elapsed: self.body.since(self.began).elapsed(),
        }
    }

    /// Tells the upstream what the present attempt says about its peer.
    pub(super) fn report(&self, outcome: Option<Outcome>) {
        if let Some(((served, _), (lease, outcome))) =
            self.served().zip(self.lease.as_ref().zip(outcome))
            && let Some(change) = served.upstream.report(lease, outcome, Tick::now())
        {
            event::peer(served.upstream.name(), &change);
        }
    }

    pub(super) fn note_attempt(&mut self, status: Option<u16>, error: Option<Cow<'static, str>>) {
        if let Some(lease) = &self.lease {
            let time = self.attempt_began.elapsed();
            self.attempts.push(Attempt { address: lease.address().clone(), status, time, error });
        }
    }
}

/// What an attempt's entry in the access log says of its failure; its address stands beside it.
fn short(failure: &Failure) -> Cow<'static, str> {
    match failure {
        Failure::Connect { error, .. } | Failure::Broken { error, .. } => error.clone().into(),
        other => other.to_string().into(),
    }
}
