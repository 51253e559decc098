//! `gzip` and what goes with it.

use super::{Said, invalid};
use crate::config::model::site::{Gzip, GzipProxied};
use crate::config::pattern::Pattern;
use crate::config::resolve::routes::pattern_of;

/// What `msie6` stands for in `gzip_disable` (`ngx_http_request.c`, `ngx_http_process_user_agent`):
/// Internet Explorer 4 to 6, without those of service pack 2.
const MSIE6: &str = r"MSIE [4-6]\.(?!.*SV1)(?!.*Opera)";

impl Gzip {
    pub(super) fn defaults() -> Self {
        Self {
            enabled: false,
            level: 1,
            min_length: 20,
            types: vec!["text/html".to_owned()],
            http10: false,
            proxied: GzipProxied::default(),
            vary: false,
            disable: Vec::new(),
        }
    }

    pub(super) fn resolve(said: &mut Said<'_, '_>, outer: &Self) -> Self {
        let level = said.settings.word("gzip_comp_level");
        Self {
            enabled: said.switch("gzip", outer.enabled),
            level: said.diags.number("gzip_comp_level", level, 1..=9).unwrap_or(outer.level),
            min_length: said.size("gzip_min_length", outer.min_length),
            types: said.types("gzip_types", "text/html").unwrap_or_else(|| outer.types.clone()),
            http10: said.choice(
                "gzip_http_version",
                &[("1.0", true), ("1.1", false)],
                outer.http10,
            ),
            proxied: said.proxied().unwrap_or(outer.proxied),
            vary: said.switch("gzip_vary", outer.vary),
            disable: said.disable().unwrap_or_else(|| outer.disable.clone()),
        }
    }
}

impl Said<'_, '_> {
    fn proxied(&mut self) -> Option<GzipProxied> {
        let statement = self.settings.last("gzip_proxied")?;
        let mut proxied = GzipProxied::default();
        for word in &statement.args {
            match word.value.as_str() {
                "off" => proxied = GzipProxied::default(),
                "expired" => proxied.expired = true,
                "no-cache" => proxied.no_cache = true,
                "no-store" => proxied.no_store = true,
                "private" => proxied.private = true,
                "no_last_modified" => proxied.no_last_modified = true,
                "no_etag" => proxied.no_etag = true,
                "auth" => proxied.auth = true,
                "any" => proxied.any = true,
                _ => invalid(
                    self.diags,
                    word,
                    "expected off, any, or some of expired, no-cache, no-store, private, \
                     no_last_modified, no_etag, auth",
                ),
            }
        }
        Some(proxied)
    }

    fn disable(&mut self) -> Option<Vec<Pattern>> {
        let mut patterns = Vec::new();
        for word in self.all("gzip_disable")?.iter().flat_map(|statement| &statement.args) {
            let text = if word.value == "msie6" { MSIE6 } else { &word.value };
            patterns.extend(pattern_of(word, text, true, self.diags));
        }
        Some(patterns)
    }
}
