//! The rewrite module, whose directives run one after another, so that their order is kept; and
//! what makes variables.

use crate::config::nginx::frame::{Context, Frame};
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Step, Word};

impl Frame {
    fn step(&mut self, step: Step) {
        self.program.push((self.at, step));
    }
}

/// `set`, `rewrite`, `return`, `break`.
pub(in crate::config::nginx) fn step(_: &mut Reader<'_>, directive: &Directive, frame: &mut Frame) {
    frame.step(Step::Statement(directive.statement()));
}

/// `map`, `geo`, `split_clients`, `log_format`, `match`.
pub(in crate::config::nginx) fn declaration(
    reader: &mut Reader<'_>,
    directive: &Directive,
    _: &mut Frame,
) {
    reader.declarations.push(directive.statement());
}

/// `if`.
pub(in crate::config::nginx) fn condition(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let context = match frame.context {
        Context::Server => Context::ServerIf,
        _ => Context::LocationIf,
    };
    let place = directive.name.place.clone();
    let mut inner = frame.inner(context, place.clone());
    reader.inside(directive, &mut inner);
    frame.broken |= inner.broken;
    let condition = reader.in_brackets(&directive.args);
    frame.broken |= condition.is_empty();
    if inner.to.as_ref().is_some_and(|to| to.value.starts_with("grpc")) {
        inner.pass_grpc();
        reader.finish_headers(&mut inner);
    }
    let route = Box::new(inner.into_route(Word { value: "if".to_owned(), place }));
    frame.step(Step::If { condition, route });
}

impl Reader<'_> {
    /// What stands in the brackets of a condition; nothing where they are missing, which is
    /// reported.
    fn in_brackets(&mut self, words: &[Word]) -> Vec<Word> {
        let mut words = words.to_vec();
        let first = words.first().cloned();
        let opened = words.first_mut().is_some_and(|first| match first.value.strip_prefix('(') {
            Some(rest) => {
                first.value = rest.to_owned();
                true
            }
            None => false,
        });
        let last = words.last().cloned();
        let closed = words.last_mut().is_some_and(|last| match last.value.strip_suffix(')') {
            Some(rest) => {
                last.value = rest.to_owned();
                true
            }
            None => false,
        });
        // A bracket alone is a word.
        if words.first().is_some_and(|first| first.value.is_empty()) {
            words.remove(0);
        }
        if words.len() > 1 && last.as_ref().is_some_and(|last| last.value == ")") {
            words.pop();
        }
        let empty = words.iter().all(|word| word.value.is_empty());
        let bad = if opened { last } else { first };
        if let Some(bad) = bad.filter(|_| !opened || !closed || empty) {
            self.diags
                .error(&bad.place, format!("invalid condition \"{}\"", bad.value))
                .expected("expected a condition in `(` and `)`");
            return Vec::new();
        }
        words
    }
}
