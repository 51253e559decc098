//! The directives that load, one row each: where, how many arguments, and what they do. A chapter
//! of nginx's documentation has a file.
//!
//! A directive works, or it has no effect here and says why. Those of nginx that do neither are in
//! [`super::unsupported`]. A row with no effect must be safe to ignore: leaving it out would serve
//! the same answers.

mod core;
mod grpc;
mod http;
mod ids;
mod limits;
mod log;
mod proxy;
mod rewrite;
mod site;
mod tls;
mod upstream;

use std::collections::BTreeMap;

use super::Standing;
use super::frame::{Context, Frame};
use super::parser::Directive;
use super::reader::Reader;
use super::set::Kind;
use super::unsupported::{self, Group};
use crate::config::raw::Word;

const MAIN: u16 = Context::Main.bit();
const EVENTS: u16 = Context::Events.bit();
const HTTP: u16 = Context::Http.bit();
const SERVER: u16 = Context::Server.bit();
const LOCATION: u16 = Context::Location.bit();
const UPSTREAM: u16 = Context::Upstream.bit();
const SERVER_IF: u16 = Context::ServerIf.bit();
const LOCATION_IF: u16 = Context::LocationIf.bit();
const HTTP_SERVER: u16 = HTTP | SERVER;
const HTTP_ALL: u16 = HTTP | SERVER | LOCATION;
const ANY: u16 = u16::MAX;

/// How many arguments at most where nginx sets no limit.
const MANY: usize = usize::MAX;

/// What stands behind the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// A `;`.
    None,
    /// Directives in braces.
    Block,
    /// Entries in braces, whose first words are no directives.
    Entries,
}

/// Where a value goes.
pub(super) type Slot = fn(&mut Frame) -> &mut Option<Word>;

/// What a directive that works does.
#[derive(Clone, Copy)]
pub(super) enum Setter {
    /// Its only argument, of this kind, goes there.
    Value(Kind, Slot),
    /// It goes into the settings as written, for `resolve` to read.
    Statement,
    /// The same, once a function has put it into a form that both doors have.
    Kept(fn(&mut Reader<'_>, &Directive, &mut Frame)),
    /// It is done by a function.
    Call(fn(&mut Reader<'_>, &Directive, &mut Frame)),
    /// It does what robin does anyway if its argument is one of these; else the text says what to
    /// do instead.
    Only(&'static [&'static str], &'static str),
}

/// What becomes of a directive.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Works(Setter),
    /// It is accepted and nothing follows from it, for this reason.
    NoEffect(&'static str),
}

/// One directive.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    contexts: u16,
    args: (usize, usize),
    pub(super) body: Body,
    /// Whether it may be written more than once in a block.
    pub(super) often: bool,
    pub(super) class: Class,
}

impl Row {
    pub(super) fn takes(&self, args: usize) -> bool {
        (self.args.0..=self.args.1).contains(&args)
    }

    /// How many arguments it takes, in words.
    pub(super) fn arity(&self) -> String {
        match self.args {
            (0, 0) => "expected none".to_owned(),
            (1, 1) => "expected one".to_owned(),
            (n, m) if n == m => format!("expected {n}"),
            (n, MANY) => format!("expected {n} or more"),
            (n, m) => format!("expected {n} to {m}"),
        }
    }

    const fn often(self) -> Self {
        Self { often: true, ..self }
    }

    const fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

const fn row(name: &'static str, contexts: u16, args: (usize, usize), class: Class) -> Row {
    Row { name, contexts, args, body: Body::None, often: false, class }
}

const fn value(name: &'static str, contexts: u16, kind: Kind, slot: Slot) -> Row {
    row(name, contexts, (1, 1), Class::Works(Setter::Value(kind, slot)))
}

const fn statement(name: &'static str, contexts: u16, args: (usize, usize)) -> Row {
    row(name, contexts, args, Class::Works(Setter::Statement))
}

const fn call(
    name: &'static str,
    contexts: u16,
    args: (usize, usize),
    set: fn(&mut Reader<'_>, &Directive, &mut Frame),
) -> Row {
    row(name, contexts, args, Class::Works(Setter::Call(set)))
}

const fn only(
    name: &'static str,
    contexts: u16,
    values: &'static [&'static str],
    instead: &'static str,
) -> Row {
    row(name, contexts, (1, MANY), Class::Works(Setter::Only(values, instead)))
}

const fn none(name: &'static str, contexts: u16, args: (usize, usize), why: &'static str) -> Row {
    row(name, contexts, args, Class::NoEffect(why))
}

const OS: &str = "robin lets the system choose";
const PIECES: &str = "bodies are kept and sent in pieces of robin's own size";
const TABLES: &str = "robin's tables grow by themselves";
const FILES: &str = "robin reads files in its own way";

/// The rows, a chapter of nginx's documentation each.
const CHAPTERS: [&[Row]; 11] = [
    core::ROWS,
    http::ROWS,
    site::ROWS,
    proxy::ROWS,
    grpc::ROWS,
    upstream::ROWS,
    rewrite::ROWS,
    tls::ROWS,
    log::ROWS,
    ids::ROWS,
    limits::ROWS,
];

fn rows() -> impl Iterator<Item = &'static Row> {
    CHAPTERS.into_iter().flatten()
}

/// What a name is in a context.
#[derive(Clone, Copy)]
pub(super) enum Found {
    Row(&'static Row),
    /// It belongs in these contexts, a bit each.
    Elsewhere(u16),
    Unsupported(&'static Group),
    Unknown,
}

/// Looks a directive up.
pub(super) fn find(name: &str, context: Context) -> Found {
    let mut elsewhere = 0;
    for row in rows().filter(|row| row.name == name) {
        if row.contexts & context.bit() != 0 {
            return Found::Row(row);
        }
        elsewhere |= row.contexts;
    }
    match unsupported::find(name) {
        _ if elsewhere != 0 => Found::Elsewhere(elsewhere),
        Some(group) => Found::Unsupported(group),
        None => Found::Unknown,
    }
}

/// The names of the directives that are kept as written in a context.
pub(super) fn statements(context: Context) -> impl Iterator<Item = &'static str> {
    let kept = |row: &&Row| matches!(row.class, Class::Works(Setter::Statement | Setter::Kept(_)));
    let here = move |row: &&Row| row.contexts & context.bit() != 0;
    rows().filter(kept).filter(here).map(|row| row.name)
}

/// Whether nginx has a directive of this name, or robin does.
pub(super) fn is_known(name: &str) -> bool {
    rows().any(|row| row.name == name) || unsupported::find(name).is_some()
}

/// Every directive of nginx's documentation with its class, once, by name.
pub(super) fn classes() -> BTreeMap<&'static str, Standing> {
    let mut classes = BTreeMap::new();
    for group in unsupported::groups() {
        for name in group.names() {
            classes.insert(name, Standing::NotSupported(group.instead.to_owned()));
        }
    }
    // What works in one context and has no effect in another works.
    for row in rows() {
        if let Class::NoEffect(why) = row.class {
            classes.insert(row.name, Standing::NoEffect(why.to_owned()));
        }
    }
    for row in rows() {
        let limit = match row.class {
            Class::NoEffect(_) => continue,
            Class::Works(Setter::Only(values, _)) => Some(values.join(", ")),
            Class::Works(_) => None,
        };
        classes.insert(row.name, Standing::Works { only: limit });
    }
    // It is done before the rows are asked.
    classes.insert("include", Standing::Works { only: None });
    classes
}

/// Whether a directive of this name does what it says.
pub(super) fn works(name: &str) -> bool {
    let only = |row: &Row| matches!(row.class, Class::Works(Setter::Only(..)));
    rows().any(|row| row.name == name && !only(row))
}

/// Every name, for "did you mean": what works before what does not.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|row| row.name).chain(unsupported::names())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_has_one_row_a_context_and_one_class() {
        let rows: Vec<&Row> = rows().collect();
        for (n, row) in rows.iter().enumerate() {
            let same = |other: &&&Row| other.name == row.name && other.contexts & row.contexts != 0;
            assert!(!rows[n + 1..].iter().any(|other| same(&other)), "{} twice", row.name);
            assert!(unsupported::find(row.name).is_none(), "{} works", row.name);
        }
        let unsupported: Vec<&str> = unsupported::names().collect();
        for (n, name) in unsupported.iter().enumerate() {
            assert!(!unsupported[n + 1..].contains(name), "{name} twice");
        }
    }
}
