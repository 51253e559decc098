//! Do clients get TLS and HTTP/2, and do peers?

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::client::{Request, exchange};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::tls::Certificates;
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

struct Stack {
    origin: Origin,
    robin: Robin,
    certificates: Certificates,
}

/// One origin behind TLS for `a.test`.
fn stack(behaviour: Behaviour) -> Stack {
    let certificates = Certificates::new(&["a.test"]);
    let origin = Origin::start(free_address(), behaviour);
    let robin = front(&certificates, origin.address());
    Stack { origin, robin, certificates }
}

fn front(certificates: &Certificates, origin: SocketAddr) -> Robin {
    let address = free_address();
    let tls = certificates.yaml("a.test");
    let yaml = format!(
        "threads: 1\nshutdown_timeout: 1m\nlisten: {{ address: \"{address}\", tls: on, http2: on }}\n\
         names: [a.test]\ntls: {tls}\nroutes: {{ /: {origin} }}\n"
    );
    Robin::start(address, &yaml)
}

#[test]
fn a_request_in_tls_reaches_the_upstream_and_says_so() {
    let stack = stack(Behaviour::ok());
    let answer = stack.certificates.exchange(stack.robin.address(), "a.test", GET);
    assert!(answer.expect("an answer").ends_with("\r\n\r\nok\n"));
    let forwarded = stack.origin.requests().pop().expect("a request");
    assert_eq!(forwarded.header("x-forwarded-proto"), Some("https"));
    assert_eq!(forwarded.header("host"), Some("a.test"));
}

#[test]
fn each_virtual_server_shows_its_own_certificate_and_the_default_for_other_names() {
    let certificates = Certificates::new(&["a.test", "b.test"]);
    let origin = Origin::start(free_address(), Behaviour::ok());
    let address = free_address();
    let server = |name: &str| {
        format!(
            "  - listen: {{ address: \"{address}\", tls: on }}\n    names: [{name}]\n    tls: {}\n\
             \x20   routes: {{ /: {}/{name}/ }}\n",
            certificates.yaml(name),
            origin.address()
        )
    };
    let yaml = format!("threads: 1\nvirtual_servers:\n{}{}", server("a.test"), server("b.test"));
    let robin = Robin::start(address, &yaml);
    for name in ["a.test", "b.test"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        certificates.exchange(robin.address(), name, request.as_bytes()).expect("its certificate");
        let forwarded = origin.requests().pop().expect("a request");
        assert_eq!(forwarded.target(), format!("/{name}/"));
    }
    let other = Certificates::new(&["c.test"]);
    let error = other.exchange(robin.address(), "c.test", GET).expect_err("no such certificate");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn plain_http_is_told_that_it_came_to_tls() {
    let stack = stack(Behaviour::ok());
    let answer = exchange(stack.robin.address(), &Request::get("/")).expect("an answer");
    assert_eq!(answer.status(), 400);
    let said = "The plain HTTP request was sent to HTTPS port.";
    assert!(answer.text().contains(said), "{}", answer.text());
    let line = stack.robin.wait_for_line(Output::Stdout, &["\"GET / HTTP/1.1\" 400"]);
    assert!(line.contains("reason=\"plain HTTP sent to a port with TLS\""), "{line}");
    assert_eq!(stack.origin.count(), 0);
}

/// A client of HTTP/2.
async fn http2(stack: &Stack) -> h2::client::SendRequest<Bytes> {
    let client = stack.certificates.client("a.test", &["h2"]);
    let socket = TcpStream::connect(stack.robin.address()).await.expect("it listens");
    let name = ServerName::try_from("a.test").expect("a host name");
    let stream = TlsConnector::from(client).connect(name, socket).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        // It ends with the server.
        let _ = connection.await;
    });
    send
}

/// Sends a request and reads its answer.
async fn ask(
    send: &h2::client::SendRequest<Bytes>,
    request: http::Request<()>,
    body: &'static [u8],
) -> (u16, Vec<u8>) {
    let mut send = send.clone().ready().await.expect("room for a stream");
    let (answer, mut upload) = send.send_request(request, body.is_empty()).expect("a stream");
    if !body.is_empty() {
        upload.send_data(Bytes::from_static(body), true).expect("a body");
    }
    let answer = answer.await.expect("an answer");
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.expect("a part of the body");
        body.flow_control().release_capacity(part.len()).expect("as much as came");
        read.extend_from_slice(&part);
    }
    (status, read)
}

fn request(path: &str) -> http::request::Builder {
    http::Request::builder().uri(format!("https://a.test{path}"))
}

#[tokio::test]
async fn http_2_carries_requests_side_by_side_with_their_bodies() {
    let stack = stack(Behaviour::Echo);
    let send = http2(&stack).await;
    let get = request("/get").header("cookie", "a=1").header("cookie", "b=2");
    let get = get.body(()).expect("a sound request");
    let post = request("/post").method("POST").body(()).expect("a sound request");
    let ((status, got), (posted, echoed)) =
        tokio::join!(ask(&send, get, b""), ask(&send, post, b"a body"));
    assert_eq!((status, posted), (200, 200));
    let got = String::from_utf8(got).expect("text").to_ascii_lowercase();
    assert!(got.starts_with("get /get http/1.1\r\n"), "{got}");
    assert!(got.contains("\r\nhost: a.test\r\n"), "{got}");
    assert!(got.contains("\r\ncookie: a=1; b=2\r\n"), "{got}");
    assert!(got.contains("\r\nx-forwarded-proto: https\r\n"), "{got}");
    let echoed = String::from_utf8(echoed).expect("text");
    assert!(echoed.contains("a body"), "{echoed}");
    let line = stack.robin.wait_for_line(Output::Stdout, &["GET /get HTTP/2.0"]);
    assert!(line.starts_with("127.0.0.1 - - "), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_leaves_the_queue() {
    let certificates = Certificates::new(&["a.test"]);
    let origin = Origin::start(free_address(), Behaviour::Hang);
    let address = free_address();
    let yaml = format!(
        "threads: 1\nlisten: {{ address: \"{address}\", tls: on, http2: on }}\n\
         names: [a.test]\ntls: {}\nupstreams:\n  back-end:\n    queue: 1\n    \
         servers: [{{ address: \"{}\", max_conns: 1 }}]\nroutes: {{ /: back-end }}\n",
        certificates.yaml("a.test"),
        origin.address()
    );
    let robin = Robin::start(address, &yaml);
    let stack = Stack { origin, robin, certificates };
    let mut send = http2(&stack).await;
    let mut ask = |path| {
        let get = request(path).body(()).expect("a sound request");
        send.send_request(get, true).expect("a stream")
    };
    let _served = ask("/");
    eventually("the origin has the first", PATIENCE, || stack.origin.count() == 1);
    let (mut one, mut one_s_end) = ask("/wait");
    let (mut other, mut other_s_end) = ask("/wait");
    // One of them waits, the other is one too many.
    let refused = tokio::select! {
        answer = &mut one => { other_s_end.send_reset(h2::Reason::CANCEL); answer }
        answer = &mut other => { one_s_end.send_reset(h2::Reason::CANCEL); answer }
    };
    assert_eq!(refused.expect("an answer").status(), 503);
    stack.robin.wait_for_line(Output::Stdout, &["GET /wait HTTP/2.0\" 499 "]);
}

#[tokio::test]
async fn a_large_answer_comes_whole_over_http_2() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let stack = stack(Behaviour::Answer(Reply::new(body.clone())));
    let send = http2(&stack).await;
    let get = request("/").body(()).expect("a sound request");
    let (status, read) = ask(&send, get, b"").await;
    assert_eq!(status, 200);
    assert!(read == body, "{} bytes came", read.len());
}

#[tokio::test]
async fn an_unknown_host_and_a_failed_upstream_are_answered_over_http_2() {
    let mut stack = stack(Behaviour::ok());
    stack.origin.set(Behaviour::Close);
    let send = http2(&stack).await;
    let get = request("/").body(()).expect("a sound request");
    let (status, page) = ask(&send, get, b"").await;
    assert_eq!(status, 502);
    assert!(String::from_utf8_lossy(&page).contains("502 Bad Gateway"));
    let get = request("/../x").body(()).expect("a sound request");
    assert_eq!(ask(&send, get, b"").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_over_http_2_outlives_the_signal() {
    let reply = Reply::new("late\n").after(Duration::from_millis(500));
    let mut stack = stack(Behaviour::Answer(reply));
    let send = http2(&stack).await;
    let get = request("/").body(()).expect("a sound request");
    let asking = tokio::spawn(async move { ask(&send, get, b"").await });
    let origin = &stack.origin;
    common::eventually("the request has come", PATIENCE, || origin.count() == 1);
    stack.robin.signal(Signal::SIGTERM);
    let (status, body) = asking.await.expect("no panic");
    assert_eq!((status, &body[..]), (200, &b"late\n"[..]));
    let (status, _) = stack.robin.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_do_not_delay_the_end() {
    let mut stack = stack(Behaviour::ok());
    let address = stack.robin.address();
    let _silent = TcpStream::connect(address).await.expect("it listens");
    let idle = http2(&stack).await;
    let get = request("/").body(()).expect("a sound request");
    assert_eq!(ask(&idle, get, b"").await.0, 200);
    let client = stack.certificates.client("a.test", &["h2"]);
    let socket = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("a.test").expect("a host name");
    let _mute = TlsConnector::from(client).connect(name, socket).await.expect("a handshake");
    stack.robin.signal(Signal::SIGTERM);
    let (status, _) = stack.robin.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
}

/// A proxy in front of a stack, which it reaches with TLS.
fn before(stack: &Stack, upstream_tls: &str) -> Robin {
    let to = format!("https://{}", stack.robin.address());
    Robin::with(&format!("upstream_tls: {upstream_tls}\nroutes: {{ /: \"{to}\" }}"))
}

#[test]
fn a_peer_is_spoken_to_in_tls_once_its_certificate_is_verified() {
    let stack = stack(Behaviour::ok());
    let trusted = stack.certificates.certificate("a.test");
    let proxy = before(&stack, &format!("{{ name: a.test, trusted: {} }}", trusted.display()));
    for _ in 0..3 {
        let answer = exchange(proxy.address(), &Request::get("/x")).expect("an answer");
        assert_eq!((answer.status(), answer.text()), (200, "ok\n".to_owned()));
    }
    let body = vec![b'x'; 300_000];
    let answer = exchange(proxy.address(), &Request::post("/x", body)).expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let forwarded = stack.origin.requests().pop().expect("a request");
    assert_eq!(forwarded.body.len(), 300_000);
}

#[test]
fn a_peer_with_another_certificate_gets_nothing() {
    let stack = stack(Behaviour::ok());
    let other = Certificates::new(&["a.test"]);
    let trusted =
        |certificates: &Certificates| certificates.certificate("a.test").display().to_string();
    for tls in [
        format!("{{ name: a.test, trusted: {} }}", trusted(&other)),
        format!("{{ name: b.test, trusted: {} }}", trusted(&stack.certificates)),
    ] {
        let proxy = before(&stack, &tls);
        let answer = exchange(proxy.address(), &Request::get("/")).expect("an answer");
        assert_eq!(answer.status(), 502);
        proxy.wait_for_line(Output::Stdout, &["invalid peer certificate"]);
    }
    assert_eq!(stack.origin.count(), 0);
    let proxy = before(&stack, "{ verify: off, name: a.test }");
    let answer = exchange(proxy.address(), &Request::get("/")).expect("an answer");
    assert_eq!(answer.status(), 200, "unless nobody asks");
}
