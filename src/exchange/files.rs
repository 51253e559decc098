//! Which file a request asks for: `root`, `alias`, `index`, `try_files`.
//!
//! A path that ends with a slash is a directory: its index, its list, or 403. Any other is a file;
//! where a directory has that name, the client is told to come back with a slash. All of it is
//! nginx's (`ngx_http_index_module`, `…_autoindex_…`, `…_static_…`, `…_try_files_module`).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::Course;
use super::answers::gzip;
use super::failure::Failure;
use super::flow::{Disk, FileFound, FileRule, Kind, Next, Start, Stat, Step};
use super::path;
use super::reply::Reply;
use super::variables::{Facts, Scene};
use crate::config::model::program::{Otherwise, Root, TryFiles};
use crate::config::model::site::{Files, GzipStatic};

/// The path of a file, and where in it the part begins that the request or `try_files` says.
struct Place {
    path: Vec<u8>,
    root: usize,
}

impl Place {
    fn with(&self, name: &[u8]) -> PathBuf {
        to_path([&self.path, name].concat())
    }
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Where the present path leads (`ngx_http_map_uri_to_path`); none where `alias` replaces more
/// than there is.
fn place(facts: &Facts<'_>, files: &Files) -> Option<Place> {
    let uri = &facts.course.uri;
    let (mut path, rest) = match &files.root {
        Root::Html => (b"html".to_vec(), &uri[..]),
        Root::Root(root) => (facts.text(root), &uri[..]),
        Root::Alias { to, replaces: Some(length) } => (facts.text(to), uri.get(*length..)?),
        Root::Alias { to, replaces: None } if facts.course.below_alias => {
            (facts.text(to), &uri[..])
        }
        Root::Alias { to, replaces: None } => (facts.text(to), &b""[..]),
    };
    if !path.starts_with(b"/") {
        let prefix = facts.scene.config.prefix.0.join(to_path(path));
        path = prefix.into_os_string().into_vec();
    }
    let root = path.len();
    path.extend_from_slice(rest);
    Some(Place { path, root })
}

/// Whether an `alias` for a path without a slash at its end would lead above the directory:
/// `location /files { alias /srv/files/; }` asked for `/files../secret`. nginx goes there.
pub(super) fn climbs(facts: &Facts<'_>) -> bool {
    let root = facts.course.settings(facts.scene.config).map(|settings| &settings.files.root);
    let Some(Root::Alias { replaces: Some(length), .. }) = root else { return false };
    let rest = facts.course.uri.get(*length..).unwrap_or_default();
    rest.split(|b| *b == b'/').any(|name| name == b"..")
}

/// The path of the file that the request asks for, and how much of it is the route's directory
/// (`$request_filename`, `$document_root`).
pub(super) fn asked_for(facts: &Facts<'_>) -> Option<(Vec<u8>, usize)> {
    // A root may name a variable that names the root.
    let facts = facts.deeper()?;
    let settings = facts.course.settings(facts.scene.config)?;
    place(&facts, &settings.files).map(|place| (place.path, place.root))
}

/// The method that the request has here: an error page is got.
fn method<'a>(course: &'a Course, scene: &'a Scene<'_>) -> &'a Method {
    course.method.as_ref().unwrap_or(scene.head.method)
}

fn fail(failure: Failure) -> Step {
    Step::Done(Next::Fail(failure))
}

fn no_place() -> Step {
    fail(Failure::Internal("`alias` cannot be used where the path was rewritten".into()))
}

/// Tries files; none where the route's action follows.
pub(super) async fn try_files(
    try_files: &TryFiles,
    course: &mut Course,
    scene: &Scene<'_>,
    disk: &impl Disk,
) -> Option<Step> {
    let files = &course.settings(scene.config)?.files;
    let replaced = match &files.root {
        Root::Alias { replaces, .. } => *replaces,
        Root::Html | Root::Root(_) => Some(0),
    };
    let Some(Place { path: base, root }) = place(&scene.with(course), files) else {
        return Some(no_place());
    };
    let base = &base[..root];
    // What `alias` replaces is not looked for below it.
    let below_alias = |mut name: Vec<u8>, course: &Course, has_variables: bool| {
        if let Some(length @ 1..) = replaced
            && has_variables
            && name.get(..length).is_some_and(|start| course.uri.get(..length) == Some(start))
        {
            name.drain(..length);
        }
        name
    };
    for tried in &try_files.paths {
        let name = scene.with(course).text(&tried.path);
        let name = below_alias(name, course, tried.path.has_variables());
        let file = to_path([base, &name[..]].concat());
        let found = stat(disk, &file, files, &scene.with(course)).await;
        let is_directory = |stat: &Stat| stat.kind == Kind::Directory;
        if !found.is_ok_and(|stat| is_directory(&stat) == tried.directory) {
            continue;
        }
        match replaced {
            Some(0) => course.uri = name,
            Some(length) => course.uri = [&course.uri[..length], &name[..]].concat(),
            None if tried.directory => {}
            None => {
                course.uri = name;
                course.below_alias = true;
            }
        }
        return None;
    }
    let target = match &try_files.otherwise {
        Otherwise::Status(444) => return Some(Step::Done(Next::Close)),
        Otherwise::Status(status) => return Some(fail(Failure::Configured(*status))),
        Otherwise::Path(target) => {
            let name = scene.with(course).text(target);
            below_alias(name, course, target.has_variables())
        }
    };
    Some(go(course, scene, &target))
}

/// Goes on at a path with its query, or at a named route.
pub(super) fn go(course: &mut Course, scene: &Scene<'_>, target: &[u8]) -> Step {
    if !target.starts_with(b"@") {
        return Step::from(course.redirect(target), Start::Path);
    }
    match course.named(scene.config, target) {
        Some(route) => Step::from(course.enter(route), Start::Route),
        None => {
            let name = String::from_utf8_lossy(target);
            fail(Failure::Internal(format!("could not find named location \"{name}\"")))
        }
    }
}

/// What is at a path, where it may be reached.
async fn stat(
    disk: &impl Disk,
    path: &std::path::Path,
    files: &Files,
    facts: &Facts<'_>,
) -> io::Result<Stat> {
    disk.stat(path, &rule(files, facts)).await
}

/// How paths are looked at here.
#[must_use]
pub fn rule(files: &Files, facts: &Facts<'_>) -> FileRule {
    FileRule {
        symlinks: files.symlinks,
        from: files.symlinks_from.as_ref().map(|from| to_path(facts.text(from))),
        cache: files.open_file_cache,
    }
}

/// The file for the present path.
pub(super) async fn find(course: &mut Course, scene: &Scene<'_>, disk: &impl Disk) -> Step {
    let Some(settings) = course.settings(scene.config) else { return fail(Failure::NoRoute) };
    let files = &settings.files;
    let method = method(course, scene);
    let posts = method == Method::POST;
    if !posts && method != Method::GET && method != Method::HEAD {
        return fail(Failure::MethodNotAllowed);
    }
    let Some(place) = place(&scene.with(course), files) else { return no_place() };
    if course.uri.ends_with(b"/") {
        return match index(&place, files, course, scene, disk).await {
            Some(step) => step,
            None if files.autoindex.enabled && !posts => Step::Done(Next::Listing(place.with(b""))),
            None => fail(Failure::NoIndex(place.with(b""))),
        };
    }
    let facts = scene.with(course);
    let mut vary = false;
    if files.gzip_static != GzipStatic::Off && !posts {
        let accepts = files.gzip_static == GzipStatic::Always
            || gzip::accepted(&facts, &settings.answers.gzip, &http::HeaderMap::new());
        if accepts || settings.answers.gzip.vary {
            let path = place.with(b".gz");
            let packed = stat(disk, &path, files, &facts).await;
            if let Some(stat) = packed.ok().filter(|stat| stat.kind == Kind::File) {
                vary = files.gzip_static == GzipStatic::On;
                if accepts {
                    let found = FileFound { path, stat, packed: true, vary };
                    return Step::Done(Next::File(found));
                }
            }
        }
    }
    let path = place.with(b"");
    match stat(disk, &path, files, &facts).await {
        Err(error) => fail(Failure::of_file("open()", &path, &error)),
        Ok(stat) => match stat.kind {
            Kind::Directory => Step::Done(Next::Reply(slash_redirect(&facts))),
            Kind::Other => fail(Failure::NoRoute),
            Kind::File if posts => fail(Failure::MethodNotAllowed),
            Kind::File => Step::Done(Next::File(FileFound { path, stat, packed: false, vary })),
        },
    }
}

/// Goes on at the first index that is there; none where there is none.
async fn index(
    place: &Place,
    files: &Files,
    course: &mut Course,
    scene: &Scene<'_>,
    disk: &impl Disk,
) -> Option<Step> {
    let mut is_directory = false;
    for index in &files.index {
        let name = scene.with(course).text(index);
        let args = course.args.clone();
        if name.starts_with(b"/") {
            return Some(Step::from(course.turn(name, args), Start::Path));
        }
        let path = place.with(&name);
        match stat(disk, &path, files, &scene.with(course)).await {
            Ok(_) => {
                let uri = [&course.uri[..], &name].concat();
                return Some(Step::from(course.turn(uri, args), Start::Path));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Some(fail(Failure::of_file("open()", &path, &error)));
            }
            Err(_) if is_directory => {}
            Err(error) => {
                let directory = place.path.strip_suffix(b"/").unwrap_or(&place.path);
                let directory = to_path(directory.to_vec());
                match stat(disk, &directory, files, &scene.with(course)).await {
                    Ok(stat) if stat.kind == Kind::Directory => is_directory = true,
                    Ok(_) => {
                        let what = format!("\"{}\" is not a directory", directory.display());
                        return Some(fail(Failure::Internal(what)));
                    }
                    Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
                        is_directory = true;
                    }
                    Err(_) => return Some(fail(Failure::of_file("open()", &path, &error))),
                }
            }
        }
    }
    None
}

/// The type of the present path by its extension, else the route's default one
/// (`ngx_http_set_content_type`).
#[must_use]
pub fn content_type<'a>(facts: &Facts<'a>) -> &'a str {
    let Some(settings) = facts.course.settings(facts.scene.config) else { return "text/plain" };
    let files = &settings.files;
    let known = extension(&facts.course.uri).and_then(|extension| files.types.get(&extension));
    known.unwrap_or(&files.default_type)
}

/// The extension of a path, lower case (`ngx_http_set_exten`).
fn extension(uri: &[u8]) -> Option<String> {
    let dot = uri.iter().rposition(|b| matches!(b, b'.' | b'/'))?;
    // As in nginx, a dot right behind the slash begins a name.
    let is_extension = uri[dot] == b'.' && dot > 0 && uri[dot - 1] != b'/';
    let text = std::str::from_utf8(&uri[dot + 1..]).ok()?;
    is_extension.then(|| text.to_ascii_lowercase())
}

/// Tells the client to come back with a slash at the end of the path.
pub(super) fn slash_redirect(facts: &Facts<'_>) -> Reply {
    let mut location = path::escape(&facts.course.uri);
    location.push(b'/');
    if !facts.course.args.is_empty() {
        location.push(b'?');
        location.extend_from_slice(&facts.course.args);
    }
    redirect(301, location)
}

/// Tells the client to go elsewhere. What begins with `/` becomes a whole URL when it is sent.
pub(super) fn redirect(status: u16, location: Vec<u8>) -> Reply {
    let location = HeaderValue::from_maybe_shared(Bytes::from(location)).ok();
    let headers = location.map(|value| (http::header::LOCATION, value)).into_iter().collect();
    Reply { status, headers, page: true, ..Reply::default() }
}

/// A picture of one transparent point (`empty_gif`).
pub(super) fn empty_gif(method: &Method) -> Next {
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
    /// `Mon, 28 Sep 1970 06:00:00 GMT`, as nginx's.
    const CHANGED: HeaderValue = HeaderValue::from_static("Mon, 28 Sep 1970 06:00:00 GMT");
    if method != Method::GET && method != Method::HEAD {
        return Next::Fail(Failure::MethodNotAllowed);
    }
    Next::Reply(Reply {
        status: 200,
        headers: vec![(http::header::LAST_MODIFIED, CHANGED)],
        content_type: Some("image/gif".to_owned()),
        body: Bytes::from_static(GIF),
        ..Reply::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_follows_the_last_dot_of_the_last_name() {
        for (uri, expected) in [
            ("/a.html", Some("html")),
            ("/a.tar.GZ", Some("gz")),
            ("/a.b/c", None),
            ("/.profile", None),
            ("/a.", Some("")),
            ("/", None),
        ] {
            assert_eq!(extension(uri.as_bytes()).as_deref(), expected, "{uri}");
        }
    }
}
