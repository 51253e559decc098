//! The variables that a configuration makes: `set`, groups of patterns, `map`, `geo`,
//! `split_clients`.
//!
//! All names are found before any template is read, so that one may be used above the line that
//! makes it. What a block says of its values is read afterwards, in a file for each kind.

mod geo;
mod map;
mod split;

use super::program::may_be_set;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::program::{UserVariable, VariableSource};
use crate::config::pattern::Pattern;
use crate::config::raw::{self, Route, Settings, Statement, Step, VirtualServer, Word};
use crate::config::template;

/// Statements whose arguments may be patterns, with `~` before them.
const WITH_PATTERNS: [&str; 3] = ["proxy_redirect", "proxy_cookie_domain", "proxy_cookie_path"];

/// Gives every variable its slot, before any template is read.
pub(super) fn declare(raw: &raw::Config, diags: &mut Diagnostics) {
    for statement in &raw.declarations {
        if let Some(name) = declared(statement) {
            own(name, diags);
        }
        let keys = statement.block.iter().flatten().map(|entry| &entry.name);
        if statement.name.value == "map" {
            keys.for_each(|key| groups_of(key, key.value.strip_prefix('~'), diags));
        }
    }
    in_settings(&raw.settings, diags);
    in_server(&raw.server, diags);
    for server in raw.virtual_servers.iter().flat_map(|list| &list.items) {
        in_server(server, diags);
    }
}

/// The word that names what a declaration makes.
fn declared(statement: &Statement) -> Option<&Word> {
    match (statement.name.value.as_str(), &statement.args[..]) {
        ("map" | "split_clients", [_, name]) | ("geo", [name] | [_, name]) => Some(name),
        _ => None,
    }
}

fn in_server(server: &VirtualServer, diags: &mut Diagnostics) {
    for name in server.names.iter().flat_map(|list| &list.items) {
        groups_of(name, name.value.strip_prefix('~'), diags);
    }
    in_program(&server.program, diags);
    in_settings(&server.settings, diags);
    for route in server.routes.iter().flat_map(|list| &list.items) {
        in_route(route, diags);
    }
}

fn in_route(route: &Route, diags: &mut Diagnostics) {
    let path = &route.path.value;
    let pattern = path.strip_prefix("~*").or_else(|| path.strip_prefix('~'));
    groups_of(&route.path, pattern.map(str::trim_start), diags);
    in_program(&route.program, diags);
    in_settings(&route.settings, diags);
    route.routes.iter().for_each(|route| in_route(route, diags));
}

fn in_program(program: &[Step], diags: &mut Diagnostics) {
    for step in program {
        match step {
            Step::If { condition, route } => {
                if let [_, operator, pattern] = &condition[..]
                    && operator.value.contains('~')
                {
                    groups_of(pattern, Some(&pattern.value), diags);
                }
                in_route(route, diags);
            }
            Step::Statement(statement) => match (&statement.name.value[..], &statement.args[..]) {
                ("set", [name, _]) if !name.value.strip_prefix('$').is_some_and(may_be_set) => {
                    own(name, diags);
                }
                ("rewrite", [pattern, ..]) => groups_of(pattern, Some(&pattern.value), diags),
                _ => {}
            },
        }
    }
}

fn in_settings(settings: &Settings, diags: &mut Diagnostics) {
    for name in WITH_PATTERNS {
        for word in settings.all(name).flat_map(|statement| &statement.args) {
            groups_of(word, word.value.strip_prefix('~'), diags);
        }
    }
    for statement in settings.all("auth_request_set") {
        if let [name, _] = &statement.args[..]
            && !name.value.strip_prefix('$').is_some_and(may_be_set)
        {
            own(name, diags);
        }
    }
}

/// Declares the named groups of a pattern; one that is not sound is reported where it is used.
fn groups_of(word: &Word, pattern: Option<&str>, diags: &mut Diagnostics) {
    let Some(pattern) = pattern else { return };
    let pattern = pattern.strip_prefix('*').unwrap_or(pattern);
    // Most have none, and compiling is not free.
    if !pattern.contains("(?") {
        return;
    }
    let Ok(pattern) = Pattern::new(pattern, false) else { return };
    for (_, name) in pattern.named() {
        declare_name(word, name, diags);
    }
}

/// Declares a variable by the word that names it.
fn own(word: &Word, diags: &mut Diagnostics) {
    match word.value.strip_prefix('$') {
        Some(name) if !name.is_empty() => declare_name(word, name, diags),
        _ => {
            diags
                .error(&word.place, format!("{} is not the name of a variable", quote(&word.value)))
                .in_nginx(format!("invalid variable name \"{}\"", word.value))
                .expected("expected `$` and a name");
        }
    }
}

fn declare_name(word: &Word, name: &str, diags: &mut Diagnostics) {
    if template::is_nginx_s(name) {
        diags
            .error(&word.place, format!("variable `${name}` is there already"))
            .in_nginx(format!("the duplicate \"{name}\" variable"))
            .expected("expected a name that is not one of nginx's");
    } else {
        diags.scope.declare(name);
    }
}

/// The variables in the order of their slots.
pub(super) fn variables(raw: &raw::Config, diags: &mut Diagnostics) -> Vec<UserVariable> {
    let names = diags.scope.in_order().into_iter().map(str::to_owned);
    let source = VariableSource::Assigned;
    let mut variables: Vec<UserVariable> =
        names.map(|name| UserVariable { name, source: source.clone() }).collect();
    for statement in &raw.declarations {
        let source = match &statement.name.value[..] {
            "map" => map::map(statement, diags).map(VariableSource::Map),
            "geo" => geo::geo(statement, diags).map(VariableSource::Geo),
            "split_clients" => split::split(statement, diags).map(VariableSource::Split),
            _ => continue,
        };
        let name = declared(statement).and_then(|name| name.value.strip_prefix('$'));
        let slot = name.and_then(|name| diags.scope.slot(name));
        // As in nginx, the last one of a name counts.
        if let Some((source, variable)) = source.zip(slot.and_then(|s| variables.get_mut(s))) {
            variable.source = source;
        }
    }
    variables
}

/// An entry of a block: its two words; reports one that has another number of them.
fn pair<'s>(
    entry: &'s Statement,
    block: &str,
    diags: &mut Diagnostics,
) -> Option<(&'s Word, &'s Word)> {
    match (&entry.args[..], &entry.block) {
        ([value], None) => Some((&entry.name, value)),
        (args, None) => {
            diags
                .error(&entry.name.place, format!("an entry of `{block}` has two words"))
                .in_nginx(format!("invalid number of the {block} parameters"))
                .expected(format!("expected a key and a value, found {} words", args.len() + 1));
            None
        }
        (_, Some(_)) => {
            diags
                .error(&entry.name.place, format!("an entry of `{block}` has no block"))
                .in_nginx("unexpected \"{\"")
                .expected("expected a key and a value");
            None
        }
    }
}
