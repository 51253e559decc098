//! What is done to answers: headers, charsets, error pages, redirects.

use std::time::Duration;

use bytes::Bytes;

use super::{Said, invalid, status};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::site::{
    AddHeader, Answers, ErrorPage, ErrorStatus, Expires, Gzip, Inherit,
};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::resolve::leaf::Zero;
use crate::config::template::Template;

/// What lists of browsers ask for at least: a year.
const HSTS_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Types that get a charset by default (`ngx_http_charset_default_types`).
const CHARSET_TYPES: [&str; 6] = [
    "text/html",
    "text/xml",
    "text/plain",
    "text/vnd.wap.wml",
    "application/javascript",
    "application/rss+xml",
];

impl Answers {
    pub(in crate::config::resolve) fn defaults() -> Self {
        Self {
            headers: Vec::new(),
            hsts: None,
            headers_inherit: Inherit::On,
            trailers: Vec::new(),
            trailers_inherit: Inherit::On,
            secure_headers: false,
            expires: Expires::Off,
            charset: None,
            charset_types: CHARSET_TYPES.map(str::to_owned).to_vec(),
            gzip: Gzip::defaults(),
            error_pages: Vec::new(),
            recursive_error_pages: false,
            absolute_redirect: true,
            port_in_redirect: true,
            server_name_in_redirect: false,
            chunked: true,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(in crate::config::resolve) fn resolve(
        settings: &Settings,
        outer: &Self,
        diags: &mut Diagnostics,
    ) -> Self {
        let mut said = Said { settings, diags };
        let headers_inherit = said.inherit("add_header_inherit", outer.headers_inherit);
        let trailers_inherit = said.inherit("add_trailer_inherit", outer.trailers_inherit);
        Self {
            headers: said.added("add_header", headers_inherit, &outer.headers),
            hsts: said.hsts().unwrap_or_else(|| outer.hsts.clone()),
            headers_inherit,
            trailers: said.added("add_trailer", trailers_inherit, &outer.trailers),
            trailers_inherit,
            secure_headers: said.switch("secure_headers", outer.secure_headers),
            expires: said.expires().unwrap_or_else(|| outer.expires.clone()),
            charset: said.charset().unwrap_or_else(|| outer.charset.clone()),
            charset_types: said
                .types("charset_types", CHARSET_TYPES[0])
                .unwrap_or_else(|| outer.charset_types.clone()),
            gzip: Gzip::resolve(&mut said, &outer.gzip),
            error_pages: said.error_pages().unwrap_or_else(|| outer.error_pages.clone()),
            recursive_error_pages: said
                .switch("recursive_error_pages", outer.recursive_error_pages),
            absolute_redirect: said.switch("absolute_redirect", outer.absolute_redirect),
            port_in_redirect: said.switch("port_in_redirect", outer.port_in_redirect),
            server_name_in_redirect: said
                .switch("server_name_in_redirect", outer.server_name_in_redirect),
            chunked: said.switch("chunked_transfer_encoding", outer.chunked),
        }
    }
}

impl Said<'_, '_> {
    fn inherit(&mut self, name: &str, outer: Inherit) -> Inherit {
        let words = [("off", Inherit::Off), ("on", Inherit::On), ("merge", Inherit::Merge)];
        self.choice(name, &words, outer)
    }

    fn added(&mut self, name: &str, inherit: Inherit, outer: &[AddHeader]) -> Vec<AddHeader> {
        let here = self.all(name).map(|statements| {
            let headers = statements.into_iter().filter_map(|s| self.header(s));
            headers.collect::<Vec<AddHeader>>()
        });
        match (here, inherit) {
            (here, Inherit::Off) => here.unwrap_or_default(),
            (None, _) => outer.to_vec(),
            (Some(here), Inherit::On) => here,
            (Some(mut here), Inherit::Merge) => {
                here.extend_from_slice(outer);
                here
            }
        }
    }

    /// `robin_hsts on [max_age=TIME] [include_subdomains=on|off] [preload=on|off]`, or `off`.
    fn hsts(&mut self) -> Option<Option<String>> {
        const EXPECTED: &str =
            "expected on or off, then `max_age=`, `include_subdomains=`, `preload=`";
        let statement = self.settings.last("robin_hsts")?;
        let (first, rest) = statement.args.split_first()?;
        let on = self.diags.switch("robin_hsts", Some(first))?;
        let (mut age, mut subdomains, mut preload) = (HSTS_AGE, false, false);
        for word in rest {
            let part = word.value.split_once('=');
            let value = |text: &str| Word { value: text.to_owned(), place: word.place.clone() };
            match part {
                Some(("max_age", text)) => {
                    age = self.diags.time("max_age", Some(&value(text)), Zero::Allowed)?;
                }
                Some(("include_subdomains", text)) => {
                    subdomains = self.diags.switch("include_subdomains", Some(&value(text)))?;
                }
                Some(("preload", text)) => {
                    preload = self.diags.switch("preload", Some(&value(text)))?;
                }
                _ => {
                    invalid(self.diags, word, EXPECTED.to_owned());
                    return None;
                }
            }
        }
        if preload && (!subdomains || age < HSTS_AGE) {
            self.diags
                .error(&first.place, "browsers take no such host into their lists")
                .expected("`preload` needs `include_subdomains` and a `max_age` of a year")
                .help("see hstspreload.org");
            return None;
        }
        let mut value = format!("max-age={}", age.as_secs());
        value.push_str(if subdomains { "; includeSubDomains" } else { "" });
        value.push_str(if preload { "; preload" } else { "" });
        Some(on.then_some(value))
    }

    /// `add_header NAME VALUE [always]`.
    fn header(&mut self, statement: &Statement) -> Option<AddHeader> {
        let [name, value, rest @ ..] = &statement.args[..] else { return None };
        let parsed = name.value.parse();
        if parsed.is_err() {
            let message = format!("{} is not the name of a header", quote(&name.value));
            self.diags.error(&name.place, message).expected("expected letters, digits and `-`");
        }
        if let Some(word) = rest.first().filter(|word| word.value != "always") {
            self.diags
                .error(&word.place, format!("invalid parameter {}", quote(&word.value)))
                .in_nginx(format!("invalid parameter \"{}\"", word.value))
                .expected("expected `always` or `;`");
            return None;
        }
        Some(AddHeader {
            name: parsed.ok()?,
            written: Bytes::copy_from_slice(name.value.as_bytes()),
            value: self.template(value)?,
            always: !rest.is_empty(),
        })
    }

    /// The outer none where nothing is said, the inner one for `off`.
    fn charset(&mut self) -> Option<Option<Template>> {
        let word = self.settings.word("charset")?;
        if word.value == "off" {
            return Some(None);
        }
        self.template(word).map(Some)
    }

    /// `error_page STATUS … [=[STATUS]] URI`.
    fn error_pages(&mut self) -> Option<Vec<ErrorPage>> {
        let statements = self.all("error_page")?;
        Some(statements.into_iter().filter_map(|s| self.error_page(s)).collect())
    }

    fn error_page(&mut self, statement: &Statement) -> Option<ErrorPage> {
        let (page, words) = statement.args.split_last()?;
        let (becomes, words) = match words.split_last() {
            Some((word, words)) if word.value.starts_with('=') => {
                let becomes = match &word.value[1..] {
                    "" => Some(ErrorStatus::OfPage),
                    code => status(code).map(ErrorStatus::Is),
                };
                let Some(becomes) = becomes.filter(|_| !words.is_empty()) else {
                    invalid(self.diags, word, "expected statuses, then `=` or `=STATUS`");
                    return None;
                };
                (becomes, words)
            }
            _ => (ErrorStatus::Kept, words),
        };
        let mut statuses = Vec::new();
        for word in words {
            match status(&word.value) {
                Some(code @ 300..=599) if code != 499 => statuses.push(code),
                Some(499) | None => invalid(self.diags, word, "expected a status"),
                Some(_) => {
                    let text = &word.value;
                    self.diags
                        .error(&word.place, format!("{} is no status of an error", quote(text)))
                        .in_nginx(format!("value \"{text}\" must be between 300 and 599"))
                        .expected("expected a status from 300 to 599");
                }
            }
        }
        Some(ErrorPage { statuses, status: becomes, page: self.template(page)? })
    }
}
