//! From the number of a node to what is to be underlined.
//!
//! serde_yaml says where a node begins, and only that: where its token ends is found here.

use std::sync::Arc;

use super::node;
use crate::config::diagnostics::{Source, Span};
use crate::config::raw::Locate;

/// A YAML text whose nodes can be found again.
#[derive(Debug)]
pub(super) struct File {
    pub(super) source: Arc<Source>,
    /// What was typed for each node, by number.
    pub(super) typed: Vec<Box<str>>,
}

impl Locate for File {
    fn locate(&self, number: usize) -> Span {
        let index = node::find(&self.source.text, number).unwrap_or(0);
        let typed = self.typed.get(number).map_or("", |typed| typed);
        let (start, end) = token(&self.source.text, index, typed);
        Span { source: Arc::clone(&self.source), start, end }
    }
}

/// The first and one past the last byte of the token at `index` that was read as `typed`.
fn token(text: &str, index: usize, typed: &str) -> (usize, usize) {
    let start = index.min(text.len());
    let Some(mut rest) = text.get(start..) else {
        return (start, start);
    };
    // An anchor or a tag before the value belongs to the node, not to what is to be underlined.
    while rest.starts_with(['&', '!']) {
        let Some(blank) = rest.find([' ', '\n']) else { break };
        let after = rest[blank..].trim_start_matches(' ');
        if after.starts_with('\n') {
            break;
        }
        rest = after;
    }
    let start = text.len() - rest.len();
    let length = match rest.chars().next() {
        Some('"') => quoted(rest, '"'),
        Some('\'') => quoted(rest, '\''),
        Some('[' | '{') if typed.is_empty() => flow(rest),
        // A plain value stands in the text as it was read, unless it goes over several lines.
        _ if !typed.is_empty() && rest.starts_with(typed) => typed.len(),
        _ => {
            let line = rest.lines().next().unwrap_or("");
            let key = line.find(": ").or_else(|| line.strip_suffix(':').map(str::len));
            key.unwrap_or(line.trim_end().len())
        }
    };
    (start, start + length)
}

/// The length of a quoted text with its quotes. A doubled `'` reads as two texts side by side,
/// which is the same length.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            if quote == '\'' && chars.next_if(|(_, next)| *next == quote).is_some() {
                continue;
            }
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// The length of a list or map in brackets, up to the bracket that closes it.
fn flow(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' | '\'' => {
                at += quoted(&text[at..], c);
                continue;
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostics::Syntax;

    /// What would be underlined for each node of a text.
    fn marked(text: &str) -> Vec<String> {
        let tree = node::read(text).expect("the text is YAML");
        let source = Arc::new(Source::new("x.yaml", text, Syntax::Yaml));
        let file = File { source, typed: tree.typed };
        let mark = |n| {
            let span = file.locate(n);
            text[span.start..span.end].to_owned()
        };
        (0..file.typed.len()).map(mark).collect()
    }

    #[test]
    fn a_mark_covers_the_value_and_nothing_else() {
        assert_eq!(marked("é: 1.10 # x\n"), ["é", "é", "1.10"]);
        assert_eq!(marked("[a b, 'c''d', \"e\\\"\"]")[1..], ["a b", "'c''d'", "\"e\\\"\""]);
        assert_eq!(
            marked("a: { b: [c, '}'] }")[2..],
            ["{ b: [c, '}'] }", "b", "[c, '}']", "c", "'}'"]
        );
    }

    #[test]
    fn an_alias_is_marked_where_its_value_was_typed() {
        assert_eq!(marked("a: &x 1\nb: *x\n")[1..], ["a", "1", "b", "1"]);
    }

    #[test]
    fn a_block_is_marked_at_its_first_key() {
        assert_eq!(marked("a:\n  b: 1\n  c: 2\n")[2], "b");
    }
}
