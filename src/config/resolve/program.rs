//! The rewrite module: from steps to instructions (`ngx_http_rewrite_module`).

use super::routes::{Routes, pattern_of};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::program::{
    Condition, FileTest, Instruction, Program, Return, Rewrite, Settable, Then,
};
use crate::config::model::{PathMatch, RouteSettings};
use crate::config::raw::{Statement, Step, Word};
use crate::config::template::{Part, Template};
use crate::config::words;

/// The program of a route, or of a server for `route` none; the blocks of its `if`s become routes.
pub(super) fn program(
    steps: &[Step],
    route: Option<usize>,
    settings: &RouteSettings,
    routes: &mut Routes<'_>,
    diags: &mut Diagnostics,
) -> Program {
    let mut program = Program::new();
    for step in steps {
        match step {
            Step::Statement(statement) => program.extend(instruction(statement, diags)),
            Step::If { condition: words, route: block } => {
                let condition = condition(words, diags);
                let index = route.map(|parent| {
                    routes.route(PathMatch::If, block, Some(parent), settings, diags)
                });
                let then = match index {
                    Some(index) => std::mem::take(&mut routes.list[index].program),
                    None => self::program(&block.program, None, settings, routes, diags),
                };
                let condition = condition.into_iter();
                program.extend(condition.map(|condition| Instruction::If {
                    condition,
                    then: then.clone(),
                    route: index,
                }));
            }
        }
    }
    program
}

fn instruction(statement: &Statement, diags: &mut Diagnostics) -> Option<Instruction> {
    match (statement.name.value.as_str(), &statement.args[..]) {
        ("set", [name, value]) => {
            let value = diags.template(value)?;
            Some(Instruction::Set { variable: settable(name, diags)?, value })
        }
        ("rewrite", [pattern, replacement, flag @ ..]) => {
            rewrite(pattern, replacement, flag.first(), diags).map(Instruction::Rewrite)
        }
        ("return", [code, text @ ..]) => {
            returned(code, text.first(), diags).map(Instruction::Return)
        }
        ("break", []) => Some(Instruction::Break),
        (name, args) => {
            diags
                .error(
                    &statement.name.place,
                    format!("{} does not take {} arguments", quote(name), args.len()),
                )
                .expected("expected `set`, `rewrite`, `return`, `break` or `if`");
            None
        }
    }
}

pub(super) fn settable(name: &Word, diags: &Diagnostics) -> Option<Settable> {
    // A name that is none, or is taken, was reported when it was declared.
    let name = name.value.strip_prefix('$')?;
    match diags.scope.slot(name) {
        Some(slot) => Some(Settable::Own(slot)),
        None if name.eq_ignore_ascii_case("args") => Some(Settable::Args),
        None => Some(Settable::LimitRate),
    }
}

/// What makes a replacement a redirect.
fn is_url(text: &str) -> bool {
    ["http://", "https://", "$scheme"].iter().any(|scheme| text.starts_with(scheme))
}

fn rewrite(
    pattern: &Word,
    replacement: &Word,
    flag: Option<&Word>,
    diags: &mut Diagnostics,
) -> Option<Rewrite> {
    let compiled = pattern_of(pattern, &pattern.value, false, diags);
    let text = &replacement.value;
    if text.is_empty() {
        diags
            .error(&replacement.place, "the replacement is empty")
            .in_nginx("empty replacement")
            .expected("expected a path or a URL");
        return None;
    }
    // A `?` at the end drops the query that came.
    let (text, keep_args) = text.strip_suffix('?').map_or((&text[..], true), |text| (text, false));
    let word = Word { value: text.to_owned(), place: replacement.place.clone() };
    let replacement = diags.template(&word);
    let then = match flag.map(|word| (word, word.value.as_str())) {
        Some((_, "redirect")) => Then::Redirect(302),
        Some((_, "permanent")) => Then::Redirect(301),
        Some((_, "break" | "last")) | None if is_url(text) => Then::Redirect(302),
        None => Then::Next,
        Some((_, "last")) => Then::Last,
        Some((_, "break")) => Then::Break,
        Some((word, other)) => {
            diags
                .error(&word.place, format!("unknown flag {}", quote(other)))
                .in_nginx(format!("invalid parameter \"{other}\""))
                .expected("expected one of last, break, redirect, permanent")
                .nearest(other, ["last", "break", "redirect", "permanent"]);
            return None;
        }
    };
    Some(Rewrite { pattern: compiled?, replacement: replacement?, keep_args, then })
}

fn returned(code: &Word, text: Option<&Word>, diags: &mut Diagnostics) -> Option<Return> {
    /// nginx's limit.
    const LAST: u64 = 999;
    if text.is_none() && is_url(&code.value) {
        return Some(Return { status: 302, text: Some(diags.template(code)?) });
    }
    let status = words::number(&code.value).filter(|status| *status <= LAST);
    let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
        diags
            .error(&code.place, format!("{} is not a status", quote(&code.value)))
            .in_nginx(format!("invalid return code \"{}\"", code.value))
            .expected("expected a status up to 999, or a URL alone");
        return None;
    };
    let text = match text {
        Some(text) => Some(diags.template(text)?),
        None => None,
    };
    Some(Return { status, text })
}

/// Reads what stands in the brackets of an `if` (`ngx_http_rewrite_if_condition`).
fn condition(words: &[Word], diags: &mut Diagnostics) -> Option<Condition> {
    match words {
        [variable] if is_variable(variable) => subject(variable, diags).map(Condition::True),
        [variable, operator, value] if is_variable(variable) => {
            compared(variable, operator, value, diags)
        }
        [test, path] => {
            let Some((file_test, negated)) = file_test(&test.value) else {
                return invalid(test, diags);
            };
            Some(Condition::File { test: file_test, path: diags.template(path)?, negated })
        }
        // The door has told that there is nothing.
        [] => None,
        [first, ..] => invalid(first, diags),
    }
}

fn is_variable(word: &Word) -> bool {
    word.value.len() > 1 && word.value.starts_with('$')
}

fn invalid<T>(word: &Word, diags: &mut Diagnostics) -> Option<T> {
    diags
        .error(&word.place, format!("{} is not a condition", quote(&word.value)))
        .in_nginx(format!("invalid condition \"{}\"", word.value))
        .expected("expected `$variable`, `$variable = text`, `$variable ~ pattern` or `-f path`");
    None
}

/// The variable that a condition begins with.
fn subject(word: &Word, diags: &mut Diagnostics) -> Option<Template> {
    let template = diags.template(word)?;
    match template.parts() {
        [Part::Variable(_)] => Some(template),
        _ => {
            diags
                .error(&word.place, format!("{} is not one variable", quote(&word.value)))
                .in_nginx(format!("unknown \"{}\" variable", &word.value[1..]))
                .expected("expected one variable: `set` makes one of several");
            None
        }
    }
}

fn compared(
    variable: &Word,
    operator: &Word,
    value: &Word,
    diags: &mut Diagnostics,
) -> Option<Condition> {
    let (operation, negated) = match operator.value.strip_prefix('!') {
        Some(operation) => (operation, true),
        None => (operator.value.as_str(), false),
    };
    match operation {
        "=" => {
            let (left, right) = (subject(variable, diags), diags.template(value));
            Some(Condition::Equal { left: left?, right: right?, negated })
        }
        "~" | "~*" => {
            let subject = subject(variable, diags);
            let pattern = pattern_of(value, &value.value, operation == "~*", diags);
            Some(Condition::Match { subject: subject?, pattern: pattern?, negated })
        }
        _ => {
            diags
                .error(&operator.place, format!("unknown operator {}", quote(&operator.value)))
                .in_nginx(format!("unexpected \"{}\" in condition", operator.value))
                .expected("expected one of =, !=, ~, ~*, !~, !~*");
            None
        }
    }
}

/// `-f` and so on, and whether it is negated.
fn file_test(text: &str) -> Option<(FileTest, bool)> {
    let (test, negated) = text.strip_prefix('!').map_or((text, false), |test| (test, true));
    let test = match test {
        "-f" => FileTest::File,
        "-d" => FileTest::Directory,
        "-e" => FileTest::Exists,
        "-x" => FileTest::Executable,
        _ => return None,
    };
    Some((test, negated))
}

/// Whether a variable of nginx's may be set.
pub(super) fn may_be_set(name: &str) -> bool {
    ["args", "limit_rate"].iter().any(|settable| settable.eq_ignore_ascii_case(name))
}
