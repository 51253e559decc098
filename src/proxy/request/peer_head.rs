//! The head that a peer gets, as it is decided: target, method and headers for the upstream.

use http::{HeaderName, HeaderValue, Method, header};
use pingora::Result;
use pingora::http::RequestHeader;

use super::{Client, Exchange};
use crate::config::model::{RouteSettings, SetHeader};
use crate::exchange::variables::Facts;
use crate::exchange::{aim, forwarded};

/// The head that a peer gets, in whoever's type. It begins as the client's.
pub(in crate::proxy) trait PeerHead {
    /// Whether there is a line of this name.
    fn has(&self, name: &HeaderName) -> bool;

    /// Puts one line in the place of all of a name.
    ///
    /// # Errors
    /// Where it is no header.
    fn set(&mut self, name: &HeaderName, value: HeaderValue) -> Result<()>;

    /// Puts what a template makes in the place of all lines of a name, or takes them away where it makes nothing.
    ///
    /// # Errors
    /// Where it is no header.
    fn set_from(&mut self, header: &SetHeader, facts: &Facts<'_>) -> Result<()>;

    /// Takes all lines of a name away.
    fn remove(&mut self, name: &HeaderName);

    /// Asks for something else.
    ///
    /// # Errors
    /// Where it is no target.
    fn set_target(&mut self, target: &[u8]) -> Result<()>;

    /// Asks in another way.
    fn set_method(&mut self, method: Method);
}

impl PeerHead for RequestHeader {
    fn has(&self, name: &HeaderName) -> bool {
        self.headers.contains_key(name)
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn set_from(&mut self, header: &SetHeader, facts: &Facts<'_>) -> Result<()> {
        match facts.value(&header.value) {
            Some(value) => self.insert_header(header.written.clone(), value),
            None => {
                self.remove_header(&header.name);
                Ok(())
            }
        }
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set_target(&mut self, target: &[u8]) -> Result<()> {
        self.set_raw_path(target)
    }

    fn set_method(&mut self, method: Method) {
        RequestHeader::set_method(self, method);
    }
}

impl Exchange {
    /// Writes target and headers for the upstream.
    pub(in crate::proxy) fn write_head(
        &self,
        session: &dyn Client,
        head: &mut impl PeerHead,
    ) -> Result<()> {
        self.body.frame(head)?;
        self.replaced.frame(head)?;
        let scene = self.scene(session);
        let Some(((proxy, scene), aim)) = self.proxy().zip(scene).zip(self.aim.as_ref()) else {
            return Ok(());
        };
        let facts = scene.with(&self.course);
        if let Some(target) = aim::target(proxy, &aim.aim, &facts) {
            head.set_target(&target)?;
        }
        let Some(settings) = self.settings() else { return Ok(()) };
        if let Some(method) = self.upstream_method(settings, &facts) {
            head.set_method(method);
        }
        if !settings.passing.request_headers {
            drop_headers(session, head);
        }
        if !settings.passes_claims {
            for name in forwarded::unbelieved(scene.head.headers, scene.trusted) {
                head.remove(&name);
            }
        }
        self.write_trace(head)?;
        let http2 = self.speaks_http2();
        for header in &settings.headers {
            // What else these say was heeded when the peer was chosen: the connection is Pingora's.
            if header.name == header::CONNECTION || header.name == header::UPGRADE {
                let close = header.name == header::CONNECTION && !self.upgrades && !http2;
                if close && facts.value(&header.value).is_some_and(|v| says_close(&v)) {
                    head.set(&header::CONNECTION, HeaderValue::from_static("close"))?;
                }
                continue;
            }
            head.set_from(header, &facts)?;
        }
        self.pass_on_timeout(session, head)
    }

    /// The method that the upstream gets where it is not the client's.
    fn upstream_method(&self, settings: &RouteSettings, facts: &Facts<'_>) -> Option<Method> {
        let written = settings.passing.method.as_ref().map(|method| facts.text(method));
        let written = written.filter(|method| !method.is_empty());
        written.and_then(|m| Method::from_bytes(&m).ok()).or_else(|| self.course.method.clone())
    }
}

/// Whether a route asks the peer to close the connection after its answer.
fn says_close(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"close")
}

/// Drops what the client sent, but for what frames its body (`proxy_pass_request_headers off`).
fn drop_headers(session: &dyn Client, head: &mut impl PeerHead) {
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST];
    let names = session.req_header().headers.keys();
    names.filter(|name| !framing.contains(name)).for_each(|name| head.remove(name));
}
