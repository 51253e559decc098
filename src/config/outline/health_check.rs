//! Health checks: what holds.

use serde_yaml::{Mapping, Value};

use super::{list, text, upstream_tls};
use crate::config::model::health_check::{
    BodyTest, Expected, ExpectedHeader, GrpcProbe, HeaderTest, HttpProbe,
};
use crate::config::model::{HealthCheck, Probe};
use crate::config::words::{PrintStatuses, print_duration};

pub(super) fn health_check(check: &HealthCheck) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    match &check.probe {
        Probe::Tcp => drop(put("tcp", true.into())),
        Probe::Http(probe) => http(probe, &mut put),
        Probe::Grpc(probe) => grpc(probe, &mut put),
    }
    put("every", print_duration(check.every).into());
    put("jitter", print_duration(check.jitter).into());
    put("timeout", print_duration(check.timeout).into());
    if check.connect_timeout < check.timeout {
        put("connect_timeout", print_duration(check.connect_timeout).into());
    }
    put("rise", check.rise.get().into());
    put("fall", check.fall.get().into());
    put("mandatory", check.mandatory.into());
    if check.persistent {
        put("persistent", true.into());
    }
    if !check.keepalive.is_zero() {
        put("keepalive", print_duration(check.keepalive).into());
    }
    if let Some(port) = check.port {
        put("port", port.into());
    }
    if let Some(tls) = &check.tls {
        put("tls", upstream_tls(tls));
    }
    Value::Mapping(entries)
}

fn http(probe: &HttpProbe, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    put("http", text(&probe.path));
    if probe.method != http::Method::GET {
        put("method", probe.method.as_str().into());
    }
    if let Some(host) = &probe.host {
        put("host", text(host));
    }
    if !probe.headers.is_empty() {
        let headers = probe.headers.iter().map(|(name, value)| {
            (name.as_str().into(), text(&String::from_utf8_lossy(value.as_bytes())))
        });
        put("headers", Value::Mapping(headers.collect()));
    }
    let Expected { status, headers, body } = &probe.expected;
    let ranges = status.ranges.iter().map(|range| PrintStatuses(range).to_string().into());
    let except = status.except.then(|| "!".into());
    put("status", list(except.into_iter().chain(ranges)));
    if !headers.is_empty() {
        put("expect_headers", list(headers.iter().map(|header| text(&expected(header)))));
    }
    for test in body {
        match test {
            BodyTest::Holds(part) => put("body", text(part)),
            BodyTest::Matches(pattern) => put("body_matches", text(pattern.text())),
            BodyTest::Lacks(pattern) => put("body_lacks", text(pattern.text())),
        };
    }
}

/// In nginx's words.
fn expected(header: &ExpectedHeader) -> String {
    let name = header.name.as_str();
    match &header.test {
        HeaderTest::Present => name.to_owned(),
        HeaderTest::Absent => format!("! {name}"),
        HeaderTest::Is(value) => format!("{name} = {value}"),
        HeaderTest::IsNot(value) => format!("{name} != {value}"),
        HeaderTest::Matches(pattern) => format!("{name} ~ {}", pattern.text()),
        HeaderTest::Lacks(pattern) => format!("{name} !~ {}", pattern.text()),
    }
}

fn grpc(probe: &GrpcProbe, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    put("grpc", text(&probe.service));
    if let Some(host) = &probe.host {
        put("host", text(host));
    }
    if let Some(status) = probe.status {
        put("grpc_status", status.into());
    }
}
