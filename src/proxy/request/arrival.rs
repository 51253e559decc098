//! From a head to a route: the head is judged, its virtual server found, and what it is known by settled.

use std::pin::pin;
use std::sync::Arc;

use http::header;
use pingora::Result;
use pingora_proxy::Session;

use super::{Client, Exchange, at_once, connection, head_of, http2, kept, request_id};
use crate::config::model::Action;
use crate::exchange::failure::Failure;
use crate::exchange::flow::{Next, Start};
use crate::exchange::head::Asked;
use crate::exchange::{Course, head, id, path};
use crate::observe::counters::InFlight;
use crate::proxy::Connection;
use crate::upstream::COUNTS;

impl Exchange {
    /// Checks the head.
    pub(in crate::proxy) fn read_head(&mut self, session: &mut Session) -> Result<()> {
        if self.begin_subrequest(session) {
            return Ok(());
        }
        if self.resume.is_some() {
            self.read_again(session);
            return Ok(());
        }
        self.judge_head(session, None)
    }

    /// Takes note of a new request and judges its head, unless what it asks for is `known`: then its head is
    /// sound, and has nothing in it that does not belong there.
    pub(in crate::proxy) fn judge_head(
        &mut self,
        session: &mut dyn Client,
        known: Option<Asked>,
    ) -> Result<()> {
        self.id = request_id();
        let counted = COUNTS && connection(session).is_none_or(Connection::is_counted);
        self.counted = counted.then(InFlight::begin);
        self.kept.requests = connection(session).map_or(1, Connection::count_request);
        self.settle_keepalive(session);
        // Which virtual server is asked is not known before its host is.
        let runtime = Arc::clone(&self.runtime);
        let listener = connection(session).map_or(0, |c| c.listener);
        let server = runtime.router.default(listener).unwrap_or_default();
        let Some(server) = runtime.config.virtual_servers.get(server) else {
            return self.refuse(Failure::NoRoute);
        };
        let rules = &server.requests;
        if let Some(asked) = known {
            self.kept.head_bytes = session.raw_head().map_or(0, |raw| raw.len() as u64);
            self.kept.pipelined = connection(session).is_some_and(|c| c.head_read().pipelined);
            self.asked = Some(asked);
            return Ok(());
        }
        let checked = match session.raw_head() {
            Some(raw) => {
                self.kept.head_bytes = raw.len() as u64;
                let begun = connection(session).map(Connection::head_read).unwrap_or_default();
                self.kept.pipelined = begun.pipelined;
                let absolute = begun.absolute.as_ref();
                let checked = match begun.judged {
                    true => head_of(session.req_header()).check(&raw, absolute, rules),
                    false => Err(head::Malformed::RawByte),
                };
                if let Some(absolute) = absolute {
                    self.kept.line = Some(absolute.line.clone());
                    let authority = &absolute.authority[..];
                    session.req_header_mut().insert_header(header::HOST, authority)?;
                }
                checked
            }
            None => {
                http2::make_plain(session.req_header_mut())?;
                self.kept.head_bytes = kept::length(&session.req_header().headers);
                head_of(session.req_header()).check(&[], None, rules)
            }
        };
        match head::connection_options(&session.req_header().headers) {
            Some(none) if none.is_empty() => {
                session.req_header_mut().remove_header(&header::CONNECTION);
            }
            Some(left) => session.req_header_mut().insert_header(header::CONNECTION, left)?,
            None => {}
        }
        let names = session.req_header().headers.keys();
        let ignored: Vec<_> = names.filter(|name| head::is_ignored(name, rules)).cloned().collect();
        for name in ignored {
            session.req_header_mut().remove_header(&name);
        }
        match checked {
            Ok(asked) => self.asked = Some(asked),
            Err(malformed) => {
                let listener = connection(session).map_or(0, |c| c.listener);
                self.course.server = self.runtime.router.default(listener).unwrap_or_default();
                session.set_keepalive(None);
                return self.refuse(malformed.into());
            }
        }
        Ok(())
    }

    /// Has the answer say that it is the last one on its connection, where it is.
    pub(super) fn settle_keepalive(&self, session: &mut dyn Client) {
        if self.runtime.config.keepalive_timeout.is_zero()
            || connection(session).is_some_and(|c| c.is_leaving())
        {
            session.set_keepalive(None);
        }
    }

    /// Finds virtual server and route. Returns whether the request is answered.
    pub(in crate::proxy) async fn find_route(&mut self, session: &mut Session) -> Result<bool> {
        if self.returns.is_some() {
            let next = self.advance(session, Start::Path).await;
            return self.act(session, next).await;
        }
        let next = self.choose_route(session).await?;
        self.act(session, next).await
    }

    /// What the request comes to at its virtual server.
    async fn choose_route(&mut self, session: &mut dyn Client) -> Result<Next> {
        let next = match self.enter_server(session)? {
            Some(failure) => Next::Fail(failure),
            None => self.advance(session, Start::Path).await,
        };
        self.leave_server(session);
        Ok(next)
    }

    /// The same where nobody is to be asked on the way to it; it may have to wait.
    pub(in crate::proxy) fn choose_route_at_once(
        &mut self,
        session: &mut dyn Client,
    ) -> Result<Next> {
        let next = match self.enter_server(session)? {
            Some(failure) => Some(Next::Fail(failure)),
            None => {
                let step = pin!(self.step(session, Start::Path));
                at_once(step)
            }
        };
        let Some(next) = next else {
            return self.refuse(Failure::Internal("a route that asks".into()));
        };
        self.leave_server(session);
        Ok(next)
    }

    /// The same where the file system may be asked; it may have to wait.
    pub(in crate::proxy) async fn choose_route_unless_it_waits(
        &mut self,
        session: &mut dyn Client,
    ) -> Result<Next> {
        let next = match self.enter_server(session)? {
            Some(failure) => Next::Fail(failure),
            None => self.step(session, Start::Path).await,
        };
        self.leave_server(session);
        Ok(next)
    }

    /// Finds the virtual server; says why it does not take the request.
    fn enter_server(&mut self, session: &mut dyn Client) -> Result<Option<Failure>> {
        let listener = connection(session).map_or(0, |c| c.listener);
        let Some(asked) = &self.asked else { return self.refuse(Failure::NoRoute) };
        let (server, matched) =
            self.runtime.router.server(listener, &asked.host).unwrap_or_default();
        let target = session.req_header().raw_path();
        let args = path::split(target).1.unwrap_or_default().to_vec();
        let variables = &self.runtime.config.variables;
        self.course = Course::new(server, asked.path.clone(), args, variables);
        if let Some((pattern, captures)) = matched {
            self.course.capture(pattern, captures);
        }
        self.settle_id(session);
        self.settle_trace(session);
        self.believe_proxies(session);
        Ok(self.refuse_connection(session))
    }

    /// Settles what the route says of the request, where it has come to one.
    pub(super) fn leave_server(&mut self, session: &mut dyn Client) {
        self.count();
        self.settle_id(session);
        self.settle_trace(session);
        self.count_on_connection(session);
    }

    /// Has the answer say that it is the last one where the connection has had its number of requests.
    pub(super) fn count_on_connection(&self, session: &mut dyn Client) {
        let limit = self.settings().map_or(u64::MAX, |s| s.clients.keepalive_requests);
        if self.kept.requests >= limit && !session.is_http2() {
            session.set_keepalive(None);
        }
    }

    /// Why the connection of a request is not one that its virtual server takes requests from.
    fn refuse_connection(&self, session: &dyn Client) -> Option<Failure> {
        let connection = connection(session)?;
        if connection.plain_to_tls {
            return Some(Failure::PlainToTls);
        }
        let verify = self.runtime.config.virtual_servers.get(self.course.server)?.verify_client;
        let host = &self.asked.as_ref()?.host;
        connection.tls.as_ref()?.refusal(verify, host)
    }

    /// Counts the request once it is known that its route does not show what is counted.
    fn count(&mut self) {
        let shows = self.route().is_some_and(|route| matches!(route.action, Action::Status));
        match &mut self.counted {
            Some(counted) if !shows => counted.tell(),
            counted => drop(counted.take().map(InFlight::forget)),
        }
    }

    /// Takes the request's id from the client where the level that it has come to trusts it.
    fn settle_id(&mut self, session: &dyn Client) {
        let Some(settings) = self.settings() else { return };
        let trust = settings.request_id.trust;
        if trust == self.trusts_id {
            return;
        }
        let peer = connection(session).and_then(|connection| connection.client);
        let real_ip = settings.clients.real_ip.as_ref();
        let may = trust && id::may_say(&self.runtime.config.trust, real_ip, peer);
        let said = may.then(|| id::said(&session.req_header().headers)).flatten();
        match said {
            Some(said) => self.id = said.to_owned(),
            None if !trust => self.id = request_id(),
            None => {}
        }
        self.trusts_id = trust;
    }
}
