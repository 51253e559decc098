//! The command line: what it checks, prints and answers with.

mod common;

use std::net::SocketAddr;
use std::process::{Command, Output as Finished};

use common::client::get;
use common::dns::{Answer, DnsServer};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually, holds_within};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Runs `robin ARGUMENTS` to its end.
fn run(arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
    command.args(arguments).env_remove("RUST_LOG").output().expect("robin runs")
}

fn stdout(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

fn stderr(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stderr).into_owned()
}

/// A file with this text; it is removed with the folder.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("robin.yaml");
    std::fs::write(&path, text).expect("the file can be written");
    let path = path.to_str().expect("a UTF-8 path").to_owned();
    (folder, path)
}

/// A configuration that leads everything to one address.
fn yaml(listen: SocketAddr, target: SocketAddr) -> String {
    format!("listen: {listen}\nroutes: {{ /: \"{target}\" }}\n")
}

#[test]
fn a_good_configuration_is_said_to_be_ok() {
    let (_folder, path) = file("listen: 80\nroutes: { /: front-end:9000 }\n");
    let finished = run(&["-t", "-c", &path]);
    assert_eq!(finished.status.code(), Some(0));
    assert!(stderr(&finished).contains(&format!("configuration file {path} is ok")));
}

#[test]
fn a_broken_configuration_is_shown_where_it_is_broken_and_nothing_is_started() {
    let (_folder, path) =
        file("listen: 80\nupstreams:\n  a: { servers: [b:1], refresh: soon }\nroutes: { /: a }\n");
    for arguments in [&["-t", "-c", &path][..], &["-c", &path], &["convert", &path]] {
        let finished = run(arguments);
        assert_eq!(finished.status.code(), Some(1), "{arguments:?}");
        let message = stderr(&finished);
        assert!(message.contains(&format!("--> {path}:3:33\n")), "{message}");
        assert!(message.contains("soon") && message.contains("^^^^"), "{message}");
        assert_eq!(stdout(&finished), "");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for arguments in [&["-t", "-c", "/no/such.yaml"][..], &["-c", "/no/such.yaml"]] {
        let finished = run(arguments);
        assert_eq!(finished.status.code(), Some(1));
        let message = stderr(&finished);
        assert!(message.contains("/no/such.yaml"), "{message}");
        assert!(message.contains("No such file"), "{message}");
    }
}

#[test]
fn what_convert_prints_means_the_same() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/reference.yaml");
    let once = run(&["convert", reference]);
    assert_eq!(once.status.code(), Some(0), "{}", stderr(&once));
    let (_folder, path) = file(&stdout(&once));
    let again = run(&["convert", &path]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&once));
}

#[test]
fn a_configuration_that_cannot_be_printed_has_exit_code_1() {
    let (_folder, path) = file("listen: 80\nroutes: { /: front-end:9000 }\n");
    let program = env!("CARGO_BIN_EXE_robin");
    let mut robin = Robin::of_shell(&format!("exec {program} convert {path} >/dev/full"));
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(1));
    let message = robin.text(Output::Stderr);
    assert!(message.starts_with("robin: cannot print the configuration: No space"), "{message}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let finished = run(&["--version"]);
    assert_eq!(finished.status.code(), Some(0));
    assert_eq!(stdout(&finished), format!("robin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_help_names_every_flag_and_subcommand() {
    let finished = run(&["--help"]);
    assert_eq!(finished.status.code(), Some(0));
    let help = stdout(&finished);
    for part in [
        "-c <FILE>",
        "-p <PREFIX>",
        "-e <FILE>",
        "--lenient",
        "--verbose",
        "-g <DIRECTIVES>",
        "-s <ORDER>",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    for part in ["-t", "-T", "-q", "-v", "-V", "convert", "health", "demo", "/etc/robin/robin.yaml"]
    {
        assert!(help.contains(part), "{part} in {help}");
    }
    let demo = stdout(&run(&["demo", "--help"]));
    assert!(demo.contains("--replicas <") && demo.contains("--port <"), "{demo}");
}

#[test]
fn a_wrong_command_line_has_exit_code_2() {
    for arguments in [&["--no-such-flag"][..], &["no-such-command"], &["demo", "--replicas", "0"]] {
        let finished = run(arguments);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&finished).contains("error:"), "{}", stderr(&finished));
    }
}

#[test]
fn health_tells_whether_the_process_of_this_configuration_listens() {
    let (listen, target) = (free_address(), free_address());
    let mut robin = Robin::start(listen, &yaml(listen, target));
    let path = robin.config_file();
    let path = path.to_str().expect("a UTF-8 path");
    // An address that nothing listens behind is no fault of robin's.
    assert_eq!(run(&["health", "-c", path]).status.code(), Some(0));
    let other = run(&["health", "-c", "/no/such.yaml"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).starts_with("robin: not healthy: "), "{}", stderr(&other));

    robin.signal(Signal::SIGTERM);
    robin.wait_exit(PATIENCE);
    assert_eq!(run(&["health", "-c", path]).status.code(), Some(1));
}

#[test]
fn two_processes_with_their_own_configurations_stand_side_by_side() {
    let target = Origin::start(free_address(), Behaviour::ok());
    let listens = [free_address(), free_address()];
    let robins = listens.map(|listen| Robin::start(listen, &yaml(listen, target.address())));
    for (listen, robin) in listens.iter().zip(&robins) {
        assert_eq!(get(*listen, "/").status(), 200);
        let path = robin.config_file();
        let path = path.to_str().expect("a UTF-8 path");
        assert_eq!(run(&["health", "-c", path]).status.code(), Some(0));
        assert!(!robin.stderr_has("robin health will not work"));
    }
}

#[test]
fn an_address_in_use_is_named_and_has_exit_code_1() {
    let taken = Origin::start(free_address(), Behaviour::ok());
    let listen = free_address();
    let _first = Robin::start(listen, &yaml(listen, taken.address()));
    for address in [taken.address(), listen] {
        let mut robin = Robin::spawn(&yaml(address, taken.address()), &[], &[]);
        let (status, _) = robin.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1));
        let expected = format!("robin: cannot listen on {address}: Address already in use");
        assert!(robin.stderr_has(&expected), "{}", robin.text(Output::Stderr));
    }
    assert_eq!(get(listen, "/").status(), 200);
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let listen = free_address();
    let text = format!("user: no-such-user\n{}", yaml(listen, free_address()));
    let mut robin = Robin::spawn(&text, &[], &[]);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(1));
    assert!(robin.stderr_has("no-such-user"), "{}", robin.text(Output::Stderr));
}

#[test]
fn a_signal_during_a_slow_start_ends_the_process() {
    let dns = DnsServer::start();
    dns.set("api.test", Answer::Silence);
    let listen = free_address();
    let text = format!(
        "listen: {listen}\nresolver: {}\nroutes: {{ /: \"api.test:80\" }}\n",
        dns.address()
    );
    let mut robin = Robin::start(listen, &text);
    assert!(holds_within(PATIENCE, || dns.queries("api.test") > 0), "no name is looked up");
    robin.signal(Signal::SIGTERM);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(0));
}

/// Robin under a limit of open files that `ulimit` sets, and its origin.
fn limited(ulimit: &str) -> (SocketAddr, Origin, TempDir, Robin) {
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
    let (folder, path) = file(&yaml(listen, origin.address()));
    let program = env!("CARGO_BIN_EXE_robin");
    let robin = Robin::of_shell(&format!("ulimit {ulimit}; exec {program} -c {path}"));
    let robin = robin.listening(listen);
    (listen, origin, folder, robin)
}

#[test]
fn with_too_few_files_it_waits_for_some_to_be_closed() {
    let (listen, _origin, _folder, mut robin) = limited("-n 64");
    let connect = |_| std::net::TcpStream::connect(listen).expect("the backlog has room");
    let clients: Vec<_> = (0..100).map(connect).collect();
    robin.wait_for_line(Output::Stderr, &["ERROR accept failed", "Too many open files"]);
    drop(clients);
    // Until the last of them is closed here as well there may be no file for the connection to the peer.
    eventually("requests are answered again", PATIENCE, || get(listen, "/").status() == 200);
    robin.wait_for_line(Output::Stderr, &["accept works again"]);
    robin.signal(Signal::SIGTERM);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(0));
}

#[test]
fn it_takes_as_many_files_as_it_may() {
    let (listen, _origin, _folder, robin) = limited("-Sn 64");
    let connect = |_| std::net::TcpStream::connect(listen).expect("the backlog has room");
    let _clients: Vec<_> = (0..100).map(connect).collect();
    assert_eq!(get(listen, "/").status(), 200);
    assert!(!robin.stderr_has("accept failed"));
}
