//! What is wrong with a configuration, and where: collected, then printed in one form.
//!
//! Both doors report here, so a message looks the same whichever file it is about. Problems are
//! collected until the whole file has been checked; a reader who fixes them all is done.

use std::fmt;
use std::sync::Arc;

/// The text of one file, with its name as the user would type it.
#[derive(Debug)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a source: from `start` to `end`, in bytes.
#[derive(Clone, Debug)]
pub struct Span {
    /// The file.
    pub source: Arc<Source>,
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Line and column of the first byte, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The line that holds the first byte, without its end.
    fn line(&self) -> &str {
        let (number, _) = self.line_column();
        self.source.text.lines().nth(number - 1).unwrap_or("")
    }

    /// How many characters to underline: never past the line, at least one.
    fn width(&self) -> usize {
        let marked = self.source.text.get(self.start..self.end).unwrap_or("");
        marked.lines().next().unwrap_or("").chars().count().max(1)
    }
}

/// One problem: what, where, what was expected there, and what to do.
#[derive(Debug)]
pub struct Diagnostic {
    message: String,
    span: Span,
    expected: String,
    help: Option<String>,
}

impl Diagnostic {
    /// Says under the caret what would have been right.
    pub fn expected(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = expected.into();
        self
    }

    /// Adds a last line that says what to do.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.span.line_column();
        let gutter = line.to_string().len();
        let caret = "^".repeat(self.span.width());
        writeln!(f, "error: {}", self.message)?;
        writeln!(f, "{:gutter$}--> {}:{line}:{column}", "", self.span.source.name)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {}", self.span.line())?;
        let mark = format!(
            "{:gutter$} | {:indent$}{caret} {}",
            "",
            "",
            self.expected,
            indent = column - 1
        );
        writeln!(f, "{}", mark.trim_end())?;
        match &self.help {
            Some(help) => writeln!(f, "{:gutter$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// The problems of a configuration, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Records a problem and returns it, so that the caller can say more.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let expected = String::new();
        let diagnostic = Diagnostic { message: message.into(), span, expected, help: None };
        self.0.push(diagnostic);
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|d| write!(f, "{d}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, marked: &str) -> Span {
        let start = text.find(marked).expect("the text holds what is marked");
        let source = Source { name: "conf/proxy.yaml".into(), text: text.into() };
        Span { source: Arc::new(source), start, end: start + marked.len() }
    }

    #[test]
    fn a_problem_shows_its_line_with_a_caret_under_the_value() {
        let mut diags = Diagnostics::default();
        diags
            .error(
                span("listen: 80\nmethod: least-con\n", "least-con"),
                "unknown balancing method `least-con`",
            )
            .expected("expected one of round_robin, least_conn")
            .help("did you mean `least_conn`?");
        let expected = "\
error: unknown balancing method `least-con`
 --> conf/proxy.yaml:2:9
  |
2 | method: least-con
  |         ^^^^^^^^^ expected one of round_robin, least_conn
  = help: did you mean `least_conn`?
";
        assert_eq!(diags.to_string(), expected);
    }

    #[test]
    fn a_place_past_the_end_is_shown_and_not_a_panic() {
        let source = Arc::new(Source { name: "x.yaml".into(), text: "a: é".into() });
        let mut diags = Diagnostics::default();
        diags.error(Span { source, start: 99, end: 120 }, "unexpected end of file");
        assert!(diags.to_string().contains("x.yaml:1:5"));
    }
}
