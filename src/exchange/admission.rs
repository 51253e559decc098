//! Who gets in: by address, by password, by another service's word, and how these add up
//! (`satisfy`, nginx's access phase).
//!
//! With `satisfy all` the first that refuses decides; with `any` the first that lets in does, and
//! where none does, the wish for a password outweighs a plain refusal. Requests that robin makes
//! itself on the way of another are not asked again.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use http::{HeaderName, HeaderValue, header};

use super::failure::Failure;
use super::flow::Next;
use super::password::{self, Credentials, Verdict};
use super::variables::Scene;
use super::{Course, access, program};
use crate::config::model::admission::Admission;
use crate::config::model::site::Clients;

/// What is asked of the world outside, without holding up a worker.
pub trait Doorman: Sync {
    /// What a file of passwords says of a client.
    fn judge(
        &self,
        file: &Path,
        said: Credentials,
    ) -> impl Future<Output = io::Result<Verdict>> + Send;

    /// What this virtual server answers to the request at another path (nginx's subrequests). What
    /// is to be kept of the answer is worked out with what is known there.
    fn ask(&self, course: Course, admission: &Admission) -> impl Future<Output = Word> + Send;
}

/// The answer of a service that was asked about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Its status.
    pub status: u16,
    /// Its `WWW-Authenticate`.
    pub challenges: Vec<HeaderValue>,
    /// What is kept of it, in the order of the configuration.
    pub kept: Vec<Vec<u8>>,
}

/// What one of those who are asked says.
enum Judgement {
    /// It is not asked here.
    Silent,
    LetsIn,
    Refuses(Failure, Vec<(HeaderName, HeaderValue)>),
}

/// Asks all who have a say; returns what a request comes to that does not get in.
pub(super) async fn refused(
    course: &mut Course,
    scene: &Scene<'_>,
    clients: &Clients,
    doorman: &impl Doorman,
) -> Option<Next> {
    if course.is_subrequest {
        return None;
    }
    let admission = &clients.admission;
    let mut refusal = None;
    for asked in 0..3 {
        let judgement = match asked {
            0 => by_address(scene, clients),
            1 => by_password(course, scene, admission, doorman).await,
            _ => by_word(course, admission, doorman).await,
        };
        match judgement {
            Judgement::Silent => {}
            Judgement::LetsIn if admission.any => return None,
            Judgement::LetsIn => {}
            Judgement::Refuses(failure, headers) => {
                let status = failure.status();
                let first =
                    refusal.as_ref().is_none_or(|(held, _): &(Failure, _)| held.status() != 401);
                let decides = !admission.any || !matches!(status, 401 | 403);
                if first || decides {
                    refusal = Some((failure, headers));
                }
                if decides {
                    break;
                }
            }
        }
    }
    refusal.map(|(failure, headers)| Next::Refuse(failure, headers))
}

fn by_address(scene: &Scene<'_>, clients: &Clients) -> Judgement {
    match access::verdict(&clients.access, scene.client.map(|client| client.ip())) {
        None => Judgement::Silent,
        Some(true) => Judgement::LetsIn,
        Some(false) => {
            let failure = Failure::Forbidden("the client's address is denied here");
            Judgement::Refuses(failure, Vec::new())
        }
    }
}

/// `ngx_http_auth_basic_handler`.
async fn by_password(
    course: &Course,
    scene: &Scene<'_>,
    admission: &Admission,
    doorman: &impl Doorman,
) -> Judgement {
    let Some((realm, file)) = admission.realm.as_ref().zip(admission.passwords.as_ref()) else {
        return Judgement::Silent;
    };
    let facts = scene.with(course);
    let realm = facts.text(realm);
    if realm == b"off" {
        return Judgement::Silent;
    }
    let refuse = |why: String| {
        let challenge = [b"Basic realm=\"", &realm[..], b"\""].concat();
        let challenge = HeaderValue::from_bytes(&challenge)
            .unwrap_or(HeaderValue::from_static("Basic realm=\"\""));
        let headers = vec![(header::WWW_AUTHENTICATE, challenge)];
        Judgement::Refuses(Failure::Unauthorized(why), headers)
    };
    let said = scene.head.headers.get(header::AUTHORIZATION);
    let Some(said) = said.and_then(|said| password::credentials(said.as_bytes())) else {
        return refuse("no user or password was provided".into());
    };
    let user = String::from_utf8_lossy(&said.user).into_owned();
    let file = file.folder.join(OsString::from_vec(facts.text(&file.file)));
    match doorman.judge(&file, said).await {
        Ok(Verdict::Right) => Judgement::LetsIn,
        Ok(Verdict::NoSuchUser) => refuse(format!("user {user:?} was not found")),
        Ok(Verdict::Mismatch) => refuse(format!("user {user:?}: password mismatch")),
        Ok(Verdict::UnknownScheme) => {
            refuse(format!("user {user:?}: the password's scheme is not supported"))
        }
        // As in nginx, a file that is not there lets nobody in; another error is the server's.
        Err(error) => {
            let failure = Failure::of_file("open()", &file, &error);
            let status = if failure.status() == 404 { 403 } else { 500 };
            let failure = match failure {
                Failure::NoFile { call, path, error, .. } => {
                    Failure::NoFile { call, path, error, status }
                }
                other => other,
            };
            Judgement::Refuses(failure, Vec::new())
        }
    }
}

/// `ngx_http_auth_request_handler`.
async fn by_word(course: &mut Course, admission: &Admission, doorman: &impl Doorman) -> Judgement {
    let Some(path) = &admission.ask else { return Judgement::Silent };
    let word = match course.subrequest(path.as_bytes()) {
        Ok(asked) => doorman.ask(asked, admission).await,
        Err(cycle) => return Judgement::Refuses(cycle.into(), Vec::new()),
    };
    for ((variable, _), value) in admission.keep.iter().zip(word.kept) {
        program::assign(*variable, value, course);
    }
    match word.status {
        200..=299 => Judgement::LetsIn,
        401 => {
            let challenges = word.challenges.into_iter();
            let headers = challenges.map(|value| (header::WWW_AUTHENTICATE, value)).collect();
            Judgement::Refuses(Failure::Unauthorized(format!("{path} says 401")), headers)
        }
        403 => {
            let failure = Failure::Forbidden("the service that is asked refuses the request");
            Judgement::Refuses(failure, Vec::new())
        }
        status => {
            let failure = Failure::BadWord { path: path.clone(), status };
            Judgement::Refuses(failure, Vec::new())
        }
    }
}
