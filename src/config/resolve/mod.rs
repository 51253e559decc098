//! From what was typed to what it means: the only place that knows defaults and compares fields.
//!
//! Every problem is reported, not the first: where a value is wrong a stand-in takes its place, so
//! that the rest can still be checked. The model that comes out beside diagnostics must not be
//! used.

mod ids;
pub(super) mod leaf;
mod limits;
mod logs;
mod otlp;
mod passing;
mod program;
mod requests;
mod routes;
pub(super) mod settings;
mod site;
mod status;
mod tls;
mod upstreams;
mod variables;

pub(super) use status::written;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use self::leaf::Zero;
use self::upstreams::Upstreams;
use super::address;
use super::diagnostics::{Diagnostics, quote};
use super::model::{Config, Control, Dashboard, ErrorLog, EventFormat, Express, Prefix, Resolver};
use super::raw::{self, List, Word};
use super::words;

/// The share of peers, in percent, that may be out at once: beyond it, the fault is hardly theirs. Of three or four
/// replicas the last one that works serves alone: the others would only cost retries.
const PANIC: u8 = 75;

/// Checks what was written and fills in what was not.
pub(super) fn resolve(raw: &raw::Config, diags: &mut Diagnostics) -> Config {
    variables::declare(raw, diags);
    logs::formats(&raw.declarations, diags);
    let panic = diags.share("panic", raw.panic.as_ref()).unwrap_or(Some(PANIC));
    limits::zones(&raw.settings, diags);
    let mut upstreams = Upstreams::resolve(raw, panic, diags);
    let mut virtual_servers = routes::virtual_servers(raw, &mut upstreams, diags);
    let status = status::status(raw, &mut virtual_servers, diags);
    let variables = variables::variables(raw, diags);
    let mut time = |key, word: &Option<Word>, zero, default| {
        diags.time(key, word.as_ref(), zero).unwrap_or(Duration::from_secs(default))
    };
    Config {
        prefix: Prefix::default(),
        // Below Docker's 10 s, after which it kills.
        shutdown_timeout: time("shutdown_timeout", &raw.shutdown_timeout, Zero::Allowed, 8),
        keepalive_timeout: time("keepalive_timeout", &raw.keepalive_timeout, Zero::Allowed, 75),
        client_header_timeout: time(
            "client_header_timeout",
            &raw.client_header_timeout,
            Zero::Refused,
            60,
        ),
        threads: threads(raw.threads.as_ref(), diags),
        user: user(raw.user.as_ref(), diags),
        control: control(raw.control.as_ref(), diags),
        resolver: resolver(raw.resolver.as_ref(), diags).unwrap_or_default(),
        trust: trust(raw.trust.as_ref(), diags),
        access_log: logs::process(&raw.settings, diags),
        logs: std::mem::take(&mut diags.scope.logs),
        pid: raw.pid.as_ref().map(|word| PathBuf::from(&word.value)),
        error_log: raw.error_log.as_ref().map(error_log),
        variables,
        zones: std::mem::take(&mut diags.scope.zones),
        asks: diags.scope.asks,
        express: express(raw.express.as_ref(), diags),
        event_format: event_format(raw.event_format.as_ref(), diags),
        otlp: otlp::otlp(&raw.settings, diags),
        dashboard: dashboard(&raw.dashboard, diags),
        status,
        upstreams: upstreams.into_list(),
        virtual_servers,
    }
}

fn threads(word: Option<&Word>, diags: &mut Diagnostics) -> Option<NonZeroUsize> {
    /// More than any machine has cores.
    const MOST: u64 = 1024;
    let word = word.filter(|word| word.value != "auto");
    let threads: usize = diags.number("threads", word, 1..=MOST)?;
    NonZeroUsize::new(threads)
}

fn user(word: Option<&Word>, diags: &mut Diagnostics) -> Option<String> {
    let word = word?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == ':';
    if word.value.is_empty() || word.value.contains(bad) {
        let message = format!("`user` takes a user's name, found {}", quote(&word.value));
        diags.error(&word.place, message).expected("expected one name");
        return None;
    }
    Some(word.value.clone())
}

fn control(word: Option<&Word>, diags: &mut Diagnostics) -> Control {
    /// What Linux has room for in the address of a socket.
    const LONGEST: usize = 107;
    let Some(word) = word else { return Control::default() };
    let path = word.value.as_str();
    if path == "off" {
        return Control::Off;
    }
    if !path.contains('/') || path.ends_with('/') || path.contains('\0') {
        diags
            .error(&word.place, format!("`control` takes a path, found {}", quote(path)))
            .in_nginx("\"robin_control\" directive invalid value")
            .expected("expected the path of a socket such as `/run/robin/control.sock`, or `off`");
    } else if path.len() > LONGEST {
        diags
            .error(&word.place, "`control` is too long for a socket")
            .in_nginx("\"robin_control\" directive invalid value")
            .expected(format!("expected at most {LONGEST} bytes"));
    }
    Control::At(PathBuf::from(path))
}

/// How names are looked up; none where nothing is said of it.
fn resolver(raw: Option<&raw::Resolver>, diags: &mut Diagnostics) -> Option<Resolver> {
    let raw = raw?;
    let default = Resolver::default();
    let mut servers = Vec::new();
    for word in raw.servers.iter().flat_map(|list| &list.items) {
        match address::resolver(&word.value) {
            Some(server) => servers.push(server),
            None => {
                let message = format!("{} is not the address of a DNS server", quote(&word.value));
                diags
                    .error(&word.place, message)
                    .in_nginx(format!("host not found in resolver \"{}\"", word.value))
                    .expected("expected an address with or without a port, as in `127.0.0.11:53`");
            }
        }
    }
    let timeout = diags.time("timeout", raw.timeout.as_ref(), Zero::Refused);
    let ipv4 = diags.switch("ipv4", raw.ipv4.as_ref()).unwrap_or(default.ipv4);
    let ipv6 = diags.switch("ipv6", raw.ipv6.as_ref());
    if let (false, Some(false), Some(word)) = (ipv4, ipv6, &raw.ipv6) {
        diags
            .error(&word.place, "no addresses are asked for")
            .in_nginx("\"ipv4\" and \"ipv6\" cannot both be \"off\"")
            .expected("expected one of `ipv4` and `ipv6` on");
    }
    Some(Resolver { servers, timeout: timeout.unwrap_or(default.timeout), ipv4, ipv6 })
}

impl Default for Resolver {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(2), ipv4: true, ipv6: None }
    }
}

fn trust(list: Option<&List<Word>>, diags: &mut Diagnostics) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for word in list.iter().flat_map(|list| &list.items) {
        let single = || word.value.parse().map(|address: std::net::IpAddr| IpNet::from(address));
        match word.value.parse::<IpNet>().or_else(|_| single()) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => {
                let message = format!("{} is not a network", quote(&word.value));
                diags
                    .error(&word.place, message)
                    .expected("expected an address or a network such as `10.0.0.0/8`");
            }
        }
    }
    networks
}

fn error_log((path, level): &(Word, Option<Word>)) -> ErrorLog {
    ErrorLog {
        path: (path.value != "stderr").then(|| PathBuf::from(&path.value)),
        level: level.as_ref().map_or("error", |level| &level.value).to_owned(),
    }
}

fn event_format(word: Option<&Word>, diags: &mut Diagnostics) -> EventFormat {
    const FORMATS: [&str; 2] = ["text", "json"];
    match word.map(|word| (word, word.value.as_str())) {
        None | Some((_, "text")) => EventFormat::Text,
        Some((_, "json")) => EventFormat::Json,
        Some((word, other)) => {
            let message = format!("`event_format` is text or json, found {}", quote(other));
            diags
                .error(&word.place, message)
                .in_nginx("\"robin_event_format\" directive invalid value")
                .expected("expected one of text, json")
                .nearest(other, FORMATS);
            EventFormat::Text
        }
    }
}

fn express(word: Option<&Word>, diags: &mut Diagnostics) -> Express {
    const WAYS: [&str; 3] = ["on", "off", "alternate"];
    let Some(word) = word else { return Express::default() };
    match word.value.as_str() {
        "alternate" => Express::Alternate,
        value => match words::switch(value) {
            Some(true) => Express::On,
            Some(false) => Express::Off,
            None => {
                let message = format!("`express` is on, off or alternate, found {}", quote(value));
                diags
                    .error(&word.place, message)
                    .in_nginx("\"robin_express\" directive invalid value")
                    .expected("expected one of on, off, alternate")
                    .nearest(value, WAYS);
                Express::default()
            }
        },
    }
}

fn dashboard(raw: &raw::Dashboard, diags: &mut Diagnostics) -> Dashboard {
    Dashboard {
        enabled: diags.switch("dashboard", raw.enabled.as_ref()).unwrap_or(true),
        summary: diags
            .time("summary", raw.summary.as_ref(), Zero::Allowed)
            .unwrap_or(Duration::from_mins(1)),
    }
}
