//! The exact text of blocks and summaries, and when they are due.

use std::time::Duration;

use super::*;
use crate::config::model;
use crate::health::Tick;
use crate::observe::view::State;
use crate::upstream::{Distribution, StatusCounts};

fn peer(address: &str, state: State) -> PeerView {
    in_words(address, state, "up")
}

fn in_words(address: &str, state: State, words: &str) -> PeerView {
    PeerView {
        state,
        words: words.into(),
        reason: words.into(),
        lasting: Duration::from_secs(192),
        ..PeerView::plain(address)
    }
}

fn upstream(name: &str, peers: Vec<PeerView>) -> UpstreamView {
    UpstreamView { name: name.into(), peers, ..UpstreamView::default() }
}

fn passed(millis: u64) -> Option<ProbeView> {
    Some(ProbeView::Passed { took: Duration::from_millis(millis) })
}

fn failed(error: &str) -> Option<ProbeView> {
    Some(ProbeView::Failed { error: error.into() })
}

/// The stack of the module head, with all that can be wrong.
fn stack() -> Vec<UpstreamView> {
    let back_end = vec![
        PeerView {
            last_probe: passed(4),
            requests: 50,
            in_flight: 2,
            ..peer("172.18.0.4:5252", State::Up)
        },
        PeerView {
            lasting: Duration::from_secs(3),
            last_probe: failed("connection refused"),
            requests: 50,
            ..in_words("172.18.0.5:5252", State::Ejected, "ejected for connect, 7s left")
        },
        PeerView {
            lasting: Duration::from_secs(62),
            ..in_words("172.18.0.6:5252", State::Absent, "absent from DNS")
        },
        PeerView {
            tier: Tier::Backup,
            last_probe: passed(6),
            ..peer("172.18.0.9:8002", State::Up)
        },
    ];
    let front_end = PeerView { requests: 7, ..peer("172.18.0.3:9000", State::Up) };
    let api =
        UpstreamView { trouble: Some("no such name (NXDOMAIN)".into()), ..upstream("api", vec![]) };
    vec![upstream("back-end", back_end), upstream("front-end:9000", vec![front_end]), api]
}

#[test]
fn a_probe_that_took_no_time_worth_naming_has_passed_all_the_same() {
    let peer = PeerView { last_probe: passed(0), ..peer("172.18.0.4:5252", State::Up) };
    let text = block(&[upstream("back-end", vec![peer])]);
    assert!(text.contains(" <1ms "), "{text}");
}

#[test]
fn a_block_shows_at_a_glance_what_is_up() {
    let expected = "\
health dashboard: back-end 1/3 up, backups 1/1; front-end:9000 1/1 up; api no addresses
      peer             tier    state                         for    last probe           share  in flight
  back-end: 1/3 peers up, 1/1 backups up
    + 172.18.0.4:5252          up                            3m12s  4ms                  50.0%          2
    ! 172.18.0.5:5252          ejected for connect, 7s left  3s     connection refused   50.0%          0
    - 172.18.0.6:5252          absent from DNS               1m02s                        0.0%          0
    + 172.18.0.9:8002  backup  up                            3m12s  6ms                   0.0%          0
  front-end:9000: 1/1 peers up
    + 172.18.0.3:9000          up                            3m12s                      100.0%          0
  api: no addresses: no such name (NXDOMAIN)";
    assert_eq!(block(&stack()), expected);
}

#[test]
fn every_state_has_its_mark() {
    use State::{Absent, Down, Draining, Ejected, Failing, Full, Probation, Up, Waiting};
    for (mark, states) in [
        ('+', &[Up, Full][..]),
        ('!', &[Ejected, Failing]),
        ('~', &[Probation, Waiting]),
        ('-', &[Absent, Draining, Down]),
    ] {
        for state in states {
            let text = block(&[upstream("site", vec![peer("10.0.0.1:80", *state)])]);
            assert!(text.contains(&format!("\n    {mark} 10.0.0.1:80")), "{state:?}: {text}");
        }
    }
}

#[test]
fn peers_of_several_hosts_are_told_apart_by_name() {
    let of = |host: &str, address, tier| PeerView {
        host: Some(host.into()),
        tier,
        requests: 1,
        ..peer(address, State::Up)
    };
    let peers = vec![
        of("server1", "[fd00::4]:5000", Tier::Primary),
        of("server2", "172.18.0.5:5000", Tier::Primary),
        of("spare", "172.18.0.6:5000", Tier::Backup),
    ];
    let expected = "\
health dashboard: flask 2/2 up, backups 1/1
      peer             server   tier    state  for    share  in flight
  flask: 2/2 peers up, 1/1 backups up
    + [fd00::4]:5000   server1          up     3m12s  33.3%          0
    + 172.18.0.5:5000  server2          up     3m12s  33.3%          0
    + 172.18.0.6:5000  spare    backup  up     3m12s  33.3%          0";
    assert_eq!(block(&[upstream("flask", peers)]), expected);
}

#[test]
fn an_upstream_that_cannot_serve_stands_out() {
    let mut flask = upstream("flask", vec![peer("10.0.0.1:80", State::Failing)]);
    flask.trouble = Some("the name server answered SERVFAIL".into());
    let text = block(&[flask]);
    assert!(text.starts_with("health dashboard: flask NONE of 1 up\n"), "{text}");
    let heading = "\n  flask: 0/1 peers up (the name server answered SERVFAIL)\n";
    assert!(text.contains(heading), "{text}");
}

#[test]
fn panic_is_seen_at_a_glance() {
    let mut flask = upstream("flask", vec![peer("10.0.0.1:80", State::Failing)]);
    flask.panic = true;
    let text = block(&[flask]);
    assert!(text.starts_with("health dashboard: flask NONE of 1 up, panic\n"), "{text}");
    let heading = "\n  flask: 0/1 peers up, panic: too many are out, all are used\n";
    assert!(text.contains(heading), "{text}");
}

#[test]
fn upstreams_without_addresses_need_no_table() {
    let expected = "health dashboard: api no addresses\n  api: no addresses yet";
    assert_eq!(block(&[upstream("api", vec![])]), expected);
    assert_eq!(block(&[]), "health dashboard: no upstreams");
}

#[test]
fn nothing_from_outside_reaches_the_terminal_as_a_command() {
    let mut evil = upstream("a\nb", vec![peer("10.0.0.1:80", State::Failing)]);
    evil.peers[0].last_probe = failed("status 200\r\n\u{1b}[2Jfake");
    evil.trouble = Some("\u{9b}31m".into());
    let (_, sums) = Sums::new(at(0)).take(std::slice::from_ref(&evil), times, at(1));
    let text = block(&[evil.clone()]) + &summary::line(&[evil], &sums);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    assert!(text.contains(r"status 200\x0D\x0A\x1B[2Jfake"), "{text}");
    assert!(text.contains(r"a\x0Ab"), "{text}");
}

#[test]
fn a_long_error_is_cut_and_not_within_an_escape() {
    assert_eq!(shortened(&"x".repeat(60)), "x".repeat(60));
    assert_eq!(shortened(&"x".repeat(61)), format!("{}…", "x".repeat(59)));
    let newline_at = |place: usize| shortened(&format!("{:x<place$}\n{:x<20}", "", ""));
    assert_eq!(newline_at(55), format!(r"{:x<55}\x0A…", ""));
    assert_eq!(newline_at(56), format!("{:x<56}…", ""));
    assert_eq!(newline_at(58), format!("{:x<58}…", ""));
}

#[test]
fn the_summary_is_one_line() {
    let expected = "health summary: back-end 1/3 up, backups 1/1: 100 requests, 3 errors, 1 retry, \
                    p50 3ms, p99 4ms, 2 in flight; front-end:9000 1/1 up: 7 requests, 0 errors, \
                    0 retries, 0 in flight; api no addresses: 0 requests, 0 errors, 0 retries, \
                    0 in flight";
    let mut stack = stack();
    counted(&mut stack[0], 97, 3, 1);
    counted(&mut stack[1], 7, 0, 0);
    let (since, sums) = Sums::new(at(0)).take(&stack, times, at(60_000));
    assert_eq!(since, MINUTE);
    assert_eq!(summary::line(&stack, &sums), expected);
}

fn counted(upstream: &mut UpstreamView, success: u64, server_error: u64, retries: u64) {
    upstream.statuses = StatusCounts { success, server_error, ..StatusCounts::default() };
    upstream.retries = retries;
}

/// A hundred requests of 2.5 to 5 ms to the first upstream, none to the others.
fn times(at: usize) -> Distribution {
    let mut times = Distribution::default();
    times.counts[3] = if at == 0 { 100 } else { 0 };
    times
}

#[test]
fn a_summary_tells_of_what_came_after_the_last() {
    let mut stack = stack();
    counted(&mut stack[0], 97, 3, 1);
    let mut sums = Sums::new(at(0));
    sums.take(&stack, times, at(60_000));
    let again = |sums: &mut Sums, stack: &[UpstreamView], now| {
        let (since, taken) = sums.take(stack, times, at(now));
        (since.as_secs(), taken[0].requests, taken[0].errors, taken[0].retries, taken[0].p50_ms)
    };
    assert_eq!(again(&mut sums, &stack, 90_000), (30, 0, 0, 0, None));
    counted(&mut stack[0], 107, 5, 4);
    assert_eq!(again(&mut sums, &stack, 150_000), (60, 12, 2, 3, None));
    // A reload that changes the upstream begins its counts anew.
    counted(&mut stack[0], 4, 1, 0);
    assert_eq!(again(&mut sums, &stack, 210_000), (60, 5, 1, 0, None));
}

#[test]
fn a_peer_that_left_stays_listed_with_how_long_it_is_gone() {
    let left = LeftView {
        address: "172.18.0.6:5252".into(),
        tier: Tier::Backup,
        reason: "left DNS".into(),
        lasting: Duration::from_secs(62),
        requests: 7,
        history: None,
    };
    let peers = vec![peer("172.18.0.4:5252", State::Up)];
    let expected = "\
health dashboard: back-end 1/1 up
      peer             tier    state     for    share  in flight
  back-end: 1/1 peers up
    + 172.18.0.4:5252          up        3m12s      -          0
    - 172.18.0.6:5252  backup  left DNS  1m02s";
    assert_eq!(
        block(&[UpstreamView { left: vec![left], ..upstream("back-end", peers) }]),
        expected
    );
}

#[test]
fn failures_and_latency_are_shown_where_there_are_some() {
    let fast = |failures| PeerView {
        requests: 2000,
        failures,
        p50_ms: Some(0.4),
        p99_ms: Some(1234.5),
        ..peer("172.18.0.4:5252", State::Up)
    };
    let expected = "\
health dashboard: back-end 3/3 up
      peer             state  for    share  failed    p50/p99  in flight
  back-end: 3/3 peers up
    + 172.18.0.4:5252  up     3m12s  33.3%          <1ms/1.2s          0
    + 172.18.0.4:5252  up     3m12s  33.3%   <0.1%  <1ms/1.2s          0
    + 172.18.0.4:5252  up     3m12s  33.3%    2.0%  <1ms/1.2s          0";
    let text = block(&[upstream("back-end", vec![fast(0), fast(1), fast(40)])]);
    assert_eq!(text, expected);
}

#[test]
fn no_line_is_wider_than_120_columns() {
    let long = PeerView {
        host: Some("a-host-with-a-rather-long-name.example.internal".into()),
        tier: Tier::Backup,
        last_probe: failed(&"status 503 \u{1b} expected 200-399, ".repeat(5)),
        requests: u64::MAX / 4,
        failures: 12,
        p50_ms: Some(1234.0),
        p99_ms: Some(61_234.0),
        in_flight: u32::MAX,
        ..in_words(
            "[2001:db8:85a3::8a2e:370:7334]:65535",
            State::Ejected,
            "ejected for answer, 120 of 300 failed, 1m02s left",
        )
    };
    let other = PeerView { host: Some("other".into()), ..long.clone() };
    let text = block(&[upstream("back-end", vec![long, other])]);
    for line in text.lines().skip(1) {
        assert!(line.chars().count() <= 120, "{} in {line}", line.chars().count());
    }
    assert!(text.contains("! [2001") && text.contains("ejected for"), "{text}");
}

const MINUTE: Duration = Duration::from_secs(60);

fn schedule(enabled: bool, summary: Duration) -> Schedule {
    Schedule::new(&model::Dashboard { enabled, summary }, at(0))
}

fn at(millis: u64) -> Tick {
    Tick::from_millis(millis)
}

#[test]
fn a_block_is_due_at_start_and_on_a_change() {
    let mut schedule = schedule(true, MINUTE);
    assert_eq!(schedule.next(), Some(at(0)));
    assert_eq!(schedule.due(at(0)), Some(Due::Block));
    assert_eq!(schedule.due(at(0)), None);
    assert_eq!(schedule.due(at(5000)), None, "nothing has changed");
    schedule.change();
    assert_eq!(schedule.due(at(5000)), Some(Due::Block));
}

#[test]
fn changes_in_the_quiet_second_are_one_block_at_its_end() {
    let mut schedule = schedule(true, MINUTE);
    assert_eq!(schedule.due(at(100)), Some(Due::Block));
    for millis in [200, 300, 900] {
        schedule.change();
        assert_eq!(schedule.due(at(millis)), None);
        assert_eq!(schedule.next(), Some(at(1100)), "somebody has to come back for it");
    }
    assert_eq!(schedule.due(at(1100)), Some(Due::Block));
    assert_eq!(schedule.due(at(2500)), None, "it was printed once");
}

#[test]
fn a_peer_that_was_away_for_a_moment_is_not_lost() {
    let mut schedule = schedule(true, MINUTE);
    let up = [upstream("site", vec![peer("10.0.0.1:80", State::Up)])];
    let out = [upstream("site", vec![peer("10.0.0.1:80", State::Failing)])];
    schedule.see(&up);
    assert_eq!(schedule.due(at(0)), Some(Due::Block));
    schedule.see(&out);
    schedule.see(&up);
    assert_eq!(schedule.due(at(500)), None);
    assert_eq!(schedule.due(at(1000)), Some(Due::Block));
}

#[test]
fn what_moves_all_the_time_is_no_change() {
    let mut schedule = schedule(true, MINUTE);
    let mut view = stack();
    schedule.see(&view);
    assert_eq!(schedule.due(at(0)), Some(Due::Block));
    view[0].peers[0].requests += 100;
    view[0].peers[0].in_flight += 1;
    view[0].peers[0].lasting += MINUTE;
    view[0].peers[1].words = "ejected for connect, 6s left".into();
    view[0].peers[0].state = State::Full;
    view[0].peers[1].last_probe = failed("timed out after 1.002s");
    schedule.see(&view);
    assert_eq!(schedule.due(at(2000)), None);
}

#[test]
fn every_change_of_shape_is_a_change() {
    let changes: [fn(&mut Vec<UpstreamView>); 5] = [
        |view| view[0].peers[0].state = State::Probation,
        |view| view[0].peers[0].tier = Tier::Backup,
        |view| drop(view[0].peers.pop()),
        |view| view[2].trouble = Some("the name server answered SERVFAIL".into()),
        |view| drop(view.pop()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut schedule = schedule(true, MINUTE);
        let mut view = stack();
        schedule.see(&view);
        assert_eq!(schedule.due(at(0)), Some(Due::Block));
        change(&mut view);
        schedule.see(&view);
        assert_eq!(schedule.due(at(2000)), Some(Due::Block), "change {number}");
    }
}

#[test]
fn a_summary_is_due_once_a_minute() {
    let mut schedule = schedule(true, MINUTE);
    assert_eq!(schedule.due(at(0)), Some(Due::Block));
    assert_eq!(schedule.next(), Some(at(60_000)));
    let due = (1..=180).filter_map(|second| schedule.due(at(second * 1000)));
    assert_eq!(due.collect::<Vec<_>>(), [Due::Summary; 3]);
}

#[test]
fn a_block_and_a_summary_due_together_are_both_printed() {
    let mut schedule = schedule(true, MINUTE);
    assert_eq!(schedule.due(at(0)), Some(Due::Block));
    schedule.change();
    assert_eq!(schedule.due(at(60_000)), Some(Due::Block));
    assert_eq!(schedule.due(at(60_000)), Some(Due::Summary));
    assert_eq!(schedule.due(at(60_000)), None);
}

#[test]
fn what_is_switched_off_is_never_due() {
    let mut quiet = schedule(false, Duration::ZERO);
    quiet.change();
    assert_eq!((quiet.due(at(600_000)), quiet.next()), (None, None));
    let mut summaries = schedule(false, MINUTE);
    assert_eq!(summaries.due(at(0)), None);
    assert_eq!(summaries.due(at(60_000)), Some(Due::Summary));
}
