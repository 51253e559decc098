//! Sockets of the file system, to clients and to peers.

mod common;

use std::path::Path;

use common::PATIENCE;
use common::client::{Request, exchange};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use nix::sys::signal::Signal;

/// A proxy that listens at a path, and one in front of it that hands all requests to that path.
fn chain(path: &Path, origin: &Origin) -> (Robin, Robin) {
    let yaml = format!(
        "threads: 2\nlisten: [\"unix:{}\"]\nroutes: {{ /: {} }}",
        path.display(),
        origin.address()
    );
    let back = Robin::spawn(&yaml, &[], &[]);
    common::eventually("it listens", PATIENCE, || path.exists());
    let to = format!("unix:{}:/at/", path.display());
    (back, Robin::with(&format!("routes: {{ /: \"{to}\" }}")))
}

#[test]
fn requests_go_through_a_path_and_its_client_has_no_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("robin.sock");
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (mut back, front) = chain(&path, &origin);
    for _ in 0..4 {
        let answer = exchange(front.address(), &Request::get("/x")).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let forwarded = origin.requests().pop().expect("a request");
    assert_eq!(forwarded.target(), "/at/x");
    assert_eq!(forwarded.header("x-real-ip"), Some("unix:"));
    back.wait_for_line(Output::Stdout, &["unix: - - ", "GET /at/x"]);
    let line = front.wait_for_line(Output::Stdout, &["GET /x"]);
    assert!(line.contains(&format!("attempts=\"unix:{} 200", path.display())), "{line}");

    back.signal(Signal::SIGTERM);
    let (status, _) = back.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
    assert!(!path.exists(), "the file goes with the process");
    let answer = exchange(front.address(), &Request::get("/x")).expect("an answer");
    assert_eq!(answer.status(), 502);
}

#[test]
fn a_path_that_somebody_answers_at_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("robin.sock");
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (_back, front) = chain(&path, &origin);
    let yaml = format!("listen: [\"unix:{}\"]\nroutes: {{ /: a:1 }}", path.display());
    let mut second = Robin::spawn(&yaml, &[], &[]);
    let (status, _) = second.wait_exit(PATIENCE);
    assert!(!status.success());
    second.wait_for_line(Output::Stderr, &["cannot listen on unix:", "in use"]);
    let answer = exchange(front.address(), &Request::get("/")).expect("an answer");
    assert_eq!(answer.status(), 200, "the first one still listens");
}
