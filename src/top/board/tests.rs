//! What the board knows after a log.

use super::*;
use crate::observe::view::State;

const BLOCK: &str = "\
2026-11-21T06:40:00.000+00:00 INFO health dashboard: back-end 2/2 up; api no addresses
      peer             state  for    share  in flight
  back-end: 2/2 peers up
    + 172.18.0.4:5252  up     3m12s  50.0%          2
    + 172.18.0.5:5252  up     3m12s  50.0%          0
  api: no addresses: no such name (NXDOMAIN)";

const EJECTED: &str = "2026-11-21T06:40:05.000+00:00 WARN peer ejected upstream=back-end \
    peer=172.18.0.5:5252 fails=1 for=10s cause=connect was=up was_for=3m17s \
    reason=\"ejected for connect, 10s left\" requests=7 failures=1 in_flight=0";

fn fed(text: &str) -> Board {
    let mut board = Board::default();
    feed(&mut board, text);
    board
}

fn feed(board: &mut Board, text: &str) {
    for line in text.lines() {
        board.feed(line.as_bytes());
    }
}

fn request(peer: &str, second: u64, status: u16) -> String {
    format!(
        "127.0.0.1 - - [21/Nov/2026:06:40:{second:02} +0000] \"GET / HTTP/1.1\" {status} 1 \"-\" \"-\" \
         upstream=back-end attempts=\"172.18.0.9:1 - 0.001 connect refused, {peer} {status} 0.004\" \
         time=0.005 id=1"
    )
}

/// Each peer of the first upstream with its mark and its words.
fn peers(board: &Board) -> Vec<String> {
    let peer = |peer: &Peer| {
        let mark = peer.standing.map_or('?', Standing::mark);
        format!("{mark} {} {}", peer.address, peer.words(board.now))
    };
    board.groups[0].peers.iter().map(peer).collect()
}

#[test]
fn a_block_says_who_is_there_and_how_they_stand() {
    let board = fed(BLOCK);
    assert_eq!(peers(&board), ["+ 172.18.0.4:5252 up", "+ 172.18.0.5:5252 up"]);
    let names: Vec<&str> = board.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["back-end", "api"]);
    assert_eq!(board.groups[1].trouble.as_deref(), Some("no such name (NXDOMAIN)"));
    let first = &board.groups[0].peers[0];
    assert_eq!((first.in_flight, first.since), (Some(2), Some(board.now - 192_000)));
    assert_eq!(board.groups[0].share(first), Some(50.0));
}

#[test]
fn an_event_changes_its_peer_and_what_is_left_of_an_ejection_runs_out() {
    let mut board = fed(BLOCK);
    feed(&mut board, EJECTED);
    assert_eq!(peers(&board)[1], "! 172.18.0.5:5252 ejected for connect, 10s left");
    assert_eq!(board.groups[0].peers[1].since, Some(board.now));
    board.tick(board.now + 3000);
    assert_eq!(peers(&board)[1], "! 172.18.0.5:5252 ejected for connect, 7s left");
    board.tick(board.now + 9000);
    assert_eq!(peers(&board)[1], "! 172.18.0.5:5252 ejected for connect, trial due");
    assert_eq!(board.groups[0].counts(), [(1, 2), (0, 0)]);
    assert_eq!(board.groups[0].peers[1].ejections, 1);
    assert_eq!(board.events.len(), 1);
}

#[test]
fn lines_of_the_access_log_may_come_between_those_of_a_block() {
    let mut board = Board::default();
    for (at, line) in BLOCK.lines().enumerate() {
        feed(&mut board, &format!("proxy-1  | {line}"));
        feed(&mut board, &format!("proxy-1  | {}", request("172.18.0.4:5252", at as u64, 200)));
        feed(&mut board, "db-1  |     + something else");
    }
    assert_eq!(peers(&board)[..2], ["+ 172.18.0.4:5252 up", "+ 172.18.0.5:5252 up"]);
    assert_eq!(board.groups[0].statuses.success, 6);
}

#[test]
fn who_is_in_a_block_no_more_is_gone_and_who_left_is_listed() {
    let mut board = fed(BLOCK);
    let next = "\
2026-11-21T06:40:09.000+00:00 INFO health dashboard: back-end 1/1 up
      peer             state     for    share  in flight
  back-end: 1/1 peers up
    + 172.18.0.4:5252  up        3m21s  50.0%          2
    - 172.18.0.6:5252  left DNS  3s";
    feed(&mut board, next);
    assert_eq!(peers(&board), ["+ 172.18.0.4:5252 up", "- 172.18.0.6:5252 left DNS"]);
    assert_eq!(board.groups[0].counts()[0], (1, 1), "who left is no peer");
    feed(&mut board, "2026-11-21T06:41:00.000+00:00 INFO health dashboard: no upstreams");
    assert!(board.groups.is_empty());
}

#[test]
fn requests_are_counted_by_upstream_and_attempts_by_peer() {
    let mut board = fed(BLOCK);
    for second in 1..=5 {
        feed(&mut board, &request("172.18.0.4:5252", second, 200));
        feed(&mut board, &request("172.18.0.5:5252", second, 502));
    }
    let group = &board.groups[0];
    assert_eq!((group.statuses.success, group.statuses.server_error, group.retries), (5, 5, 10));
    assert_eq!(group.errors.get(&502), Some(&5));
    assert_eq!(group.peers[0].requests, 5);
    assert_eq!(group.peers[0].percentiles(), (Some(4.0), Some(4.0)));
    assert_eq!(group.share(&group.peers[1]), Some(25.0));
    assert_eq!((group.peers[2].statuses.none, group.peers[2].percentiles().0), (10, None));
    assert!((board.mean() - 2.0).abs() < 0.001, "{}", board.mean());
}

#[test]
fn the_proxies_of_a_stack_are_told_apart() {
    let text: String = ["proxy-1", "proxy-2"]
        .iter()
        .flat_map(|name| BLOCK.lines().map(move |line| format!("{name}  | {line}\n")))
        .collect();
    let board = fed(&text);
    assert_eq!(board.groups.len(), 4);
    assert!(board.has_several_sources());
}

const VIEW: &str = r#"{"name":"back-end","trouble":null,"panic":true,"queue":null,"retries":3,
    "statuses":{"2xx":40,"5xx":2},"peers":[{"address":"172.18.0.7:5252","host":null,"tier":"backup",
    "weight":1,"state":"failing","reason":"failing probes: status 503","for_ms":3000,"hand":null,
    "in_flight":1,"max_conns":0,"requests":42,"failures":2,"average_ms":null,"last_probe":null}]}"#;

/// A dashboard in JSON.
fn views(second: u64, view: &str) -> String {
    let view = view.replace('\n', "");
    format!(
        r#"{{"ts":"2026-11-21T06:40:{second:02}.000+00:00","level":"INFO","event":"health dashboard","upstreams":[{view}]}}"#
    )
}

#[test]
fn what_a_view_has_counted_is_not_counted_again_where_the_access_log_follows() {
    let mut board = Board::default();
    feed(&mut board, &views(10, VIEW));
    feed(&mut board, &request("172.18.0.7:5252", 9, 200));
    feed(&mut board, &views(11, VIEW));
    let group = &board.groups[0];
    assert_eq!((group.statuses.success, group.statuses.server_error, group.retries), (1, 0, 1));
    assert_eq!(group.peers[0].requests, 1);
}

#[test]
fn a_view_takes_the_place_of_what_was_known() {
    let mut board = fed(BLOCK);
    feed(&mut board, &views(10, VIEW));
    assert_eq!(peers(&board), ["! 172.18.0.7:5252 failing probes: status 503"]);
    let group = &board.groups[0];
    assert_eq!((board.groups.len(), group.panic, group.retries), (1, true, 3));
    assert_eq!(group.peers[0].standing, Some(Standing::In(State::Failing)));
    assert_eq!(board.mean(), 0.0, "how many there were before is not known");
    feed(&mut board, &views(14, &VIEW.replace("\"requests\":42", "\"requests\":82")));
    let peer = &board.groups[0].peers[0];
    assert_eq!(peer.rate.latest(2, board.now), [10.0, 10.0]);
}

#[test]
fn every_word_for_a_state_is_known() {
    use State::{Absent, Down, Draining, Ejected, Failing, Full, Probation, Up, Waiting};
    for (words, state) in [
        ("up", Up),
        ("up, though absent from DNS", Up),
        ("full (8 in flight)", Full),
        ("ejected for answer, 3 in a row, trial due", Ejected),
        ("on probation", Probation),
        ("waiting for first probe", Waiting),
        ("failing probes: connect refused", Failing),
        ("absent from DNS", Absent),
        ("draining by hand", Draining),
        ("down", Down),
    ] {
        assert_eq!(Standing::of(words), Some(Standing::In(state)), "{words}");
    }
    assert_eq!(Standing::of("left DNS"), Some(Standing::Left));
    assert_eq!(Standing::of("?"), None);
}

#[test]
fn a_log_in_any_order_and_cut_anywhere_is_no_panic() {
    let lines: Vec<String> = BLOCK
        .lines()
        .map(str::to_owned)
        .chain([EJECTED.to_owned(), request("172.18.0.4:5252", 59, 502), request("x", 0, 999)])
        .collect();
    let text = lines.join("\n");
    for end in 0..text.len() {
        let mut board = Board::default();
        for line in text.as_bytes()[..end].split(|byte| *byte == b'\n') {
            board.feed(line);
        }
        board.tick(u64::MAX);
        for line in lines.iter().rev() {
            board.feed(line.as_bytes());
        }
        board.mean();
        peers(&board);
    }
}
