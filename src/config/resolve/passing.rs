//! How requests and answers are passed on: the defaults, and what statements say of them.

use http::HeaderName;

use super::routes::pattern_of;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::passing::{
    CookieChange, CookieFlags, CookieMatch, HttpVersion, Passing, Redirect, UpstreamTls,
};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::template::Template;

impl Passing {
    pub(super) fn defaults() -> Self {
        Self {
            hide: Vec::new(),
            pass: Vec::new(),
            version: HttpVersion::default(),
            method: None,
            body: None,
            request_headers: true,
            request_body: true,
            redirects: vec![Redirect::Default],
            cookie_domains: Vec::new(),
            cookie_paths: Vec::new(),
            cookie_flags: Vec::new(),
            intercept_errors: false,
            ignore: Vec::new(),
            request_buffering: true,
            buffering: true,
            buffer_bytes: 64 << 10,
            temp_file_bytes: 1 << 30,
            temp_path: None,
            trailers: false,
            early_hints: Vec::new(),
            ignore_client_abort: false,
            socket_keepalive: false,
            bind: None,
            tls: UpstreamTls::default(),
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(settings: &Settings, outer: &Self, diags: &mut Diagnostics) -> Self {
        let mut said = Said { settings, diags };
        Self {
            hide: said.names("proxy_hide_header").unwrap_or_else(|| outer.hide.clone()),
            pass: said.names("proxy_pass_header").unwrap_or_else(|| outer.pass.clone()),
            ignore: said.names("proxy_ignore_headers").unwrap_or_else(|| outer.ignore.clone()),
            version: said.version().unwrap_or(outer.version),
            method: said.template("proxy_method").or_else(|| outer.method.clone()),
            body: said.template("proxy_set_body").or_else(|| outer.body.clone()),
            request_headers: said.switch("proxy_pass_request_headers", outer.request_headers),
            request_body: said.switch("proxy_pass_request_body", outer.request_body),
            redirects: said.redirects().unwrap_or_else(|| outer.redirects.clone()),
            cookie_domains: said
                .cookies("proxy_cookie_domain")
                .unwrap_or_else(|| outer.cookie_domains.clone()),
            cookie_paths: said
                .cookies("proxy_cookie_path")
                .unwrap_or_else(|| outer.cookie_paths.clone()),
            cookie_flags: said.cookie_flags().unwrap_or_else(|| outer.cookie_flags.clone()),
            intercept_errors: said.switch("proxy_intercept_errors", outer.intercept_errors),
            request_buffering: said.switch("proxy_request_buffering", outer.request_buffering),
            buffering: said.switch("proxy_buffering", outer.buffering),
            buffer_bytes: said.buffers().unwrap_or(outer.buffer_bytes),
            temp_file_bytes: said.size("proxy_max_temp_file_size").unwrap_or(outer.temp_file_bytes),
            temp_path: said
                .settings
                .word("proxy_temp_path")
                .map(|word| word.value.clone().into())
                .or_else(|| outer.temp_path.clone()),
            trailers: said.switch("proxy_pass_trailers", outer.trailers),
            early_hints: said.early_hints().unwrap_or_else(|| outer.early_hints.clone()),
            ignore_client_abort: said
                .switch("proxy_ignore_client_abort", outer.ignore_client_abort),
            socket_keepalive: said.switch("proxy_socket_keepalive", outer.socket_keepalive),
            bind: said.bind().unwrap_or(outer.bind),
            tls: super::tls::upstream(said.settings, &outer.tls, said.diags),
        }
    }
}

impl Passing {
    /// What of it holds where gRPC is spoken: both sides stream, and nothing is said of places.
    pub(super) fn for_grpc(&mut self) {
        self.version = HttpVersion::Http2;
        self.trailers = true;
        self.request_buffering = false;
        self.buffering = false;
        self.redirects = Vec::new();
    }
}

/// The statements of one level.
struct Said<'s, 'd> {
    settings: &'s Settings,
    diags: &'d mut Diagnostics,
}

impl Said<'_, '_> {
    fn switch(&mut self, name: &str, outer: bool) -> bool {
        self.diags.switch(name, self.settings.word(name)).unwrap_or(outer)
    }

    fn size(&mut self, name: &str) -> Option<u64> {
        self.diags.size(name, self.settings.word(name))
    }

    fn template(&mut self, name: &str) -> Option<Template> {
        self.settings.word(name).and_then(|word| self.diags.template(word))
    }

    /// All statements of a name, if there are any.
    fn all(&self, name: &str) -> Option<Vec<Statement>> {
        let all: Vec<Statement> = self.settings.all(name).cloned().collect();
        (!all.is_empty()).then_some(all)
    }

    /// Names of headers; more than one may stand in a statement. An empty one is none, as in nginx.
    fn names(&mut self, name: &str) -> Option<Vec<HeaderName>> {
        let mut names = Vec::new();
        let all = self.all(name)?;
        for word in all.iter().flat_map(|s| &s.args).filter(|word| !word.value.is_empty()) {
            match word.value.parse() {
                Ok(name) => names.push(name),
                Err(_) => {
                    let message = format!("{} is not the name of a header", quote(&word.value));
                    self.diags
                        .error(&word.place, message)
                        .expected("expected letters, digits and `-`");
                }
            }
        }
        Some(names)
    }

    fn version(&mut self) -> Option<HttpVersion> {
        let word = self.settings.word("proxy_http_version")?;
        match word.value.as_str() {
            "1.0" => Some(HttpVersion::Http10),
            "1.1" => Some(HttpVersion::Http11),
            "2" => Some(HttpVersion::Http2),
            other => {
                self.diags
                    .error(&word.place, format!("unknown HTTP version {}", quote(other)))
                    .in_nginx(format!("invalid value \"{other}\""))
                    .expected("expected one of 1.0, 1.1, 2");
                None
            }
        }
    }

    fn early_hints(&mut self) -> Option<Vec<Template>> {
        let statement = self.settings.last("early_hints")?;
        Some(statement.args.iter().filter_map(|word| self.diags.template(word)).collect())
    }

    /// `proxy_buffers NUMBER SIZE`, as bytes.
    fn buffers(&mut self) -> Option<u64> {
        let statement = self.settings.last("proxy_buffers")?.clone();
        let [number, size] = &statement.args[..] else { return None };
        let number: u64 = self.diags.number("proxy_buffers", Some(number), 2..=1 << 20)?;
        let size = self.diags.size("proxy_buffers", Some(size))?;
        Some(number.saturating_mul(size))
    }

    /// The outer none where nothing is said, the inner one for `off`.
    fn bind(&mut self) -> Option<Option<std::net::IpAddr>> {
        let word = self.settings.word("proxy_bind")?;
        if word.value == "off" {
            return Some(None);
        }
        let address = word.value.parse();
        if address.is_err() {
            self.diags
                .error(&word.place, format!("{} is not an address", quote(&word.value)))
                .in_nginx(format!("invalid address \"{}\"", word.value))
                .expected("expected an IP address of this machine, or `off`");
        }
        address.ok().map(Some)
    }

    fn redirects(&mut self) -> Option<Vec<Redirect>> {
        let mut redirects = Vec::new();
        for statement in &self.all("proxy_redirect")? {
            match &statement.args[..] {
                [word] if word.value == "off" => return Some(Vec::new()),
                [word] if word.value == "default" => redirects.push(Redirect::Default),
                [word] => {
                    self.diags
                        .error(&word.place, format!("unknown redirect {}", quote(&word.value)))
                        .in_nginx(format!("invalid parameter \"{}\"", word.value))
                        .expected("expected `off`, `default`, or a text and what takes its place");
                }
                [from, to, ..] => redirects.extend(self.redirect(from, to)),
                [] => {}
            }
        }
        Some(redirects)
    }

    fn redirect(&mut self, from: &Word, to: &Word) -> Option<Redirect> {
        let to = self.diags.template(to);
        if let Some((pattern, caseless)) = pattern_text(&from.value) {
            let from = pattern_of(from, pattern, caseless, self.diags)?;
            return Some(Redirect::Pattern { from, to: to? });
        }
        Some(Redirect::Prefix { from: self.diags.template(from)?, to: to? })
    }

    fn cookies(&mut self, name: &str) -> Option<Vec<CookieChange>> {
        let mut changes = Vec::new();
        for statement in &self.all(name)? {
            match &statement.args[..] {
                [word] if word.value == "off" => return Some(Vec::new()),
                [from, to] => {
                    // As in nginx, a leading dot of a domain does not matter.
                    let from = self.cookie(from, name == "proxy_cookie_domain");
                    let to = self.diags.template(to);
                    changes.extend(from.zip(to).map(|(from, to)| CookieChange { from, to }));
                }
                _ => {
                    let word = &statement.name;
                    self.diags
                        .error(&word.place, format!("{} takes two values", quote(name)))
                        .in_nginx(format!("invalid parameter \"{}\"", statement.args[0].value))
                        .expected("expected `off`, or a text and what takes its place");
                }
            }
        }
        Some(changes)
    }

    fn cookie(&mut self, word: &Word, domain: bool) -> Option<CookieMatch> {
        if let Some((pattern, caseless)) = pattern_text(&word.value) {
            return pattern_of(word, pattern, caseless, self.diags).map(CookieMatch::Pattern);
        }
        let bare = word.value.strip_prefix('.').filter(|_| domain).unwrap_or(&word.value);
        let word = Word { value: bare.to_owned(), place: word.place.clone() };
        self.diags.template(&word).map(CookieMatch::Text)
    }

    fn cookie_flags(&mut self) -> Option<Vec<CookieFlags>> {
        let mut rules = Vec::new();
        for statement in &self.all("proxy_cookie_flags")? {
            let Some((name, flags)) = statement.args.split_first() else { continue };
            if name.value == "off" && flags.is_empty() {
                return Some(Vec::new());
            }
            let Some(cookie) = self.cookie(name, false) else { continue };
            let mut rule = CookieFlags { cookie, secure: None, http_only: None, same_site: None };
            for flag in flags {
                self.cookie_flag(flag, &mut rule);
            }
            rules.push(rule);
        }
        Some(rules)
    }

    fn cookie_flag(&mut self, flag: &Word, rule: &mut CookieFlags) {
        match flag.value.as_str() {
            "secure" => rule.secure = Some(true),
            "nosecure" => rule.secure = Some(false),
            "httponly" => rule.http_only = Some(true),
            "nohttponly" => rule.http_only = Some(false),
            "samesite=strict" => rule.same_site = Some("Strict".to_owned()),
            "samesite=lax" => rule.same_site = Some("Lax".to_owned()),
            "samesite=none" => rule.same_site = Some("None".to_owned()),
            "nosamesite" => rule.same_site = Some(String::new()),
            other => {
                self.diags
                    .error(&flag.place, format!("unknown flag {}", quote(other)))
                    .in_nginx(format!("invalid parameter \"{other}\""))
                    .expected(
                        "expected one of secure, httponly, samesite=strict|lax|none, nosecure, \
                         nohttponly, nosamesite",
                    );
            }
        }
    }
}

/// The pattern in `~pattern` and `~*pattern`, and whether capitals do not matter.
fn pattern_text(text: &str) -> Option<(&str, bool)> {
    let rest = text.strip_prefix('~')?;
    Some(rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true)))
}
