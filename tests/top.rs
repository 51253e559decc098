//! What `robin top` makes of a log, and of a running robin: one frame as text, and live in a terminal.
//!
//! `tests/golden/top/NAME.log` must give `NAME.80.txt` and `NAME.130.txt`; `UPDATE_GOLDEN=1` writes what it gives
//! now. The terminal is tmux's; without tmux those tests say that they are skipped.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::client::get;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::Robin;
use common::tmux::Tmux;
use common::{PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const ROBIN: &str = env!("CARGO_BIN_EXE_robin");

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/top").join(name)
}

fn top(arguments: &[&str]) -> Command {
    let mut command = Command::new(ROBIN);
    command.args(["top", "--once"]).args(arguments).env("TZ", "UTC").env_remove("COLUMNS");
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The frame of a log that is read from a pipe.
fn piped(log: &str) -> String {
    text(&behind_pipe(&["--width", "80", "-"], log))
}

fn behind_pipe(arguments: &[&str], log: &str) -> Output {
    let mut command = top(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("robin starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(log.as_bytes()).expect("it is read to its end");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn recorded() -> String {
    fs::read_to_string(golden("demo.log")).expect("the recorded log")
}

#[test]
fn a_recorded_log_gives_its_frame() {
    for name in ["demo", "machine"] {
        for width in ["80", "130"] {
            let log = golden(&format!("{name}.log"));
            let log = log.to_str().expect("a path in UTF-8");
            let frame = text(&top(&["--width", width, log]).output().expect("it runs"));
            let file = golden(&format!("{name}.{width}.txt"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&file, &frame).expect("it can be written");
            }
            let expected = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(frame, expected, "{}", file.display());
            let width: usize = width.parse().expect("a number");
            assert!(frame.lines().all(|line| line.chars().count() <= width), "{frame}");
        }
    }
}

#[test]
fn a_log_on_standard_input_is_read_with_what_compose_puts_before_its_lines() {
    let plain = piped(&recorded());
    assert!(plain.contains("back-end  "), "{plain}");
    assert_eq!(plain, fs::read_to_string(golden("demo.80.txt")).expect("the frame"));
    for before in [
        "proxy-1  | ",
        "stack_proxy_1      | ",
        "proxy-1  | 2026-11-21T06:40:11.123456789Z ",
        "\u{1b}[36mproxy-1  | \u{1b}[0m",
    ] {
        let line =
            |line| format!("{before}{line}\nback-end-1  |  * Running on http://0.0.0.0:5252\n");
        // Docker's own stamps would make it later than it is.
        let prefixed: String = recorded().lines().map(line).collect();
        if before.ends_with("Z ") {
            assert!(piped(&prefixed).contains("back-end  "));
        } else {
            assert_eq!(piped(&prefixed), plain, "{before}");
        }
    }
}

#[test]
fn what_is_no_log_of_robins_gives_an_empty_frame() {
    let garbage = "\u{0}\u{1b}[2J no such thing\n{\"a\":1}\n    + x\n".repeat(100);
    assert_eq!(piped(&garbage), "robin top  --:--:--  no upstreams yet\n");
    assert_eq!(piped(""), "robin top  --:--:--  no upstreams yet\n");
}

#[test]
fn standard_input_is_read_without_being_named_unless_it_is_empty() {
    let frame = |log| text(&behind_pipe(&["--width", "80"], log));
    assert_eq!(frame(&recorded()), piped(&recorded()));
    // Then the running robin is asked, whichever that is.
    let asked = behind_pipe(&["--width", "80"], "");
    assert!(!String::from_utf8_lossy(&asked.stdout).contains("no upstreams yet"));
}

#[test]
fn a_width_may_be_said_in_the_environment() {
    let log = golden("demo.log");
    let mut command = top(&[log.to_str().expect("a path")]);
    let frame = text(&command.env("COLUMNS", "130").output().expect("it runs"));
    assert_eq!(frame, fs::read_to_string(golden("demo.130.txt")).expect("the frame"));
}

#[test]
fn what_cannot_be_shown_is_told() {
    for (arguments, told) in [
        (&["/no/such/file"][..], "/no/such/file: No such file"),
        (&["--socket", "/no/such/socket"], "no robin answers at /no/such/socket"),
        (&["--socket", "/x", "file"], "cannot be used with"),
    ] {
        let output = top(arguments).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{error}");
    }
    let mut command = Command::new(ROBIN);
    let output = command.args(["top", "/dev/null"]).stdin(Stdio::null()).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("--once"), "{error}");
}

/// Robin before two origins; in its folder a control socket, and all that it prints in `robin.log`.
struct Stack {
    origins: Vec<Origin>,
    folder: TempDir,
    robin: Robin,
}

impl Stack {
    fn start(more: &str) -> Self {
        let (listen, addresses) = (free_address(), replicas(2));
        let origins: Vec<Origin> =
            addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("a path in UTF-8");
        let yaml = format!(
            "listen: {listen}\ncontrol: {path}/control.sock\n{more}\nupstreams:\n  back-end:\n    \
             servers:\n      - {{ address: \"{}\", fail_timeout: 60s }}\n      - \"{}\"\n\
             routes: {{ /: back-end }}\n",
            addresses[0], addresses[1],
        );
        fs::write(folder.path().join("robin.yaml"), yaml).expect("written");
        let line = format!("cd {path} && exec {ROBIN} -c robin.yaml > robin.log 2>&1");
        let robin = Robin::of_shell(&line).listening(listen);
        Self { origins, folder, robin }
    }

    fn ask(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(get(self.robin.address(), "/").status(), 200);
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// The frame that robin itself gives, and the one of its log.
    fn frames(&self) -> [String; 2] {
        let of = |arguments: &[&str]| text(&top(arguments).output().expect("it runs"));
        [of(&["--socket", &self.path("control.sock")]), of(&[&self.path("robin.log")])]
    }
}

#[test]
fn a_running_robin_and_its_log_show_the_same() {
    for format in ["event_format: text", "event_format: json"] {
        let mut stack = Stack::start(format);
        let first = stack.origins[0].address();
        stack.ask(10);
        // What is in flight counts for its peer's share: an answer may be there before its end is noted.
        eventually("all are counted", PATIENCE, || {
            let whole = |frame: &String| frame.contains("10 2xx") && frame.contains("50.0%");
            stack.frames().iter().all(whole)
        });
        for shown in stack.frames() {
            assert!(shown.contains("back-end  2/2 up"), "{shown}");
            assert!(shown.contains(&format!("+ {first}")), "{shown}");
            assert!(shown.contains("INFO  started version="), "{shown}");
        }
        stack.origins[0].set(Behaviour::Refuse);
        stack.ask(2);
        let told = |frame: &String| {
            frame.contains("back-end  1/2 up")
                && frame.contains(&format!("! {first}"))
                && frame.contains("ejected for connect")
                && frame.contains("WARN  peer ejected upstream=back-end")
                && frame.contains("1 retry  1 ejection")
        };
        eventually(format, PATIENCE, || stack.frames().iter().all(told));
    }
}

/// A line of shell that runs `robin top` and then tells how it ended, and how it leaves the terminal.
fn watched(top: &str) -> String {
    format!(
        "stty -g > before; {top}; echo code=$? > code; stty -g > after; echo finished; sleep 600"
    )
}

/// Waits for the end; the terminal is as it was, and shows nothing of the frame.
#[track_caller]
fn assert_left(tmux: &Tmux, folder: &Path, code: &str) {
    tmux.wait_for("a clean screen", |shown| shown.trim() == "finished");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it was written");
    assert_eq!(read("code").trim(), code);
    assert_eq!(read("before"), read("after"), "the terminal's modes");
}

#[test]
fn the_screen_follows_a_change_survives_resizing_and_leaves_nothing_behind() {
    let mut stack = Stack::start("");
    let first = stack.origins[0].address();
    let line = watched(&format!("{ROBIN} top {}", stack.path("robin.log")));
    let Some(tmux) = Tmux::start(&line, stack.folder.path(), 80, 24) else { return };
    stack.ask(4);
    let up = format!("+ {first}");
    tmux.wait_for("both are up", |shown| {
        shown.contains("2/2 peers up") && shown.contains(&up) && shown.contains("4 2xx")
    });
    stack.origins[0].set(Behaviour::Refuse);
    stack.ask(2);
    let out = format!("! {first}");
    let has_change = |shown: &str| shown.contains("1/2 peers up") && shown.contains(&out);
    let shown = tmux.wait_for("one is out", has_change);
    assert!(shown.contains("WARN  peer ejected"), "{shown}");

    tmux.resize(40, 10);
    let small = |shown: &str| {
        shown.contains(&out) && shown.contains("q quit  ? help") && !shown.contains("arrows")
    };
    let shown = tmux.wait_for("it fits", small);
    assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
    tmux.resize(200, 50);
    tmux.wait_for("it is wide", |shown| {
        shown.contains("requests") && shown.contains("ejected for connect, ")
    });

    tmux.press("?");
    tmux.wait_for("the keys", |shown| shown.contains("Ctrl-C") && !shown.contains(&out));
    tmux.press("?");
    tmux.press("p");
    tmux.wait_for("it stands still", |shown| shown.contains("paused") && shown.contains(&out));
    stack.origins[0].set(Behaviour::ok());
    stack.origins[1].set(Behaviour::Refuse);
    let second = format!("! {}", stack.origins[1].address());
    eventually("the log tells", PATIENCE, || {
        get(stack.robin.address(), "/");
        let log = fs::read_to_string(stack.path("robin.log")).unwrap_or_default();
        log.contains(&format!("peer ejected upstream=back-end peer={}", stack.origins[1].address()))
    });
    assert!(!tmux.shown().contains(&second), "it stands still");
    tmux.press("p");
    tmux.wait_for("it goes on", |shown| shown.contains(&second) && !shown.contains("paused"));
    tmux.press("q");
    assert_left(&tmux, stack.folder.path(), "code=0");
}

#[test]
fn keys_are_read_from_the_terminal_where_the_log_is_on_standard_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = watched(&format!("cat {} | {ROBIN} top", golden("demo.log").display()));
    let Some(tmux) = Tmux::start(&line, folder.path(), 80, 24) else { return };
    tmux.wait_for("the end is told", |shown| {
        shown.contains("input has ended  q quit") && shown.contains("back-end  ")
    });
    tmux.press("Escape");
    assert_left(&tmux, folder.path(), "code=0");
}

#[test]
fn the_socket_is_asked_again_and_again_and_that_it_is_silent_is_told() {
    let stack = Stack::start("");
    let line = watched(&format!("{ROBIN} top -c {}", stack.path("robin.yaml")));
    let Some(tmux) = Tmux::start(&line, stack.folder.path(), 80, 24) else { return };
    tmux.wait_for("all are up", |shown| shown.contains("2/2 peers up"));
    stack.ask(6);
    tmux.wait_for("requests are counted", |shown| shown.contains("6 2xx"));
    stack.robin.signal(Signal::SIGTERM);
    tmux.wait_for("nobody answers", |shown| shown.contains("no robin answers"));
    tmux.press("C-c");
    assert_left(&tmux, stack.folder.path(), "code=0");
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = golden("demo.log");
    let line = watched(&format!("sh -c 'echo $$ > pid; exec {ROBIN} top {}'", log.display()));
    let Some(tmux) = Tmux::start(&line, folder.path(), 80, 24) else { return };
    tmux.wait_for("it is shown", |shown| shown.contains("back-end  "));
    let id = fs::read_to_string(folder.path().join("pid")).expect("it was written");
    let id = Pid::from_raw(id.trim().parse().expect("a process's id"));
    kill(id, Signal::SIGTERM).expect("it is there");
    assert_left(&tmux, folder.path(), "code=143");
}
