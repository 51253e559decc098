//! Which peer a request reaches and with which target: virtual servers, routes, rewriting.

mod common;

use common::client::{Client, Request, exchange, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::Robin;

/// A virtual server of its own for each origin would be too long: one origin a route.
fn origins<const N: usize>() -> [Origin; N] {
    std::array::from_fn(|_| Origin::start(free_address(), Behaviour::ok()))
}

/// Which of `origins` answers a GET; none for robin itself.
#[track_caller]
fn answered_by(robin: &Robin, target: &str, origins: &[Origin]) -> Option<usize> {
    let response = get(robin.address(), target);
    let replica = response.header("x-replica")?;
    origins.iter().position(|o| o.address().to_string() == replica)
}

#[test]
fn the_longest_prefix_wins_and_a_prefix_is_no_path_segment() {
    let origins = origins::<3>();
    let [root, api, exact] = origins.each_ref().map(Origin::address);
    let robin = Robin::with(&format!(
        "routes: {{ /: {root}, /api: {api}, /api/v1/: {root}, = /x: {exact} }}"
    ));
    for (target, origin) in [
        ("/", 0),
        ("/index.html", 0),
        ("/ap", 0),
        ("/api", 1),
        ("/api/hello?a=/x", 1),
        ("/apix", 1),
        ("/api/v1/", 0),
        ("/x", 2),
        ("/x?q=1", 2),
        ("/x/", 0),
        ("/xy", 0),
    ] {
        assert_eq!(answered_by(&robin, target, &origins), Some(origin), "{target}");
    }
}

#[test]
fn a_proxied_route_with_a_slash_at_its_end_is_led_to_from_without() {
    let origins = origins::<2>();
    let [root, api] = origins.each_ref().map(Origin::address);
    let robin = Robin::with(&format!("routes: {{ /: {root}, /api/: {api} }}"));
    let answer = get(robin.address(), "/api?a=b");
    assert_eq!(answer.status(), 301);
    let location = answer.header("location").unwrap_or_default().to_owned();
    assert!(location.contains("/api/"), "{location}");
}

#[test]
fn a_normalized_path_chooses_the_route_and_the_target_is_forwarded_as_it_came() {
    let origins = origins::<2>();
    let [root, api] = origins.each_ref().map(Origin::address);
    let robin = Robin::with(&format!("routes: {{ /: {root}, /api/: {api} }}"));
    let targets = [
        ("/%61pi/x", 1),
        ("/a/../api/x?y=/../z", 1),
        ("//api//x", 1),
        ("/./api/./x%20y%2Fz", 1),
        ("/api/..", 0),
        ("/%2e/api/a", 1),
        ("/API/", 0),
    ];
    for (target, origin) in targets {
        assert_eq!(answered_by(&robin, target, &origins), Some(origin), "{target}");
        let last = origins[origin].requests().pop().expect("a request");
        assert_eq!(last.target(), target);
    }
}

#[test]
fn the_uri_part_of_a_target_replaces_what_the_route_matched() {
    let [origin] = origins::<1>();
    let at = origin.address();
    let robin = Robin::with(&format!(
        "routes: {{ /a: http://{at}/, /b/: http://{at}/, /c/: http://{at}/deep/x, \
         = /d: http://{at}/exact, /: {at} }}"
    ));
    // What nginx 1.22 forwards for these.
    for (target, forwarded) in [
        ("/a", "/"),
        ("/a/hello", "//hello"),
        ("/b/hello?x=1&y=%20", "/hello?x=1&y=%20"),
        ("/b/a%20b%2Fc", "/a%20b/c"),
        ("/b/100%25", "/100%25"),
        ("/b/%3Fq", "/%3Fq"),
        ("/c/y", "/deep/xy"),
        ("/c/../b/z", "/z"),
        ("/d?q", "/exact?q"),
        ("/e%20f?", "/e%20f?"),
    ] {
        assert_eq!(get(robin.address(), target).status(), 200, "{target}");
        let last = origin.requests().pop().expect("a request");
        assert_eq!(last.target(), forwarded, "{target}");
    }
}

#[test]
fn the_host_chooses_the_virtual_server_and_the_first_one_gets_the_rest() {
    let origins = origins::<3>();
    let [first, exact, wildcard] = origins.each_ref().map(Origin::address);
    let address = free_address();
    let robin = Robin::start(
        address,
        &format!(
            "virtual_servers:\n\
             - {{ listen: \"{address}\", names: [first.test], routes: {{ /: \"{first}\" }} }}\n\
             - {{ listen: \"{address}\", names: [www.example.org], routes: {{ /: \"{exact}\" }} }}\n\
             - {{ listen: \"{address}\", names: ['*.example.org'], routes: {{ /: \"{wildcard}\" }} }}\n"
        ),
    );
    for (host, origin) in [
        ("first.test", 0),
        ("www.example.org", 1),
        ("WWW.Example.org:8080", 1),
        ("www.example.org.", 1),
        ("a.b.example.org", 2),
        ("example.org", 0),
        ("nobody", 0),
        ("127.0.0.1", 0),
        ("[::1]:80", 0),
    ] {
        let response = exchange(robin.address(), &Request::get("/").header("Host", host));
        let response = response.expect("an answer");
        let expected = origins[origin].address().to_string();
        assert_eq!(response.header("x-replica"), Some(expected.as_str()), "{host}");
    }
}

#[test]
fn a_target_in_absolute_form_is_forwarded_as_a_path() {
    let [origin] = origins::<1>();
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    for (target, forwarded) in [
        ("http://www.example.org/a?b", "/a?b"),
        ("http://www.example.org", "/"),
        ("http://www.example.org?b", "/?b"),
    ] {
        let request = Request::get(target).header("Host", "www.example.org");
        let response = exchange(robin.address(), &request).expect("an answer");
        assert_eq!(response.status(), 200, "{target}");
        let last = origin.requests().pop().expect("a request");
        assert_eq!((last.target(), last.header("host")), (forwarded, Some("www.example.org")));
    }
    // Whatever the header says, the target is believed, and the upstream is told so.
    let request = Request::get("http://www.example.org/c").header("Host", "other.test");
    let response = exchange(robin.address(), &request).expect("an answer");
    assert_eq!(response.status(), 200);
    let last = origin.requests().pop().expect("a request");
    assert_eq!((last.target(), last.header("host")), ("/c", Some("www.example.org")));
    let line = robin.access_lines(4).pop().expect("a line");
    assert!(line.contains("\"GET http://www.example.org/c HTTP/1.1\" 200 "), "{line}");
}

#[test]
fn each_listener_has_its_own_default() {
    let origins = origins::<2>();
    let addresses = replicas(2);
    let robin = Robin::start(
        addresses[0],
        &format!(
            "virtual_servers:\n\
             - {{ listen: \"{}\", names: [a.test], routes: {{ /: \"{}\" }} }}\n\
             - {{ listen: \"{}\", names: [b.test], routes: {{ /: \"{}\" }} }}\n",
            addresses[0],
            origins[0].address(),
            addresses[1],
            origins[1].address()
        ),
    );
    for (address, origin) in addresses.iter().zip(&origins) {
        let response = exchange(*address, &Request::get("/").header("Host", "a.test"));
        let expected = origin.address().to_string();
        let response = response.expect("an answer");
        assert_eq!(response.header("x-replica"), Some(expected.as_str()));
    }
    drop(robin);
}

#[test]
fn without_a_route_there_is_a_404_and_the_connection_lives_on() {
    let [origin] = origins::<1>();
    let robin = Robin::with(&format!("routes: {{ /api: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    for _ in 0..2 {
        let missing = client.exchange(&Request::get("/nothing")).expect("an answer");
        assert_eq!(missing.status(), 404);
        assert_eq!(missing.header("connection"), Some("keep-alive"));
        let head = client.exchange(&Request::new("HEAD", "/nothing")).expect("an answer");
        assert_eq!((head.status(), head.body.len()), (404, 0));
        let found = client.exchange(&Request::get("/api")).expect("an answer");
        assert_eq!((found.status(), found.text().as_str()), (200, "ok\n"));
    }
    let posted = client.exchange(&Request::post("/nothing", "a=b")).expect("an answer");
    assert_eq!(posted.status(), 404);
}
