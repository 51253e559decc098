//! Lines as they are met, whole and broken.

use super::*;

fn read_text(line: &str) -> Option<Entry> {
    read(line.as_bytes())
}

const EJECTED: &str = "2026-11-21T06:40:11.123+00:00 WARN peer ejected upstream=back-end \
    peer=172.18.0.4:5252 fails=1 for=10s cause=connect was=up was_for=3m12s \
    reason=\"ejected for connect, 10s left\" requests=1200 failures=3 in_flight=2";
const REQUEST: &str = "127.0.0.1 - a [b] - [21/Nov/2026:06:40:11 +0000] \"GET /api?a=1 HTTP/1.1\" 200 13 \
    \"-\" \"curl | upstream=x\" upstream=back-end attempts=\"172.18.0.4:5252 - 0.001 connect refused, \
    172.18.0.5:5252 200 0.004\" time=0.005 id=9f31";

fn told(line: &str) -> Told {
    match read_text(line).expect("a line of robin's").what {
        What::Event(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_is_read_in_each_of_its_forms() {
    let json = r#"{"ts":"2026-11-21T06:40:11.123+00:00","level":"WARN","event":"peer ejected","upstream":"back-end","peer":"172.18.0.4:5252","fails":1,"for_ms":10000,"reason":"ejected for connect, 10s left"}"#;
    let nginx =
        EJECTED.replace("2026-11-21T06:40:11.123+00:00 WARN", "2026/11/21 06:40:11 [warn] 17#18:");
    for line in [EJECTED, json, &nginx] {
        let told = told(line);
        assert_eq!((told.level.as_str(), told.event.as_str()), ("WARN", "peer ejected"));
        assert_eq!(told.field("peer"), Some("172.18.0.4:5252"));
        assert_eq!(told.field("reason"), Some("ejected for connect, 10s left"));
        assert_eq!(told.number("fails"), Some(1));
    }
}

#[test]
fn compose_may_put_names_stamps_and_colours_before_a_line() {
    for (before, source) in [
        ("", ""),
        ("proxy-1  | ", "proxy-1"),
        ("stack_proxy_1     | ", "stack_proxy_1"),
        ("proxy-1  | 2026-11-21T06:40:11.123456789Z ", "proxy-1"),
        ("2026-11-21T06:40:11.123456789Z ", ""),
        ("\u{1b}[36mproxy-1  |\u{1b}[0m ", "proxy-1"),
        ("\u{1b}[36m\u{1b}[1mproxy-1 | \u{1b}[0m\u{1b}]0;title\u{7}", "proxy-1"),
    ] {
        let entry = read_text(&format!("{before}{EJECTED}\r\n")).expect("a line of robin's");
        assert_eq!(
            (entry.source.as_str(), entry.at),
            (source, Some(1_795_243_211_123)),
            "{before:?}"
        );
        assert!(matches!(entry.what, What::Event(_)), "{before:?}");
        let row = read_text(&format!("{before}    + 172.18.0.4:5252  up")).expect("a row");
        assert_eq!(row.what, What::Within("    + 172.18.0.4:5252  up".into()), "{before:?}");
    }
}

#[test]
fn a_request_is_read_in_each_of_its_forms() {
    let json = r#"{"time":"2026-11-21T06:40:11+00:00","client":"127.0.0.1","status":200,"upstream":"back-end","attempts":[{"peer":"172.18.0.4:5252","status":null,"time_ms":1,"error":"connect refused"},{"peer":"172.18.0.5:5252","status":200,"time_ms":4.0}],"time_ms":5}"#;
    for line in [REQUEST, json] {
        let entry = read_text(line).expect("a line of robin's");
        assert_eq!(entry.at, Some(1_795_243_211_000));
        let What::Request(request) = entry.what else { panic!("{line}") };
        assert_eq!((request.status, request.upstream.as_deref()), (200, Some("back-end")));
        assert!((request.millis - 5.0).abs() < 0.001, "{}", request.millis);
        let peers: Vec<_> = request.attempts.iter().map(|a| (a.peer.as_str(), a.status)).collect();
        assert_eq!(peers, [("172.18.0.4:5252", None), ("172.18.0.5:5252", Some(200))]);
    }
}

#[test]
fn what_others_log_is_ignored() {
    for line in [
        "",
        "db-1  | ready to accept connections",
        "front-end-1  | 172.18.0.2 - - [21/Nov/2026:06:40:11 +0000] \"GET / HTTP/1.0\" 200 13 \"-\" \"-\"",
        "back-end-1  |  * Serving Flask app 'hello'",
        "{\"level\":\"info\",\"msg\":\"hello\"}",
        "{\"status\":200}",
        "2026-11-21T06:40:11.123+00:00 hello",
    ] {
        let what = read_text(line).map(|entry| entry.what);
        assert!(matches!(what, None | Some(What::Within(_))), "{line}: {what:?}");
    }
}

#[test]
fn a_block_is_read_by_where_its_titles_stand() {
    let text = [
        "      peer             server   tier    state                         for    last probe           share  failed    p50/p99  in flight",
        "  back-end: 1/2 peers up, 1/1 backups up, panic: too many are out, all are used (timed out)",
        "    + [fd00::4]:5000   server1          up                            3m12s  4ms                  50.0%          <1ms/1.2s          2",
        "    ! 172.18.0.5:5000  server2          ejected for connect, 7s left  3s     connection refused…  50.0%    0.5%                     0",
        "    - 172.18.0.9:8002           backup  left DNS                      1m02s",
        "  front-end:9000: 1/1 peers up",
        "  api: no addresses: no such name (NXDOMAIN)",
    ];
    let mut block = Block::default();
    let rows: Vec<Row> = text.iter().filter_map(|line| block.read(line)).collect();
    assert_eq!(rows.len(), 7);
    let trouble = |text: &str| Some(text.to_owned());
    let upstream = |name: &str, peers, panic, trouble| Row::Upstream {
        name: name.into(),
        peers,
        panic,
        trouble,
    };
    assert_eq!(rows[1], upstream("back-end", 3, true, trouble("timed out")));
    assert_eq!(rows[5], upstream("front-end:9000", 1, false, None));
    assert_eq!(rows[6], upstream("api", 0, false, trouble("no such name (NXDOMAIN)")));
    let Row::Peer(first) = &rows[2] else { panic!("{rows:?}") };
    assert_eq!((first.address.as_str(), first.host.as_str()), ("[fd00::4]:5000", "server1"));
    assert_eq!((first.words.as_str(), first.lasting_ms), ("up", Some(192_000)));
    assert_eq!((first.share, first.p99_ms, first.in_flight), (Some(50.0), Some(1200.0), Some(2)));
    let Row::Peer(gone) = &rows[4] else { panic!("{rows:?}") };
    let Row::Peer(out) = &rows[3] else { panic!("{rows:?}") };
    assert_eq!(out.words, "ejected for connect, 7s left");
    assert_eq!((out.lasting_ms, out.share, out.p50_ms), (Some(3000), Some(50.0), None));
    assert_eq!((gone.words.as_str(), gone.backup, gone.in_flight), ("left DNS", true, None));
}

#[test]
fn times_are_read_as_they_are_printed() {
    for (text, millis) in [
        ("<1ms", Some(0)),
        ("7ms", Some(7)),
        ("1.5s", Some(1500)),
        ("3m12s", Some(192_000)),
        ("2h05m", Some(7_500_000)),
        ("3d04h", Some(273_600_000)),
        ("", None),
        ("s", None),
        ("3x", None),
        ("9e99s", None),
        ("1..2s", None),
    ] {
        assert_eq!(short(text).map(|time| time.as_millis()), millis, "{text}");
    }
}

#[test]
fn a_line_cut_at_any_byte_or_with_any_byte_changed_is_no_panic() {
    let mut block = Block::default();
    let titles = "      peer             state  for    share  in flight";
    let rows = [
        "  a: 1/2 peers up, 1/1 backups up (x)",
        "    + 172.18.0.4:5252  up…   3m12s  33.3%          0",
    ];
    let json = r#"{"ts":"2026-11-21T06:40:11.123+00:00","level":"WARN","event":"x","n":[1,{"a":"\u00e9"}]}"#;
    for line in
        [EJECTED, REQUEST, json, titles, rows[0], rows[1], "\u{1b}[3", "a | 2026-11-21T06:40:11Z x"]
    {
        for end in 0..=line.len() {
            let _ = read(&line.as_bytes()[..end]);
            let _ = block.read(&String::from_utf8_lossy(&line.as_bytes()[..end]));
            let mut changed = line.as_bytes().to_vec();
            for byte in [0, b' ', b'"', b'[', b'\\', 0x1b, 0xff] {
                if let Some(place) = changed.get_mut(end) {
                    *place = byte;
                    let _ = read(&changed);
                    let _ = block.read(&String::from_utf8_lossy(&changed));
                }
            }
        }
    }
}
