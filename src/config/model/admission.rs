//! Who gets in by more than an address: by a password, or because another service says so.

use std::path::PathBuf;
use std::time::Duration;

use super::program::Settable;
use crate::config::template::Template;

/// What lets a request in beside `allow` and `deny`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admission {
    /// Whether one of them is enough (`satisfy any`). Default false: all have to let it in.
    pub any: bool,
    /// What a client is told that it needs a password for (`auth_basic`); nobody is asked for one
    /// where it comes to `off`. Default: none, nobody is.
    pub realm: Option<Template>,
    /// The file with the passwords (`auth_basic_user_file`); nobody is asked for one without it.
    /// Default: none.
    pub passwords: Option<Passwords>,
    /// The path that is asked whether the request may pass (`auth_request`). Default: none.
    pub ask: Option<String>,
    /// What is kept of that answer (`auth_request_set`). Default: nothing.
    pub keep: Vec<(Settable, Template)>,
    /// How long an answer 401 waits (`auth_delay`). Default 0.
    pub delay: Duration,
}

/// Where passwords are.
#[derive(Clone, Debug, PartialEq)]
pub struct Passwords {
    /// The name of the file.
    pub file: Template,
    /// Where it is looked for if its name does not begin with a slash: beside the configuration.
    pub folder: PathBuf,
}
