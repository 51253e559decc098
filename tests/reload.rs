//! SIGHUP: another configuration takes the place of the present one inside the process.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use common::client::{Client, Request, get};
use common::dns::{Answer, DnsServer};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually, holds_within};
use nix::sys::signal::Signal;

/// An origin that answers with its name.
fn origin(name: &str) -> Origin {
    Origin::start(free_address(), Behaviour::Answer(Reply::new(name)))
}

/// Everything that comes to `listen` goes to `target`.
fn yaml(listen: SocketAddr, target: SocketAddr) -> String {
    format!("listen: {listen}\nthreads: 1\nroutes: {{ /: \"{target}\" }}\n")
}

/// Has robin read this instead; does not wait for it.
fn change(robin: &Robin, yaml: &str) {
    fs::write(robin.config_file(), yaml).expect("the file can be written");
    robin.signal(Signal::SIGHUP);
}

/// Has robin serve this instead.
fn reload(robin: &Robin, yaml: &str) {
    let before = robin.count_lines(Output::Stderr, &["INFO reloaded"]);
    change(robin, yaml);
    let reloaded = || robin.count_lines(Output::Stderr, &["INFO reloaded"]) > before;
    eventually("the configuration is reloaded", PATIENCE, reloaded);
}

fn body(client: &mut Client) -> String {
    let answer = client.exchange(&Request::get("/")).expect("an answer");
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[test]
fn new_and_kept_connections_get_the_new_configuration() {
    let (one, two, listen) = (origin("one"), origin("two"), free_address());
    let robin = Robin::start(listen, &yaml(listen, one.address()));
    let mut kept = Client::connect(listen).expect("it listens");
    assert_eq!(body(&mut kept), "one");
    reload(&robin, &yaml(listen, two.address()));
    assert_eq!(body(&mut kept), "two");
    assert_eq!(get(listen, "/").body, b"two");
}

#[test]
fn a_bad_configuration_is_reported_and_the_old_one_serves_on() {
    let (one, listen) = (origin("one"), free_address());
    let mut robin = Robin::start(listen, &yaml(listen, one.address()));
    change(&robin, "listen: 80000\nroutes: { /: a:1 }\n");
    let line = robin.wait_for_line(Output::Stderr, &["ERROR reload refused, serving on as before"]);
    assert!(line.contains("bad port `80000` in ") && line.contains("robin.yaml:1"), "{line}");
    assert_eq!(get(listen, "/").body, b"one");

    let taken = origin("taken");
    let text = format!("listen: [{listen}, {}]\nroutes: {{ /: a:1 }}\n", taken.address());
    change(&robin, &text);
    robin.wait_for_line(Output::Stderr, &["reload refused", "cannot listen on"]);
    assert_eq!(get(listen, "/").body, b"one");
    robin.signal(Signal::SIGTERM);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(0));
}

#[test]
fn a_request_under_way_ends_as_it_began() {
    let (two, listen) = (origin("two"), free_address());
    let slow = Reply::new("one").after(Duration::from_millis(500));
    let one = Origin::start(free_address(), Behaviour::Answer(slow));
    let robin = Robin::start(listen, &yaml(listen, one.address()));
    let mut client = Client::connect(listen).expect("it listens");
    client.send(Request::get("/").bytes()).expect("sent");
    eventually("the request is under way", PATIENCE, || one.count() > 0);
    reload(&robin, &yaml(listen, two.address()));
    assert_eq!(client.response().expect("the first answer").body, b"one");
    assert_eq!(body(&mut client), "two");
}

#[test]
fn listeners_come_and_go() {
    let (one, first, second) = (origin("one"), free_address(), free_address());
    let robin = Robin::start(first, &yaml(first, one.address()));
    let mut idle = Client::connect(first).expect("it listens");
    assert_eq!(body(&mut idle), "one");

    reload(&robin, &yaml(second, one.address()));
    assert_eq!(get(second, "/").body, b"one");
    assert!(idle.is_closed(), "nobody listens there any more");
    let refused = || std::net::TcpStream::connect(first).is_err();
    assert!(holds_within(PATIENCE, refused), "{first} is still listened on");

    reload(&robin, &yaml(first, one.address()));
    assert_eq!(get(first, "/").body, b"one");
}

#[test]
fn an_upstream_that_did_not_change_keeps_what_is_known_of_its_peers() {
    let (one, listen, dead) = (origin("one"), free_address(), free_address());
    let yaml = |routes: &str| {
        let servers =
            format!("[{{ address: \"{dead}\", fail_timeout: 1h }}, \"{}\"]", one.address());
        format!(
            "listen: {listen}\nthreads: 1\nupstreams: {{ api: {{ servers: {servers} }} }}\n\
             routes: {{ {routes} }}\n"
        )
    };
    let robin = Robin::start(listen, &yaml("/: api"));
    for _ in 0..2 {
        assert_eq!(get(listen, "/").body, b"one");
    }
    robin.wait_for_line(Output::Stderr, &["peer ejected upstream=api"]);
    reload(&robin, &yaml("/: api, /more: api"));
    let (attempts, joined) = (format!("{dead} - "), ["peer joined upstream=api"]);
    let before = robin.count_lines(Output::Stdout, &[&attempts]);
    let known = robin.count_lines(Output::Stderr, &joined);
    for _ in 0..4 {
        assert_eq!(get(listen, "/more").body, b"one");
    }
    assert_eq!(robin.access_lines(6).len(), 6);
    assert_eq!(robin.count_lines(Output::Stdout, &[&attempts]), before, "it is still ejected");
    assert_eq!(robin.count_lines(Output::Stderr, &joined), known);
}

#[test]
fn idle_connections_of_an_upstream_that_is_left_out_are_closed() {
    let (one, two, listen) = (origin("one"), origin("two"), free_address());
    let upstream = format!(
        "listen: {listen}\nupstreams: {{ api: {{ servers: [\"{}\"], keepalive: {{ idle: 60s }} }} }}\n\
         routes: {{ /: api }}\n",
        one.address()
    );
    let robin = Robin::start(listen, &upstream);
    assert_eq!(get(listen, "/").body, b"one");
    assert_eq!(one.open_connections(), 1);
    reload(&robin, &yaml(listen, two.address()));
    eventually("it is closed", PATIENCE, || one.open_connections() == 0);
}

#[test]
fn a_name_keeps_its_addresses_while_dns_fails() {
    let dns = DnsServer::start();
    let (one, listen) = (origin("one"), free_address());
    let beside = SocketAddr::new(one.address().ip(), free_address().port());
    let two = Origin::start(beside, Behaviour::Answer(Reply::new("two")));
    dns.set("api.test", Answer::a(&[&beside.ip().to_string()]));
    let yaml = |origin: &Origin| {
        format!(
            "listen: {listen}\nresolver: {}\nroutes: {{ /: \"api.test:{}\" }}\n",
            dns.address(),
            origin.address().port()
        )
    };
    let robin = Robin::start(listen, &yaml(&one));
    assert_eq!(get(listen, "/").body, b"one");
    dns.set("api.test", Answer::ServFail);
    reload(&robin, &yaml(&two));
    assert_eq!(get(listen, "/").body, b"two");
}

#[test]
fn log_files_are_opened_again() {
    let (one, listen) = (origin("one"), free_address());
    let logs = tempfile::tempdir().expect("a temporary folder");
    let (log, old) = (logs.path().join("access.log"), logs.path().join("access.log.1"));
    let text = yaml(listen, one.address()) + &format!("access_log: {}\n", log.display());
    let robin = Robin::start(listen, &text);
    get(listen, "/before");
    let holds = |path: &std::path::Path, text: &str| {
        fs::read_to_string(path).is_ok_and(|lines| lines.contains(text))
    };
    eventually("the first line", PATIENCE, || holds(&log, "/before"));
    fs::rename(&log, &old).expect("moved away");
    robin.signal(Signal::SIGUSR1);
    eventually("the file is made again", PATIENCE, || log.exists());
    get(listen, "/after");
    eventually("the second line", PATIENCE, || holds(&log, "/after"));
    assert!(!holds(&old, "/after"));
}

/// What `robin ARGUMENTS -c CONFIGURATION` answers: its exit code, and what it prints to each side.
fn ask(robin: &Robin, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_robin"));
    command.args(arguments).arg("-c").arg(robin.config_file()).env_remove("RUST_LOG");
    let finished = command.output().expect("robin runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (finished.status.code(), text(&finished.stdout), text(&finished.stderr))
}

#[test]
fn robin_reload_answers_with_what_has_changed_or_with_what_is_wrong() {
    let (one, two, listen) = (origin("one"), origin("two"), free_address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let control = format!("control: {}\n", folder.path().join("control.sock").display());
    let robin = Robin::start(listen, &(control.clone() + &yaml(listen, one.address())));
    robin.wait_for_line(Output::Stderr, &["INFO started"]);

    fs::write(robin.config_file(), control.clone() + &yaml(listen, two.address()))
        .expect("written");
    let (code, told, error) = ask(&robin, &["reload"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let expected = format!(
        "reloaded; upstreams added: {}, upstreams removed: {}, virtual servers changed\n",
        two.address(),
        one.address()
    );
    assert_eq!(told, expected);
    assert_eq!(get(listen, "/").body, b"two");
    assert_eq!(ask(&robin, &["reload"]).1, "reloaded; nothing\n");

    fs::write(robin.config_file(), control + "listen: 80000\nroutes: { /: a:1 }\n")
        .expect("written");
    let refused =
        ask(&robin, &["reload", "--socket", &folder.path().join("control.sock").to_string_lossy()]);
    let tested = ask(&robin, &["-t"]);
    assert_eq!((refused.0, refused.1.as_str()), (Some(1), ""));
    assert_eq!(refused.2, tested.2, "as -t prints it");
    assert!(refused.2.contains("robin.yaml:2:9\n"), "{}", refused.2);
    assert_eq!(
        ask(&robin, &["reload"]).2,
        tested.2,
        "although it does not say where the socket is"
    );
    assert_eq!(get(listen, "/").body, b"two");
}

#[test]
fn an_address_that_cannot_be_had_is_shown_where_it_is_written() {
    let (one, listen, taken) = (origin("one"), free_address(), origin("taken"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("control.sock");
    let control = format!("control: {}\n", socket.display());
    let robin = Robin::start(listen, &(control.clone() + &yaml(listen, one.address())));
    robin.wait_for_line(Output::Stderr, &["INFO started"]);
    let text = format!("{control}listen: [{listen}, {}]\nroutes: {{ /: a:1 }}\n", taken.address());
    fs::write(robin.config_file(), text).expect("written");
    let (code, _, error) = ask(&robin, &["reload"]);
    assert_eq!(code, Some(1));
    let place = format!("robin.yaml:2:{}\n", format!("listen: [{listen}, ").len() + 1);
    assert!(error.contains("cannot listen on") && error.contains(&place), "{error}");
    assert!(error.contains("help: another process listens there"), "{error}");
    assert_eq!(get(listen, "/").body, b"one");
}

#[test]
fn without_a_control_socket_the_signal_is_named() {
    let listen = free_address();
    let robin = Robin::start(listen, &format!("control: off\n{}", yaml(listen, listen)));
    for (order, instead) in [("reload", "`robin -s reload`"), ("upgrade", "`kill -USR2`")] {
        let (code, _, error) = ask(&robin, &[order]);
        assert_eq!(code, Some(1));
        assert!(error.contains("`control: off`") && error.contains(instead), "{error}");
        let (_, _, error) = ask(&robin, &[order, "--socket", "/no/such.sock"]);
        assert!(error.contains("no robin answers at /no/such.sock"), "{error}");
        assert!(error.contains(instead), "{error}");
    }
}

#[test]
fn reloads_that_are_asked_for_at_once_are_done_one_after_the_other() {
    let (one, listen) = (origin("one"), free_address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let control = format!("control: {}\n", folder.path().join("control.sock").display());
    let robin = Robin::start(listen, &(control + &yaml(listen, one.address())));
    robin.wait_for_line(Output::Stderr, &["INFO started"]);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&robin, &["reload"]))).collect();
        for asked in asked {
            let (code, told, error) = asked.join().expect("no panic");
            assert_eq!((code, told.as_str()), (Some(0), "reloaded; nothing\n"), "{error}");
        }
    });
    eventually("each is told", PATIENCE, || {
        robin.count_lines(Output::Stderr, &["INFO reloaded"]) == 8
    });
}

#[test]
fn on_a_listener_that_was_left_out_the_next_answer_is_the_last() {
    let (listen, left_out) = (free_address(), free_address());
    let one = Origin::start(free_address(), Behaviour::Answer(Reply::new("one")));
    let slow = Reply::new("slow").after(Duration::from_millis(500));
    one.set_path("/slow", Behaviour::Answer(slow));
    let both = format!(
        "listen: [{listen}, {left_out}]\nthreads: 1\nroutes: {{ /: \"{}\" }}\n",
        one.address()
    );
    let robin = Robin::start(left_out, &both);
    let mut busy = Client::connect(left_out).expect("it listens");
    assert_eq!(body(&mut busy), "one");
    busy.send(Request::get("/slow").bytes()).expect("sent");
    eventually("the request is under way", PATIENCE, || one.count() > 1);
    let mut idle = Client::connect(left_out).expect("it listens");
    assert_eq!(body(&mut idle), "one");
    reload(&robin, &yaml(listen, one.address()));
    let answer = busy.response().expect("a whole answer");
    assert_eq!(answer.body, b"slow");
    assert!(answer.has_token("connection", "close"), "{}", answer.head);
    assert!(busy.is_closed() && idle.is_closed());
}

#[test]
fn a_tunnel_of_a_listener_that_was_left_out_has_its_time() {
    let (listen, left_out) = (free_address(), free_address());
    let origin = Origin::start(free_address(), Behaviour::Upgrade);
    let text = |listen: &str, limit: &str| {
        let at = origin.address();
        format!(
            "listen: {listen}\nthreads: 1\nshutdown_timeout: {limit}\n\
             routes: {{ /: {{ to: \"{at}\", websocket: on }} }}\n"
        )
    };
    let robin = Robin::start(left_out, &text(&format!("[{listen}, {left_out}]"), "1h"));
    let upgraded = |address| {
        let mut client = Client::connect(address).expect("it listens");
        let request =
            Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
        assert_eq!(client.exchange(&request).expect("an answer").status(), 101);
        client
    };
    let (mut kept, mut cut) = (upgraded(listen), upgraded(left_out));
    reload(&robin, &text(&listen.to_string(), "300ms"));
    assert!(cut.is_closed(), "its listener is gone, and its time over");
    kept.send("ping").expect("sent");
    assert_eq!(kept.bytes(4).expect("an echo"), b"ping");
}

#[test]
fn certificates_are_read_again_although_their_file_has_the_same_name() {
    let (one, listen) = (origin("one"), free_address());
    let shown = common::tls::Certificates::new(&["a.test"]);
    let next = common::tls::Certificates::new(&["a.test"]);
    let text = format!(
        "listen: {{ address: \"{listen}\", tls: on }}\nthreads: 1\ntls: {}\nroutes: {{ /: \"{}\" }}\n",
        shown.yaml("a.test"),
        one.address()
    );
    let robin = Robin::start(listen, &text);
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert!(shown.exchange(listen, "a.test", request).expect("trusted").ends_with("one"));
    next.exchange(listen, "a.test", request).expect_err("another certificate is shown");

    // A key that does not fit leaves the old pair serving.
    let old = fs::read(shown.key("a.test")).expect("a key");
    fs::copy(next.key("a.test"), shown.key("a.test")).expect("copied");
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["reload refused", "key values mismatch"]);
    fs::write(shown.key("a.test"), old).expect("a key");
    assert!(shown.exchange(listen, "a.test", request).expect("trusted").ends_with("one"));

    fs::copy(next.key("a.test"), shown.key("a.test")).expect("copied");
    fs::copy(next.certificate("a.test"), shown.certificate("a.test")).expect("copied");
    reload(&robin, &text);
    assert!(next.exchange(listen, "a.test", request).expect("trusted").ends_with("one"));
}

/// Robin that watches this nginx configuration in a folder of its own.
fn watching(folder: &std::path::Path, listen: SocketAddr, conf: &str) -> Robin {
    let file = folder.join("nginx.conf");
    fs::write(&file, conf).expect("written");
    Robin::run(&["--watch", "-c", &file.to_string_lossy()]).listening(listen)
}

#[test]
fn with_watch_a_change_is_served_and_a_mistake_told_once() {
    let (one, listen) = (origin("one"), free_address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sites = folder.path().join("sites");
    fs::create_dir(&sites).expect("made");
    let site = |text: &str, name: &str| {
        // As editors do it: another file takes the place.
        fs::write(sites.join("new.tmp"), text).expect("written");
        fs::rename(sites.join("new.tmp"), sites.join(name)).expect("renamed");
    };
    site("location / { return 200 first; }\n", "a.conf");
    let conf = format!(
        "events {{}} http {{ server {{ listen {listen}; include sites/*.conf;\n\
         location /one {{ proxy_pass http://{}; }} }} }}\n",
        one.address()
    );
    let robin = watching(folder.path(), listen, &conf);
    robin.wait_for_line(Output::Stderr, &["INFO started"]);
    assert_eq!(get(listen, "/").body, b"first");
    site("location / { return 200 second; }\n", "a.conf");
    eventually("the change is served", PATIENCE, || get(listen, "/").body == b"second");

    site("location /more { return 200 more; }\n", "b.conf");
    eventually("so is a file that is new", PATIENCE, || get(listen, "/more").body == b"more");

    let refused = ["ERROR reload refused", "sites/b.conf:1"];
    site("location /more { retrun 200 more; }\n", "b.conf");
    robin.wait_for_line(Output::Stderr, &refused);
    assert_eq!(get(listen, "/more").body, b"more");
    // The same once more is no news; what comes after it is.
    site("location /more { retrun 200 more; }\n", "b.conf");
    fs::remove_file(sites.join("b.conf")).expect("removed");
    eventually("it is gone", PATIENCE, || get(listen, "/more").body == b"second");
    assert_eq!(robin.count_lines(Output::Stderr, &refused), 1);
}

#[test]
fn with_watch_a_certificate_that_changes_is_shown() {
    let listen = free_address();
    let shown = common::tls::Certificates::new(&["a.test"]);
    let next = common::tls::Certificates::new(&["a.test"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let conf = format!(
        "events {{}} http {{ server {{ listen {listen} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{ return 200 one; }} }} }}\n",
        shown.certificate("a.test").display(),
        shown.key("a.test").display()
    );
    let _robin = watching(folder.path(), listen, &conf);
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert!(shown.exchange(listen, "a.test", request).expect("trusted").ends_with("one"));
    fs::copy(next.key("a.test"), shown.key("a.test")).expect("copied");
    fs::copy(next.certificate("a.test"), shown.certificate("a.test")).expect("copied");
    eventually("it is shown", PATIENCE, || next.exchange(listen, "a.test", request).is_ok());
}

#[test]
fn what_needs_a_right_that_was_given_up_is_refused_with_its_place_and_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("only root can give it up");
        return;
    }
    let (one, listen) = (origin("one"), free_address());
    let certificates = common::tls::Certificates::new(&["a.test"]);
    let secret = certificates.key("a.test");
    let readable = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    };
    readable(secret.parent().expect("a folder"), 0o755);
    readable(&secret, 0o600);
    let folder = tempfile::tempdir().expect("a temporary folder");
    readable(folder.path(), 0o755);
    let socket = folder.path().join("control.sock").display().to_string();
    let text = |more: &str| {
        format!(
            "user: nobody\ncontrol: {socket}\nthreads: 1\n\
             listen: [{{ address: \"{listen}\", tls: on }}{more}]\n\
             tls: {}\nroutes: {{ /: \"{}\" }}\n",
            certificates.yaml("a.test"),
            one.address()
        )
    };
    let file = folder.path().join("robin.yaml");
    fs::write(&file, text("")).expect("written");
    let robin = Robin::run(&["-c", &file.to_string_lossy()]).listening(listen);
    robin.wait_for_line(Output::Stderr, &["INFO root given up user=nobody"]);
    robin.wait_for_line(Output::Stderr, &["INFO started"]);
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let serves =
        || certificates.exchange(listen, "a.test", request).expect("trusted").ends_with("one");
    let reload = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_robin"));
        let finished = command.args(["reload", "--socket", &socket]).output().expect("robin runs");
        (finished.status.code(), String::from_utf8_lossy(&finished.stderr).into_owned())
    };

    let (code, error) = reload();
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("cannot load certificate key") && error.contains("robin.yaml:5:"),
        "{error}"
    );
    assert!(error.contains("help: robin runs as user `nobody` now"), "{error}");
    assert!(serves());

    readable(&secret, 0o644);
    assert_eq!(reload().0, Some(0));
    let lowest = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if lowest.is_ok_and(|lowest| lowest.trim().parse::<u16>().is_ok_and(|lowest| lowest > 81)) {
        fs::write(&file, text(&format!(", \"{}:81\"", listen.ip()))).expect("written");
        let (code, error) = reload();
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("Permission denied") && error.contains("robin.yaml:4:"), "{error}");
        assert!(
            error.contains("help: robin runs as user `nobody` now: start robin again"),
            "{error}"
        );
    }
    assert!(serves());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_a_listener_that_was_left_out_says_goodbye_and_finishes_what_is_under_way() {
    let (listen, left_out) = (free_address(), free_address());
    let slow = Reply::new("slow").after(Duration::from_secs(1));
    let one = Origin::start(free_address(), Behaviour::Answer(slow));
    let certificates = common::tls::Certificates::new(&["a.test"]);
    let text = |more: &str| {
        format!(
            "listen: [{listen}{more}]\nthreads: 1\ntls: {}\nroutes: {{ /: \"{}\" }}\n",
            certificates.yaml("a.test"),
            one.address()
        )
    };
    let both = text(&format!(", {{ address: \"{left_out}\", tls: on, http2: on }}"));
    let robin = Robin::start(left_out, &both);
    let socket = tokio::net::TcpStream::connect(left_out).await.expect("it listens");
    let name = rustls::pki_types::ServerName::try_from("a.test").expect("a host name");
    let connector = tokio_rustls::TlsConnector::from(certificates.client("a.test", &["h2"]));
    let stream = connector.connect(name, socket).await.expect("a handshake");
    let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = || http::Request::get("https://a.test/").body(()).expect("a request");
    let (answer, _) = send.send_request(request(), true).expect("sent");
    eventually("the request is under way", PATIENCE, || one.count() > 0);
    reload(&robin, &text(""));
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let _ = tokio::time::timeout(PATIENCE, connection).await.expect("it ends");
    let error = std::future::poll_fn(|cx| send.poll_ready(cx)).await;
    assert!(error.is_err(), "no request is taken any more");
}
