//! From one word to one value, or a diagnostic and nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::address::BadAddress;
use crate::config::diagnostics::{Diagnostic, Diagnostics, Span, Syntax, nearest, quote};
use crate::config::raw::{List, Word};
use crate::config::template::{Dollar, Template, UnknownVariable, Variable};
use crate::config::words::{self, BadWord};

const TIME: &str = "expected a time such as `500ms`, `10s` or `1m30s`";

/// Whether zero means something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

impl Diagnostics {
    pub(super) fn time(&mut self, key: &str, word: Option<&Word>, zero: Zero) -> Option<Duration> {
        let word = word?;
        match words::duration(&word.value) {
            Ok(Duration::ZERO) if zero == Zero::Refused => {
                let message = format!("`{key}` must be more than 0, found {}", quote(&word.value));
                self.error(&word.place, message).in_nginx(invalid_value(key)).expected(TIME);
            }
            Ok(duration) => return Some(duration),
            Err(BadWord::TooLarge) => {
                let message = format!("`{key}` is too long: {}", quote(&word.value));
                self.error(&word.place, message)
                    .in_nginx(invalid_value(key))
                    .expected("expected at most 100y");
            }
            Err(BadWord::Not(_)) => {
                let message = format!("`{key}` takes a time, found {}", quote(&word.value));
                self.error(&word.place, message).in_nginx(invalid_value(key)).expected(TIME);
            }
        }
        None
    }

    pub(super) fn size(&mut self, key: &str, word: Option<&Word>) -> Option<u64> {
        let word = word?;
        let size = words::size(&word.value);
        if size.is_err() {
            let message = format!("`{key}` takes a size, found {}", quote(&word.value));
            self.error(&word.place, message)
                .in_nginx(invalid_value(key))
                .expected("expected bytes, or a size such as `8k`, `10m` or `1g`");
        }
        size.ok()
    }

    pub(in crate::config) fn switch(&mut self, key: &str, word: Option<&Word>) -> Option<bool> {
        let word = word?;
        let switch = words::switch(&word.value);
        if switch.is_none() {
            let message = format!("`{key}` is on or off, found {}", quote(&word.value));
            self.error(&word.place, message)
                .in_nginx(format!(
                    "invalid value \"{}\" in \"{key}\" directive, it must be \"on\" or \"off\"",
                    word.value
                ))
                .expected("expected one of on, off");
        }
        switch
    }

    /// A whole number within limits that fit into `T`.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        word: Option<&Word>,
        limits: RangeInclusive<u64>,
    ) -> Option<T> {
        let word = word?;
        let number = words::number(&word.value).filter(|number| limits.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let (first, last) = limits.into_inner();
            let message =
                format!("`{key}` must be {first} to {last}, found {}", quote(&word.value));
            let in_nginx = match words::number(&word.value) {
                Some(_) => format!("value must be between {first} and {last}"),
                None => format!("\"{key}\" directive invalid number"),
            };
            self.error(&word.place, message).in_nginx(in_nginx).expected("expected a whole number");
        }
        number
    }

    /// A percentage within limits that fit into `T`.
    pub(super) fn percent<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        word: Option<&Word>,
        limits: RangeInclusive<u64>,
    ) -> Option<T> {
        let word = word?;
        let percent = words::percent(&word.value).filter(|percent| limits.contains(percent));
        let percent = percent.and_then(|percent| T::try_from(percent).ok());
        if percent.is_none() {
            let (first, last) = limits.into_inner();
            let message =
                format!("`{key}` must be {first}% to {last}%, found {}", quote(&word.value));
            self.error(&word.place, message)
                .in_nginx(invalid_value(key))
                .expected("expected a percentage such as `20%`");
        }
        percent
    }

    /// A share of all that is more than none of it, or `off`; none where nothing is said.
    pub(super) fn share(&mut self, key: &str, word: Option<&Word>) -> Option<Option<u8>> {
        match word?.value.as_str() {
            "off" => Some(None),
            _ => self.percent(key, word, 1..=99).map(Some),
        }
    }

    pub(in crate::config) fn template(&mut self, word: &Word) -> Option<Template> {
        let in_nginx = Span::from(&word.place).source.syntax == Syntax::Nginx;
        let dollars = if in_nginx { Dollar::Bare } else { Dollar::Escaped };
        let unknown = match Template::parse_in(&word.value, &self.scope, dollars) {
            Ok(template) => {
                self.scope.asks.note(&template);
                return Some(template);
            }
            Err(unknown) => unknown,
        };
        let own: Vec<String> = self.scope.names().map(str::to_owned).collect();
        let message = match &unknown.name[..] {
            "" => "invalid variable name".to_owned(),
            name => format!("unknown \"{name}\" variable"),
        };
        let diagnostic = self.error(&word.place, unknown.to_string());
        if in_nginx {
            diagnostic.in_nginx(message).expected(
                "`$` begins the name of a variable, and nothing stands for a dollar sign",
            );
        } else {
            diagnostic.expected("a variable begins with `$`; `$$` is a dollar sign");
        }
        help_with_variable(&unknown, &own, diagnostic);
        None
    }

    /// What an address reader says, under the word it read.
    pub(super) fn address<T>(&mut self, word: &Word, read: Result<T, BadAddress>) -> Option<T> {
        match read {
            Ok(address) => Some(address),
            Err(error) => {
                self.error(&word.place, error.to_string()).expected(error.expected());
                None
            }
        }
    }

    /// Ranges of statuses; empty where none was written or none is right.
    pub(super) fn statuses(
        &mut self,
        key: &str,
        list: Option<&List<Word>>,
    ) -> Vec<RangeInclusive<u16>> {
        let mut ranges = Vec::new();
        for word in list.iter().flat_map(|list| &list.items) {
            match words::statuses(&word.value) {
                Some(range) => ranges.push(range),
                None => {
                    let message = format!("`{key}` takes statuses, found {}", quote(&word.value));
                    self.error(&word.place, message)
                        .expected("expected a status from 100 to 599 or a range such as `200-399`");
                }
            }
        }
        ranges
    }
}

fn invalid_value(key: &str) -> String {
    format!("\"{key}\" directive invalid value")
}

/// Says which variables there are, or the one that was meant.
pub(in crate::config) fn help_with_variable(
    unknown: &UnknownVariable,
    own: &[String],
    diagnostic: &mut Diagnostic,
) {
    let own = nearest(&unknown.name, own.iter().map(String::as_str));
    match own.or_else(|| nearest(&unknown.name, Variable::names())) {
        Some(name) => diagnostic.help(format!("did you mean `${name}`?")),
        None if !unknown.name.is_empty() => diagnostic.help(
            "there are nginx's variables, `$http_NAME` for a header of the request, and those that \
             `set`, `map`, `geo`, `split_clients` and groups of patterns make",
        ),
        None => diagnostic,
    };
}
