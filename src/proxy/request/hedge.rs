//! Hedging: a second attempt of a request that takes longer than nearly all do, and what comes of it.
//!
//! Only a GET or HEAD without a body, once a request, for its first attempt, and where no session binds
//! it to its peer. Who answers first gets its answer through; the other attempt is listed in the
//! access log as overtaken. See [`crate::proxy::race`].

use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, header};
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::{Error, ErrorSource};
use pingora_proxy::Session;

use super::Exchange;
use super::connected::Connected;
use crate::health::Tick;
use crate::observe::access::{Attempt, Measured};
use crate::observe::event;
use crate::proxy::dial::Dialer;
use crate::proxy::race::{Begun, Race};
use crate::upstream::Key;

const OVERTAKEN: &str = "overtaken";

impl Exchange {
    /// Decides whether and when the request, with this head, goes to a second peer as well.
    pub(in crate::proxy) fn begin_race(&mut self, session: &mut Session, request: &RequestHeader) {
        self.race = self.race(session, request);
    }

    fn race(&self, session: &mut Session, request: &RequestHeader) -> Option<Race> {
        let settings = self.settings()?;
        let rule = &settings.retry;
        let percent = rule.hedge?;
        let served = self.served().filter(|served| served.spec.sticky.is_none())?;
        let repeats_nothing = matches!(request.method, Method::GET | Method::HEAD)
            && request.headers.contains_key(header::HOST)
            && session.as_mut().is_body_empty();
        // What the second attempt sends is written in HTTP/1.
        if self.speaks_http2() || !repeats_nothing || self.upgrades || !self.attempts.is_empty() {
            return None;
        }
        let after = served.upstream.percentile(percent)?;
        let (lease, first) = (self.lease.as_ref()?, self.connected.wire()?);
        let secure = self.secure(session, settings).ok()?;
        let said = self.announced(session, &served.spec);
        let dialer = Dialer::new(&served.upstream, lease, secure, &settings.passing, said);
        let head = http_req_header_to_wire(request)?.freeze();
        let mut tried = self.tried.clone();
        tried.add(lease);
        let Key { client, text, .. } = self.key(session);
        let (served, text, budget) = (Arc::clone(served), text.to_vec(), rule.budget);
        let pick = move || {
            let now = Tick::now();
            if budget.is_some_and(|budget| !served.upstream.withdraw(budget, now)) {
                event::retries_spent(&served.spent, served.upstream.name(), now);
                return None;
            }
            let key = Key { client, text: &text, ..Key::default() };
            let picked = served.upstream.pick(&key, &tried, now).ok();
            match &picked {
                Some(_) => served.upstream.tally().hedges.add(),
                None if budget.is_some() => served.upstream.refund(now),
                None => {}
            }
            picked
        };
        let at = self.attempt_began + after;
        Some(Race::begin(at, Arc::clone(first), dialer, head, pick, rule.statuses.clone()))
    }

    /// The head of the first attempt's answer is here; false if the second has won before.
    pub(super) fn end_race(&mut self) -> bool {
        let Some(race) = &self.race else { return true };
        if !race.end() {
            return false;
        }
        self.leave_race(OVERTAKEN);
        true
    }

    /// Gives up the second attempt; if it has begun, its entry in the access log says why.
    pub(super) fn leave_race(&mut self, why: &'static str) {
        let begun = self.race.take().and_then(|race| race.begun());
        let Some(Begun { peer, at, connected }) = begun else { return };
        peer.tally().statuses.count(None);
        if connected {
            peer.tally().opened.add();
        }
        let address = peer.address().clone();
        let (time, error) = (at.elapsed(), Some(Cow::Borrowed(why)));
        let measured = Measured::default();
        self.attempts.push(Attempt { address, status: None, time, error, measured });
    }

    /// Goes on with the second attempt, if it has won. What the first met then says nothing.
    pub(super) fn overtake(&mut self, error: &Error) -> bool {
        if *error.esource() == ErrorSource::Downstream {
            return false;
        }
        let Some(winner) = self.race.as_ref().and_then(Race::winner) else { return false };
        self.race = None;
        // What is cut short counts as well, or the percentiles would fall with each race.
        self.learn_time();
        self.push_attempt(None, None, Some(OVERTAKEN.into()));
        if let Some(lease) = self.lease.take() {
            self.tried.add(&lease);
        }
        self.failure = None;
        self.connected = Connected::default();
        self.next = Some(winner.lease);
        self.ahead = Some(Box::new((winner.connection, winner.began)));
        true
    }

    /// Takes the time of the present attempt into account, where hedging goes by it.
    pub(super) fn learn_time(&self) {
        let hedges = self.settings().is_some_and(|settings| settings.retry.hedge.is_some());
        if let Some(served) = self.served().filter(|_| hedges) {
            served.upstream.learn(self.attempt_began.elapsed());
        }
    }
}
