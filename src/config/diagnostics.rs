//! What is wrong with a configuration, and where: collected, then printed in one form.
//!
//! Both doors report here, so a message looks the same whichever file it is about; one about an
//! nginx file begins with nginx's own line, which log readers know. Problems are collected until
//! the whole file has been checked; a reader who fixes them all is done.

use std::fmt;
use std::sync::Arc;

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// YAML.
    Yaml,
    /// nginx's own.
    Nginx,
}

/// The text of one file, with its name as the user would type it.
#[derive(Debug)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// What it is written in.
    pub syntax: Syntax,
}

impl Source {
    /// A text without the byte order mark that some editors begin a file with.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>, syntax: Syntax) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        Self { name: name.into(), text, syntax }
    }
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

/// Text as it may be shown between backticks: control characters escaped, cut where it grows long.
#[must_use]
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown = String::from("`");
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == LONGEST => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown.push('`');
    shown
}

/// What a problem is about.
#[derive(Debug)]
enum Place {
    /// Something that was typed.
    Span(Span),
    /// A file that has no lines to show, by name.
    File(String, Syntax),
}

impl Place {
    fn syntax(&self) -> Syntax {
        match self {
            Self::Span(span) => span.source.syntax,
            Self::File(_, syntax) => *syntax,
        }
    }
}

/// One problem: what, where, what was expected there, and what to do.
#[derive(Debug)]
pub struct Diagnostic {
    message: String,
    /// How nginx says it, where it says it otherwise.
    in_nginx: Option<String>,
    place: Place,
    expected: String,
    also: Option<(Span, String)>,
    help: Option<String>,
}

impl Diagnostic {
    fn new(place: Place, message: String) -> Self {
        Self { message, in_nginx: None, place, expected: String::new(), also: None, help: None }
    }

    /// Says it in nginx's words where the file is nginx's.
    pub fn in_nginx(&mut self, message: impl Into<String>) -> &mut Self {
        self.in_nginx = Some(message.into());
        self
    }

    /// Says under the caret what would have been right.
    pub fn expected(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = expected.into();
        self
    }

    /// Points at a second place, with what is to be said of it.
    pub fn also(&mut self, span: impl Into<Span>, remark: impl Into<String>) -> &mut Self {
        self.also = Some((span.into(), remark.into()));
        self
    }

    /// Adds a last line that says what to do.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean" where a known word is close to the one that was typed.
    pub fn nearest<'a>(
        &mut self,
        typed: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> &mut Self {
        match nearest(typed, known) {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// What and where, as nginx says it.
    fn line(&self) -> String {
        let message = match self.place.syntax() {
            Syntax::Yaml => &self.message,
            Syntax::Nginx => self.in_nginx.as_ref().unwrap_or(&self.message),
        };
        match &self.place {
            Place::Span(span) => {
                format!("{message} in {}:{}", span.source.name, span.line_column().0)
            }
            Place::File(name, Syntax::Yaml) => format!("{message} in {name}"),
            Place::File(_, Syntax::Nginx) => message.clone(),
        }
    }

    /// Where in the file: the name of the source, then the first byte.
    fn order(&self) -> (&str, usize) {
        match &self.place {
            Place::Span(span) => (&span.source.name, span.start),
            Place::File(name, _) => (name, 0),
        }
    }
}

/// The known word that is most like the typed one, if it is close enough to be a slip.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters, at least one: more turns unrelated words into proposals.
    let length = typed.chars().count();
    let limit = (length / 3).max(1);
    let typed = typed.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .filter(|word| word.chars().count().abs_diff(length) <= limit)
        .map(|word| {
            let plain = word.to_lowercase().replace('-', "_");
            (strsim::osa_distance(&typed, &plain), word)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// A line of a source with a mark under what it is about.
fn snippet(f: &mut fmt::Formatter<'_>, gutter: usize, span: &Span, remark: &str) -> fmt::Result {
    /// Of a longer line (YAML may be one) only a part is shown.
    const WIDEST: usize = 160;
    const BEFORE: usize = 60;
    let (line, column) = span.line_column();
    let length = span.line().chars().count();
    let skipped = if length > WIDEST { (column - 1).saturating_sub(BEFORE) } else { 0 };
    let cut = skipped + WIDEST < length;
    // A control character in a file must not reach the terminal; its substitute is as wide.
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut text: String = span.line().chars().skip(skipped).take(WIDEST).map(shown).collect();
    // A tab is as wide as the terminal makes it: the same tab puts the caret under the value.
    let before = text.chars().take(column - 1 - skipped);
    let mut indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
    let room = WIDEST.saturating_sub(column - 1 - skipped).max(1);
    let caret = "^".repeat(span.width().min(room));
    if skipped > 0 {
        text.insert(0, '…');
        indent.insert(0, ' ');
    }
    if cut {
        text.push('…');
    }
    writeln!(f, "{:gutter$}--> {}:{line}:{column}", "", span.source.name)?;
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{}", format!("{line:gutter$} | {text}").trim_end())?;
    writeln!(f, "{}", format!("{:gutter$} | {indent}{caret} {remark}", "").trim_end())
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.syntax() {
            Syntax::Yaml => writeln!(f, "error: {}", self.message)?,
            Syntax::Nginx => {
                writeln!(f, "nginx: [emerg] {}", self.line())?;
            }
        }
        let gutter = match &self.place {
            Place::Span(span) => {
                let also = self.also.as_ref().map_or(0, |(span, _)| span.line_column().0);
                let gutter = span.line_column().0.max(also).to_string().len();
                snippet(f, gutter, span, &self.expected)?;
                gutter
            }
            Place::File(name, _) => {
                writeln!(f, " --> {name}")?;
                1
            }
        };
        if let Some((span, remark)) = &self.also {
            snippet(f, gutter, span, remark)?;
        }
        match &self.help {
            Some(help) => writeln!(f, "{:gutter$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// What is told of a configuration that loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What is accepted and does nothing here, each with the reason.
    pub no_effect: Vec<String>,
    /// What is taken otherwise than it may be meant: not supported and left out, because that was
    /// asked for, or said twice where the first holds.
    pub warnings: Vec<String>,
}

/// The problems of a configuration.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// How many are printed; none prints all.
    most: Option<usize>,
    /// What is no problem.
    pub(super) notes: Box<Notes>,
    /// The variables that the configuration makes itself, known before any template is read.
    pub(super) scope: Box<super::template::Scope>,
    /// Where names of files begin that are not absolute: beside the main file.
    pub(super) folder: std::path::PathBuf,
    /// Those that were read besides.
    pub(super) files: Vec<std::path::PathBuf>,
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    /// Those of what is read from the file `main`.
    pub(super) fn beside(main: &std::path::Path) -> Self {
        let folder = main.parent().unwrap_or(std::path::Path::new("")).to_owned();
        Self { folder, ..Self::default() }
    }

    /// Records a problem and returns it, so that the caller can say more.
    pub fn error(&mut self, span: impl Into<Span>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic::new(Place::Span(span.into()), message.into()))
    }

    /// Records a problem with a file as a whole: nothing of it can be shown.
    pub fn file_error(
        &mut self,
        name: &str,
        syntax: Syntax,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::new(Place::File(name.to_owned(), syntax), message.into()))
    }

    /// Warns of something that is taken otherwise than it may be meant.
    pub(super) fn warn(&mut self, span: impl Into<Span>, message: String) {
        self.notes.warnings.push(Self::note(span, message));
    }

    /// Notes something that is no problem: a line for [`Notes`].
    pub(super) fn note(span: impl Into<Span>, message: String) -> String {
        Diagnostic::new(Place::Span(span.into()), message).line()
    }

    /// Prints this many at most, and how many more there are.
    pub fn limit(&mut self, most: usize) {
        self.most = Some(most);
    }

    fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.list.push(diagnostic);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Brings the problems into the order of the file. What is reported twice of one place, because
    /// an alias repeats it, stays once.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| a.order().cmp(&b.order()));
        self.list.dedup_by(|b, a| a.order() == b.order() && a.message == b.message);
    }

    /// Each problem in a line of its own, without what it was said with.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.list.iter().take(self.most.unwrap_or(usize::MAX)).map(Diagnostic::line).collect()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most.unwrap_or(usize::MAX);
        self.list.iter().take(most).try_for_each(|d| write!(f, "{d}"))?;
        match self.list.len().saturating_sub(most) {
            0 => Ok(()),
            more => writeln!(f, "{more} more, not shown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, marked: &str) -> Span {
        let start = text.find(marked).expect("the text holds what is marked");
        let source = Source::new("conf/proxy.yaml", text, Syntax::Yaml);
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
        let source = Arc::new(Source::new("x.yaml", "a: é", Syntax::Yaml));
        let mut diags = Diagnostics::default();
        diags.error(Span { source, start: 99, end: 120 }, "unexpected end of file");
        assert!(diags.to_string().contains("x.yaml:1:5"));
    }
}
