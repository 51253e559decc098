//! `listen` and `server_name`.

use crate::config::address::{self, BadAddress, HTTP_PORT};
use crate::config::model::Host;
use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{List, Listen, Word};

/// Parameters of a socket that the system or robin chooses well.
const NO_EFFECT: [&str; 11] = [
    "backlog=",
    "rcvbuf=",
    "sndbuf=",
    "setfib=",
    "fastopen=",
    "accept_filter=",
    "so_keepalive=",
    "ipv6only=on",
    "reuseport",
    "deferred",
    "bind",
];
/// What asks for more than TLS and HTTP/2.
const LATER: [&str; 3] = ["quic", "spdy", "ipv6only=off"];

pub(in crate::config::nginx) fn listen(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let typed = &directive.args[0];
    let mut error = None;
    for value in ports(&typed.value) {
        let value = match (value.as_str(), address::host(&value)) {
            // An address without a port has nginx's.
            (text @ "*", _) | (text, Ok(Host::Address(_))) => format!("{text}:{HTTP_PORT}"),
            (text, _) => text.to_owned(),
        };
        let mut listen = Listen::at(Word { value, place: typed.place.clone() });
        if !parameters(reader, directive, &mut listen) {
            frame.broken = true;
            return;
        }
        match address::listen(&listen.address.value) {
            Ok(_) => frame.listen.push(listen),
            Err(bad) => error = Some(bad),
        }
    }
    let Some(error) = error else { return };
    frame.broken = true;
    let text = &typed.value;
    let is_range = typed.value.rsplit(':').next().is_some_and(|ports| ports.contains('-'));
    let message = match &error {
        BadAddress::Port(_) if is_range => {
            format!("invalid port range in \"{text}\" of the \"listen\" directive")
        }
        BadAddress::Port(_) => format!("invalid port in \"{text}\" of the \"listen\" directive"),
        BadAddress::Unix => format!("invalid path in \"{text}\" of the \"listen\" directive"),
        _ => format!("host not found in \"{text}\" of the \"listen\" directive"),
    };
    reader
        .diags
        .error(&typed.place, message)
        .expected("expected a port, `address:port` or `[address]:port`");
}

/// Each address of a range of ports, as in `127.0.0.1:8000-8003`; the address itself if it is none.
fn ports(text: &str) -> Vec<String> {
    let (host, ports) = match text.rsplit_once(':') {
        Some((host, ports)) => (format!("{host}:"), ports),
        None => (String::new(), text),
    };
    let range = ports
        .split_once('-')
        .and_then(|(first, last)| Some((address::port(first).ok()?, address::port(last).ok()?)));
    match range {
        Some((first, last)) if first <= last && !text.starts_with("unix:") => {
            (first..=last).map(|port| format!("{host}{port}")).collect()
        }
        _ => vec![text.to_owned()],
    }
}

/// Takes the parameters of `listen`; false when one is refused.
fn parameters(reader: &mut Reader<'_>, directive: &Directive, listen: &mut Listen) -> bool {
    let mut refused = false;
    for word in &directive.args[1..] {
        let text = word.value.as_str();
        let has_no_effect =
            |known: &&str| *known == text || (known.ends_with('=') && text.starts_with(*known));
        let on = || Some(Word { value: "on".to_owned(), place: word.place.clone() });
        if matches!(text, "default_server" | "default") {
            listen.default = Some(listen.address.clone());
        } else if text == "ssl" {
            listen.tls = on();
        } else if text == "http2" {
            listen.http2 = on();
        } else if text == "proxy_protocol" {
            listen.proxy_protocol = on();
        } else if let Some(value) = text.strip_prefix("proxy_protocol=") {
            let value = value.to_owned();
            listen.proxy_protocol = Some(Word { value, place: word.place.clone() });
        } else if let Some(value) = text.strip_prefix("max_connections=") {
            let value = value.to_owned();
            listen.max_connections = Some(Word { value, place: word.place.clone() });
        } else if LATER.contains(&text) {
            reader
                .diags
                .error(&word.place, format!("\"{text}\" of \"listen\" is not supported yet"))
                .expected("robin listens for HTTP/1.1 and HTTP/2, plain or in TLS");
            refused = true;
        } else if !NO_EFFECT.iter().any(has_no_effect) {
            // Behind a missing `;` each word would be another mistake: one tells enough.
            reader.invalid_parameter(directive, word, "expected `default_server` or `;`");
            return false;
        }
    }
    !refused
}

pub(in crate::config::nginx) fn server_name(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let place = directive.name.place.clone();
    let mut list = frame.names.take().unwrap_or(List { items: Vec::new(), broken: false, place });
    for word in &directive.args {
        let named = |value: &str| Word { value: value.to_owned(), place: word.place.clone() };
        match word.value.as_str() {
            // `.name` is the name with and without something before it.
            text if text.starts_with('.') => {
                list.items.push(named(&text[1..]));
                list.items.push(named(&format!("*{text}")));
            }
            "$hostname" => list.items.push(named(&hostname())),
            text => list.items.push(named(text)),
        }
    }
    frame.names = Some(list);
}

/// The name of this machine, as `gethostname` says it.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}
