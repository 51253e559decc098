//! nginx's door: a file in nginx's syntax in, raw tree out.
//!
//! `lexer` and `parser` read any directive, `include` brings in files, `table` knows which
//! directives there are, `reader` holds each to its row, `set` puts what they say into the raw
//! tree. What a value means beyond its form is for `resolve` to say, as with YAML.
//!
//! A file that holds no `http` but a `server` or an `upstream`, as those in `conf.d/` do, is read
//! as if it were included in one.

mod frame;
mod include;
mod lexer;
mod parser;
mod reader;
mod set;
mod table;
mod unsupported;

use std::path::Path;
use std::sync::Arc;

use self::include::Files;
pub(crate) use self::include::open_failed;
use self::parser::Parser;
use self::reader::Reader;
use super::diagnostics::{Diagnostics, Source, Syntax};
use super::{LoadOptions, raw};

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
    let reader = Reader::new(diags, prefix.to_owned());
    Read { raw: reader.config(globals.as_ref(), &block, &parser::place(source, 0)), sources }
}

/// Whether a directive of this name does what it says.
pub(super) fn works(directive: &str) -> bool {
    table::works(directive)
}
