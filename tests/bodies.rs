//! Bodies in both directions: whole, however long, slow or framed, and within the limit.

mod common;

use std::io::Write as _;
use std::time::Duration;

use common::client::{Client, Request, exchange};
use common::net::{free_address, listen};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use common::stack::{Stack, stack};
use common::{PATIENCE, eventually};

/// Bytes that tell where they belong.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32 / 4 + 1).flat_map(u32::to_be_bytes).take(count).collect()
}

#[test]
fn large_answers_arrive_whole() {
    let body = bytes(10 << 20);
    for chunked in [false, true] {
        let reply = Reply { chunked, ..Reply::new(body.clone()) };
        let stack = stack(Behaviour::Answer(reply), "");
        let mut client = Client::connect(stack.robin.address()).expect("it listens");
        client = client.with_limit(Duration::from_secs(60));
        for _ in 0..2 {
            let response = client.exchange(&Request::get("/")).expect("an answer");
            assert!(response.body == body, "{} bytes", response.body.len());
        }
    }
}

#[test]
fn large_uploads_arrive_whole() {
    let body = bytes(3 << 20);
    let stack = stack(Behaviour::ok(), "client_max_body_size: 3m");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client = client.with_limit(Duration::from_secs(60));
    for request in [Request::post("/", body.clone()), Request::post_chunked("/", body.clone())] {
        assert_eq!(client.exchange(&request).expect("an answer").status(), 200);
        let received = stack.origin.requests().pop().expect("a request");
        assert!(received.body == body, "{} bytes", received.body.len());
    }
}

#[test]
fn a_slow_answer_is_passed_on_as_it_comes() {
    let reply = Reply { chunked: true, pace: Duration::from_millis(50), ..Reply::new(bytes(5000)) };
    let stack = stack(Behaviour::Answer(reply), "timeouts: { read: 2s }");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send(Request::get("/").bytes()).expect("sent");
    assert!(client.response().expect("an answer").body == bytes(5000));
}

#[test]
fn the_first_part_of_an_answer_does_not_wait_for_the_rest() {
    let reply = Reply { pace: Duration::from_secs(3600), ..Reply::new(bytes(2000)) };
    let stack = stack(Behaviour::Answer(reply), "");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send(Request::get("/").bytes()).expect("sent");
    let start = client.bytes(1000).expect("head and first part");
    assert!(start.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_slow_upload_arrives_whole() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3000\r\n\r\n").expect("sent");
    for part in 1..=3 {
        client.send([b'x'; 1000]).expect("sent");
        let arrived = || stack.origin.received() >= part * 1000;
        if part < 3 {
            // The origin counts whole bodies only: what must hold is that robin does not answer.
            assert_eq!(stack.origin.count(), 0);
        } else {
            eventually("the body arrives", PATIENCE, arrived);
        }
    }
    assert_eq!(client.response().expect("an answer").status(), 200);
}

#[test]
fn a_body_above_the_limit_is_refused_by_its_length_before_it_is_read() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 1k");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1025\r\n\r\n").expect("sent");
    let page = client.response().expect("an answer");
    assert_eq!((page.status(), page.header("connection")), (413, Some("close")));
    assert_eq!(stack.origin.connections(), 0);

    let most = exchange(stack.robin.address(), &Request::post("/", bytes(1024)));
    assert_eq!(most.expect("an answer").status(), 200);
}

#[test]
fn a_client_that_is_still_sending_gets_the_413() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 10k");
    let body = bytes(1 << 20);
    let length = Request::post("/", body.clone());
    for (number, request) in [length, Request::post_chunked("/", body)].iter().enumerate() {
        let mut client = Client::connect(stack.robin.address()).expect("it listens");
        // All of it is sent, and only then is the answer read.
        client.send(request.bytes()).expect("robin reads what comes after its answer");
        let page = client.response().expect("an answer");
        assert_eq!(page.status(), 413);
        let id = page.text().split("Request id: ").nth(1).map(|t| t[..32].to_owned());
        let line = stack.robin.access_lines(number + 1).pop().expect("a line");
        assert!(line.contains(&format!(" id={}", id.expect("an id"))), "{line}");
        assert!(line.contains("\" 413 "), "{line}");
    }
    assert_eq!(stack.origin.count(), 0);
}

#[test]
fn chunked_bodies_up_to_the_limit_are_accepted() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 10k");
    let request = Request::post_chunked("/", bytes(10 * 1024));
    assert_eq!(exchange(stack.robin.address(), &request).expect("an answer").status(), 200);
    assert_eq!(stack.origin.requests()[0].body.len(), 10 * 1024);
}

#[test]
fn a_body_of_one_mebibyte_is_the_default_limit_and_zero_is_none() {
    let at_most = stack(Behaviour::ok(), "");
    let status = |stack: &Stack, count| {
        let request = Request::post("/", bytes(count));
        exchange(stack.robin.address(), &request).expect("an answer").status()
    };
    assert_eq!(status(&at_most, 1 << 20), 200);
    assert_eq!(status(&at_most, (1 << 20) + 1), 413);
    let unlimited = stack(Behaviour::ok(), "client_max_body_size: 0");
    assert_eq!(status(&unlimited, (1 << 20) + 1), 200);
}

#[test]
fn an_answer_that_comes_before_the_end_of_an_upload_reaches_the_client() {
    // A server that refuses an upload by its head alone, and closes.
    let listener = listen(free_address());
    let address = listener.local_addr().expect("a bound socket has an address");
    let origin = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("robin connects");
        let head = common::http::Reader::new().head(&stream, None);
        head.expect("a head").expect("a head");
        let refusal =
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
        (&stream).write_all(refusal).expect("sent");
        stream
    });
    let robin = Robin::with(&format!("routes: {{ /: {address} }}"));
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send(Request::post("/", bytes(1 << 20)).bytes()).expect("sent");
    let response = client.response().expect("an answer");
    assert_eq!((response.status(), response.text().as_str()), (403, "no\n"));
    drop(origin.join().expect("it answered"));
}

#[test]
fn a_client_that_ends_its_body_early_is_not_answered_for_by_a_peer() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf").expect("sent");
    client.finish();
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\" 400 ") || line.contains("\" 499 "), "{line}");
    assert_eq!(stack.origin.count(), 0);
}

#[test]
fn a_body_has_a_file_with_a_name_where_that_is_asked_for_and_for_as_long() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let robin = Robin::nginx(
        address,
        &format!(
            "server {{ listen {address}; client_body_temp_path {}; \
             add_header X-File $request_body_file; \
             location / {{ proxy_pass http://{origin}; client_body_buffer_size 1k; }} \
             location /kept {{ proxy_pass http://{origin}; client_body_in_file_only on; }} }}\n",
            folder.path().display(),
            origin = origin.address(),
        ),
    );
    let send = |target: &str, length: usize| {
        let request = Request::new("POST", target)
            .header("Content-Length", &length.to_string())
            .body("x".repeat(length));
        let answer = exchange(robin.address(), &request).expect("an answer");
        assert_eq!(answer.status(), 200, "{target}");
        answer.header("x-file").map(std::path::PathBuf::from)
    };
    assert_eq!(send("/", 1000), None);
    let gone = send("/", 3000).expect("a file");
    assert!(gone.starts_with(folder.path()), "{}", gone.display());
    eventually("the file is removed", Duration::from_secs(5), || !gone.exists());
    let kept = send("/kept", 10).expect("a file");
    assert_eq!(std::fs::read_to_string(&kept).expect("it is there"), "x".repeat(10));
    assert_eq!(origin.count(), 3);
}
