//! Answers of our own: what `return`, redirects and files have in common.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// An answer that needs neither an upstream nor a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beyond those of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `Content-Type`; none leaves it out.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whether the body is the page of its status instead: then an error page may take its place.
    pub page: bool,
}
