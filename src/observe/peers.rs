//! The table of `robin peers`: every upstream and peer, each with the reason for how it stands.
//!
//! ```text
//!       peer             tier    weight  state                              for    in flight  requests  failures  average
//!   back-end: 2/3 peers up, 1/1 backups up
//!     + 172.18.0.4:5252               1  up                                 3m12s          2        50         0      4ms
//!     ! 172.18.0.5:5252               1  ejected for connect, 7s left       3s             0        50         1      5ms
//!     - 172.18.0.6:5252               1  draining by hand                   1m02s          1        49         0      4ms
//!     + 172.18.0.9:8002  backup       1  up                                 3m12s          0         0         0
//! ```
//!
//! The marks and words are those of the dashboard; a reason comes with what the last probe met. Where an upstream is
//! probed, what traffic says and what probes say of each peer stands side by side.

use super::dashboard::{heading, shortened};
use super::table::{Align, Table};
use super::text::Short;
use super::view::{PeerView, QueueView, UpstreamView};

const COLUMNS: [(&str, Align); 12] = [
    ("peer", Align::Left),
    ("server", Align::Left),
    ("tier", Align::Left),
    ("weight", Align::Right),
    ("state", Align::Left),
    ("for", Align::Left),
    ("traffic", Align::Left),
    ("probes", Align::Left),
    ("in flight", Align::Right),
    ("requests", Align::Right),
    ("failures", Align::Right),
    ("average", Align::Right),
];

/// The table, without a newline at its end.
#[must_use]
pub fn table(upstreams: &[UpstreamView]) -> String {
    if upstreams.is_empty() {
        return "no upstreams".into();
    }
    let mut table = Table::new(COLUMNS);
    for upstream in upstreams {
        let several_hosts = upstream.has_several_hosts();
        table.heading(heading(upstream) + &queue(upstream));
        for peer in &upstream.peers {
            table.row(peer.state.mark(), cells(peer, several_hosts));
        }
    }
    table.to_string().trim_start_matches('\n').to_owned()
}

/// An upstream in one line: how many of its peers are up, and why the others are not.
#[must_use]
pub fn standing(upstream: &UpstreamView) -> String {
    let out = upstream.peers.iter().filter(|peer| !peer.state.is_up());
    let out = out.map(|peer| format!("{} {}", peer.address, shortened(&peer.reason)));
    let out: Vec<String> = out.collect();
    let between = if out.is_empty() { "" } else { ": " };
    format!("{}{between}{}", heading(upstream), out.join(", "))
}

/// How the upstream's queue stands, behind what its heading says.
fn queue(upstream: &UpstreamView) -> String {
    upstream.queue.map_or_else(String::new, |queue| {
        let QueueView { waiting, max, refused } = queue;
        format!("; queue: {waiting} of {max} waiting, {refused} refused")
    })
}

fn cells(peer: &PeerView, with_host: bool) -> [String; COLUMNS.len()] {
    let in_flight = match peer.max_conns {
        0 => peer.in_flight.to_string(),
        limit => format!("{} of {limit}", peer.in_flight),
    };
    let average = peer.average_ms.map(|millis| match millis {
        millis if millis < 1.0 => "<1ms".to_owned(),
        millis => Short(std::time::Duration::from_millis(millis as u64)).to_string(),
    });
    [
        peer.address.clone(),
        peer.host_cell(with_host),
        peer.tier_cell(),
        peer.weight.to_string(),
        shortened(&peer.reason),
        Short(peer.lasting).to_string(),
        peer.traffic_cell(),
        peer.probes_cell(),
        in_flight,
        peer.requests.to_string(),
        peer.failures.to_string(),
        average.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::view::{ProbeView, ProbesView, Said, State, VerdictView};
    use crate::upstream::Tier;

    fn peer(address: &str, state: State, reason: &str) -> PeerView {
        PeerView {
            state,
            reason: reason.into(),
            lasting: Duration::from_secs(192),
            requests: 50,
            average_ms: Some(4.25),
            ..PeerView::plain(address)
        }
    }

    fn stack() -> Vec<UpstreamView> {
        let failed = ProbeView::Failed { error: "status 500, expected 200-399".into() };
        let peers = vec![
            PeerView { in_flight: 2, max_conns: 8, ..peer("172.18.0.4:5252", State::Up, "up") },
            PeerView {
                probes: Some(ProbesView {
                    state: VerdictView::Failing,
                    lasting: Duration::from_secs(192),
                    in_a_row: 4,
                    last: Some(failed.clone()),
                    age_ms: Some(250),
                }),
                last_probe: Some(failed),
                failures: 7,
                ..peer(
                    "172.18.0.5:5252",
                    State::Failing,
                    "failing probes: status 500, expected 200-399",
                )
            },
            PeerView {
                hand: Some(Said::Drain),
                ..peer("172.18.0.6:5252", State::Draining, "draining by hand")
            },
            PeerView {
                tier: Tier::Backup,
                requests: 0,
                average_ms: None,
                last_probe: Some(ProbeView::Passed { took: Duration::from_millis(6) }),
                ..peer("172.18.0.9:8002", State::Up, "up")
            },
        ];
        let trouble = Some("no such name (NXDOMAIN)".to_owned());
        let api = UpstreamView { name: "api".into(), trouble, ..UpstreamView::default() };
        let queue = Some(QueueView { waiting: 3, max: 100, refused: 7 });
        let back_end = UpstreamView { name: "back-end".into(), peers, ..UpstreamView::default() };
        vec![UpstreamView { queue, ..back_end }, api]
    }

    #[test]
    fn every_peer_has_its_line_with_the_reason() {
        let expected = "      \
peer             tier    weight  state                                         for    traffic  probes             in flight  requests  failures  average
  back-end: 1/3 peers up, 1/1 backups up; queue: 3 of 100 waiting, 7 refused
    + 172.18.0.4:5252               1  up                                            3m12s                                 2 of 8        50         0      4ms
    ! 172.18.0.5:5252               1  failing probes: status 500, expected 200-399  3m12s  up       failing, 4 failed          0        50         7      4ms
    - 172.18.0.6:5252               1  draining by hand                              3m12s                                      0        50         0      4ms
    + 172.18.0.9:8002  backup       1  up                                            3m12s                                      0         0         0
  api: no addresses: no such name (NXDOMAIN)";
        assert_eq!(table(&stack()), expected);
        assert_eq!(table(&[]), "no upstreams");
    }

    #[test]
    fn an_upstream_in_a_line_names_those_that_are_out() {
        let [back_end, api] = &stack()[..] else { panic!("there are two") };
        let expected = "back-end: 1/3 peers up, 1/1 backups up: 172.18.0.5:5252 failing probes: status 500, \
                        expected 200-399, 172.18.0.6:5252 draining by hand";
        assert_eq!(standing(back_end), expected);
        assert_eq!(standing(api), "api: no addresses: no such name (NXDOMAIN)");
    }

    #[test]
    fn the_keys_of_the_json_are_these() {
        let json = serde_json::to_string_pretty(&stack()).expect("it can be written");
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/peers.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden, json.clone() + "\n").expect("the file can be written");
        }
        let expected = std::fs::read_to_string(golden).expect("the golden file");
        assert_eq!(json + "\n", expected);
        let again: Vec<UpstreamView> = serde_json::from_str(&expected).expect("it can be read");
        assert_eq!(table(&again), table(&stack()));
    }
}
