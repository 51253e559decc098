//! The operator's hand: what `robin peers` shows, and what drain, down and their kin do under load.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output as Finished, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use common::client::{Client, Request, answered_by, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Robin before origins, with a control socket of its own.
struct Stack {
    listen: SocketAddr,
    origins: Vec<Origin>,
    socket: PathBuf,
    robin: Robin,
    _folder: TempDir,
}

fn yaml(listen: SocketAddr, origins: &[Origin], more: &str) -> String {
    let servers: Vec<String> = origins.iter().map(|o| format!("\"{}\"", o.address())).collect();
    format!(
        "listen: {listen}\nthreads: 2\nerror_details: on\nupstreams:\n  back-end:\n    servers: [{}]\n\
         {more}routes: {{ /: back-end }}\n",
        servers.join(", ")
    )
}

fn stack(count: usize) -> Stack {
    let (listen, addresses) = (free_address(), replicas(count));
    let origins: Vec<Origin> =
        addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("control.sock");
    let arguments = ["--socket", socket.to_str().expect("a UTF-8 path")];
    let robin = Robin::spawn(&yaml(listen, &origins, ""), &arguments, &[]).listening(listen);
    robin.wait_for_line(Output::Stderr, &["started"]);
    Stack { listen, origins, socket, robin, _folder: folder }
}

impl Stack {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.args(arguments).arg("--socket").arg(&self.socket).env_remove("RUST_LOG");
        command
    }

    /// Runs `robin ARGUMENTS` to its end.
    fn run(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).output().expect("robin runs")
    }

    /// Runs `robin ARGUMENTS`, which has to work, and returns what it prints.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        let error = String::from_utf8_lossy(&finished.stderr);
        assert_eq!(finished.status.code(), Some(0), "{arguments:?}: {error}");
        String::from_utf8_lossy(&finished.stdout).into_owned()
    }

    /// Runs `robin ARGUMENTS`, which has to fail, and returns why it does.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        assert_eq!(finished.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&finished.stderr).into_owned()
    }

    fn name(&self, index: usize) -> String {
        self.origins[index].address().to_string()
    }

    /// A client whose request waits for the command to this origin.
    fn held_at(&self, index: usize) -> Client {
        self.origins[index].set_path("/hold", Behaviour::Wait);
        let all = || self.origins.iter().map(Origin::count).sum::<usize>();
        loop {
            let (before, own) = (all(), self.origins[index].count());
            let mut client = Client::connect(self.listen).expect("robin listens");
            client.send(Request::get("/hold").bytes()).expect("sent");
            eventually("an origin has it", PATIENCE, || all() > before);
            // The others answer at once.
            if self.origins[index].count() > own {
                return client;
            }
        }
    }
}

/// The line of `robin peers` about an address.
fn line(table: &str, address: &str) -> String {
    let line = table.lines().find(|line| line.contains(address));
    line.unwrap_or_else(|| panic!("no {address} in\n{table}")).to_owned()
}

/// The first line that a started command prints and the reader of the rest.
fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    (line, out)
}

#[test]
fn every_peer_is_shown_with_its_state_and_its_counts() {
    let stack = stack(2);
    assert_eq!(answered_by(stack.listen, "/", 4).len(), 4);
    let table = stack.said(&["peers"]);
    assert!(table.starts_with("      peer "), "{table}");
    assert!(table.contains("\n  back-end: 2/2 peers up\n"), "{table}");
    for index in [0, 1] {
        let words: Vec<String> =
            line(&table, &stack.name(index)).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words[..4], ["+", &stack.name(index), "1", "up"], "{table}");
        assert_eq!(words[5..8], ["0", "2", "0"], "in flight, requests, failures: {table}");
        assert!(words[8].ends_with('s'), "an average: {table}");
    }
}

#[test]
fn the_json_is_one_object_with_every_upstream() {
    let stack = stack(2);
    let json = stack.said(&["peers", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["upstreams"][0]["name"], "back-end");
    let peer = &json["upstreams"][0]["peers"][1];
    assert_eq!(peer["address"], stack.name(1));
    assert_eq!((&peer["state"], &peer["reason"]), (&"up".into(), &"up".into()));
    let told = stack.said(&["down", &stack.name(1), "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["told"][0]["reason"], "down by hand");
}

#[test]
fn a_drain_during_load_costs_no_request_and_ends_with_the_last_in_flight() {
    let stack = stack(2);
    let mut held = stack.held_at(0);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let listen = stack.listen;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(listen).expect("robin listens");
                while !stop.load(Relaxed) {
                    let answer = client.exchange(&Request::get("/")).expect("an answer");
                    assert_eq!(answer.status(), 200);
                    served.fetch_add(1, Relaxed);
                }
            });
        }
        let mut drain = stack.command(&["drain", &stack.name(0)]);
        let mut drain = drain.stdout(Stdio::piped()).spawn().expect("robin runs");
        let (first, mut rest) = first_line(&mut drain);
        assert!(first.contains(&stack.name(0)) && first.contains("draining by hand"), "{first}");
        // What is answered after this began after it was told.
        let before = served.load(Relaxed);
        eventually("the load goes on", PATIENCE, || served.load(Relaxed) > before + 100);
        let count = stack.origins[0].count();
        let before = served.load(Relaxed);
        eventually("the load goes on", PATIENCE, || served.load(Relaxed) > before + 100);
        assert_eq!(stack.origins[0].count(), count, "it gets no new request");
        assert_eq!(drain.try_wait().expect("a child"), None, "one is in flight still");
        let shown = line(&stack.said(&["peers"]), &stack.name(0));
        assert!(shown.contains("- ") && shown.contains("draining by hand"), "{shown}");
        stack.origins[0].release();
        assert_eq!(held.response().expect("an answer").status(), 200);
        let ended = drain.wait().expect("it ends");
        stop.store(true, Relaxed);
        let mut text = String::new();
        rest.read_to_string(&mut text).expect("text");
        assert_eq!(ended.code(), Some(0), "{text}");
        assert!(text.ends_with("drained\n"), "{text}");
    });
    stack.robin.wait_for_line(Output::Stderr, &["peer drained by hand", &stack.name(0)]);
    assert_eq!(stack.robin.count_lines(Output::Stdout, &[" 502 "]), 0);

    stack.said(&["undrain", &stack.name(0)]);
    let mut both = answered_by(stack.listen, "/", 2);
    both.sort();
    let mut names = vec![stack.name(0), stack.name(1)];
    names.sort();
    assert_eq!(both, names);
}

#[test]
fn a_drain_whose_time_is_over_says_how_many_are_left_and_drains_on() {
    let stack = stack(2);
    let _held = stack.held_at(0);
    let error = stack.refused(&["drain", &stack.name(0), "--timeout", "100ms"]);
    assert_eq!(error, "robin: 1 request still in flight, still draining\n");
    assert_eq!(answered_by(stack.listen, "/", 3), vec![stack.name(1); 3]);
    let out = stack.run(&["drain", &stack.name(0), "--timeout", "soon"]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn an_upstream_that_is_down_by_hand_says_so_to_client_log_and_operator() {
    let stack = stack(2);
    stack.said(&["down", "back-end"]);
    let answer = get(stack.listen, "/");
    assert_eq!(answer.status(), 502);
    let reasons = format!("{} down by hand; {} down by hand", stack.name(0), stack.name(1));
    assert!(answer.text().contains(&reasons), "{}", answer.text());
    stack.robin.wait_for_line(Output::Stderr, &["no peer available", "down=2", &reasons]);
    stack.robin.wait_for_line(Output::Stderr, &["WARN peer taken down by hand", &stack.name(1)]);
    let table = stack.said(&["peers"]);
    assert!(line(&table, &stack.name(1)).contains("down by hand"), "{table}");
    assert!(stack.said(&["up", "back-end"]).contains(": up"));
    assert_eq!(get(stack.listen, "/").status(), 200);
    assert!(stack.said(&["up", "back-end"]).contains("as before"));
}

#[test]
fn who_does_not_exist_is_told_what_there_is() {
    let stack = stack(2);
    let error = stack.refused(&["drain", "front-end"]);
    let there = format!("there are: back-end ({}, {})", stack.name(0), stack.name(1));
    assert!(error.contains("is called `front-end`") && error.contains(&there), "{error}");
    let within = format!("back-end/{}", stack.name(0));
    assert!(stack.said(&["drain", &within]).starts_with(&within));
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_process() {
    let mut stack = stack(1);
    let mode = fs::metadata(&stack.socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    stack.robin.signal(Signal::SIGTERM);
    assert_eq!(stack.robin.wait_exit(PATIENCE).0.code(), Some(0));
    assert!(!stack.socket.exists());
    let error = stack.refused(&["peers"]);
    assert!(error.contains("no robin answers at"), "{error}");
}

#[test]
fn the_configuration_says_where_the_socket_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (folder.path().join("a/one.sock"), folder.path().join("a/two.sock"));
    let start = |socket: &str| {
        let listen = free_address();
        let yaml =
            format!("control: {socket}\nlisten: {listen}\nroutes: {{ /: \"127.0.0.1:1\" }}\n");
        Robin::start(listen, &yaml)
    };
    let peers = |robin: &Robin| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.arg("peers").arg("-c").arg(robin.config_file());
        command.output().expect("robin runs")
    };
    let robins = [&one, &two].map(|socket| start(&socket.display().to_string()));
    for robin in &robins {
        eventually("it answers", PATIENCE, || peers(robin).status.success());
    }
    assert!(one.exists() && two.exists());
    let without = start("off");
    let error = String::from_utf8_lossy(&peers(&without).stderr).into_owned();
    assert!(error.contains("`control: off`"), "{error}");
}

#[test]
fn a_second_robin_leaves_the_first_its_socket_and_serves_without() {
    let stack = stack(1);
    let listen = free_address();
    let arguments = ["--socket", stack.socket.to_str().expect("a UTF-8 path")];
    let other = Robin::spawn(&yaml(listen, &stack.origins, ""), &arguments, &[]).listening(listen);
    other.wait_for_line(Output::Stderr, &["WARN no control socket", "another process answers"]);
    assert_eq!(get(listen, "/").status(), 200);
    drop(other);
    assert!(stack.said(&["peers"]).contains("back-end: 1/1 peers up"));
}

#[test]
fn a_socket_that_a_killed_robin_has_left_is_replaced() {
    let mut stack = stack(1);
    stack.robin.signal(Signal::SIGKILL);
    stack.robin.wait_exit(PATIENCE);
    assert!(stack.socket.exists());
    let listen = free_address();
    let arguments = ["--socket", stack.socket.to_str().expect("a UTF-8 path")];
    let _next = Robin::spawn(&yaml(listen, &stack.origins, ""), &arguments, &[]).listening(listen);
    eventually("it answers", PATIENCE, || stack.run(&["peers"]).status.success());
}

#[test]
fn a_silent_caller_and_a_long_question_block_nobody() {
    let stack = stack(1);
    let silent: Vec<UnixStream> =
        (0..8).map(|_| UnixStream::connect(&stack.socket).expect("it is listened on")).collect();
    let mut long = UnixStream::connect(&stack.socket).expect("it is listened on");
    long.write_all(&[b'x'; 4096]).expect("sent");
    let mut answer = String::new();
    BufReader::new(&long).read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("{\"error\":\"not understood"), "{answer}");
    assert!(stack.said(&["peers"]).contains("back-end"));
    drop(silent);
}

#[test]
fn the_operators_word_survives_a_reload() {
    let stack = stack(2);
    stack.said(&["down", &stack.name(0)]);
    let listen = stack.listen;
    for (number, more) in ["", "    refresh: 5s\n"].into_iter().enumerate() {
        fs::write(stack.robin.config_file(), yaml(listen, &stack.origins, more)).expect("written");
        stack.robin.signal(Signal::SIGHUP);
        eventually("it is reloaded", PATIENCE, || {
            stack.robin.count_lines(Output::Stderr, &["INFO reloaded"]) > number
        });
        assert_eq!(answered_by(listen, "/", 3), vec![stack.name(1); 3]);
        let table = stack.said(&["peers"]);
        assert!(line(&table, &stack.name(0)).contains("down by hand"), "{table}");
    }
}

#[test]
fn a_drain_waits_for_requests_from_before_a_reload() {
    let stack = stack(2);
    let _held = stack.held_at(0);
    let listen = stack.listen;
    let text = yaml(listen, &stack.origins, "    refresh: 5s\n");
    fs::write(stack.robin.config_file(), text).expect("written");
    stack.robin.signal(Signal::SIGHUP);
    stack.robin.wait_for_line(Output::Stderr, &["INFO reloaded"]);
    let error = stack.refused(&["drain", &stack.name(0), "--timeout", "50ms"]);
    assert!(error.contains("1 request still in flight"), "{error}");
    stack.origins[0].release();
    assert!(stack.said(&["drain", &stack.name(0), "--timeout", "10s"]).ends_with("drained\n"));
}

#[test]
fn an_upstream_that_only_requests_name_is_shown_and_told_too() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (listen, folder) = (free_address(), tempfile::tempdir().expect("a temporary folder"));
    let socket = folder.path().join("control.sock");
    let conf = format!(
        "events {{}}\nhttp {{ server {{ listen {listen}; location / {{ set $to {}; \
         proxy_pass http://$to; }} }} }}\n",
        origin.address()
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, conf).expect("written");
    let robin = env!("CARGO_BIN_EXE_robin");
    let (file, path) = (file.display(), socket.display());
    let line_of_shell = format!("exec {robin} -c {file} --socket {path}");
    let robin = Robin::of_shell(&line_of_shell).listening(listen);
    robin.wait_for_line(Output::Stderr, &["started"]);
    assert_eq!(get(listen, "/").status(), 200);
    let stack = Stack { listen, origins: vec![origin], socket, robin, _folder: folder };
    assert!(line(&stack.said(&["peers"]), &stack.name(0)).contains("up"));
    stack.said(&["down", &stack.name(0)]);
    assert_eq!(get(listen, "/").status(), 502);
}
