//! From a request's path to what it comes to: nginx's phases.
//!
//! The server's program runs, then a route is looked for and its program runs; a rewritten path
//! begins the search again, an internal redirect begins with the server's program. Then `try_files`, then what the route does. Only the file
//! system is asked on the way, through [`Disk`]; opening and sending is up to the caller, and so
//! is what follows from an error: [`error_page`] says whether the request goes on elsewhere.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::admission::{self, Doorman};
use super::failure::Failure;
use super::limits::Passage;
use super::program::{self, Ran};
use super::reply::Reply;
use super::status::{self, Shown};
use super::variables::{Facts, Scene};
use super::{Course, access, files, limits};
use crate::config::model::Action;
use crate::config::model::program::Root;
use crate::config::model::site::{ErrorPage, ErrorStatus, FileCache, Symlinks};
use crate::health::Tick;

/// What the file system says of a path, symbolic links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What is there.
    pub kind: Kind,
    /// Its length in bytes.
    pub length: u64,
    /// When it was changed.
    pub modified: SystemTime,
    /// Whether somebody may run it.
    pub executable: bool,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A socket, a pipe, a device.
    Other,
}

/// How a path is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRule {
    /// Which symbolic links on the way are followed.
    pub symlinks: Symlinks,
    /// The part of the path in which all are.
    pub from: Option<PathBuf>,
    /// What is remembered of it.
    pub cache: FileCache,
}

/// Asks the file system without holding up a worker.
pub trait Disk: Sync {
    /// What is at a path, where the rule lets it be reached.
    fn stat(
        &self,
        path: &Path,
        rule: &FileRule,
    ) -> impl Future<Output = std::io::Result<Stat>> + Send;
}

/// A file that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFound {
    /// Where it is.
    pub path: PathBuf,
    /// What was seen there.
    pub stat: Stat,
    /// Whether it is the `.gz` beside the file that was asked for.
    pub packed: bool,
    /// Whether another client may get another file (`Vary: Accept-Encoding`).
    pub vary: bool,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Its route hands it to an upstream.
    Proxy,
    /// A file is sent.
    File(FileFound),
    /// A directory is listed.
    Listing(PathBuf),
    /// An answer of our own.
    Reply(Reply),
    /// A page of counters.
    StubStatus,
    /// What is known of the process.
    Status(Shown),
    /// An error, for which there may be an error page.
    Fail(Failure),
    /// The same, with headers that say how it could be had.
    Refuse(Failure, Vec<(http::HeaderName, http::HeaderValue)>),
    /// The connection is closed without an answer (`return 444`).
    Close,
    /// It goes on with [`Start::Content`] after this time (`limit_req`).
    Wait(Duration),
}

/// Where the way begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With a path and the server's program: a new request or an internal redirect.
    Path,
    /// With the search for a route: a path that a route has rewritten.
    Search,
    /// With a route: a named one.
    Route,
    /// With what the route does.
    Content,
}

/// Goes on until the request has come to something.
pub async fn run(
    course: &mut Course,
    scene: &Scene<'_>,
    outside: &(impl Disk + Doorman),
    mut start: Start,
) -> Next {
    loop {
        if start == Start::Content {
            match resumed(course, scene, outside).await {
                Step::Done(next) => return next,
                Step::Again(again) => start = again,
            }
            continue;
        }
        if start == Start::Path {
            course.route = None;
            if let Some(server) = course.virtual_server(scene.config)
                && let Ran::Ended(next) =
                    program::run(&server.program, course, scene, outside).await
            {
                return next;
            }
        }
        if start != Start::Route {
            let wants_slash = course.find_route(scene.router);
            let Some(route) = course.route(scene.config) else {
                match outside_of_routes(course, scene, outside).await {
                    Step::Done(next) => return next,
                    Step::Again(again) => start = again,
                }
                continue;
            };
            if route.internal && !course.internal {
                return Next::Fail(Failure::NoRoute);
            }
            if wants_slash {
                return Next::Reply(files::slash_redirect(&scene.with(course)));
            }
        }
        let Some(route) = course.route(scene.config) else { return Next::Fail(Failure::NoRoute) };
        match program::run(&route.program, course, scene, outside).await {
            Ran::Ended(next) => return next,
            Ran::Through { search: true } => match course.count() {
                Ok(()) => {
                    start = Start::Search;
                    continue;
                }
                Err(cycle) => return Next::Fail(cycle.into()),
            },
            Ran::Through { search: false } => {}
        }
        match content(course, scene, outside).await {
            Step::Done(next) => return next,
            Step::Again(again) => start = again,
        }
    }
}

/// One step of the way.
pub(super) enum Step {
    /// The request has come to this.
    Done(Next),
    /// It goes on.
    Again(Start),
}

impl Step {
    /// Goes on with what an internal redirect says.
    pub(super) fn from(redirected: Result<(), super::Cycle>, start: Start) -> Self {
        match redirected {
            Ok(()) => Self::Again(start),
            Err(cycle) => Self::Done(Next::Fail(cycle.into())),
        }
    }
}

/// Goes on with what the route does, or the server where there is none.
async fn resumed(course: &mut Course, scene: &Scene<'_>, outside: &(impl Disk + Doorman)) -> Step {
    match course.route {
        Some(_) => content(course, scene, outside).await,
        None => outside_of_routes(course, scene, outside).await,
    }
}

/// Takes the word of proxies that the route believes, unless the server has believed one before
/// (`ngx_http_realip_handler`).
fn believe(course: &mut Course, scene: &Scene<'_>) {
    let rule = course.settings(scene.config).and_then(|s| s.clients.real_ip.as_ref());
    if let Some(rule) = rule
        && course.client.is_none()
        && scene.client == scene.peer
    {
        let proxied = scene.proxied.and_then(|said| said.ends).map(|(client, _)| client);
        course.client = access::real_client(rule, scene.head.headers, scene.peer, proxied);
    }
}

/// What the limits of where the request stands make of it; none where it goes on.
fn limited(course: &mut Course, scene: &Scene<'_>) -> Option<Step> {
    believe(course, scene);
    // What robin asks about a request is limited with it.
    if course.is_subrequest {
        return None;
    }
    match limits::pass(course, scene, Tick::now()) {
        Passage::Through => None,
        Passage::Wait(wait) => Some(Step::Done(Next::Wait(wait))),
        Passage::Refused(failure) => Some(Step::Done(Next::Fail(failure))),
    }
}

/// What the server does where no route matches: it serves files if it was told where they are.
async fn outside_of_routes(
    course: &mut Course,
    scene: &Scene<'_>,
    outside: &(impl Disk + Doorman),
) -> Step {
    if let Some(limited) = limited(course, scene) {
        return limited;
    }
    let Some(settings) = course.settings(scene.config) else {
        return Step::Done(Next::Fail(Failure::NoRoute));
    };
    if let Some(next) = admission::refused(course, scene, &settings.clients, outside).await {
        return Step::Done(next);
    }
    if let Some(try_files) = &settings.files.try_files
        && let Some(step) = files::try_files(try_files, course, scene, outside).await
    {
        return step;
    }
    if settings.files.root == Root::Html {
        return Step::Done(Next::Fail(Failure::NoRoute));
    }
    files::find(course, scene, outside).await
}

/// What the route does: limits of clients and of methods, `try_files`, then its action.
async fn content(course: &mut Course, scene: &Scene<'_>, outside: &(impl Disk + Doorman)) -> Step {
    if let Some(limited) = limited(course, scene) {
        return limited;
    }
    let Some(route) = course.route(scene.config) else {
        return Step::Done(Next::Fail(Failure::NoRoute));
    };
    let clients = &route.settings.clients;
    let client = course.client.or(scene.client).map(|client| client.ip());
    if let Some((free, rules)) = &clients.limit_except
        && !free.contains(scene.head.method)
        && !access::may(rules, client)
    {
        return Step::Done(Next::Fail(Failure::Forbidden("the method is denied here")));
    }
    if let Some(next) = admission::refused(course, scene, clients, outside).await {
        return Step::Done(next);
    }
    if let Some(failure) = body_too_large(scene, route.settings.client_max_body_bytes) {
        return Step::Done(Next::Fail(failure));
    }
    if files::climbs(&scene.with(course)) {
        return Step::Done(Next::Fail(Failure::NoRoute));
    }
    if let Some(try_files) = &route.settings.files.try_files
        && let Some(step) = files::try_files(try_files, course, scene, outside).await
    {
        return step;
    }
    match &route.action {
        Action::Proxy(_) => Step::Done(Next::Proxy),
        Action::StubStatus => Step::Done(Next::StubStatus),
        Action::Status => Step::Done(status::next(course, scene)),
        Action::EmptyGif => Step::Done(files::empty_gif(scene.head.method)),
        Action::Files => files::find(course, scene, outside).await,
    }
}

/// A body that says it is larger than the route accepts.
fn body_too_large(scene: &Scene<'_>, limit: u64) -> Option<Failure> {
    let length = scene.head.headers.get(http::header::CONTENT_LENGTH)?;
    let length: u64 = length.to_str().ok()?.trim().parse().ok()?;
    (limit != 0 && length > limit).then_some(Failure::BodyTooLarge { limit })
}

/// What an error leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorNext {
    /// Our own page, with this status.
    Page(u16),
    /// The request goes on from there.
    Go(Start),
    /// The client is told to go elsewhere.
    Reply(Reply),
}

/// Finds the error page for a status and turns the request to it
/// (`ngx_http_special_response_handler`).
pub fn error_page(course: &mut Course, scene: &Scene<'_>, status: u16) -> ErrorNext {
    let Some(settings) = course.settings(scene.config) else { return ErrorNext::Page(status) };
    let answers = &settings.answers;
    // Codes of nginx's own are 400 to clients.
    course.status = Some(if matches!(status, 494..=497) { 400 } else { status });
    if course.in_error_page || answers.error_pages.is_empty() {
        return ErrorNext::Page(status);
    }
    course.in_error_page = !answers.recursive_error_pages;
    let page = answers.error_pages.iter().find(|page| page.statuses.contains(&status));
    let Some(ErrorPage { status: becomes, page, .. }) = page else {
        return ErrorNext::Page(status);
    };
    match becomes {
        ErrorStatus::Kept => {}
        ErrorStatus::OfPage => course.status = None,
        ErrorStatus::Is(status) => course.status = Some(*status),
    }
    let target = scene.with(course).text(page);
    let step = match target.first() {
        Some(b'/') => {
            if scene.head.method != http::Method::HEAD {
                course.method = Some(http::Method::GET);
            }
            Step::from(course.redirect(&target), Start::Path)
        }
        Some(b'@') => files::go(course, scene, &target),
        _ => {
            let becomes = match becomes {
                ErrorStatus::Is(status @ (301 | 302 | 303 | 307 | 308)) => Some(*status),
                _ => None,
            };
            let status = becomes.unwrap_or(302);
            course.status = Some(status);
            return ErrorNext::Reply(files::redirect(status, target));
        }
    };
    match step {
        Step::Again(start) => ErrorNext::Go(start),
        Step::Done(Next::Fail(failure)) => {
            course.status = None;
            ErrorNext::Page(failure.status())
        }
        Step::Done(_) => ErrorNext::Page(500),
    }
}

/// The facts about a request as it stands.
impl<'a> Scene<'a> {
    /// What templates ask, with where the request stands.
    #[must_use]
    pub fn with<'b>(&'b self, course: &'b Course) -> Facts<'b> {
        Facts { scene: self, course, captures: &course.captures, depth: 0 }
    }
}
