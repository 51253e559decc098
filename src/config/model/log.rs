//! Access logs of routes: where their lines go, and what stands in them.

use std::path::PathBuf;

use crate::config::template::Template;

/// An access log of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLog {
    /// Where lines go, by its index in [`super::Config::logs`].
    pub to: usize,
    /// The format; none is robin's own.
    pub format: Option<std::sync::Arc<LogFormat>>,
    /// Lines are written where this is neither empty nor `0`.
    pub condition: Option<Template>,
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
