//! `limits`, in nginx's door `limit_req`, `limit_conn` and `limit_rate` with zones of their own.

use super::fields::{Door, Fields};
use super::node::{Node, Shape};
use super::{CONNECTION_LIMIT, LIMITS, REQUEST_LIMIT};
use crate::config::raw::{Statement, Word};

/// The keys of one limit that are nginx's parameters, and those that are directives of their own.
struct Form {
    name: &'static str,
    keys: &'static [&'static str],
    parameters: &'static [&'static str],
    directives: [(&'static str, &'static str); 3],
}

const REQUESTS: Form = Form {
    name: "robin_limit_requests",
    keys: REQUEST_LIMIT,
    parameters: &["rate", "burst", "delay", "size", "zone"],
    directives: [
        ("status", "limit_req_status"),
        ("log_level", "limit_req_log_level"),
        ("dry_run", "limit_req_dry_run"),
    ],
};
const CONNECTIONS: Form = Form {
    name: "robin_limit_connections",
    keys: CONNECTION_LIMIT,
    parameters: &["max", "size", "zone"],
    directives: [
        ("status", "limit_conn_status"),
        ("log_level", "limit_conn_log_level"),
        ("dry_run", "limit_conn_dry_run"),
    ],
};

/// What a client beyond a limit gets unless a status is written: RFC 6585, section 4.
const TOO_MANY: &str = "429";

impl Door<'_> {
    /// The limits of a level as statements.
    pub(super) fn limits(&mut self, fields: &Fields<'_>) -> Vec<Statement> {
        let Some(mut limits) = self.submap(fields, "limits", LIMITS) else { return Vec::new() };
        let mut statements = Vec::new();
        for (key, form) in [("requests", &REQUESTS), ("connections", &CONNECTIONS)] {
            let Some((key, node)) = limits.get(self, key) else { continue };
            let items = match &node.shape {
                Shape::List(items) => &items[..],
                // One alone may stand without brackets.
                _ => std::slice::from_ref(node),
            };
            let count = statements.len();
            for item in items {
                self.limit(form, key, item, &mut statements);
            }
            let status = form.directives[0].1;
            let says = |name: &str| statements[count..].iter().any(|s| s.name.value == name);
            if says(form.name) && !says(status) {
                let place = self.place(key);
                let word = |value: &str| Word { value: value.to_owned(), place: place.clone() };
                let (name, args) = (word(status), vec![word(TOO_MANY)]);
                statements.push(Statement { name, args, block: None });
            }
        }
        for (key, name) in [
            ("rate", "limit_rate"),
            ("rate_after", "limit_rate_after"),
            ("upstream_rate", "proxy_limit_rate"),
            ("send_min_rate", "robin_send_min_rate"),
        ] {
            if let Some(word) = limits.template(self, key) {
                let name = Word { value: name.to_owned(), place: word.place.clone() };
                statements.push(Statement { name, args: vec![word], block: None });
            }
        }
        statements
    }

    fn limit(&mut self, form: &Form, key: &Node, node: &Node, statements: &mut Vec<Statement>) {
        let Some(mut f) = self.map_below(key, node, form.keys) else { return };
        let mut args = Vec::new();
        let parameter = |name: &str, word: Word| Word {
            value: format!("{name}={}", word.value),
            place: word.place,
        };
        args.extend(f.template(self, "key").map(|word| parameter("key", word)));
        for name in form.parameters {
            args.extend(f.word(self, name).map(|word| parameter(name, word)));
        }
        if form.keys.contains(&"nodelay")
            && let Some(word) = f.word(self, "nodelay")
        {
            match crate::config::words::switch(&word.value) {
                Some(true) => args.push(Word { value: "nodelay".to_owned(), place: word.place }),
                Some(false) => {}
                // No parameter that there is: it is refused with the others.
                None => args.push(parameter("nodelay", word)),
            }
        }
        let name = Word { value: form.name.to_owned(), place: self.place(key) };
        statements.push(Statement { name, args, block: None });
        for (ours, name) in form.directives {
            let Some(mut word) = f.word(self, ours) else { continue };
            if let Some(switch) = crate::config::words::switch(&word.value) {
                word.value = if switch { "on" } else { "off" }.to_owned();
            }
            let name = Word { value: name.to_owned(), place: word.place.clone() };
            statements.push(Statement { name, args: vec![word], block: None });
        }
    }
}
