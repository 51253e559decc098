//! Which files are served, and as what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Said, Zero, invalid, status};
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::PathMatch;
use crate::config::model::program::{Otherwise, Root, TryFiles, TryPath};
use crate::config::model::site::{
    Autoindex, AutoindexFormat, FileCache, Files, GzipStatic, IfModifiedSince, Symlinks,
};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::template::Template;
use crate::config::words;

impl Files {
    pub(in crate::config::resolve) fn defaults() -> Self {
        let types = [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")];
        let types: HashMap<_, _> = types.map(|(e, t)| (e.to_owned(), t.to_owned())).into();
        Self {
            root: Root::Html,
            index: vec![Template::literal("index.html")],
            try_files: None,
            types: Arc::new(types),
            default_type: "text/plain".to_owned(),
            autoindex: Autoindex {
                enabled: false,
                format: AutoindexFormat::Html,
                exact_size: true,
                local_time: false,
            },
            etag: true,
            if_modified_since: IfModifiedSince::Exact,
            max_ranges: None,
            log_not_found: true,
            symlinks: Symlinks::Followed,
            symlinks_from: None,
            gzip_static: GzipStatic::Off,
            open_file_cache: FileCache::OFF,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(in crate::config::resolve) fn resolve(
        settings: &Settings,
        outer: &Self,
        diags: &mut Diagnostics,
    ) -> Self {
        let mut said = Said { settings, diags };
        let (symlinks, symlinks_from) =
            said.symlinks().unwrap_or_else(|| (outer.symlinks, outer.symlinks_from.clone()));
        Self {
            root: said.root().unwrap_or_else(|| outer.root.clone()),
            index: said.index().unwrap_or_else(|| outer.index.clone()),
            // It holds for its own level only.
            try_files: said.try_files(),
            types: said.mime_types().map_or_else(|| Arc::clone(&outer.types), Arc::new),
            default_type: settings
                .word("default_type")
                .map_or_else(|| outer.default_type.clone(), |word| word.value.clone()),
            autoindex: said.autoindex(outer.autoindex),
            etag: said.switch("etag", outer.etag),
            if_modified_since: said.choice(
                "if_modified_since",
                &[
                    ("off", IfModifiedSince::Off),
                    ("exact", IfModifiedSince::Exact),
                    ("before", IfModifiedSince::Before),
                ],
                outer.if_modified_since,
            ),
            max_ranges: said
                .diags
                .number("max_ranges", settings.word("max_ranges"), 0..=u64::from(u32::MAX))
                .or(outer.max_ranges),
            log_not_found: said.switch("log_not_found", outer.log_not_found),
            symlinks,
            symlinks_from,
            gzip_static: said.choice(
                "gzip_static",
                &[("off", GzipStatic::Off), ("on", GzipStatic::On), ("always", GzipStatic::Always)],
                outer.gzip_static,
            ),
            open_file_cache: said.open_file_cache(outer.open_file_cache),
        }
    }

    /// Says how much of a path the `alias` of this level replaces: what `path` has matched.
    pub(in crate::config::resolve) fn anchor(
        &mut self,
        settings: &Settings,
        path: &PathMatch,
        diags: &mut Diagnostics,
    ) {
        let Some(statement) = settings.last("alias") else { return };
        let Root::Alias { replaces, .. } = &mut self.root else { return };
        match path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::PrefixOnly(path) => {
                *replaces = Some(path.len());
            }
            PathMatch::Pattern(_) => *replaces = None,
            PathMatch::Named(_) => {
                diags
                    .error(&statement.name.place, "`alias` cannot be used in a named route")
                    .in_nginx("the \"alias\" directive cannot be used inside the named location")
                    .expected("expected `root`");
            }
            PathMatch::If => {}
        }
    }
}

impl Said<'_, '_> {
    fn root(&mut self) -> Option<Root> {
        let root = self.settings.last("root");
        let alias = self.settings.last("alias");
        if let (Some(root), Some(alias)) = (root, alias) {
            self.diags
                .error(&alias.name.place, "`alias` beside `root`")
                .in_nginx(
                    "\"alias\" directive is duplicate, \"root\" directive was specified earlier",
                )
                .expected("one of them says where the files are")
                .also(&root.name.place, "`root` is written here");
        }
        if let Some(word) = alias.and_then(|statement| statement.args.first()) {
            return Some(Root::Alias { to: self.template(word)?, replaces: None });
        }
        let word = root?.args.first()?;
        let mut word = word.clone();
        if word.value.len() > 1 && word.value.ends_with('/') {
            word.value.pop();
        }
        for variable in ["$document_root", "${document_root}", "$realpath_root", "${realpath_root}"]
        {
            if word.value.contains(variable) {
                let name = variable.trim_matches(['$', '{', '}']);
                self.diags
                    .error(&word.place, format!("`root` cannot hold `${name}`, which it makes"))
                    .in_nginx(format!(
                        "the ${name} variable cannot be used in the \"root\" directive"
                    ))
                    .expected("expected a path without it");
                return None;
            }
        }
        self.template(&word).map(Root::Root)
    }

    fn index(&mut self) -> Option<Vec<Template>> {
        let mut index = Vec::new();
        for word in self.all("index")?.iter().flat_map(|statement| &statement.args) {
            if word.value.is_empty() {
                self.diags
                    .error(&word.place, "an index without a name")
                    .in_nginx("index \"\" in \"index\" directive is invalid")
                    .expected("expected the name of a file");
                continue;
            }
            index.extend(self.template(word));
        }
        Some(index)
    }

    fn try_files(&mut self) -> Option<TryFiles> {
        let statement = self.settings.last("try_files")?;
        let (last, paths) = statement.args.split_last()?;
        let paths = paths.iter().filter_map(|word| {
            let directory = word.value.ends_with('/');
            let mut word = word.clone();
            if directory {
                word.value.pop();
            }
            Some(TryPath { path: self.diags.template(&word)?, directory })
        });
        let paths = paths.collect();
        let otherwise = match last.value.strip_prefix('=') {
            Some(code) => match status(code) {
                Some(code) => Otherwise::Status(code),
                None => {
                    self.diags
                        .error(&last.place, format!("invalid status {}", quote(&last.value)))
                        .in_nginx(format!("invalid code \"{}\"", last.value))
                        .expected("expected a status such as `=404`");
                    return None;
                }
            },
            None => Otherwise::Path(self.template(last)?),
        };
        Some(TryFiles { paths, otherwise })
    }

    /// `types { TYPE EXTENSION …; }`; all blocks of a level together.
    fn mime_types(&mut self) -> Option<HashMap<String, String>> {
        let mut types: HashMap<String, String> = HashMap::new();
        let entries = self.all("types")?;
        for entry in entries.iter().flat_map(|statement| statement.block.iter().flatten()) {
            if entry.args.is_empty() {
                invalid_entry(self.diags, entry);
            }
            for extension in &entry.args {
                types.insert(extension.value.to_ascii_lowercase(), entry.name.value.clone());
            }
        }
        Some(types)
    }

    fn autoindex(&mut self, outer: Autoindex) -> Autoindex {
        Autoindex {
            enabled: self.switch("autoindex", outer.enabled),
            format: self.choice(
                "autoindex_format",
                &[
                    ("html", AutoindexFormat::Html),
                    ("json", AutoindexFormat::Json),
                    ("jsonp", AutoindexFormat::Jsonp),
                    ("xml", AutoindexFormat::Xml),
                ],
                outer.format,
            ),
            exact_size: self.switch("autoindex_exact_size", outer.exact_size),
            local_time: self.switch("autoindex_localtime", outer.local_time),
        }
    }

    fn open_file_cache(&mut self, outer: FileCache) -> FileCache {
        let settings = self.settings;
        let (max, inactive) = self.remembered_files().unwrap_or((outer.max, outer.inactive));
        let valid = settings.word("open_file_cache_valid");
        let min_uses = settings.word("open_file_cache_min_uses");
        FileCache {
            max,
            inactive,
            valid: self
                .diags
                .time("open_file_cache_valid", valid, Zero::Allowed)
                .unwrap_or(outer.valid),
            min_uses: self
                .diags
                .number("open_file_cache_min_uses", min_uses, 0..=u64::from(u32::MAX))
                .unwrap_or(outer.min_uses),
            errors: self.switch("open_file_cache_errors", outer.errors),
        }
    }

    /// `open_file_cache off` or `open_file_cache max=paths [inactive=time]`.
    fn remembered_files(&mut self) -> Option<(usize, Duration)> {
        const EXPECTED: &str = "expected off, or `max=1000` and perhaps `inactive=60s`";
        let statement = self.settings.last("open_file_cache")?;
        let (mut max, mut inactive) = (None, FileCache::OFF.inactive);
        for word in &statement.args {
            let value = |key: &str| word.value.strip_prefix(key)?.strip_prefix('=');
            let number = value("max").and_then(words::number);
            let time = value("inactive").and_then(|text| words::duration(text).ok());
            match (number.and_then(|number| usize::try_from(number).ok()), time) {
                (Some(number @ 1..), _) => max = Some(number),
                (_, Some(time)) => inactive = time,
                _ if word.value == "off" => return Some((0, inactive)),
                _ => {
                    let message = format!("invalid parameter {}", quote(&word.value));
                    let said = format!("invalid \"open_file_cache\" parameter \"{}\"", word.value);
                    self.diags.error(&word.place, message).in_nginx(said).expected(EXPECTED);
                    return None;
                }
            }
        }
        let Some(max) = max else {
            self.diags
                .error(&statement.name.place, "`open_file_cache` does not say how many")
                .in_nginx("\"open_file_cache\" must have the \"max\" parameter")
                .expected(EXPECTED);
            return None;
        };
        Some((max, inactive))
    }

    /// `disable_symlinks on|off|if_not_owner [from=part]`.
    fn symlinks(&mut self) -> Option<(Symlinks, Option<Template>)> {
        let statement = self.settings.last("disable_symlinks")?;
        let mut symlinks = None;
        let mut from = None;
        for word in &statement.args {
            match (word.value.as_str(), word.value.strip_prefix("from=")) {
                ("off", _) => symlinks = Some(Symlinks::Followed),
                ("on", _) => symlinks = Some(Symlinks::Refused),
                ("if_not_owner", _) => symlinks = Some(Symlinks::SameOwner),
                (_, Some(part)) if !part.is_empty() => {
                    let part = Word { value: part.to_owned(), place: word.place.clone() };
                    from = self.template(&part);
                }
                (other, _) => {
                    self.diags
                        .error(&word.place, format!("invalid parameter {}", quote(other)))
                        .in_nginx(format!("invalid parameter \"{other}\""))
                        .expected("expected on, off, if_not_owner or `from=/path`");
                    return None;
                }
            }
        }
        let Some(symlinks) = symlinks else {
            self.diags
                .error(&statement.name.place, "`disable_symlinks` says neither on nor off")
                .in_nginx("\"disable_symlinks\" directive must have \"off\", \"on\" or \"if_not_owner\" parameter")
                .expected("expected on, off or if_not_owner");
            return None;
        };
        Some((symlinks, from))
    }
}

fn invalid_entry(diags: &mut Diagnostics, entry: &Statement) {
    invalid(diags, &entry.name, "expected a type with at least one extension");
}
