//! Which file a request asks for: `root`, `alias`, `index`, `try_files`.

use bytes::Bytes;
use http::HeaderValue;

use super::Course;
use super::failure::Failure;
use super::flow::{Disk, Next, Step};
use super::reply::Reply;
use super::variables::{Facts, Scene};
use crate::config::model::program::TryFiles;

/// Tries files; none where the route's action follows.
pub(super) async fn try_files(
    _try_files: &TryFiles,
    _course: &mut Course,
    _scene: &Scene<'_>,
    _disk: &impl Disk,
) -> Option<Step> {
    None
}

/// The file for the present path.
pub(super) async fn find(_course: &mut Course, _scene: &Scene<'_>, _disk: &impl Disk) -> Step {
    Step::Done(Next::Fail(Failure::NoRoute))
}

/// Tells the client to come back with a slash at the end of the path.
pub(super) fn slash_redirect(facts: &Facts<'_>) -> Reply {
    redirect(301, [facts.course.uri.as_slice(), b"/"].concat())
}

/// Tells the client to go elsewhere.
pub(super) fn redirect(status: u16, location: Vec<u8>) -> Reply {
    let location = HeaderValue::from_maybe_shared(Bytes::from(location)).ok();
    let headers = location.map(|value| (http::header::LOCATION, value)).into_iter().collect();
    Reply { status, headers, ..Reply::default() }
}

/// The type of a path by its extension, else the route's default one (`ngx_http_set_content_type`).
pub(super) fn content_type<'a>(facts: &Facts<'a>) -> &'a str {
    let Some(settings) = facts.course.settings(facts.scene.config) else { return "text/plain" };
    let name = facts.course.uri.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let dot = name.iter().rposition(|b| *b == b'.');
    let extension = dot.and_then(|dot| std::str::from_utf8(&name[dot + 1..]).ok());
    let known = extension.and_then(|e| settings.files.types.get(&e.to_ascii_lowercase()));
    known.map_or(&settings.files.default_type, String::as_str)
}

/// A picture of one transparent point (`empty_gif`).
pub(super) fn empty_gif() -> Reply {
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
    let body = Bytes::from_static(GIF);
    Reply { status: 200, content_type: Some("image/gif".to_owned()), body, ..Reply::default() }
}
