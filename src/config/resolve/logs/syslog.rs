//! `syslog:server=…` (`ngx_syslog_process_conf`).

use std::path::PathBuf;

use crate::config::diagnostics::Diagnostics;
use crate::config::model::{Syslog, SyslogServer};
use crate::config::raw::Word;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
const PORT: u16 = 514;

/// Reads what follows `syslog:`.
pub(super) fn syslog(word: &Word, parameters: &str, diags: &mut Diagnostics) -> Option<Syslog> {
    let mut server = None;
    let mut syslog = Syslog {
        server: SyslogServer::Unix(PathBuf::new()),
        facility: 23,
        severity: 6,
        tag: "nginx".to_owned(),
        nohostname: false,
    };
    let mut bad = |message: String, expected: &str| {
        diags.error(&word.place, message.clone()).in_nginx(message).expected(expected);
        None
    };
    for parameter in parameters.split(',') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key {
            "server" if server.is_some() => {
                return bad("duplicate syslog \"server\"".to_owned(), "expected one server");
            }
            "server" => match address(value) {
                Some(read) => server = Some(read),
                None => {
                    let message = format!("invalid host in syslog server \"{value}\"");
                    return bad(
                        message,
                        "expected a host, with or without a port, or `unix:/path`",
                    );
                }
            },
            "facility" => match position(&FACILITIES, value) {
                Some(read) => syslog.facility = read,
                None => {
                    let message = format!("unknown syslog facility \"{value}\"");
                    return bad(message, "expected `local7` or another");
                }
            },
            "severity" => match position(&SEVERITIES, value) {
                Some(read) => syslog.severity = read,
                None => {
                    let message = format!("unknown syslog severity \"{value}\"");
                    return bad(message, "expected `info` or another");
                }
            },
            "tag" if is_tag(value) => value.clone_into(&mut syslog.tag),
            "tag" => {
                let message = "syslog \"tag\" only allows alphanumeric characters and underscore";
                return bad(message.to_owned(), "expected at most 32 of them");
            }
            "nohostname" if value.is_empty() => syslog.nohostname = true,
            _ => {
                let message = format!("unknown syslog parameter \"{parameter}\"");
                let expected = "expected one of server, facility, severity, tag, nohostname";
                return bad(message, expected);
            }
        }
    }
    match server {
        Some(server) => Some(Syslog { server, ..syslog }),
        None => bad("no syslog server specified".to_owned(), "expected `server=host`"),
    }
}

fn position(list: &[&str], name: &str) -> Option<u8> {
    list.iter().position(|known| *known == name).and_then(|n| u8::try_from(n).ok())
}

fn is_tag(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

fn address(text: &str) -> Option<SyslogServer> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| SyslogServer::Unix(PathBuf::from(path)));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (text, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| SyslogServer::Host(host.to_owned(), port))
}
