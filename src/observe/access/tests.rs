//! What a line looks like, and what a log on a file does.

use std::net::Ipv6Addr;

use jiff::tz::TimeZone;

use super::*;

const ID: &str = "9f31c0d2";

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_243_211)
}

fn peer(last: u8) -> PeerAddress {
    PeerAddress::from(([172, 18, 0, last], 5252))
}

fn hello() -> Record<'static> {
    let request = RequestLine::Parsed {
        method: &Method::GET,
        target: b"/api/hello?x=1",
        version: Version::HTTP_11,
    };
    Record {
        client: Some(IpAddr::from([127, 0, 0, 1])),
        user: None,
        at: at(),
        request,
        status: 200,
        body_bytes: 13,
        host: Some("example.org"),
        referer: None,
        user_agent: None,
        upstream: Some("back-end"),
        attempts: &[],
        time: Duration::from_millis(5),
        id: ID,
        trace_id: None,
        reason: None,
    }
}

fn printed(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    format(&mut out, record, &mut AccessStamp::new(TimeZone::UTC));
    let line = String::from_utf8(out).expect("a line is ASCII");
    line.strip_suffix('\n').expect("a line ends in a newline").to_owned()
}

#[test]
fn a_line_is_combined_with_every_attempt() {
    let agent = HeaderValue::from_static("curl/7.88");
    let attempts = [
        Attempt {
            address: peer(4),
            status: None,
            time: Duration::from_millis(1),
            error: Some("connect refused".into()),
            measured: Measured::default(),
        },
        Attempt {
            address: peer(5),
            status: Some(200),
            time: Duration::from_millis(4),
            error: None,
            measured: Measured::default(),
        },
    ];
    let record = Record { user_agent: Some(&agent), attempts: &attempts, ..hello() };
    let expected = "127.0.0.1 - - [21/Nov/2026:06:40:11 +0000] \"GET /api/hello?x=1 HTTP/1.1\" 200 13 \
                    \"-\" \"curl/7.88\" upstream=back-end \
                    attempts=\"172.18.0.4:5252 - 0.001 connect refused, 172.18.0.5:5252 200 0.004\" \
                    time=0.005 id=9f31c0d2";
    assert_eq!(printed(&record), expected);
}

#[test]
fn a_request_that_was_not_understood_says_why() {
    let record = Record {
        client: Some(IpAddr::from(Ipv6Addr::LOCALHOST)),
        request: RequestLine::Raw(b"GET / x\r\nHTTP\x16"),
        status: 400,
        upstream: None,
        reason: Some("a raw space in the request line"),
        ..hello()
    };
    let expected = "::1 - - [21/Nov/2026:06:40:11 +0000] \"GET / x\\x0D\\x0AHTTP\\x16\" 400 13 \"-\" \
                    \"-\" upstream=- attempts=\"-\" time=0.005 id=9f31c0d2 \
                    reason=\"a raw space in the request line\"";
    assert_eq!(printed(&record), expected);
}

#[test]
fn a_client_cannot_end_a_field() {
    let agent = HeaderValue::from_bytes(b"a\" 200 \xff\\").expect("visible and opaque bytes");
    let record = Record { user_agent: Some(&agent), user: Some(b"me\n"), ..hello() };
    let line = printed(&record);
    assert!(line.contains(r#""a\x22 200 \xFF\x5C" upstream="#), "{line}");
    assert!(line.contains(r"127.0.0.1 - me\x0A ["), "{line}");
}

/// The lines are what nginx 1.22 logged for these requests.
#[test]
fn the_combined_part_is_what_nginx_prints() {
    let combined = |record: Record<'_>| {
        let line = printed(&Record { body_bytes: 1, ..record });
        let (_, rest) = line.split_once(" - ").expect("the client comes first");
        let (combined, _) = rest.split_once(" upstream=").expect("our keys come after");
        combined.replace("[21/Nov/2026:06:40:11 +0000] ", "")
    };
    let agent = HeaderValue::from_bytes(b"a\"b\\c\xff\td").expect("legal bytes");
    let target = b"/a?b=\"\\c";
    let request = RequestLine::Parsed { method: &Method::GET, target, version: Version::HTTP_11 };
    let record = Record { request, user_agent: Some(&agent), ..hello() };
    let expected = r#"- "GET /a?b=\x22\x5Cc HTTP/1.1" 200 1 "-" "a\x22b\x5Cc\xFF\x09d""#;
    assert_eq!(combined(record), expected);

    let empty = HeaderValue::from_static("");
    let request = RequestLine::Raw(b"GET /9");
    let record = Record { request, referer: Some(&empty), user_agent: Some(&empty), ..hello() };
    assert_eq!(combined(record), r#"- "GET /9" 200 1 "" """#);

    let request = RequestLine::Raw(b"\x16\x03\x01\x02\0\x01");
    let record = Record { request, status: 400, user: Some(b"me\nx"), ..hello() };
    assert_eq!(combined(record), r#"me\x0Ax "\x16\x03\x01\x02\x00\x01" 400 1 "-" "-""#);

    let record = Record { user: Some(b""), request: RequestLine::Raw(b"GET /u"), ..hello() };
    assert_eq!(combined(record), r#"- "GET /u" 200 1 "-" "-""#);
}

#[test]
fn an_error_with_a_comma_stays_in_its_attempt() {
    let attempts = [Attempt {
        address: peer(4),
        status: None,
        time: Duration::from_secs(60),
        error: Some("timed out, twice".into()),
        measured: Measured::default(),
    }];
    let line = printed(&Record { attempts: &attempts, ..hello() });
    assert!(line.contains(r#"attempts="172.18.0.4:5252 - 60.000 timed out\x2C twice" "#), "{line}");
}

#[test]
fn no_request_line_and_no_address_are_a_dash_and_unix() {
    let record = Record { client: None, request: RequestLine::Raw(b""), ..hello() };
    assert!(printed(&record).starts_with("unix: - - ["));
    assert!(printed(&record).contains("] \"-\" 200 "));
}

#[test]
fn a_file_is_appended_to_and_complete_after_close() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let path = dir.path().join("access.log");
    std::fs::write(&path, "before\n").expect("the directory can be written to");
    let target = model::AccessLog::File(path.clone());
    let log = AccessLog::open(&target).expect("the file can be opened");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || (0..500).for_each(|_| log.write(&hello(), Preset::Robin)));
        }
    });
    assert!(log.close(Duration::from_secs(10)));
    let text = std::fs::read_to_string(&path).expect("the log can be read");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("before"));
    assert_eq!(lines.filter(|l| l.ends_with("time=0.005 id=9f31c0d2")).count(), 2000);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let missing = Path::new("/nonexistent/robin/access.log");
    assert_eq!(AccessLog::file(missing).err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
}

#[test]
fn a_log_that_is_off_takes_lines_and_closes() {
    let log = AccessLog::off();
    log.write(&hello(), Preset::Robin);
    assert!(log.is_off());
    assert!(log.close(Duration::ZERO));
}
