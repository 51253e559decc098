//! How the process ends: what is under way is finished, what is idle is not waited for.

mod common;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use common::client::{Client, Request, get};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;

/// The time in which an idle process ends, with room for a busy machine. Far below
/// `shutdown_timeout`, which is 8 s unless a test says otherwise.
const AT_ONCE: Duration = Duration::from_secs(3);

struct Setup {
    listen: SocketAddr,
    origin: Origin,
    robin: Robin,
}

/// Robin before one origin, whose `/slow` takes a while.
fn start(settings: &str) -> Setup {
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
    let slow = Reply::new("slow\n").after(Duration::from_millis(1500));
    origin.set_path("/slow", Behaviour::Answer(slow));
    origin.set_path("/never", Behaviour::Hang);
    let target = origin.address();
    let yaml = format!("listen: {listen}\nthreads: 2\n{settings}\nroutes: {{ /: \"{target}\" }}\n");
    let robin = Robin::start(listen, &yaml);
    Setup { listen, origin, robin }
}

impl Setup {
    /// A client whose request for `path` is under way.
    fn under_way(&self, path: &str) -> Client {
        let count = self.origin.count();
        let mut client = Client::connect(self.listen).expect("robin listens");
        client.send(Request::get(path).bytes()).expect("sent");
        eventually("the origin has it", PATIENCE, || self.origin.count() > count);
        client
    }

    fn idle(&self) -> Client {
        let mut client = Client::connect(self.listen).expect("robin listens");
        assert_eq!(client.exchange(&Request::get("/")).expect("an answer").status(), 200);
        client
    }

    fn refuses(&self) -> bool {
        Client::connect(self.listen).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    }
}

#[test]
fn a_request_in_flight_is_finished_and_the_process_ends_right_after() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut setup = start("");
        let mut client = setup.under_way("/slow");
        setup.robin.signal(signal);
        setup.robin.wait_for_line(Output::Stderr, &["draining", signal.as_str()]);
        eventually("new connections are refused", PATIENCE, || setup.refuses());

        let answer = client.response().expect("a whole answer");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "slow\n"));
        assert!(answer.has_token("connection", "close"), "{}", answer.head);
        let (status, _) = setup.robin.wait_exit(AT_ONCE);
        assert_eq!(status.code(), Some(0));
        assert_eq!(setup.robin.count_lines(Output::Stdout, &["GET /slow ", " 200 "]), 1);
    }
}

#[test]
fn who_has_just_connected_is_still_answered() {
    let mut setup = start("");
    let mut client = Client::connect(setup.listen).expect("robin listens");
    setup.robin.signal(Signal::SIGTERM);
    eventually("new connections are refused", PATIENCE, || setup.refuses());
    let answer = client.exchange(&Request::get("/")).expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.has_token("connection", "close"), "{}", answer.head);
    assert_eq!(setup.robin.wait_exit(AT_ONCE).0.code(), Some(0));
}

#[test]
fn idle_connections_do_not_hold_the_end_up() {
    let mut setup = start("");
    let mut idle: Vec<Client> = (0..4).map(|_| setup.idle()).collect();
    // One that has not sent anything yet.
    idle.push(Client::connect(setup.listen).expect("robin listens"));
    setup.robin.signal(Signal::SIGTERM);
    let (status, took) = setup.robin.wait_exit(AT_ONCE);
    assert_eq!(status.code(), Some(0), "after {took:?}");
    assert!(idle.iter_mut().all(Client::is_closed));
    assert!(setup.robin.stderr_has("ended"));
}

#[test]
fn a_request_that_never_ends_is_cut_off_after_shutdown_timeout() {
    let mut setup = start("shutdown_timeout: 1s");
    let mut client = setup.under_way("/never");
    setup.robin.signal(Signal::SIGTERM);
    let (status, took) = setup.robin.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(client.response().is_err());
    setup.robin.wait_for_line(Output::Stderr, &["requests cut off after shutdown_timeout"]);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut setup = start("shutdown_timeout: 1m");
    let mut client = setup.under_way("/never");
    setup.robin.signal(Signal::SIGTERM);
    setup.robin.wait_for_line(Output::Stderr, &["draining", "signal=SIGTERM"]);
    setup.robin.signal(Signal::SIGINT);
    let (status, _) = setup.robin.wait_exit(AT_ONCE);
    assert_eq!(status.code(), Some(0));
    setup.robin.wait_for_line(Output::Stderr, &["requests cut off", "signal=SIGINT"]);
    assert!(client.response().is_err());
}

#[test]
fn the_access_log_is_complete_when_the_process_has_ended() {
    let mut setup = start("");
    let mut client = setup.idle();
    let burst = 300;
    for _ in 0..burst {
        assert_eq!(client.exchange(&Request::get("/burst")).expect("an answer").status(), 200);
    }
    setup.robin.signal(Signal::SIGTERM);
    setup.robin.wait_exit(AT_ONCE);
    assert_eq!(setup.robin.count_lines(Output::Stdout, &["GET /burst ", " 200 "]), burst);
}

#[test]
fn what_was_sent_before_the_signal_is_answered() {
    let mut setup = start("");
    // Held up, so that all of them wait to be accepted when the signal is seen.
    setup.robin.signal(Signal::SIGSTOP);
    let clients = (0..400).map(|_| {
        let mut client = Client::connect(setup.listen).expect("robin listens");
        client.send(Request::get("/").bytes()).expect("sent");
        client
    });
    let clients: Vec<Client> = clients.collect();
    setup.robin.signal(Signal::SIGTERM);
    setup.robin.signal(Signal::SIGCONT);
    let answered = clients.into_iter().filter_map(|mut c| c.response().ok());
    assert_eq!(answered.filter(|r| r.status() == 200).count(), 400);
    let (status, _) = setup.robin.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert_eq!(setup.robin.count_lines(Output::Stdout, &["GET / ", " 200 "]), 400);
}

#[test]
fn pipelined_requests_end_with_the_one_in_flight() {
    let mut setup = start("");
    let count = setup.origin.count();
    let mut client = Client::connect(setup.listen).expect("robin listens");
    let twice = [Request::get("/slow").bytes(), Request::get("/next").bytes()].concat();
    client.send(twice).expect("sent");
    eventually("the origin has the first", PATIENCE, || setup.origin.count() > count);
    setup.robin.signal(Signal::SIGTERM);
    let answer = client.response().expect("a whole answer");
    assert_eq!(answer.text(), "slow\n");
    // The client knows that the second was not looked at: the first one's answer said so.
    assert!(answer.has_token("connection", "close"), "{}", answer.head);
    assert!(client.is_closed());
    assert_eq!(setup.robin.wait_exit(AT_ONCE).0.code(), Some(0));
}

#[test]
fn an_upgraded_connection_is_cut_off_after_shutdown_timeout() {
    let mut setup = start("shutdown_timeout: 1s\nwebsocket: on");
    setup.origin.set_path("/ws", Behaviour::Upgrade);
    let mut client = Client::connect(setup.listen).expect("robin listens");
    let request =
        Request::get("/ws").header("Connection", "upgrade").header("Upgrade", "websocket");
    assert_eq!(client.exchange(&request).expect("an answer").status(), 101);
    setup.robin.signal(Signal::SIGTERM);
    client.send("still here").expect("sent");
    assert_eq!(client.bytes(10).expect("an echo"), b"still here");
    let (status, _) = setup.robin.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_reader_of_the_log_that_has_left_does_not_end_the_process() {
    let setup = start("access_log: /dev/full");
    assert_eq!(get(setup.listen, "/").status(), 200);
    setup.robin.wait_for_line(Output::Stderr, &["access log cannot be written"]);
    assert_eq!(get(setup.listen, "/").status(), 200);
}
