//! Probes of gRPC's health service: what is asked, and which answers pass.

mod common;

use common::grpc::{Says, Server};
use common::net::free_address;
use common::robin::{Output, Robin};
use common::tls::Certificates;
use common::{PATIENCE, eventually};

const NOT_SERVING: u8 = 2;
const SERVING: u8 = 1;

/// Robin before `server`, probed as `check` says.
fn before(server: &Server, check: &str) -> Robin {
    Robin::with(&format!(
        "upstreams:\n  back-end:\n    servers: [\"{}\"]\n    health_check: {check}\n    panic: off\n\
         routes: {{ /: back-end }}",
        server.address()
    ))
}

#[test]
fn a_server_that_serves_passes_and_is_asked_about_the_service() {
    let server = Server::start(free_address(), Says::Serving(SERVING), None);
    let robin = before(&server, "{ grpc: my.Service, every: 100ms, fall: 1, host: calls.example }");
    robin.wait_for_line(Output::Stderr, &["peer passes probes", "upstream=back-end"]);
    let call = server.calls().remove(0);
    assert_eq!(call.uri, "http://calls.example/grpc.health.v1.Health/Check");
    assert_eq!(call.message, b"\0\0\0\0\x0c\x0a\x0amy.Service");

    server.say(Says::Serving(NOT_SERVING));
    let told = robin.wait_for_line(Output::Stderr, &["peer fails probes", "grpc NOT_SERVING"]);
    assert!(told.contains("expected SERVING"), "{told}");
}

#[test]
fn what_is_no_sound_answer_says_what_came() {
    let server = Server::start(free_address(), Says::Status(12, "no such service"), None);
    let robin = before(&server, "{ grpc: on, every: 100ms, fall: 1 }");
    let expected = "grpc status 12 UNIMPLEMENTED (no such service), expected SERVING";
    robin.wait_for_line(Output::Stderr, &["peer fails probes", expected]);

    server.say(Says::Serving(SERVING));
    robin.wait_for_line(Output::Stderr, &["peer passes probes"]);
    server.say(Says::Http(503));
    robin.wait_for_line(Output::Stderr, &["peer fails probes", "not gRPC: status 503"]);
}

#[test]
fn a_server_without_the_service_passes_where_its_status_is_allowed() {
    let server = Server::start(free_address(), Says::Status(12, ""), None);
    let listen = free_address();
    let robin = Robin::nginx(
        listen,
        &format!(
            "upstream back-end {{ server {}; server 127.0.0.1:1 down; }}\nserver {{ listen {listen}; location / {{ \
             proxy_pass http://back-end; health_check mandatory interval=1s type=grpc grpc_status=12; }} }}",
            server.address()
        ),
    );
    robin.wait_for_line(Output::Stderr, &["peer passes probes", "upstream=back-end"]);
    assert_eq!(server.calls()[0].uri, "http://back-end/grpc.health.v1.Health/Check");
    server.say(Says::Status(14, ""));
    robin.wait_for_line(Output::Stderr, &["peer fails probes", "grpc status 14 UNAVAILABLE"]);
}

#[test]
fn in_tls_it_is_asked_for_under_the_name_that_its_certificate_has() {
    let certificates = Certificates::new(&["calls.test"]);
    let (certificate, key) =
        (certificates.certificate("calls.test"), certificates.key("calls.test"));
    let files = (certificate.as_path(), key.as_path());
    let server = Server::start(free_address(), Says::Serving(SERVING), Some(files));
    let check = |sni: &str| {
        let ca = certificate.display();
        format!("{{ grpc: on, every: 100ms, fall: 1, tls: {{ sni: {sni}, ca: {ca} }} }}")
    };
    let robin = before(&server, &check("calls.test"));
    robin.wait_for_line(Output::Stderr, &["peer passes probes"]);
    assert!(server.calls()[0].uri.starts_with("https://"), "{:?}", server.calls());

    let robin = before(&server, &check("other.test"));
    robin.wait_for_line(
        Output::Stderr,
        &["peer fails probes", "TLS handshake failed", "calls.test"],
    );
}

#[test]
fn a_kept_connection_is_called_over_again() {
    let server = Server::start(free_address(), Says::Serving(SERVING), None);
    let _robin = before(&server, "{ grpc: on, every: 50ms, keepalive: 1m }");
    eventually("it is called", PATIENCE, || server.calls().len() >= 5);
    let connections: Vec<usize> = server.calls().iter().map(|call| call.connection).collect();
    assert_eq!(connections[..5], [1; 5]);
}
