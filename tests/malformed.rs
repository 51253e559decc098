//! Requests that must not be forwarded: each gets its page and its line in the access log.

mod common;

use std::net::SocketAddr;

use common::client::{Client, Request};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;

struct Stack {
    origin: Origin,
    robin: Robin,
}

fn stack(settings: &str) -> Stack {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("{settings}\nroutes: {{ /: {} }}", origin.address()));
    Stack { origin, robin }
}

fn client(address: SocketAddr) -> Client {
    Client::connect(address).expect("it listens")
}

/// What the page says is its id; it must be the one in the last of `lines` lines of the log.
#[track_caller]
fn page_and_line(robin: &Robin, page: &Message, lines: usize) -> String {
    let text = page.text();
    let (_, id) = text.split_once("Request id: ").expect("the page shows an id");
    let id = id.split('<').next().unwrap_or_default();
    assert_eq!(id.len(), 32, "{text}");
    assert_eq!(text.matches("<p>").count(), 3, "a sentence, an id and a name: {text}");
    let line = robin.access_lines(lines).pop().expect("a line");
    assert!(line.contains(&format!(" id={id}")), "{line}");
    assert!(line.contains(&format!("\" {} ", page.status())), "{line}");
    assert_eq!(page.header("content-type"), Some("text/html"));
    line
}

/// Each of these alone on a connection is answered with `status`, a page and a line, closes the
/// connection, and never reaches the origin.
#[track_caller]
fn refused(status: u16, requests: &[&[u8]]) {
    let stack = stack("");
    for (number, request) in requests.iter().enumerate() {
        let shown = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
        let mut client = client(stack.robin.address());
        client.send(request).expect("sent");
        let page = client.response().unwrap_or_else(|e| panic!("{shown:?}: {e}"));
        assert_eq!(page.status(), status, "{shown:?}");
        assert_eq!(page.header("connection"), Some("close"), "{shown:?}");
        assert!(client.is_closed(), "{shown:?}");
        page_and_line(&stack.robin, &page, number + 1);
    }
    assert_eq!(stack.origin.connections(), 0);
}

#[test]
fn two_lengths_are_refused() {
    refused(
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 2\r\n\r\nab",
        ],
    );
}

#[test]
fn lengths_that_are_none_are_refused() {
    refused(
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999999\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \r\n\r\n",
        ],
    );
}

#[test]
fn transfer_encodings_that_robin_cannot_read_are_refused() {
    let stack = stack("");
    for encoding in [
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "xchunked",
        "chunked\r\nTransfer-Encoding: chunked",
    ] {
        let mut client = client(stack.robin.address());
        let head = format!("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: {encoding}\r\n\r\n");
        client.send(head + "0\r\n\r\n").expect("sent");
        let status = client.response().expect("an answer").status();
        // 501 is nginx's.
        assert!(matches!(status, 400 | 501), "{encoding}: {status}");
    }
    assert_eq!(stack.origin.count(), 0);
}

#[test]
fn a_request_names_exactly_one_host() {
    refused(
        400,
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        ],
    );
}

#[test]
fn http_1_0_needs_no_host() {
    let stack = stack("");
    let mut client = client(stack.robin.address());
    client.send("GET / HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
}

#[test]
fn a_request_line_has_two_spaces_and_no_control_byte() {
    refused(
        400,
        &[
            b"GET /a b HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a%20b c HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a\x01b HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a\tb HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a\x7fb HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n",
            b"G\x01T / HTTP/1.1\r\nHost: t\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn a_path_stays_below_the_root_and_has_whole_escapes() {
    refused(
        400,
        &[
            b"GET /a/../../ HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /.. HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /%2e%2e/ HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a/..%2f..%2f HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /a%00b HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /% HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET index.html HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET ?a HTTP/1.1\r\nHost: t\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn what_is_no_http_is_refused() {
    refused(
        400,
        &[
            b"garbage\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1 x\r\nHost: t\r\n\r\n",
            b"GET / FTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX-Space : 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\n: empty\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX-A: 1\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\n X: 1\r\nHost: t\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX-Nul: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: t\r\nX-Cr: a\rb\r\n\r\n",
        ],
    );
}

#[test]
fn methods_that_are_none_are_refused() {
    refused(400, &[b"get / HTTP/1.1\r\nHost: t\r\n\r\n", b"G!T / HTTP/1.1\r\nHost: t\r\n\r\n"]);
}

#[test]
fn tunnels_and_traces_are_refused() {
    refused(
        405,
        &[
            b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
            b"TRACE / HTTP/1.1\r\nHost: t\r\n\r\n",
        ],
    );
}

#[test]
fn a_line_longer_than_8_kib_is_refused() {
    let long = "x".repeat(8200);
    refused(414, &[format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes()]);
    refused(400, &[format!("GET / HTTP/1.1\r\nHost: t\r\nX-Long: {long}\r\n\r\n").as_bytes()]);
}

#[test]
fn a_head_of_32_kib_is_forwarded_and_a_larger_one_refused() {
    let head = |lines: usize| {
        let line = format!("X-Long: {}\r\n", "x".repeat(1000 - 10));
        format!("GET / HTTP/1.1\r\nHost: t\r\n{}\r\n", line.repeat(lines))
    };
    let stack = stack("");
    let mut client = client(stack.robin.address());
    client.send(head(32)).expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
    assert_eq!(stack.origin.requests()[0].header_all("x-long").len(), 32);
    refused(400, &[head(33).as_bytes(), head(200).as_bytes()]);
}

#[test]
fn a_head_without_end_is_refused() {
    let stack = stack("");
    let mut client = client(stack.robin.address());
    let line = format!("X-Long: {}\r\n", "x".repeat(8000));
    client.send("GET / HTTP/1.1\r\nHost: t\r\n").expect("sent");
    // It may be refused before all of it is sent.
    let sent = (0..300).all(|_| client.send(&line).is_ok());
    if sent {
        let _ = client.send("\r\n");
    }
    let page = client.response().expect("an answer");
    assert_eq!(page.status(), 400);
    page_and_line(&stack.robin, &page, 1);
    assert_eq!(stack.origin.connections(), 0);
}

#[test]
fn too_many_headers_are_refused() {
    let lines: String = (0..2000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    refused(400, &[format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n").as_bytes()]);
}

#[test]
fn a_malformed_request_behind_a_good_one_is_refused_after_its_answer() {
    let stack = stack("");
    let good = Request::get("/first").bytes();
    for (number, bad) in [
        &b"GET /a b HTTP/1.1\r\nHost: t\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"garbage\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = client(stack.robin.address());
        client.send([&good[..], bad].concat()).expect("sent");
        assert_eq!(client.response().expect("the first answer").status(), 200);
        let page = client.response().expect("the second answer");
        assert_eq!(page.status(), 400, "{}", String::from_utf8_lossy(bad));
        assert!(client.is_closed());
        let line = page_and_line(&stack.robin, &page, 2 * (number + 1));
        assert!(!line.contains("/first"), "{line}");
    }
    assert_eq!(stack.origin.count(), 4);
}

#[test]
fn a_good_request_line_that_stood_in_an_earlier_request_does_not_excuse_a_bad_one() {
    let stack = stack("");
    let mut client = client(stack.robin.address());
    assert_eq!(client.exchange(&Request::get("/a%20b")).expect("an answer").status(), 200);
    client.send(b"GET /a b HTTP/1.1\r\nHost: t\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 400);
    assert_eq!(stack.origin.count(), 1);
}

#[test]
fn a_chunked_body_that_is_broken_is_refused() {
    let stack = stack("");
    for body in ["xyz\r\n", "-1\r\n", "5\r\nabc\r\n0\r\n\r\n", "1\r\nabc"] {
        let mut client = client(stack.robin.address());
        let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}")).expect("sent");
        client.finish();
        // The body ends early: nobody may be left to read an answer.
        if let Ok(page) = client.response() {
            assert_eq!(page.status(), 400, "{body:?}");
        }
    }
    assert_eq!(stack.origin.count(), 0);
    assert!(
        stack.robin.access_lines(4).iter().all(|l| l.contains("\" 400 ") || l.contains("\" 499 "))
    );
}

#[test]
fn the_reason_is_told_where_that_is_switched_on_and_never_as_markup() {
    for (details, shown) in [("on", true), ("off", false)] {
        let stack = stack(&format!("error_details: {details}"));
        let refused = stack.origin.address();
        drop(stack.origin);
        let page = common::client::get(stack.robin.address(), "/");
        assert_eq!(page.status(), 502);
        let text = page.text();
        assert_eq!(text.contains("Reason: "), shown, "{text}");
        assert_eq!(text.contains(&refused.to_string()), shown, "{text}");
        assert_eq!(stack.robin.access_lines(1)[0].matches("connection refused").count(), 2);
    }
}

#[test]
fn an_upstream_cannot_bring_markup_into_the_page() {
    let mut stack = stack("error_details: on");
    stack.origin.set(Behaviour::Raw(b"HTTP/1.1 200 OK\r\n<script>x</script>\r\n\r\n".to_vec()));
    let page = common::client::get(stack.robin.address(), "/");
    assert!(!page.text().contains("<script>"), "{}", page.text());
}
