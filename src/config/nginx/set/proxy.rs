//! The proxy: where to, with which headers, and when the next server is tried.

use super::upstream::bad_address;
use crate::config::address::{self, BadAddress};
use crate::config::nginx::frame::{Context, Frame};
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Budget, List, Statement, Word};
use crate::config::resolve::settings::ALL;
use crate::config::words;

pub(in crate::config::nginx) fn proxy_pass(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let word = &directive.args[0];
    let text = word.value.as_str();
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let problem = if text.contains('$') {
        None
    } else {
        match (rest, address::target(text)) {
            (Some(_), Ok(_)) => None,
            (Some(_), Err(error @ BadAddress::Unix)) => {
                Some(("invalid path in upstream".to_owned(), error.expected()))
            }
            (Some(rest), Err(error)) => {
                let authority = rest.split('/').next().unwrap_or(rest);
                Some((bad_address(authority, &error), error.expected()))
            }
            (None, _) => Some((
                "invalid URL prefix".to_owned(),
                "expected `http://` or `https://` before the host",
            )),
        }
    };
    let problem = problem.or_else(|| {
        let has_uri = !text.contains('$') && address::target(text).is_ok_and(|t| t.uri.is_some());
        (has_uri && !has_prefix(frame)).then(|| {
            let message = "\"proxy_pass\" cannot have URI part in location given by regular \
                           expression, or inside named location, or inside \"if\" statement, or \
                           inside \"limit_except\" block";
            (message.to_owned(), "expected nothing behind the host")
        })
    });
    match problem {
        None => {
            reader.targets.push(word.clone());
            frame.to = Some(word.clone());
        }
        Some((message, expected)) => {
            let diagnostic = reader.diags.error(&word.place, message).expected(expected);
            if text.contains('$') {
                diagnostic
                    .help("a name in `proxy_pass` is looked up all the time, without a variable");
            }
            frame.broken = true;
        }
    }
}

/// Whether a part of the path is matched, which a URI could take the place of.
fn has_prefix(frame: &Frame) -> bool {
    let path = frame.path.as_deref().unwrap_or("/");
    frame.context == Context::Location && !path.starts_with(['~', '@'])
}

pub(in crate::config::nginx) fn proxy_set_header(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let [name, value] = &directive.args[..] else { return };
    frame.headers.push((name.clone(), value.clone()));
}

pub(in crate::config::nginx) fn proxy_next_upstream(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    /// All but the statuses.
    const WORDS: [&str; 6] =
        ["error", "timeout", "invalid_header", "non_idempotent", "updating", "off"];
    const STATUSES: [&str; 7] =
        ["http_403", "http_404", "http_429", "http_500", "http_502", "http_503", "http_504"];
    let mut statuses = Vec::new();
    for word in &directive.args {
        let text = word.value.as_str();
        if STATUSES.contains(&text) {
            let value = text["http_".len()..].to_owned();
            statuses.push(Word { value, place: word.place.clone() });
        } else if !WORDS.contains(&text) {
            reader.diags.error(&word.place, format!("invalid value \"{text}\"")).expected(format!(
                "expected one of {}, {}",
                WORDS.join(", "),
                STATUSES.join(", ")
            ));
            return;
        }
    }
    let place = directive.name.place.clone();
    let said = |text: &str| directive.args.iter().find(|word| word.value == text).cloned();
    let non_idempotent = said("non_idempotent").map_or("off", |_| "on").to_owned();
    let on = match said("off") {
        // As in nginx, it outweighs what stands beside it.
        Some(_) => Vec::new(),
        None => ["error", "timeout", "invalid_header"].into_iter().filter_map(said).collect(),
    };
    let statuses = if said("off").is_some() { Vec::new() } else { statuses };
    let list = |items| Some(List { items, broken: false, place: place.clone() });
    frame.settings.retry_on = list(on);
    frame.settings.retry_statuses = list(statuses);
    frame.settings.retry_non_idempotent = Some(Word { value: non_idempotent, place });
}

/// `proxy_next_upstream_budget 20% [floor=10]`, or `off`.
pub(in crate::config::nginx) fn proxy_next_upstream_budget(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let percent = &directive.args[0];
    let off = percent.value == "off" && directive.args.len() == 1;
    if !off && words::percent(&percent.value).is_none_or(|n| n > 1000) {
        let message = format!("\"{}\" directive invalid value", directive.name.value);
        reader
            .diags
            .error(&percent.place, message)
            .expected("expected a percentage from 0% to 1000%, or `off` alone");
        return;
    }
    let mut budget = Budget { percent: Some(percent.clone()), floor: None };
    if let Some(word) = directive.args.get(1) {
        let floor = word.value.strip_prefix("floor=").and_then(words::number);
        let Some(floor) = floor.filter(|floor| *floor <= 1_000_000) else {
            reader.invalid_parameter(directive, word, "expected `floor=` with a number");
            return;
        };
        budget.floor = Some(Word { value: floor.to_string(), place: word.place.clone() });
    }
    frame.settings.retry_budget = Some(budget);
}

impl Reader<'_> {
    /// Puts what is inherited in nginx's way into settings that are merged in ours.
    pub(super) fn finish(&mut self, frame: &mut Frame) {
        if frame.context == Context::Http {
            // nginx has no budget.
            if frame.settings.retry_budget.is_none() {
                let off = frame.word("off");
                frame.settings.retry_budget = Some(Budget { percent: Some(off), floor: None });
            }
            // nginx trusts every certificate, names no host, drops such headers and waits for the slowest unless
            // told to.
            for name in [
                "proxy_ssl_verify",
                "proxy_ssl_server_name",
                "underscores_in_headers",
                "robin_send_min_rate",
            ] {
                if frame.settings.last(name).is_none() {
                    let (name, args) = (frame.word(name), vec![frame.word("off")]);
                    frame.settings.statements.push(Statement { name, args, block: None });
                }
            }
            // What is exported there has a trace of its own unless `otel_trace_context` says otherwise.
            let settings = &mut frame.settings;
            if settings.last("robin_otlp").is_some() && settings.last("robin_trace").is_none() {
                let (name, args) = (frame.word("robin_trace"), vec![frame.word("ignore")]);
                frame.settings.statements.push(Statement { name, args, block: None });
            }
        }
        let grpc = frame.to.as_ref().is_some_and(|to| to.value.starts_with("grpc"));
        if grpc {
            frame.pass_grpc();
        }
        if frame.context == Context::Http || grpc || !frame.headers.is_empty() {
            self.finish_headers(frame);
        }
    }

    /// A level that sets a header sets all of them: what an outer one said is gone, and nginx's own
    /// is back, which is `Host`. `Upgrade` and `Connection` say whether the request may upgrade.
    pub(super) fn finish_headers(&mut self, frame: &mut Frame) {
        let typed = std::mem::take(&mut frame.headers);
        let mut headers = vec![(frame.word(ALL), frame.word("off"))];
        if !typed.iter().any(|(name, _)| name.value.eq_ignore_ascii_case("host")) {
            headers.push((frame.word("Host"), frame.word("$proxy_host")));
        }
        headers.extend(typed);
        frame.settings.headers = headers;
    }
}
