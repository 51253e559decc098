//! What a YAML file says in nginx's words: directives as keys, and `rules`.
//!
//! A key is the name of a directive, its value what follows the name in nginx's language; a list
//! says the directive more than once. Which there are, and what they may hold, is in nginx's door.

use super::fields::{Door, Fields};
use super::node::{Node, Shape};
use crate::config::env::Kind;
use crate::config::nginx::{self, Level, Phrases, Said};
use crate::config::raw::{Spanned, Step, Word};

impl Door<'_> {
    /// The directives among the keys of a level.
    pub(super) fn directives(&mut self, fields: &mut Fields<'_>, level: Level) -> Said {
        let mut phrases = Phrases::new();
        for (key, node) in fields.entries_of(self, |name| level.statements().any(|n| n == name)) {
            let name = self.key(key);
            for text in self.texts(key, node, fields) {
                phrases.push((name.clone(), text));
            }
        }
        self.phrases(&phrases, fields, level)
    }

    /// `rules`: the rewrite module.
    pub(super) fn rules(&mut self, fields: &mut Fields<'_>, level: Level) -> Vec<Step> {
        let redirect = match level {
            Level::Server | Level::Top => self.redirect_https(fields),
            _ => None,
        };
        let mut texts: Vec<Word> = redirect.into_iter().collect();
        if let Some((key, node)) = fields.get(self, "rules") {
            texts.extend(self.texts(key, node, fields));
        }
        let empty = |text: &Word| Word { value: String::new(), place: text.place.clone() };
        let phrases = texts.into_iter().map(|text| (empty(&text), text)).collect();
        self.phrases(&phrases, fields, level).program
    }

    /// `redirect_https`: a rule before all others. A proxy that is trusted may have spoken TLS for us.
    fn redirect_https(&mut self, fields: &mut Fields<'_>) -> Option<Word> {
        const RULE: &str = "if ($forwarded_proto = http) { return 308 https://$host$request_uri; }";
        let word = fields.word(self, "redirect_https")?;
        let on = self.diags.switch("redirect_https", Some(&word))?;
        on.then(|| Word { value: RULE.to_owned(), place: word.place })
    }

    /// `error_log`: the file, and the level.
    pub(super) fn error_log(&mut self, fields: &mut Fields<'_>) -> Option<(Word, Option<Word>)> {
        let word = fields.word(self, "error_log")?;
        let (path, level) = match word.value.rsplit_once(' ') {
            Some((path, level)) => (path.to_owned(), Some(level.to_owned())),
            None => (word.value.clone(), None),
        };
        let at = |value| Spanned { value, place: word.place.clone() };
        Some((at(path), level.map(at)))
    }

    fn phrases(&mut self, phrases: &Phrases, fields: &mut Fields<'_>, level: Level) -> Said {
        if phrases.is_empty() {
            return Said::default();
        }
        let path = std::path::PathBuf::from(&self.file.source.name);
        let said = nginx::read_phrases(&path, level, phrases, &fields.place, self.diags);
        fields.broken |= said.broken;
        said
    }

    /// One text, or a list of them; nothing at all is a directive without arguments.
    fn texts(&mut self, key: &Node, node: &Node, fields: &mut Fields<'_>) -> Vec<Word> {
        let nodes = match &node.shape {
            Shape::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut texts = Vec::new();
        for node in nodes {
            match self.word(key, node, Kind::Phrase) {
                Some(word) => texts.push(word),
                None => fields.broken = true,
            }
        }
        texts
    }
}
