//! Where traces are exported to.

use std::time::Duration;

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::Otlp;
use crate::config::raw::{Settings, Word};
use crate::config::words;

/// The path of a collector that is written without one.
const PATH: &str = "/v1/traces";
/// The port of OTLP over HTTP.
const PORT: u16 = 4318;
/// More spans at once, or more batches, are no longer small against memory.
const MOST: u64 = 100_000;

/// Whether a level's traces are exported.
pub(super) fn is_recorded(settings: &Settings, outer: bool, diags: &mut Diagnostics) -> bool {
    let Some(word) = settings.word("otel_trace") else { return outer };
    words::switch(&word.value).unwrap_or_else(|| {
        diags
            .error(&word.place, format!("`otel_trace` is on or off, found {}", quote(&word.value)))
            .in_nginx(format!("invalid value \"{}\"", word.value))
            .expected("expected `on` or `off`; a share is `sample` of the exporter");
        outer
    })
}

/// Where traces go, if anywhere.
pub(super) fn otlp(settings: &Settings, diags: &mut Diagnostics) -> Option<Otlp> {
    let statement = settings.last("robin_otlp")?;
    if !cfg!(feature = "otlp") {
        diags
            .error(&statement.name.place, "this robin cannot export traces")
            .expected("expected a robin that was built with `cargo build --features otlp`")
            .help("without it `trace: on` (`robin_trace on`) hands traces on all the same");
        return None;
    }
    let mut otlp = Otlp {
        host: String::new(),
        path: PATH.to_owned(),
        service: "robin".to_owned(),
        sample: 10_000,
        interval: Duration::from_secs(5),
        batch_size: 512,
        batch_count: 4,
    };
    if let Some(word) = settings.word("otel_service_name") {
        otlp.service.clone_from(&word.value);
    }
    for word in &statement.args {
        if set(&mut otlp, word).is_none() {
            refuse(word, diags);
        }
    }
    if otlp.host.is_empty() {
        diags
            .error(&statement.name.place, "traces have nowhere to go")
            .in_nginx("\"otel_exporter\" requires \"endpoint\"")
            .expected("expected `endpoint` with a collector such as `http://collector:4318`");
    }
    Some(otlp)
}

/// Takes a parameter in; none where it is none.
fn set(otlp: &mut Otlp, word: &Word) -> Option<()> {
    let (key, value) = word.value.split_once('=')?;
    let count = |value| words::number(value).filter(|n| (1..=MOST).contains(n));
    match key {
        "endpoint" => (otlp.host, otlp.path) = endpoint(value)?,
        "service" => value.clone_into(&mut otlp.service),
        "sample" => {
            let share = words::hundredths(value).filter(|share| *share <= 10_000);
            otlp.sample = u16::try_from(share?).ok()?;
        }
        "interval" => {
            otlp.interval = words::duration(value).ok().filter(|time| !time.is_zero())?;
        }
        "batch_size" => otlp.batch_size = usize::try_from(count(value)?).ok()?,
        "batch_count" => otlp.batch_count = usize::try_from(count(value)?).ok()?,
        _ => return None,
    }
    Some(())
}

/// Host with port, and path.
fn endpoint(text: &str) -> Option<(String, String)> {
    let rest = text.strip_prefix("http://")?;
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, PATH),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    let visible = path.bytes().all(|b| b.is_ascii_graphic());
    if host.is_empty() || !host.chars().all(plain) || !visible {
        return None;
    }
    // The colons of an IPv6 address stand in brackets.
    let named = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let host = match named {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => host.to_owned(),
        Some(_) => return None,
        None => format!("{host}:{PORT}"),
    };
    Some((host, if path == "/" { PATH } else { path }.to_owned()))
}

fn refuse(word: &Word, diags: &mut Diagnostics) {
    let (key, value) = word.value.split_once('=').unwrap_or((&word.value, ""));
    let expected = match key {
        "endpoint" => {
            "expected a collector that takes OTLP over HTTP, without TLS, such as \
                       `http://collector:4318`: robin speaks no gRPC"
        }
        "sample" => "expected a share from 0.01% to 100%",
        "interval" => "expected a time such as `5s`",
        "batch_size" | "batch_count" => "expected a number from 1 to 100000",
        _ => "expected `endpoint`, `service`, `sample`, `interval`, `batch_size` or `batch_count`",
    };
    diags
        .error(&word.place, format!("invalid {key} of the exporter {}", quote(value)))
        .expected(expected);
}
