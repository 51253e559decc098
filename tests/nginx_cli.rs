//! Called as `nginx`: its command line, its files, its signals.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output as Finished};

use common::client::{Request, exchange, get};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, holds_within};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A folder with a program called `nginx`, and files beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        symlink(env!("CARGO_BIN_EXE_robin"), folder.path().join("nginx")).expect("a link");
        let place = Self { folder };
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs `nginx ARGUMENTS` to its end, elsewhere.
    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.path("nginx"));
        command.args(arguments).env_remove("RUST_LOG").current_dir("/");
        command.output().expect("nginx runs")
    }

    /// Starts `nginx ARGUMENTS` and waits until it listens.
    fn start(&self, listen: SocketAddr, arguments: &str) -> Robin {
        let program = self.path("nginx");
        Robin::of_shell(&format!("exec {} {arguments}", program.display())).listening(listen)
    }

    fn prefix(&self) -> String {
        format!("{}/", self.folder.path().display())
    }

    /// The arguments that make everything happen in the folder.
    fn arguments(&self) -> String {
        format!("-p {} -c nginx.conf -e error.log", self.prefix())
    }
}

fn stderr(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stderr).into_owned()
}

fn stdout(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

/// A proxy to one address; `main` stands before it.
fn conf(main: &str, listen: SocketAddr, target: SocketAddr) -> String {
    format!(
        "{main}\nevents {{ }}\nhttp {{\n    access_log access.log;\n    server {{\n        \
         listen {listen};\n        location / {{ proxy_pass http://{target}; }}\n    }}\n}}\n"
    )
}

#[test]
fn the_version_goes_to_stderr_and_the_modules_with_it() {
    let place = Place::with(&[]);
    let short = place.run(&["-v"]);
    assert_eq!(short.status.code(), Some(0));
    let ours = format!("(robin/{})\n", env!("CARGO_PKG_VERSION"));
    assert!(stderr(&short).starts_with("nginx version: nginx/"), "{}", stderr(&short));
    assert!(stderr(&short).ends_with(&ours), "{}", stderr(&short));
    let long = place.run(&["-V"]);
    assert!(stderr(&long).starts_with(&stderr(&short)));
    assert!(stderr(&long).contains("\nconfigure arguments: --"), "{}", stderr(&long));
    assert!(stderr(&long).contains(" --without-http_fastcgi_module"), "{}", stderr(&long));
    assert_eq!(stdout(&long), "");
    let help = place.run(&["-?"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stderr(&help).contains("Usage: nginx [-?hvVtTq]"), "{}", stderr(&help));
}

#[test]
fn a_wrong_command_line_is_refused_in_nginxs_words() {
    let place = Place::with(&[]);
    for (arguments, expected) in [
        (&["convert"][..], "nginx: invalid option: \"convert\"\n"),
        (&["-x"], "nginx: invalid option: \"x\"\n"),
        (&["-s", "restart"], "nginx: invalid option: \"-s restart\"\n"),
        (&["-c"], "nginx: option \"-c\" requires file name\n"),
    ] {
        let finished = place.run(arguments);
        assert_eq!(finished.status.code(), Some(1), "{arguments:?}");
        assert_eq!(stderr(&finished), expected);
    }
}

#[test]
fn names_of_files_begin_at_the_prefix_and_a_test_says_what_nginx_says() {
    let place = Place::with(&[]);
    place.write("nginx.conf", &conf("", free_address(), free_address()));
    let (prefix, file) = (place.prefix(), place.path("nginx.conf"));
    let file = file.display();
    let finished = place.run(&["-t", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
    assert_eq!(finished.status.code(), Some(0), "{}", stderr(&finished));
    let expected = format!(
        "nginx: the configuration file {file} syntax is ok\n\
         nginx: configuration file {file} test is successful\n"
    );
    assert_eq!(stderr(&finished), expected);
    let quiet = place.run(&["-tq", "-p", &prefix, "-cnginx.conf", "-e", "error.log"]);
    assert_eq!((quiet.status.code(), stderr(&quiet).as_str()), (Some(0), ""));
}

#[test]
fn what_keeps_it_from_starting_is_told_on_stderr_and_in_the_error_log() {
    let place = Place::with(&[("nginx.conf", "events { }\nproxypass x;\nhttp { }\n")]);
    let (prefix, file) = (place.prefix(), place.path("nginx.conf"));
    let finished = place.run(&["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
    assert_eq!(finished.status.code(), Some(1));
    let problem = format!("unknown directive \"proxypass\" in {}:2", file.display());
    assert!(stderr(&finished).starts_with(&format!("nginx: [emerg] {problem}\n")));
    let log = place.read("error.log");
    let first = log.lines().next().expect("a line");
    assert!(first.contains(" [emerg] ") && first.ends_with(&problem), "{log}");
    let tested = place.run(&["-t", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
    assert_eq!(tested.status.code(), Some(1));
    let failed = format!("nginx: configuration file {} test failed\n", file.display());
    assert!(stderr(&tested).ends_with(&failed), "{}", stderr(&tested));
}

#[test]
fn directives_of_the_command_line_stand_before_those_of_the_file() {
    let place = Place::with(&[]);
    place.write("nginx.conf", &conf("pid nginx.pid;", free_address(), free_address()));
    let prefix = place.prefix();
    let run = |globals| {
        place.run(&["-t", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log", "-g", globals])
    };
    assert_eq!(run("daemon off;").status.code(), Some(0));
    let unknown = stderr(&run("demon off;"));
    assert!(unknown.starts_with("nginx: [emerg] unknown directive \"demon\" in command line"));
    let twice = stderr(&run("pid other.pid;"));
    assert!(twice.contains("[emerg] \"pid\" directive is duplicate"), "{twice}");
}

#[test]
fn a_dump_holds_each_file_once_as_it_is() {
    let place = Place::with(&[("inc.conf", "include inc2.conf;"), ("inc2.conf", "# nothing")]);
    let includes = "include inc.conf;\ninclude inc.conf;\n";
    let text = conf(includes, free_address(), free_address());
    place.write("nginx.conf", &text);
    let prefix = place.prefix();
    let finished = place.run(&["-T", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
    assert_eq!(finished.status.code(), Some(0), "{}", stderr(&finished));
    let expected = format!(
        "# configuration file {prefix}nginx.conf:\n{text}\n\
         # configuration file {prefix}inc.conf:\ninclude inc2.conf;\n\
         # configuration file {prefix}inc2.conf:\n# nothing\n"
    );
    assert_eq!(stdout(&finished), expected);
}

#[test]
fn it_serves_writes_its_id_and_takes_orders() {
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::ok()));
    let place = Place::with(&[]);
    place.write("nginx.conf", &conf("pid nginx.pid;", listen, origin.address()));
    let arguments = place.arguments();
    let mut nginx = place.start(listen, &format!("{arguments} -g 'daemon off;'"));
    assert_eq!(get(listen, "/").status(), 200);
    assert_eq!(place.read("nginx.pid"), format!("{}\n", nginx.id()));

    let arguments: Vec<&str> = arguments.split(' ').chain(["-s", "quit"]).collect();
    let told = place.run(&arguments);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    assert_eq!(nginx.wait_exit(PATIENCE).0.code(), Some(0));
    assert!(!place.path("nginx.pid").exists());
    assert!(place.read("error.log").contains(" [notice] "), "{}", place.read("error.log"));
    assert!(place.read("access.log").contains("\"GET / HTTP/1.1\" 200"));
    assert_eq!(nginx.text(Output::Stderr), "");

    let told = place.run(&arguments);
    assert_eq!(told.status.code(), Some(1));
    let missing = format!("nginx: [error] open() \"{}nginx.pid\" failed (2: ", place.prefix());
    assert!(stderr(&told).starts_with(&missing), "{}", stderr(&told));
}

#[test]
fn sigterm_ends_it_at_once() {
    let (listen, origin) = (free_address(), Origin::start(free_address(), Behaviour::Hang));
    let place = Place::with(&[]);
    place.write("nginx.conf", &conf("pid nginx.pid;", listen, origin.address()));
    let mut nginx = place.start(listen, &place.arguments());
    let client = std::thread::spawn(move || exchange(listen, &Request::get("/")).is_err());
    assert!(holds_within(PATIENCE, || origin.count() > 0), "the request is in flight");
    nginx.signal(Signal::SIGTERM);
    // The drain would wait for the request for 8 s.
    let (status, took) = nginx.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    assert!(client.join().is_ok_and(|cut_off| cut_off));
    assert!(!place.path("nginx.pid").exists());
}

#[test]
fn the_error_log_is_where_the_configuration_says_and_follows_a_reload() {
    let (listen, dead) = (free_address(), free_address());
    let place = Place::with(&[]);
    let write = |log: &str| {
        place.write("nginx.conf", &conf(&format!("pid nginx.pid;\n{log}"), listen, dead));
    };
    write("error_log first.log error;");
    let mut nginx = place.start(listen, &place.arguments());
    assert_eq!(get(listen, "/").status(), 502);
    assert!(place.path("first.log").exists());
    assert!(!place.path("error.log").exists());

    write("error_log second.log notice;");
    nginx.signal(Signal::SIGHUP);
    let reloaded = || place.read("second.log").contains(" [notice] ");
    assert!(holds_within(PATIENCE, reloaded), "{}", place.read("second.log"));
    assert_eq!(place.read("first.log"), "", "nothing there was an error");

    std::fs::rename(place.path("second.log"), place.path("second.log.1")).expect("moved away");
    nginx.signal(Signal::SIGUSR1);
    assert!(holds_within(PATIENCE, || place.path("second.log").exists()));
    nginx.signal(Signal::SIGQUIT);
    assert_eq!(nginx.wait_exit(PATIENCE).0.code(), Some(0));
    assert!(place.read("second.log").contains("ended"), "{}", place.read("second.log"));
}

#[test]
fn what_does_nothing_is_listed_and_what_is_not_supported_is_left_out_when_asked_for() {
    let place = Place::with(&[]);
    let text = conf("worker_priority 5;\nload_module x.so;", free_address(), free_address());
    place.write("nginx.conf", &text);
    let (prefix, file) = (place.prefix(), place.path("nginx.conf"));
    let test = |flags: &[&str]| {
        let arguments = ["-t", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"];
        place.run(&[&arguments, flags].concat())
    };
    let refused = test(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let reason = "nginx: [emerg] \"load_module\" directive is not supported in ";
    assert!(stderr(&refused).starts_with(reason), "{}", stderr(&refused));

    let lenient = test(&["--lenient", "--verbose"]);
    assert_eq!(lenient.status.code(), Some(0), "{}", stderr(&lenient));
    let lines = stderr(&lenient);
    let listed = "nginx: [notice] \"worker_priority\" has no effect: robin lets the system choose";
    assert!(lines.contains(&format!("{listed} in {}:1\n", file.display())), "{lines}");
    let left_out = "nginx: [warn] \"load_module\" directive is not supported, it is left out";
    assert!(lines.contains(&format!("{left_out} in {}:2\n", file.display())), "{lines}");
}
