//! The binary under test: started with a configuration, watched, signalled, ended.
//!
//! What it prints is kept line by line, and shown when the test that owns it fails.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::Instant;

use super::net::free_address;
use super::{PATIENCE, holds_within, lock};

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output: the access log.
    Stdout,
    /// Standard error: events and the dashboard.
    Stderr,
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<(Output, String)>>,
    came: Condvar,
}

/// The process; it is killed when dropped.
pub struct Robin {
    child: Child,
    stdin: Option<ChildStdin>,
    printed: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    folder: TempDir,
    address: Option<SocketAddr>,
}

impl Robin {
    /// Starts with one worker on an address of its own, which `yaml` need not name, and waits
    /// until it accepts.
    ///
    /// # Panics
    /// As [`Robin::start`].
    #[track_caller]
    pub fn with(yaml: &str) -> Self {
        let address = free_address();
        Self::start(address, &format!("listen: {address}\nthreads: 1\n{yaml}\n"))
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When nobody waited until it did.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("started with an address")
    }

    /// Starts `robin -c FILE` with `yaml` in the file, and waits until `address` accepts.
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    #[track_caller]
    pub fn start(address: SocketAddr, yaml: &str) -> Self {
        Self::spawn(yaml, &[], &[]).listening(address)
    }

    /// Waits until `address` accepts.
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    #[track_caller]
    pub fn listening(mut self, address: SocketAddr) -> Self {
        let mut ended = None;
        let listens = holds_within(PATIENCE, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || TcpStream::connect(address).is_ok()
        });
        if let Some(status) = ended {
            panic!("robin ended with {status} before it listened on {address}");
        }
        assert!(listens, "robin does not listen on {address}");
        self.address = Some(address);
        self
    }

    /// Starts `robin -c FILE ARGUMENTS` with `yaml` in the file and these variables in the
    /// environment, and waits for nothing.
    #[track_caller]
    pub fn spawn(yaml: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("robin.yaml");
        std::fs::write(&file, yaml).expect("the configuration can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.arg("-c").arg(&file).args(arguments.iter().map(OsStr::new));
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        Self::launch(command, folder)
    }

    /// Starts `robin ARGUMENTS` in an empty folder, with its standard input open, and waits for
    /// nothing.
    #[track_caller]
    pub fn run(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.args(arguments.iter().map(OsStr::new)).stdin(Stdio::piped());
        Self::launch(command, tempfile::tempdir().expect("a temporary folder"))
    }

    /// Starts with a file in nginx's syntax, which listens on `address`, and waits until it accepts.
    ///
    /// # Panics
    /// As [`Robin::start`].
    #[track_caller]
    pub fn nginx(address: SocketAddr, conf: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, conf).expect("the configuration can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.arg("-c").arg(&file).stdin(Stdio::null());
        Self::launch(command, folder).listening(address)
    }

    /// Starts what a line of shell ends in, in an empty folder, and waits for nothing.
    #[track_caller]
    pub fn of_shell(line: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdin(Stdio::null());
        Self::launch(command, tempfile::tempdir().expect("a temporary folder"))
    }

    #[track_caller]
    fn launch(mut command: Command, folder: TempDir) -> Self {
        command.env_remove("RUST_LOG").current_dir(folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("robin starts");

        let printed = Arc::new(Lines::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let stdin = child.stdin.take();
        let readers = vec![
            collect(stdout, Output::Stdout, &printed),
            collect(stderr, Output::Stderr, &printed),
        ];
        Self { child, stdin, printed, readers, folder, address: None }
    }

    /// Enters a line on its standard input.
    ///
    /// # Panics
    /// When the process has none or has ended.
    #[track_caller]
    pub fn enter(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("robin reads");
    }

    /// The configuration file, to be rewritten before a reload.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("robin.yaml")
    }

    /// A folder that is removed with the process.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What was printed so far, line by line.
    pub fn printed(&self, output: Output) -> Vec<String> {
        let lines = lock(&self.printed.lines);
        lines.iter().filter(|(o, _)| *o == output).map(|(_, line)| line.clone()).collect()
    }

    /// Whether a line with `text` was printed to standard output so far.
    pub fn stdout_has(&self, text: &str) -> bool {
        self.printed(Output::Stdout).iter().any(|line| line.contains(text))
    }

    /// Whether a line with `text` was printed to standard error so far.
    pub fn stderr_has(&self, text: &str) -> bool {
        self.printed(Output::Stderr).iter().any(|line| line.contains(text))
    }

    /// How many lines with every one of `texts` were printed so far.
    pub fn count_lines(&self, output: Output, texts: &[&str]) -> usize {
        let lines = self.printed(output);
        lines.iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    /// Everything printed so far to one side.
    pub fn text(&self, output: Output) -> String {
        self.printed(output).join("\n")
    }

    /// The first line that holds every one of `texts`, printed already or in time.
    ///
    /// # Panics
    /// When there is none by then.
    #[track_caller]
    pub fn wait_for_line(&self, output: Output, texts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lock(&self.printed.lines);
        loop {
            let wanted = |line: &str| texts.iter().all(|text| line.contains(text));
            if let Some((_, line)) = lines.iter().find(|(o, l)| *o == output && wanted(l)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {texts:?} on {output:?}");
            let woken = self.printed.came.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// The lines of the access log, once there are `count` of them or time is up.
    ///
    /// # Panics
    /// When there are fewer by then, or more.
    #[track_caller]
    pub fn access_lines(&self, count: usize) -> Vec<String> {
        holds_within(PATIENCE, || self.printed(Output::Stdout).len() >= count);
        let lines = self.printed(Output::Stdout);
        assert_eq!(lines.len(), count, "lines of the access log: {lines:#?}");
        lines
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process has been waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id is an i32");
        kill(Pid::from_raw(id), signal).expect("the process is there");
    }

    /// Waits for the end and returns it with the time it took; what was printed is complete then.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        let mut status = None;
        holds_within(limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        let took = begin.elapsed();
        let status = status.unwrap_or_else(|| panic!("robin does not end within {limit:?}"));
        self.join_readers();
        (status, took)
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Robin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_readers();
        if std::thread::panicking() {
            eprintln!("--- robin printed:");
            for (output, line) in lock(&self.printed.lines).iter() {
                eprintln!("{output:?}: {line}");
            }
            eprintln!("---");
        }
    }
}

fn collect(
    pipe: impl Read + Send + 'static,
    output: Output,
    printed: &Arc<Lines>,
) -> JoinHandle<()> {
    let printed = Arc::clone(printed);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // Bytes, not text: one that is not UTF-8 must not end the log.
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            lock(&printed.lines).push((output, text));
            printed.came.notify_all();
            line.clear();
        }
    })
}
