//! Probes.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::address;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::{HealthCheck, Probe};
use crate::config::raw::{self, Word};
use crate::config::resolve::leaf::Zero;

pub(super) fn health_check(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<HealthCheck> {
    const MOST_IN_A_ROW: u64 = 1000;
    let in_a_row = |diags: &mut Diagnostics, key, word: &Option<Word>| {
        diags.number(key, word.as_ref(), 1..=MOST_IN_A_ROW).and_then(NonZeroU32::new)
    };
    let rise = in_a_row(diags, "rise", &raw.rise);
    let fall = in_a_row(diags, "fall", &raw.fall);
    let every = diags.time("every", raw.every.as_ref(), Zero::Refused);
    let timeout = diags.time("timeout", raw.timeout.as_ref(), Zero::Refused);
    let port = raw.port.as_ref().and_then(|word| diags.address(word, address::port(&word.value)));
    Some(HealthCheck {
        probe: probe(raw, diags)?,
        every: every.unwrap_or(Duration::from_secs(5)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        rise: rise.unwrap_or(NonZeroU32::MIN),
        fall: fall.unwrap_or(NonZeroU32::MIN.saturating_add(1)),
        port,
    })
}

fn probe(raw: &raw::HealthCheck, diags: &mut Diagnostics) -> Option<Probe> {
    let tcp = match &raw.tcp {
        Some(word) if word.value == "tcp" => true,
        word => diags.switch("tcp", word.as_ref()).unwrap_or(false),
    };
    match (&raw.http, &raw.tcp) {
        (Some(path), _) if !tcp => Some(http_probe(raw, path, diags)),
        (Some(path), Some(switch)) => {
            diags
                .error(&switch.place, "a health check is either `http` or `tcp`")
                .expected("this one")
                .also(&path.place, "and this one")
                .help("an HTTP probe connects, too: leave `tcp` out");
            None
        }
        (None, _) if tcp => {
            let http_only = [
                ("status", raw.status.as_ref().map(|list| &list.place)),
                ("body", raw.body.as_ref().map(|word| &word.place)),
                ("host", raw.host.as_ref().map(|word| &word.place)),
            ];
            for (key, place) in http_only {
                if let Some(place) = place {
                    diags
                        .error(place, format!("`{key}` is not allowed in a `tcp` health check"))
                        .expected("a connect has none: expected `http: /path` in place of `tcp`");
                }
            }
            Some(Probe::Tcp)
        }
        _ => {
            if !raw.broken {
                diags
                    .error(&raw.place, "a health check without a probe")
                    .expected("expected `http: /path` or `tcp: on` in it");
            }
            None
        }
    }
}

fn http_probe(raw: &raw::HealthCheck, path: &Word, diags: &mut Diagnostics) -> Probe {
    // Unlike a route, a probe may have a query.
    if !address::is_path(path.value.split('?').next().unwrap_or(""))
        || !path.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
    {
        diags
            .error(&path.place, format!("`http` takes a path, found {}", quote(&path.value)))
            .expected("expected a path such as `/healthz`");
    }
    let host = raw.host.as_ref();
    if let Some(host) = host.filter(|h| address::target(&h.value).map_or(true, |t| t.uri.is_some()))
    {
        diags
            .error(&host.place, format!("{} is not a host", quote(&host.value)))
            .expected("expected a host name with or without a port");
    }
    let body = raw.body.as_ref();
    if let Some(body) = body.filter(|body| body.value.is_empty()) {
        diags.error(&body.place, "`body` is empty").expected("expected a text to look for");
    }
    let mut status = diags.statuses("status", raw.status.as_ref());
    if status.is_empty() {
        status.push(200..=399);
    }
    Probe::Http {
        path: path.value.clone(),
        host: host.map(|word| word.value.clone()),
        status,
        body: body.map(|word| word.value.clone()),
    }
}
