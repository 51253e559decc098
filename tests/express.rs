//! The express lane: nobody can tell which way a request took.

mod common;

use common::client::{Client, Request, exchange};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use common::stack::stack;
use common::{PATIENCE, eventually};

/// All that comes back, without what differs from one answer to the next.
fn answer(robin: &Robin, request: &Request) -> String {
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send(request.clone().header("Connection", "close").bytes()).expect("it is taken");
    let text = client.rest().expect("an answer");
    let lines = text.lines().filter(|line| !line.starts_with("Date:"));
    in_order(lines.map(without_ids).collect())
}

/// A message whose lines of different names stand in an order that says nothing (RFC 9110, section 5.3).
fn in_order(mut lines: Vec<String>) -> String {
    let end = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    let headers = lines.get_mut(1..end).unwrap_or_default();
    headers.sort_by_key(|line| line.split(':').next().map(str::to_ascii_lowercase));
    lines.join("\n")
}

fn without_ids(line: &str) -> String {
    let is_id = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let plain = |word: &str| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    words.map(|word| if is_id(&plain(word)) { "ID".to_owned() } else { word.to_owned() }).collect()
}

/// What the origin was asked, without the headers that name a request.
fn asked(origin: &Origin) -> String {
    let requests = origin.requests();
    let head = requests.last().map(|request| request.head.clone()).unwrap_or_default();
    let lines = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("x-request-id"));
    in_order(lines.map(str::to_owned).collect())
}

#[test]
fn answers_are_the_same_either_way() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let settings = "headers: { X-Own: \"${request_method} ${uri}\", Accept: \"\" }\n\
                    absolute_redirect: off\n\
                    add_header: X-Status $upstream_status always";
    let start = |express: &str| {
        let address = origin.address();
        let listen = free_address();
        // A kept connection that has ended without a word is noticed too late for a POST now and then.
        let yaml = format!(
            "listen: {listen}\nthreads: 1\nexpress: {express}\ndashboard: off\n{settings}\n\
             upstreams: {{ api: {{ servers: [{address}], keepalive: {{ max: 0 }} }} }}\n\
             routes: {{ /: api, /sub/: api }}"
        );
        Robin::start(listen, &yaml)
    };
    let ways = [start("on"), start("off")];
    let raw = |text: &str| Behaviour::Raw(text.as_bytes().to_vec());
    let reply = Reply::new("hello");
    let behaviours = [
        ("plain", Behaviour::Answer(reply.clone().header("X-Two", "a").header("X-Two", "b"))),
        ("chunked", Behaviour::Answer(Reply { chunked: true, ..reply.clone() })),
        ("empty", Behaviour::Answer(Reply::new(""))),
        ("204", raw("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")),
        ("304", raw("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")),
        ("old", raw("HTTP/1.0 200 Fine\r\nX-A: b\r\n\r\nall of it")),
        ("old with its length", raw("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nall")),
        (
            "interim",
            raw(
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            ),
        ),
        (
            "folded",
            raw(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: a\r\n 9\r\nX-A: b\r\n Set-Cookie: c\r\n\r\nhi",
            ),
        ),
        (
            "broken chunk",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n"),
        ),
        ("two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi")),
        (
            "other lengths",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
        ),
        (
            "hop by hop",
            raw(
                "HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: b\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nhi",
            ),
        ),
        ("moved", Behaviour::Answer(Reply::status(302).header("Location", "http://elsewhere/x"))),
        ("sent elsewhere", Behaviour::Answer(reply.clone().header("X-Accel-Redirect", "/none"))),
        ("no HTTP", raw("what?\r\n\r\n")),
        ("closed", Behaviour::Close),
        ("reset", Behaviour::Reset),
        ("cut", Behaviour::Answer(Reply { cut: Some(3), ..reply })),
        ("missing", Behaviour::Answer(Reply::status(404))),
        ("failing", Behaviour::Answer(Reply::status(503))),
    ];
    let long = "x".repeat(10_000);
    let requests = [
        Request::get("/a?b=c"),
        Request::get("/sub/a%20b"),
        Request::get("/sub"),
        Request::get("/a").header("Accept", "text/html").header("X-Empty", ""),
        Request::new("HEAD", "/a"),
        Request::post("/a", "body"),
        Request::post("/a", long),
        Request::post("/a", ""),
        Request::post_chunked("/a", "body"),
        Request::new("DELETE", "/a"),
    ];
    for (name, behaviour) in behaviours {
        origin.set_path("/a", behaviour.clone());
        for request in &requests {
            let [on, off] = ways.each_ref().map(|robin| (answer(robin, request), asked(&origin)));
            assert_eq!(on, off, "{name}: {request:?}");
        }
    }
}

#[test]
fn files_are_the_same_either_way() {
    let site = tempfile::tempdir().expect("a temporary folder");
    let large = "0123456789".repeat(30_000);
    for (path, text) in
        [("index.html", "home"), ("a.txt", "0123456789"), ("empty", ""), ("large.txt", &large)]
    {
        std::fs::write(site.path().join(path), text).expect("written");
    }
    std::fs::create_dir(site.path().join("sub")).expect("made");
    let start = |express: &str, cache: &str| {
        let listen = free_address();
        let conf = format!(
            "robin_express {express}; events {{}} http {{ {cache} server {{ listen {listen};
             absolute_redirect off; root {};
             location / {{ add_header X-Own $uri; }}
             location /try/ {{ try_files $uri /a.txt; }}
             location /proxied/ {{ try_files $uri @named; }}
             location @named {{ return 200 named; }}
             location /packed/ {{ gzip on; gzip_min_length 1; gzip_types *; alias {0}/; }}
             location /slow/ {{ limit_rate 100k; alias {0}/; }}
             location /page/ {{ error_page 404 /a.txt; }} }} }}",
            site.path().display()
        );
        Robin::nginx(listen, &conf)
    };
    let cache = "open_file_cache max=10; open_file_cache_errors on;";
    let ways = [start("off", ""), start("on", ""), start("on", cache)];
    let modified = answer(&ways[0], &Request::get("/a.txt"));
    let modified = modified.lines().find_map(|line| line.strip_prefix("Last-Modified: "));
    let modified = modified.expect("it was changed once").trim();
    let packed = |request: Request| request.header("Accept-Encoding", "gzip");
    let requests = [
        Request::get("/"),
        Request::get("/a.txt?b=c"),
        Request::get("/empty"),
        Request::get("/large.txt"),
        Request::get("/none"),
        Request::get("/sub"),
        Request::get("/sub/"),
        Request::new("HEAD", "/a.txt"),
        Request::post("/a.txt", "body"),
        Request::get("/a.txt").header("Range", "bytes=2-4"),
        Request::get("/a.txt").header("Range", "bytes=20-"),
        Request::get("/a.txt").header("If-Modified-Since", modified),
        Request::get("/a.txt").header("If-None-Match", "\"other\""),
        Request::get("/a.txt").header("If-Match", "\"other\""),
        Request::get("/try/x"),
        Request::get("/proxied/x"),
        packed(Request::new("HEAD", "/packed/a.txt")),
        Request::get("/slow/a.txt"),
        Request::get("/page/none"),
    ];
    for request in &requests {
        // What was looked at once is remembered by the second.
        for _ in 0..2 {
            let [off, on, remembered] = ways.each_ref().map(|robin| answer(robin, request));
            assert_eq!(on, off, "{request:?}");
            assert_eq!(remembered, off, "remembered: {request:?}");
        }
    }
    // Chunks are as long as they come.
    for target in ["/packed/a.txt", "/packed/empty", "/packed/large.txt"] {
        let unchunked = |robin: &Robin| {
            let answer = exchange(robin.address(), &packed(Request::get(target)));
            let answer = answer.expect("an answer");
            let coding = answer.header("content-encoding").map(str::to_owned);
            (answer.status(), coding, answer.body)
        };
        let [off, on, remembered] = ways.each_ref().map(unchunked);
        assert_eq!((&on, &remembered), (&off, &off), "{target}");
        assert_eq!(off.1.is_some(), target != "/packed/empty", "{target}");
    }
}

#[test]
fn who_is_to_be_asked_about_a_file_is_asked_wherever_an_index_leads_to() {
    let site = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(site.path().join("index.html"), "home").expect("written");
    for express in ["on", "off"] {
        let listen = free_address();
        let conf = format!(
            "robin_express {express}; events {{}} http {{ server {{ listen {listen}; root {};
             auth_request /check; location = / {{ auth_request off; }}
             location = /check {{ internal; auth_request off; return 403; }} }} }}",
            site.path().display()
        );
        let robin = Robin::nginx(listen, &conf);
        let answer = exchange(robin.address(), &Request::get("/")).expect("an answer");
        assert_eq!(answer.status(), 403, "{express}");
    }
}

#[test]
fn an_error_of_robin_s_own_has_its_page_either_way() {
    let site = tempfile::tempdir().expect("a folder");
    std::fs::write(site.path().join("50x.html"), "our page").expect("it is written");
    let mut origin = Origin::start(free_address(), Behaviour::ok());
    let nobody = free_address();
    let (root, address) = (site.path().display(), origin.address());
    let ways = ["on", "off"].map(|express| {
        let listen = free_address();
        let yaml = format!(
            "listen: {listen}\nthreads: 1\nexpress: {express}\ndashboard: off\n\
             error_page: [500 502 503 504 /50x.html]\n\
             upstreams:\n  api: {{ servers: [{address}] }}\n  gone: {{ servers: [{nobody}] }}\n  \
             down: {{ servers: [{{ address: {address}, down: true }}] }}\n\
             routes: {{ /: api, /gone/: gone, /down/: down, \"= /50x.html\": {{ root: {root} }} }}"
        );
        Robin::start(listen, &yaml)
    });
    let pairs = |path: &str| {
        let said = ways.each_ref().map(|robin| answer(robin, &Request::get(path)));
        assert_eq!(said[0], said[1], "{path}");
        said[0].clone()
    };
    for path in ["/gone/", "/down/"] {
        let page = pairs(path);
        assert!(page.starts_with("HTTP/1.1 502 ") && page.ends_with("our page"), "{page}");
    }
    origin.set(Behaviour::Answer(Reply { status: 500, ..Reply::new("its own words") }));
    let its_own = pairs("/");
    assert!(
        its_own.starts_with("HTTP/1.1 500 ") && its_own.ends_with("its own words"),
        "{its_own}"
    );
}

#[test]
fn connections_are_kept_on_either_side() {
    for express in ["on", "alternate"] {
        let stack = stack(Behaviour::ok(), &format!("express: {express}"));
        let mut client = Client::connect(stack.robin.address()).expect("it listens");
        for _ in 0..6 {
            let response = client.exchange(&Request::get("/")).expect("an answer");
            assert_eq!(response.header("connection"), Some("keep-alive"));
            assert_eq!(response.text(), "ok\n");
        }
        // Either way keeps its own.
        let expected = if express == "on" && common::one_pool() { 1 } else { 2 };
        assert_eq!(stack.origin.connections(), expected, "{express}");
    }
}

#[test]
fn requests_that_came_together_are_answered_one_after_the_other() {
    for express in ["on", "alternate"] {
        let stack = stack(Behaviour::Echo, &format!("express: {express}"));
        let mut client = Client::connect(stack.robin.address()).expect("it listens");
        let requests = ["/1", "/2", "/3"].map(|target| Request::post(target, target).bytes());
        client.send(requests.concat()).expect("they are taken");
        for target in ["/1", "/2", "/3"] {
            let text = client.response().expect("an answer").text();
            assert!(
                text.starts_with(&format!("POST {target} ")) && text.ends_with(target),
                "{text}"
            );
        }
    }
}

#[test]
fn a_connection_that_the_peer_has_closed_is_not_used_again() {
    let stack = stack(Behaviour::ok(), "express: on");
    let mut client = Client::connect(stack.robin.address()).expect("it listens");
    for method in ["GET", "POST", "GET"] {
        let response = client.exchange(&Request::new(method, "/").header("Content-Length", "0"));
        assert_eq!(response.expect("an answer").status(), 200, "{method}");
        stack.origin.close_connections();
        eventually("it is closed", PATIENCE, || stack.origin.open_connections() == 0);
    }
}
