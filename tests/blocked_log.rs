//! What happens to requests, and to their lines, while nobody reads a log?

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::client::{Client, Request};
use common::net::free_address;
use common::{PATIENCE, eventually, lock};
use serde_json::Value;
use tempfile::TempDir;

/// More requests than any queue holds.
const MOST: usize = 12_000;

/// A robin whose output nobody reads until somebody does.
struct Unread {
    child: Child,
    address: SocketAddr,
    control: PathBuf,
    _folder: TempDir,
}

impl Unread {
    fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, control) = (folder.path().join("robin.yaml"), folder.path().join("control"));
        let address = free_address();
        let yaml = format!(
            "listen: {address}\nthreads: 1\ncontrol: {}\ndashboard: off\n{yaml}\n",
            control.display()
        );
        std::fs::write(&file, yaml).expect("the configuration can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.arg("-c").arg(&file).env_remove("RUST_LOG").stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let robin = Self { child: child.expect("robin starts"), address, control, _folder: folder };
        eventually("robin listens", PATIENCE, || {
            TcpStream::connect(address).is_ok() && robin.control.exists()
        });
        robin
    }

    fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is piped")
    }

    fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("it is piped")
    }

    /// What the status says under this key.
    #[track_caller]
    fn lost(&self, key: &str) -> usize {
        let mut stream = UnixStream::connect(&self.control).expect("the control socket is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(b"{\"do\":\"status\"}\n").expect("robin reads");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("robin answers");
        let status: Value = serde_json::from_str(&line).expect("JSON");
        let lost = find(&status, key).unwrap_or_else(|| panic!("{key}: {line}"));
        usize::try_from(lost).expect("a count")
    }

    /// Asks until lines are lost, and for some more; returns how many requests that were. Every one gets
    /// an answer of this status.
    #[track_caller]
    fn ask_until_lines_are_lost(
        &self,
        target: impl Fn(usize) -> String,
        status: u16,
        key: &str,
    ) -> usize {
        let mut client = Client::connect(self.address).expect("it listens");
        let mut lost_at = None;
        for n in 0..MOST {
            if n % 500 == 499 {
                // As in nginx, a connection has a thousand requests at most.
                client = Client::connect(self.address).expect("it listens");
            }
            let answer = client.exchange(&Request::get(&target(n))).expect("an answer");
            assert_eq!(answer.status(), status, "request {n}");
            if n % 100 == 99 && lost_at.is_none() && self.lost(key) > 0 {
                lost_at = Some(n);
            }
            if lost_at.is_some_and(|at| n >= at + 500) {
                return n + 1;
            }
        }
        panic!("no line is lost after {MOST} requests");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number by its key, wherever in the answer it stands.
fn find(json: &Value, key: &str) -> Option<u64> {
    match json {
        Value::Object(map) => map
            .get(key)
            .and_then(Value::as_u64)
            .or_else(|| map.values().find_map(|value| find(value, key))),
        _ => None,
    }
}

/// Reads lines from now on, as long as there are any.
fn read(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            lock(&read).push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

/// The sum of what lines with this phrase report.
fn reported(lines: &Mutex<Vec<String>>, phrase: &str) -> usize {
    let lines = lock(lines);
    let counts =
        lines.iter().filter_map(|line| line.split_once(phrase)?.1.trim().parse::<usize>().ok());
    counts.sum()
}

/// A path of some 3,900 bytes that names its request.
fn long(n: usize) -> String {
    format!("/{n}/{}", "abcdefg/".repeat(486))
}

#[test]
fn a_full_pipe_on_stdout_costs_lines_and_no_request_and_all_are_accounted_for() {
    let mut robin =
        Unread::start("access_log: stdout json\nroutes: { /: { rules: return 200 ok } }");
    let events = read(robin.stderr());
    let asked = robin.ask_until_lines_are_lost(long, 200, "access_lines_lost");
    assert!(robin.lost("access_lines_lost") > 0);

    let written = read(robin.stdout());
    eventually("every request is written or reported", PATIENCE, || {
        lock(&written).len() + reported(&events, "access log dropped lines=") == asked
    });
    let lost = robin.lost("access_lines_lost");
    assert_eq!(lock(&written).len() + lost, asked);

    // What was written is whole, and in order.
    let mut next = 0;
    for line in lock(&written).iter() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let target = line["target"].as_str().expect("a target");
        let n: usize =
            target[1..].split('/').next().and_then(|n| n.parse().ok()).expect("a number");
        assert_eq!(target, long(n));
        assert!(n >= next, "{n} after {next}");
        next = n + 1;
    }

    // And the log goes on.
    let before = lock(&written).len();
    let mut client = Client::connect(robin.address).expect("it listens");
    client.exchange(&Request::get("/again")).expect("an answer");
    eventually("the next line is written", PATIENCE, || lock(&written).len() == before + 1);
    assert_eq!(robin.lost("access_lines_lost"), lost);
}

#[test]
fn a_full_pipe_on_stderr_costs_event_lines_and_no_request() {
    let mut robin = Unread::start("access_log: off\nroutes: { /: { root: /no/such/folder } }");
    let asked = robin.ask_until_lines_are_lost(long, 404, "event_lines_lost");

    let events = read(robin.stderr());
    let written = |events: &Mutex<Vec<String>>| {
        lock(events).iter().filter(|line| line.contains("ERROR no file served ")).count()
    };
    eventually("every event is written or reported", PATIENCE, || {
        written(&events) + reported(&events, "event log dropped lines=") == asked
    });
    assert_eq!(written(&events) + robin.lost("event_lines_lost"), asked);
    let whole = |line: &String| {
        !line.contains("no file served") || line.ends_with("(2: No such file or directory)\"")
    };
    assert!(lock(&events).iter().all(whole));
}

#[test]
fn requests_go_on_while_both_are_blocked_and_the_status_says_what_is_lost() {
    let robin = Unread::start("access_log: stdout json\nroutes: { /: { root: /no/such/folder } }");
    robin.ask_until_lines_are_lost(long, 404, "event_lines_lost");
    assert!(robin.lost("access_lines_lost") > 0);
}
