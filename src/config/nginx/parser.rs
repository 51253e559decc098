//! Statements to a tree of directives, those of included files in their place.
//!
//! A mistake of syntax is reported and, where it is plain what was meant, reading goes on. A block
//! of which something could not be read is marked broken, so that nobody misses there what the
//! reader did not get to.

use std::sync::Arc;

use super::include::Files;
use super::lexer::{self, BadSyntax, End, Lexeme, Lexer, end_of_word};
use super::reader::YAML;
use crate::config::diagnostics::{Diagnostics, Source, Span};
use crate::config::raw::{Locate, Place, Statement, Word};

/// Blocks in blocks: nginx's own need six.
const DEEPEST: usize = 50;

/// A name, its arguments and, in braces, its block.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: Word,
    pub(super) args: Vec<Word>,
    /// None where a `;` ends it.
    pub(super) block: Option<Block>,
    /// The `;` or `{`.
    pub(super) end: Place,
}

impl Directive {
    /// The same for `resolve`, with all that stands in its braces.
    pub(super) fn statement(&self) -> Statement {
        let block = self.block.as_ref();
        Statement {
            name: self.name.clone(),
            args: self.args.clone(),
            block: block.map(|block| block.items.iter().map(Self::statement).collect()),
        }
    }
}

/// The directives between two braces, or of a file.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) items: Vec<Directive>,
    /// Whether some could not be read and were reported.
    pub(super) broken: bool,
}

/// A file whose words can be found again by their first byte.
#[derive(Debug)]
struct File(Arc<Source>);

impl Locate for File {
    fn locate(&self, number: usize) -> Span {
        let end = end_of_word(&self.0.text, number);
        Span { source: Arc::clone(&self.0), start: number, end }
    }
}

/// The place of a byte of a source.
pub(super) fn place(source: &Arc<Source>, at: usize) -> Place {
    Place::new(Arc::new(File(Arc::clone(source))), at)
}

/// Reads a file and those that it includes.
#[derive(Debug)]
pub(super) struct Parser<'d> {
    pub(super) files: Files,
    pub(super) diags: &'d mut Diagnostics,
}

/// Where the reading of one file stands.
struct Reading {
    source: Arc<Source>,
    locate: Arc<dyn Locate>,
    /// Where all of it is said to stand, for a text that stands in a file of another kind.
    stands: Option<Place>,
    /// The blocks that are open with what has been read of them, the file itself first.
    open: Vec<(Option<Directive>, Block)>,
}

impl Reading {
    fn new(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            locate: Arc::new(File(Arc::clone(source))),
            stands: None,
            open: vec![(None, Block::default())],
        }
    }

    fn place(&self, at: usize) -> Place {
        self.stands.clone().unwrap_or_else(|| Place::new(Arc::clone(&self.locate), at))
    }

    fn span(&self, start: usize, end: usize) -> Span {
        match &self.stands {
            Some(place) => place.into(),
            None => Span { source: Arc::clone(&self.source), start, end },
        }
    }

    fn directive(&self, words: Vec<Lexeme>, end: usize) -> Option<Directive> {
        let word =
            |lexeme: Lexeme| Word { place: self.place(lexeme.at.start), value: lexeme.value };
        let mut words = words.into_iter().map(word);
        Some(Directive {
            name: words.next()?,
            args: words.collect(),
            block: None,
            end: self.place(end),
        })
    }

    fn block(&mut self) -> &mut Block {
        // The file's own is never closed.
        &mut self.open.last_mut().expect("the file's own block is open").1
    }

    /// Closes the innermost block; false when there is only the file.
    fn close(&mut self) -> bool {
        if self.open.len() == 1 {
            return false;
        }
        if let Some((Some(mut directive), block)) = self.open.pop() {
            self.block().broken |= block.broken;
            directive.block = Some(block);
            self.block().items.push(directive);
        }
        true
    }
}

impl Parser<'_> {
    /// Reads a whole file.
    pub(super) fn file(&mut self, source: &Arc<Source>) -> Block {
        self.read(Reading::new(source))
    }

    /// Reads a text that stands at `place` of a file of another kind.
    pub(super) fn text(&mut self, text: String, place: &Place) -> Block {
        let syntax = Span::from(place).source.syntax;
        let source = Arc::new(Source { name: String::new(), text, syntax });
        self.read(Reading { stands: Some(place.clone()), ..Reading::new(&source) })
    }

    fn read(&mut self, mut reading: Reading) -> Block {
        let source = Arc::clone(&reading.source);
        let mut lexer = Lexer::new(&source.text);
        loop {
            let go_on = match lexer.statement() {
                Ok(statement) => self.statement(statement, &mut reading),
                Err(error) => {
                    self.bad_syntax(error, &reading);
                    reading.block().broken = true;
                    false
                }
            };
            if !go_on {
                break;
            }
        }
        while reading.close() {}
        std::mem::take(reading.block())
    }

    /// Takes a statement in; false when nothing can follow it.
    fn statement(&mut self, statement: lexer::Statement, reading: &mut Reading) -> bool {
        let lexer::Statement { words, end } = statement;
        match end {
            End::Semicolon(at) => match reading.directive(words, at) {
                Some(directive) => self.simple(directive, reading),
                None => self.unexpected(reading, at, ";", "expected a directive before it"),
            },
            End::Open(at) => match reading.directive(words, at) {
                Some(_) if reading.open.len() > DEEPEST => {
                    self.diags
                        .error(&reading.place(at), "the blocks are nested too deep")
                        .expected(format!("expected at most {DEEPEST} in one another"));
                    reading.block().broken = true;
                    return false;
                }
                Some(directive) => reading.open.push((Some(directive), Block::default())),
                None => {
                    self.unexpected(reading, at, "{", "expected the name of a block before it");
                    return false;
                }
            },
            End::Close(at) => {
                if !words.is_empty() {
                    self.unexpected(reading, at, "}", "expected `;` before it");
                    if let Some(directive) = reading.directive(words, at) {
                        self.simple(directive, reading);
                    }
                }
                if !reading.close() {
                    self.unexpected(reading, at, "}", "no block is open here");
                }
            }
            End::File => {
                self.end_of_file(words, reading);
                return false;
            }
        }
        true
    }

    fn simple(&mut self, directive: Directive, reading: &mut Reading) {
        match &directive.args[..] {
            [pattern] if directive.name.value == "include" => {
                let included = self.include(pattern);
                let block = reading.block();
                block.items.extend(included.items);
                block.broken |= included.broken;
            }
            _ => reading.block().items.push(directive),
        }
    }

    fn unexpected(&mut self, reading: &mut Reading, at: usize, sign: &str, expected: &str) {
        self.diags.error(&reading.place(at), format!("unexpected \"{sign}\"")).expected(expected);
        reading.block().broken = true;
    }

    fn end_of_file(&mut self, words: Vec<Lexeme>, reading: &mut Reading) {
        let end = reading.source.text.trim_end().len();
        let place = reading.span(end, end);
        let opener = reading.open.last().and_then(|(opener, _)| opener.as_ref());
        if let Some(last) = words.last() {
            let missing = if opener.is_some() { "\";\" or \"}\"" } else { "\";\"" };
            let diagnostic = self
                .diags
                .error(place, "unexpected end of file, expecting \";\" or \"}\"")
                .expected(format!("expected {missing}"))
                .also(reading.span(last.at.start, last.at.end), "after this word");
            if words.first().is_some_and(|word| word.value.ends_with(':')) {
                diagnostic.help(YAML);
            }
        } else if let Some(opener) = opener {
            self.diags
                .error(place, "unexpected end of file, expecting \"}\"")
                .expected("expected `}`")
                .also(&opener.end, "it would close this block");
        } else {
            return;
        }
        reading.block().broken = true;
    }

    fn bad_syntax(&mut self, error: BadSyntax, reading: &Reading) {
        match error {
            BadSyntax::AfterQuote { at, quoted } => {
                let sign = reading.source.text[at.clone()].escape_default();
                self.diags
                    .error(reading.span(at.start, at.end), format!("unexpected \"{sign}\""))
                    .expected("expected a blank, `;` or `{` behind a quoted text")
                    .also(reading.span(quoted.start, quoted.end), "which ends here");
            }
            BadSyntax::Unclosed(quote) => {
                let end = reading.source.text.trim_end().len();
                self.diags
                    .error(
                        reading.span(end, end),
                        "unexpected end of file, expecting \";\" or \"}\"",
                    )
                    .expected("expected the closing quote before the end")
                    .also(reading.span(quote.start, quote.end), "this quote is never closed");
            }
        }
    }
}
