//! Bodies kept for slow clients: neither a slow upload nor a slow download holds a peer.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::client::{Client, Request, exchange, get};
use common::net::{free_address, listen, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::stack::{Stack, stack};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use socket2::SockRef;

/// As [`stack`], with directives of nginx.
fn nginx_stack(behaviour: Behaviour, directives: &str) -> Stack {
    let origin = Origin::start(free_address(), behaviour);
    let robin = nginx(origin.address(), directives);
    Stack { origin, robin }
}

fn nginx(origin: SocketAddr, directives: &str) -> Robin {
    nginx_in("", &origin.to_string(), directives)
}

fn nginx_in(before: &str, target: &str, directives: &str) -> Robin {
    let address = free_address();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("nginx.conf");
    let conf = format!(
        "events {{}} http {{ {before} server {{ listen {address}; {directives}\n\
         location / {{ proxy_pass http://{target}; }} }} }}"
    );
    std::fs::write(&file, conf).expect("the configuration can be written");
    Robin::run(&["-c", file.to_str().expect("a path of letters")]).listening(address)
}

/// Bytes that tell where they belong.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32 / 4 + 1).flat_map(u32::to_be_bytes).take(count).collect()
}

fn connect(stack: &Stack) -> Client {
    Client::connect(stack.robin.address()).expect("it listens").with_limit(Duration::from_secs(60))
}

/// A client whose kernel takes little before it is read.
fn small_reader(robin: &Robin) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a new socket");
    socket.connect(&robin.address().into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
    stream
}

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("all of it");
    all
}

/// Whether the origin has sent all it has: it waits for the next request, or has closed.
fn is_free(stack: &Stack) -> bool {
    stack.origin.answered() == stack.origin.count()
}

#[test]
fn slow_uploads_reach_the_origin_complete_or_not_at_all() {
    let stack = stack(Behaviour::ok(), "");
    let body = bytes(20_000);
    let mut clients: Vec<_> = (0..20).map(|_| connect(&stack)).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 20000\r\n\r\n").expect("sent");
        client.send(&body[..19_000]).expect("sent");
    }
    for number in 1..=5 {
        assert_eq!(get(stack.robin.address(), "/").status(), 200);
        assert_eq!(stack.origin.count(), number);
    }
    for client in &mut clients {
        client.send(&body[19_000..]).expect("sent");
        assert_eq!(client.response().expect("an answer").status(), 200);
    }
    let requests = stack.origin.requests();
    assert_eq!(requests.len(), 25);
    assert!(requests[5..].iter().all(|request| request.body == body));
}

#[test]
fn a_long_upload_goes_through_a_file_and_arrives_whole() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 0");
    let body = bytes(5 << 20);
    let mut client = connect(&stack);
    for request in [Request::post("/", body.clone()), Request::post_chunked("/", body.clone())] {
        assert_eq!(client.exchange(&request).expect("an answer").status(), 200);
        let received = stack.origin.requests().pop().expect("a request");
        assert!(received.body == body, "{} bytes", received.body.len());
        assert_eq!(received.header("content-length"), Some("5242880"));
        assert_eq!(received.header("transfer-encoding"), None);
    }
    assert_eq!(stack.robin.access_lines(2).len(), 2);
}

#[test]
fn a_chunked_upload_goes_on_with_its_length() {
    let stack = stack(Behaviour::ok(), "");
    for body in [bytes(0), bytes(1), bytes(50_000)] {
        let length = body.len().to_string();
        let request = Request::post_chunked("/", body);
        assert_eq!(exchange(stack.robin.address(), &request).expect("an answer").status(), 200);
        let received = stack.origin.requests().pop().expect("a request");
        assert_eq!(received.header("content-length"), Some(&length[..]));
        assert_eq!(received.header("transfer-encoding"), None);
    }
}

#[test]
fn what_follows_a_long_chunked_upload_is_the_next_request() {
    let stack = stack(Behaviour::ok(), "");
    let body = bytes(300_000);
    let mut both = Request::post_chunked("/first", body.clone()).bytes();
    both.extend(Request::post("/second", bytes(70_000)).bytes());
    both.extend(Request::get("/third").bytes());
    let mut client = connect(&stack);
    client.send(both).expect("sent");
    for _ in 0..3 {
        assert_eq!(client.response().expect("an answer").status(), 200);
    }
    let requests = stack.origin.requests();
    let targets: Vec<_> = requests.iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/first", "/second", "/third"]);
    assert!(requests[0].body == body);
    assert!(requests[1].body == bytes(70_000));
}

#[test]
fn a_long_body_is_sent_to_each_peer_that_is_tried() {
    let addresses = replicas(3);
    let mut origins: Vec<_> = addresses
        .iter()
        .map(|address| Origin::start(*address, Behaviour::Answer(Reply::status(503))))
        .collect();
    let servers: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{}] }} }}\nroutes: {{ /: api }}\n\
         retry: {{ non_idempotent: on, statuses: [503] }}",
        servers.join(", ")
    ));
    origins[2].set(Behaviour::ok());
    origins[1].set(Behaviour::Close);
    let body = bytes(900 << 10);
    let mut client = Client::connect(robin.address()).expect("it listens");
    for request in [Request::post("/", body.clone()), Request::post_chunked("/", body.clone())] {
        assert_eq!(client.exchange(&request).expect("an answer").status(), 200);
    }
    for origin in &origins {
        for request in origin.requests() {
            assert!(request.body == body, "{} bytes", request.body.len());
        }
    }
    assert_eq!(origins[2].count(), 2);
    assert!(origins[0].count() + origins[1].count() > 0);
}

#[test]
fn a_long_body_is_sent_once_more_after_a_failed_connect() {
    let addresses = replicas(2);
    let ok = Origin::start(addresses[1], Behaviour::ok());
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{}, {}] }} }}\nroutes: {{ /: api }}",
        addresses[0], addresses[1]
    ));
    let body = bytes(300 << 10);
    for _ in 0..2 {
        let request = Request::post("/", body.clone());
        assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
    }
    assert!(ok.requests().iter().all(|request| request.body == body));
}

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it_from_robin() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = connect(&stack);
    let head = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    for _ in 0..2 {
        client.send(head).expect("sent");
        assert_eq!(client.bytes(25).expect("an answer"), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hello").expect("sent");
        let response = client.response().expect("an answer");
        assert_eq!((response.status(), response.header("connection")), (200, Some("keep-alive")));
    }
    for request in stack.origin.requests() {
        assert_eq!(request.header("expect"), None);
        assert_eq!(request.body, b"hello");
    }
}

#[test]
fn a_chunked_upload_above_the_limit_is_refused_before_a_peer_is_asked() {
    let stack = stack(Behaviour::ok(), "client_max_body_size: 100k");
    for count in [102_401, 1 << 20] {
        let request = Request::post_chunked("/", bytes(count));
        let page = exchange(stack.robin.address(), &request).expect("an answer");
        assert_eq!(page.status(), 413);
    }
    assert_eq!(stack.origin.connections(), 0);
    let most = Request::post_chunked("/", bytes(102_400));
    assert_eq!(exchange(stack.robin.address(), &most).expect("an answer").status(), 200);
}

#[test]
fn a_broken_chunk_is_refused_before_a_peer_is_asked() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = connect(&stack);
    let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}5\r\nhello\r\nxyz\r\n")).expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 400);
    assert_eq!(stack.origin.connections(), 0);
}

#[test]
fn a_client_that_leaves_within_its_body_asks_no_peer() {
    let stack = stack(Behaviour::ok(), "");
    let mut client = connect(&stack);
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\n\r\nhalf").expect("sent");
    drop(client);
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\" 499 "), "{line}");
    assert_eq!(stack.origin.connections(), 0);
}

#[test]
fn without_a_place_for_files_bodies_stay_in_memory() {
    let origin = Origin::start(free_address(), Behaviour::Answer(Reply::new(bytes(300_000))));
    let address = free_address();
    let yaml = format!(
        "listen: {address}\nclient_max_body_size: 0\nroutes: {{ /: {} }}",
        origin.address()
    );
    let robin = Robin::spawn(&yaml, &[], &[("TMPDIR", "/proc/none")]).listening(address);
    let body = bytes(2 << 20);
    for _ in 0..2 {
        let response = exchange(address, &Request::post("/", body.clone())).expect("an answer");
        assert!(response.body == bytes(300_000));
        assert!(origin.requests().pop().expect("a request").body == body);
    }
    let line = robin.wait_for_line(Output::Stderr, &["no room for temporary files"]);
    assert!(line.contains("WARN") && line.contains("/proc/none"), "{line}");
    assert_eq!(robin.count_lines(Output::Stderr, &["no room for temporary files"]), 1);
}

#[test]
fn a_slow_reader_holds_no_peer_and_gets_every_byte() {
    let body = bytes(10 << 20);
    for chunked in [false, true] {
        let reply = Reply { chunked, ..Reply::new(body.clone()) };
        let stack = stack(Behaviour::Answer(reply), "");
        let mut client = small_reader(&stack.robin);
        client.write_all(&Request::get("/").header("Connection", "close").bytes()).expect("sent");
        let mut start = [0; 1000];
        client.read_exact(&mut start).expect("the beginning");
        eventually("the origin has sent everything", PATIENCE, || is_free(&stack));
        assert_eq!(stack.robin.count_lines(Output::Stdout, &["GET"]), 0);
        let rest = read_to_end(&client);
        let head = start.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let all = [&start[head..], &rest].concat();
        if chunked {
            assert!(all.ends_with(b"\r\n0\r\n\r\n") && all.len() > body.len());
        } else {
            assert!(all == body, "{} bytes", all.len());
        }
        let line = stack.robin.access_lines(1).remove(0);
        assert!(line.contains(" 200 10485760 "), "{line}");
    }
}

#[test]
fn the_connection_of_a_slow_reader_serves_its_next_requests() {
    let stack = stack(Behaviour::Answer(Reply::new(bytes(2 << 20))), "");
    let mut client = connect(&stack);
    for _ in 0..3 {
        client.send(Request::get("/").bytes()).expect("sent");
    }
    eventually("the first answer is here", PATIENCE, || stack.origin.answered() > 0);
    for _ in 0..3 {
        assert!(client.response().expect("an answer").body == bytes(2 << 20));
    }
    let upload = Request::post("/", bytes(100_000));
    assert!(client.exchange(&upload).expect("an answer").body == bytes(2 << 20));
}

#[test]
fn the_origins_connection_is_free_while_the_client_still_reads() {
    let stack = stack(Behaviour::Answer(Reply::new(bytes(10 << 20))), "");
    let mut slow = small_reader(&stack.robin);
    slow.write_all(&Request::get("/").header("Connection", "close").bytes()).expect("sent");
    eventually("the origin has sent everything", PATIENCE, || {
        stack.origin.count() == 1 && is_free(&stack)
    });
    stack.origin.set_path("/small", Behaviour::ok());
    eventually("the connection is used again", PATIENCE, || {
        let before = stack.origin.connections();
        get(stack.robin.address(), "/small").status() == 200 && stack.origin.connections() == before
    });
    assert!(read_to_end(&slow).ends_with(&bytes(10 << 20)[1000..]));
}

#[test]
fn an_answer_that_breaks_off_reaches_a_slow_client_as_far_as_it_goes() {
    let reply = Reply { cut: Some(2 << 20), ..Reply::new(bytes(4 << 20)) };
    let stack = stack(Behaviour::Answer(reply), "");
    let mut client = small_reader(&stack.robin);
    client.write_all(&Request::get("/").bytes()).expect("sent");
    eventually("the origin has closed", PATIENCE, || {
        stack.origin.count() == 1 && stack.origin.open_connections() == 0
    });
    let all = read_to_end(&client);
    assert!(all.ends_with(&bytes(2 << 20)), "{} bytes", all.len());
}

#[test]
fn the_last_bytes_before_an_answer_breaks_off_reach_the_client() {
    for directives in ["", "proxy_buffering off;"] {
        let reply = Reply { cut: Some(100_000), ..Reply::new(bytes(200_000)) };
        let stack = nginx_stack(Behaviour::Answer(reply), directives);
        // Many at a time, so that the last bytes and the end reach robin together.
        let clients: Vec<_> = (0..64).map(|_| small_reader(&stack.robin)).collect();
        for mut client in &clients {
            client.write_all(&Request::get("/").bytes()).expect("sent");
        }
        for client in &clients {
            let all = read_to_end(client);
            assert!(all.ends_with(&bytes(100_000)), "{directives:?}: {} bytes", all.len());
        }
    }
}

#[test]
fn shutdown_waits_for_answers_that_are_still_read() {
    let mut stack = stack(Behaviour::Answer(Reply::new(bytes(10 << 20))), "");
    let mut client = small_reader(&stack.robin);
    client.write_all(&Request::get("/").header("Connection", "close").bytes()).expect("sent");
    eventually("the origin has sent everything", PATIENCE, || {
        stack.origin.count() == 1 && is_free(&stack)
    });
    stack.robin.signal(Signal::SIGTERM);
    assert!(read_to_end(&client).ends_with(&bytes(10 << 20)));
    let (status, _) = stack.robin.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
}

#[test]
fn a_client_that_leaves_within_a_kept_answer_is_let_go() {
    let stack = stack(Behaviour::Answer(Reply::new(bytes(10 << 20))), "");
    let client = small_reader(&stack.robin);
    (&client).write_all(&Request::get("/").bytes()).expect("sent");
    eventually("the origin has sent everything", PATIENCE, || {
        stack.origin.count() == 1 && is_free(&stack)
    });
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(client);
    let line = stack.robin.access_lines(1).remove(0);
    assert!(line.contains("\" 200 ") && !line.contains(" 10485760 "), "{line}");
}

#[test]
fn parts_of_an_answer_reach_a_waiting_client_at_once() {
    let reply = Reply { chunked: true, pace: Duration::from_secs(3600), ..Reply::new(bytes(2000)) };
    let reply = reply.header("Content-Type", "text/event-stream");
    let stack = stack(Behaviour::Answer(reply), "");
    for pipelined in [false, true] {
        let mut client = connect(&stack);
        let mut requests = Request::get("/").bytes();
        if pipelined {
            requests.extend(Request::get("/").bytes());
        }
        client.send(requests).expect("sent");
        assert!(client.bytes(1100).expect("head and first part").starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn an_unbuffered_upload_is_passed_on_as_it_comes() {
    let listener = listen(free_address());
    let robin = nginx(
        listener.local_addr().expect("a bound socket has an address"),
        "proxy_request_buffering off;",
    );
    let mut client = Client::connect(robin.address()).expect("it listens");
    let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).expect("sent");
    let (mut origin, _) = listener.accept().expect("robin connects");
    origin.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
    let mut read_until = |end: &str| {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            origin.read_exact(&mut byte).expect("the part arrives");
            read.extend(byte);
        }
        String::from_utf8(read).expect("text")
    };
    assert!(read_until("\r\n\r\n").to_lowercase().contains("transfer-encoding: chunked"));
    for part in ["first", "other"] {
        client.send(format!("5\r\n{part}\r\n")).expect("sent");
        read_until(part);
    }
    client.send("0\r\n\r\n").expect("sent");
    read_until("0\r\n\r\n");
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
}

/// Whether the origin still waits to send the rest of an answer that nobody reads.
fn origin_is_held(stack: &Stack, client: &mut TcpStream) -> bool {
    client.write_all(&Request::get("/").header("Connection", "close").bytes()).expect("sent");
    let mut start = [0; 1000];
    client.read_exact(&mut start).expect("the beginning");
    !common::holds_within(Duration::from_millis(500), || stack.origin.answered() > 0)
}

#[test]
fn an_unbuffered_answer_waits_for_its_client() {
    // More than the kernel may take for robin and for its client together.
    let body = bytes(48 << 20);
    for (directive, header) in [
        ("proxy_buffering off;", None),
        ("", Some("no")),
        ("proxy_max_temp_file_size 0;", None),
        ("proxy_max_temp_file_size 1m;", None),
        ("proxy_temp_path /proc/none;", None),
        ("proxy_buffering off; proxy_ignore_headers X-Accel-Buffering;", Some("yes")),
    ] {
        let mut reply = Reply::new(body.clone());
        if let Some(value) = header {
            reply = reply.header("X-Accel-Buffering", value);
        }
        let stack = nginx_stack(Behaviour::Answer(reply), directive);
        let mut client = small_reader(&stack.robin);
        assert!(origin_is_held(&stack, &mut client), "{directive} {header:?}");
        if header.is_none() && directive.ends_with("off;") {
            assert!(read_to_end(&client).ends_with(&body[4000..]), "{directive}");
        }
    }
}

#[test]
fn a_kept_answer_waits_here_if_the_origin_asks_for_it() {
    for (directive, value) in
        [("proxy_buffering off;", "yes"), ("proxy_ignore_headers X-Accel-Buffering;", "no")]
    {
        let reply = Reply::new(bytes(20 << 20)).header("X-Accel-Buffering", value);
        let stack = nginx_stack(Behaviour::Answer(reply), directive);
        let mut client = small_reader(&stack.robin);
        client.write_all(&Request::get("/").bytes()).expect("sent");
        eventually("the origin has sent everything", PATIENCE, || stack.origin.answered() == 1);
    }
}

#[test]
fn the_upstream_gets_the_body_that_is_set_for_it() {
    for (directives, body) in [
        ("proxy_set_body \"uri=$uri\";", &b"uri=/x"[..]),
        ("proxy_set_body \"uri=$uri\"; proxy_request_buffering off;", b"uri=/x"),
        ("proxy_pass_request_body off;", b""),
        ("proxy_pass_request_body off; proxy_request_buffering off;", b""),
    ] {
        let stack = nginx_stack(Behaviour::ok(), directives);
        let requests = [
            Request::get("/x"),
            Request::post("/x", bytes(10)),
            Request::post("/x", bytes(200_000)),
            Request::post_chunked("/x", bytes(10)),
            Request::post_chunked("/x", bytes(200_000)),
        ];
        for request in &requests {
            let response = exchange(stack.robin.address(), request).expect("an answer");
            assert_eq!(response.status(), 200, "{directives}");
            let received = stack.origin.requests().pop().expect("a request");
            assert_eq!(received.body, body, "{directives}");
        }
    }
}

#[test]
fn a_set_body_is_sent_to_each_peer_that_is_tried() {
    let broken = Origin::start(free_address(), Behaviour::Close);
    let ok = Origin::start(free_address(), Behaviour::ok());
    let robin = nginx_in(
        &format!("upstream api {{ server {}; server {}; }}", broken.address(), ok.address()),
        "api",
        "proxy_set_body hello;",
    );
    for size in [0, 10, 200_000, 0, 10] {
        let request = Request::new("PUT", "/").body(bytes(size));
        let request = request.header("Content-Length", &size.to_string());
        assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
    }
    assert!(broken.count() > 0);
    for request in ok.requests().iter().chain(&broken.requests()) {
        assert_eq!(request.body, b"hello");
    }
}

#[test]
fn an_answer_for_a_client_that_left_is_waited_for_if_so_configured() {
    for patient in [true, false] {
        let directives = if patient { "proxy_ignore_client_abort on;" } else { "" };
        let reply = Reply::new("late").after(Duration::from_millis(300));
        let stack = nginx_stack(Behaviour::Answer(reply), directives);
        let mut client = connect(&stack);
        client.send(Request::get("/").bytes()).expect("sent");
        eventually("the origin has the request", PATIENCE, || stack.origin.count() == 1);
        client.finish();
        let line = stack.robin.access_lines(1).remove(0);
        assert_eq!(line.contains("\" 200 "), patient, "{line}");
        if patient {
            assert_eq!(client.response().expect("an answer").text(), "late");
        }
    }
}

#[test]
fn what_follows_an_upgrade_is_never_kept() {
    let origin = Origin::start(free_address(), Behaviour::Upgrade);
    let robin = Robin::with(&format!("websocket: on\nroutes: {{ /: {} }}", origin.address()));
    let mut client = TcpStream::connect(robin.address()).expect("it listens");
    client.set_write_timeout(Some(Duration::from_secs(1))).expect("a connected socket");
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .expect("sent");
    // The origin sends everything back, and nobody reads it.
    let piece = vec![b'x'; 1 << 20];
    let taken = (0..200).take_while(|_| client.write_all(&piece).is_ok()).count();
    assert!(taken < 200, "robin keeps what it should not");
}

#[test]
fn a_client_that_pauses_within_its_body_gets_a_408() {
    for buffering in ["on", "off"] {
        let directives = format!("client_body_timeout 300ms; proxy_request_buffering {buffering};");
        let stack = nginx_stack(Behaviour::ok(), &directives);
        let mut client = connect(&stack);
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf").expect("sent");
        assert_eq!(client.response().expect("an answer").status(), 408);
        let line = stack.robin.access_lines(1).remove(0);
        assert!(line.contains("\" 408 "), "{line}");
        assert_eq!(stack.origin.count(), 0);
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    for buffering in ["on", "off"] {
        let directives = format!("send_timeout 300ms; proxy_buffering {buffering};");
        let stack = nginx_stack(Behaviour::Answer(Reply::new(bytes(20 << 20))), &directives);
        let client = small_reader(&stack.robin);
        (&client).write_all(&Request::get("/").bytes()).expect("sent");
        let line = stack.robin.access_lines(1).remove(0);
        assert!(line.contains("\" 200 ") && !line.contains(" 20971520 "), "{line}");
        drop(client);
    }
}

#[test]
fn a_client_that_takes_nothing_of_a_file_or_a_text_is_let_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("large"), bytes(20 << 20)).expect("a file");
    let (origin, folder) = (free_address().to_string(), folder.path().display());
    // A text of 8 MiB: each of these is eight of the one before.
    let text = "x".repeat(2048);
    let eights: String = ('b'..='e')
        .map(|name| {
            let before = char::from(name as u8 - 1);
            format!("set ${name} \"{}\";", format!("${{{before}}}").repeat(8))
        })
        .collect();
    let directives = format!(
        "send_timeout 300ms; location /large {{ root {folder}; }}
         location /text {{ set $a {text}; {eights} return 200 $e; }}"
    );
    for (target, length) in [("/large", 20 << 20), ("/text", 8 << 20)] {
        let robin = nginx(origin.parse().expect("an address"), &directives);
        let client = small_reader(&robin);
        (&client).write_all(&Request::get(target).bytes()).expect("sent");
        let line = robin.access_lines(1).remove(0);
        assert!(line.contains("\" 200 ") && !line.contains(&format!(" {length} ")), "{line}");
        let got = read_to_end(&client).len();
        assert!(got < length, "{target}: {got} bytes");
    }
}

#[test]
fn a_client_that_asks_on_and_takes_no_answer_is_let_go() {
    let text = "x".repeat(3000);
    let directives = format!(
        "access_log off; keepalive_requests 10000; send_timeout 300ms;
         location /text {{ return 200 {text}; }}"
    );
    let robin = nginx(free_address(), &directives);
    let client = small_reader(&robin);
    (&client).write_all(&Request::get("/text").bytes().repeat(5000)).expect("sent");
    // What comes to a connection that robin has closed makes a reset.
    eventually("the client is let go", PATIENCE, || (&client).write_all(b"GET").is_err());
}

#[test]
fn a_long_upload_waits_in_the_directory_that_is_set() {
    let robin = |directory: &str| {
        let origin = Origin::start(free_address(), Behaviour::ok());
        let directives = format!("client_body_temp_path {directory};");
        let robin = nginx(origin.address(), &directives);
        let request = Request::post("/", bytes(200_000));
        assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
        assert!(origin.requests()[0].body == bytes(200_000));
        robin
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    // It is made.
    let inner = folder.path().join("client_temp");
    let fine = robin(inner.to_str().expect("a path of letters"));
    assert_eq!(fine.count_lines(Output::Stderr, &["no room for temporary files"]), 0);
    assert_eq!(std::fs::read_dir(inner).expect("it is there").count(), 0);
    robin("/proc/none").wait_for_line(Output::Stderr, &["no room for temporary files"]);
}
