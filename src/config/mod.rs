//! What was written: files in, a checked model or diagnostics out.
//!
//! A door reads its syntax into the raw tree (`raw`), `resolve` makes the model of it. Files that
//! end in `.yaml` or `.yml` go through the YAML door, all others through nginx's. Past this room
//! nobody can tell which door was used.

pub(crate) mod address;
mod convert;
pub mod diagnostics;
mod env;
pub mod model;
mod nginx;
mod outline;
pub mod pattern;
mod raw;
mod resolve;
pub mod template;
pub mod tls;
pub(crate) mod words;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::diagnostics::{Diagnostics, Notes, Source, Span, Syntax};
use self::model::{Config, ListenAddress, Prefix};
pub(crate) use self::nginx::open_failed;
pub use self::nginx::{Standing, directives as nginx_directives};
pub use self::outline::outline;
pub use self::yaml::keys as yaml_keys;

/// How a configuration is read, beside what stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// What names of files in nginx's syntax begin at. Default: the folder of the main file. What it
    /// includes begins there in any case.
    pub prefix: Option<PathBuf>,
    /// Directives that are read as if they stood at the top of the main file (nginx's `-g`).
    pub globals: Option<String>,
    /// Whether directives that are not supported are left out, and noted, instead of refused.
    /// Default false.
    pub lenient: bool,
    /// Whether answers bear nginx's name where an nginx configuration says nothing else. Default
    /// false.
    pub as_nginx: bool,
}

/// A configuration with what it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The main file and what it includes, each once, in the order in which they were first read.
    pub sources: Vec<Arc<Source>>,
    /// What it names that was read, too: certificates, keys.
    pub files: Vec<PathBuf>,
    /// What there is to say of it.
    pub notes: Notes,
    /// What was written in them.
    raw: raw::Config,
}

impl Loaded {
    /// What was written, as YAML: it loads to an equal configuration in any environment.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        convert::to_yaml(&self.raw)
    }
}

impl Loaded {
    /// The problem that an address cannot be listened on, with what to do, shown where it is written; none for
    /// an address that is not.
    #[must_use]
    pub fn refuse_listen(
        &self,
        address: &ListenAddress,
        message: String,
        help: Option<String>,
    ) -> Option<Diagnostics> {
        let word = resolve::written(&self.raw, address)?;
        let mut diags = Diagnostics::default();
        let problem = diags.error(&word.place, message);
        if let Some(help) = help {
            problem.help(help);
        }
        Some(diags)
    }

    /// Lets relative paths begin at the prefix, without one at the folder of the file.
    fn below(mut self, path: &Path, options: &LoadOptions) -> Self {
        let prefix = options.prefix.as_deref().or(path.parent());
        self.config.prefix = Prefix(prefix.map(Path::to_owned).unwrap_or_default());
        self
    }
}

/// Reads and checks a configuration file, with the environment of this process.
///
/// # Errors
/// Every problem of the file, ready to be printed.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    load_with(path, options, &|name| std::env::var(name).ok())
}

/// Reads and checks a configuration file; `env` looks up what `${NAME}` stands for in YAML.
///
/// # Errors
/// Every problem of the file, ready to be printed.
pub fn load_with(
    path: &Path,
    options: &LoadOptions,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let mut diags = Diagnostics::default();
    let syntax = syntax(path);
    match (std::fs::read(path).map(String::from_utf8), syntax) {
        (Ok(Ok(text)), Syntax::Yaml) => {
            return read_yaml(&name, text, env).map(|loaded| loaded.below(path, options));
        }
        (Ok(Ok(text)), Syntax::Nginx) => {
            return read_nginx(path, text, options).map(|loaded| loaded.below(path, options));
        }
        (Ok(Err(error)), _) => not_utf8(name, &error, syntax, &mut diags),
        (Err(error), _) => {
            diags
                .file_error(&name, syntax, format!("cannot read the configuration: {error}"))
                .in_nginx(nginx::open_failed(&name, &error));
        }
    }
    Err(diags)
}

/// Whether a directive of nginx's does here what it says.
#[must_use]
pub fn nginx_directive_works(name: &str) -> bool {
    nginx::works(name)
}

/// What a file of this name is written in.
#[must_use]
pub fn syntax(path: &Path) -> Syntax {
    let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if yaml { Syntax::Yaml } else { Syntax::Nginx }
}

/// Checks a YAML text that messages call `name`; `env` looks up what `${NAME}` stands for.
///
/// # Errors
/// Every problem of the text, in its order.
pub fn parse_yaml(
    name: &str,
    text: impl Into<String>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Diagnostics> {
    read_yaml(name, text, env).map(|loaded| loaded.config)
}

/// The same as [`parse_yaml`], with what the text says.
///
/// # Errors
/// Every problem of the text, in its order.
pub fn read_yaml(
    name: &str,
    text: impl Into<String>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    // libyaml takes a byte order mark for a document: `Source` drops it.
    let source = Arc::new(Source::new(name, text, Syntax::Yaml));
    let mut diags = Diagnostics::beside(Path::new(name));
    let raw = yaml::read(&source, env, &mut diags);
    checked(raw, vec![source], diags)
}

/// Checks a text in nginx's syntax that is, or would be, in the file `path`: what it includes is
/// looked for beside it.
///
/// # Errors
/// Every problem of the text and of what it includes, in its order; twenty are printed.
pub fn parse_nginx(path: &Path, text: impl Into<String>) -> Result<Config, Diagnostics> {
    read_nginx(path, text, &LoadOptions::default()).map(|loaded| loaded.config)
}

/// The same as [`parse_nginx`], with what the text says.
///
/// # Errors
/// Every problem of the text and of what it includes, in its order; twenty are printed.
pub fn read_nginx(
    path: &Path,
    text: impl Into<String>,
    options: &LoadOptions,
) -> Result<Loaded, Diagnostics> {
    let source = Arc::new(Source::new(path.display().to_string(), text, Syntax::Nginx));
    let mut diags = Diagnostics::beside(path);
    diags.limit(20);
    let mut read = nginx::read(path, &source, options, &mut diags);
    if let Some(raw) = &mut read.raw {
        raw.as_nginx = options.as_nginx;
    }
    checked(read.raw, read.sources, diags)
}

fn checked(
    raw: Option<raw::Config>,
    sources: Vec<Arc<Source>>,
    mut diags: Diagnostics,
) -> Result<Loaded, Diagnostics> {
    if let Some(raw) = raw {
        let config = resolve::resolve(&raw, &mut diags);
        if diags.is_empty() {
            return Ok(Loaded { config, sources, files: diags.files, notes: *diags.notes, raw });
        }
    }
    diags.sort();
    Err(diags)
}

fn not_utf8(
    name: String,
    error: &std::string::FromUtf8Error,
    syntax: Syntax,
    diags: &mut Diagnostics,
) {
    let start = error.utf8_error().valid_up_to();
    // A byte order mark stays: the place counts from the first byte of the file.
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(Source { name, text, syntax });
    diags
        .error(Span { source, start, end: start + 1 }, "the file is not UTF-8")
        .help("save it as UTF-8");
}
