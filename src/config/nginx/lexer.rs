//! Bytes to statements: words up to a `;`, a `{` or a `}`, as `ngx_conf_read_token` reads them.
//!
//! Quotes only begin a word: in its middle they stand for themselves. A backslash keeps the next
//! byte from ending a word and stays in it, unless a quote, a backslash or one of `t`, `r`, `n`
//! follows. The brace of `${name}` opens no block.

use std::ops::Range;

/// A word without its quotes and escapes, and where it stands with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub(super) value: String,
    pub(super) at: Range<usize>,
}

/// What a statement ends with, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `;`
    Semicolon(usize),
    /// `{`
    Open(usize),
    /// `}`; of the block, when no word stands before it.
    Close(usize),
    /// The end of the file.
    File,
}

/// Words and what ends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) words: Vec<Lexeme>,
    pub(super) end: End,
}

/// What cannot be read on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadSyntax {
    /// Something right behind a closing quote.
    AfterQuote { at: Range<usize>, quoted: Range<usize> },
    /// The file ends in a quoted text that begins here.
    Unclosed(Range<usize>),
}

/// Reads one statement after the other.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next statement; at the end of the file one without words.
    pub(super) fn statement(&mut self) -> Result<Statement, BadSyntax> {
        let mut words = Vec::new();
        loop {
            self.skip_blanks();
            let at = self.at;
            let end = match self.text.as_bytes().get(at) {
                None => return Ok(Statement { words, end: End::File }),
                Some(b';') => End::Semicolon(at),
                Some(b'{') => End::Open(at),
                Some(b'}') => End::Close(at),
                Some(_) => {
                    words.push(self.word()?);
                    continue;
                }
            };
            self.at += 1;
            return Ok(Statement { words, end });
        }
    }

    /// Past blanks, ends of lines and comments.
    fn skip_blanks(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'#' => {
                    let line = self.text[self.at..].find('\n');
                    self.at = line.map_or(self.text.len(), |length| self.at + length);
                }
                byte if is_blank(*byte) => self.at += 1,
                _ => return,
            }
        }
    }

    fn word(&mut self) -> Result<Lexeme, BadSyntax> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let quote = Some(bytes[start]).filter(|byte| matches!(byte, b'"' | b'\''));
        let inner = start + usize::from(quote.is_some());
        let mut after_dollar = false;
        let mut at = inner;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'{' if after_dollar => {}
                b'\\' => {
                    after_dollar = false;
                    at += 1;
                }
                b'$' => after_dollar = true,
                byte if Some(byte) == quote => {
                    self.at = at + 1;
                    return self.after_quote(start..at + 1);
                }
                byte if quote.is_none() && (is_blank(byte) || matches!(byte, b';' | b'{')) => {
                    break;
                }
                _ => after_dollar = false,
            }
            at += 1;
        }
        if quote.is_some() {
            self.at = self.text.len();
            return Err(BadSyntax::Unclosed(start..start + 1));
        }
        self.at = at.min(self.text.len());
        Ok(Lexeme { value: unescape(&self.text[start..self.at]), at: start..self.at })
    }

    /// A quoted word, once it is known that a blank or the end of the statement follows it. A `)`
    /// may follow, too: it begins another word, as `if ($a = "b")` needs it.
    fn after_quote(&self, quoted: Range<usize>) -> Result<Lexeme, BadSyntax> {
        match self.text[quoted.end..].chars().next() {
            Some(c) if !c.is_ascii_whitespace() && !matches!(c, ';' | '{' | ')') => {
                let at = quoted.end..quoted.end + c.len_utf8();
                Err(BadSyntax::AfterQuote { at, quoted })
            }
            _ => Ok(Lexeme {
                value: unescape(&self.text[quoted.start + 1..quoted.end - 1]),
                at: quoted,
            }),
        }
    }
}

/// One past the last byte of the word or the sign that begins at `start`.
#[must_use]
pub(super) fn end_of_word(text: &str, start: usize) -> usize {
    match text.as_bytes().get(start) {
        None => start,
        Some(b';' | b'{' | b'}') => start + 1,
        Some(_) => {
            let mut lexer = Lexer { text, at: start };
            lexer.word().map_or(start + 1, |word| word.at.end)
        }
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn unescape(typed: &str) -> String {
    let mut value = String::with_capacity(typed.len());
    let mut chars = typed.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match chars.peek().filter(|_| c == '\\') {
            Some(next @ ('"' | '\'' | '\\')) => Some(*next),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('n') => Some('\n'),
            _ => None,
        };
        value.push(escaped.unwrap_or(c));
        if escaped.is_some() {
            chars.next();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the first statement.
    fn words(text: &str) -> Vec<String> {
        let statement = Lexer::new(text).statement().expect("the text has no mistake");
        statement.words.into_iter().map(|word| word.value).collect()
    }

    #[test]
    fn words_end_at_blanks_semicolons_and_braces() {
        assert_eq!(words("a b\tc\r\nd # e\n f;g"), ["a", "b", "c", "d", "f"]);
        assert_eq!(words("server{listen 80;}"), ["server"]);
        assert_eq!(words("a b}c;"), ["a", "b}c"]);
        assert_eq!(words("a b#c;"), ["a", "b#c"]);
    }

    #[test]
    fn quotes_hold_everything_and_only_begin_a_word() {
        assert_eq!(words(r#"a "b ;{" 'c"d' e"f g;"#), ["a", "b ;{", "c\"d", "e\"f", "g"]);
        assert_eq!(words(r#"a "" '';"#), ["a", "", ""]);
        assert_eq!(words(r#"if ($a = "b") {"#), ["if", "($a", "=", "b", ")"]);
    }

    #[test]
    fn escapes_are_nginx_s() {
        assert_eq!(words(r#"a "\"\t\\\d" b\;c\ d \n;"#), ["a", "\"\t\\\\d", "b\\;c\\ d", "\n"]);
    }

    #[test]
    fn the_brace_of_a_variable_opens_no_block() {
        assert_eq!(words("a ${b}c$d{"), ["a", "${b}c$d"]);
        assert_eq!(words("a $b {"), ["a", "$b"]);
    }

    #[test]
    fn what_follows_a_quote_at_once_is_refused() {
        let error = Lexer::new("\"a\"é;").statement();
        assert_eq!(error, Err(BadSyntax::AfterQuote { at: 3..5, quoted: 0..3 }));
        assert_eq!(Lexer::new("a 'b;").statement(), Err(BadSyntax::Unclosed(2..3)));
        assert!(matches!(
            Lexer::new("a \\").statement().map(|statement| statement.end),
            Ok(End::File)
        ));
    }

    #[test]
    fn a_word_is_found_again_by_its_first_byte() {
        let text = "é 'b c'; }";
        assert_eq!([0, 3, 8, 10, 99].map(|at| end_of_word(text, at)), [2, 8, 9, 11, 99]);
    }
}
