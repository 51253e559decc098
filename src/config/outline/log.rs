//! Access logs of routes.

use serde_yaml::Value;

use crate::config::env::escape;
use crate::config::model::{Config, LogPath, LogStyle, RequestLog, SyslogServer};
use crate::config::words::print_hundredths;

/// An access log, as it would be written.
pub(super) fn log(log: &RequestLog, config: &Config) -> Value {
    let mut words = config.logs.get(log.to).map_or_else(Vec::new, path);
    words.insert(1.min(words.len()), style(&log.style).to_owned());
    if let Some(share) = log.sample {
        words.push(format!("sample={}", print_hundredths(share)));
    }
    if let Some(condition) = &log.condition {
        words.push(format!("if={condition}"));
    }
    words.join(" ").into()
}

/// The path, and what is said of it behind the format.
fn path(path: &LogPath) -> Vec<String> {
    match path {
        LogPath::Stdout => vec!["stdout".to_owned()],
        LogPath::Stderr => vec!["stderr".to_owned()],
        LogPath::File(path) => vec![escape(&path.to_string_lossy())],
        LogPath::Packed(path, level) => {
            vec![escape(&path.to_string_lossy()), format!("gzip={level}")]
        }
        LogPath::Template(template) => vec![template.to_string()],
        LogPath::Syslog(syslog) => vec![match &syslog.server {
            SyslogServer::Host(host, port) => format!("syslog:server={host}:{port}"),
            SyslogServer::Unix(path) => format!("syslog:server=unix:{}", path.display()),
        }],
    }
}

fn style(style: &LogStyle) -> &str {
    match style {
        LogStyle::Preset(preset) => preset.name(),
        LogStyle::Format(format) => &format.name,
    }
}
