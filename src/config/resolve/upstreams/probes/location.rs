//! nginx's `health_check` (`ngx_http_upstream_hc_module`): it stands in a location, checks the upstream of
//! its `proxy_pass`, and asks as the location would: with its `Host`, its constant headers, its TLS and its
//! time limits.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};

use super::{LAST_GRPC_STATUS, MOST_IN_A_ROW, Matches, OWN};
use crate::config::address;
use crate::config::diagnostics::{Diagnostics, nearest, quote};
use crate::config::model::health_check::{Expected, GrpcProbe, HttpProbe, Statuses};
use crate::config::model::passing::UpstreamTls;
use crate::config::model::{Action, HealthCheck, Probe, Proxy, ProxyTarget, RouteSettings};
use crate::config::raw::{Settings, Statement, Word};
use crate::config::resolve::leaf::Zero;
use crate::config::template::Template;

/// The parameters that there are.
const PARAMETERS: [&str; 13] = [
    "interval=",
    "jitter=",
    "fails=",
    "passes=",
    "uri=",
    "mandatory",
    "persistent",
    "match=",
    "port=",
    "type=grpc",
    "grpc_service=",
    "grpc_status=",
    "keepalive_time=",
];

/// The health checks that a location asks for, each with the position of its upstream.
pub(in crate::config::resolve) fn health_checks(
    raw: &Settings,
    settings: &RouteSettings,
    action: &Action,
    matches: &Matches,
    diags: &mut Diagnostics,
) -> Vec<(usize, HealthCheck)> {
    let mut checks = Vec::new();
    for statement in raw.all("health_check") {
        let proxy = match action {
            Action::Proxy(proxy) => proxy,
            _ => {
                diags
                    .error(&statement.name.place, "`health_check` has nothing to check here")
                    .in_nginx("\"health_check\" directive requires \"proxy_pass\"")
                    .expected("expected `proxy_pass` to an upstream beside it");
                continue;
            }
        };
        let ProxyTarget::Upstream(upstream) = proxy.to else {
            diags
                .error(&statement.name.place, "`health_check` needs to know its upstream")
                .in_nginx("\"health_check\" directive does not support variables in \"proxy_pass\"")
                .expected("`proxy_pass` with variables leads to another one with each request");
            continue;
        };
        let location = Location { proxy, settings, matches };
        checks.extend(location.check(statement, diags).map(|check| (upstream, check)));
    }
    checks
}

/// What a check takes from the location that it stands in.
struct Location<'r> {
    proxy: &'r Proxy,
    settings: &'r RouteSettings,
    matches: &'r Matches,
}

/// The parameters of one, as typed: the value with where the parameter stands.
#[derive(Default)]
struct Parameters(Vec<(&'static str, Word)>);

impl Parameters {
    /// Takes them apart; none where one is not known, which is reported.
    fn of(statement: &Statement, diags: &mut Diagnostics) -> Option<Self> {
        let mut parameters = Self::default();
        let mut sound = true;
        for word in &statement.args {
            let fits = |known: &&str| match known.ends_with('=') {
                true => word.value.starts_with(known),
                false => word.value == *known,
            };
            let Some(known) = PARAMETERS.into_iter().find(fits) else {
                sound = false;
                let diagnostic = diags
                    .error(&word.place, format!("unknown parameter {}", quote(&word.value)))
                    .in_nginx(format!("invalid parameter \"{}\"", word.value))
                    .expected(format!("expected one of {}", PARAMETERS.join(", ")));
                let name = word.value.split_inclusive('=').next().unwrap_or_default();
                if let Some(meant) = nearest(name, PARAMETERS) {
                    diagnostic.help(format!("did you mean `{meant}`?"));
                }
                continue;
            };
            if let Some(first) = parameters.get(known) {
                sound = false;
                let first = first.place.clone();
                diags
                    .error(&word.place, format!("duplicate parameter {}", quote(known)))
                    .in_nginx(format!("duplicate parameter \"{known}\""))
                    .expected("written again here")
                    .also(&first, "first written here");
                continue;
            }
            let value = word.value[known.len()..].to_owned();
            parameters.0.push((known, Word { value, place: word.place.clone() }));
        }
        sound.then_some(parameters)
    }

    fn get(&self, name: &str) -> Option<&Word> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, word)| word)
    }
}

impl Location<'_> {
    fn check(&self, statement: &Statement, diags: &mut Diagnostics) -> Option<HealthCheck> {
        let said = Parameters::of(statement, diags)?;
        let in_a_row = |name: &str, diags: &mut Diagnostics| {
            let key = name.trim_end_matches('=');
            let number = diags.number(key, said.get(name), 1..=MOST_IN_A_ROW);
            number.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
        };
        if let (Some(word), None) = (said.get("persistent"), said.get("mandatory")) {
            diags
                .error(&word.place, "`persistent` without `mandatory`")
                .in_nginx("\"persistent\" parameter requires \"mandatory\"")
                .expected("expected `mandatory` before it: other servers have nothing to keep");
        }
        let time = |diags: &mut Diagnostics, name: &str, zero, default: Duration| {
            diags.time(name.trim_end_matches('='), said.get(name), zero).unwrap_or(default)
        };
        let port = said.get("port=");
        let timeouts = self.settings.timeouts;
        Some(HealthCheck {
            probe: self.probe(&said, diags)?,
            every: time(diags, "interval=", Zero::Refused, Duration::from_secs(5)),
            jitter: time(diags, "jitter=", Zero::Allowed, Duration::ZERO),
            timeout: timeouts.read,
            connect_timeout: timeouts.connect.min(timeouts.read),
            rise: in_a_row("passes=", diags),
            fall: in_a_row("fails=", diags),
            port: port.and_then(|word| diags.address(word, address::port(&word.value))),
            tls: self.tls(statement, diags),
            keepalive: time(diags, "keepalive_time=", Zero::Allowed, Duration::ZERO),
            mandatory: said.get("mandatory").is_some(),
            persistent: said.get("persistent").is_some(),
        })
    }

    fn probe(&self, said: &Parameters, diags: &mut Diagnostics) -> Option<Probe> {
        let only = |names: &[&str], why: &str, diags: &mut Diagnostics| {
            for word in names.iter().filter_map(|name| said.get(name)) {
                diags
                    .error(&word.place, "a parameter of another type of health check")
                    .in_nginx("a parameter of another type of health check")
                    .expected(why);
            }
        };
        if said.get("type=grpc").is_some() {
            only(&["uri=", "match="], "`type=grpc` asks a service for its health", diags);
            let service = said.get("grpc_service=");
            if let Some(word) = service {
                super::service(word, &word.value, diags);
            }
            let status = said.get("grpc_status=");
            return Some(Probe::Grpc(GrpcProbe {
                service: service.map(|word| word.value.clone()).unwrap_or_default(),
                host: Some(self.host()),
                status: diags.number("grpc_status", status, 0..=LAST_GRPC_STATUS),
            }));
        }
        only(&["grpc_service=", "grpc_status="], "expected `type=grpc` beside it", diags);
        let path = said.get("uri=");
        if let Some(word) = path {
            super::path("uri", word, &word.value, diags);
        }
        Some(Probe::Http(HttpProbe {
            method: Method::GET,
            path: path.map_or_else(|| "/".to_owned(), |word| word.value.clone()),
            host: Some(self.host()),
            headers: self.headers(),
            expected: self.expected(said.get("match="), diags)?,
        }))
    }

    fn expected(&self, name: Option<&Word>, diags: &mut Diagnostics) -> Option<Expected> {
        let Some(name) = name else {
            let status = Statuses { except: false, ranges: vec![200..=399] };
            return Some(Expected { status, headers: Vec::new(), body: Vec::new() });
        };
        if let Some(known) = self.matches.0.get(&name.value) {
            return known.clone();
        }
        let names: Vec<&str> = self.matches.0.keys().map(String::as_str).collect();
        let meant = nearest(&name.value, names.iter().copied());
        let diagnostic = diags
            .error(&name.place, format!("`match` {} is not defined", quote(&name.value)))
            .in_nginx(format!("match \"{}\" not found", name.value));
        match &names[..] {
            [] => diagnostic.expected("expected `match NAME { … }` in `http`"),
            names => diagnostic.expected(format!("expected one of {}", names.join(", "))),
        };
        if let Some(meant) = meant {
            diagnostic.help(format!("did you mean `{meant}`?"));
        }
        None
    }

    /// What the location says of `Host`. No client has asked, so a variable in it is the upstream's name.
    fn host(&self) -> String {
        let host = self.settings.headers.iter().rfind(|set| set.name == header::HOST);
        let host = host.and_then(|set| set.value.as_literal()).filter(|host| !host.is_empty());
        host.unwrap_or(&self.proxy.host).to_owned()
    }

    /// Those headers of the location that are the same for every request.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let constant = self.settings.headers.iter().filter_map(|set| {
            let value = set.value.as_literal().filter(|value| !value.is_empty())?;
            Some((set.name.clone(), HeaderValue::from_str(value).ok()?))
        });
        constant.filter(|(name, _)| !OWN.contains(name)).collect()
    }

    /// As the location's, whose name is the host of `proxy_pass` unless it says another.
    fn tls(&self, statement: &Statement, diags: &mut Diagnostics) -> Option<Box<UpstreamTls>> {
        if !self.proxy.tls {
            return None;
        }
        let tls = self.settings.passing.tls.clone();
        let name = match &tls.name {
            None => self.proxy.host.clone(),
            Some(name) => match name.as_literal() {
                Some(name) => name.to_owned(),
                None if name.to_string() == "${proxy_host}" => self.proxy.host.clone(),
                None => {
                    diags
                        .error(
                            &statement.name.place,
                            "a health check has no client to take a name from",
                        )
                        .in_nginx(
                            "\"health_check\" does not support variables in \"proxy_ssl_name\"",
                        )
                        .expected(format!("`proxy_ssl_name` is {}", quote(&name.to_string())))
                        .help("write a name without variables");
                    return None;
                }
            },
        };
        Some(Box::new(UpstreamTls { name: Some(Template::literal(name)), ..tls }))
    }
}
