//! What probes of HTTP send, and what of the answer decides: in both doors, in TLS, over a socket of the file
//! system, over kept connections.

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

use common::client::get;
use common::http::Message;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::tls::Certificates;
use common::{PATIENCE, eventually};

/// Robin before one origin, probed as `check` says.
fn start(check: &str) -> (Origin, Robin) {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = before(&origin.address().to_string(), check);
    (origin, robin)
}

fn before(server: &str, check: &str) -> Robin {
    Robin::with(&format!(
        "upstreams:\n  back-end:\n    servers: [\"{server}\"]\n    health_check: {check}\n    panic: off\n\
         routes: {{ /: back-end }}"
    ))
}

/// The same through nginx's door: what stands in `http`, and what in the location.
fn nginx(origins: &[&Origin], http: &str, location: &str) -> (SocketAddr, Robin) {
    let servers: Vec<String> = origins.iter().map(|o| format!("server {};", o.address())).collect();
    let listen = free_address();
    let conf = format!(
        "upstream back-end {{ {} }}\n{http}\nserver {{ listen {listen}; location / {{ proxy_pass http://back-end; \
         {location} }} }}",
        servers.join(" ")
    );
    (listen, Robin::nginx(listen, &conf))
}

#[track_caller]
fn first_probe(origin: &Origin) -> Message {
    let probe = || {
        let all = origin.requests();
        all.into_iter().find(|r| r.header("user-agent").is_some_and(|a| a.contains("health check")))
    };
    eventually("it is probed", PATIENCE, || probe().is_some());
    probe().expect("it was probed")
}

#[track_caller]
fn fails(robin: &Robin, expected: &str) {
    robin.wait_for_line(Output::Stderr, &["peer fails probes", "upstream=back-end", expected]);
}

#[track_caller]
fn passes(robin: &Robin, times: usize) {
    eventually("it passes", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["peer passes probes", "upstream=back-end"]) >= times
    });
}

#[test]
fn method_and_headers_are_those_that_are_written() {
    let check = "{ http: /healthz, every: 100ms, method: POST, headers: { X-Probe: robin, User-Agent: health check 2 } }";
    let (origin, robin) = start(check);
    let probe = first_probe(&origin);
    assert_eq!((probe.method(), probe.target()), ("POST", "/healthz"));
    assert_eq!(probe.header("x-probe"), Some("robin"));
    assert_eq!(probe.header_all("user-agent"), ["health check 2"]);
    assert_eq!(probe.header("content-length"), Some("0"));
    passes(&robin, 1);
}

#[test]
fn headers_and_body_of_the_answer_decide_and_the_event_says_what_came() {
    let check = "{ http: /, every: 50ms, fall: 1, expect_headers: { X-State: ~ ^o }, body_matches: \"al+ well\", \
                 body_lacks: panic }";
    let (mut origin, robin) = start(check);
    fails(&robin, "header `x-state` is missing, expected a match of `^o`");
    let state = |value: &str, body: &str| {
        Behaviour::Answer(Reply::new(body.to_owned()).header("X-State", value))
    };
    origin.set(state("ok", "allll well"));
    passes(&robin, 1);
    origin.set(state(&"n".repeat(500), "all well"));
    let told =
        robin.wait_for_line(Output::Stderr, &["peer fails probes", "`nnn", "...`, expected"]);
    assert!(!told.contains(&"n".repeat(101)), "{told}");
    origin.set(state("ok", "all well"));
    passes(&robin, 2);
    origin.set(state("ok", "ill"));
    fails(&robin, "body does not match `al+ well`");
    origin.set(state("ok", "all well"));
    passes(&robin, 3);
    origin.set(state("ok", "all well, do not panic"));
    fails(&robin, "body matches `panic`, expected no match");
}

#[test]
fn what_stands_behind_the_first_64_kib_of_a_body_is_not_seen() {
    let body = |before: usize| {
        Behaviour::Answer(Reply::new(["x".repeat(before).as_str(), "end"].concat()))
    };
    let (mut origin, robin) = start("{ http: /, every: 50ms, fall: 1, body_matches: end }");
    fails(&robin, "body does not match `end`");
    origin.set(body(64 * 1024 - 3));
    passes(&robin, 1);
    origin.set(body(64 * 1024 - 2));
    eventually("it fails again", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["peer fails probes", "does not match"]) >= 2
    });
}

#[test]
fn of_two_checks_both_have_to_pass() {
    let (origin, robin) =
        start("[{ http: /a, every: 50ms, fall: 1 }, { http: /b, every: 50ms, fall: 1 }]");
    passes(&robin, 1);
    origin.set_path("/b", Behaviour::Answer(Reply::status(500)));
    fails(&robin, "status 500, expected 200-399");
    let asked = origin.requests().iter().filter(|r| r.target() == "/a").count();
    eventually("the other passes on", PATIENCE, || {
        origin.requests().iter().filter(|r| r.target() == "/a").count() >= asked + 3
    });
    assert_eq!(get(robin.address(), "/").status(), 502);
    origin.set_path("/b", Behaviour::ok());
    passes(&robin, 2);
}

#[test]
fn a_kept_connection_serves_several_probes_and_its_end_is_no_failure() {
    let (origin, robin) = start("{ http: /, every: 50ms, fall: 1, keepalive: 1m }");
    eventually("it is probed", PATIENCE, || origin.count() >= 5);
    assert_eq!(origin.connections(), 1);
    let probe = first_probe(&origin);
    assert_eq!(probe.header("connection"), None);
    origin.close_connections();
    let before = origin.count();
    eventually("it is probed on", PATIENCE, || origin.count() >= before + 3);
    assert_eq!(origin.connections(), 2);
    assert_eq!(robin.count_lines(Output::Stderr, &["peer fails probes"]), 0);
}

#[test]
fn a_socket_of_the_file_system_is_probed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a probe");
        let mut head = [0; 4096];
        let count = stream.read(&mut head).expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("it reads");
        String::from_utf8_lossy(&head[..count]).into_owned()
    });
    let robin =
        before(&format!("unix:{}", path.display()), "{ http: /healthz, body_matches: ^ok$ }");
    passes(&robin, 1);
    let asked = asked.join().expect("it was asked");
    assert!(asked.starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"), "{asked}");
}

#[test]
fn in_tls_the_name_of_the_certificate_has_to_be_the_one_that_is_asked_for() {
    let certificates = Certificates::new(&["shop.test"]);
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (listen, tls) = (free_address(), certificates.yaml("shop.test"));
    let _back = Robin::start(
        listen,
        &format!(
            "listen: {{ address: \"{listen}\", tls: on }}\nnames: [shop.test]\ntls: {tls}\nroutes: {{ /: {} }}",
            origin.address()
        ),
    );
    let ca = certificates.certificate("shop.test");
    let check =
        |tls: &str| format!("{{ http: /, every: 100ms, fall: 1, host: shop.test, tls: {tls} }}");
    let verified = before(&listen.to_string(), &check(&format!("{{ ca: {} }}", ca.display())));
    passes(&verified, 1);
    let wrong = check(&format!("{{ sni: other.test, ca: {} }}", ca.display()));
    fails(&before(&listen.to_string(), &wrong), "TLS handshake failed: invalid peer certificate");
    fails(
        &before(&listen.to_string(), &check("on")),
        "none of the trusted certificates has signed it",
    );
    passes(&before(&listen.to_string(), &check("{ verify: off }")), 1);
    fails(&before(&listen.to_string(), "{ http: /, every: 100ms, fall: 1 }"), "");
}

#[test]
fn nginx_s_health_check_asks_as_its_location_would_and_judges_by_its_match() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let matches = "match welcome { status 200; header X-State = well; body ~ \"wel+come\"; }";
    let location = "proxy_set_header Host api.example; proxy_set_header X-From robin; \
                    proxy_set_header X-Client $remote_addr; \
                    health_check interval=100ms uri=/healthz?x=1 match=welcome;";
    let (_, robin) = nginx(&[&origin], matches, location);
    let probe = first_probe(&origin);
    assert_eq!(probe.target(), "/healthz?x=1");
    assert_eq!(probe.header("host"), Some("api.example"));
    assert_eq!((probe.header("x-from"), probe.header("x-client")), (Some("robin"), None));
    fails(&robin, "header `x-state` is missing, expected `well`");
    let reply = Reply::new("wellcome").header("X-State", "well");
    origin.set_path("/healthz", Behaviour::Answer(reply));
    passes(&robin, 1);
}

#[test]
fn in_nginx_s_door_a_new_server_waits_only_where_the_check_is_mandatory() {
    for (mandatory, status) in [("", 200), ("mandatory", 200)] {
        let addresses = replicas(2);
        let origins: Vec<_> =
            addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
        origins[1].set_path("/healthz", Behaviour::Hang);
        let both: Vec<&Origin> = origins.iter().collect();
        let location = format!("health_check interval=60s uri=/healthz {mandatory};");
        let (listen, robin) = nginx(&both, "", &location);
        passes(&robin, 1);
        let answers: Vec<_> = (0..4).map(|_| get(listen, "/")).collect();
        assert!(answers.iter().all(|answer| answer.status() == status));
        let second = addresses[1].to_string();
        let of_second = answers.iter().filter(|answer| answer.replica() == second).count();
        assert_eq!(of_second, if mandatory.is_empty() { 2 } else { 0 }, "{mandatory}");
    }
}
