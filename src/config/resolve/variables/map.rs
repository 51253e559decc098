//! `map` (`ngx_http_map_module`).

use std::cmp::Reverse;

use super::super::routes::pattern_of;
use super::pair;
use crate::config::address;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::program::Map;
use crate::config::raw::{Statement, Word};
use crate::config::template::Template;

/// Reads a `map`; none where its source is no template.
pub(super) fn map(statement: &Statement, diags: &mut Diagnostics) -> Option<Map> {
    let mut map = Map {
        source: diags.template(statement.args.first()?)?,
        hostnames: false,
        volatile: false,
        exact: std::collections::BTreeMap::new(),
        suffixes: Vec::new(),
        prefixes: Vec::new(),
        patterns: Vec::new(),
        default: Template::default(),
    };
    let mut default: Option<&Word> = None;
    for entry in statement.block.iter().flatten() {
        match (&entry.name.value[..], &entry.args[..], &entry.block) {
            ("hostnames", [], None) => map.hostnames = true,
            ("volatile", [], None) => map.volatile = true,
            _ => {
                let Some((key, value)) = pair(entry, "map", diags) else { continue };
                let Some(value) = diags.template(value) else { continue };
                if key.value != "default" {
                    add(&mut map, key, value, diags);
                } else if let Some(first) = default {
                    diags
                        .error(&key.place, "duplicate `default` in `map`")
                        .in_nginx("duplicate default map parameter")
                        .expected("written again here")
                        .also(&first.place, "first written here");
                } else {
                    (map.default, default) = (value, Some(key));
                }
            }
        }
    }
    map.suffixes.sort_by_key(|(suffix, _)| Reverse(suffix.len()));
    map.prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
    Some(map)
}

fn add(map: &mut Map, key: &Word, value: Template, diags: &mut Diagnostics) {
    if let Some(pattern) = key.value.strip_prefix('~') {
        let (pattern, caseless) =
            pattern.strip_prefix('*').map_or((pattern, false), |pattern| (pattern, true));
        if let Some(pattern) = pattern_of(key, pattern, caseless, diags) {
            map.patterns.push((pattern, value));
        }
        return;
    }
    // A backslash keeps what follows from meaning something.
    let text = key.value.strip_prefix('\\').unwrap_or(&key.value).to_ascii_lowercase();
    let new = if !map.hostnames || !text.contains('*') && !text.starts_with('.') {
        map.exact.insert(text, value).is_none()
    } else if let Some(suffix) = wildcard(&text, text.strip_prefix('*')) {
        push(&mut map.suffixes, suffix, value)
    } else if let Some(prefix) = wildcard(&text, text.strip_suffix('*')) {
        push(&mut map.prefixes, prefix, value)
    } else if text.starts_with('.') && address::is_name(&text[1..]) {
        let new = map.exact.insert(text[1..].to_owned(), value.clone()).is_none();
        push(&mut map.suffixes, &text, value) && new
    } else {
        diags
            .error(&key.place, format!("{} is not a host name", quote(&key.value)))
            .in_nginx(format!("invalid hostname or wildcard \"{}\"", key.value))
            .expected("expected a name such as `example.org`, `*.example.org` or `www.example.*`");
        true
    };
    if !new {
        diags
            .error(&key.place, format!("duplicate key {} in `map`", quote(&key.value)))
            .in_nginx(format!("conflicting parameter \"{}\"", key.value))
            .expected("it is written above, too");
    }
}

/// What is left of a wildcard without its star, if that is a name and a dot.
fn wildcard<'t>(text: &str, rest: Option<&'t str>) -> Option<&'t str> {
    let rest = rest?;
    let name = if text.starts_with('*') { rest.strip_prefix('.') } else { rest.strip_suffix('.') };
    name.filter(|name| address::is_name(name)).map(|_| rest)
}

fn push(list: &mut Vec<(String, Template)>, text: &str, value: Template) -> bool {
    let new = !list.iter().any(|(known, _)| known == text);
    list.push((text.to_owned(), value));
    new
}
