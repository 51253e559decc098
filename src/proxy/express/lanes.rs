//! Which routes the express lane can serve: those on which nothing is done that it cannot do.

use http::header;

use crate::config::model::admission::Admission;
use crate::config::model::passing::HttpVersion;
use crate::config::model::site::BodyFile;
use crate::config::model::{
    Action, Config, Express, PathMatch, Proxy, ProxyTarget, Route, RouteSettings, VirtualServer,
};
use crate::observe::event::Line;

/// What the lane does on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// It hands requests to peers.
    Proxy,
    /// It answers with files.
    Files,
}

/// Says in the place of `express: on` how requests go, so that every test can be run either way.
const SAYS: &str = "ROBIN_EXPRESS";

/// Which routes it can serve, and whether it does.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    routes: Vec<Vec<Option<Service>>>,
    express: Express,
}

impl Lanes {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let of = |server: &VirtualServer| {
            let routes = server.routes.iter();
            routes.map(|route| service(config, server, route)).collect()
        };
        let routes = config.virtual_servers.iter().map(of).collect();
        Self { routes, express: said(config.express) }
    }

    /// Which requests take it.
    pub(super) fn express(&self) -> Express {
        self.express
    }

    /// What it does on a route; none where it cannot serve it.
    pub(super) fn service(&self, server: usize, route: usize) -> Option<Service> {
        self.routes.get(server).and_then(|routes| routes.get(route)).copied().flatten()
    }
}

/// What the environment says of a configuration that says nothing else.
fn said(configured: Express) -> Express {
    let Some(said) = std::env::var_os(SAYS).filter(|_| configured == Express::On) else {
        return configured;
    };
    match said.to_str() {
        Some("on") => Express::On,
        Some("off") => Express::Off,
        Some("alternate") => Express::Alternate,
        _ => {
            let line = Line::new("ROBIN_EXPRESS is none of on, off, alternate");
            line.field("found", said.display()).warn("robin::config");
            configured
        }
    }
}

fn service(config: &Config, server: &VirtualServer, route: &Route) -> Option<Service> {
    let settings = &route.settings;
    if !is_plain(config, server, route) || !asks_nobody(settings) {
        return None;
    }
    match &route.action {
        // Wherever else it leads to, nobody is asked about the request there.
        Action::Files => {
            let others = server.routes.iter().map(|route| &route.settings);
            others.chain([&server.settings]).all(asks_no_other).then_some(Service::Files)
        }
        Action::Proxy(proxy) => {
            let fits = leads_straight(config, proxy)
                && settings.files.try_files.is_none()
                && passes_on(settings)
                && answers(settings)
                && (settings.answers.error_pages.is_empty() || !settings.passing.intercept_errors);
            fits.then_some(Service::Proxy)
        }
        _ => None,
    }
}

/// Whether a request comes to a route, and to what it does, without detours.
fn is_plain(config: &Config, server: &VirtualServer, route: &Route) -> bool {
    let plain = match route.path {
        PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::PrefixOnly(_) => true,
        PathMatch::Pattern(_) | PathMatch::Named(_) | PathMatch::If => false,
    };
    plain
        && server.program.is_empty()
        && route.program.is_empty()
        && !route.internal
        && !config.asks.body_file
        && route.settings.clients.body_file == BodyFile::Off
}

/// Whether a target is an upstream of plain HTTP/1 whose peers need nothing else.
fn leads_straight(config: &Config, proxy: &Proxy) -> bool {
    let ProxyTarget::Upstream(index) = proxy.to else { return false };
    let Some(upstream) = config.upstreams.get(index) else { return false };
    !proxy.tls
        && !proxy.grpc
        && upstream.sticky.is_none()
        && upstream.queue.is_none()
        && upstream.send_proxy.is_none()
}

/// Whether requests are handed on as they are.
fn passes_on(settings: &RouteSettings) -> bool {
    let passing = &settings.passing;
    // How the body ends is not for templates to say here.
    let frames = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TE];
    passing.version == HttpVersion::Http11
        && passing.method.is_none()
        && passing.body.is_none()
        && passing.request_body
        && passing.request_headers
        && passing.request_buffering
        && passing.bind.is_none()
        && settings.retry.hedge.is_none()
        && settings.limits.upstream_rate.is_none()
        && !settings.headers.iter().any(|header| frames.contains(&header.name))
}

/// Whether all that is asked of a client before is what its request says.
fn asks_nobody(settings: &RouteSettings) -> bool {
    let Admission { realm, passwords, .. } = &settings.clients.admission;
    realm.is_none() && passwords.is_none() && asks_no_other(settings)
}

/// Whether no request of our own goes out before.
fn asks_no_other(settings: &RouteSettings) -> bool {
    settings.clients.admission.ask.is_none()
}

/// Whether the bodies of answers are handed on as they are.
fn answers(settings: &RouteSettings) -> bool {
    let answers = &settings.answers;
    answers.trailers.is_empty()
        && !answers.gzip.enabled
        && !settings.passing.trailers
        && settings.passing.early_hints.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_of(settings: &str) -> Option<Service> {
        let conf = format!(
            "server {{ listen 80; {settings} location / {{ proxy_pass http://127.0.0.1:5252; }} }}"
        );
        let config = crate::config::parse_nginx("test.conf".as_ref(), &conf).expect("it is sound");
        Lanes::new(&config).service(0, 0)
    }

    #[test]
    fn pages_for_errors_of_robin_s_own_are_no_obstacle() {
        assert_eq!(service_of(""), Some(Service::Proxy));
        let page = "error_page 500 502 503 504 /50x.html;";
        assert_eq!(service_of(page), Some(Service::Proxy));
        assert_eq!(service_of(&format!("{page} proxy_intercept_errors on;")), None);
    }
}
