//! `satisfy`, `auth_basic`, `auth_request` and what goes with them.

use std::path::PathBuf;

use super::Said;
use crate::config::model::admission::{Admission, Passwords};
use crate::config::model::program::Settable;
use crate::config::raw::Word;
use crate::config::resolve::leaf::Zero;
use crate::config::resolve::program::settable;
use crate::config::template::Template;

impl Said<'_, '_> {
    /// What is said here replaces what was said outside.
    pub(super) fn admission(&mut self, outer: &Admission) -> Admission {
        let delay = self.settings.word("auth_delay");
        Admission {
            any: self.choice("satisfy", &[("all", false), ("any", true)], outer.any),
            realm: match self.settings.word("auth_basic") {
                Some(word) if word.value == "off" => None,
                Some(word) => self.template(word),
                None => outer.realm.clone(),
            },
            passwords: match self.settings.word("auth_basic_user_file") {
                Some(word) => self.passwords(word),
                None => outer.passwords.clone(),
            },
            ask: match self.settings.word("auth_request") {
                Some(word) if word.value == "off" => None,
                Some(word) => self.asked_path(word),
                None => outer.ask.clone(),
            },
            keep: self.kept_of_answer().unwrap_or_else(|| outer.keep.clone()),
            delay: self.diags.time("auth_delay", delay, Zero::Allowed).unwrap_or(outer.delay),
        }
    }

    fn passwords(&mut self, word: &Word) -> Option<Passwords> {
        let absolute = word.value.starts_with('/');
        let folder = if absolute { PathBuf::new() } else { self.diags.folder.clone() };
        self.template(word).map(|file| Passwords { file, folder })
    }

    /// The path that is asked. nginx takes any text and then finds no route for it.
    fn asked_path(&mut self, word: &Word) -> Option<String> {
        if word.value.starts_with('/') {
            return Some(word.value.clone());
        }
        super::invalid(self.diags, word, "expected a path such as `/auth`, or `off`");
        None
    }

    fn kept_of_answer(&mut self) -> Option<Vec<(Settable, Template)>> {
        let statements = self.all("auth_request_set")?;
        let pairs = statements.into_iter().filter_map(|statement| match &statement.args[..] {
            [name, value] => {
                let value = self.template(value)?;
                Some((settable(name, self.diags)?, value))
            }
            _ => None,
        });
        Some(pairs.collect())
    }
}
