//! How a peer is chosen, and which server lines go with that.

use crate::config::diagnostics::{Diagnostics, Span, Syntax, quote};
use crate::config::model::{Measure, Method};
use crate::config::raw::{self, Word};
use crate::config::words;

/// Methods in the order in which a message lists them.
const METHODS: [&str; 11] = [
    "round_robin",
    "least_conn",
    "least_time header",
    "least_time last_byte",
    "ewma",
    "ip_hash",
    "hash",
    "random",
    "random two",
    "random two least_time=header",
    "random two least_time=last_byte",
];

pub(super) fn method(raw: &raw::Upstream, diags: &mut Diagnostics) -> Method {
    let Some(said) = &raw.method else { return Method::default() };
    let Some(method) = known(said, diags) else { return Method::default() };
    let lines = || raw.servers.iter().flat_map(|list| &list.items);
    if !method.has_backups() {
        let backups = lines().filter_map(|line| line.backup.as_ref());
        for backup in backups.filter(|word| words::switch(&word.value) == Some(true)) {
            refuse("backup", backup, "backup", &said.name, diags)
                .help("round_robin, least_conn, least_time and ewma do");
        }
    }
    let of_lines = lines().filter_map(|line| line.slow_start.as_ref());
    for word in of_lines.chain(&raw.slow_start) {
        // nginx knows no slow start by lot.
        let in_nginx = Span::from(&word.place).source.syntax == Syntax::Nginx;
        if !method.has_slow_start() || (in_nginx && is_by_lot(&method)) {
            let parameter = format!("slow_start={}", word.value);
            refuse("slow_start", word, &parameter, &said.name, diags)
                .help("methods that heed loads or turns do");
        }
    }
    method
}

fn is_by_lot(method: &Method) -> bool {
    matches!(method, Method::Random | Method::RandomTwo | Method::RandomTwoLeastTime(_))
}

/// Says that a method has no such parameter of a server line.
fn refuse<'d>(
    key: &str,
    word: &Word,
    parameter: &str,
    method: &Word,
    diags: &'d mut Diagnostics,
) -> &'d mut crate::config::diagnostics::Diagnostic {
    diags
        .error(&word.place, format!("`{}` does not support `{key}`", method.value))
        .in_nginx(format!("balancing method does not support parameter \"{parameter}\""))
        .expected(format!("a {}", key.replace('_', " ")))
        .also(&method.place, "the method")
}

fn known(said: &raw::Method, diags: &mut Diagnostics) -> Option<Method> {
    let word = &said.name;
    let parts: Vec<&str> = word.value.split_whitespace().collect();
    let measure = |text: &str| text.strip_prefix("least_time=").and_then(Measure::parse);
    let method = match parts[..] {
        ["round_robin"] => Method::RoundRobin,
        ["least_conn"] => Method::LeastConn,
        ["ip_hash"] => Method::IpHash,
        ["hash"] => hash(said, diags)?,
        ["random"] => Method::Random,
        ["random", "two"] | ["random", "two", "least_conn"] => Method::RandomTwo,
        ["random", "two", by] if measure(by).is_some() => {
            Method::RandomTwoLeastTime(measure(by).unwrap_or_default())
        }
        ["least_time", ref rest @ ..] => least_time(said, rest, diags)?,
        ["ewma"] => Method::Ewma,
        _ => {
            let message = format!("unknown balancing method {}", quote(&word.value));
            diags
                .error(&word.place, message)
                .expected(format!("expected one of {}", METHODS.join(", ")))
                .nearest(&word.value, METHODS);
            return None;
        }
    };
    for (key, word, belongs) in
        [("consistent", &said.consistent, "hash"), ("inflight", &said.inflight, "least_time")]
    {
        if let Some(word) = word.as_ref().filter(|_| parts != [belongs]) {
            diags
                .error(&word.place, format!("`{key}` is not of this method"))
                .expected(format!("it belongs beside `{belongs}`"));
        }
    }
    Some(method)
}

impl Measure {
    fn parse(text: &str) -> Option<Self> {
        [Self::Header, Self::LastByte].into_iter().find(|measure| measure.word() == text)
    }
}

/// `{ least_time: header, inflight: on }`, or all of it in words.
fn least_time(said: &raw::Method, rest: &[&str], diags: &mut Diagnostics) -> Option<Method> {
    const EXPECTED: &str = "expected `header` or `last_byte`, and behind it `inflight` or nothing";
    let (word, text, in_flight) = match (&said.value, rest) {
        (Some(value), []) => (value, value.value.as_str(), false),
        (None, [measure]) => (&said.name, *measure, false),
        (None, [measure, "inflight"]) => (&said.name, *measure, true),
        _ => {
            diags
                .error(&said.name.place, "`least_time` takes one time of an answer")
                .expected(EXPECTED);
            return None;
        }
    };
    let Some(measure) = Measure::parse(text) else {
        let message = format!("`least_time` takes a time of an answer, found {}", quote(text));
        diags.error(&word.place, message).expected("expected `header` or `last_byte`");
        return None;
    };
    let switched = diags.switch("inflight", said.inflight.as_ref()).unwrap_or(false);
    Some(Method::LeastTime { measure, in_flight: in_flight || switched })
}

fn hash(said: &raw::Method, diags: &mut Diagnostics) -> Option<Method> {
    let consistent = diags.switch("consistent", said.consistent.as_ref()).unwrap_or(false);
    let Some(key) = &said.value else {
        diags
            .error(&said.name.place, "`hash` takes a key")
            .expected("expected `{ hash: $request_uri }`, or another key");
        return None;
    };
    if key.value.is_empty() {
        diags.error(&key.place, "an empty key").expected("expected a key such as `$request_uri`");
        return None;
    }
    Some(Method::Hash { key: diags.template(key)?, consistent })
}
