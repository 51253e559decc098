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
pub(super) use self::include::open_failed;
use self::parser::Parser;
use self::reader::Reader;
use super::diagnostics::{Diagnostics, Source};
use super::raw;

/// Reads a text that is in the file `path`; nothing where it holds no proxy, which is reported.
pub(super) fn read(
    path: &Path,
    source: &Arc<Source>,
    diags: &mut Diagnostics,
) -> Option<raw::Config> {
    let mut parser = Parser { files: Files::new(path), diags };
    let block = parser.file(source);
    Reader::new(diags).config(&block, &parser::place(source, 0))
}
