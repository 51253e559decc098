//! Where a request is handed to: the upstream, and the path that it asks there.
//!
//! A target with variables is worked out for each request (`ngx_http_proxy_eval`). What it names is
//! an upstream of the configuration, or a host that gets an upstream of its own once it is asked for.

use std::borrow::Cow;

use super::failure::Failure;
use super::path;
use super::variables::Facts;
use crate::config::address::{self, HTTP_PORT, HTTPS_PORT};
use crate::config::model::{Host, Proxy};
use crate::config::template::Template;

/// Where a request is handed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// The upstream.
    pub at: At,
    /// Whether with TLS.
    pub tls: bool,
    /// Whether gRPC is spoken there.
    pub grpc: bool,
    /// Host and port as written (`$proxy_host`).
    pub host: String,
    /// The whole target of the request; none where the route's rule for paths holds.
    pub target: Option<Vec<u8>>,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum At {
    /// The one with this index in the configuration.
    Upstream(usize),
    /// One that the configuration does not name.
    Address(Host, u16),
}

impl Aim {
    /// At an upstream of the configuration, as a route without variables has it.
    #[must_use]
    pub fn at(upstream: usize, proxy: &Proxy) -> Self {
        let (at, host) = (At::Upstream(upstream), proxy.host.clone());
        Self { at, tls: proxy.tls, grpc: proxy.grpc, host, target: None }
    }
}

/// Works out where a request goes whose target is this template.
///
/// # Errors
/// What variables say may be no URL: the answer is 500, as nginx's.
pub fn aim(proxy: &Proxy, template: &Template, facts: &Facts<'_>) -> Result<Aim, Failure> {
    let url = facts.text(template);
    let url = String::from_utf8_lossy(&url);
    // A variable may say the scheme as well.
    let url = url.strip_prefix("grpc://").filter(|rest| rest.starts_with("grpc")).unwrap_or(&url);
    let known: &[&str] =
        if proxy.grpc { &["grpc://", "grpcs://"] } else { &["http://", "https://"] };
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(Failure::BadTarget(format!("invalid URL prefix in \"{url}\"")));
    }
    // A query may be part of it, and follow the host at once.
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[authority..].find(['/', '?']).map_or(url.len(), |end| authority + end);
    let end = if url[authority..].starts_with("unix:") { url.len() } else { end };
    let (authority, rest) = url.split_at(end);
    let read = address::target(authority)
        .map_err(|error| Failure::BadTarget(format!("{error} in \"{url}\"")))?;
    let target = match (&read.uri, rest) {
        (Some(uri), _) => Some(uri.clone().into_bytes()),
        (None, "") => None,
        (None, rest) if rest.starts_with('?') => Some(format!("/{rest}").into_bytes()),
        (None, rest) => Some(rest.as_bytes().to_vec()),
    };
    let upstreams = &facts.scene.config.upstreams;
    let named = |name: &str, implicit: bool| {
        upstreams.iter().position(|u| u.implicit == implicit && u.name.eq_ignore_ascii_case(name))
    };
    let default = if read.tls { HTTPS_PORT } else { HTTP_PORT };
    let port = read.port.unwrap_or(default);
    if let Host::Unix(path) = &read.host {
        let known = named(&format!("unix:{}", path.display()), true);
        let at = known.map_or_else(|| At::Address(read.host.clone(), port), At::Upstream);
        return Ok(Aim { at, tls: read.tls, grpc: read.grpc, host: read.host_text, target });
    }
    let written = read.port.is_none().then(|| named(&read.host_text, false)).flatten();
    let known = written.or_else(|| named(&format!("{}:{port}", read.host_text), true));
    let host = match (written, port == default) {
        (Some(_), _) | (None, true) => read.host_text,
        (None, false) => format!("{}:{port}", read.host_text),
    };
    let at = known.map_or(At::Address(read.host, port), At::Upstream);
    Ok(Aim { at, tls: read.tls, grpc: read.grpc, host, target })
}

/// The request's target at the upstream (`ngx_http_proxy_create_request`); none where it stays as
/// the client sent it.
#[must_use]
pub fn target<'a>(proxy: &Proxy, aim: &'a Aim, facts: &'a Facts<'_>) -> Option<Cow<'a, [u8]>> {
    if let Some(target) = &aim.target {
        return Some(Cow::Borrowed(target));
    }
    let course = facts.course;
    let query = (!course.args.is_empty()).then_some(&course.args[..]);
    match &proxy.uri {
        Some(uri) if !course.kept_route => {
            let matched = course.matched(facts.scene.config).unwrap_or_default();
            Some(Cow::Owned(path::rewrite(&course.uri, matched, uri, query)))
        }
        _ if course.rewritten => Some(Cow::Owned(path::rewrite(&course.uri, 0, "", query))),
        _ => None,
    }
}
