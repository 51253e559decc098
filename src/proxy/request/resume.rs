//! A request that another plumbing has begun, and Pingora goes on with: it knows what it has met so far.
//!
//! Nothing of an answer has gone out. Its head and its body are read once more, from where the client's
//! connection has kept them.

use pingora::{Error, Result};
use pingora_proxy::Session;

use super::body::Buffered;
use super::{Client, Detour, Exchange, connection};
use crate::exchange::failure::Failure;
use crate::exchange::flow::Next;

/// How a request goes on.
#[derive(Debug)]
pub(in crate::proxy) enum Resume {
    /// With what it has come to, which is not an upstream yet.
    Next(Box<Next>),
    /// With another attempt.
    Attempt,
    /// It has failed.
    Failed(Box<Error>),
}

impl Exchange {
    /// Lets another plumbing go on.
    pub(in crate::proxy) fn hand_over(mut self: Box<Self>, resume: Resume) -> Box<Self> {
        self.resume = Some(resume);
        self
    }

    /// The head was read once more.
    pub(super) fn read_again(&mut self, session: &mut dyn Client) {
        if let Some(connection) = connection(session) {
            connection.head_read();
        }
        self.kept.body_since = self.body.is_whole().then(|| self.body.since(self.began));
        self.body = Buffered::default();
        self.settle_keepalive(session);
        self.count_on_connection(session);
    }

    /// Goes on with a request that was handed over. Returns whether it is answered.
    pub(in crate::proxy) async fn go_on(&mut self, session: &mut Session) -> Result<Option<bool>> {
        match self.resume.take() {
            None => return Ok(None),
            Some(Resume::Next(next)) => {
                let waits = matches!(*next, Next::Wait(_));
                let next = self.wait_out(session, *next).await;
                if waits {
                    // It may stand elsewhere now.
                    self.leave_server(session);
                }
                if self.act(session, next).await? {
                    return Ok(Some(true));
                }
            }
            Some(Resume::Attempt) => {}
            Some(Resume::Failed(error)) => match self.failure.as_ref().map(Failure::status) {
                Some(status) if self.has_error_page(status) => {
                    self.detour = Some(Detour::Error(status));
                }
                _ => {
                    self.buffer_body(session).await?;
                    return Err(error);
                }
            },
        }
        self.buffer_body(session).await.map(|()| Some(false))
    }
}
