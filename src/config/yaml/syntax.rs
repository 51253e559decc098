//! What is wrong with a text that is no YAML, in our words: libyaml speaks of tokens and
//! productions, a reader wants to know what to type.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::node::NoTree;
use crate::config::diagnostics::{Diagnostics, Source, Span};

/// How libyaml begins to say it, how we say it, and what to do.
const PROBLEMS: [(&str, &str, &str); 16] = [
    (
        "mapping values are not allowed",
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
        "this line does not fit the lines above it",
        "give keys of one map the same indentation",
    ),
    (
        "did not find expected '-' indicator",
        "this line does not fit the list above it",
        "give `-` of one list the same indentation",
    ),
    ("did not find expected ',' or ']'", "a list in brackets is not closed", "close it with `]`"),
    ("did not find expected ',' or '}'", "a map in braces is not closed", "close it with `}`"),
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
    ("unknown anchor", "the alias has no anchor", "define it before with `&name`"),
    (
        "recursion limit exceeded",
        "the values are nested too deep",
        "a configuration needs fewer than 128 levels",
    ),
    (
        "repetition limit exceeded",
        "aliases make the configuration too large",
        "write the values out",
    ),
    (
        "EOF while parsing a value",
        "the configuration is empty",
        "it needs at least `listen` and `routes`",
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
            let help = "write the values out";
            diags.error(span(0), "aliases make the configuration too large").help(help);
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
            let at = place(error);
            if let Some(tab) = tab_indentation(&source.text, at) {
                diags
                    .error(span(tab), "YAML does not allow tabs for indentation")
                    .expected("a tab")
                    .help("use spaces");
            } else if let Some(second) = second_document(&source.text) {
                diags
                    .error(span(second), "a second document in one file")
                    .help("remove the `---`, or put it into a file of its own");
            } else {
                problem(span(at), error, diags);
            }
        }
    }
}

fn problem(span: Span, error: &serde_yaml::Error, diags: &mut Diagnostics) {
    let said = error.to_string();
    match PROBLEMS.iter().find(|(begin, ..)| said.starts_with(begin)) {
        Some((_, message, help)) => diags.error(span, *message).help(*help),
        None => {
            let problem = said.split(" at line ").next().unwrap_or(&said);
            diags.error(span, format!("this is not YAML: {problem}"))
        }
    };
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

/// Where a second document begins, if there is one.
fn second_document(text: &str) -> Option<usize> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    IgnoredAny::deserialize(documents.next()?).ok()?;
    documents.next()?;
    // The first document may have a `---` of its own, before anything that counts.
    let mut at = 0;
    let mut filled = false;
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") || line.starts_with("...") {
            if filled {
                return Some(at);
            }
            filled = line.starts_with("---");
        } else if !line.trim_start().starts_with('#') && !line.trim().is_empty() {
            filled = true;
        }
        at += line.len();
    }
    None
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
