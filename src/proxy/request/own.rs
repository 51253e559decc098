//! Answers that no upstream gives: files, lists of directories, replies.

use http::header;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::{Exchange, SERVER};
use crate::config::model::ServerHeader;
use crate::exchange::failure::Failure;
use crate::exchange::flow::Next;
use crate::exchange::reply::Reply;

impl Exchange {
    /// Sends what the request has come to; a failure where it cannot be had.
    pub(super) async fn send(
        &mut self,
        session: &mut Session,
        next: Next,
    ) -> Result<Option<Failure>> {
        match next {
            Next::Reply(reply) => self.send_reply(session, reply).await.map(|()| None),
            _ => Ok(Some(Failure::NoRoute)),
        }
    }

    async fn send_reply(&mut self, session: &mut Session, reply: Reply) -> Result<()> {
        let status = self.course.status.unwrap_or(reply.status);
        let mut response = ResponseHeader::build(status, Some(8))?;
        if self.settings().map(|s| s.server_header) != Some(ServerHeader::Off) {
            response.insert_header(header::SERVER, SERVER)?;
        }
        if let Some(content_type) = reply.content_type {
            response.insert_header(header::CONTENT_TYPE, content_type)?;
        }
        response.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
        for (name, value) in reply.headers {
            response.append_header(name, value)?;
        }
        let bodiless = session.req_header().method == http::Method::HEAD || reply.body.is_empty();
        session.write_response_header(Box::new(response), bodiless).await?;
        if !bodiless {
            session.write_response_body(Some(reply.body), true).await?;
        }
        Ok(())
    }
}
