//! Access logs: where lines go, in which format, and when (`ngx_http_log_module`).

mod syslog;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::diagnostics::{Diagnostics, Span, Syntax, quote};
use crate::config::model::{
    AccessLog, LogEscape, LogFormat, LogPath, LogStyle, Preset, RequestLog,
};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::template::Template;
use crate::config::words;

/// nginx's own format.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// Reads every `log_format`, before any log is.
pub(super) fn formats(declarations: &[Statement], diags: &mut Diagnostics) {
    let combined = LogFormat {
        name: "combined".to_owned(),
        escape: LogEscape::Default,
        line: Template::parse(COMBINED).expect("its variables are in the list of variables"),
    };
    diags.scope.formats.insert(combined.name.clone(), Arc::new(combined));
    for statement in declarations.iter().filter(|s| s.name.value == "log_format") {
        let [name, words @ ..] = &statement.args[..] else { continue };
        let Some(format) = format(name, words, diags) else { continue };
        if diags.scope.formats.insert(name.value.clone(), Arc::new(format)).is_some() {
            diags
                .error(&name.place, format!("duplicate log format {}", quote(&name.value)))
                .in_nginx(format!("duplicate \"log_format\" name \"{}\"", name.value))
                .expected("expected another name");
        }
    }
}

fn format(name: &Word, words: &[Word], diags: &mut Diagnostics) -> Option<LogFormat> {
    let (escape, words) = match words.split_first() {
        Some((first, rest)) if first.value.starts_with("escape=") => {
            let escape = match &first.value["escape=".len()..] {
                "default" => LogEscape::Default,
                "json" => LogEscape::Json,
                "none" => LogEscape::None,
                other => {
                    diags
                        .error(&first.place, format!("unknown escaping {}", quote(other)))
                        .in_nginx(format!("unknown log format escaping \"{other}\""))
                        .expected("expected one of default, json, none")
                        .nearest(other, ["default", "json", "none"]);
                    return None;
                }
            };
            (escape, rest)
        }
        _ => (LogEscape::Default, words),
    };
    let templates: Vec<Option<Template>> = words.iter().map(|word| diags.template(word)).collect();
    let line = Template::joined(templates.into_iter().collect::<Option<Vec<_>>>()?);
    Some(LogFormat { name: name.value.clone(), escape, line })
}

/// The logs that a level names; none where it names none.
pub(super) fn resolve(settings: &Settings, diags: &mut Diagnostics) -> Option<Vec<RequestLog>> {
    let mut logs = Vec::new();
    let mut said = false;
    let mut off = false;
    for statement in settings.all("access_log") {
        said = true;
        match &statement.args[..] {
            [word] if words::switch(&word.value) == Some(false) => off = true,
            [word, rest, ..] if word.value == "off" => {
                invalid_parameter(rest, "expected `;` after `off`", diags);
            }
            _ => logs.extend(log(statement, diags)),
        }
    }
    if off {
        logs.clear();
    }
    said.then_some(logs)
}

/// Whether the top level says nothing of routes' logs but where the process's goes.
pub(super) fn is_plain(settings: &Settings) -> bool {
    let mut statements = settings.all("access_log");
    let plain = statements.next().is_some_and(|first| match &first.args[..] {
        [path] => !path.value.starts_with("syslog:") && !path.value.contains('$'),
        _ => false,
    });
    plain && statements.next().is_none()
}

/// Where the process's own log goes, for routes that have none of theirs.
pub(super) fn process(settings: &Settings, diags: &mut Diagnostics) -> AccessLog {
    let Some(statement) = settings.last("access_log") else { return AccessLog::Stdout };
    let [word, ..] = &statement.args[..] else { return AccessLog::Stdout };
    if !is_plain(settings) || words::switch(&word.value) == Some(false) {
        return AccessLog::Off;
    }
    match path(word, diags) {
        Some(LogPath::File(path)) => AccessLog::File(path),
        Some(LogPath::Stderr) => AccessLog::File(PathBuf::from("/dev/stderr")),
        _ => AccessLog::Stdout,
    }
}

fn invalid_parameter(word: &Word, expected: &str, diags: &mut Diagnostics) {
    diags
        .error(&word.place, format!("unknown parameter {}", quote(&word.value)))
        .in_nginx(format!("invalid parameter \"{}\"", word.value))
        .expected(expected);
}

fn log(statement: &Statement, diags: &mut Diagnostics) -> Option<RequestLog> {
    let (word, rest) = statement.args.split_first()?;
    let path = path(word, diags);
    let (name, parameters) = match rest.split_first() {
        Some((name, parameters)) => (Some(name), parameters),
        None => (None, rest),
    };
    let style = match name {
        None => LogStyle::Preset(Preset::Robin),
        Some(name) => style(name, diags)?,
    };
    let Parameters { condition, level, sample } =
        parameters_of(word, parameters, path.as_ref(), diags)?;
    let path = match (path?, level) {
        (LogPath::File(path), Some(level)) => LogPath::Packed(path, level),
        (path, _) => path,
    };
    let known = diags.scope.logs.iter().position(|log| *log == path);
    let to = known.unwrap_or_else(|| {
        diags.scope.logs.push(path);
        diags.scope.logs.len() - 1
    });
    Some(RequestLog { to, style, condition, sample })
}

/// What a name stands for: a `log_format` first, so that a file of nginx's means what it says.
fn style(name: &Word, diags: &mut Diagnostics) -> Option<LogStyle> {
    if let Some(format) = diags.scope.formats.get(&name.value) {
        return Some(LogStyle::Format(Arc::clone(format)));
    }
    if let Some(preset) = Preset::parse(&name.value) {
        return Some(LogStyle::Preset(preset));
    }
    let presets = Preset::ALL.into_iter().map(|preset| preset.name().to_owned());
    let known: Vec<String> = diags.scope.formats.keys().cloned().chain(presets).collect();
    diags
        .error(&name.place, format!("unknown log format {}", quote(&name.value)))
        .in_nginx(format!("unknown log format \"{}\"", name.value))
        .expected("expected `combined`, `json`, `robin` or the name of a `log_format`")
        .nearest(&name.value, known.iter().map(String::as_str));
    None
}

/// What follows the format and has an effect: lines are written within milliseconds anyway.
struct Parameters {
    condition: Option<Template>,
    /// The level of `gzip`.
    level: Option<u32>,
    /// In hundredths of a percent.
    sample: Option<u16>,
}

fn parameters_of(
    path_word: &Word,
    words: &[Word],
    path: Option<&LogPath>,
    diags: &mut Diagnostics,
) -> Option<Parameters> {
    let (mut condition, mut buffer, mut flush, mut level) = (None, None, None, None);
    let mut sample = None;
    let mut bad = |word: &Word, yaml: &str, nginx: String| {
        diags.error(&word.place, yaml).in_nginx(nginx).expected("in this parameter");
        None
    };
    for word in words {
        let (key, value) = word.value.split_once('=').unwrap_or((&word.value, ""));
        match key {
            "if" if !value.is_empty() => condition = Some(word),
            "buffer" if words::size(value).is_ok_and(|size| size > 0) => buffer = Some(word),
            "buffer" => {
                let nginx = format!("invalid buffer size \"{value}\"");
                return bad(word, "the buffer has no size", nginx);
            }
            "flush" if words::duration(value).is_ok_and(|time| !time.is_zero()) => {
                flush = Some(word);
            }
            "flush" => {
                let nginx = format!("invalid flush time \"{value}\"");
                return bad(word, "the time is none", nginx);
            }
            "gzip" => {
                let read = if value.is_empty() { Some(1) } else { words::number(value) };
                level = read.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=9).contains(n));
                if level.is_none() {
                    let nginx = format!("invalid compression level \"{value}\"");
                    return bad(word, "the level is none from 1 to 9", nginx);
                }
            }
            "sample" => {
                sample = words::hundredths(value).filter(|share| *share <= 10_000);
                if sample.is_none() {
                    let nginx = format!("invalid share \"{value}\"");
                    return bad(word, "the share is none from 0.01% to 100%", nginx);
                }
            }
            _ => {
                let expected = "expected `buffer=size`, `flush=time`, `gzip`, `if=condition` or \
                                `sample=share`";
                invalid_parameter(word, expected, diags);
                return None;
            }
        }
    }
    if let Some(word) = flush.filter(|_| buffer.is_none()) {
        let log = &path_word.value;
        let nginx = format!("no buffer is defined for access_log \"{log}\"");
        return bad(word, "`flush` needs a `buffer`", nginx);
    }
    let message = match path {
        Some(LogPath::Syslog(_)) => Some("logs to syslog cannot be buffered"),
        Some(LogPath::Template(_)) => Some("buffered logs cannot have variables in name"),
        _ => None,
    };
    if let Some((word, message)) = buffer.zip(message) {
        return bad(word, message, message.to_owned());
    }
    let sample = sample.and_then(|share| u16::try_from(share).ok());
    let Some(word) = condition else {
        return Some(Parameters { condition: None, level, sample });
    };
    let value = word.value["if=".len()..].to_owned();
    let condition = diags.template(&Word { value, place: word.place.clone() })?;
    Some(Parameters { condition: Some(condition), level, sample })
}

fn path(word: &Word, diags: &mut Diagnostics) -> Option<LogPath> {
    let text = word.value.as_str();
    if let Some(parameters) = text.strip_prefix("syslog:") {
        return syslog::syslog(word, parameters, diags).map(LogPath::Syslog);
    }
    let in_nginx = Span::from(&word.place).source.syntax == Syntax::Nginx;
    match (text, words::switch(text)) {
        ("/dev/stdout" | "stdout", _) | (_, Some(true)) => Some(LogPath::Stdout),
        ("/dev/stderr" | "stderr", _) => Some(LogPath::Stderr),
        (text, _) if text.contains('$') => diags.template(word).map(LogPath::Template),
        // A word without a slash is a slip more often than a file.
        (text, _) if text.contains('/') || in_nginx => Some(LogPath::File(PathBuf::from(text))),
        (other, _) => {
            let message = format!("unknown access log {}", quote(other));
            diags
                .error(&word.place, message)
                .expected(
                    "expected one of on, off, stdout, or a path such as `/var/log/access.log`",
                )
                .nearest(other, ["on", "off", "stdout"]);
            None
        }
    }
}
