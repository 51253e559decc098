//! Settings of a route: the defaults, then what the top, the virtual server and the route say.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::header;

use super::leaf::Zero;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::limits::Limits;
use crate::config::model::passing::Passing;
use crate::config::model::site::{Answers, Clients, Files};
use crate::config::model::{
    Identity, RequestId, Retry, RetryBudget, RouteSettings, ServerHeader, SetHeader, Timeouts,
    Trace,
};
use crate::config::raw::{Budget, Settings, Word};
use crate::config::template::Template;
use crate::config::words;

/// As many attempts as Pingora makes at most (`ServerConf::max_retries`).
const MOST_TRIES: u64 = 16;

/// Failures that may be retried after; statuses are told apart.
const RETRY_ON: [&str; 3] = ["error", "timeout", "invalid_header"];

/// Headers of one connection (RFC 9110, section 7.6.1) and of a message's length: what the proxy
/// does with them is not a matter of configuration. What `Upgrade` and `Connection` say decides
/// whether a request may upgrade.
const OWN: [&str; 8] = [
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "http2-settings",
];

/// In the place of a header's name, with `off`: what is set outside and by default is not set here.
pub(in crate::config) const ALL: &str = "*";

/// What holds where nothing is written.
pub(in crate::config) fn defaults() -> RouteSettings {
    const NGINX: Duration = Duration::from_mins(1);
    let header = |written: &'static str, value: &str| SetHeader {
        name: written.parse().expect("it has letters and `-` only"),
        written: Bytes::from_static(written.as_bytes()),
        value: Template::parse(value).expect("its variables are in the list of variables"),
    };
    RouteSettings {
        headers: vec![
            header("Host", "$http_host"),
            header("X-Real-IP", "$real_ip"),
            header("X-Forwarded-For", "$forwarded_for"),
            header("X-Forwarded-Proto", "$forwarded_proto"),
            header("X-Forwarded-Host", "$forwarded_host"),
            header("X-Request-Id", "$request_id"),
        ],
        passes_claims: false,
        timeouts: Timeouts { connect: NGINX, send: NGINX, read: NGINX },
        retry: Retry {
            tries: 0,
            timeout: Duration::ZERO,
            error: true,
            timed_out: true,
            invalid_header: false,
            non_idempotent: false,
            statuses: Vec::new(),
            try_timeout: Duration::ZERO,
            budget: Some(RetryBudget::default()),
            hedge: None,
        },
        client_max_body_bytes: 1 << 20,
        websocket: false,
        server_header: ServerHeader::default(),
        error_details: false,
        request_id: RequestId::default(),
        trace: Trace::default(),
        record: false,
        files: Files::defaults(),
        answers: Answers::defaults(),
        clients: Clients::defaults(),
        limits: Limits::default(),
        passing: Passing::defaults(),
        resolver: None,
        access_logs: None,
    }
}

impl Settings {
    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(&self, outer: &RouteSettings, diags: &mut Diagnostics) -> RouteSettings {
        let switch = |diags: &mut Diagnostics, key, word: &Option<Word>, outer| {
            diags.switch(key, word.as_ref()).unwrap_or(outer)
        };
        RouteSettings {
            headers: self.headers(&outer.headers, diags),
            passes_claims: outer.passes_claims || self.headers.iter().any(leaves_out_all),
            timeouts: self.timeouts(outer.timeouts, diags),
            retry: self.retry(&outer.retry, diags),
            client_max_body_bytes: diags
                .size("client_max_body_size", self.client_max_body_size.as_ref())
                .unwrap_or(outer.client_max_body_bytes),
            websocket: switch(diags, "websocket", &self.websocket, outer.websocket),
            server_header: self.server_header(outer.server_header, diags),
            request_id: RequestId::resolve(self, outer.request_id, diags),
            trace: Trace::resolve(self, outer.trace, diags),
            record: super::otlp::is_recorded(self, outer.record, diags),
            files: Files::resolve(self, &outer.files, diags),
            answers: Answers::resolve(self, &outer.answers, diags),
            clients: Clients::resolve(self, &outer.clients, diags),
            limits: Limits::resolve(self, &outer.limits, diags),
            passing: Passing::resolve(self, &outer.passing, diags),
            resolver: super::resolver(self.resolver().as_ref(), diags)
                .or_else(|| outer.resolver.clone()),
            access_logs: super::logs::resolve(self, diags).or_else(|| outer.access_logs.clone()),
            error_details: switch(diags, "error_details", &self.error_details, outer.error_details),
        }
    }

    fn server_header(&self, outer: ServerHeader, diags: &mut Diagnostics) -> ServerHeader {
        const NAMES: [&str; 5] = ["robin", "version", "nginx", "on", "off"];
        let mut header = outer;
        if let Some(word) = &self.server_header {
            header = match word.value.as_str() {
                "robin" => ServerHeader::default(),
                "version" => ServerHeader { version: true, ..ServerHeader::default() },
                "nginx" => ServerHeader::NGINX,
                other => match words::switch(other) {
                    Some(true) => ServerHeader::default(),
                    Some(false) => ServerHeader { name: Identity::Upstream, version: false },
                    None => {
                        let message = format!("`server_header` is no {}", quote(other));
                        diags
                            .error(&word.place, message)
                            .in_nginx("\"robin_server_header\" directive invalid value")
                            .expected("expected one of robin, version, nginx, on, off")
                            .nearest(other, NAMES);
                        outer
                    }
                },
            };
        }
        if let Some(word) = self.word("server_tokens") {
            match word.value.as_str() {
                "on" | "build" => header.version = true,
                "off" => header.version = false,
                other => {
                    let message =
                        format!("`server_tokens` is on, off or build, found {}", quote(other));
                    diags
                        .error(&word.place, message)
                        .in_nginx(format!("invalid value \"{other}\""))
                        .expected("expected one of on, off, build");
                }
            }
        }
        header
    }

    fn timeouts(&self, outer: Timeouts, diags: &mut Diagnostics) -> Timeouts {
        let mut time = |key, word: &Option<Word>, outer| {
            diags.time(key, word.as_ref(), Zero::Refused).unwrap_or(outer)
        };
        Timeouts {
            connect: time("connect", &self.connect_timeout, outer.connect),
            send: time("send", &self.send_timeout, outer.send),
            read: time("read", &self.read_timeout, outer.read),
        }
    }

    fn retry(&self, outer: &Retry, diags: &mut Diagnostics) -> Retry {
        let statuses = self.retry_statuses.as_ref().map(|list| {
            let mut statuses = Vec::new();
            for word in &list.items {
                let status = diags.number("statuses", Some(word), 400..=599);
                statuses.extend(status.filter(|status| !statuses.contains(status)));
            }
            statuses
        });
        let on = self.retry_on.as_ref().map(|list| {
            for word in &list.items {
                if !RETRY_ON.contains(&word.value.as_str()) {
                    let message = format!("unknown reason for a retry {}", quote(&word.value));
                    diags
                        .error(&word.place, message)
                        .expected(format!("expected one of {}", RETRY_ON.join(", ")))
                        .nearest(&word.value, RETRY_ON);
                }
            }
            let said = |name: &str| list.items.iter().any(|word| word.value == name);
            (said("error"), said("timeout"), said("invalid_header"))
        });
        let (error, timed_out, invalid_header) =
            on.unwrap_or((outer.error, outer.timed_out, outer.invalid_header));
        Retry {
            error,
            timed_out,
            invalid_header,
            tries: diags
                .number("tries", self.retry_tries.as_ref(), 0..=MOST_TRIES)
                .unwrap_or(outer.tries),
            timeout: diags
                .time("timeout", self.retry_timeout.as_ref(), Zero::Allowed)
                .unwrap_or(outer.timeout),
            non_idempotent: diags
                .switch("non_idempotent", self.retry_non_idempotent.as_ref())
                .unwrap_or(outer.non_idempotent),
            statuses: statuses.unwrap_or_else(|| outer.statuses.clone()),
            try_timeout: diags
                .time("try_timeout", self.retry_try_timeout.as_ref(), Zero::Allowed)
                .unwrap_or(outer.try_timeout),
            budget: match &self.retry_budget {
                Some(budget) => budget.resolve(diags),
                None => outer.budget,
            },
            hedge: diags.share("hedge", self.retry_hedge.as_ref()).unwrap_or(outer.hedge),
        }
    }

    fn headers(&self, outer: &[SetHeader], diags: &mut Diagnostics) -> Vec<SetHeader> {
        let mut headers = outer.to_vec();
        let mut here: Vec<(HeaderName, &Word)> = Vec::new();
        for (name_word, value) in &self.headers {
            if name_word.value == ALL {
                if diags.switch(ALL, Some(value)) == Some(false) {
                    headers.clear();
                }
                continue;
            }
            if is_as_it_is(name_word, value) {
                continue;
            }
            let Some(name) = header_name(name_word, diags) else { continue };
            let written = Bytes::copy_from_slice(name_word.value.as_bytes());
            let value = header_value(&name, value, diags);
            if let Some((_, first)) = here.iter().find(|(known, _)| *known == name) {
                diags
                    .error(
                        &name_word.place,
                        format!("duplicate header {}", quote(&name_word.value)),
                    )
                    .expected("written again here")
                    .also(&first.place, "first written here");
                continue;
            }
            here.push((name.clone(), name_word));
            let header = SetHeader { name, written, value };
            match headers.iter_mut().find(|known| known.name == header.name) {
                Some(known) => *known = header,
                None => headers.push(header),
            }
        }
        headers
    }
}

/// Whether an entry says that what is set outside and by default is not set here.
fn leaves_out_all((name, value): &(Word, Word)) -> bool {
    name.value == ALL && words::switch(&value.value) == Some(false)
}

impl Budget {
    /// What it says, all of it: an outer level's has no part in it.
    fn resolve(&self, diags: &mut Diagnostics) -> Option<RetryBudget> {
        /// Ten times the requests; more is no budget.
        const MOST_PERCENT: u64 = 1000;
        const MOST_FLOOR: u64 = 1_000_000;
        if let (Some("off"), None) = (self.percent.as_ref().map(|w| w.value.as_str()), &self.floor)
        {
            return None;
        }
        let default = RetryBudget::default();
        let percent = diags.percent("percent", self.percent.as_ref(), 0..=MOST_PERCENT);
        let floor = diags.number("floor", self.floor.as_ref(), 0..=MOST_FLOOR);
        Some(RetryBudget {
            percent: percent.unwrap_or(default.percent),
            floor: floor.unwrap_or(default.floor),
        })
    }
}

/// Whether a header that robin sets itself is said to be what it is anyway: not the client's, or of
/// the body that is sent.
fn is_as_it_is(name: &Word, value: &Word) -> bool {
    let lower = name.value.to_ascii_lowercase();
    let clients = format!("$http_{}", lower.replace('-', "_"));
    OWN.contains(&&lower[..])
        && (["", "$content_length"].contains(&&value.value[..]) || value.value == clients)
}

fn header_name(word: &Word, diags: &mut Diagnostics) -> Option<HeaderName> {
    let Ok(name) = word.value.parse::<HeaderName>() else {
        diags
            .error(&word.place, format!("{} is not the name of a header", quote(&word.value)))
            .expected("expected letters, digits and `-`");
        return None;
    };
    if OWN.contains(&name.as_str()) {
        diags
            .error(&word.place, format!("header {} cannot be set", quote(&word.value)))
            .expected("robin sets it itself");
        return None;
    }
    Some(name)
}

fn header_value(name: &HeaderName, word: &Word, diags: &mut Diagnostics) -> Template {
    if word.value.chars().any(|c| c.is_control() && c != '\t') {
        diags
            .error(&word.place, format!("header `{name}` has a control character in its value"))
            .expected("expected one line of text");
    }
    if *name == header::HOST && word.value.is_empty() {
        diags
            .error(&word.place, "header `Host` cannot be removed")
            .expected("expected a host, `$http_host` or `$proxy_host`");
    }
    diags.template(word).unwrap_or_default()
}
