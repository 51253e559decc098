//! What stands in `upstream`.

use crate::config::address::{self, BadAddress};
use crate::config::model::Host;
use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{UpstreamServer, Word};
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
        ("down", None) => (&mut server.down, None),
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
        ("service", Some(service)) => return service_name(reader, word, service, server),
        ("slow_start" | "route", Some(_)) | ("drain", None) => {
            reader
                .diags
                .error(&word.place, format!("\"{name}\" of \"server\" is not supported yet"))
                .expected("nginx has it, robin does not")
                .help("leave it out");
            return false;
        }
        _ => {
            reader.invalid_parameter(
                directive,
                word,
                "expected one of weight=, max_fails=, fail_timeout=, max_conns=, backup, down",
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

/// `least_conn`, `ip_hash`, `hash` and `random`: the directive's name is the method's.
pub(in crate::config::nginx) fn method(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let name = &directive.name;
    if let Some(first) = &frame.method {
        let message = "load balancing method redefined";
        reader.diags.error(&name.place, message).also(&first.place, "first here");
        return;
    }
    let mut method = name.clone();
    let args: Vec<&str> = directive.args.iter().map(|word| word.value.as_str()).collect();
    let unknown = match (name.value.as_str(), args.as_slice()) {
        ("hash", [_]) | ("least_conn" | "ip_hash" | "random", []) => None,
        ("hash", [_, "consistent"]) => {
            frame.hash_consistent = Some(frame.word("on"));
            None
        }
        ("random", ["two"] | ["two", "least_conn"]) => {
            method.value = "random two".into();
            None
        }
        ("random", ["two", ..]) | ("hash", _) => directive.args.get(1),
        _ => directive.args.first(),
    };
    if let Some(word) = unknown {
        let message = format!("invalid parameter \"{}\"", word.value);
        let expected = match name.value.as_str() {
            "hash" => "expected `consistent` or nothing",
            _ => "expected `two`, `two least_conn` or nothing",
        };
        reader.diags.error(&word.place, message).expected(expected);
    }
    if name.value == "hash" {
        frame.hash_key = directive.args.first().cloned();
    }
    frame.method = Some(method);
}
