//! `limit_req`, `limit_conn`, `limit_rate` and their zones.
//!
//! nginx names zones apart from limits. In YAML's `limits` a limit brings its own, which is called as it
//! counts: two that count the same are one only if they are given one name.

use log::Level;

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::limits::{
    Beyond, ConnectionLimit, ConnectionZone, Limits, RequestLimit, RequestZone, Zones,
};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::template::Template;
use crate::config::words;

/// nginx's least: eight pages of memory.
const LEAST_BYTES: u64 = 8 * 4096;
/// What a zone has room for unless something else is written: some 80,000 clients.
const USUAL_BYTES: u64 = 10 << 20;
/// As nginx's largest number, in thousandths.
const AT_ONCE: u64 = u64::MAX / 1000;

const PARAMETERS: &str =
    "expected `key=`, `rate=`, `burst=`, `delay=`, `nodelay`, `size=` or `zone=`";

/// Reads the zones of a configuration, before any limit is.
pub(super) fn zones(settings: &Settings, diags: &mut Diagnostics) {
    for statement in settings.all("limit_req_zone") {
        let Some(zone) = Zone::read(statement, diags) else { continue };
        let Zone { name, key, bytes, rate } = zone;
        if diags.scope.zones.requests.iter().any(|known| known.name == name.value) {
            bound_already(&name, diags);
            continue;
        }
        let name = name.value;
        diags.scope.zones.requests.push(RequestZone { name, key, rate, bytes });
    }
    for statement in settings.all("limit_conn_zone") {
        let Some(zone) = Zone::read(statement, diags) else { continue };
        let Zone { name, key, bytes, .. } = zone;
        if diags.scope.zones.connections.iter().any(|known| known.name == name.value) {
            bound_already(&name, diags);
            continue;
        }
        let name = name.value;
        diags.scope.zones.connections.push(ConnectionZone { name, key, bytes });
    }
}

fn bound_already(name: &Word, diags: &mut Diagnostics) {
    diags
        .error(&name.place, format!("zone {} is there already", quote(&name.value)))
        .in_nginx(format!("zone \"{}\" is already bound to another key", name.value))
        .expected("expected another name");
}

/// What `KEY zone=NAME:SIZE [rate=RATE]` says.
struct Zone {
    name: Word,
    key: Template,
    bytes: u64,
    rate: u64,
}

impl Zone {
    fn read(statement: &Statement, diags: &mut Diagnostics) -> Option<Self> {
        let (key, parameters) = statement.args.split_first()?;
        let key = diags.template(key);
        let counts = statement.name.value == "limit_req_zone";
        let (mut zone, mut rate) = (None, Some(1000));
        for word in parameters {
            if let Some(text) = word.value.strip_prefix("zone=") {
                zone = Some(name_and_size(word, text, diags)?);
            } else if let Some(text) = word.value.strip_prefix("rate=").filter(|_| counts) {
                rate = self::rate(word, text, diags);
            } else {
                let expected =
                    if counts { "`zone=NAME:SIZE` or `rate=`" } else { "`zone=NAME:SIZE`" };
                invalid_parameter(word, format!("expected {expected}"), diags);
                return None;
            }
        }
        let Some((name, bytes)) = zone else {
            without_zone(&statement.name, "zone=NAME:SIZE", diags);
            return None;
        };
        Some(Self { name, key: key?, bytes, rate: rate? })
    }
}

fn name_and_size(word: &Word, text: &str, diags: &mut Diagnostics) -> Option<(Word, u64)> {
    let (name, size) = text.split_once(':').unwrap_or((text, ""));
    let bytes = size_of_zone(word, size, diags)?;
    let name = Word { value: name.to_owned(), place: word.place.clone() };
    if name.value.is_empty() {
        invalid_parameter(word, "expected `zone=NAME:SIZE`", diags);
        return None;
    }
    Some((name, bytes))
}

fn size_of_zone(word: &Word, size: &str, diags: &mut Diagnostics) -> Option<u64> {
    match words::size(size) {
        Ok(bytes) if bytes >= LEAST_BYTES => return Some(bytes),
        Ok(_) => diags
            .error(&word.place, format!("a zone of {} is too small", quote(size)))
            .in_nginx("zone is too small")
            .expected("expected at least `32k`"),
        Err(_) => diags
            .error(&word.place, format!("invalid zone size {}", quote(&word.value)))
            .in_nginx(format!("invalid zone size \"{}\"", word.value))
            .expected("expected a size behind the name, as in `zone=one:10m`"),
    };
    None
}

/// Thousandths of a request a second.
fn rate(word: &Word, text: &str, diags: &mut Diagnostics) -> Option<u64> {
    let (number, scale) = match (text.strip_suffix("r/s"), text.strip_suffix("r/m")) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        _ => (text, 1),
    };
    let rate = words::number(number).filter(|rate| *rate > 0);
    let rate = rate.and_then(|rate| rate.checked_mul(1000)).map(|rate| rate / scale);
    if rate.is_none() {
        diags
            .error(&word.place, format!("invalid rate {}", quote(text)))
            .in_nginx(format!("invalid rate \"{}\"", word.value))
            .expected("expected requests a second or a minute, as in `10r/s` or `30r/m`");
    }
    rate
}

fn invalid_parameter(word: &Word, expected: impl Into<String>, diags: &mut Diagnostics) {
    diags
        .error(&word.place, format!("unknown parameter {}", quote(&word.value)))
        .in_nginx(format!("invalid parameter \"{}\"", word.value))
        .expected(expected);
}

fn without_zone(name: &Word, expected: &str, diags: &mut Diagnostics) {
    diags
        .error(&name.place, format!("`{}` without a zone", name.value))
        .in_nginx(format!("\"{}\" must have \"zone\" parameter", name.value))
        .expected(format!("expected `{expected}`"));
}

impl Limits {
    /// What holds inside of `outer` once these are said. Limits of requests replace all of those
    /// outside, and so do limits of connections.
    pub(super) fn resolve(settings: &Settings, outer: &Self, diags: &mut Diagnostics) -> Self {
        let said = |names: [&str; 2]| names.iter().any(|name| settings.last(name).is_some());
        let requests = match said(["limit_req", "robin_limit_requests"]) {
            true => request_limits(settings, diags),
            false => outer.requests.clone(),
        };
        let connections = match said(["limit_conn", "robin_limit_connections"]) {
            true => connection_limits(settings, diags),
            false => outer.connections.clone(),
        };
        let min_rate = settings.word("robin_send_min_rate");
        let send_min_rate = min_rate.filter(|word| words::switch(&word.value) != Some(false));
        let send_min_rate = match (min_rate, send_min_rate) {
            (Some(_), None) => 0,
            (_, word) => diags.size("send_min_rate", word).unwrap_or(outer.send_min_rate),
        };
        let mut template = |name: &str, outer: &Option<Template>| {
            let word = settings.word(name);
            word.map_or_else(|| outer.clone(), |word| size_template(name, word, diags))
        };
        Self {
            requests,
            send_min_rate,
            rate: template("limit_rate", &outer.rate),
            rate_after: template("limit_rate_after", &outer.rate_after),
            upstream_rate: template("proxy_limit_rate", &outer.upstream_rate),
            connections,
            beyond_requests: beyond("limit_req", settings, outer.beyond_requests, diags),
            beyond_connections: beyond("limit_conn", settings, outer.beyond_connections, diags),
        }
    }
}

/// A size, or a text that makes one.
fn size_template(name: &str, word: &Word, diags: &mut Diagnostics) -> Option<Template> {
    let template = diags.template(word)?;
    if !template.has_variables() {
        diags.size(name, Some(word))?;
    }
    Some(template)
}

fn beyond(of: &str, settings: &Settings, outer: Beyond, diags: &mut Diagnostics) -> Beyond {
    const LEVELS: [(&str, Level); 4] = [
        ("info", Level::Info),
        ("notice", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    let name = |what: &str| format!("{of}_{what}");
    let status = name("status");
    let status = diags.number(&status, settings.word(&status), 400..=599);
    let dry_run = name("dry_run");
    let dry_run = diags.switch(&dry_run, settings.word(&dry_run));
    let level = settings.word(&name("log_level")).and_then(|word| {
        let known = LEVELS.iter().find(|(known, _)| *known == word.value);
        if known.is_none() {
            diags
                .error(&word.place, format!("unknown level {}", quote(&word.value)))
                .in_nginx(format!("invalid value \"{}\"", word.value))
                .expected("expected one of info, notice, warn, error");
        }
        known.map(|(_, level)| *level)
    });
    Beyond {
        status: status.unwrap_or(outer.status),
        level: level.unwrap_or(outer.level),
        dry_run: dry_run.unwrap_or(outer.dry_run),
    }
}

fn request_limits(settings: &Settings, diags: &mut Diagnostics) -> Vec<RequestLimit> {
    let mut limits: Vec<RequestLimit> = Vec::new();
    for statement in settings.all("limit_req") {
        let Some(limit) = request_limit(statement, diags) else { continue };
        if limits.iter().any(|known| known.zone == limit.zone) {
            duplicate(statement, diags);
            continue;
        }
        limits.push(limit);
    }
    for statement in settings.all("robin_limit_requests") {
        limits.extend(own_request_limit(statement, diags));
    }
    limits
}

fn duplicate(statement: &Statement, diags: &mut Diagnostics) {
    let name = &statement.name;
    diags
        .error(&name.place, "the zone has a limit here already")
        .in_nginx(format!("\"{}\" directive is duplicate", name.value))
        .expected("expected one limit a zone");
}

fn request_limit(statement: &Statement, diags: &mut Diagnostics) -> Option<RequestLimit> {
    let mut zone = None;
    let mut limit = RequestLimit { zone: 0, burst: 0, delay: 0, retry_after: false };
    for word in &statement.args {
        if let Some(name) = word.value.strip_prefix("zone=") {
            zone = Some((word, name));
        } else if !limit.says(word, diags)? {
            invalid_parameter(word, "expected `zone=`, `burst=`, `delay=` or `nodelay`", diags);
            return None;
        }
    }
    let Some((word, name)) = zone else {
        without_zone(&statement.name, "zone=NAME", diags);
        return None;
    };
    let zones = &diags.scope.zones.requests;
    let index = zones.iter().position(|zone| zone.name == name);
    limit.zone = known_zone(index, word, name, "limit_req_zone", diags)?;
    Some(limit)
}

fn known_zone(
    index: Option<usize>,
    word: &Word,
    name: &str,
    made_by: &str,
    diags: &mut Diagnostics,
) -> Option<usize> {
    if index.is_none() {
        diags
            .error(&word.place, format!("there is no zone {}", quote(name)))
            .in_nginx(format!("zero size shared memory zone \"{name}\""))
            .expected(format!("expected the name of a zone that `{made_by}` makes"));
    }
    index
}

impl RequestLimit {
    /// Takes a parameter; false where it is another one, none where it was reported.
    fn says(&mut self, word: &Word, diags: &mut Diagnostics) -> Option<bool> {
        if word.value == "nodelay" {
            self.delay = AT_ONCE;
            return Some(true);
        }
        let value = |name: &str| word.value.strip_prefix(name);
        let (name, text, slot) = match (value("burst="), value("delay=")) {
            (Some(text), _) => ("burst", text, &mut self.burst),
            (_, Some(text)) => ("delay", text, &mut self.delay),
            _ => return Some(false),
        };
        match words::number(text).filter(|n| *n > 0).and_then(|n| n.checked_mul(1000)) {
            Some(number) => *slot = number,
            None => {
                diags
                    .error(&word.place, format!("invalid {name} value {}", quote(text)))
                    .in_nginx(format!("invalid {name} value \"{}\"", word.value))
                    .expected("expected a number of requests, 1 or more");
                return None;
            }
        }
        Some(true)
    }
}

/// `key=… rate=… …`: a limit with a zone of its own.
fn own_request_limit(statement: &Statement, diags: &mut Diagnostics) -> Option<RequestLimit> {
    let mut limit = RequestLimit { zone: 0, burst: 0, delay: 0, retry_after: true };
    let mut own = OwnZone::default();
    let mut rate = None;
    for word in &statement.args {
        if let Some(text) = word.value.strip_prefix("rate=") {
            rate = Some(self::rate(word, text, diags)?);
        } else if !own.says(word, diags)? && !limit.says(word, diags)? {
            invalid_parameter(word, PARAMETERS, diags);
            return None;
        }
    }
    let Some(rate) = rate else {
        diags
            .error(&statement.name.place, "a limit of requests without a rate")
            .expected("expected `rate`, as in `10r/s`");
        return None;
    };
    let Zones { requests, .. } = &diags.scope.zones;
    let (key, bytes, name) = own.settle(requests.len(), diags)?;
    let zone = RequestZone { name, key, rate, bytes };
    let zones = &mut diags.scope.zones.requests;
    let known = zones.iter().position(|known| *known == zone);
    limit.zone = known.unwrap_or_else(|| {
        zones.push(zone);
        zones.len() - 1
    });
    Some(limit)
}

/// A zone that a limit brings.
#[derive(Default)]
struct OwnZone {
    key: Option<Template>,
    bytes: Option<u64>,
    name: Option<String>,
}

impl OwnZone {
    fn says(&mut self, word: &Word, diags: &mut Diagnostics) -> Option<bool> {
        let value = |name: &str| {
            let value = word.value.strip_prefix(name)?.to_owned();
            Some(Word { value, place: word.place.clone() })
        };
        if let Some(key) = value("key=") {
            self.key = Some(diags.template(&key)?);
        } else if let Some(size) = value("size=") {
            self.bytes = Some(size_of_zone(word, &size.value, diags)?);
        } else if let Some(name) = value("zone=") {
            self.name = Some(name.value);
        } else {
            return Some(false);
        }
        Some(true)
    }

    /// Key, bytes and name; without a name that of its place among all, without a key the client's
    /// address.
    fn settle(self, known: usize, diags: &mut Diagnostics) -> Option<(Template, u64, String)> {
        let key = match self.key {
            Some(key) => key,
            None => {
                let key = Template::parse("$binary_remote_addr");
                key.expect("its variable is in the list of variables")
            }
        };
        diags.scope.asks.note(&key);
        let name = self.name.unwrap_or_else(|| format!("{}#{}", plain(&key), known + 1));
        Some((key, self.bytes.unwrap_or(USUAL_BYTES), name))
    }
}

/// A key as people write it.
fn plain(key: &Template) -> String {
    key.to_string().replace(['{', '}'], "")
}

fn connection_limits(settings: &Settings, diags: &mut Diagnostics) -> Vec<ConnectionLimit> {
    let mut limits: Vec<ConnectionLimit> = Vec::new();
    for statement in settings.all("limit_conn") {
        let [name, most] = &statement.args[..] else { continue };
        let zones = &diags.scope.zones.connections;
        let index = zones.iter().position(|zone| zone.name == name.value);
        let zone = known_zone(index, name, &name.value, "limit_conn_zone", diags);
        let Some((zone, most)) = zone.zip(self::most(most, &most.value, diags)) else { continue };
        if limits.iter().any(|known| known.zone == zone) {
            duplicate(statement, diags);
            continue;
        }
        limits.push(ConnectionLimit { zone, most, retry_after: false });
    }
    for statement in settings.all("robin_limit_connections") {
        limits.extend(own_connection_limit(statement, diags));
    }
    limits
}

fn most(word: &Word, text: &str, diags: &mut Diagnostics) -> Option<u32> {
    let most = words::number(text).filter(|most| (1..=65_535).contains(most));
    if most.is_none() {
        diags
            .error(&word.place, format!("invalid number of connections {}", quote(text)))
            .in_nginx(format!("invalid number of connections \"{text}\""))
            .expected("expected 1 to 65535");
    }
    most.and_then(|most| u32::try_from(most).ok())
}

/// `key=… max=… …`: a limit with a zone of its own.
fn own_connection_limit(statement: &Statement, diags: &mut Diagnostics) -> Option<ConnectionLimit> {
    let mut own = OwnZone::default();
    let mut most = None;
    for word in &statement.args {
        if let Some(text) = word.value.strip_prefix("max=") {
            most = Some(self::most(word, text, diags)?);
        } else if !own.says(word, diags)? {
            invalid_parameter(word, "expected `key=`, `max=`, `size=` or `zone=`", diags);
            return None;
        }
    }
    let Some(most) = most else {
        diags
            .error(&statement.name.place, "a limit of connections without a number")
            .expected("expected `max`, as in `max: 20`");
        return None;
    };
    let (key, bytes, name) = own.settle(diags.scope.zones.connections.len(), diags)?;
    let zone = ConnectionZone { name, key, bytes };
    let zones = &mut diags.scope.zones.connections;
    let known = zones.iter().position(|known| *known == zone);
    let zone = known.unwrap_or_else(|| {
        zones.push(zone);
        zones.len() - 1
    });
    Some(ConnectionLimit { zone, most, retry_after: true })
}
