//! `request_id`, `trace`, `hsts` and `otlp`, in nginx's door `robin_request_id`, `robin_trace` and `otel_exporter`.

use super::fields::{Door, Fields};
use super::node::Shape;
use super::{HSTS, OTLP, REQUEST_ID};
use crate::config::env::Kind;
use crate::config::raw::{Statement, Word};

impl Door<'_> {
    /// One word, or a map whose second entry nginx's door writes as `answer=on`.
    pub(super) fn request_id(&mut self, fields: &Fields<'_>) -> Option<Statement> {
        let (key, node) = fields.get(self, "request_id")?;
        let name = Word { value: "robin_request_id".to_owned(), place: self.place(key) };
        if !matches!(node.shape, Shape::Map(_)) {
            let args = vec![self.word(key, node, Kind::Word)?];
            return Some(Statement { name, args, block: None });
        }
        let mut f = self.map_below(key, node, REQUEST_ID)?;
        let mut args: Vec<Word> = f.word(self, "from").into_iter().collect();
        args.extend(f.word(self, "answer").map(|word| {
            let switch = crate::config::words::switch(&word.value);
            let value = match switch {
                Some(true) => "answer=on".to_owned(),
                Some(false) => "answer=off".to_owned(),
                None => format!("answer={}", word.value),
            };
            Word { value, place: word.place }
        }));
        Some(Statement { name, args, block: None })
    }

    /// One word; a switch in any of YAML's spellings.
    pub(super) fn trace(&mut self, fields: &mut Fields<'_>) -> Option<Statement> {
        let (key, _) = fields.get(self, "trace")?;
        let name = Word { value: "robin_trace".to_owned(), place: self.place(key) };
        let mut word = fields.word(self, "trace")?;
        if let Some(switch) = crate::config::words::switch(&word.value) {
            word.value = if switch { "on" } else { "off" }.to_owned();
        }
        Some(Statement { name, args: vec![word], block: None })
    }

    /// A switch, or a map whose entries nginx's door writes as parameters.
    pub(super) fn hsts(&mut self, fields: &Fields<'_>) -> Option<Statement> {
        let (key, node) = fields.get(self, "hsts")?;
        let name = Word { value: "robin_hsts".to_owned(), place: self.place(key) };
        if !matches!(node.shape, Shape::Map(_)) {
            let args = vec![self.word(key, node, Kind::Word)?];
            return Some(Statement { name, args, block: None });
        }
        let mut f = self.map_below(key, node, HSTS)?;
        let mut args = vec![Word { value: "on".to_owned(), place: self.place(key) }];
        for part in HSTS {
            args.extend(f.word(self, part).map(|word| parameter(part, word)));
        }
        Some(Statement { name, args, block: None })
    }

    /// The address of a collector, or a map. Whoever has one in YAML means all requests, unless the top says
    /// otherwise.
    pub(super) fn otlp(&mut self, fields: &Fields<'_>) -> Vec<Statement> {
        let Some((key, node)) = fields.get(self, "otlp") else { return Vec::new() };
        let place = self.place(key);
        let word = |value: &str| Word { value: value.to_owned(), place: place.clone() };
        let statement = |name: &str, args| Statement { name: word(name), args, block: None };
        let mut args = Vec::new();
        if matches!(node.shape, Shape::Map(_)) {
            let Some(mut f) = self.map_below(key, node, OTLP) else { return Vec::new() };
            for name in OTLP {
                args.extend(f.word(self, name).map(|word| parameter(name, word)));
            }
        } else {
            let endpoint = self.word(key, node, Kind::Word);
            args.extend(endpoint.map(|word| parameter("endpoint", word)));
        }
        let mut statements = vec![statement("robin_otlp", args)];
        if !["trace", "robin_trace"].iter().any(|key| fields.get(self, key).is_some()) {
            statements.push(statement("robin_trace", vec![word("on")]));
        }
        if fields.get(self, "otel_trace").is_none() {
            statements.push(statement("otel_trace", vec![word("on")]));
        }
        statements
    }
}

fn parameter(name: &str, word: Word) -> Word {
    Word { value: format!("{name}={}", word.value), place: word.place }
}
