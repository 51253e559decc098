//! What Prometheus reads: all that is counted, put into its text format when it asks.
//!
//! Nothing is registered and no request looks anything up: the numbers are those of every other view. The
//! names are a public format, explained in `docs/metrics.md`. Labels have values of the configuration and
//! addresses of present peers, never a client's words: upstreams that only requests name are one together.

mod family;
#[cfg(test)]
mod tests;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use self::family::Family;
use super::counters::OWN;
use super::status::StatusView;
use super::view::{PeerView, State, UpstreamView};
use crate::upstream::{Distribution, StatusCounts, Totals};

/// Prometheus's text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The upstream that stands for all those that only requests name.
pub const NAMED: &str = "(named by requests)";

/// What there is to read: of the process, of the upstreams of the configuration and, where there may be
/// any, of those that only requests name.
#[must_use]
pub fn text(
    process: &StatusView,
    upstreams: Vec<(UpstreamView, Totals)>,
    named: Option<Totals>,
) -> String {
    let upstreams = told_apart(upstreams);
    let mut families = of_process(process);
    families.extend(of_requests(&upstreams, named.as_ref()));
    families.extend(of_upstreams(&upstreams));
    families.extend(of_peers(&upstreams));
    families.extend(of_connections(&upstreams));
    let families: Vec<MetricFamily> = families.into_iter().filter_map(Family::finish).collect();
    let encoded = TextEncoder::new().encode_to_string(&families);
    encoded.expect("every family has a name and metrics, and a text can grow")
}

/// An address that a route leads to may have the name of an upstream. Prometheus refuses all where two
/// metrics have the same labels.
fn told_apart(mut upstreams: Vec<(UpstreamView, Totals)>) -> Vec<(UpstreamView, Totals)> {
    for index in 1..upstreams.len() {
        let (before, rest) = upstreams.split_at_mut(index);
        let name = &mut rest[0].0.name;
        if before.iter().any(|(known, _)| known.name == *name) {
            name.push_str(" (address)");
        }
    }
    upstreams
}

fn of_process(process: &StatusView) -> Vec<Family> {
    let seconds = |millis: u64| millis as f64 / 1e3;
    let began = process.now_ms.saturating_sub(process.uptime_ms);
    let mut build = Family::gauge("robin_build_info", "Always 1, with the version of robin.");
    build.add(&[("version", &process.version)], true);
    let mut lost = Family::counter(
        "robin_log_lines_dropped_total",
        "Lines that a log lost because they could not be written fast enough or at all.",
    );
    lost.add(&[("log", "access")], process.access_lines_lost);
    lost.add(&[("log", "event")], process.event_lines_lost);
    let mut reloads = Family::counter(
        "robin_config_reloads_total",
        "Times that the configuration was read again, by whether it is served or was refused.",
    );
    reloads.add(&[("result", "served")], process.reloads);
    reloads.add(&[("result", "refused")], process.reloads_refused);
    vec![
        build,
        Family::gauge("robin_start_time_seconds", "When the process began, in seconds since 1970.")
            .alone(seconds(began)),
        Family::counter(
            "robin_connections_accepted_total",
            "Connections of clients that were accepted.",
        )
        .alone(process.connections_accepted),
        Family::gauge("robin_connections_open", "Connections of clients that are open.")
            .alone(process.connections_open),
        Family::gauge("robin_requests_in_flight", "Requests that are being answered.")
            .alone(process.requests_in_flight),
        lost,
        reloads,
    ]
}

/// What clients saw, and what it took.
fn of_requests(upstreams: &[(UpstreamView, Totals)], named: Option<&Totals>) -> Vec<Family> {
    let mut requests = Family::counter(
        "robin_requests_total",
        "Requests that have ended, by upstream (empty: none) and by class of the client's status.",
    );
    let mut time = Family::histogram(
        "robin_request_duration_seconds",
        "From the first byte of a request to the end of its answer.",
    );
    let mut own = |statuses: StatusCounts, times: &Distribution, upstream: &str| {
        for (class, count) in statuses.classes().into_iter().filter(|(class, _)| *class != "none") {
            requests.add(&[("upstream", upstream), ("status", class)], count);
        }
        time.times(&[("upstream", upstream)], times);
    };
    own(OWN.statuses.read(), &OWN.time.read(), "");
    let mut connect = Family::histogram(
        "robin_upstream_connect_seconds",
        "How long new connections to peers took.",
    );
    let mut first_byte = Family::histogram(
        "robin_upstream_first_byte_seconds",
        "From the beginning of an attempt to the head of the peer's answer.",
    );
    let mut retries =
        Family::counter("robin_retries_total", "Attempts after the first of a request.");
    let mut hedges =
        Family::counter("robin_hedges_total", "Second attempts beside a first one that took long.");
    let mut unserved =
        Family::counter("robin_unserved_total", "Requests that found no peer to be handed to.");
    let of_configuration = upstreams.iter().map(|(view, totals)| (view.name.as_str(), totals));
    for (name, totals) in of_configuration.chain(named.map(|totals| (NAMED, totals))) {
        let labels = &[("upstream", name)];
        own(totals.statuses, &totals.time, name);
        connect.times(labels, &totals.connect);
        first_byte.times(labels, &totals.first_byte);
        retries.add(labels, totals.retries);
        hedges.add(labels, totals.hedges);
        unserved.add(labels, totals.unserved);
    }
    vec![requests, time, connect, first_byte, retries, hedges, unserved]
}

/// How upstreams stand as wholes.
fn of_upstreams(upstreams: &[(UpstreamView, Totals)]) -> Vec<Family> {
    let mut panic = Family::gauge(
        "robin_upstream_panic",
        "1 while so many peers are out that all are used, else 0.",
    );
    let mut waiting =
        Family::gauge("robin_queue_waiting", "Requests that wait for a peer with room.");
    let mut max = Family::gauge("robin_queue_max", "How many requests may wait.");
    let mut refused = Family::counter(
        "robin_queue_refused_total",
        "Requests that found the queue full, or waited in vain.",
    );
    let mut refreshes = Family::counter(
        "robin_dns_refreshes_total",
        "Lookups of a name, by whether they were answered.",
    );
    let mut age = Family::gauge(
        "robin_dns_refresh_age_seconds",
        "How long ago the last answered lookup of a name ended.",
    );
    for (view, _) in upstreams {
        let upstream = ("upstream", view.name.as_str());
        panic.add(&[upstream], view.panic);
        if let Some(queue) = view.queue {
            waiting.add(&[upstream], queue.waiting as u64);
            max.add(&[upstream], queue.max);
            refused.add(&[upstream], queue.refused);
        }
        for lookup in &view.lookups {
            let host = ("host", lookup.host.as_str());
            refreshes.add(&[upstream, host, ("result", "answered")], lookup.good);
            refreshes.add(&[upstream, host, ("result", "failed")], lookup.bad);
            if let Some(millis) = lookup.age_ms {
                age.add(&[upstream, host], millis as f64 / 1e3);
            }
        }
    }
    vec![panic, waiting, max, refused, refreshes, age]
}

/// Every peer with its upstream's name.
fn peers(upstreams: &[(UpstreamView, Totals)]) -> impl Iterator<Item = (&str, &PeerView)> {
    upstreams.iter().flat_map(|(view, _)| view.peers.iter().map(|peer| (&view.name[..], peer)))
}

/// How peers stand.
fn of_peers(upstreams: &[(UpstreamView, Totals)]) -> Vec<Family> {
    let mut in_flight =
        Family::gauge("robin_peer_in_flight", "Attempts begun and not ended on a peer.");
    let mut available = Family::gauge(
        "robin_peer_available",
        "1 while a peer is in rotation and has room, else 0.",
    );
    let mut states =
        Family::gauge("robin_peer_state", "1 for what a peer is doing, 0 for what it is not.");
    let mut ejections =
        Family::counter("robin_peer_ejections_total", "How often traffic took a peer out.");
    let mut probes = Family::counter("robin_probes_total", "Probes of a peer, by result.");
    for (upstream, peer) in peers(upstreams) {
        let labels = [("upstream", upstream), ("peer", peer.address.as_str())];
        let [name, address] = labels;
        in_flight.add(&labels, peer.in_flight);
        available.add(&labels, peer.state == State::Up);
        for state in State::ALL {
            states.add(&[name, address, ("state", state.word())], peer.state == state);
        }
        ejections.add(&labels, peer.ejections);
        probes.add(&[name, address, ("result", "passed")], peer.probes_passed);
        probes.add(&[name, address, ("result", "failed")], peer.probes_failed);
    }
    vec![in_flight, available, states, ejections, probes]
}

/// What peers were asked, and over what.
fn of_connections(upstreams: &[(UpstreamView, Totals)]) -> Vec<Family> {
    let mut attempts = Family::counter(
        "robin_attempts_total",
        "Attempts that have ended, by peer and by class of the peer's status; none: no answer.",
    );
    let mut connections = Family::counter(
        "robin_peer_connections_total",
        "Connections that attempts went over: new ones, and those that had served before.",
    );
    for (upstream, peer) in peers(upstreams) {
        let [name, address] = [("upstream", upstream), ("peer", peer.address.as_str())];
        for (class, count) in peer.statuses.classes() {
            attempts.add(&[name, address, ("status", class)], count);
        }
        connections.add(&[name, address, ("reused", "false")], peer.opened);
        connections.add(&[name, address, ("reused", "true")], peer.reused);
    }
    vec![attempts, connections]
}
