//! The status listener: who is answered what, and what stays as it was for all that.

mod common;

use std::net::SocketAddr;

use common::client::{Request, exchange, get};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

/// robin with a status listener, whose address comes first.
fn start(origin: &Origin) -> (SocketAddr, Robin) {
    let status = free_address();
    let robin = Robin::with(&format!("status: {status}\nroutes: {{ /: {} }}", origin.address()));
    (status, robin)
}

fn origin() -> Origin {
    Origin::start(free_address(), Behaviour::ok())
}

fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).expect("it is JSON")
}

#[test]
fn it_shows_a_page_json_and_metrics_and_nothing_else() {
    let origin = origin();
    let (status, _robin) = start(&origin);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4"),
    ] {
        let answer = get(status, path);
        assert_eq!((answer.status(), answer.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        let head = exchange(status, &Request::new("HEAD", path)).expect("an answer");
        assert_eq!((head.status(), head.body.len()), (200, 0), "{path}");
        let post = exchange(status, &Request::post(path, "x")).expect("an answer");
        assert_eq!(post.status(), 405, "{path}");
    }
    for path in ["/metrics/", "/status", "/favicon.ico", "/api"] {
        assert_eq!(get(status, path).status(), 404, "{path}");
    }
    assert_eq!(origin.count(), 0, "nothing of it reaches an upstream");
}

#[test]
fn asking_it_changes_nothing_that_it_shows() {
    let origin = origin();
    let (status, robin) = start(&origin);
    for _ in 0..3 {
        assert_eq!(get(robin.address(), "/").status(), 200);
    }
    let counts = || {
        let all = json(&get(status, "/status.json"));
        let keys =
            ["connections_accepted", "connections_open", "requests", "requests_in_flight", "own"];
        keys.map(|key| all[key].clone())
    };
    eventually("all have ended", PATIENCE, || counts()[3] == 0 && counts()[1] == 0);
    let before = counts();
    assert_eq!(before[2], 3);
    for path in ["/", "/metrics", "/status.json", "/none"] {
        get(status, path);
    }
    let malformed = exchange(status, &Request::new("G@T", "/ x"));
    assert!(malformed.is_ok_and(|answer| answer.status() == 400));
    assert_eq!(counts(), before);
    robin.access_lines(3);
}

#[test]
fn a_location_shows_it_below_its_path() {
    let (address, origin) = (free_address(), origin());
    let conf = format!(
        "events {{}} http {{ access_log off; server {{ listen {address}; \
         location / {{ proxy_pass http://{}; }} \
         location /status/ {{ robin_status; }} location /bare {{ robin_status; }} \
         location = /numbers/metrics {{ robin_status; }} location = /page {{ robin_status; }} }} \
         server {{ listen {address}; server_name alone; robin_status; \
         location /x {{ return 204; }} }} }}",
        origin.address()
    );
    let robin = Robin::nginx(address, &conf);
    let kind = |path: &str| {
        let answer = get(address, path);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        (answer.status(), kind.split(';').next().unwrap_or_default().to_owned())
    };
    for (path, expected) in [
        ("/status/", "text/html"),
        ("/status/status.json", "application/json"),
        ("/status/metrics", "text/plain"),
        ("/bare/", "text/html"),
        ("/bare/metrics", "text/plain"),
        ("/numbers/metrics", "text/plain"),
        ("/page", "text/html"),
    ] {
        assert_eq!(kind(path), (200, expected.to_owned()), "{path}");
    }
    for path in ["/status", "/bare", "/bare?a=b"] {
        let answer = get(address, path);
        let (path, args) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?a=b"));
        let to = format!("http://test:{}{path}/{args}", address.port());
        assert_eq!((answer.status(), answer.header("location")), (301, Some(&*to)), "{path}");
    }
    for path in ["/status/other", "/barely", "/bare/x"] {
        assert_eq!(get(address, path).status(), 404, "{path}");
    }
    for (path, status) in [("/metrics", 200), ("/x", 204), ("/y", 404)] {
        let request = Request::get(path).header("Host", "alone");
        let answer = exchange(address, &request).expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
    }
    let shown = json(&get(address, "/status/status.json"));
    // `/x` is answered by the configuration; all else has asked for what is counted.
    assert_eq!(shown["requests"], 1, "{shown}");
    assert_eq!(robin.printed(Output::Stdout).len(), 0);
}

#[test]
fn a_reload_opens_moves_and_closes_it() {
    let (origin, listen) = (origin(), free_address());
    let yaml = |status: &str| {
        format!(
            "listen: {listen}\nthreads: 1\nstatus: {status}\nroutes: {{ /: {} }}",
            origin.address()
        )
    };
    let robin = Robin::start(listen, &yaml("off"));
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("status.sock");
    let (first, second) = (free_address(), free_address());
    let mut reloads = 0;
    let mut reload = |status: &str| {
        std::fs::write(robin.config_file(), yaml(status)).expect("it can be written");
        robin.signal(Signal::SIGHUP);
        reloads += 1;
        eventually("it is reloaded", PATIENCE, || {
            robin.count_lines(Output::Stderr, &["INFO reloaded"]) == reloads
        });
    };
    reload(&first.to_string());
    assert_eq!(json(&get(first, "/status.json"))["reloads"], 1);
    reload(&second.to_string());
    assert_eq!(get(second, "/metrics").status(), 200);
    eventually("the first is closed", PATIENCE, || std::net::TcpStream::connect(first).is_err());
    reload(&format!("unix:{}", socket.display()));
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    reload("off");
    eventually("the second is closed", PATIENCE, || std::net::TcpStream::connect(second).is_err());
    assert_eq!(get(listen, "/").status(), 200);
}
