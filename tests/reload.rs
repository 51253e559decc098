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
