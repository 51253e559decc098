//! What is wrong with a text that is no YAML, in our words: libyaml speaks of tokens and
//! productions, a reader wants to know what to type.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use super::node::{Found, NoTree};
use crate::config::diagnostics::{Diagnostic, Diagnostics, Source, Span};

const NO_KEY_HERE: &str = "mapping values are not allowed";

/// What libyaml says, how we say it, and what to do.
const PROBLEMS: [(&str, &str, &str); 16] = [
    (
        Found::EXPECTED,
        "a second document in one file",
        "remove the `---` above it, or put it into a file of its own",
    ),
    (
        NO_KEY_HERE,
        "`key: value` is not allowed here",
        "check the indentation; a text that holds `: ` needs quotes",
    ),
    (
        "could not find expected ':'",
        "a key without a colon",
        "write `key: value` with a space after the colon",
    ),
    (
        "did not find expected key",
        "this is neither a key nor part of the value before it",
        "give keys of one map the same indentation, and end a value in quotes with the quote",
    ),
    (
        "did not find expected '-' indicator",
        "this line does not fit the list above it",
        "give `-` of one list the same indentation",
    ),
    (
        "did not find expected ',' or ']'",
        "a list in brackets lacks `,` or `]`",
        "separate its entries with `,` and close it with `]`",
    ),
    (
        "did not find expected ',' or '}'",
        "a map in braces lacks `,` or `}`",
        "separate its entries with `,` and close it with `}`",
    ),
    (
        "found unexpected end of stream",
        "the text in quotes is not closed",
        "end it with the quote it began with",
    ),
    (
        "found character that cannot start any token",
        "a value cannot begin with this character",
        "put the value in quotes",
    ),
    (
        "found unknown escape character",
        "unknown escape in double quotes",
        "double the backslash, or use single quotes",
    ),
    (
        "block sequence entries are not allowed",
        "a list entry is not allowed here",
        "put `-` on a line of its own, indented below its key",
    ),
    (
        "did not find expected alphabetic or numeric character",
        "`*` and `&` begin the name of an alias or an anchor",
        "put the value in quotes",
    ),
    ("invalid value", "the value does not fit its tag", "leave out the tag"),
    ("unknown anchor", "the alias has no anchor", "define it before with `&name`"),
    (
        "recursion limit exceeded",
        "the values are nested too deep",
        "a configuration needs fewer than 128 levels",
    ),
    (
        "did not find expected <document start>",
        "this line belongs to nothing above it",
        "begin the keys of the top level in the first column",
    ),
];

/// Records why there is no tree.
pub(super) fn report(source: &Arc<Source>, no_tree: &NoTree, diags: &mut Diagnostics) {
    let span = |at: usize| {
        let start = at.min(source.text.len());
        Span { source: Arc::clone(source), start, end: start }
    };
    let place = |e: &serde_yaml::Error| e.location().map_or(0, |place| place.index());
    match no_tree {
        NoTree::TooLarge => {
            let message = "aliases make the configuration too large";
            diags.file_error(&source.name, source.syntax, message).help("write the values out");
        }
        NoTree::Tag(error) => {
            let (start, text) = (place(error), &source.text);
            let tag = text.get(start..).and_then(|t| t.split_whitespace().next()).unwrap_or("");
            diags
                .error(
                    Span { source: Arc::clone(source), start, end: start + tag.len() },
                    format!("tag `{tag}` is not allowed"),
                )
                .help("a text that begins with `!` needs quotes");
        }
        NoTree::Yaml(error) => {
            let second = second_document(&source.text);
            let error = second.as_ref().unwrap_or(error);
            let at = place(error);
            if let Some(tab) = tab_indentation(&source.text, at) {
                diags
                    .error(span(tab), "YAML does not allow tabs for indentation")
                    .expected("a tab")
                    .help("use spaces");
            } else if let Some(dollar) = braces_of_variable(&source.text, at) {
                let variable = Span { end: dollar + 2, ..span(dollar) };
                diags
                    .error(variable, "`${` within brackets or braces needs quotes")
                    .help("write `\"${NAME}\"`");
            } else {
                let said = error.to_string();
                let begin = opening(&source.text, &said);
                let diagnostic = problem(span(begin.unwrap_or(at)), &said, diags);
                let rest = source.text.get(at..).unwrap_or("");
                if begin.is_some() && rest.starts_with(|c: char| !c.is_whitespace()) {
                    diagnostic.also(span(at), "missing before this");
                }
            }
        }
    }
}

/// The dollar sign of `${` whose brace is at `at`: within brackets or braces YAML takes it for the
/// beginning of a map.
fn braces_of_variable(text: &str, at: usize) -> Option<usize> {
    let dollar = at.checked_sub(1)?;
    text.get(dollar..)?.starts_with("${").then_some(dollar)
}

fn problem<'d>(span: Span, said: &str, diags: &'d mut Diagnostics) -> &'d mut Diagnostic {
    let colon = glued_colon(&span.source.text, span.start);
    if let Some(colon) = colon.filter(|_| said.starts_with(NO_KEY_HERE)) {
        let span = Span { start: colon, end: colon + 1, ..span };
        return diags
            .error(span, "no space after the colon")
            .help("write `key: value` with a space between them");
    }
    match PROBLEMS.iter().find(|(theirs, ..)| said.contains(theirs)) {
        Some((_, message, help)) => diags.error(span, *message).help(*help),
        None => {
            let problem = said.split(" at line ").next().unwrap_or(said);
            diags.error(span, format!("this is not YAML: {problem}"))
        }
    }
}

/// Where what was never closed begins. libyaml says where it noticed, which may be the end of the
/// file, and then what it was reading, as in "while scanning a quoted scalar at line 2 column 7".
fn opening(text: &str, said: &str) -> Option<usize> {
    let (_, context) = said.split_once(", while ")?;
    if !["parsing a flow ", "scanning a quoted "].iter().any(|begin| context.starts_with(begin)) {
        return None;
    }
    let (_, place) = context.split_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(line.checked_sub(1)?).map(str::len).sum();
    let (column, _) = lines.next()?.char_indices().nth(column.checked_sub(1)?)?;
    Some(before + column)
}

/// The colon of a line such as `listen:80` just above the line at `at`: to YAML that is a text
/// which goes on, so it stumbles over the next line.
fn glued_colon(text: &str, at: usize) -> Option<usize> {
    let line = text.get(..at)?.rfind('\n')?;
    let start = text[..line].rfind('\n').map_or(0, |n| n + 1);
    let above = &text[start..line];
    let colon = above.find(':').filter(|colon| !above[colon + 1..].starts_with(['/', ' ']))?;
    let glued = !above.contains(": ") && !above[colon + 1..].trim().is_empty();
    glued.then_some(start + colon)
}

/// The first tab in the indentation of the line at `at`, or of the line before.
fn tab_indentation(text: &str, at: usize) -> Option<usize> {
    let before = text.get(..at)?;
    let line = before.rfind('\n').map_or(0, |n| n + 1);
    let previous = before[..line.saturating_sub(1)].rfind('\n').map_or(0, |n| n + 1);
    [line, previous].into_iter().find_map(|start| {
        let rest = &text[start..];
        let indent = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[..indent].find('\t').map(|tab| start + tab)
    })
}

/// What is wrong with the text after the first document, if there is any: serde_yaml says of two
/// documents only that they are two.
fn second_document(text: &str) -> Option<serde_yaml::Error> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    IgnoredAny::deserialize(documents.next()?).ok()?;
    documents.next()?.deserialize_any(Found).err()
}

/// Records the first character that YAML allows in no file.
pub(super) fn report_control(source: &Arc<Source>, diags: &mut Diagnostics) -> bool {
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let Some((start, c)) = source.text.char_indices().find(|(_, c)| forbidden(*c)) else {
        return false;
    };
    let span = Span { source: Arc::clone(source), start, end: start + c.len_utf8() };
    diags
        .error(span, format!("control character U+{:04X}", u32::from(c)))
        .help("in double quotes it may be written with an escape");
    true
}
