//! What holds for the whole process, though nginx lets parts of it be said of a `location`.

use super::Kind;
use crate::config::nginx::frame::{Context, Frame, Said};
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::nginx::table;
use crate::config::raw::Word;
use crate::config::words;

impl Frame {
    /// Notes what a directive says of the whole process.
    fn say(&mut self, name: &'static str, words: Vec<Word>, directive: &Directive) {
        self.shared.insert(name, Said { words, place: directive.name.place.clone() });
    }
}

pub(in crate::config::nginx) fn user(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.user = directive.args.first().cloned();
    if let [user, group] = &directive.args[..]
        && user.value != group.value
    {
        reader
            .diags
            .error(&group.place, "a group of its own is not supported yet")
            .expected("robin takes the user's group")
            .help("leave the group out");
    }
}

pub(in crate::config::nginx) fn pid(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.pid = directive.args.first().map(|word| reader.rooted(word));
}

/// `robin_control PATH`, or `off`.
pub(in crate::config::nginx) fn robin_control(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let word = &directive.args[0];
    let bare = word.value == "off" || word.value.is_empty();
    frame.control = Some(if bare { word.clone() } else { reader.rooted(word) });
}

/// `robin_event_format text|json`.
pub(in crate::config::nginx) fn robin_event_format(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.event_format = directive.args.first().cloned();
}

/// `robin_express on|off|alternate`.
pub(in crate::config::nginx) fn robin_express(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.express = directive.args.first().cloned();
}

/// `robin_dashboard on|off [summary=TIME]`.
pub(in crate::config::nginx) fn robin_dashboard(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let enabled = &directive.args[0];
    if words::switch(&enabled.value).is_none() {
        let message = format!(
            "invalid value \"{}\" in \"robin_dashboard\" directive, it must be \"on\" or \"off\"",
            enabled.value
        );
        reader.diags.error(&enabled.place, message).expected("expected one of on, off");
        return;
    }
    frame.dashboard.enabled = Some(enabled.clone());
    let Some(word) = directive.args.get(1) else { return };
    let Some(value) = word.value.strip_prefix("summary=") else {
        let message = format!("invalid parameter \"{}\"", word.value);
        reader
            .diags
            .error(&word.place, message)
            .expected("expected `summary=`, as in `summary=1m`");
        return;
    };
    let summary = Word { value: value.to_owned(), place: word.place.clone() };
    if reader.is(Kind::TimeOrZero, directive, &summary) {
        frame.dashboard.summary = Some(summary);
    }
}

/// `robin_error_details on`, or `off`.
pub(in crate::config::nginx) fn robin_error_details(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.settings.error_details = directive.args.first().cloned();
}

/// `robin_server_header robin|version|nginx|off`.
pub(in crate::config::nginx) fn robin_server_header(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.settings.server_header = directive.args.first().cloned();
}

/// The process has one error log: the one of the main level, else the first further in.
pub(in crate::config::nginx) fn error_log(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    const LEVELS: [&str; 8] =
        ["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];
    let (path, level) = (&directive.args[0], directive.args.get(1));
    if let Some(level) = level.filter(|level| !LEVELS.contains(&level.value.as_str())) {
        reader
            .diags
            .error(&level.place, format!("invalid log level \"{}\"", level.value))
            .expected(format!("expected one of {}", LEVELS.join(", ")))
            .nearest(&level.value, LEVELS);
        return;
    }
    if ["syslog:", "memory:"].iter().any(|kind| path.value.starts_with(kind)) {
        reader
            .diags
            .error(&path.place, "an error log that is not a file is not supported")
            .expected("expected a path such as `/var/log/error.log`, or `stderr`");
        return;
    }
    let path = if path.value == "stderr" { path.clone() } else { reader.rooted(path) };
    let said = (path, level.cloned());
    match frame.context {
        Context::Main => reader.error_log = Some(said),
        _ => drop(reader.inner_error_log.get_or_insert(said)),
    }
}

pub(in crate::config::nginx) fn shared_time(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    said_time(reader, Kind::Time, directive, frame);
}

pub(in crate::config::nginx) fn shared_time_or_zero(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    said_time(reader, Kind::TimeOrZero, directive, frame);
}

/// A time; `keepalive_timeout` may have a second one, which is only told to clients.
fn said_time(reader: &mut Reader<'_>, kind: Kind, directive: &Directive, frame: &mut Frame) {
    let mut all = true;
    for word in &directive.args {
        all &= reader.is(kind, directive, word);
    }
    if all && let Some(name) = table::names().find(|name| *name == directive.name.value) {
        frame.say(name, directive.args[..1].to_vec(), directive);
    }
}

pub(in crate::config::nginx) fn resolver(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let servers = directive.args.iter().filter(|word| !word.value.contains('='));
    if servers.count() == 0 {
        reader
            .diags
            .error(&directive.name.place, "no name servers defined")
            .expected("expected an address, as in `127.0.0.11`");
        return;
    }
    frame.say("resolver", directive.args.clone(), directive);
}
