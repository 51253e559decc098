//! What is done to answers, ours and upstreams': headers, charsets, packing, error pages.

mod common;

use std::io::Read as _;

use common::client::{Client, Request, exchange, get};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use flate2::read::GzDecoder;

/// robin with these lines in its server, which know an origin as `ORIGIN`.
#[track_caller]
fn robin(origin: &Origin, lines: &str) -> Robin {
    let address = free_address();
    let lines = lines.replace("ORIGIN", &origin.address().to_string());
    let robin = Robin::nginx(
        address,
        &format!("server {{ listen {address}; root www; proxy_buffering on;\n{lines}\n}}\n"),
    );
    let www = robin.folder().join("www");
    std::fs::create_dir(&www).expect("a folder");
    for (name, text) in [("a.html", "a page of the site, long enough to pack"), ("50x.html", "50x")]
    {
        std::fs::write(www.join(name), text).expect("a file");
    }
    robin
}

fn origin(reply: Reply) -> Origin {
    Origin::start(free_address(), Behaviour::Answer(reply))
}

#[track_caller]
fn accepting_gzip(robin: &Robin, target: &str) -> Message {
    let request = Request::get(target).header("Accept-Encoding", "gzip");
    exchange(robin.address(), &request).expect("an answer")
}

fn unpacked(message: &Message) -> String {
    let mut text = String::new();
    GzDecoder::new(&message.body[..]).read_to_string(&mut text).expect("it unpacks");
    text
}

#[test]
fn headers_are_added_to_what_went_well_and_always_where_it_says_so() {
    let origin = origin(Reply::new("up"));
    let robin = robin(
        &origin,
        "add_header X-A outer; location / { } \
         location /up { proxy_pass http://ORIGIN; } \
         location /inner { add_header X-B inner; proxy_pass http://ORIGIN; } \
         location /none { add_header X-C $uri always; add_header X-D sometimes; }",
    );
    let header =
        |target: &str, name: &str| get(robin.address(), target).header(name).map(str::to_owned);
    assert_eq!(header("/a.html", "x-a").as_deref(), Some("outer"));
    assert_eq!(header("/up", "x-a").as_deref(), Some("outer"));
    assert_eq!(header("/inner", "x-a"), None, "an inner level begins anew");
    assert_eq!(header("/inner", "x-b").as_deref(), Some("inner"));
    assert_eq!(header("/none", "x-c").as_deref(), Some("/none"));
    assert_eq!(header("/none", "x-d"), None);
}

#[test]
fn expires_says_how_long_an_answer_is_good() {
    let origin = origin(Reply::new("up").header("Cache-Control", "private"));
    let robin = robin(
        &origin,
        "location / { expires 1h; } location /up { expires epoch; proxy_pass http://ORIGIN; } \
         location /none { expires max; }",
    );
    let cache = |target: &str| {
        let answer = get(robin.address(), target);
        (answer.header_all("cache-control").join(", "), answer.header("expires").is_some())
    };
    assert_eq!(cache("/a.html"), ("max-age=3600".to_owned(), true));
    assert_eq!(cache("/up"), ("no-cache".to_owned(), true));
    assert_eq!(cache("/none"), (String::new(), false));
}

#[test]
fn a_charset_is_said_of_texts_that_have_none() {
    let origin = origin(Reply::new("up").header("Content-Type", "text/html; charset=koi8-r"));
    let robin = robin(
        &origin,
        "charset utf-8; location / { } location /up { proxy_pass http://ORIGIN; } \
         location /text { return 200 text; } \
         location /json { default_type application/json; return 200 '{}'; }",
    );
    for (target, kind) in [
        ("/a.html", "text/html; charset=utf-8"),
        ("/up", "text/html; charset=koi8-r"),
        ("/text", "text/plain; charset=utf-8"),
        ("/json", "application/json"),
    ] {
        assert_eq!(get(robin.address(), target).header("content-type"), Some(kind), "{target}");
    }
}

#[test]
fn answers_are_packed_for_clients_that_unpack() {
    let body = "a text of the upstream, long enough to pack. ".repeat(1000);
    let text = Reply::new(body.clone()).header("Content-Type", "text/html").header("ETag", "\"x\"");
    let origin = origin(text);
    let robin = robin(
        &origin,
        "gzip on; gzip_vary on; location / { } location /up { proxy_pass http://ORIGIN; } \
         location /stream { proxy_buffering off; proxy_pass http://ORIGIN; } \
         location /short { return 200 short; }",
    );
    for target in ["/up", "/stream"] {
        let packed = accepting_gzip(&robin, target);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{target}");
        assert_eq!(packed.header("content-length"), None, "{target}");
        assert_eq!(packed.header("etag"), Some("W/\"x\""), "{target}");
        assert_eq!(packed.header("vary"), Some("Accept-Encoding"), "{target}");
        assert_eq!(unpacked(&packed), body, "{target}");
    }
    let file = accepting_gzip(&robin, "/a.html");
    assert_eq!(unpacked(&file), "a page of the site, long enough to pack");
    assert_eq!(file.header("accept-ranges"), None);
    let old = Request::get("/up").version("HTTP/1.0").header("Accept-Encoding", "gzip");
    let old = exchange(robin.address(), &old).expect("an answer");
    assert_eq!((old.header("content-encoding"), old.text()), (None, body.clone()));
    assert_eq!(accepting_gzip(&robin, "/short").header("content-encoding"), None);
    assert_eq!(get(robin.address(), "/up").text(), body);
    let head = Request::new("HEAD", "/up").header("Accept-Encoding", "gzip");
    let head = exchange(robin.address(), &head).expect("an answer");
    assert_eq!(head.header("content-encoding"), Some("gzip"));
}

#[test]
fn what_is_packed_already_stays_as_it_is() {
    let reply = Reply::new("already packed, as it says").header("Content-Encoding", "br");
    let origin = origin(reply.header("Content-Type", "text/html"));
    let robin = robin(&origin, "gzip on; location / { proxy_pass http://ORIGIN; }");
    let answer = accepting_gzip(&robin, "/");
    assert_eq!(answer.header("content-encoding"), Some("br"));
    assert_eq!(answer.text(), "already packed, as it says");
}

#[test]
fn an_error_page_takes_the_place_of_an_error() {
    let origin = Origin::start(free_address(), Behaviour::Refuse);
    let robin = robin(
        &origin,
        "error_page 500 502 503 504 /50x.html; error_page 404 =200 /a.html; \
         error_page 403 = /status; error_page 410 @gone; error_page 418 http://elsewhere/; \
         location / { } location /up { proxy_pass http://ORIGIN; } \
         location /forbidden { return 403; } location /gone { return 410; } \
         location /tea { return 418; } location = /status { return 202 accepted; } \
         location @gone { return 200 named; } \
         location /own { error_page 404 /missing.html; } \
         location = /50x.html { internal; }",
    );
    for (target, status, body) in [
        ("/up", 502, "50x"),
        ("/none", 200, "a page of the site, long enough to pack"),
        ("/forbidden", 202, "accepted"),
        ("/gone", 410, "named"),
    ] {
        let answer = get(robin.address(), target);
        assert_eq!((answer.status(), &*answer.text()), (status, body), "{target}");
    }
    let tea = get(robin.address(), "/tea");
    assert_eq!((tea.status(), tea.header("location")), (302, Some("http://elsewhere/")));
    let own = get(robin.address(), "/own/x");
    assert_eq!(own.status(), 404, "a page that is not there leaves robin's own");
    assert!(own.text().contains("404 Not Found"));
    assert_eq!(get(robin.address(), "/50x.html").text(), "a page of the site, long enough to pack");
    let posted = exchange(robin.address(), &Request::post("/a.html", "x")).expect("an answer");
    assert_eq!(posted.status(), 405);
}

#[test]
fn an_error_of_an_error_page_has_its_own_where_that_is_asked_for() {
    let origin = origin(Reply::new("up"));
    let robin = robin(
        &origin,
        "error_page 404 /other/x; error_page 403 /a.html; \
         location / { recursive_error_pages on; } \
         location /once/ { error_page 404 /forbidden; } \
         location /forbidden { deny_all_by 1; return 403; } \
         location /other/ { recursive_error_pages on; return 403; }"
            .replace("deny_all_by 1; ", "")
            .as_str(),
    );
    let twice = get(robin.address(), "/none");
    assert_eq!((twice.status(), &*twice.text()), (403, "a page of the site, long enough to pack"));
    let once = get(robin.address(), "/once/none");
    assert_eq!(once.status(), 403);
    assert!(once.text().contains("403 Forbidden"));
}

#[test]
fn methods_that_are_not_among_the_exceptions_are_denied() {
    let origin = origin(Reply::new("up"));
    let robin =
        robin(&origin, "location / { limit_except GET { deny all; } proxy_pass http://ORIGIN; }");
    for (method, status) in [("GET", 200), ("HEAD", 200), ("DELETE", 403), ("OPTIONS", 403)] {
        let answer = exchange(robin.address(), &Request::new(method, "/")).expect("an answer");
        assert_eq!(answer.status(), status, "{method}");
    }
}

#[test]
fn the_server_header_and_pages_say_the_version_if_asked() {
    let origin = origin(Reply::new("up"));
    let robin = robin(
        &origin,
        "location / { } location /on/ { server_tokens on; } \
         location /off/ { server_tokens off; }",
    );
    let version = concat!("robin/", env!("CARGO_PKG_VERSION"));
    for (target, server) in [("/x", "robin"), ("/on/x", version), ("/off/x", "robin")] {
        let answer = get(robin.address(), target);
        assert_eq!(answer.header("server"), Some(server), "{target}");
        assert!(answer.text().contains(&format!("<p>{server}</p>")), "{target}");
    }
}

#[test]
fn counters_and_the_smallest_picture_are_served() {
    let origin = origin(Reply::new("up"));
    let robin =
        robin(&origin, "location = /status { stub_status; } location = /gif { empty_gif; }");
    let gif = get(robin.address(), "/gif");
    assert_eq!((gif.header("content-type"), gif.body.len()), (Some("image/gif"), 43));
    let page = get(robin.address(), "/status").text();
    let lines: Vec<&str> = page.lines().collect();
    assert!(lines[0].starts_with("Active connections: "), "{page}");
    assert_eq!(lines[1], "server accepts handled requests");
    let counts: Vec<u64> = lines[2].split_whitespace().flat_map(str::parse).collect();
    assert_eq!(counts[2], 2, "the picture and this: {page}");
    // The exchange before may not have ended quite yet.
    assert!(lines[3].contains("Writing: ") && !lines[3].contains("Writing: 0"), "{page}");
}

#[test]
fn trailers_follow_the_body_in_chunks() {
    let origin = origin(Reply::new("up, and more"));
    let robin = robin(
        &origin,
        "add_trailer X-T $uri; add_trailer X-None $http_none; location / { } \
         location /up { proxy_pass http://ORIGIN; } location /off { chunked_transfer_encoding off; }",
    );
    for (target, body) in [("/up", "up, and more"), ("/50x.html", "50x")] {
        let mut client = Client::connect(robin.address()).expect("it accepts");
        client.send(Request::get(target).bytes()).expect("it reads");
        let answer = client.response().expect("an answer");
        assert_eq!(answer.text(), body, "{target}");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{target}");
    }
    for (target, trailer) in [("/up", true), ("/50x.html", true), ("/none", false)] {
        let mut client = Client::connect(robin.address()).expect("it accepts");
        client.send(Request::get(target).header("Connection", "close").bytes()).expect("it reads");
        let all = client.rest().expect("an answer");
        let expected = format!("\r\n0\r\nX-T: {target}\r\n\r\n");
        assert_eq!(all.ends_with(&expected), trailer, "{all}");
    }
    let old = Request::get("/up").version("HTTP/1.0");
    let old = exchange(robin.address(), &old).expect("an answer");
    assert_eq!(old.text(), "up, and more");
}
