//! nginx's door: a file in nginx's syntax in, raw tree out.
//!
//! `lexer` and `parser` read any directive, `include` brings in files, `table` knows which
//! directives there are, `reader` holds each to its row, `set` puts what they say into the raw
//! tree. What a value means beyond its form is for `resolve` to say, as with YAML.
//!
//! A file that holds no `http` but a `server` or an `upstream`, as those in `conf.d/` do, is read
//! as if it were included in one.

mod frame;
mod grpc;
mod include;
mod lexer;
mod parser;
mod reader;
mod set;
mod table;
mod unsupported;
pub(super) mod written;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use self::frame::{Context, Frame};
use self::include::Files;
pub(crate) use self::include::open_failed;
use self::lexer::{End, Lexer};
use self::parser::{Directive, Parser};
use self::reader::Reader;
use super::LoadOptions;
use super::diagnostics::{Diagnostics, Source, Syntax};
use super::raw::{self, Place, Statement, Step, Word};

/// What reading has brought.
pub(super) struct Read {
    /// Nothing where the file holds no proxy, which is reported.
    pub(super) raw: Option<raw::Config>,
    /// The main file and what it includes, each file once.
    pub(super) sources: Vec<Arc<Source>>,
}

/// Reads a text that is in the file `path`.
pub(super) fn read(
    path: &Path,
    source: &Arc<Source>,
    options: &LoadOptions,
    diags: &mut Diagnostics,
) -> Read {
    let prefix = options.prefix.as_deref().or(path.parent()).unwrap_or(Path::new(""));
    let mut files = Files::new(path);
    files.has_read(source);
    let mut parser = Parser { files, diags };
    let globals = options.globals.as_ref().map(|text| {
        let source = Source::new("command line", text.as_str(), Syntax::Nginx);
        parser.file(&Arc::new(source))
    });
    let block = parser.file(source);
    let sources = parser.files.into_sources();
    let reader = Reader::new(diags, prefix.to_owned(), options.lenient);
    Read { raw: reader.config(globals.as_ref(), &block, &parser::place(source, 0)), sources }
}

/// What becomes of a directive of nginx's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It does what it says; where not every value does, with those that do.
    Works {
        /// The values.
        only: Option<String>,
    },
    /// It is accepted and nothing follows from it, for this reason.
    NoEffect(String),
    /// It is refused; this is to be done instead.
    NotSupported(String),
}

/// Every directive of nginx's documentation with what becomes of it, by name.
#[must_use]
pub fn directives() -> BTreeMap<&'static str, Standing> {
    table::classes()
}

/// Whether a directive of this name does what it says.
pub(super) fn works(directive: &str) -> bool {
    table::works(directive)
}

/// A level of a configuration that says something in nginx's words though its file is not nginx's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// `http`.
    Top,
    /// `server`.
    Server,
    /// `location`.
    Route,
}

/// What makes something that all of a configuration may refer to.
const DECLARATIONS: &[&str] = &["map", "geo", "split_clients", "log_format", "match"];
/// The rewrite module.
const STEPS: &[&str] = &["rewrite", "return", "break", "set", "if"];

impl Level {
    fn context(self) -> Context {
        match self {
            Self::Top => Context::Http,
            Self::Server => Context::Server,
            Self::Route => Context::Location,
        }
    }

    /// The names of the directives that are kept as written here.
    pub(super) fn statements(self) -> impl Iterator<Item = &'static str> {
        let declarations = if self == Self::Top { DECLARATIONS } else { &[] };
        table::statements(self.context()).chain(declarations.iter().copied())
    }
}

/// What a level has said in nginx's words.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) statements: Vec<Statement>,
    pub(super) declarations: Vec<Statement>,
    pub(super) program: Vec<Step>,
    /// Whether something could not be read and was reported.
    pub(super) broken: bool,
}

/// Names with what follows them in nginx's language, with or without the `;`.
pub(super) type Phrases = Vec<(Word, Word)>;

/// Reads phrases that stand at a level of the file `path`.
pub(super) fn read_phrases(
    path: &Path,
    level: Level,
    phrases: &Phrases,
    place: &Place,
    diags: &mut Diagnostics,
) -> Said {
    let mut blocks = Vec::new();
    for (name, text) in phrases {
        let mut whole = format!("{} {}", name.value, text.value);
        if let Ok(lexer::Statement { end: End::File, .. }) = Lexer::new(&whole).statement() {
            whole.push(';');
        }
        let mut parser = Parser { files: Files::new(path), diags };
        let block = parser.text(whole, &text.place);
        let known = |step: &Directive| STEPS.contains(&step.name.value.as_str());
        if name.value.is_empty() && !block.items.iter().all(known) {
            diags
                .error(&text.place, "a rule is a directive of nginx's rewrite module")
                .expected(format!("expected one of {}", STEPS.join(", ")));
        } else if block.items.len() > 1 {
            diags
                .error(&text.place, "more than one directive")
                .expected("expected nothing behind the `;` or `}` of the first");
        } else {
            blocks.push(block);
        }
    }
    let mut frame = Frame::new(level.context(), place.clone());
    let prefix = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(diags, prefix.to_owned(), false);
    for block in &blocks {
        reader.block(block, &mut frame);
    }
    Said {
        declarations: reader.declarations,
        broken: frame.broken,
        program: frame.take_program(),
        statements: frame.settings.statements,
    }
}
