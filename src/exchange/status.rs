//! What is asked of `robin_status`: the page, its JSON or the metrics, by the path below the route's.
//!
//! A route of one path, of a pattern or of a name has nothing below it: there the last part of the path
//! decides, and whatever it does not name is the page.

use http::Method;

use super::Course;
use super::failure::Failure;
use super::files;
use super::flow::Next;
use super::variables::Scene;
use crate::config::model::PathMatch;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// HTML, for people.
    Page,
    /// The same as JSON.
    Json,
    /// For Prometheus.
    Metrics,
}

impl Shown {
    /// By its name below the route.
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"" => Some(Self::Page),
            b"status.json" => Some(Self::Json),
            b"metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

/// What a request for a route of `robin_status` comes to.
pub(super) fn next(course: &Course, scene: &Scene<'_>) -> Next {
    if !matches!(*scene.head.method, Method::GET | Method::HEAD) {
        return Next::Fail(Failure::MethodNotAllowed);
    }
    let path = course.uri.as_slice();
    let prefix = match course.path_match(scene.config) {
        Some(PathMatch::Prefix(prefix) | PathMatch::PrefixOnly(prefix)) => prefix.as_bytes(),
        _ => {
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            return Next::Status(Shown::named(name).unwrap_or(Shown::Page));
        }
    };
    let rest = path.get(prefix.len()..).unwrap_or_default();
    let below = if prefix.ends_with(b"/") { Some(rest) } else { rest.strip_prefix(b"/") };
    match below {
        Some(name) => Shown::named(name).map_or(Next::Fail(Failure::NoRoute), Next::Status),
        // Without the slash what the page asks for would be looked for beside it.
        None if rest.is_empty() => Next::Reply(files::slash_redirect(&scene.with(course))),
        None => Next::Fail(Failure::NoRoute),
    }
}
