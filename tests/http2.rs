//! HTTP/2: clients that begin with it, upstreams that are asked in it, and gRPC through both. What
//! clients may do wrong is in `tests/http2/run`.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::client::{Client, Request, get};
use common::grpc::{Says, Server};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::tls::Certificates;
use common::{PATIENCE, eventually};
use http::{HeaderMap, Method};
use tokio::net::TcpStream;

const SERVING: u8 = 1;

/// What came for a request over HTTP/2.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Whether the head was all.
    bare: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// Sends requests side by side over one connection; the answers are in their order.
fn ask(address: SocketAddr, requests: Vec<http::Request<&'static str>>) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for request in requests {
            let mut sender = sender.clone().ready().await.expect("room for a request");
            let (head, body) = request.into_parts();
            let request = http::Request::from_parts(head, ());
            let (answer, mut sending) =
                sender.send_request(request, body.is_empty()).expect("a sound request");
            if !body.is_empty() {
                sending.send_data(Bytes::from_static(body.as_bytes()), true).expect("it is open");
            }
            answers.push(answer);
        }
        let mut read = Vec::new();
        for answer in answers {
            read.push(read_answer(answer).await);
        }
        read
    };
    let limited = async { tokio::time::timeout(PATIENCE, asked).await.expect("answers in time") };
    runtime.expect("a runtime").block_on(limited)
}

async fn read_answer(answer: h2::client::ResponseFuture) -> Answer {
    let (head, mut body) = answer.await.expect("an answer").into_parts();
    let bare = body.is_end_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.expect("a sound body");
        body.flow_control().release_capacity(piece.len()).expect("it was taken");
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.expect("a sound end");
    Answer { status: head.status.as_u16(), headers: head.headers, body: bytes, trailers, bare }
}

fn request(path: &str) -> http::Request<&'static str> {
    let uri = format!("http://calls.example{path}");
    http::Request::builder().uri(uri).body("").expect("a sound request")
}

/// A call of gRPC; `timeout` is what its client gives it, empty for nothing.
fn call(path: &str, timeout: &'static str) -> http::Request<&'static str> {
    let mut call = request(path).map(|_| "\0\0\0\0\0");
    *call.method_mut() = Method::POST;
    let headers = call.headers_mut();
    headers.insert("content-type", "application/grpc".parse().expect("a value"));
    headers.insert("te", "trailers".parse().expect("a value"));
    if !timeout.is_empty() {
        headers.insert("grpc-timeout", timeout.parse().expect("a value"));
    }
    call
}

fn one(address: SocketAddr, request: http::Request<&'static str>) -> Answer {
    ask(address, vec![request]).remove(0)
}

/// Robin in nginx's words, with a listener for HTTP/2 in the clear.
fn nginx(before: &str, server: &str) -> Robin {
    let listen = free_address();
    let conf = format!("{before} server {{ listen {listen}; http2 on; {server} }}");
    Robin::nginx(listen, &conf)
}

#[test]
fn clients_of_both_versions_are_served_where_http2_is_on() {
    let robin = nginx("", "location / { return 200 \"$server_protocol\"; }");
    let answers = ask(robin.address(), vec![request("/a"), request("/b")]);
    assert!(answers.iter().all(|answer| answer.body == b"HTTP/2.0"));
    assert_eq!(get(robin.address(), "/").text(), "HTTP/1.1");
}

#[test]
fn requests_share_a_connection_to_an_upstream_of_http2() {
    let server = Server::start(free_address(), Says::Http(200), None);
    let to = server.address();
    let robin = Robin::with(&format!(
        "proxy_http_version: 2\nroutes: {{ /: {{ to: {to}, headers: {{ Host: api.example }} }} }}"
    ));
    for path in ["/a?x=1", "/b", "/c"] {
        assert_eq!(get(robin.address(), path).status(), 200);
    }
    let calls = server.calls();
    let asked: Vec<&str> = calls.iter().map(|call| call.uri.as_str()).collect();
    assert_eq!(asked, ["http://api.example/a?x=1", "http://api.example/b", "http://api.example/c"]);
    assert!(calls.iter().all(|call| call.connection == 1));
    assert!(calls.iter().all(|call| !call.headers.contains_key("connection")));
}

#[test]
fn in_tls_http2_is_asked_for_and_the_scheme_says_so() {
    let certificates = Certificates::new(&["calls.test"]);
    let (certificate, key) =
        (certificates.certificate("calls.test"), certificates.key("calls.test"));
    let files = Some((certificate.as_path(), key.as_path()));
    let server = Server::start(free_address(), Says::Http(200), files);
    let robin = Robin::with(&format!(
        "routes:\n  /:\n    to: https://{}\n    proxy_http_version: 2\n    proxy_ssl_name: calls.test\n    \
         proxy_ssl_trusted_certificate: {}\n    headers: {{ Host: calls.test }}",
        server.address(),
        certificate.display()
    ));
    assert_eq!(get(robin.address(), "/x").status(), 200);
    assert_eq!(server.calls()[0].uri, "https://calls.test/x");
}

#[test]
fn a_stream_that_is_refused_goes_to_the_next_peer_whatever_its_method() {
    let refuses = Server::start(free_address(), Says::Refuses, None);
    let serves = Server::start(free_address(), Says::Http(200), None);
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\", \"{}\"] }} }}\nproxy_http_version: 2\nroutes: {{ /: api }}",
        refuses.address(),
        serves.address()
    ));
    for _ in 0..4 {
        let mut client = Client::connect(robin.address()).expect("a connection");
        let answer = client.exchange(&Request::post("/", "x")).expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert!(!refuses.calls().is_empty(), "it was asked");
    assert_eq!(serves.calls().len(), 4);
}

#[test]
fn a_connection_that_ends_takes_no_request_with_it() {
    let server = Server::start(free_address(), Says::Leaves(200), None);
    let to = server.address();
    let robin = Robin::with(&format!("proxy_http_version: 2\nroutes: {{ /: {to} }}"));
    for _ in 0..10 {
        let mut client = Client::connect(robin.address()).expect("a connection");
        let answer = client.exchange(&Request::post("/", "x")).expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(server.calls().len(), 10, "none came twice");
}

#[test]
fn a_call_goes_through_with_its_trailers_and_its_deadline() {
    let server = Server::start(free_address(), Says::Serving(SERVING), None);
    let robin = nginx("", &format!("location / {{ grpc_pass grpc://{}; }}", server.address()));
    let answer = one(robin.address(), call("/a.B/C", "10S"));
    assert_eq!((answer.status, &answer.body[..]), (200, &[0, 0, 0, 0, 2, 8, SERVING][..]));
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    let asked = server.calls().remove(0);
    assert_eq!(asked.uri, format!("http://{}/a.B/C", server.address()));
    assert_eq!(asked.headers["te"], "trailers");
    let left = asked.headers["grpc-timeout"].to_str().expect("text").to_owned();
    let left: u64 = left.strip_suffix('u').expect("microseconds").parse().expect("a number");
    assert!((1..10_000_000).contains(&left), "{left}");
}

#[test]
fn a_call_over_its_deadline_is_told_so_and_its_peer_is_let_go() {
    let server = Server::start(free_address(), Says::Nothing, None);
    let robin = nginx("", &format!("location / {{ grpc_pass {}; }}", server.address()));
    let answer = one(robin.address(), call("/a.B/C", "200m"));
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "4"));
    assert!(answer.bare && answer.header("content-type") == "application/grpc");
    assert_eq!(server.calls().len(), 1, "nobody waits for another attempt");
}

#[test]
fn errors_of_ours_are_told_in_the_words_of_grpc_unless_a_page_is_written() {
    let dead = free_address();
    let robin = nginx(
        "",
        &format!(
            "location /plain/ {{ grpc_pass {dead}; }}
             location /page/ {{ grpc_pass {dead}; error_page 502 = /own; }}
             location = /own {{ internal; default_type application/grpc; add_header grpc-status 11;
                                add_header grpc-message own; return 204; }}"
        ),
    );
    let answer = one(robin.address(), call("/plain/x", ""));
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "14"));
    assert!(answer.bare && !answer.header("grpc-message").is_empty());
    let answer = one(robin.address(), call("/page/x", ""));
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), ("11", "own"));
    assert!(answer.bare);
    // Who is no client of gRPC gets a status of HTTP.
    assert_eq!(one(robin.address(), request("/plain/x")).status, 502);
}

#[test]
fn a_location_of_grpc_goes_by_its_own_directives() {
    let server = Server::start(free_address(), Says::Nothing, None);
    let robin = nginx(
        "proxy_read_timeout 1h; grpc_read_timeout 300ms; grpc_set_header X-Of server;
         proxy_set_header X-Other proxy; proxy_method PUT; proxy_pass_request_headers off;",
        &format!("location / {{ grpc_pass {}; }}", server.address()),
    );
    let answer = one(robin.address(), call("/a.B/C", ""));
    assert_eq!(answer.header("grpc-status"), "14");
    let asked = server.calls().remove(0);
    assert_eq!(asked.headers["x-of"], "server");
    assert!(!asked.headers.contains_key("x-other"));
    assert_eq!(asked.headers["content-type"], "application/grpc");
}

#[test]
fn trailers_reach_clients_that_take_them_where_they_may() {
    let server = Server::start(free_address(), Says::Serving(SERVING), None);
    let to = server.address();
    let robin = nginx(
        "proxy_http_version 2;",
        &format!(
            "location /with {{ proxy_pass http://{to}; proxy_pass_trailers on; }}
             location /without {{ proxy_pass http://{to}; }}"
        ),
    );
    let with = |path: &str, te: bool| {
        let mut asked = request(path);
        if te {
            asked.headers_mut().insert("te", "trailers".parse().expect("a value"));
        }
        one(robin.address(), asked).trailers.unwrap_or_default().contains_key("grpc-status")
    };
    assert!(with("/with", true));
    assert!(!with("/with", false) && !with("/without", true));
}

#[test]
fn early_hints_are_passed_on_where_they_are_wanted() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    let origin = Origin::start(free_address(), Behaviour::Raw(bytes.to_vec()));
    let to = origin.address();
    let robin = nginx(
        "",
        &format!(
            "location / {{ proxy_pass http://{to}; }}
             location /with {{ early_hints $http_sec_fetch_mode; proxy_pass http://{to}; }}"
        ),
    );
    let answered = |path: &str, navigates: bool| {
        let mut client = Client::connect(robin.address()).expect("a connection");
        let mut asked = Request::get(path).header("Connection", "close");
        if navigates {
            asked = asked.header("Sec-Fetch-Mode", "navigate");
        }
        client.send(asked.bytes()).expect("sent");
        client.rest().expect("an answer")
    };
    assert!(answered("/with", true).starts_with("HTTP/1.1 103 Early Hints\r\n"));
    for (path, navigates) in [("/with", false), ("/", true)] {
        assert!(answered(path, navigates).starts_with("HTTP/1.1 200"), "{path}");
    }
}

#[test]
fn a_client_that_takes_nothing_of_a_file_loses_its_stream_and_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("large"), vec![b'x'; 1 << 20]).expect("a file");
    let folder = folder.path().display();
    let robin = nginx(
        "send_timeout 300ms;",
        &format!("location / {{ return 204; }} location /large {{ root {folder}; }}"),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = async {
        let stream = TcpStream::connect(robin.address()).await.expect("a connection");
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let head = |path| request(path).map(|_| ());
        let (answer, _) = sender.send_request(head("/large"), true).expect("a sound request");
        let mut body = answer.await.expect("an answer").into_body();
        let ended = loop {
            // What came is not given back to the window.
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("all of the file came"),
            }
        };
        assert!(ended.is_reset(), "{ended}");
        let mut sender = sender.ready().await.expect("the connection lives");
        let (answer, _) = sender.send_request(head("/"), true).expect("a sound request");
        assert_eq!(answer.await.expect("an answer").status(), 204);
    };
    let limited = async { tokio::time::timeout(PATIENCE, asked).await.expect("answers in time") };
    runtime.expect("a runtime").block_on(limited);
    let lines = robin.access_lines(2);
    assert!(lines[0].contains("\" 200 ") && !lines[0].contains(" 1048576 "), "{lines:?}");
}

#[test]
fn an_upload_beyond_the_window_is_read_to_its_end() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = nginx(
        "client_max_body_size 10m;",
        &format!("location / {{ proxy_pass http://{}; }}", origin.address()),
    );
    let whole: &'static str = Box::leak("x".repeat(3 << 20).into_boxed_str());
    let mut upload = request("/").map(|_| whole);
    *upload.method_mut() = Method::POST;
    assert_eq!(one(robin.address(), upload).status, 200);
    eventually("all of it comes through", Duration::from_secs(10), || origin.received() >= 3 << 20);
    robin.wait_for_line(Output::Stdout, &["POST / HTTP/2.0", " 200 "]);
}
