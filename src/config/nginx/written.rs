//! From statements back to nginx's language: words that are read again as the same words.

use std::fmt::Write;

use super::lexer::is_blank;
use crate::config::raw::{Route, Settings, Statement, Step, Word};

/// A word, in quotes where it needs them.
pub(in crate::config) fn word(value: &str) -> String {
    let bytes = value.as_bytes();
    let brace = |at: usize| bytes[at] == b'{' && !bytes[..at].ends_with(b"$");
    let plain = !value.is_empty()
        && !value.starts_with(['"', '\'', '#', '}', '{'])
        && !value.contains(['\\', ';'])
        && !bytes.iter().any(|byte| is_blank(*byte))
        && !(0..bytes.len()).any(brace);
    if plain {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek();
        let escapes =
            c == '\\' && next.is_none_or(|c| matches!(c, '"' | '\'' | '\\' | 't' | 'r' | 'n'));
        if c == '"' || escapes {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn words(words: &[Word]) -> String {
    let words: Vec<String> = words.iter().map(|typed| word(&typed.value)).collect();
    words.join(" ")
}

/// What follows the name: the arguments, then what stands in braces.
pub(in crate::config) fn arguments(statement: &Statement) -> String {
    let mut text = words(&statement.args);
    if let Some(block) = &statement.block {
        let _ = write!(text, "{}{{ ", if text.is_empty() { "" } else { " " });
        statements(block, &mut text);
        text.push('}');
    }
    text
}

fn statements(list: &[Statement], text: &mut String) {
    for statement in list {
        let arguments = arguments(statement);
        let end = if statement.block.is_some() { " " } else { "; " };
        let blank = if arguments.is_empty() { "" } else { " " };
        let _ = write!(text, "{}{blank}{arguments}{end}", word(&statement.name.value));
    }
}

/// A step of the rewrite module.
pub(in crate::config) fn step(step: &Step) -> String {
    let mut text = String::new();
    match step {
        Step::Statement(statement) => {
            let _ = write!(text, "{} {}", word(&statement.name.value), arguments(statement));
        }
        Step::If { condition, route } => {
            let _ = write!(text, "if ({}) {{ ", words(condition));
            block_of(route, &mut text);
            text.push('}');
        }
    }
    text.trim_end().to_owned()
}

/// What stands in the block of an `if`.
fn block_of(route: &Route, text: &mut String) {
    if let Some(to) = &route.to {
        let _ = write!(text, "proxy_pass {}; ", word(&to.value));
    }
    for inner in &route.program {
        let end = if matches!(inner, Step::If { .. }) { " " } else { "; " };
        let _ = write!(text, "{}{end}", step(inner));
    }
    settings(&route.settings, text);
}

fn settings(settings: &Settings, text: &mut String) {
    statements(&settings.statements, text);
}
