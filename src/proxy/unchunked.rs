//! Answers to HTTP/1.0, which knows no chunks.
//!
//! What comes over HTTP/2 without a length Pingora sends in chunks, and says so behind every phase; only its
//! modules see the head after that. There the end of the body becomes the connection's again.

use std::any::Any;

use async_trait::async_trait;
use http::{Version, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};

/// Looks after one request.
#[derive(Debug, Default)]
pub(super) struct Unchunked {
    old: bool,
}

#[async_trait]
impl HttpModule for Unchunked {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.old = request.version < Version::HTTP_11;
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _: bool,
    ) -> Result<()> {
        if self.old {
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Makes one for each request.
#[derive(Debug)]
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Unchunked::default())
    }
}
