//! What was written: files in, a checked model or diagnostics out.
//!
//! A door reads its syntax into the raw tree (`raw`), `resolve` makes the model of it. Files that
//! end in `.yaml` or `.yml` go through the YAML door, the only one so far. Past this room nobody
//! can tell which door was used.

mod address;
mod convert;
pub mod diagnostics;
mod env;
pub mod model;
mod raw;
mod resolve;
pub mod template;
mod words;
mod yaml;

use std::path::Path;
use std::sync::Arc;

pub use self::convert::to_yaml;
use self::diagnostics::{Diagnostics, Source, Span};
use self::model::Config;
pub use self::yaml::keys as yaml_keys;

/// Reads and checks a configuration file, with the environment of this process.
///
/// # Errors
/// Every problem of the file, ready to be printed.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    load_with(path, &|name| std::env::var(name).ok())
}

/// Reads and checks a configuration file; `env` looks up what `${NAME}` stands for.
///
/// # Errors
/// Every problem of the file, ready to be printed.
pub fn load_with(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Diagnostics> {
    let name = path.display().to_string();
    let mut diags = Diagnostics::default();
    let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    match std::fs::read(path) {
        Err(error) => {
            diags.file_error(&name, format!("cannot read the configuration: {error}"));
        }
        Ok(_) if !yaml => {
            diags
                .file_error(&name, "only YAML is read so far")
                .help("name the file with `.yaml` at its end");
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return parse_yaml(&name, text, env),
            Err(error) => not_utf8(name, &error, &mut diags),
        },
    }
    Err(diags)
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
    let mut text = text.into();
    // Some editors begin a file with a byte order mark, which libyaml takes for a document.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    let source = Arc::new(Source { name: name.to_owned(), text });
    let mut diags = Diagnostics::default();
    let raw = yaml::read(&source, env, &mut diags);
    let config = raw.map(|raw| resolve::resolve(&raw, &mut diags));
    match config {
        Some(config) if diags.is_empty() => Ok(config),
        _ => {
            diags.sort();
            Err(diags)
        }
    }
}

fn not_utf8(name: String, error: &std::string::FromUtf8Error, diags: &mut Diagnostics) {
    let start = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(Source { name, text });
    diags
        .error(Span { source, start, end: start + 1 }, "the file is not UTF-8")
        .help("save it as UTF-8");
}
