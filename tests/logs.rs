//! Do access logs say what their formats ask for, where routes want them?

mod common;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use common::client::{Client, Request};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;
use common::{PATIENCE, eventually};

struct Logs {
    robin: Robin,
    folder: tempfile::TempDir,
}

impl Logs {
    /// Starts with these lines in `http`; `DIR` is a folder for logs, `LISTEN` the address.
    fn start(http: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the logs");
        let address = free_address();
        let path = folder.path().to_str().expect("a path in UTF-8");
        let http = http.replace("DIR", path).replace("LISTEN", &address.to_string());
        Self { robin: Robin::nginx(address, &http), folder }
    }

    fn ask(&self, request: &Request) {
        let mut client = Client::connect(self.robin.address()).expect("it listens");
        client.exchange(request).expect("an answer");
    }

    /// The lines of a log, once there are this many.
    fn lines(&self, name: &str, count: usize) -> Vec<String> {
        let path = self.folder.path().join(name);
        eventually(name, PATIENCE, || lines_of(&path).len() >= count);
        let lines = lines_of(&path);
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_is_what_its_format_makes_of_the_request() {
    let logs = Logs::start(
        r#"log_format main '$remote_addr "$request" $status $body_bytes_sent "$http_x"' ' $arg_none.';
           log_format json escape=json '{"x":"$http_x","none":"$arg_none"}';
           log_format none escape=none '<$http_x>$arg_none';
           server { listen LISTEN;
             access_log DIR/main.log main; access_log DIR/json.log json; access_log DIR/none.log none;
             access_log DIR/combined.log;
             return 200 ok; }"#,
    );
    logs.ask(&Request::get("/a?b").header("X", "a\"b\\c\t").header("User-Agent", "test"));
    let line = r#"127.0.0.1 "GET /a?b HTTP/1.1" 200 2 "a\x22b\x5Cc" -."#;
    assert_eq!(logs.lines("main.log", 1), [line]);
    assert_eq!(logs.lines("json.log", 1), [r#"{"x":"a\"b\\c","none":""}"#]);
    assert_eq!(logs.lines("none.log", 1), [r#"<a"b\c>"#]);
    let combined = logs.lines("combined.log", 1).remove(0);
    assert!(combined.starts_with("127.0.0.1 - - ["), "{combined}");
    assert!(combined.ends_with("] \"GET /a?b HTTP/1.1\" 200 2 \"-\" \"test\""), "{combined}");
}

#[test]
fn a_level_replaces_the_logs_of_the_one_outside() {
    let logs = Logs::start(
        r#"log_format uri $uri;
           map $status $bad { default 0; ~^[45] 1; }
           access_log DIR/http.log uri;
           server { listen LISTEN;
             location /http { return 200; }
             location /own { access_log DIR/own.log uri; return 200; }
             location /off { access_log off; return 200; }
             location /by { access_log DIR/by-$arg_name.log uri; return 200; }
             location /bad { access_log DIR/bad.log uri if=$bad; return 200; }
             location /bad/404 { access_log DIR/bad.log uri if=$bad; return 404; }
             location /page { error_page 404 /own; return 404; }
             location /in { if ($arg_own) { access_log DIR/own.log uri; return 200; } return 200; }
           }"#,
    );
    let targets = ["/http", "/own", "/off", "/by?name=x", "/bad", "/bad/404", "/page", "/in?own=1"];
    for target in targets.iter().chain(&["/in"]) {
        logs.ask(&Request::get(target));
    }
    // A line is written once its answer is: those of two workers may pass each other.
    let sorted = |log, count| {
        let mut lines = logs.lines(log, count);
        lines.sort();
        lines
    };
    assert_eq!(sorted("http.log", 2), ["/http", "/in"]);
    assert_eq!(sorted("own.log", 3), ["/in", "/own", "/own"]);
    assert_eq!(logs.lines("by-x.log", 1), ["/by"]);
    assert_eq!(logs.lines("bad.log", 1), ["/bad/404"]);
}

#[test]
fn the_upstream_s_variables_tell_of_each_try() {
    let (origin, dead) = (Origin::start(free_address(), Behaviour::ok()), free_address());
    let at = origin.address();
    let logs = Logs::start(&format!(
        r#"log_format up "$upstream_addr|$upstream_status|$upstream_response_length|$proxy_host|$upstream_connect_time";
           upstream two {{ server {dead}; server {at} backup; }}
           upstream none {{ server {dead} down; }}
           server {{ listen LISTEN; access_log DIR/up.log up;
             location / {{ proxy_pass http://two; }}
             location /none {{ proxy_pass http://none; error_page 502 /; }}
             location /own {{ return 200; }} }}"#,
    ));
    logs.ask(&Request::get("/"));
    let line = logs.lines("up.log", 1).remove(0);
    assert!(line.starts_with(&format!("{dead}, {at}|502, 200|0, 3|two|-, 0.")), "{line}");
    logs.ask(&Request::get("/own"));
    assert_eq!(logs.lines("up.log", 2)[1], "-|-|-|-|-");
}

#[test]
fn a_line_goes_to_syslog() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    server.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let to = server.local_addr().expect("an address");
    let logs = Logs::start(&format!(
        r#"log_format uri $uri;
           server {{ listen LISTEN; return 200;
             access_log syslog:server={to},facility=user,severity=notice,tag=SEE,nohostname uri; }}"#,
    ));
    logs.ask(&Request::get("/x"));
    let mut buffer = [0; 500];
    let length = server.recv(&mut buffer).expect("a datagram");
    let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(message.starts_with("<13>") && message.ends_with(" SEE: /x"), "{message}");
}

#[test]
fn a_head_that_cannot_be_read_is_in_the_log_of_the_default_server() {
    let logs = Logs::start(
        r#"log_format line '$request|$status|$uri|$request_method';
           server { listen LISTEN; access_log DIR/line.log line; return 200; }"#,
    );
    let mut client = Client::connect(logs.robin.address()).expect("it listens");
    client.send("NONSENSE\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 400);
    let line = logs.lines("line.log", 1).remove(0);
    assert!(line.starts_with("NONSENSE|400|"), "{line}");
}
