//! Reading nodes as what they should be: a map with known keys, a list, a word.
//!
//! What a node is not is reported here, and only here; the caller goes on without it.

use std::collections::HashMap;
use std::sync::Arc;

use super::home;
use super::node::{Node, Shape};
use super::places::File;
use crate::config::diagnostics::{Diagnostics, nearest, quote};
use crate::config::env::{self, EnvError, Kind, Lookup};
use crate::config::nginx::Level;
use crate::config::raw::{List, Place, Spanned, Word};

/// One file on its way into the raw tree.
pub(super) struct Door<'a> {
    pub(super) file: Arc<File>,
    pub(super) lookup: Lookup<'a>,
    pub(super) diags: &'a mut Diagnostics,
}

/// The entries of a map whose keys are known.
pub(super) struct Fields<'n> {
    entries: Vec<(&'n Node, &'n Node)>,
    pub(super) place: Place,
    /// Whether something in it could not be read and was reported.
    pub(super) broken: bool,
}

impl Door<'_> {
    pub(super) fn place(&self, node: &Node) -> Place {
        Place::new(Arc::clone(&self.file) as _, node.number)
    }

    /// What was typed; empty for lists and maps.
    pub(super) fn typed(&self, node: &Node) -> &str {
        self.file.typed.get(node.number).map_or("", |typed| typed)
    }

    /// The key itself as a word: keys hold nothing of the environment.
    pub(super) fn key(&self, node: &Node) -> Word {
        Spanned { value: self.typed(node).to_owned(), place: self.place(node) }
    }

    /// A single value.
    pub(super) fn word(&mut self, key: &Node, node: &Node, kind: Kind) -> Option<Word> {
        match &node.shape {
            Shape::Scalar => self.expand(node, kind),
            Shape::Null => {
                self.no_value(key);
                None
            }
            other => {
                let message = format!(
                    "{} takes a single value, found {}",
                    quote(self.typed(key)),
                    other.called()
                );
                self.diags.error(&self.place(node), message).expected("expected a single value");
                None
            }
        }
    }

    /// A list of single values; one alone may stand without brackets.
    pub(super) fn words(&mut self, key: &Node, node: &Node) -> List<Word> {
        self.words_of(Kind::Word, key, node)
    }

    fn words_of(&mut self, kind: Kind, key: &Node, node: &Node) -> List<Word> {
        let mut list = List { items: Vec::new(), broken: false, place: self.place(node) };
        match &node.shape {
            Shape::List(items) => {
                for item in items {
                    match self.entry_of(kind, key, item) {
                        Some(word) => list.items.push(word),
                        None => list.broken = true,
                    }
                }
            }
            Shape::Map(_) => {
                let typed = quote(self.typed(key));
                self.diags
                    .error(&list.place, format!("{typed} takes a value or a list, found a map"))
                    .expected("expected a value or a list such as `[a, b]`");
                list.broken = true;
            }
            Shape::Null | Shape::Scalar => match self.word(key, node, kind) {
                Some(word) => list.items.push(word),
                None => list.broken = true,
            },
        }
        list
    }

    /// A single value that is an entry of a list.
    pub(super) fn entry(&mut self, key: &Node, node: &Node) -> Option<Word> {
        self.entry_of(Kind::Word, key, node)
    }

    fn entry_of(&mut self, kind: Kind, key: &Node, node: &Node) -> Option<Word> {
        if matches!(node.shape, Shape::Null) {
            let message = format!("{} has an empty entry", quote(self.typed(key)));
            self.diags.error(&self.place(node), message).expected("expected a value");
            return None;
        }
        self.word(key, node, kind)
    }

    /// The items of a node that must be a list.
    pub(super) fn items<'n>(&mut self, key: &Node, node: &'n Node) -> Option<&'n [Node]> {
        match &node.shape {
            Shape::List(items) => return Some(items),
            Shape::Null => self.no_value(key),
            other => {
                let message =
                    format!("{} takes a list, found {}", quote(self.typed(key)), other.called());
                self.diags
                    .error(&self.place(node), message)
                    .expected("expected a list such as `[a, b]`");
            }
        }
        None
    }

    /// The entries of a node that must be a map, duplicates reported and merge keys followed.
    pub(super) fn entries<'n>(
        &mut self,
        called: &str,
        node: &'n Node,
    ) -> Option<Vec<(&'n Node, &'n Node)>> {
        match &node.shape {
            Shape::Map(entries) => Some(self.merged(entries)),
            other => {
                let message = format!("{called} takes a map, found {}", other.called());
                self.diags
                    .error(&self.place(node), message)
                    .expected("expected keys with values such as `key: value`");
                None
            }
        }
    }

    /// The entries of a map whose keys must be among `known`.
    pub(super) fn fields<'n>(
        &mut self,
        called: &str,
        node: &'n Node,
        known: &[&[&'static str]],
    ) -> Option<Fields<'n>> {
        self.known_fields(called, node, known, &[])
    }

    /// The entries of a map whose keys must be among `known` or directives of this level.
    pub(super) fn level_fields<'n>(
        &mut self,
        called: &str,
        node: &'n Node,
        level: Level,
        known: &[&[&'static str]],
    ) -> Option<Fields<'n>> {
        let directives: Vec<&str> = level.statements().collect();
        self.known_fields(called, node, known, &directives)
    }

    fn known_fields<'n>(
        &mut self,
        called: &str,
        node: &'n Node,
        known: &[&[&'static str]],
        directives: &[&'static str],
    ) -> Option<Fields<'n>> {
        let mut entries = self.entries(called, node)?;
        // As in a compose file, where anchors find a home.
        entries.retain(|(key, _)| !self.typed(key).starts_with("x-"));
        let before = entries.len();
        let known: Vec<&str> = known.concat();
        entries.retain(|(key, _)| {
            let typed = self.typed(key);
            let fits = known.contains(&typed) || directives.contains(&typed);
            if !fits {
                let message = format!("unknown key {}", quote(typed));
                let (typed, place) = (typed.to_owned(), self.place(key));
                let diagnostic = self.diags.error(&place, message);
                diagnostic.expected(format!("expected one of {}", known.join(", ")));
                let words = known.iter().chain(directives).copied();
                match (nearest(&typed, words), home(&typed)) {
                    (Some(word), _) => diagnostic.help(format!("did you mean `{word}`?")),
                    (None, Some(home)) => diagnostic.help(format!("`{typed}` belongs {home}")),
                    (None, None) => diagnostic,
                };
            }
            fits
        });
        let broken = entries.len() < before;
        Some(Fields { entries, place: self.place(node), broken })
    }

    fn merged<'n>(&mut self, entries: &'n [(Node, Node)]) -> Vec<(&'n Node, &'n Node)> {
        let mut seen: HashMap<String, &'n Node> = HashMap::new();
        let mut kept = Vec::new();
        for (key, value) in entries {
            let typed = self.typed(key).to_owned();
            if !matches!(key.shape, Shape::Scalar) {
                self.diags
                    .error(&self.place(key), format!("a key cannot be {}", key.shape.called()))
                    .expected("expected a name");
            } else if let Some(first) = seen.get(&typed) {
                let first = self.place(first);
                self.diags
                    .error(&self.place(key), format!("duplicate key {}", quote(&typed)))
                    .expected("written again here")
                    .also(&first, "first written here");
            } else {
                seen.insert(typed, key);
                kept.push((key, value));
            }
        }
        let (merges, mut kept): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|(key, _)| self.typed(key) == "<<");
        for (_, value) in merges {
            self.merge(value, &mut seen, &mut kept);
        }
        kept
    }

    /// Adds the entries that a `<<` brings in and that are not there yet.
    fn merge<'n>(
        &mut self,
        value: &'n Node,
        seen: &mut HashMap<String, &'n Node>,
        kept: &mut Vec<(&'n Node, &'n Node)>,
    ) {
        match &value.shape {
            Shape::Map(entries) => {
                for (key, value) in self.merged(entries) {
                    let typed = self.typed(key).to_owned();
                    seen.entry(typed).or_insert_with(|| {
                        kept.push((key, value));
                        key
                    });
                }
            }
            Shape::List(maps) => maps.iter().for_each(|map| self.merge(map, seen, kept)),
            other => {
                let message = format!("`<<` merges maps, found {}", other.called());
                self.diags.error(&self.place(value), message).expected("expected `*name` of a map");
            }
        }
    }

    pub(super) fn no_value(&mut self, key: &Node) {
        let message = format!("{} has no value", quote(self.typed(key)));
        self.diags.error(&self.place(key), message).expected("expected a value after the colon");
    }

    fn expand(&mut self, node: &Node, kind: Kind) -> Option<Word> {
        let place = self.place(node);
        let error = match env::expand(self.typed(node), kind, self.lookup) {
            Ok(value) => return Some(Spanned { value, place }),
            Err(error) => error,
        };
        let diagnostic = self.diags.error(&place, error.to_string());
        match &error {
            EnvError::Unset(name) => {
                diagnostic.help(format!("set it, or write a default as in `${{{name}:-value}}`"))
            }
            EnvError::Unclosed => diagnostic.help("close it with `}`; `$${` is a literal `${`"),
            EnvError::BadName(_) => diagnostic
                .expected("expected upper-case letters, digits and `_`")
                .help("`$${` is a literal `${`"),
        };
        None
    }
}

impl<'n> Fields<'n> {
    /// Stands in for a map that could not be read and was reported.
    pub(super) fn none(place: Place) -> Self {
        Self { entries: Vec::new(), place, broken: true }
    }

    /// The key and the value of an entry.
    pub(super) fn get(&self, door: &Door<'_>, key: &str) -> Option<(&'n Node, &'n Node)> {
        self.entries.iter().find(|(k, _)| door.typed(k) == key).copied()
    }

    /// Whether nothing is said in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries whose keys are asked for.
    pub(super) fn entries_of(
        &self,
        door: &Door<'_>,
        is_asked: impl Fn(&str) -> bool,
    ) -> Vec<(&'n Node, &'n Node)> {
        self.entries.iter().filter(|(key, _)| is_asked(door.typed(key))).copied().collect()
    }

    /// The value of an entry that is a single one.
    pub(super) fn word(&mut self, door: &mut Door<'_>, key: &str) -> Option<Word> {
        self.word_of(Kind::Word, door, key)
    }

    /// The value of an entry that is a template.
    pub(super) fn template(&mut self, door: &mut Door<'_>, key: &str) -> Option<Word> {
        self.word_of(Kind::Template, door, key)
    }

    fn word_of(&mut self, kind: Kind, door: &mut Door<'_>, key: &str) -> Option<Word> {
        let (key, value) = self.get(door, key)?;
        let word = door.word(key, value, kind);
        self.broken |= word.is_none();
        word
    }

    /// The value of an entry that is a list of single ones, or one of them.
    pub(super) fn words(&mut self, door: &mut Door<'_>, key: &str) -> Option<List<Word>> {
        let (key, value) = self.get(door, key)?;
        Some(door.words(key, value))
    }

    /// The value of an entry that is a list of templates, or one of them.
    pub(super) fn templates(&mut self, door: &mut Door<'_>, key: &str) -> Option<List<Word>> {
        let (key, value) = self.get(door, key)?;
        Some(door.words_of(Kind::Template, key, value))
    }
}
