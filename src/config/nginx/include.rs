//! `include`: which files a pattern names, and their text.
//!
//! Relative patterns begin at the folder of the main file, whichever file they stand in. A pattern
//! without a match is nothing; a plain name without a file is a mistake.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parser::{Block, Parser};
use crate::config::diagnostics::{Source, Syntax};
use crate::config::raw::Word;

/// Files at most: past this, files include each other without an end in sight.
const MOST: usize = 1000;

/// Which files are being read.
#[derive(Debug)]
pub(super) struct Files {
    /// The folder of the main file.
    prefix: PathBuf,
    /// The files that led here, each included by the one before it.
    open: Vec<PathBuf>,
    /// How many have been included so far.
    count: usize,
    /// What was read, each file once.
    sources: Vec<Arc<Source>>,
}

impl Files {
    /// Begins at the main file.
    pub(super) fn new(main: &Path) -> Self {
        Self {
            prefix: main.parent().unwrap_or(Path::new("")).to_owned(),
            open: vec![real(main)],
            count: 0,
            sources: Vec::new(),
        }
    }

    /// Notes that a file was read.
    pub(super) fn has_read(&mut self, source: &Arc<Source>) {
        if self.sources.iter().all(|known| known.name != source.name) {
            self.sources.push(Arc::clone(source));
        }
    }

    /// What was read, each file once, in the order in which it was first opened.
    pub(super) fn into_sources(self) -> Vec<Arc<Source>> {
        self.sources
    }
}

/// The same name for the same file.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

impl Parser<'_> {
    /// What stands in the files that a pattern names.
    pub(super) fn include(&mut self, pattern: &Word) -> Block {
        let path = self.files.prefix.join(&pattern.value);
        let paths = if pattern.value.contains(['*', '?', '[']) { glob(&path) } else { vec![path] };
        let mut all = Block::default();
        for path in paths {
            match self.included(&path, pattern) {
                Some(block) => {
                    all.items.extend(block.items);
                    all.broken |= block.broken;
                }
                None => all.broken = true,
            }
        }
        all
    }

    fn included(&mut self, path: &Path, by: &Word) -> Option<Block> {
        let name = path.display().to_string();
        let same = real(path);
        if self.files.open.contains(&same) {
            self.diags
                .error(&by.place, format!("\"{name}\" includes itself"))
                .expected("it is being read already when this line is reached");
            return None;
        }
        self.files.count += 1;
        if self.files.count >= MOST {
            if self.files.count == MOST {
                self.diags
                    .error(&by.place, "too many files are included")
                    .expected(format!("expected at most {MOST}"));
            }
            return None;
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.diags
                    .error(&by.place, open_failed(&name, &error))
                    .expected("expected a file that exists, or a pattern with `*`");
                return None;
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                crate::config::not_utf8(name, &error, Syntax::Nginx, self.diags);
                return None;
            }
        };
        let source = Arc::new(Source::new(name, text, Syntax::Nginx));
        self.files.has_read(&source);
        self.files.open.push(same);
        let block = self.file(&source);
        self.files.open.pop();
        Some(block)
    }
}

/// nginx's words for a file that cannot be read.
pub(crate) fn open_failed(name: &str, error: &std::io::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    match error.raw_os_error() {
        Some(number) => format!("open() \"{name}\" failed ({number}: {reason})"),
        None => format!("open() \"{name}\" failed ({reason})"),
    }
}

/// The files that a pattern matches, in the order of their names.
fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let part = part.to_string_lossy();
        if !part.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(&*part));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let folder_or_here =
                if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let entries = fs::read_dir(folder_or_here).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            // As in the shell, a hidden file is matched by a pattern that says its dot.
            let mut names: Vec<String> = names
                .filter(|name| part.starts_with('.') || !name.starts_with('.'))
                .filter(|name| matches(&chars(&part), &chars(name)))
                .collect();
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Whether a name matches `*`, `?`, `[a-z]` and `[!a-z]`.
fn matches(pattern: &[char], name: &[char]) -> bool {
    // Where to go on when what follows the last `*` does not fit: one more character is the star's.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => match set(&pattern[p..], name[n]) {
                Some((true, length)) => Some(length),
                Some((false, _)) => None,
                None => (name[n] == '[').then_some(1),
            },
            Some(c) => (*c == name[n]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((star, taken))) => {
                retry = Some((star, taken + 1));
                p = star + 1;
                n = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a set in brackets holds a character, and how long the set is; none where it is not closed.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = 1 + usize::from(negated);
    let close = first + 1 + pattern.get(first + 1..)?.iter().position(|c| *c == ']')?;
    let inner = &pattern[first..close];
    let mut holds = false;
    let mut at = 0;
    while at < inner.len() {
        if inner.get(at + 1) == Some(&'-') && at + 2 < inner.len() {
            holds |= (inner[at]..=inner[at + 2]).contains(&c);
            at += 3;
        } else {
            holds |= inner[at] == c;
            at += 1;
        }
    }
    Some((holds != negated, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*a*b", "xaxbxb", true),
            ("?.conf", "é.conf", true),
            ("?.conf", ".conf", false),
            ("[0-9][!x]*", "1abc", true),
            ("[0-9][!x]*", "1x", false),
            ("a[", "a[", true),
            ("[]]", "]", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(&chars(pattern), &chars(name)), expected, "{pattern} {name}");
        }
    }
}
