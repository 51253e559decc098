//! `match` blocks of `ngx_http_upstream_hc_module`: what answers to probes have to be, under a name.

use std::collections::BTreeMap;

use super::header_name;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::health_check::{
    BodyTest, Expected, ExpectedHeader, HeaderTest, Statuses,
};
use crate::config::raw::{List, Place, Statement, Word};
use crate::config::resolve::routes::pattern_of;

/// All blocks by name; none for one that was reported.
#[derive(Debug, Default)]
pub(in crate::config::resolve) struct Matches(pub(super) BTreeMap<String, Option<Expected>>);

const EXPECTED: &str = "expected one of status, header, body";

/// Reads every `match`, before any health check is.
pub(in crate::config::resolve) fn matches(
    declarations: &[Statement],
    diags: &mut Diagnostics,
) -> Matches {
    let mut known: BTreeMap<String, (Option<Expected>, &Place)> = BTreeMap::new();
    for statement in declarations.iter().filter(|s| s.name.value == "match") {
        let Some(name) = statement.args.first() else { continue };
        if let Some((_, first)) = known.get(&name.value) {
            diags
                .error(&name.place, format!("duplicate `match` {}", quote(&name.value)))
                .in_nginx(format!("duplicate match \"{}\"", name.value))
                .expected("written again here")
                .also(*first, "first written here");
            continue;
        }
        let before = diags.len();
        let expected = block(statement, diags);
        let sound = diags.len() == before;
        known.insert(name.value.clone(), (sound.then_some(expected), &name.place));
    }
    Matches(known.into_iter().map(|(name, (expected, _))| (name, expected)).collect())
}

fn block(statement: &Statement, diags: &mut Diagnostics) -> Expected {
    let mut expected = Expected { status: Statuses::ANY, headers: Vec::new(), body: Vec::new() };
    let mut status: Option<&Word> = None;
    for test in statement.block.iter().flatten() {
        match test.name.value.as_str() {
            "status" => {
                if let Some(first) = status.replace(&test.name) {
                    diags
                        .error(&test.name.place, "duplicate `status` in `match`")
                        .in_nginx("\"status\" directive is duplicate")
                        .expected("written again here")
                        .also(&first.place, "first written here");
                }
                expected.status = statuses(test, diags);
            }
            "header" => expected.headers.extend(header(test, diags)),
            "body" => expected.body.extend(body(test, diags)),
            "require" => {
                diags
                    .error(&test.name.place, "`require` is not supported")
                    .in_nginx("\"require\" directive is not supported")
                    .expected("nginx has it, robin does not")
                    .help("`status`, `header` and `body` test what variables would be made of");
            }
            other => {
                diags
                    .error(&test.name.place, format!("unknown test {} in `match`", quote(other)))
                    .in_nginx(format!("unknown directive \"{other}\""))
                    .expected(EXPECTED)
                    .nearest(other, ["status", "header", "body"]);
            }
        }
    }
    expected
}

/// `status 200 301-303;` and `status ! 500;`.
fn statuses(test: &Statement, diags: &mut Diagnostics) -> Statuses {
    let (except, words) = match test.args.split_first() {
        Some((first, rest)) if first.value == "!" => (true, rest),
        _ => (false, &test.args[..]),
    };
    if words.is_empty() {
        arguments(test, "expected statuses such as `200` or `200-399`", diags);
    }
    let place = test.name.place.clone();
    let list = List { items: words.to_vec(), broken: false, place };
    Statuses { except, ranges: diags.statuses("status", Some(&list)) }
}

/// `header Name;`, `header ! Name;` and `header Name = value;` with one of `=`, `!=`, `~`, `!~`.
fn header(test: &Statement, diags: &mut Diagnostics) -> Option<ExpectedHeader> {
    const OPERATORS: [&str; 6] = ["=", "!=", "~", "~*", "!~", "!~*"];
    let (name, test) = match &test.args[..] {
        [not, name] if not.value == "!" => (name, HeaderTest::Absent),
        [name] if name.value != "!" => (name, HeaderTest::Present),
        [name, operator, value] if OPERATORS.contains(&operator.value.as_str()) => {
            let caseless = operator.value.ends_with('*');
            let pattern =
                |diags: &mut Diagnostics| pattern_of(value, &value.value, caseless, diags);
            let test = match operator.value.as_str() {
                "=" => HeaderTest::Is(value.value.clone()),
                "!=" => HeaderTest::IsNot(value.value.clone()),
                "~" | "~*" => HeaderTest::Matches(pattern(diags)?),
                _ => HeaderTest::Lacks(pattern(diags)?),
            };
            (name, test)
        }
        _ => {
            let expected = "expected `header NAME`, `header ! NAME`, or `header NAME` with =, !=, ~ or !~ and a value";
            arguments(test, expected, diags);
            return None;
        }
    };
    Some(ExpectedHeader { name: header_name(name, diags)?, test })
}

/// `body ~ "text";` and `body !~ "text";`.
fn body(test: &Statement, diags: &mut Diagnostics) -> Option<BodyTest> {
    match &test.args[..] {
        [operator, value] if ["~", "~*", "!~", "!~*"].contains(&operator.value.as_str()) => {
            let caseless = operator.value.ends_with('*');
            let pattern = pattern_of(value, &value.value, caseless, diags)?;
            let lacks = operator.value.starts_with('!');
            Some(if lacks { BodyTest::Lacks(pattern) } else { BodyTest::Matches(pattern) })
        }
        _ => {
            arguments(test, "expected `body ~ \"text\"` or `body !~ \"text\"`", diags);
            None
        }
    }
}

fn arguments(test: &Statement, expected: &str, diags: &mut Diagnostics) {
    let name = &test.name.value;
    diags
        .error(&test.name.place, format!("wrong arguments of `{name}` in `match`"))
        .in_nginx(format!("invalid number of arguments in \"{name}\" directive"))
        .expected(expected);
}
