//! Sessions stay where they began, over connections, threads, failures and reloads.

mod common;

use std::fs;
use std::net::SocketAddr;

use common::PATIENCE;
use common::client::{Client, Request, exchange};
use common::http::Message;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use nix::sys::signal::Signal;

fn origins(count: usize) -> Vec<Origin> {
    replicas(count).into_iter().map(|a| Origin::start(a, Behaviour::ok())).collect()
}

/// Server lines of YAML with what follows each address.
fn yaml(listen: SocketAddr, origins: &[Origin], rest: &[&str], sticky: &str) -> String {
    let mut yaml = format!("listen: {listen}\nthreads: 2\nupstreams:\n  back-end:\n");
    yaml += &format!("    sticky: {sticky}\n    servers:\n");
    for (n, origin) in origins.iter().enumerate() {
        let rest = rest.get(n).copied().unwrap_or_default();
        yaml += &format!("      - {{ address: \"{}\"{rest} }}\n", origin.address());
    }
    yaml + "routes: { /: back-end }\n"
}

/// The same in nginx's words.
fn conf(listen: SocketAddr, origins: &[Origin], rest: &[&str], sticky: &str) -> String {
    let mut conf = String::from("upstream back-end {\n");
    for (n, origin) in origins.iter().enumerate() {
        let rest = rest.get(n).copied().unwrap_or_default();
        conf += &format!("  server {} {rest};\n", origin.address());
    }
    conf += &format!("  sticky {sticky};\n}}\n");
    conf + &format!("server {{ listen {listen}; location / {{ proxy_pass http://back-end; }} }}\n")
}

/// A GET with this `Cookie`, on a connection of its own.
#[track_caller]
fn ask(listen: SocketAddr, target: &str, cookie: &str) -> Message {
    let request = Request::get(target).header("Cookie", cookie).header("Connection", "close");
    exchange(listen, &request).expect("an answer")
}

/// The name and value of the first cookie that an answer sets.
#[track_caller]
fn set_by(answer: &Message) -> String {
    let cookie = answer.header("set-cookie").expect("a cookie");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

/// Who answers each of `count` requests with this cookie.
fn answered(listen: SocketAddr, target: &str, cookie: &str, count: usize) -> Vec<String> {
    (0..count).map(|_| ask(listen, target, cookie).replica()).collect()
}

fn name(origin: &Origin) -> String {
    origin.address().to_string()
}

/// The session of a cookie stays at its peer, also over many threads, and moves when that ends.
fn check_cookie(listen: SocketAddr, mut origins: Vec<Origin>) {
    let first = ask(listen, "/", "");
    let (cookie, home) = (set_by(&first), first.replica());
    let stays = || answered(listen, "/", &cookie, 25).iter().all(|replica| *replica == home);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(stays)).collect();
        assert!(threads.into_iter().all(|t| t.join().expect("no panic")));
    });
    assert_eq!(set_by(&ask(listen, "/", &cookie)), cookie, "every answer says it again");

    let at = origins.iter().position(|o| name(o) == home).expect("one of them");
    origins[at].set(Behaviour::Refuse);
    let moved = ask(listen, "/", &cookie);
    assert_eq!(moved.status(), 200);
    let (new_cookie, new_home) = (set_by(&moved), moved.replica());
    assert_ne!((&new_cookie, &new_home), (&cookie, &home));
    assert_eq!(answered(listen, "/", &new_cookie, 20), vec![new_home; 20]);
}

#[test]
fn a_session_stays_over_connections_and_threads_and_is_marked_anew_when_its_peer_is_gone() {
    let (listen, origins) = (free_address(), origins(3));
    let text = yaml(listen, &origins, &[], "{ cookie: srv, path: / }");
    let _robin = Robin::start(listen, &text);
    check_cookie(listen, origins);
}

#[test]
fn sticky_cookie_is_nginx_s_word_for_it() {
    let (listen, origins) = (free_address(), origins(3));
    let _robin = Robin::nginx(listen, &conf(listen, &origins, &[], "cookie srv path=/"));
    check_cookie(listen, origins);
}

#[test]
fn the_cookie_comes_before_those_of_the_upstream_and_with_errors_too() {
    let (listen, mut origins) = (free_address(), origins(1));
    let _robin = Robin::nginx(
        listen,
        &conf(
            listen,
            &origins,
            &["route=a"],
            "cookie srv domain=example.com path=/x httponly secure samesite=lax",
        ),
    );
    let ours = "srv=a; domain=example.com; httponly; secure; samesite=lax; path=/x";
    let theirs = Reply::status(500).header("Set-Cookie", "one=1").header("Set-Cookie", "two=2");
    origins[0].set(Behaviour::Answer(theirs));
    let answer = ask(listen, "/", "");
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.header_all("set-cookie"), [ours, "one=1", "two=2"]);
    // The page that stands for what the peer never said, as in nginx.
    origins[0].set(Behaviour::Close);
    let answer = ask(listen, "/", "");
    assert_eq!((answer.status(), answer.header_all("set-cookie")), (502, vec![ours]));
}

#[test]
fn an_upstream_without_a_peer_sets_no_cookie() {
    let (listen, origins) = (free_address(), origins(1));
    let _robin = Robin::nginx(listen, &conf(listen, &origins, &["down"], "cookie srv"));
    let answer = ask(listen, "/", "");
    assert_eq!((answer.status(), answer.header("set-cookie")), (502, None));
}

#[test]
fn the_peer_that_answers_in_the_end_is_the_one_that_is_marked() {
    let (listen, mut origins) = (free_address(), origins(2));
    let rest = ["route=a", "route=b"];
    let text = conf(listen, &origins, &rest, "cookie srv");
    let text = text.replace("proxy_pass", "proxy_next_upstream http_503; proxy_pass");
    let _robin = Robin::nginx(listen, &text);
    origins[0].set(Behaviour::Answer(Reply::status(503)));
    let answer = ask(listen, "/", "srv=a");
    assert_eq!((answer.status(), answer.replica()), (200, name(&origins[1])));
    assert_eq!(answer.header_all("set-cookie"), ["srv=b"]);
}

#[test]
fn sessions_of_a_peer_that_drains_stay_and_nothing_else_comes() {
    let (listen, origins) = (free_address(), origins(2));
    let sticky = "{ cookie: srv }";
    let robin = Robin::start(listen, &yaml(listen, &origins, &[", route: a"], sticky));
    let drained = yaml(listen, &origins, &[", route: a, drain: on"], sticky);
    fs::write(robin.config_file(), drained).expect("the file can be written");
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["INFO reloaded"]);
    let (first, second) = (name(&origins[0]), name(&origins[1]));
    assert_eq!(answered(listen, "/", "srv=a", 10), vec![first; 10]);
    assert_eq!(answered(listen, "/", "", 10), vec![second; 10]);
}

/// The first of several variables that says something names the peer.
fn check_route(listen: SocketAddr, origins: &[Origin]) {
    let [a, b, c] = [name(&origins[0]), name(&origins[1]), name(&origins[2])];
    assert_eq!(answered(listen, "/", "r=b", 5), vec![b.clone(); 5]);
    assert_eq!(answered(listen, "/?r=c", "", 5), vec![c.clone(); 5]);
    assert_eq!(answered(listen, "/?r=c", "r=b", 5), vec![b.clone(); 5]);
    let mut rest = answered(listen, "/?r=unknown", "", 3);
    rest.sort();
    let mut all = vec![a, b, c];
    all.sort();
    assert_eq!(rest, all, "a session of nobody goes round");
    assert_eq!(ask(listen, "/", "r=b").header("set-cookie"), None);
}

#[test]
fn a_request_says_where_it_belongs() {
    let (listen, origins) = (free_address(), origins(3));
    let rest = [", route: a", ", route: b", ", route: c"];
    let text = yaml(listen, &origins, &rest, "{ route: [$cookie_r, $arg_r] }");
    let _robin = Robin::start(listen, &text);
    check_route(listen, &origins);
}

#[test]
fn sticky_route_is_nginx_s_word_for_it() {
    let (listen, origins) = (free_address(), origins(3));
    let rest = ["route=a", "route=b", "route=c"];
    let _robin = Robin::nginx(listen, &conf(listen, &origins, &rest, "route $cookie_r $arg_r"));
    check_route(listen, &origins);
}

/// A session begins with what the upstream answers, and stays until its peer is gone.
fn check_learn(listen: SocketAddr, mut origins: Vec<Origin>) {
    for (n, origin) in origins.iter_mut().enumerate() {
        let cookie = format!("id=s{n}; Path=/");
        origin.set_path("/login", Behaviour::Answer(Reply::new("").header("Set-Cookie", &cookie)));
    }
    let login = ask(listen, "/login", "");
    let (session, home) = (set_by(&login), login.replica());
    assert_eq!(answered(listen, "/", &session, 20), vec![home.clone(); 20]);
    let others = answered(listen, "/", "id=other", 4);
    assert!(others.iter().any(|replica| *replica != home), "{others:?}");

    let at = origins.iter().position(|o| name(o) == home).expect("one of them");
    origins[at].set(Behaviour::Refuse);
    let moved = ask(listen, "/", &session).replica();
    assert_ne!(moved, home);
    origins[at].set(Behaviour::ok());
    assert_eq!(answered(listen, "/", &session, 10), vec![moved; 10]);
}

#[test]
fn a_session_that_the_upstream_begins_stays_where_it_began() {
    let (listen, origins) = (free_address(), origins(3));
    let sticky = "{ learn: { create: [$upstream_cookie_id], lookup: [$cookie_id] } }";
    let _robin = Robin::start(listen, &yaml(listen, &origins, &[], sticky));
    check_learn(listen, origins);
}

#[test]
fn sticky_learn_is_nginx_s_word_for_it() {
    let (listen, origins) = (free_address(), origins(3));
    let sticky = "learn create=$upstream_cookie_id lookup=$cookie_id zone=sessions:1m";
    let _robin = Robin::nginx(listen, &conf(listen, &origins, &[], sticky));
    check_learn(listen, origins);
}

#[test]
fn sessions_outlive_a_reload_that_changes_the_servers() {
    let (listen, origins) = (free_address(), origins(3));
    let sticky = "{ learn: { create: [$cookie_id], lookup: [$cookie_id] } }";
    let robin = Robin::start(listen, &yaml(listen, &origins[..2], &[], sticky));
    let homes: Vec<_> = (0..4).map(|n| ask(listen, "/", &format!("id={n}")).replica()).collect();
    fs::write(robin.config_file(), yaml(listen, &origins, &[], sticky)).expect("written");
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["INFO reloaded"]);
    for (n, home) in homes.iter().enumerate() {
        assert_eq!(answered(listen, "/", &format!("id={n}"), 3), vec![home.clone(); 3]);
    }
}

/// How many of two origins have got a request, of two that ask with one session while the first
/// answer is on its way.
fn origins_that_two_requests_reach(header: &str) -> usize {
    let (listen, mut origins) = (free_address(), origins(2));
    for origin in &mut origins {
        let slow = Reply { chunked: true, ..Reply::new([b'x'; 2000]) };
        origin.set(Behaviour::Answer(Reply { pace: PATIENCE, ..slow }));
    }
    let sticky =
        format!("{{ learn: {{ create: [$cookie_id], lookup: [$cookie_id], header: {header} }} }}");
    let _robin = Robin::start(listen, &yaml(listen, &origins, &[], &sticky));
    let request = Request::get("/").header("Cookie", "id=s").bytes();
    // Who hangs up ends his answer: both stay.
    let mut clients = [(), ()].map(|()| Client::connect(listen).expect("it listens"));
    for client in &mut clients {
        client.send(&request).expect("it reads");
        client.bytes(500).expect("the head and more");
    }
    origins.iter().filter(|origin| origin.count() > 0).count()
}

#[test]
fn a_session_begins_with_the_end_of_an_answer_or_with_its_head() {
    assert_eq!(origins_that_two_requests_reach("off"), 2);
    assert_eq!(origins_that_two_requests_reach("on"), 1);
}
