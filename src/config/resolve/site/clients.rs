//! What a route and its clients may do to each other.

use std::time::Duration;

use http::Method;

use super::{Said, invalid};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::site::Clients;
use crate::config::raw::{Settings, Statement};

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

impl Clients {
    pub(in crate::config::resolve) fn defaults() -> Self {
        Self {
            limit_except: None,
            body_buffer_bytes: 16 << 10,
            body_timeout: Duration::from_mins(1),
            body_temp_path: None,
            body_in_file: false,
            send_timeout: Duration::from_mins(1),
            keepalive_requests: 1000,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(in crate::config::resolve) fn resolve(
        settings: &Settings,
        outer: &Self,
        diags: &mut Diagnostics,
    ) -> Self {
        let mut said = Said { settings, diags };
        Self {
            // It holds for its own level only.
            limit_except: said.limit_except(),
            body_buffer_bytes: said.size("client_body_buffer_size", outer.body_buffer_bytes),
            body_timeout: said.time("client_body_timeout", outer.body_timeout),
            body_temp_path: settings
                .word("client_body_temp_path")
                .map(|word| word.value.clone().into())
                .or_else(|| outer.body_temp_path.clone()),
            body_in_file: said.choice(
                "client_body_in_file_only",
                &[("off", false), ("on", true), ("clean", true)],
                outer.body_in_file,
            ),
            send_timeout: said.time("send_timeout", outer.send_timeout),
            keepalive_requests: said
                .diags
                .number("keepalive_requests", settings.word("keepalive_requests"), 0..=u64::MAX)
                .unwrap_or(outer.keepalive_requests),
        }
    }
}

impl Said<'_, '_> {
    /// `limit_except METHOD … { deny all; }`.
    fn limit_except(&mut self) -> Option<Vec<Method>> {
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
        self.denies(statement.block.as_deref().unwrap_or_default()).then_some(methods)
    }

    /// Whether the first rule of a block denies all.
    fn denies(&mut self, rules: &[Statement]) -> bool {
        let mut denies = None;
        for rule in rules {
            let all = matches!(&rule.args[..], [word] if word.value == "all");
            match rule.name.value.as_str() {
                "deny" if all => denies = denies.or(Some(true)),
                "allow" if all => denies = denies.or(Some(false)),
                "allow" | "deny" => {
                    if let Some(word) = rule.args.first() {
                        invalid(self.diags, word, "robin knows `deny all` here and no addresses");
                    }
                }
                name => {
                    self.diags
                        .error(
                            &rule.name.place,
                            format!("{} is not allowed in `limit_except`", quote(name)),
                        )
                        .in_nginx(format!("\"{name}\" directive is not supported here yet"))
                        .expected("expected `deny all;`");
                }
            }
        }
        denies.unwrap_or(false)
    }
}
