//! Who may: `allow`, `deny`, `limit_except`; and whose word about a client's address counts.

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::{Said, invalid};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::site::{AccessRule, ClientSet, RealIp};
use crate::config::raw::{Statement, Word};

/// The methods that `limit_except` knows (`ngx_methods_names`).
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "CONNECT",
];

impl Said<'_, '_> {
    /// `allow` and `deny`, both of this level if it has any.
    pub(super) fn access(&mut self, outer: &[AccessRule]) -> Vec<AccessRule> {
        let here = self.settings.statements.iter();
        let here: Vec<&Statement> = here.filter(|s| is_rule(s)).collect();
        if here.is_empty() {
            return outer.to_vec();
        }
        here.into_iter().filter_map(|rule| access_rule(rule, self.diags)).collect()
    }

    /// `limit_except METHOD … { deny all; }`.
    pub(super) fn limit_except(&mut self) -> Option<(Vec<Method>, Vec<AccessRule>)> {
        let statement = self.settings.last("limit_except")?;
        let mut methods = Vec::new();
        for word in &statement.args {
            let name = word.value.to_ascii_uppercase();
            match Method::from_bytes(name.as_bytes()) {
                Ok(method) if METHODS.contains(&&name[..]) => methods.push(method),
                _ => {
                    self.diags
                        .error(&word.place, format!("invalid method {}", quote(&word.value)))
                        .in_nginx(format!("invalid method \"{}\"", word.value))
                        .expected(format!("expected one of {}", METHODS.join(", ")));
                }
            }
        }
        // As in nginx, who may GET may also ask for the head alone.
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        let mut rules = Vec::new();
        for rule in statement.block.as_deref().unwrap_or_default() {
            if is_rule(rule) {
                rules.extend(access_rule(rule, self.diags));
                continue;
            }
            let name = &rule.name;
            self.diags
                .error(
                    &name.place,
                    format!("{} is not allowed in `limit_except`", quote(&name.value)),
                )
                .in_nginx(format!("\"{}\" directive is not supported here yet", name.value))
                .expected("expected `allow` or `deny`");
        }
        Some((methods, rules))
    }

    /// What of `set_real_ip_from`, `real_ip_header` and `real_ip_recursive` is said here replaces
    /// what was said outside.
    pub(super) fn real_ip(&mut self, outer: Option<&RealIp>) -> Option<RealIp> {
        let names = ["set_real_ip_from", "real_ip_header", "real_ip_recursive"];
        if names.iter().all(|name| self.settings.last(name).is_none()) {
            return outer.cloned();
        }
        let from = self.all("set_real_ip_from").map(|statements| {
            let words = statements.into_iter().filter_map(|statement| statement.args.first());
            words.filter_map(|word| clients(word, self.diags)).collect()
        });
        let header = self.settings.word("real_ip_header").and_then(|word| {
            if word.value == "proxy_protocol" {
                return Some(None);
            }
            let name = word.value.parse::<HeaderName>().ok();
            if name.is_none() {
                invalid(
                    self.diags,
                    word,
                    "expected the name of a header such as `X-Forwarded-For`, or `proxy_protocol`",
                );
            }
            name.map(Some)
        });
        let known = outer.cloned().unwrap_or(RealIp {
            from: Vec::new(),
            header: Some(HeaderName::from_static("x-real-ip")),
            recursive: false,
        });
        Some(RealIp {
            from: from.unwrap_or(known.from),
            header: header.unwrap_or(known.header),
            recursive: self.switch("real_ip_recursive", known.recursive),
        })
    }
}

fn is_rule(statement: &Statement) -> bool {
    matches!(statement.name.value.as_str(), "allow" | "deny")
}

fn access_rule(rule: &Statement, diags: &mut Diagnostics) -> Option<AccessRule> {
    let clients = clients(rule.args.first()?, diags)?;
    Some(AccessRule { allow: rule.name.value == "allow", clients })
}

fn clients(word: &Word, diags: &mut Diagnostics) -> Option<ClientSet> {
    match word.value.as_str() {
        "all" => return Some(ClientSet::All),
        "unix:" => return Some(ClientSet::Unix),
        _ => {}
    }
    let single = || word.value.parse::<std::net::IpAddr>().map(IpNet::from).ok();
    let network = word.value.parse::<IpNet>().ok().or_else(single);
    if network.is_none() {
        diags
            .error(&word.place, format!("{} is not a network", quote(&word.value)))
            .in_nginx(format!("invalid parameter \"{}\"", word.value))
            .expected("expected `all`, `unix:`, an address, or a network such as `10.0.0.0/8`");
    }
    network.map(|network| ClientSet::Network(network.trunc()))
}
