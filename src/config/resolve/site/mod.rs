//! Files and answers: the defaults, and what statements say of them.
//!
//! Each level begins with what holds outside of it. A name that is said here replaces what was
//! said outside, as nginx merges levels; what differs from that rule says so at its place.

mod access;
mod admission;
mod answers;
mod clients;
mod expires;
mod files;
mod gzip;

use std::time::Duration;

use super::leaf::Zero;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::template::Template;

/// The statements of one level.
struct Said<'s, 'd> {
    settings: &'s Settings,
    diags: &'d mut Diagnostics,
}

impl<'s> Said<'s, '_> {
    fn switch(&mut self, name: &str, outer: bool) -> bool {
        self.diags.switch(name, self.settings.word(name)).unwrap_or(outer)
    }

    fn size(&mut self, name: &str, outer: u64) -> u64 {
        self.diags.size(name, self.settings.word(name)).unwrap_or(outer)
    }

    fn time(&mut self, name: &str, outer: Duration) -> Duration {
        self.diags.time(name, self.settings.word(name), Zero::Refused).unwrap_or(outer)
    }

    /// One of several words.
    fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)], outer: T) -> T {
        let Some(word) = self.settings.word(name) else { return outer };
        match words.iter().find(|(known, _)| *known == word.value) {
            Some((_, chosen)) => *chosen,
            None => {
                let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
                invalid(self.diags, word, format!("expected one of {}", names.join(", ")));
                outer
            }
        }
    }

    /// All statements of a name, if there are any.
    fn all(&self, name: &str) -> Option<Vec<&'s Statement>> {
        let settings = self.settings;
        let all: Vec<&Statement> = settings.all(name).collect();
        (!all.is_empty()).then_some(all)
    }

    /// MIME types: `first` is always among them (`ngx_http_types_slot`).
    fn types(&mut self, name: &str, first: &str) -> Option<Vec<String>> {
        let mut types = vec![first.to_owned()];
        for word in self.all(name)?.iter().flat_map(|statement| &statement.args) {
            let kind = word.value.to_ascii_lowercase();
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        Some(types)
    }

    fn template(&mut self, word: &Word) -> Option<Template> {
        self.diags.template(word)
    }
}

/// nginx's `invalid value`.
fn invalid(diags: &mut Diagnostics, word: &Word, expected: impl Into<String>) {
    diags
        .error(&word.place, format!("invalid value {}", quote(&word.value)))
        .in_nginx(format!("invalid value \"{}\"", word.value))
        .expected(expected);
}

/// A status in three digits; nginx takes any number up to 999.
fn status(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|status| digits && *status <= 999)
}
