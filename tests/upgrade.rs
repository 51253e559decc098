//! Another process in the place of a running one: the sockets, the pid file and the operator go over, and where it
//! cannot serve, the old one does.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::client::{Client, Request, get};
use common::net::free_address;
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Many requests are sent.
const QUIET: &str = "access_log: off";

/// Robin with a pid file and a control socket, and whoever takes its place.
struct Stack {
    listen: SocketAddr,
    origin: Origin,
    robin: Robin,
    /// Of the pid file and the sockets.
    folder: TempDir,
}

impl Stack {
    /// With a configuration that says this besides.
    fn with(threads: usize, more: &str) -> Self {
        let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let yaml = yaml(folder.path(), listen, origin.address(), threads, more);
        let robin = Robin::start(listen, &yaml);
        robin.wait_for_line(Output::Stderr, &["INFO started"]);
        Self { listen, origin, robin, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The id in a pid file; none while there is none.
    fn id(&self, name: &str) -> Option<i32> {
        fs::read_to_string(self.file(name)).ok()?.trim().parse().ok()
    }

    /// Has robin read this from now on.
    fn write(&self, threads: usize, more: &str) {
        let folder = self.folder.path();
        let yaml = yaml(folder, self.listen, self.origin.address(), threads, more);
        fs::write(self.robin.config_file(), yaml).expect("written");
    }

    /// What `robin ORDER` answers: its exit code, and what it prints to each side.
    fn ask(&self, order: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robin"));
        command.arg(order).arg("--socket").arg(self.file("control.sock"));
        let finished = command.env_remove("RUST_LOG").output().expect("robin runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (finished.status.code(), text(&finished.stdout), text(&finished.stderr))
    }

    fn own_id(&self) -> i32 {
        i32::try_from(self.robin.id()).expect("a process id")
    }

    /// Waits until another process has written its id, and returns it.
    fn heir(&self) -> i32 {
        eventually("another process serves", PATIENCE, || {
            self.robin.stderr_has("INFO another process serves")
        });
        let id = self.id("robin.pid").expect("the other one's pid file");
        assert_ne!(id, self.own_id());
        id
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Whoever is left holds our pipes.
        for id in [self.id("robin.pid"), self.id("robin.pid.oldbin")].into_iter().flatten() {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

fn yaml(
    folder: &Path,
    listen: SocketAddr,
    origin: SocketAddr,
    threads: usize,
    more: &str,
) -> String {
    let folder = folder.display();
    format!(
        "pid: {folder}/robin.pid\ncontrol: {folder}/control.sock\n\
         listen: [{listen}, \"unix:{folder}/clients.sock\"]\n\
         threads: {threads}\n{QUIET}\n{more}\nroutes: {{ /: \"{origin}\" }}\n"
    )
}

fn is_alive(id: i32) -> bool {
    kill(Pid::from_raw(id), None).is_ok()
}

#[test]
fn robin_upgrade_leaves_the_place_to_another_process_and_no_client_notices() {
    let mut stack = Stack::with(2, "");
    let slow = Reply::new("slow").after(std::time::Duration::from_secs(3));
    stack.origin.set_path("/slow", Behaviour::Answer(slow));
    let listen = stack.listen;
    let mut under_way = Client::connect(listen).expect("it listens");
    under_way.send(Request::get("/slow").bytes()).expect("sent");
    eventually("the request is under way", PATIENCE, || stack.origin.count() > 0);
    let stop = AtomicBool::new(false);
    let (asked, failed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || {
                    let request = Request::get("/");
                    let request =
                        if n < 2 { request } else { request.header("Connection", "close") };
                    let (mut kept, mut failed) = (None, 0);
                    while !stop.load(Relaxed) {
                        let mut client = match kept.take() {
                            Some(client) => client,
                            None => Client::connect(listen).expect("somebody listens"),
                        };
                        match client.exchange(&request) {
                            Ok(answer) if answer.status() == 200 => {
                                kept = (!answer.has_token("connection", "close")).then_some(client);
                            }
                            _ => failed += 1,
                        }
                    }
                    failed
                })
            })
            .collect();
        // With fewer, then with more threads than there are sockets.
        stack.write(1, "");
        let first = stack.ask("upgrade");
        stack.write(3, "");
        let mut second = (None, String::new(), String::new());
        eventually("the first one has ended and the second ends", PATIENCE, || {
            second = stack.ask("upgrade");
            second.0 == Some(0) || !second.2.contains("there are two processes")
        });
        stop.store(true, Relaxed);
        let failed: u32 = clients.into_iter().map(|client| client.join().expect("no panic")).sum();
        ([first, second], failed)
    });
    assert_eq!(failed, 0, "requests have failed");
    for (code, told, error) in &asked {
        assert_eq!(*code, Some(0), "{error}");
        assert!(told.starts_with("upgraded; process "), "{told}");
    }
    let answer = under_way.response().expect("a whole answer");
    assert_eq!(answer.body, b"slow");
    assert!(answer.has_token("connection", "close"), "{}", answer.head);
    // Whoever has taken its place holds our pipes, so that not the exit of the process is waited for but its zombie.
    let own = stack.own_id();
    eventually("the first one ends", PATIENCE, || {
        fs::read_to_string(format!("/proc/{own}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    eventually("so does the second", PATIENCE, || !stack.file("robin.pid.oldbin").exists());
    let heir = stack.id("robin.pid").expect("a pid file");
    assert!(heir != own && is_alive(heir));
    assert_eq!(get(listen, "/").status(), 200);
    assert!(std::os::unix::net::UnixStream::connect(stack.file("clients.sock")).is_ok());
    assert_eq!(stack.ask("peers").0, Some(0), "the operator is heard");
    kill(Pid::from_raw(heir), Signal::SIGTERM).expect("it is there");
    eventually("nobody listens", PATIENCE, || Client::connect(listen).is_err());
    eventually("its files are gone", PATIENCE, || {
        ["robin.pid", "control.sock", "clients.sock"].iter().all(|name| !stack.file(name).exists())
    });
    stack.robin.wait_exit(PATIENCE);
}

#[test]
fn where_the_other_process_cannot_start_the_old_one_serves_on_and_says_why() {
    let stack = Stack::with(1, "");
    stack.write(1, "shutdown_timeout: soon");
    let (code, told, error) = stack.ask("upgrade");
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(error.contains("robin.yaml:6:19\n") && error.contains("soon"), "{error}");
    stack.robin.wait_for_line(Output::Stderr, &["ERROR upgrade failed, serving on as before"]);
    assert_eq!(stack.id("robin.pid"), Some(stack.own_id()));
    assert_eq!(get(stack.listen, "/").status(), 200);

    // One that cannot have an address of its own.
    let taken = stack.origin.address();
    let yaml = yaml(stack.folder.path(), stack.listen, taken, 1, "");
    let yaml = yaml.replace("\"unix:", &format!("{taken}, \"unix:"));
    fs::write(stack.robin.config_file(), yaml).expect("written");
    let (code, _, error) = stack.ask("upgrade");
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("cannot listen on {taken}")), "{error}");
    assert_eq!(stack.id("robin.pid"), Some(stack.own_id()));
    assert!(stack.file("clients.sock").exists());
    stack.write(1, "");
    assert_eq!(stack.ask("reload").1, "reloaded; nothing\n");
}

#[test]
fn a_binary_that_crashes_or_is_gone_changes_nothing() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (binary, config) = (folder.path().join("robin"), folder.path().join("robin.yaml"));
    symlink(env!("CARGO_BIN_EXE_robin"), &binary).expect("linked");
    fs::write(&config, yaml(folder.path(), listen, origin.address(), 1, "")).expect("written");
    let line = format!("exec {} -c {}", binary.display(), config.display());
    let robin = Robin::of_shell(&line).listening(listen);
    robin.wait_for_line(Output::Stderr, &["INFO started"]);
    let stack = Stack { listen, origin, robin, folder };

    fs::remove_file(&binary).expect("removed");
    let (code, _, error) = stack.ask("upgrade");
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot start the binary again: No such file"), "{error}");
    fs::write(&binary, "#!/bin/sh\nexit 7\n").expect("written");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("changed");
    let (code, _, error) = stack.ask("upgrade");
    assert_eq!(code, Some(1));
    assert!(error.contains("it has ended: exit status: 7"), "{error}");
    assert_eq!(get(listen, "/").status(), 200);
    assert_eq!(stack.id("robin.pid"), Some(stack.own_id()));

    // The next version, which is in order.
    fs::remove_file(&binary).expect("removed");
    symlink(env!("CARGO_BIN_EXE_robin"), &binary).expect("linked");
    assert_eq!(stack.ask("upgrade").0, Some(0));
    assert_eq!(get(listen, "/").status(), 200);
}

#[test]
fn after_usr2_both_serve_until_one_is_ended() {
    let stack = Stack::with(1, "");
    let own = stack.own_id();
    stack.robin.signal(Signal::SIGUSR2);
    let heir = stack.heir();
    assert_eq!(stack.id("robin.pid.oldbin"), Some(own));
    assert!(stack.ask("upgrade").2.contains("there are two processes already"));

    // Back: the old one takes all that it has given.
    kill(Pid::from_raw(heir), Signal::SIGQUIT).expect("it is there");
    stack.robin.wait_for_line(Output::Stderr, &["upgrade failed, serving on as before"]);
    assert_eq!(stack.id("robin.pid"), Some(own));
    assert!(!stack.file("robin.pid.oldbin").exists());
    assert_eq!(get(stack.listen, "/").status(), 200);
    assert_eq!(stack.ask("reload").1, "reloaded; nothing\n");
    let local = std::os::unix::net::UnixStream::connect(stack.file("clients.sock"));
    assert!(local.is_ok(), "its file stays");

    // Half way: the old one serves those that it has, and accepts again when told to.
    stack.robin.signal(Signal::SIGWINCH);
    assert_eq!(stack.ask("reload").1, "reloaded; nothing\n", "a window that changes its size");
    stack.robin.signal(Signal::SIGUSR2);
    eventually("another one serves", PATIENCE, || {
        stack.robin.count_lines(Output::Stderr, &["INFO another process serves"]) == 2
    });
    let heir = stack.id("robin.pid").expect("a pid file");
    stack.robin.signal(Signal::SIGWINCH);
    stack.robin.wait_for_line(Output::Stderr, &["INFO accepting no more"]);
    for _ in 0..8 {
        assert_eq!(get(stack.listen, "/").status(), 200);
    }
    stack.robin.signal(Signal::SIGHUP);
    eventually("it accepts again", PATIENCE, || {
        stack.robin.count_lines(Output::Stderr, &["INFO reloaded", &stack.listen.to_string()]) == 3
    });
    kill(Pid::from_raw(heir), Signal::SIGQUIT).expect("it is there");
    eventually("it has ended", PATIENCE, || stack.id("robin.pid") == Some(own));
    assert_eq!(get(stack.listen, "/").status(), 200);
    assert_eq!(stack.ask("reload").1, "reloaded; nothing\n");

    // Forth: the old one ends, as nginx's does.
    stack.robin.signal(Signal::SIGUSR2);
    eventually("the second one serves", PATIENCE, || {
        stack.robin.count_lines(Output::Stderr, &["INFO another process serves"]) == 3
    });
    let heir = stack.id("robin.pid").expect("a pid file");
    kill(Pid::from_raw(own), Signal::SIGQUIT).expect("it is there");
    eventually("the old one's file is gone", PATIENCE, || !stack.file("robin.pid.oldbin").exists());
    assert_eq!(get(stack.listen, "/").status(), 200);
    assert!(is_alive(heir) && stack.id("robin.pid") == Some(heir));
    assert!(stack.file("clients.sock").exists());
    assert_eq!(stack.ask("reload").1, "reloaded; nothing\n");
}

#[test]
fn sockets_that_systemd_has_opened_are_taken() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let (listen, other) = (free_address(), free_address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (config, local) = (folder.path().join("robin.yaml"), folder.path().join("clients.sock"));
    let text = format!(
        "control: off\nlisten: [{listen}, unix:{}]\nthreads: 2\nroutes: {{ /: \"{}\" }}\n",
        local.display(),
        origin.address()
    );
    fs::write(&config, text).expect("written");
    let mut line = "exec systemd-socket-activate".to_owned();
    for address in [listen.to_string(), local.display().to_string(), other.to_string()] {
        line += &format!(" -l {address}");
    }
    line += &format!(" {} -c {}", env!("CARGO_BIN_EXE_robin"), config.display());
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        eprintln!("systemd-socket-activate is not here");
        return;
    }
    // It waits for the first connection, which comes before robin is there.
    let mut robin = Robin::of_shell(&line).listening(listen);
    assert_eq!(get(listen, "/").status(), 200);
    let line = robin.wait_for_line(Output::Stderr, &["WARN inherited socket is closed"]);
    assert!(line.contains(&other.to_string()), "{line}");
    let client = std::os::unix::net::UnixStream::connect(&local).expect("it listens");
    exchange_on(client);
    robin.signal(Signal::SIGTERM);
    assert_eq!(robin.wait_exit(PATIENCE).0.code(), Some(0));
    assert!(local.exists(), "the file is systemd's");
}

fn exchange_on(mut client: std::os::unix::net::UnixStream) {
    use std::io::{Read as _, Write as _};
    let request = Request::get("/").header("Connection", "close").bytes();
    client.write_all(&request).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn systemd_hears_when_it_is_ready_reloads_and_who_takes_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify.sock");
    let notified = std::os::unix::net::UnixDatagram::bind(&path).expect("a free path");
    notified.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let hear = || {
        let mut text = [0; 512];
        let length = notified.recv(&mut text).expect("a word");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
    let text = yaml(folder.path(), listen, origin.address(), 1, "");
    let socket = path.display().to_string();
    let robin = Robin::spawn(&text, &[], &[("NOTIFY_SOCKET", &socket)]).listening(listen);
    let stack = Stack { listen, origin, robin, folder };
    assert_eq!(hear(), "READY=1\n");
    stack.robin.signal(Signal::SIGHUP);
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1\n");
    assert_eq!(stack.ask("upgrade").0, Some(0));
    let heard = [hear(), hear()];
    let heir = stack.id("robin.pid").expect("a pid file");
    assert!(heard.contains(&"READY=1\n".to_owned()), "{heard:?}");
    assert!(heard.contains(&format!("MAINPID={heir}\n")), "{heard:?}");
    kill(Pid::from_raw(heir), Signal::SIGTERM).expect("it is there");
    assert_eq!(hear(), "STOPPING=1\n");
}
