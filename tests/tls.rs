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

/// An authority, and what it has signed.
struct Authority {
    folder: tempfile::TempDir,
    params: rcgen::CertificateParams,
    key: rcgen::KeyPair,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.crt"), made.pem()).expect("a file");
        Self { folder, params, key }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Files NAME.crt and NAME.key for a host, good until a year.
    fn signs(&self, name: &str, until: i32) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(rcgen::SerialNumber::from(0x1f2e_3d4c_u64));
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(self.file(&format!("{name}.crt")), made.pem()).expect("a file");
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    /// A client that trusts it, and shows NAME.crt where it has one.
    fn client(&self, shows: Option<&str>) -> rustls::ClientConfig {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let read = |name: String| CertificateDer::from_pem_file(name).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(read(self.file("ca.crt"))).expect("a sound certificate");
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_root_certificates(roots);
        let Some(name) = shows else { return builder.with_no_client_auth() };
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("a key");
        builder
            .with_client_auth_cert(vec![read(self.file(&format!("{name}.crt")))], key)
            .expect("they belong together")
    }
}

/// One request on a connection of its own; tells whether its session was taken up again.
fn ask_once(
    address: SocketAddr,
    client: &std::sync::Arc<rustls::ClientConfig>,
    request: &str,
) -> (String, bool) {
    use std::io::{Read as _, Write as _};
    let socket = std::net::TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let name = ServerName::try_from("a.test").expect("a host name");
    let connection = rustls::ClientConnection::new(client.clone(), name).expect("sound settings");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(request.as_bytes()).expect("a handshake");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    (String::from_utf8_lossy(&answer).into_owned(), resumed)
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_client_shows_who_it_is_or_gets_nothing() {
    let authority = Authority::new();
    let other = Authority::new();
    authority.signs("a.test", 4000);
    authority.signs("late.test", 2020);
    authority.signs("me.test", 4000);
    other.signs("stranger.test", 4000);
    let address = free_address();
    let server = |name: &str, verify: &str| {
        format!(
            "  - listen: {{ address: \"{address}\", tls: on }}\n    names: [{name}]\n    \
             error_page: 495 496 =401 /who\n    tls: {{ certificate: {}, key: {}, \
             certificate_check: off, client_ca: {}, verify_client: {verify} }}\n    routes:\n      \
             /: {{ rules: ['return 200 \"$$ssl_client_verify $$ssl_client_s_dn $$ssl_client_serial\"'] }}\n      \
             /who: {{ rules: ['return 200 \"who?\"'] }}\n",
            authority.file("a.test.crt"),
            authority.file("a.test.key"),
            authority.file("ca.crt"),
        )
    };
    let yaml = format!(
        "threads: 1\nvirtual_servers:\n{}{}",
        server("a.test", "on").replace("$$", "$"),
        server("b.test", "optional").replace("$$", "$")
    );
    let robin = Robin::start(address, &yaml);
    let ask = |shows: Option<(&Authority, &str)>, host: &str| {
        let client = match shows {
            Some((of, name)) => {
                let mut client = of.client(Some(name));
                let own = authority.client(None);
                client.dangerous().set_certificate_verifier(
                    rustls::client::WebPkiServerVerifier::builder_with_provider(
                        {
                            use rustls::pki_types::pem::PemObject as _;
                            let mut roots = rustls::RootCertStore::empty();
                            let ca = rustls::pki_types::CertificateDer::from_pem_file(
                                authority.file("ca.crt"),
                            );
                            roots.add(ca.expect("a certificate")).expect("a sound one");
                            roots.into()
                        },
                        own.crypto_provider().clone(),
                    )
                    .build()
                    .expect("a verifier"),
                );
                client
            }
            None => authority.client(None),
        };
        ask_once(robin.address(), &std::sync::Arc::new(client), &get(host)).0
    };
    let good = ask(Some((&authority, "me.test")), "a.test");
    assert!(good.ends_with("SUCCESS CN=me.test 1F2E3D4C"), "{good}");
    for shows in [None, Some((&authority, "late.test")), Some((&other, "stranger.test"))] {
        let refused = ask(shows, "a.test");
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.ends_with("who?"), "{refused}");
    }
    robin.wait_for_line(Output::Stdout, &["certificate verify error: certificate has expired"]);
    robin.wait_for_line(Output::Stdout, &["client sent no required SSL certificate"]);
    let misdirected = ask(Some((&authority, "me.test")), "b.test");
    assert!(misdirected.starts_with("HTTP/1.1 421 "), "{misdirected}");
}

#[test]
fn a_session_is_taken_up_again_behind_a_reload_that_brings_another_certificate() {
    let authority = Authority::new();
    authority.signs("a.test", 4000);
    let address = free_address();
    let yaml = format!(
        "threads: 1\nlisten: {{ address: \"{address}\", tls: on }}\nnames: [a.test]\nhsts: on\n\
         tls: {{ certificate: {}, key: {} }}\nroutes: {{ /: {{ rules: ['return 200 ok'] }} }}\n",
        authority.file("a.test.crt"),
        authority.file("a.test.key")
    );
    let robin = Robin::start(address, &yaml);
    let client = std::sync::Arc::new(authority.client(None));
    let (answer, resumed) = ask_once(address, &client, &get("a.test"));
    assert!(answer.contains("Strict-Transport-Security: max-age=31536000\r\n"), "{answer}");
    assert!(!resumed);
    let before = std::fs::read(authority.file("a.test.crt")).expect("a file");
    authority.signs("a.test", 3999);
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["reloaded"]);
    let (_, resumed) = ask_once(address, &client, &get("a.test"));
    assert!(resumed, "a ticket from before the reload");
    let new = std::fs::read(authority.file("a.test.crt")).expect("a file");
    assert_ne!(before, new);

    // One that is late changes nothing: the one before serves on.
    authority.signs("a.test", 2020);
    robin.signal(Signal::SIGHUP);
    let line = robin.wait_for_line(Output::Stderr, &["reload refused"]);
    assert!(line.contains("has expired"), "{line}");
    let fresh = std::sync::Arc::new(authority.client(None));
    let (answer, _) = ask_once(address, &fresh, &get("a.test"));
    assert!(answer.ends_with("ok"), "{answer}");
}

#[test]
fn plain_http_is_sent_to_https_where_it_is_told_so() {
    let robin =
        Robin::with("redirect_https: on\nhsts: on\nroutes: { /: { rules: ['return 200 ok'] } }");
    let answer = exchange(robin.address(), &Request::get("/x?y=1")).expect("an answer");
    assert_eq!(answer.status(), 308);
    let location = answer.header("location").expect("it leads somewhere").to_owned();
    assert!(location.starts_with("https://") && location.ends_with("/x?y=1"), "{location}");
    assert_eq!(answer.header("strict-transport-security"), None, "not in plain HTTP");
}

#[test]
fn the_reason_why_a_peer_is_not_believed_says_which_check_it_was() {
    let authority = Authority::new();
    authority.signs("late.test", 2020);
    authority.signs("a.test", 4000);
    let other = Authority::new();
    for (name, ca, expected) in [
        (
            "late.test",
            &authority,
            "certificate has expired (it was good until Jan  1 00:00:00 2020",
        ),
        ("a.test", &other, "certificate signature failure"),
        ("a.test", &authority, "it is not for"),
    ] {
        let address = free_address();
        let front = Robin::start(
            address,
            &format!(
                "threads: 1\nlisten: {{ address: \"{address}\", tls: on }}\ntls: {{ certificate: {}, \
                 key: {}, certificate_check: off }}\nroutes: {{ /: {{ rules: ['return 200 ok'] }} }}\n",
                authority.file(&format!("{name}.crt")),
                authority.file(&format!("{name}.key"))
            ),
        );
        let wanted = if expected.contains("not for") { "b.test" } else { name };
        let proxy = Robin::with(&format!(
            "error_details: on\nupstream_tls: {{ name: {wanted}, trusted: {} }}\n\
             routes: {{ /: \"https://{}\" }}",
            ca.file("ca.crt"),
            front.address()
        ));
        let answer = exchange(proxy.address(), &Request::get("/")).expect("an answer");
        assert_eq!(answer.status(), 502);
        proxy.wait_for_line(Output::Stdout, &["invalid peer certificate", expected]);
    }
}
