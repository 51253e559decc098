//! Access logs of routes: where their lines go, and what stands in them.

use std::path::PathBuf;

use crate::config::template::Template;

/// An access log of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLog {
    /// Where lines go, by its index in [`super::Config::logs`].
    pub to: usize,
    /// What a line looks like. Default: robin's own text.
    pub style: LogStyle,
    /// Lines are written where this is neither empty nor `0`.
    pub condition: Option<Template>,
    /// `sample=`: which share of the requests that did not fail has a line, in hundredths of a
    /// percent. Default: none written, all of them.
    pub sample: Option<u16>,
}

/// What a line of an access log looks like.
#[derive(Clone, Debug, PartialEq)]
pub enum LogStyle {
    /// One of those that need no `log_format`.
    Preset(Preset),
    /// What a `log_format` says.
    Format(std::sync::Arc<LogFormat>),
}

/// Formats that are robin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// `robin`: the combined format, and `key=value` pairs behind it.
    Robin,
    /// `json`: an object.
    Json,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Robin];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Robin => "robin",
            Self::Json => "json",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

/// Where the lines of an access log go.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// The same, packed with gzip at this level.
    Packed(PathBuf, u32),
    /// A file whose path a request decides.
    Template(Template),
    /// `syslog:server=…`.
    Syslog(Syslog),
}

/// Where syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// A name or an address, and a port.
    Host(String, u16),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// `server=`.
    pub server: SyslogServer,
    /// `facility=`, 0 to 23. Default 23, `local7`.
    pub facility: u8,
    /// `severity=`, 0 to 7. Default 6, `info`.
    pub severity: u8,
    /// `tag=`. Default `nginx`.
    pub tag: String,
    /// `nohostname`. Default false.
    pub nohostname: bool,
}

/// `log_format`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFormat {
    /// Its name.
    pub name: String,
    /// How what variables say is written.
    pub escape: LogEscape,
    /// The line.
    pub line: Template,
}

/// How what variables say is written in a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEscape {
    /// `"`, `\\` and bytes below 32 or from 127 on as `\\xXX`.
    #[default]
    Default,
    /// As in a JSON string.
    Json,
    /// As it is.
    None,
}
