//! What stands in `upstream`.

use crate::config::address::{self, BadAddress};
use crate::config::model::Host;
use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Method, Queue, UpstreamServer, Word};
use crate::config::words;

/// nginx's words for what is wrong with the address of an upstream.
pub(super) fn bad_address(text: &str, error: &BadAddress) -> String {
    match error {
        BadAddress::Port(_) => format!("invalid port in upstream \"{text}\""),
        BadAddress::NoHost => format!("no host in upstream \"{text}\""),
        BadAddress::Unix => "invalid path in upstream".to_owned(),
        BadAddress::Uri(_) => error.to_string(),
        _ => format!("invalid host in upstream \"{text}\""),
    }
}

pub(in crate::config::nginx) fn upstream_server(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let typed = &directive.args[0];
    let mut server = UpstreamServer::at(typed.clone());
    if let Err(error) = address::server(&typed.value) {
        reader
            .diags
            .error(&typed.place, bad_address(&typed.value, &error))
            .expected(error.expected());
        frame.broken = true;
    }
    let parameters = &directive.args[1..];
    frame.broken |= !parameters.iter().all(|word| parameter(reader, directive, word, &mut server));
    if !frame.broken {
        frame.servers.push(server);
    }
}

/// Turns the address into the name whose SRV records give hosts and ports: `service=http` of
/// `example.org` is `_http._tcp.example.org`. False when it cannot be one.
fn service_name(
    reader: &mut Reader<'_>,
    word: &Word,
    service: &str,
    server: &mut UpstreamServer,
) -> bool {
    let prefix = match service {
        name if !name.contains('.') => format!("_{}._tcp", name.trim_start_matches('_')),
        labels => labels.to_owned(),
    };
    let name = format!("{prefix}.{}", server.address.value);
    let host = match address::server(&name) {
        Ok((Host::Service(_), None)) => true,
        Ok((_, Some(_))) => {
            reader
                .diags
                .error(&word.place, "service upstream may not have port")
                .expected("expected a name without a port: SRV records have the ports");
            false
        }
        _ => {
            reader
                .diags
                .error(&word.place, format!("\"{}\" is no service", word.value))
                .expected("expected `service=http` or `service=_http._tcp`");
            false
        }
    };
    if host {
        server.address.value = name;
    }
    host
}

/// Takes one parameter of a server line in; false when it is refused.
fn parameter(
    reader: &mut Reader<'_>,
    directive: &Directive,
    word: &Word,
    server: &mut UpstreamServer,
) -> bool {
    let (name, value) = match word.value.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word.value.as_str(), None),
    };
    let most = |most: u64| value.and_then(words::number).is_some_and(|n| n <= most);
    let (slot, expected) = match (name, value) {
        // Names are looked up all the time, asked for or not.
        ("resolve", None) => return true,
        ("backup", None) => (&mut server.backup, None),
        // As in nginx, the last of the two holds.
        ("down", None) => {
            server.drain = None;
            (&mut server.down, None)
        }
        ("drain", None) => {
            server.down = None;
            (&mut server.drain, None)
        }
        ("weight", Some(v)) => {
            let fits = most(16_384) && words::number(v) != Some(0);
            (&mut server.weight, (!fits).then_some("expected a weight from 1 to 16384"))
        }
        ("max_fails", Some(_)) => {
            let fits = most(u64::from(u16::MAX));
            (&mut server.max_fails, (!fits).then_some("expected a number from 0 to 65535"))
        }
        ("max_conns", Some(_)) => {
            let fits = most(u64::from(u32::MAX));
            (&mut server.max_conns, (!fits).then_some("expected a whole number"))
        }
        ("fail_timeout", Some(v)) => {
            (&mut server.fail_timeout, words::duration(v).is_err().then_some(super::TIME))
        }
        ("slow_start", Some(v)) => {
            (&mut server.slow_start, words::duration(v).is_err().then_some(super::TIME))
        }
        ("route", Some(_)) => (&mut server.route, None),
        ("service", Some(service)) => return service_name(reader, word, service, server),
        _ => {
            reader.invalid_parameter(
                directive,
                word,
                "expected one of weight=, max_fails=, fail_timeout=, max_conns=, slow_start=, route=, \
                 backup, down, drain",
            );
            return false;
        }
    };
    if let Some(expected) = expected {
        reader.invalid_parameter(directive, word, expected);
        return false;
    }
    let value = value.unwrap_or("on").to_owned();
    *slot = Some(Word { value, place: word.place.clone() });
    true
}

pub(in crate::config::nginx) fn keepalive(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let word = &directive.args[0];
    if words::number(&word.value).is_none_or(|n| n == 0 || n > u64::from(u16::MAX)) {
        reader
            .diags
            .error(
                &word.place,
                format!("invalid value \"{}\" in \"keepalive\" directive", word.value),
            )
            .expected("expected a number from 1 to 65535");
        return;
    }
    frame.keepalive = Some(word.clone());
}

/// `least_conn`, `ip_hash`, `hash`, `random`, `least_time` and `ewma`: the directive's name is the
/// method's.
pub(in crate::config::nginx) fn method(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let name = &directive.name;
    if let Some(first) = &frame.method {
        let message = "load balancing method redefined";
        reader.diags.error(&name.place, message).also(&first.name.place, "first here");
        return;
    }
    let mut method = Method::named(name.clone());
    let args: Vec<&str> = directive.args.iter().map(|word| word.value.as_str()).collect();
    let typed = |n: usize| directive.args.get(n).cloned();
    let on = |n: usize| typed(n).map(|word| Word { value: "on".to_owned(), ..word });
    match (name.value.as_str(), args.as_slice()) {
        ("least_conn" | "ip_hash" | "random" | "ewma", []) => {}
        ("hash", [_]) => method.value = typed(0),
        ("hash", [_, "consistent"]) => (method.value, method.consistent) = (typed(0), on(1)),
        ("least_time", ["header" | "last_byte"]) => method.value = typed(0),
        ("least_time", ["header" | "last_byte", "inflight"]) => {
            (method.value, method.inflight) = (typed(0), on(1));
        }
        ("random", ["two"] | ["two", "least_conn"]) => method.name.value = "random two".into(),
        ("random", ["two", by @ ("least_time=header" | "least_time=last_byte")]) => {
            method.name.value = format!("random two {by}");
        }
        (name, args) => {
            frame.broken = true;
            unknown_argument(reader, directive, name, args);
            return;
        }
    }
    frame.method = Some(method);
}

/// Says what is wrong with the arguments of a method.
fn unknown_argument(reader: &mut Reader<'_>, directive: &Directive, name: &str, args: &[&str]) {
    let (at, what, expected) = match (name, args) {
        ("hash", _) => (1, "parameter", "expected `consistent` or nothing"),
        ("least_time", ["header" | "last_byte", ..]) => {
            (1, "parameter", "expected `inflight` or nothing")
        }
        ("least_time", _) => (0, "value", "expected `header` or `last_byte`"),
        ("random", ["two", ..]) => (
            1,
            "parameter",
            "expected `least_conn`, `least_time=header`, `least_time=last_byte` or nothing",
        ),
        _ => (0, "parameter", "expected `two`, `two` with a method, or nothing"),
    };
    if let Some(word) = directive.args.get(at) {
        let message = format!("invalid {what} \"{}\"", word.value);
        reader.diags.error(&word.place, message).expected(expected);
    }
}

/// `send_proxy v1`, `v2` or `off`.
pub(in crate::config::nginx) fn send_proxy(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    frame.send_proxy = directive.args.first().cloned();
}

/// `queue NUMBER [timeout=TIME]`.
pub(in crate::config::nginx) fn queue(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let max = directive.args[0].clone();
    if words::number(&max.value).is_none_or(|n| n == 0 || n > u64::from(u32::MAX)) {
        reader
            .diags
            .error(&max.place, format!("invalid value \"{}\" in \"queue\" directive", max.value))
            .expected("expected how many requests may wait");
        frame.broken = true;
        return;
    }
    let mut timeout = None;
    if let Some(word) = directive.args.get(1) {
        let value = word.value.strip_prefix("timeout=");
        let Some(value) = value.filter(|v| words::duration(v).is_ok_and(|time| !time.is_zero()))
        else {
            let expected = "expected `timeout=` with a time above 0";
            reader.invalid_parameter(directive, word, expected);
            frame.broken = true;
            return;
        };
        timeout = Some(Word { value: value.to_owned(), place: word.place.clone() });
    }
    let place = directive.name.place.clone();
    frame.queue = Some(Queue { max: Some(max), timeout, place, broken: false });
}
