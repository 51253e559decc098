//! Who gets in, and what is one told who does not?

mod common;

use common::client::{Client, Request, exchange};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};

/// `secret` in two schemes.
const PASSWORDS: &str = "anna:$apr1$mEvZG1vL$YC0JS.vjncLWQNhXAfD6m1\n\
    bert:$2y$05$9rrcL7EhkMBXI/HU00/eve5JEuDKIfCpliTzZBfF8zIO.qbqn5x8G\n";

fn nginx(directives: &str) -> Robin {
    let address = free_address();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, PASSWORDS).expect("the passwords can be written");
    let directives = directives.replace("htpasswd", file.to_str().expect("a path of letters"));
    let robin = Robin::nginx(address, &format!("server {{ listen {address}; {directives} }}"));
    // The file is read at each request; it goes with the system's other temporary files.
    let _ = folder.keep();
    robin
}

#[track_caller]
fn ask(robin: &Robin, request: Request) -> Message {
    exchange(robin.address(), &request).expect("an answer")
}

/// `Basic` credentials.
fn login(pair: &str) -> Request {
    let code = data_encoding::BASE64.encode(pair.as_bytes());
    Request::get("/").header("Authorization", &format!("Basic {code}"))
}

#[test]
fn a_password_of_the_file_lets_in() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = nginx(&format!(
        "location / {{ auth_basic \"the house\"; auth_basic_user_file htpasswd;
         proxy_pass http://{}; }}",
        origin.address()
    ));
    for right in ["anna:secret", "bert:secret"] {
        assert_eq!(ask(&robin, login(right)).status(), 200, "{right}");
    }
    for wrong in ["anna:Secret", "bert:", "carl:secret", ":secret"] {
        let refused = ask(&robin, login(wrong));
        assert_eq!(refused.status(), 401, "{wrong}");
        assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"the house\""));
    }
    assert_eq!(ask(&robin, Request::get("/")).status(), 401);
    assert_eq!(origin.count(), 2, "only who got in reached the origin");
    let line = robin.wait_for_line(Output::Stdout, &["carl", " 401 "]);
    assert!(line.contains("was not found") && !line.contains("Y2FybDpzZWNyZXQ"), "{line}");
}

#[test]
fn files_outside_of_routes_are_guarded_as_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("page.txt"), "page").expect("the page can be written");
    let root = folder.path().display();
    for (guard, status) in [
        ("deny all;", 403),
        ("auth_basic x; auth_basic_user_file htpasswd;", 401),
        ("allow all;", 200),
    ] {
        let robin = nginx(&format!("root {root}; {guard}"));
        assert_eq!(ask(&robin, Request::get("/page.txt")).status(), status, "{guard}");
    }
}

#[test]
fn a_missing_file_lets_nobody_in() {
    let robin = nginx("location / { auth_basic x; auth_basic_user_file htpasswd.none; root /; }");
    assert_eq!(ask(&robin, login("anna:secret")).status(), 403);
}

/// A service that lets in who says so, and asks others for a ticket.
fn service(status: u16) -> Origin {
    let mut reply = Reply::new("word");
    reply.status = status;
    reply.headers =
        vec![("WWW-Authenticate".into(), "Ticket".into()), ("X-User".into(), "anna".into())];
    Origin::start(free_address(), Behaviour::Answer(reply))
}

/// A house where `service` decides.
fn guarded(service: &Origin, origin: &Origin, more: &str) -> Robin {
    nginx(&format!(
        "{more} location / {{ auth_request /door; auth_request_set $user $upstream_http_x_user;
         proxy_set_header X-User $user; proxy_pass http://{}; }}
         location = /door {{ internal; proxy_pass http://{}/asked; proxy_pass_request_body off;
         proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Method $request_method; }}",
        origin.address(),
        service.address()
    ))
}

#[test]
fn a_service_that_is_asked_lets_in_and_what_it_says_is_kept() {
    let (service, origin) = (service(204), Origin::start(free_address(), Behaviour::ok()));
    let robin = guarded(&service, &origin, "");
    let mut client = Client::connect(robin.address()).expect("it listens");
    for n in 1..=3 {
        let request = Request::post("/page?a=b", "a body").header("X-User", "forged");
        assert_eq!(client.exchange(&request).expect("an answer").status(), 200);
        let served = origin.requests().pop().expect("a request");
        assert_eq!((served.header("x-user"), &served.body[..]), (Some("anna"), &b"a body"[..]));
        let asked = service.requests().pop().expect("a question");
        assert_eq!(asked.line(), "GET /asked HTTP/1.1");
        assert_eq!(asked.header("x-original-uri"), Some("/page?a=b"));
        assert_eq!(asked.header("x-method"), Some("POST"));
        assert_eq!((asked.header("content-length"), &asked.body[..]), (None, &[][..]));
        assert_eq!((service.count(), origin.count()), (n, n));
    }
    assert_eq!(robin.access_lines(3).len(), 3, "questions are not logged");
    assert_eq!(ask(&robin, Request::get("/door")).status(), 404, "nobody else may ask");
}

#[test]
fn what_the_service_refuses_does_not_reach_the_origin() {
    for (said, status, challenge) in [
        (401, 401, Some("Ticket")),
        (403, 403, None),
        (404, 500, None),
        (302, 500, None),
        (503, 500, None),
    ] {
        let (service, origin) = (service(said), Origin::start(free_address(), Behaviour::ok()));
        let robin = guarded(&service, &origin, "");
        let refused = ask(&robin, Request::get("/"));
        assert_eq!(
            (refused.status(), refused.header("www-authenticate")),
            (status, challenge),
            "{said}"
        );
        assert_eq!(origin.count(), 0, "{said}");
    }
}

#[test]
fn a_service_that_is_down_is_an_error_and_no_way_in() {
    let (service, origin) = (service(204), Origin::start(free_address(), Behaviour::ok()));
    let robin = guarded(
        &service,
        &origin,
        "error_page 500 =503 /sorry; location = /sorry { return 200 sorry; }",
    );
    drop(service);
    let refused = ask(&robin, Request::get("/"));
    assert_eq!((refused.status(), refused.text()), (503, "sorry".into()));
    assert_eq!(origin.count(), 0);
}

#[test]
fn any_one_of_them_is_enough_where_the_configuration_says_so() {
    let refusing = service(403);
    for (satisfy, address, pair, expected) in [
        ("all", "allow all", "anna:secret", 403),
        ("any", "allow all", "nobody:", 200),
        ("any", "deny all", "anna:secret", 200),
        ("any", "deny all", "anna:wrong", 401),
        ("all", "deny all", "anna:secret", 403),
    ] {
        let robin = nginx(&format!(
            "satisfy {satisfy}; {address}; auth_basic x; auth_basic_user_file htpasswd;
             auth_request /door; location / {{ empty_gif; }}
             location = /door {{ internal; proxy_pass http://{}; }}",
            refusing.address()
        ));
        let status = ask(&robin, login(pair)).status();
        assert_eq!(status, expected, "{satisfy} {address} {pair}");
    }
}

#[test]
fn secure_headers_fill_in_what_the_site_does_not_say() {
    let mut reply = Reply::new("page");
    reply.headers =
        vec![("X-Frame-Options".into(), "DENY".into()), ("X-Powered-By".into(), "PHP/5.2".into())];
    let origin = Origin::start(free_address(), Behaviour::Answer(reply));
    let robin = Robin::with(&format!(
        "secure_headers: on\nroutes: {{ /: {}, /plain: {{ to: {0}, secure_headers: off }}, \
         /none: {{ rules: return 404 }} }}",
        origin.address()
    ));
    let answer = ask(&robin, Request::get("/"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    assert_eq!(answer.header("x-powered-by"), None);
    assert_eq!(ask(&robin, Request::get("/none")).header("x-frame-options"), Some("SAMEORIGIN"));
    let plain = ask(&robin, Request::get("/plain"));
    assert_eq!(
        (plain.header("x-content-type-options"), plain.header("x-powered-by")),
        (None, Some("PHP/5.2"))
    );
}
