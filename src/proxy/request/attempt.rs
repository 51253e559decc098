//! One attempt: a peer is picked, and what came of it is told to its upstream.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::Session;
use tokio::time::Instant;

use super::connected::Connected;
use super::queued::Unserved;
use super::{Aimed, Client, Detour, Exchange, at_once, connection, is_answered};
use crate::config::model::{ProxyTarget, RouteSettings, Upstream as Spec};
use crate::exchange::aim::{self, Aim, At};
use crate::exchange::failure::Failure;
use crate::exchange::flow::{ErrorNext, Next, Start};
use crate::exchange::proxy_protocol;
use crate::health::{Outcome, Tick, clock};
use crate::observe::access::Attempt;
use crate::observe::event;
use crate::proxy::classify::{self, Attempted};
use crate::proxy::dial::{self, Pooled, Speaks};
use crate::proxy::tls::Secure;
use crate::proxy::told;
use crate::upstream::{Key, Lease, Method, Refusal, Tried};

impl Exchange {
    /// Picks a peer and says how to connect to it.
    ///
    /// An error page that is due is looked for first: it may lead to another upstream, or to an
    /// answer of our own, which waits in `pending` for [`Exchange::answer_failure`].
    pub(in crate::proxy) async fn begin_attempt(
        &mut self,
        session: &mut Session,
    ) -> Result<Box<HttpPeer>> {
        self.tell_body(session);
        if self.speaks_grpc() {
            self.check_call_time(session)?;
        }
        loop {
            if let Some(detour) = self.detour.take() {
                self.turn(session, detour).await?;
            }
            if self.aim.is_none() {
                self.take_aim(session).await?;
            }
            let picked = self.pick_peer(session).await;
            let status = self.failure.as_ref().map(Failure::status);
            match (picked, status) {
                (Err(_), Some(status)) if self.has_error_page(status) => {
                    self.detour = Some(Detour::Error(status));
                }
                (picked, _) => return picked,
            }
        }
    }

    /// Turns to another route.
    async fn turn(&mut self, session: &mut dyn Client, detour: Detour) -> Result<()> {
        let next = match detour {
            Detour::Error(status) => match self.error_page(session, status) {
                ErrorNext::Page(_) => return Err(told(status)),
                ErrorNext::Reply(reply) => Next::Reply(reply),
                ErrorNext::Go(start) => self.advance(session, start).await,
            },
            Detour::To(target) => self.go_to(session, &target).await,
        };
        self.tell_redirect();
        if next == Next::Proxy {
            self.tried = Tried::default();
            self.hash_key = None;
            self.leave_session();
            self.aim = None;
            self.kept.without_peer = None;
            return Ok(());
        }
        self.pending = Some(Box::new(next));
        Err(told(500))
    }

    /// Goes where an upstream has sent the request: a path or a named route.
    async fn go_to(&mut self, session: &mut dyn Client, target: &[u8]) -> Next {
        let (turned, start) = match self.course.named(&self.runtime.config, target) {
            Some(route) => (self.course.enter(route), Start::Route),
            None => {
                if session.req_header().method != http::Method::HEAD {
                    self.course.method = Some(http::Method::GET);
                }
                (self.course.redirect(target), Start::Path)
            }
        };
        match turned {
            Ok(()) => self.advance(session, start).await,
            Err(cycle) => Next::Fail(cycle.into()),
        }
    }

    /// Works out where the request is handed to, where nobody is to be asked for it.
    pub(in crate::proxy) fn take_aim_at_once(&mut self, session: &dyn Client) -> Result<()> {
        let aimed = {
            let aiming = pin!(self.take_aim(session));
            at_once(aiming)
        };
        aimed.unwrap_or_else(|| self.refuse(Failure::Internal("a target that asks".into())))
    }

    /// Works out where the request is handed to. A host that nobody has asked for yet is looked up
    /// first; with the first answer, whatever it is, the request goes on.
    async fn take_aim(&mut self, session: &dyn Client) -> Result<()> {
        let aim = self.proxy().and_then(|proxy| match &proxy.to {
            ProxyTarget::Upstream(index) => Some(Ok(Aim::at(*index, proxy))),
            ProxyTarget::Template(template) => {
                let scene = self.scene(session)?;
                Some(aim::aim(proxy, template, &scene.with(&self.course)))
            }
        });
        let aim = match aim {
            Some(Ok(aim)) => aim,
            Some(Err(failure)) => return self.refuse(failure),
            None => return self.refuse(Failure::Internal("no upstream".into())),
        };
        let served = match &aim.at {
            At::Upstream(index) => self.runtime.upstreams.get(*index).map(Arc::clone),
            At::Address(host, port) => {
                let resolver = self.settings().and_then(|settings| settings.resolver.as_ref());
                self.runtime.implicit.upstream(host, *port, resolver).await
            }
        };
        let Some(served) = served else {
            return self.refuse(Failure::BadTarget(format!("too many hosts, not {}", aim.host)));
        };
        self.course.proxy_host.clone_from(&aim.host);
        self.aim = Some(Aimed { aim, served });
        self.deposit();
        Ok(())
    }

    /// Whether an error page answers this status here.
    pub(super) fn has_error_page(&self, status: u16) -> bool {
        self.settings().is_some_and(|settings| {
            let answers = &settings.answers;
            (!self.course.in_error_page || answers.recursive_error_pages)
                && answers.error_pages.iter().any(|page| page.statuses.contains(&status))
        })
    }

    async fn pick_peer(&mut self, session: &mut Session) -> Result<Box<HttpPeer>> {
        self.prepare_pick(session);
        let now = Tick::now();
        let picked = match (self.next.take(), self.served().map(Arc::clone)) {
            (None, Some(served)) => self.pick_in_turn(session, &served, now).await,
            (Some(next), _) => Ok(next),
            (None, None) => return self.refuse(Failure::Internal("no upstream".into())),
        };
        let ahead = self.ahead.take().map(|ahead| *ahead);
        let began = ahead.as_ref().map(|(_, began)| *began);
        let (lease, pooled) = self.take_pick(session, picked, began, now)?;
        let Some((settings, served)) = self.settings().zip(self.served()) else {
            return self.refuse(Failure::Internal("no upstream".into()));
        };
        let http2 = self.speaks_http2();
        let secure = match self.secure(session, settings) {
            Ok(secure) => secure,
            Err(failure) => return self.refuse(failure),
        };
        let upgrades = !http2 && self.upgrades(session);
        let (upstream, spec) = (&served.upstream, &served.spec);
        let speaks = if http2 { Speaks::Http2 } else { Speaks::Http1 { upgrades } };
        let said = self.announced(session, spec);
        let mut peer =
            dial::http_peer(upstream, spec, &lease, settings, secure, pooled, speaks, said);
        if let Some(left) = self.time_left(session) {
            let read = &mut peer.options.read_timeout;
            *read = read.map(|read| read.min(left));
        }
        if let Some((ahead, _)) = ahead {
            peer.options.custom_l4 = Some(ahead.connector(&lease));
        }
        self.upgrades = upgrades;
        self.hold(session, lease);
        Ok(peer)
    }

    /// Gets ready for a peer to be picked.
    pub(in crate::proxy) fn prepare_pick(&mut self, session: &dyn Client) {
        self.lease = None;
        self.connected = Connected::default();
        self.reused = false;
        self.hash_key = self.hash_key.take().or_else(|| self.make_hash_key(session));
        self.find_session(session);
    }

    /// Picks a peer at once.
    pub(in crate::proxy) fn pick_now(
        &self,
        session: &dyn Client,
        now: Tick,
    ) -> std::result::Result<Lease, Unserved> {
        let Some(served) = self.served() else { return Err(Unserved::Gone) };
        let picked = served.upstream.pick(&self.key(session), &self.tried, now);
        picked.map_err(|why| Unserved::Refused(Refusal { why, waited: None }))
    }

    /// The peer of the present attempt.
    pub(in crate::proxy) fn peer(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Begins the attempt at a peer that was picked, or says why there is none; `began` tells of one
    /// that has begun before. Tells which pooled connections it may take.
    pub(in crate::proxy) fn take_pick(
        &mut self,
        session: &dyn Client,
        picked: std::result::Result<Lease, Unserved>,
        began: Option<Instant>,
        now: Tick,
    ) -> Result<(Lease, Pooled)> {
        self.attempt_began = began.unwrap_or_else(clock::now);
        self.begin_span();
        if began.is_some() {
            self.connected = Connected::ahead();
        }
        let lease = match picked {
            Ok(lease) => lease,
            Err(unserved) => return self.refuse_unserved(unserved),
        };
        let Some(served) = self.served() else {
            return self.refuse(Failure::Internal("no upstream".into()));
        };
        if !self.attempts.is_empty() && began.is_none() && !self.is_redirected() {
            served.upstream.tally().retries.add();
        }
        event::peer_found(&served.outage, served.upstream.name(), now);
        let repeatable = session.req_header().method.is_idempotent();
        let pooled = match (self.distrust_pool || began.is_some(), repeatable) {
            (true, _) => Pooled::None,
            (false, true) => Pooled::Any,
            // A peer that closes a connection of HTTP/2 says which requests it has not looked at.
            (false, false) if self.speaks_http2() => Pooled::Any,
            (false, false) => Pooled::Fresh,
        };
        Ok((lease, pooled))
    }

    /// Keeps the peer of the attempt that begins.
    pub(in crate::proxy) fn hold(&mut self, session: &dyn Client, lease: Lease) {
        self.spent = false;
        self.lease = Some(lease);
        self.mark_session(session);
    }

    /// What a connection to the upstream begins with, for one that wants to know for whom it is.
    pub(super) fn announced(&self, session: &dyn Client, spec: &Spec) -> Option<Vec<u8>> {
        let version = spec.send_proxy?;
        let known = connection(session);
        let ends = known.and_then(|c| self.client.or(c.client).zip(c.local));
        Some(proxy_protocol::write(version, ends))
    }

    /// Says why there is no peer for the attempt.
    fn refuse_unserved<T>(&mut self, unserved: Unserved) -> Result<T> {
        let Unserved::Refused(refusal) = unserved else {
            return self.refuse(Failure::ClientGone);
        };
        let Some(served) = self.served().map(Arc::clone) else {
            return self.refuse(Failure::Internal("no upstream".into()));
        };
        let upstream = served.upstream.name().to_owned();
        // The failure of the last peer tells more than that none is left.
        if self.failure.is_some() {
            if refusal.why.has_untried(self.attempts.len()) {
                self.kept.without_peer = Some(upstream);
            }
            self.refund();
            return Err(told(502));
        }
        let now = Tick::now();
        let peers = served.upstream.explain(&self.tried, now);
        served.upstream.tally().unserved.add();
        event::no_peer(&served.outage, &upstream, refusal.why, &peers, now);
        self.kept.without_peer = Some(upstream.clone());
        self.refuse(Failure::of_refusal(upstream, refusal, peers, (served.reason)()))
    }

    /// How TLS is spoken to the peer, if it is.
    pub(super) fn secure(
        &self,
        session: &dyn Client,
        settings: &RouteSettings,
    ) -> std::result::Result<Option<Secure>, Failure> {
        let Some(aimed) = self.aim.as_ref().filter(|aimed| aimed.aim.tls) else { return Ok(None) };
        let tls = &settings.passing.tls;
        let written = tls.name.as_ref().zip(self.scene(session));
        let name = written.map(|(name, scene)| scene.with(&self.course).text(name));
        let name = match &name {
            Some(name) => String::from_utf8_lossy(name),
            None => aimed.aim.host.as_str().into(),
        };
        let config = self.runtime.tls_peers.find(tls, self.speaks_http2());
        let config = config.ok_or_else(|| Failure::Internal("no settings for TLS".into()))?;
        let bad = || Failure::BadTarget(format!("{name} is no name for TLS"));
        Secure::new(config, &name).ok_or_else(bad).map(Some)
    }

    /// What the request is known by to the upstream's method.
    pub(super) fn key(&self, session: &dyn Client) -> Key<'_> {
        let text = self.hash_key.as_deref().unwrap_or_default();
        let client = self.client.or(connection(session).and_then(|c| c.client));
        let client = client.map(|address| address.ip());
        Key { client: client.unwrap_or(Key::default().client), text, sid: &self.bound.sid }
    }

    fn make_hash_key(&self, session: &dyn Client) -> Option<Vec<u8>> {
        let Method::Hash { key, .. } = &self.served()?.spec.method else { return None };
        Some(self.scene(session)?.with(&self.course).text(key))
    }

    /// Takes note of an attempt that failed and tells Pingora whether to make another.
    pub(in crate::proxy) fn end_attempt(
        &mut self,
        session: &dyn Client,
        mut error: Box<Error>,
        classify: fn(&Error, Attempted) -> Failure,
    ) -> Box<Error> {
        if self.detour.is_some() {
            // The answer was fine; what it says sends the request elsewhere.
            self.lease = None;
            error.set_retry(true);
            return error;
        }
        if self.overtake(&error) {
            error.set_retry(true);
            return error;
        }
        self.leave_race("given up");
        if self.connected.was_ended() {
            // Nothing was sent: another connection to the same peer may do.
            self.distrust_pool = true;
            self.lease = None;
            error.set_retry(true);
            return error;
        }
        let address = self.lease.as_ref().map(|lease| lease.address().clone());
        let failure = match self.failure.take() {
            // A phase of ours has refused the request or the answer.
            Some(told) if matches!(error.etype(), pingora::ErrorType::HTTPStatus(_)) => told,
            _ => {
                let peer = address.map(|a| a.to_string()).unwrap_or_default();
                self.explain(classify(&error, Attempted { peer, reused: self.reused }))
            }
        };
        self.connected = Connected::default();
        self.report(failure.outcome());
        if let Some(served) = self.served()
            && matches!(failure, Failure::Connect { .. } | Failure::Broken { .. })
        {
            served.upstream.ask_refresh();
        }
        if classify::shows_another(&error) {
            self.doubt();
        }
        // A connection that had ended tells nothing of its peer, which may be tried again.
        self.distrust_pool = matches!(
            failure,
            Failure::Broken { timeout: false, reused: true, .. }
                | Failure::Unprocessed { leaving: true, .. }
        );
        if !self.distrust_pool
            && let Some(lease) = &self.lease
        {
            self.tried.add(lease);
        }
        let retry = self.may_retry(session, &failure);
        match &failure {
            // That connections are kept is our choice: what follows from it is not to be seen.
            Failure::Broken { .. } | Failure::Unprocessed { .. } if self.distrust_pool && retry => {
            }
            Failure::Status { status, .. } => self.note_attempt(*status),
            // Its head is noted already; what follows broke.
            broken if is_answered(session) => {
                self.learn_session(session, false);
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.time = clock::since(self.attempt_began);
                    attempt.error = Some(short(broken));
                }
            }
            failed => {
                let status = failed.status();
                self.note_failed_attempt(status, short(failed));
            }
        }
        self.lease = None;
        let status = failure.status();
        let page = !retry && !is_answered(session) && status != 499 && self.has_error_page(status);
        if page {
            self.detour = Some(Detour::Error(status));
        }
        self.failure = Some(failure);
        error.set_retry(retry || page);
        error
    }

    /// Tells the upstream what the present attempt says about its peer.
    pub(super) fn report(&self, outcome: Option<Outcome>) {
        let Some((served, (lease, outcome))) = self.served().zip(self.lease.as_ref().zip(outcome))
        else {
            return;
        };
        let now = Tick::now();
        if outcome != Outcome::Success {
            lease.failed(clock::since(self.attempt_began), now);
        }
        if let Some(change) = served.upstream.report(lease, outcome, now) {
            event::peer(served.upstream.name(), &change);
        }
    }

    /// Tells the upstream that another may answer at the present peer's address.
    fn doubt(&self) {
        if let Some((served, lease)) = self.served().zip(self.lease.as_ref())
            && let Some(change) = served.upstream.doubt(lease, Tick::now())
        {
            event::peer(served.upstream.name(), &change);
        }
    }

    /// Takes note of an attempt that has got an answer.
    pub(super) fn note_attempt(&mut self, status: u16) {
        self.push_attempt(Some(status), None, None);
    }

    /// Takes note of an attempt that has failed, which the client would get this status for.
    fn note_failed_attempt(&mut self, status: u16, error: Cow<'static, str>) {
        self.push_attempt(None, Some(status), Some(error));
    }

    pub(super) fn push_attempt(
        &mut self,
        status: Option<u16>,
        failed: Option<u16>,
        error: Option<Cow<'static, str>>,
    ) {
        let Some(lease) = &self.lease else { return };
        lease.tally().statuses.count(status);
        let address = lease.address().clone();
        let (time, measured) = (clock::since(self.attempt_began), self.measured(failed));
        // Nearly always there is one.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt { address, status, time, error, measured });
    }
}

/// What an attempt's entry in the access log says of its failure; its address stands beside it.
fn short(failure: &Failure) -> Cow<'static, str> {
    match failure {
        Failure::Connect { error, .. }
        | Failure::Broken { error, .. }
        | Failure::Unprocessed { error, .. } => error.clone().into(),
        other => other.to_string().into(),
    }
}
