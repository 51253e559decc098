//! What the headers of a forwarded request and of its answer say.

mod common;

use common::client::{Client, Request, exchange};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;

struct Stack {
    origin: Origin,
    robin: Robin,
}

/// One origin behind one route, with `yaml` above it.
fn stack(yaml: &str) -> Stack {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("{yaml}\nroutes: {{ /: {} }}", origin.address()));
    Stack { origin, robin }
}

impl Stack {
    /// The request as the origin gets it.
    #[track_caller]
    fn forwarded(&self, request: &Request) -> Message {
        let response = exchange(self.robin.address(), request).expect("an answer");
        assert_eq!(response.status(), 200, "{}", response.text());
        self.origin.requests().pop().expect("a request")
    }

    #[track_caller]
    fn answered(&mut self, reply: Reply) -> Message {
        self.origin.set(Behaviour::Answer(reply));
        exchange(self.robin.address(), &Request::get("/")).expect("an answer")
    }
}

const CLAIMS: [(&str, &str); 4] = [
    ("X-Real-IP", "192.0.2.1"),
    ("X-Forwarded-For", "192.0.2.2"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "claimed.test"),
];

fn claiming() -> Request {
    let request = Request::get("/").header("Host", "Example.org:8080");
    CLAIMS.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// The values of the four headers, each of which must come once.
#[track_caller]
fn claims(request: &Message) -> Vec<String> {
    let values = CLAIMS.iter().map(|(name, _)| {
        let values = request.header_all(name);
        assert_eq!(values.len(), 1, "{name} in {}", request.head);
        values[0].to_owned()
    });
    values.collect()
}

#[test]
fn the_upstream_learns_host_and_client_whatever_the_client_claims() {
    let stack = stack("");
    let local = "127.0.0.1";
    for request in [Request::get("/").header("Host", "Example.org:8080"), claiming()] {
        let forwarded = stack.forwarded(&request);
        assert_eq!(forwarded.header_all("host"), ["Example.org:8080"]);
        assert_eq!(claims(&forwarded), [local, local, "http", "Example.org:8080"]);
    }
}

#[test]
fn a_trusted_client_is_believed() {
    let stack = stack("trust: 127.0.0.0/8");
    let forwarded = stack.forwarded(&claiming());
    let expected = ["192.0.2.1", "192.0.2.2, 127.0.0.1", "https", "claimed.test"];
    assert_eq!(claims(&forwarded), expected);
    let forwarded = stack.forwarded(&Request::get("/"));
    assert_eq!(claims(&forwarded), ["127.0.0.1", "127.0.0.1", "http", "test"]);
}

/// What else a client may say of that, `Forwarded` last.
const MORE_CLAIMS: [(&str, &str); 4] = [
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Scheme", "https"),
    ("Forwarded", "for=192.0.2.3;proto=https;host=claimed.test"),
];

/// Which of these reach an upstream, and what a client says besides.
#[track_caller]
fn more_claims(stack: &Stack, besides: &Request) -> Vec<&'static str> {
    let request =
        MORE_CLAIMS.iter().fold(besides.clone(), |r, (name, value)| r.header(name, value));
    let forwarded = stack.forwarded(&request);
    let passed = MORE_CLAIMS.iter().filter(|(name, value)| {
        let values = forwarded.header_all(name);
        assert!(values.is_empty() || values == [*value], "{name} in {}", forwarded.head);
        !values.is_empty()
    });
    passed.map(|(name, _)| *name).collect()
}

#[test]
fn what_else_a_client_says_of_whom_it_asks_for_goes_no_further_unless_it_is_trusted() {
    let all = MORE_CLAIMS.map(|(name, _)| name);
    let plain = Request::get("/");
    for (yaml, alone, beside) in [
        ("", &[][..], &[][..]),
        ("trust: 127.0.0.0/8", &all[..], &all[..3]),
        ("trust: 10.0.0.0/8", &[], &[]),
        ("headers: { X-Forwarded-Port: $http_x_forwarded_port }", &all[1..2], &all[1..2]),
        ("headers: { '*': off }", &all, &all),
    ] {
        let stack = stack(yaml);
        assert_eq!(more_claims(&stack, &plain), alone, "{yaml}");
        assert_eq!(more_claims(&stack, &claiming()), beside, "{yaml}");
    }
    // In nginx's words they are headers like any other.
    let origin = Origin::start(free_address(), Behaviour::ok());
    let address = free_address();
    let server =
        format!("listen {address}; location / {{ proxy_pass http://{}; }}", origin.address());
    let robin = Robin::nginx(address, &format!("events {{}} http {{ server {{ {server} }} }}"));
    assert_eq!(more_claims(&Stack { origin, robin }, &plain), all);
}

#[test]
fn headers_are_set_with_variables_replaced_and_removed() {
    let stack = stack(
        "headers:\n  Host: $proxy_host\n  X-Forwarded-Proto: https\n  X-Forwarded-Host: ''\n  \
         Cookie: ''\n  X-Request-ID: $request_id\n  X-Line: $request_method $request_uri $uri\n  \
         X-Agent: <${http_user_agent}>\n  X-None: $http_nothing",
    );
    let request = Request::get("/a%20b?c=d").header("Cookie", "secret").header("User-Agent", "me");
    let forwarded = stack.forwarded(&request);
    let header = |name| forwarded.header(name).unwrap_or("none");
    assert_eq!(header("host"), stack.origin.address().to_string());
    assert_eq!(header("x-forwarded-proto"), "https");
    assert_eq!(header("x-forwarded-host"), "none");
    assert_eq!(header("cookie"), "none");
    assert_eq!(header("x-none"), "none");
    assert_eq!(header("x-agent"), "<me>");
    assert_eq!(header("x-line"), "GET /a%20b?c=d /a b");
    let line = &stack.robin.access_lines(1)[0];
    assert!(line.contains(&format!(" id={}", header("x-request-id"))), "{line}");
}

#[test]
fn names_of_headers_are_sent_as_they_were_written() {
    let stack = stack("headers: { X-API-Key: k, x-Odd-CASE: o }");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    client.send("GET / HTTP/1.1\r\nhOST: t\r\nX-cLIENT: c\r\nx-real-ip: 1\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
    let forwarded = stack.origin.requests().pop().expect("a request");
    let names: Vec<_> = forwarded.headers().map(|(name, _)| name).collect();
    for name in ["Host", "X-Real-IP", "X-Forwarded-For", "X-API-Key", "x-Odd-CASE", "X-cLIENT"] {
        assert!(names.contains(&name), "{name}: {}", forwarded.head);
    }
}

#[test]
fn headers_of_one_connection_are_not_forwarded() {
    let stack = stack("");
    let request = Request::get("/")
        .header("Connection", "x-foo, Close, X-Bar")
        .header("X-Foo", "1")
        .header("X-Bar", "1")
        .header("X-Kept", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Trailer", "X-Sum")
        .header("Upgrade", "websocket");
    let forwarded = stack.forwarded(&request);
    for name in ["x-foo", "x-bar", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(forwarded.header(name), None, "{}", forwarded.head);
    }
    assert_eq!(forwarded.header("x-kept"), Some("1"));
    assert!(!forwarded.has_token("connection", "close"), "{}", forwarded.head);
}

#[test]
fn a_client_cannot_have_the_headers_about_it_removed() {
    let stack = stack("");
    let request = claiming()
        .header("Connection", "close, X-Real-IP, X-Forwarded-For, X-Forwarded-Proto, Host");
    let response = exchange(stack.robin.address(), &request).expect("an answer");
    if response.status() == 200 {
        let forwarded = stack.origin.requests().pop().expect("a request");
        assert_eq!(claims(&forwarded)[..3], ["127.0.0.1", "127.0.0.1", "http"]);
        assert_eq!(forwarded.header("host"), Some("Example.org:8080"));
    } else {
        assert_eq!(response.status(), 400);
    }
}

#[test]
fn several_headers_of_one_name_and_unusual_values_arrive_as_sent() {
    let stack = stack("");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    let head = b"GET /?a=b HTTP/1.1\r\nHost: test\r\nX-Two: 1\r\nX-Two: 2\r\nX-Empty:\r\n\
                 X-Latin: caf\xe9\r\nCookie: a=1; b=\"2\"\r\nx_under: 1\r\n\r\n";
    client.send(head).expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
    let forwarded = stack.origin.requests().pop().expect("a request");
    assert_eq!(forwarded.header_all("x-two"), ["1", "2"]);
    assert_eq!(forwarded.header("x-empty"), Some(""));
    assert_eq!(forwarded.header("cookie"), Some("a=1; b=\"2\""));
    assert_eq!(forwarded.header("x-latin"), Some("caf\u{fffd}"));
}

#[test]
fn answers_say_server_robin_unless_it_is_switched_off() {
    let reply = Reply::new("ok\n").header("Server", "gunicorn");
    let mut on = stack("");
    assert_eq!(on.answered(reply.clone()).header_all("server"), ["robin"]);
    let mut off = stack("server_header: off");
    assert_eq!(off.answered(reply).header_all("server"), ["gunicorn"]);
    off.origin.set(Behaviour::Refuse);
    let page = exchange(off.robin.address(), &Request::get("/")).expect("an answer");
    assert_eq!((page.status(), page.header("server")), (502, None));
    on.origin.set(Behaviour::Refuse);
    let page = exchange(on.robin.address(), &Request::get("/")).expect("an answer");
    assert_eq!((page.status(), page.header("server")), (502, Some("robin")));
}

#[test]
fn answers_keep_their_headers_and_lose_those_of_the_upstream_connection() {
    let mut stack = stack("");
    let reply = Reply::new("ok\n")
        .header("Set-Cookie", "a=1")
        .header("Set-Cookie", "b=2")
        .header("Keep-Alive", "timeout=5")
        .header("Location", "http://other/");
    let answer = stack.answered(Reply { close: true, ..reply });
    assert_eq!(answer.header_all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("location"), Some("http://other/"));
    assert_eq!(answer.header("keep-alive"), None);
    assert!(!answer.has_token("connection", "close"), "{}", answer.head);
    assert!(answer.header("date").is_some(), "{}", answer.head);
}

#[test]
fn what_is_hidden_stays_hidden_where_it_would_be_written_anew() {
    let mut stack = stack(
        "proxy_hide_header: [Location, Set-Cookie]\nproxy_cookie_path: / /x/\nproxy_redirect: / /there/",
    );
    let reply = Reply::status(302).header("Location", "/a").header("Set-Cookie", "a=b; Path=/");
    let answer = stack.answered(reply);
    assert_eq!((answer.header("location"), answer.header("set-cookie")), (None, None));
}
