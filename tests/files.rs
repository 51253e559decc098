//! Which file a request gets, and how: root and alias, index, try_files, lists, parts, conditions.

mod common;

use std::path::Path;

use common::client::{Client, Request, exchange, get};
use common::net::free_address;
use common::robin::Robin;
use common::{PATIENCE, eventually};
use tempfile::TempDir;

/// A site in a folder of its own.
fn site() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in [
        ("www/index.html", "home"),
        ("www/404.html", "lost"),
        ("www/a.txt", "0123456789"),
        ("www/sub/index.html", "sub"),
        ("www/sub/b.txt", "b"),
        ("www/empty/.hidden", ""),
        ("www/packed.txt", "plain"),
        ("www/packed.txt.gz", "packed"),
        ("secret.txt", "secret"),
    ] {
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

/// robin with these lines in its server, which know the site as `SITE`.
#[track_caller]
fn robin(site: &TempDir, lines: &str) -> Robin {
    let address = free_address();
    let site = site.path().display().to_string();
    let lines = lines.replace("SITE", &site);
    let conf = format!("events {{}}\nhttp {{ server {{ listen {address};\n{lines}\n}} }}\n");
    Robin::nginx(address, &conf)
}

/// Status and body of a GET; the page of an error is none.
#[track_caller]
fn answer(robin: &Robin, target: &str) -> (u16, String) {
    let answer = get(robin.address(), target);
    let text = if answer.text().contains("Request id") { String::new() } else { answer.text() };
    (answer.status(), text)
}

#[test]
fn a_path_leads_to_a_file_below_the_root() {
    let site = site();
    let robin = robin(&site, "root SITE/www; location / { } location /sub/x { root SITE; }");
    for (target, status, body) in [
        ("/", 200, "home"),
        ("/a.txt", 200, "0123456789"),
        ("/a.txt?q", 200, "0123456789"),
        ("/sub/", 200, "sub"),
        ("/sub/./b.txt", 200, "b"),
        ("/%61.txt", 200, "0123456789"),
        ("/none", 404, ""),
        ("/none/", 404, ""),
        ("/a.txt/", 404, ""),
        ("/empty/", 403, ""),
        ("/../secret.txt", 400, ""),
        ("/sub/../../secret.txt", 400, ""),
        ("/%2e%2e/secret.txt", 400, ""),
    ] {
        assert_eq!(answer(&robin, target), (status, body.to_owned()), "{target}");
    }
}

#[test]
fn a_server_without_routes_serves_its_root() {
    let site = site();
    let robin = robin(&site, "root SITE/www; try_files $uri /index.html;");
    assert_eq!(answer(&robin, "/a.txt").1, "0123456789");
    assert_eq!(answer(&robin, "/spa/path").1, "home");
}

#[test]
fn alias_takes_the_place_of_what_the_route_matched() {
    let site = site();
    let robin = robin(
        &site,
        "location /x/ { alias SITE/www/; } location = /one { alias SITE/www/a.txt; } \
         location ~ ^/re/(.+)$ { alias SITE/www/$1; } \
         location /t/ { alias SITE/www/; try_files $uri $uri/ /t/404.html; }",
    );
    for (target, status, body) in [
        ("/x/a.txt", 200, "0123456789"),
        ("/x/", 200, "home"),
        ("/x/sub/", 200, "sub"),
        ("/one", 200, "0123456789"),
        ("/re/sub/b.txt", 200, "b"),
        ("/t/a.txt", 200, "0123456789"),
        ("/t/sub/", 200, "sub"),
        ("/t/none", 200, "lost"),
    ] {
        assert_eq!(answer(&robin, target), (status, body.to_owned()), "{target}");
    }
}

#[test]
fn alias_does_not_lead_above_its_directory() {
    let site = site();
    let robin = robin(&site, "location /x { alias SITE/www/sub/; }");
    assert_eq!(answer(&robin, "/x/b.txt").0, 200);
    // nginx serves this file.
    assert_eq!(answer(&robin, "/x../a.txt").0, 404);
}

#[test]
fn try_files_takes_the_first_that_is_there_or_what_comes_last() {
    let site = site();
    let robin = robin(
        &site,
        "root SITE/www; location / { try_files $uri $uri/index.html /index.html; } \
         location /code/ { try_files $uri =410; } \
         location /named/ { try_files $uri @named; } \
         location /query/ { try_files $uri /show?from=$uri; } \
         location @named { return 200 named; } location /show { return 200 $args; } \
         location /loop/ { try_files $uri /loop/x; }",
    );
    for (target, status, body) in [
        ("/a.txt", 200, "0123456789"),
        ("/sub", 200, "sub"),
        ("/nothing/here", 200, "home"),
        ("/code/x", 410, ""),
        ("/named/x", 200, "named"),
        ("/query/x", 200, "from=/query/x"),
        ("/loop/", 500, ""),
    ] {
        assert_eq!(answer(&robin, target), (status, body.to_owned()), "{target}");
    }
}

#[test]
fn a_directory_without_a_slash_is_redirected_with_its_query() {
    let site = site();
    let robin = robin(
        &site,
        "root SITE/www; location / { } \
         location /relative { absolute_redirect off; alias SITE/www/sub; } \
         location /named { server_name_in_redirect on; port_in_redirect off; alias SITE/www/sub; } \
         server_name a.example;",
    );
    let port = robin.address().port();
    for (target, location) in [
        ("/sub", format!("http://test:{port}/sub/")),
        ("/sub?a=b", format!("http://test:{port}/sub/?a=b")),
        ("/relative", "/relative/".to_owned()),
        ("/named", "http://a.example/named/".to_owned()),
    ] {
        let answer = get(robin.address(), target);
        assert_eq!(answer.status(), 301, "{target}");
        assert_eq!(answer.header("location"), Some(&*location), "{target}");
    }
}

#[test]
fn a_file_is_got_and_not_changed() {
    let site = site();
    let robin = robin(&site, "root SITE/www; location / { }");
    let mut client = Client::connect(robin.address()).expect("it accepts");
    // One connection: an error closes none, though the bodies were not asked for.
    for (request, status) in [
        (Request::post("/a.txt", "x"), 405),
        (Request::new("PUT", "/a.txt").header("Content-Length", "1").body("x"), 405),
        (Request::new("DELETE", "/none"), 405),
        (Request::post("/empty/", "x"), 403),
        (Request::new("HEAD", "/a.txt"), 200),
        (Request::get("/none"), 404),
    ] {
        let answer = client.exchange(&request).expect("an answer");
        assert_eq!(answer.status(), status, "{request:?}");
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{request:?}");
    }
    let head = client.exchange(&Request::new("HEAD", "/a.txt")).expect("an answer");
    assert_eq!(head.header("content-length"), Some("10"));
}

#[test]
fn a_client_that_has_the_file_already_is_told_so() {
    let site = site();
    let robin = robin(&site, "root SITE/www; location / { } location /old/ { etag off; }");
    let first = get(robin.address(), "/a.txt");
    let modified = first.header("last-modified").expect("it was changed once").to_owned();
    let etag = first.header("etag").expect("it has a tag").to_owned();
    assert!(etag.ends_with("-a\""), "the length is in it: {etag}");
    for (name, value, status) in [
        ("If-Modified-Since", &*modified, 304),
        ("If-None-Match", &*etag, 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Match", "\"other\"", 412),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT", 412),
    ] {
        let request = Request::get("/a.txt").header(name, value);
        let answer = exchange(robin.address(), &request).expect("an answer");
        assert_eq!(answer.status(), status, "{name}: {value}");
        assert_eq!(answer.header("etag").is_some(), status < 400, "{name}: {value}");
        assert_eq!(answer.header("content-type").is_some(), status != 304, "{name}: {value}");
    }
}

#[test]
fn parts_of_a_file_are_sent() {
    let site = site();
    let large: String = (0..100_000).map(|n| format!("{n:06}\n")).collect();
    write(site.path(), "www/large.txt", &large);
    let robin = robin(&site, "root SITE/www; location / { } location /none { max_ranges 0; }");
    let part = |target: &str, range: &str| {
        let request = Request::get(target).header("Range", range);
        exchange(robin.address(), &request).expect("an answer")
    };
    let one = part("/a.txt", "bytes=2-4");
    assert_eq!((one.status(), &*one.text()), (206, "234"));
    assert_eq!(one.header("content-range"), Some("bytes 2-4/10"));
    let late = part("/large.txt", "bytes=300000-599999");
    assert_eq!(late.text(), large[300_000..600_000]);
    let none = part("/a.txt", "bytes=10-");
    assert_eq!((none.status(), none.header("content-range")), (416, Some("bytes */10")));
    let two = part("/a.txt", "bytes=0-1,-1");
    let kind = two.header("content-type").expect("a type").to_owned();
    let boundary = kind.split_once("boundary=").expect("a boundary").1;
    let expected = [("0-1", "01"), ("9-9", "9")].map(|(range, text)| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{text}"
        )
    });
    assert_eq!(two.text(), format!("{}\r\n--{boundary}--\r\n", expected.concat()));
    assert_eq!(get(robin.address(), "/large.txt").text(), large);
}

#[test]
fn a_packed_file_takes_the_place_of_the_plain_one() {
    let site = site();
    let robin = robin(
        &site,
        "root SITE/www; gzip_vary on; location / { gzip_static on; } \
         location /always/ { gzip_static always; alias SITE/www/; }",
    );
    let packed = Request::get("/packed.txt").header("Accept-Encoding", "gzip");
    let packed = exchange(robin.address(), &packed).expect("an answer");
    assert_eq!(packed.text(), "packed");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("content-type"), Some("text/plain"));
    let plain = get(robin.address(), "/packed.txt");
    assert_eq!((plain.text(), plain.header("content-encoding")), ("plain".into(), None));
    for answer in [packed, plain] {
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
    assert_eq!(get(robin.address(), "/always/packed.txt").text(), "packed");
    assert_eq!(get(robin.address(), "/a.txt").header("vary"), None);
}

#[test]
fn a_directory_is_listed_where_it_may_be() {
    let site = site();
    write(site.path(), "www/sub/<x>.txt", "12345");
    let robin = robin(
        &site,
        "root SITE/www; index none; location / { autoindex on; } \
         location /json/ { autoindex on; autoindex_format json; alias SITE/www/sub/; } \
         location /jsonp/ { autoindex on; autoindex_format jsonp; alias SITE/www/sub/; }",
    );
    let page = get(robin.address(), "/sub/");
    assert_eq!(page.header("content-type"), Some("text/html"));
    assert!(page.text().contains("<a href=\"%3Cx%3E.txt\">&lt;x&gt;.txt</a>"), "{}", page.text());
    let json = get(robin.address(), "/json/");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert!(json.text().contains("{ \"name\":\"<x>.txt\", \"type\":\"file\""), "{}", json.text());
    assert!(get(robin.address(), "/jsonp/?callback=f").text().starts_with("/* callback */\r\nf(["));
    assert_eq!(get(robin.address(), "/jsonp/?callback=(").status(), 400);
    assert_eq!(get(robin.address(), "/empty/").text().matches("<a ").count(), 1, "dots are hidden");
}

#[test]
fn symbolic_links_are_followed_unless_they_must_not_be() {
    let site = site();
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(site.path().join(to), site.path().join(from)).expect("a link");
    };
    link("secret.txt", "www/file");
    link("www/sub", "www/dir");
    link("www", "outside");
    let robin = robin(
        &site,
        "root SITE/www; location / { } location /no/ { disable_symlinks on; alias SITE/www/; } \
         location /from/ { disable_symlinks on from=SITE/outside; alias SITE/outside/; } \
         location /out/ { disable_symlinks on; alias SITE/outside/; } \
         location /own/ { disable_symlinks if_not_owner; alias SITE/www/; }",
    );
    for (target, status) in [
        ("/file", 200),
        ("/dir/b.txt", 200),
        ("/no/file", 403),
        ("/no/dir/b.txt", 403),
        ("/no/a.txt", 200),
        ("/from/a.txt", 200),
        ("/from/file", 403),
        ("/out/a.txt", 403),
        ("/own/file", 200),
    ] {
        assert_eq!(get(robin.address(), target).status(), status, "{target}");
    }
}

#[test]
fn a_file_that_is_remembered_is_served_as_it_was_for_a_while() {
    let site = site();
    let robin = robin(
        &site,
        "root SITE/www; location / { open_file_cache max=10; } \
         location /sub/ { open_file_cache max=10; open_file_cache_valid 1s; }",
    );
    assert_eq!(answer(&robin, "/a.txt").1, "0123456789");
    assert_eq!(answer(&robin, "/sub/b.txt").1, "b");
    for path in ["www/a.txt", "www/sub/b.txt"] {
        write(site.path(), "new", "new");
        std::fs::rename(site.path().join("new"), site.path().join(path)).expect("renamed");
    }
    eventually("it is looked at anew", PATIENCE, || answer(&robin, "/sub/b.txt").1 == "new");
    assert_eq!(answer(&robin, "/a.txt").1, "0123456789", "nginx has no other by default for 60 s");
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_configuration() {
    let address = free_address();
    let conf = format!("server {{ listen {address}; location / {{ root www; }} }}");
    let robin = Robin::nginx(address, &conf);
    write(robin.folder(), "www/index.html", "relative");
    assert_eq!(get(robin.address(), "/").text(), "relative");
}
