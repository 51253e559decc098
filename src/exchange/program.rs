//! Running the rewrite module's instructions (`ngx_http_rewrite_module`).
//!
//! A program runs until an instruction ends it. A path that was rewritten has another route looked
//! for once the program is over, unless `break` comes first. The block of an `if` that is entered
//! makes its settings hold from there on, also where the block is left again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;

use super::flow::{Disk, FileRule, Kind, Next, Stat};
use super::reply::Reply;
use super::variables::Scene;
use super::{Course, failure::Failure, files, path};
use crate::config::model::program::{
    Condition, FileTest, Instruction, Program, Return, Rewrite, Settable, Then,
};
use crate::config::template::{Part, Template, Variable};
use crate::config::words;

/// How a program has ended.
#[derive(Debug, PartialEq)]
pub(super) enum Ran {
    /// It has run to its end.
    Through {
        /// Whether the path was changed so that a route must be looked for again.
        search: bool,
    },
    /// The request has come to something.
    Ended(Next),
}

/// Runs a program.
pub(super) async fn run(
    program: &Program,
    course: &mut Course,
    scene: &Scene<'_>,
    disk: &impl Disk,
) -> Ran {
    let mut search = false;
    if program.is_empty() {
        return Ran::Through { search };
    }
    let mut blocks = vec![program.iter()];
    while let Some(block) = blocks.last_mut() {
        match block.next() {
            None => drop(blocks.pop()),
            Some(Instruction::Set { variable, value }) => set(*variable, value, course, scene),
            Some(Instruction::Break) => {
                course.kept_route |= search;
                return Ran::Through { search: false };
            }
            Some(Instruction::Return(what)) => return Ran::Ended(answer(what, course, scene)),
            Some(Instruction::If { condition, then, route }) => {
                if holds(condition, course, scene, disk).await {
                    course.route = route.or(course.route);
                    blocks.push(then.iter());
                }
            }
            Some(Instruction::Rewrite(rewrite)) => {
                let Some(captures) = rewrite.pattern.captures(&course.uri) else { continue };
                course.capture(&rewrite.pattern, captures);
                if let Then::Redirect(status) = rewrite.then {
                    return Ran::Ended(redirect(status, rewrite, course, scene));
                }
                if !replace(rewrite, course, scene) {
                    let failure = "the rewritten URI has a zero length".to_owned();
                    return Ran::Ended(Next::Fail(Failure::Internal(failure)));
                }
                search = rewrite.then != Then::Break;
                course.kept_route |= !search;
                if rewrite.then != Then::Next {
                    return Ran::Through { search };
                }
            }
        }
    }
    Ran::Through { search }
}

fn set(variable: Settable, value: &Template, course: &mut Course, scene: &Scene<'_>) {
    assign(variable, scene.with(course).text(value), course);
}

/// Gives a variable its value.
pub(super) fn assign(variable: Settable, value: Vec<u8>, course: &mut Course) {
    match variable {
        Settable::Own(slot) => course.set(slot, value),
        Settable::Args => {
            course.args = value;
            course.rewritten = true;
        }
        Settable::LimitRate => {
            // As in nginx, what is no size sets no limit.
            let rate = std::str::from_utf8(&value).ok().and_then(|text| words::size(text).ok());
            course.limit_rate = Some(rate.unwrap_or(0));
        }
    }
}

/// Whether a path has to be escaped where a part of it becomes a query or a URL: only where the
/// client has escaped it.
fn was_escaped(scene: &Scene<'_>) -> bool {
    path::split(scene.head.target).0.iter().any(|b| matches!(b, b'%' | b'+'))
}

/// Puts the replacement in the place of path and query; false where no path is left.
fn replace(rewrite: &Rewrite, course: &mut Course, scene: &Scene<'_>) -> bool {
    let facts = scene.with(course);
    let escape = was_escaped(scene);
    let mut uri = Vec::with_capacity(course.uri.len() + 32);
    let mut args: Option<usize> = None;
    for part in rewrite.replacement.parts() {
        match part {
            // The query begins behind the first question mark that is written there.
            Part::Literal(text) => match text.split_once('?').filter(|_| args.is_none()) {
                Some((path, query)) => {
                    uri.extend_from_slice(path.as_bytes());
                    args = Some(uri.len());
                    uri.extend_from_slice(query.as_bytes());
                }
                None => uri.extend_from_slice(text.as_bytes()),
            },
            Part::Variable(Variable::Capture(group)) if escape && args.is_some() => {
                path::escape_argument(facts.captured(*group).unwrap_or_default(), &mut uri);
            }
            Part::Variable(variable) => {
                facts.append(variable, &mut uri);
            }
        }
    }
    match args {
        Some(start) => {
            let mut args = uri.split_off(start);
            if rewrite.keep_args && !course.args.is_empty() {
                args.push(b'&');
                args.extend_from_slice(&course.args);
            }
            course.args = args;
        }
        None if !rewrite.keep_args => course.args.clear(),
        None => {}
    }
    course.uri = uri;
    course.rewritten = true;
    course.internal = true;
    !course.uri.is_empty()
}

/// Tells the client to go to the replacement.
fn redirect(status: u16, rewrite: &Rewrite, course: &mut Course, scene: &Scene<'_>) -> Next {
    let facts = scene.with(course);
    let escape = was_escaped(scene);
    let mut url = Vec::with_capacity(64);
    let mut has_args = false;
    for part in rewrite.replacement.parts() {
        match part {
            Part::Literal(text) => {
                has_args |= text.contains('?');
                url.extend_from_slice(text.as_bytes());
            }
            Part::Variable(Variable::Capture(group)) if escape => {
                path::escape_argument(facts.captured(*group).unwrap_or_default(), &mut url);
            }
            Part::Variable(variable) => {
                facts.append(variable, &mut url);
            }
        }
    }
    let mut url = path::unescape_redirect(&url);
    if rewrite.keep_args && !course.args.is_empty() {
        url.push(if has_args { b'&' } else { b'?' });
        url.extend_from_slice(&course.args);
    }
    course.status = None;
    Next::Reply(files::redirect(status, url))
}

/// What `return` comes to.
fn answer(what: &Return, course: &mut Course, scene: &Scene<'_>) -> Next {
    course.saying = Some(what.status);
    let text = what.text.as_ref().map(|text| scene.with(course).text(text));
    match (what.status, text) {
        (status @ (301 | 302 | 303 | 307 | 308), text) => {
            course.status = None;
            Next::Reply(files::redirect(status, text.unwrap_or_default()))
        }
        // As in nginx, these mean that nobody waits for an answer.
        (status @ (408 | 444 | 499), None) => {
            course.status = Some(status);
            Next::Close
        }
        (status @ 400.., None) => Next::Fail(Failure::Configured(status)),
        (status, text) => Next::Reply(Reply {
            status,
            content_type: Some(files::content_type(&scene.with(course)).to_owned()),
            body: text.map(Bytes::from).unwrap_or_default(),
            ..Reply::default()
        }),
    }
}

/// Whether the block of an `if` is entered.
async fn holds(
    condition: &Condition,
    course: &mut Course,
    scene: &Scene<'_>,
    disk: &impl Disk,
) -> bool {
    match condition {
        Condition::True(value) => {
            let value = scene.with(course).text(value);
            !matches!(&value[..], b"" | b"0")
        }
        Condition::Equal { left, right, negated } => {
            let facts = scene.with(course);
            (facts.text(left) == facts.text(right)) != *negated
        }
        Condition::Match { subject, pattern, negated } => {
            let subject = scene.with(course).text(subject);
            let captures = pattern.captures(&subject);
            let matches = captures.is_some();
            if let Some(captures) = captures {
                course.capture(pattern, captures);
            }
            matches != *negated
        }
        Condition::File { test, path, negated } => {
            let path = scene.with(course).text(path);
            let stat = disk.stat(Path::new(OsStr::from_bytes(&path)), &FileRule::default()).await;
            stat.is_ok_and(|stat| passes(*test, &stat)) != *negated
        }
    }
}

fn passes(test: FileTest, stat: &Stat) -> bool {
    match test {
        FileTest::File => stat.kind == Kind::File,
        FileTest::Directory => stat.kind == Kind::Directory,
        FileTest::Exists => true,
        FileTest::Executable => stat.executable,
    }
}
