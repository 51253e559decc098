//! What the answer to a probe has to be, as YAML says it: a key for each part.

use super::header_name;
use crate::config::diagnostics::Diagnostics;
use crate::config::model::health_check::{
    BodyTest, Expected, ExpectedHeader, HeaderTest, Statuses,
};
use crate::config::raw::{self, List, Word};
use crate::config::resolve::routes::pattern_of;

pub(super) fn expected(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Expected {
    Expected {
        status: statuses(raw.status.as_ref(), diags),
        headers: headers(raw.expect_headers.as_ref(), diags),
        body: body(raw, diags),
    }
}

/// Those that pass, or behind a `!` those that do not.
fn statuses(list: Option<&List<Word>>, diags: &mut Diagnostics) -> Statuses {
    let mut list = list.cloned();
    let mut except = false;
    if let Some(first) = list.as_mut().and_then(|list| list.items.first_mut())
        && let Some(rest) = first.value.strip_prefix('!')
    {
        (except, first.value) = (true, rest.trim_start().to_owned());
    }
    if let Some(list) = &mut list {
        // `!` may stand alone before the others.
        list.items.retain(|word| !except || !word.value.is_empty());
    }
    let ranges = diags.statuses("status", list.as_ref());
    match ranges.is_empty() {
        true => Statuses { except: false, ranges: vec![200..=399] },
        false => Statuses { except, ranges },
    }
}

fn headers(list: Option<&List<(Word, Word)>>, diags: &mut Diagnostics) -> Vec<ExpectedHeader> {
    let mut headers = Vec::new();
    for (name, wanted) in list.iter().flat_map(|list| &list.items) {
        let Some(known) = header_name(name, diags) else { continue };
        headers.extend(test(wanted, diags).map(|test| ExpectedHeader { name: known, test }));
    }
    headers
}

/// A value, or one of nginx's operators with what follows it; `*` is any value and `!` none.
fn test(word: &Word, diags: &mut Diagnostics) -> Option<HeaderTest> {
    let (operator, value) = match word.value.split_once(' ') {
        Some((operator @ ("=" | "!=" | "~" | "~*" | "!~" | "!~*"), value)) => {
            (operator, value.trim_start())
        }
        _ => ("=", word.value.as_str()),
    };
    Some(match operator {
        _ if word.value == "*" => HeaderTest::Present,
        _ if word.value == "!" => HeaderTest::Absent,
        "!=" => HeaderTest::IsNot(value.to_owned()),
        "~" | "~*" => HeaderTest::Matches(pattern_of(word, value, operator == "~*", diags)?),
        "!~" | "!~*" => HeaderTest::Lacks(pattern_of(word, value, operator == "!~*", diags)?),
        _ => HeaderTest::Is(value.to_owned()),
    })
}

fn body(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Vec<BodyTest> {
    let mut tests = Vec::new();
    for (key, word) in
        [("body", &raw.body), ("body_matches", &raw.body_matches), ("body_lacks", &raw.body_lacks)]
    {
        let Some(word) = word else { continue };
        if word.value.is_empty() {
            let wanted = if key == "body" { "a text" } else { "a regular expression" };
            diags
                .error(&word.place, format!("`{key}` is empty"))
                .expected(format!("expected {wanted} to look for"));
            continue;
        }
        let pattern = |diags: &mut Diagnostics| pattern_of(word, &word.value, false, diags);
        tests.extend(match key {
            "body" => Some(BodyTest::Holds(word.value.clone())),
            "body_matches" => pattern(diags).map(BodyTest::Matches),
            _ => pattern(diags).map(BodyTest::Lacks),
        });
    }
    tests
}
