//! Health checks of YAML's `health_check`; those of nginx's door are in [`location`].

mod expected;
mod location;
mod matches;

use std::num::NonZeroU32;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method};

pub(in crate::config::resolve) use self::location::health_checks as of_location;
pub(super) use self::matches::{Matches, matches};
use crate::config::address;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::health_check::{GrpcProbe, HttpProbe};
use crate::config::model::passing::UpstreamTls;
use crate::config::model::{HealthCheck, Probe};
use crate::config::raw::{self, List, Place, ProbeTls, Word};
use crate::config::resolve::leaf::Zero;
use crate::config::template::Template;
use crate::config::tls::certificate;

/// The highest status of gRPC there is.
const LAST_GRPC_STATUS: u64 = 16;
/// More in a row would take hours.
const MOST_IN_A_ROW: u64 = 1000;

/// Headers that a probe sets itself, or that would make another message of it.
const OWN: [HeaderName; 5] = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

pub(super) fn health_check(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<HealthCheck> {
    let in_a_row = |diags: &mut Diagnostics, key, word: &Option<Word>| {
        diags.number(key, word.as_ref(), 1..=MOST_IN_A_ROW).and_then(NonZeroU32::new)
    };
    let rise = in_a_row(diags, "rise", &raw.rise);
    let fall = in_a_row(diags, "fall", &raw.fall);
    let every = diags.time("every", raw.every.as_ref(), Zero::Refused);
    let every = every.unwrap_or(Duration::from_secs(5));
    let jitter = diags.time("jitter", raw.jitter.as_ref(), Zero::Allowed);
    let timeout = diags.time("timeout", raw.timeout.as_ref(), Zero::Refused);
    let timeout = timeout.unwrap_or(Duration::from_secs(1));
    let connect = diags.time("connect_timeout", raw.connect_timeout.as_ref(), Zero::Refused);
    let keepalive = diags.time("keepalive", raw.keepalive.as_ref(), Zero::Allowed);
    let mandatory = diags.switch("mandatory", raw.mandatory.as_ref());
    let persistent = diags.switch("persistent", raw.persistent.as_ref());
    let port = raw.port.as_ref().and_then(|word| diags.address(word, address::port(&word.value)));
    let tls = raw.tls.as_ref().and_then(|tls| self::tls(tls, diags));
    Some(HealthCheck {
        probe: probe(raw, diags)?,
        every,
        jitter: jitter.unwrap_or(every / 10),
        timeout,
        connect_timeout: connect.unwrap_or(timeout).min(timeout),
        rise: rise.unwrap_or(NonZeroU32::MIN),
        fall: fall.unwrap_or(NonZeroU32::MIN.saturating_add(1)),
        port,
        tls,
        keepalive: keepalive.unwrap_or(Duration::ZERO),
        mandatory: mandatory.unwrap_or(true),
        persistent: persistent.unwrap_or(false),
    })
}

/// `tls`; the certificates are read, so that those that cannot be used refuse the start.
fn tls(raw: &ProbeTls, diags: &mut Diagnostics) -> Option<Box<UpstreamTls>> {
    if diags.switch("tls", raw.enabled.as_ref()) == Some(false) {
        return None;
    }
    let plain = UpstreamTls::default();
    if let Some(sni) = &raw.sni
        && address::target(&sni.value).map_or(true, |t| t.uri.is_some() || t.port.is_some())
    {
        diags
            .error(&sni.place, format!("`sni` takes a host, found {}", quote(&sni.value)))
            .expected("expected a host name without a port");
    }
    let trusted = raw.ca.as_ref().and_then(|word| {
        let path = diags.file(word)?;
        if let Err(error) = certificate::trusted(&path) {
            diags.error(&word.place, error.to_string());
        }
        Some(path)
    });
    let verify = diags.switch("verify", raw.verify.as_ref()).unwrap_or(plain.verify);
    let name = raw.sni.as_ref().map(|word| Template::literal(word.value.clone()));
    Some(Box::new(UpstreamTls { verify, name, trusted, ..plain }))
}

/// Which probe is said: `http`, `tcp` or `grpc`, each with where.
fn said<'r>(raw: &'r raw::HealthCheck, diags: &mut Diagnostics) -> Vec<(&'static str, &'r Place)> {
    let mut said = Vec::new();
    if let Some(path) = &raw.http {
        said.push(("http", &path.place));
    }
    let tcp = match &raw.tcp {
        Some(word) if word.value == "tcp" => true,
        word => diags.switch("tcp", word.as_ref()).unwrap_or(false),
    };
    if let Some(word) = raw.tcp.as_ref().filter(|_| tcp) {
        said.push(("tcp", &word.place));
    }
    if let Some(word) = raw.grpc.as_ref().filter(|word| word.value != "off") {
        said.push(("grpc", &word.place));
    }
    said
}

fn probe(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<Probe> {
    match said(raw, diags)[..] {
        [] => {
            if !raw.broken {
                diags
                    .error(&raw.place, "a health check without a probe")
                    .expected("expected `http: /path`, `tcp: on` or `grpc: on` in it");
            }
            None
        }
        [("tcp", _)] => {
            let none = "a connect has none: expected `http: /path` in place of `tcp`";
            refuse("tcp", &of_http(raw), none, diags);
            refuse("tcp", &of_requests(raw), none, diags);
            let none = "a connect has none: expected `grpc: on` in place of `tcp`";
            refuse("tcp", &of_grpc(raw), none, diags);
            Some(Probe::Tcp)
        }
        [("grpc", _)] => {
            let answer = "its answer is SERVING, or the status that `grpc_status` allows";
            refuse("grpc", &of_http(raw), answer, diags);
            grpc(raw, diags).map(Probe::Grpc)
        }
        [(_, _)] => {
            refuse("http", &of_grpc(raw), "expected `grpc: on` in place of `http`", diags);
            let path = raw.http.as_ref()?;
            Some(Probe::Http(http(raw, path, diags)))
        }
        [(_, first), (second, place), ..] => {
            let help = "a probe of HTTP or gRPC connects, too: leave `tcp` out";
            let diagnostic = diags
                .error(place, "a health check is one of `http`, `tcp` and `grpc`")
                .expected("this one")
                .also(first, "and this one");
            match second {
                "tcp" => diagnostic.help(help),
                _ => diagnostic.help("several checks of one upstream stand in a list"),
            };
            None
        }
    }
}

type Written<'r> = (&'static str, Option<&'r Place>);

/// What only a probe of HTTP has.
fn of_http(raw: &raw::HealthCheck) -> [Written<'_>; 7] {
    [
        ("method", place_of(raw.method.as_ref())),
        ("headers", raw.headers.as_ref().map(|list| &list.place)),
        ("status", raw.status.as_ref().map(|list| &list.place)),
        ("expect_headers", raw.expect_headers.as_ref().map(|list| &list.place)),
        ("body", place_of(raw.body.as_ref())),
        ("body_matches", place_of(raw.body_matches.as_ref())),
        ("body_lacks", place_of(raw.body_lacks.as_ref())),
    ]
}

fn place_of(word: Option<&Word>) -> Option<&Place> {
    word.map(|word| &word.place)
}

/// What only a call of gRPC has.
fn of_grpc(raw: &raw::HealthCheck) -> [Written<'_>; 1] {
    [("grpc_status", place_of(raw.grpc_status.as_ref()))]
}

/// What probes have that ask something.
fn of_requests(raw: &raw::HealthCheck) -> [Written<'_>; 2] {
    [("host", place_of(raw.host.as_ref())), ("keepalive", place_of(raw.keepalive.as_ref()))]
}

fn refuse(probe: &str, written: &[Written<'_>], expected: &str, diags: &mut Diagnostics) {
    for (key, place) in written {
        if let Some(place) = place {
            diags
                .error(*place, format!("`{key}` is not allowed in a `{probe}` health check"))
                .expected(expected);
        }
    }
}

fn host(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<String> {
    let host = raw.host.as_ref()?;
    if address::target(&host.value).map_or(true, |t| t.uri.is_some()) {
        diags
            .error(&host.place, format!("{} is not a host", quote(&host.value)))
            .expected("expected a host name with or without a port");
    }
    Some(host.value.clone())
}

/// `grpc`: a service, or `on` for the whole server.
fn grpc(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<GrpcProbe> {
    let word = raw.grpc.as_ref()?;
    let service = if word.value == "on" { "" } else { &word.value };
    self::service(word, service, diags);
    let status = diags.number("grpc_status", raw.grpc_status.as_ref(), 0..=LAST_GRPC_STATUS);
    Some(GrpcProbe { service: service.to_owned(), host: host(raw, diags), status })
}

/// Whether this can be a service of gRPC; reports it if not.
fn service(word: &Word, service: &str, diags: &mut Diagnostics) {
    /// What fits into a message of one frame with room to spare.
    const LONGEST: usize = 1000;
    if service.len() > LONGEST || !service.bytes().all(|byte| byte.is_ascii_graphic()) {
        diags
            .error(&word.place, format!("{} is no service of gRPC", quote(service)))
            .in_nginx(format!("invalid parameter \"grpc_service={service}\""))
            .expected("expected a name such as `my.package.Service`");
    }
}

fn http(raw: &raw::HealthCheck, path: &Word, diags: &mut Diagnostics) -> HttpProbe {
    self::path("http", path, &path.value, diags);
    let method = raw.method.as_ref().map_or(Method::GET, |word| method(word, diags));
    let of_body = [&raw.body, &raw.body_matches, &raw.body_lacks];
    if let (&Method::HEAD, Some(word)) = (&method, of_body.into_iter().flatten().next()) {
        diags
            .error(&word.place, "an answer to HEAD has no body")
            .expected("expected `method: GET`, or none of body, body_matches, body_lacks");
    }
    HttpProbe {
        method,
        path: path.value.clone(),
        host: host(raw, diags),
        headers: headers(raw.headers.as_ref(), diags),
        expected: expected::expected(raw, diags),
    }
}

/// Whether `path`, which stands in `word`, can be asked for; reports it if not. Unlike that of a route it may have
/// a query.
fn path(key: &str, word: &Word, path: &str, diags: &mut Diagnostics) {
    if !address::is_path(path.split('?').next().unwrap_or(""))
        || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
    {
        diags
            .error(&word.place, format!("`{key}` takes a path, found {}", quote(path)))
            .in_nginx(format!("invalid parameter \"{key}={path}\""))
            .expected("expected a path such as `/healthz`");
    }
}

fn method(word: &Word, diags: &mut Diagnostics) -> Method {
    const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST];
    let known = METHODS.into_iter().find(|method| method.as_str() == word.value);
    known.unwrap_or_else(|| {
        diags
            .error(&word.place, format!("a probe has no method {}", quote(&word.value)))
            .expected("expected one of GET, HEAD, OPTIONS, POST");
        Method::GET
    })
}

fn headers(
    list: Option<&List<(Word, Word)>>,
    diags: &mut Diagnostics,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, value) in list.iter().flat_map(|list| &list.items) {
        let Some(known) = header_name(name, diags) else { continue };
        if OWN.contains(&known) {
            diags
                .error(
                    &name.place,
                    format!("{} is a header of the probe's own", quote(&name.value)),
                )
                .expected("expected another header")
                .help("`host` sets `Host`, `keepalive` decides about `Connection`");
            continue;
        }
        match HeaderValue::from_str(&value.value) {
            Ok(value) => headers.push((known, value)),
            Err(_) => {
                diags
                    .error(&value.place, format!("{} cannot be sent", quote(&value.value)))
                    .expected("expected a value without control characters");
            }
        }
    }
    headers
}

/// A header's name, or a report.
fn header_name(word: &Word, diags: &mut Diagnostics) -> Option<HeaderName> {
    let name = word.value.parse().ok();
    if name.is_none() {
        diags
            .error(&word.place, format!("{} is not the name of a header", quote(&word.value)))
            .in_nginx(format!("invalid header name \"{}\"", word.value))
            .expected("expected letters, digits and `-`");
    }
    name
}
