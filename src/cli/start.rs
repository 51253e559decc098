//! From the flags to a process that serves: which files, whose defaults, and where problems go.
//!
//! Problems are told on stderr. Where there is an error log (called as `nginx` always, else with
//! `-e`), what keeps the process from starting is written there too, in nginx's form.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use log::LevelFilter;

use super::options::Options;
use crate::config::diagnostics::{Notes, Syntax};
use crate::config::model::Config;
use crate::config::{self, LoadOptions, Loaded};
use crate::observe::logger::{self, Place, Target};
use crate::observe::sink::Sink;
use crate::serve::{self, Inherited, Process, Read, Refused, Reread, Watched};

/// Where the configuration is when nobody says: what compose files mount it at.
const ROBIN_CONFIG: &str = "/etc/robin/robin.yaml";
/// Where nginx's is.
const NGINX_CONFIG: &str = "/etc/nginx/nginx.conf";
/// What relative names of files begin at in nginx's image.
const NGINX_PREFIX: &str = "/etc/nginx/";
/// Where nginx's image has its error log.
const NGINX_ERROR_LOG: &str = "/var/log/nginx/error.log";
/// Where nginx's image has its pid file.
const NGINX_PID: &str = "/run/nginx.pid";

/// What `robin` alone serves: its own file, or where only nginx's is, that.
pub(super) fn own_config() -> PathBuf {
    let own = Path::new(ROBIN_CONFIG);
    let nginx = Path::new(NGINX_CONFIG);
    if !own.exists() && nginx.exists() { nginx.into() } else { own.into() }
}

/// What the flags come to.
#[derive(Clone)]
pub(super) struct Setting {
    /// Whether we were called as `nginx`.
    as_nginx: bool,
    /// The main file.
    config: PathBuf,
    options: LoadOptions,
    /// The error log until the configuration names one.
    error_log: Option<PathBuf>,
    /// The control socket, whatever the configuration says.
    socket: Option<PathBuf>,
    /// Whether its files are watched.
    watch: bool,
}

impl Setting {
    /// What the flags come to under the one name or the other.
    pub(super) fn new(flags: &Options, as_nginx: bool) -> Self {
        let default = as_nginx.then(|| NGINX_PREFIX.into());
        let prefix: Option<PathBuf> = flags.prefix.clone().or(default);
        let rooted = |path: &Path| prefix.as_deref().unwrap_or(Path::new("")).join(path);
        let default = || if as_nginx { NGINX_CONFIG.into() } else { own_config() };
        let error_log = flags.error_log.as_deref();
        let error_log = error_log.or(as_nginx.then(|| Path::new(NGINX_ERROR_LOG)));
        let error_log = error_log.map(|path| match path.to_str() {
            Some("" | "stderr") => PathBuf::from("/dev/stderr"),
            _ => rooted(path),
        });
        Self {
            as_nginx,
            config: rooted(&flags.config.clone().unwrap_or_else(default)),
            options: LoadOptions {
                prefix: prefix.clone(),
                globals: flags.globals.clone(),
                lenient: flags.lenient,
                as_nginx: as_nginx || (flags.prefix.is_some() && flags.config.is_some()),
            },
            error_log,
            socket: flags.socket.clone(),
            watch: flags.watch,
        }
    }

    /// Serves until a signal ends that; false where it could not begin.
    pub(super) fn serve(&self) -> bool {
        let mut inherited = Inherited::take();
        let loaded = match config::load(&self.config, &self.options) {
            Ok(loaded) => loaded,
            Err(problems) => {
                eprint!("{problems}");
                inherited.failed(&problems.to_string());
                self.log(problems.lines());
                return false;
            }
        };
        let target = self.event_target(&loaded.config);
        let events = logger::start(&target);
        warn_of(&loaded.notes);
        let watched = self.watch.then(|| Watched::new(&loaded));
        let process = Process { watched, ..self.process() };
        let ended = serve::run(loaded.config, process, &mut inherited, || ());
        drop(events);
        if let Err(error) = &ended {
            eprintln!("{}: {error}", self.name());
            inherited.failed(&error.to_string());
            self.log(vec![error.to_string()]);
        }
        ended.is_ok()
    }

    fn process(&self) -> Process {
        Process {
            path: self.config.clone(),
            pid: self.as_nginx.then(|| NGINX_PID.into()),
            control: self.socket.clone(),
            fast_stop: self.as_nginx,
            read: Some(self.read()),
            watched: None,
        }
    }

    /// How the configuration is read again.
    fn read(&self) -> Read {
        let setting = self.clone();
        Arc::new(move || {
            let loaded = config::load(&setting.config, &setting.options);
            let loaded = loaded.map_err(Refused::from)?;
            warn_of(&loaded.notes);
            let events = setting.event_target(&loaded.config);
            Ok(Box::new(Reread { loaded, events }))
        })
    }

    /// Where event lines go: to the error log that the configuration names, else to that of the
    /// command line, else to stderr; and in which form.
    fn event_target(&self, config: &Config) -> Target {
        let target = |path: Option<&Path>, level| Place::ErrorLog {
            path: path.unwrap_or(Path::new("/dev/stderr")).into(),
            level,
        };
        let place = match (&config.error_log, &self.error_log) {
            (Some(log), _) => {
                let level = logger::level_filter(&log.level).unwrap_or(LevelFilter::Error);
                target(log.path.as_deref(), level)
            }
            // nginx's own level would hide who comes and goes.
            (None, Some(path)) => target(Some(path), LevelFilter::Info),
            (None, None) => Place::Stderr,
        };
        Target { place, format: config.event_format }
    }

    /// `-t` and `-T`; false where the configuration is refused. Of an nginx file it says what nginx
    /// says.
    pub(super) fn check(&self, flags: &Options) -> bool {
        let file = self.config.display();
        let nginx = config::syntax(&self.config) == Syntax::Nginx;
        let Some(loaded) = self.load() else {
            if nginx {
                eprintln!("nginx: configuration file {file} test failed");
            }
            return false;
        };
        let notes = &loaded.notes;
        if flags.verbose {
            notes.no_effect.iter().for_each(|note| eprintln!("nginx: [notice] {note}"));
        }
        notes.warnings.iter().for_each(|note| eprintln!("nginx: [warn] {note}"));
        match (flags.quiet, nginx) {
            (true, _) => {}
            (false, true) => {
                eprintln!("nginx: the configuration file {file} syntax is ok");
                eprintln!("nginx: configuration file {file} test is successful");
            }
            (false, false) => eprintln!("robin: configuration file {file} is ok"),
        }
        !flags.dump || dump(&loaded)
    }

    /// The configuration; what is wrong with it is told.
    pub(super) fn load(&self) -> Option<Loaded> {
        match config::load(&self.config, &self.options) {
            Ok(loaded) => Some(loaded),
            Err(problems) => {
                eprint!("{problems}");
                self.log(problems.lines());
                None
            }
        }
    }

    /// What messages begin with.
    pub(super) fn name(&self) -> &'static str {
        if self.as_nginx { "nginx" } else { "robin" }
    }

    /// Where the running process has written its id, if anywhere.
    pub(super) fn pid_file(&self, loaded: &Loaded) -> Option<PathBuf> {
        loaded.config.pid.clone().or_else(|| self.process().pid)
    }

    /// Writes to the error log why the process does not start.
    fn log(&self, problems: Vec<String>) {
        let sink = self.error_log.as_deref().and_then(|path| Sink::open(path).ok());
        let Some(mut sink) = sink else { return };
        for problem in problems {
            let line = logger::error_line(SystemTime::now(), "emerg", problem);
            // It has been told on stderr.
            let _ = sink.write_all(line.as_bytes());
        }
    }
}

/// Says what a configuration has that is not done.
fn warn_of(notes: &Notes) {
    for note in &notes.warnings {
        log::warn!(target: "robin::config", "{note}");
    }
}

/// Prints the files of a configuration; false where nobody takes them.
fn dump(loaded: &Loaded) -> bool {
    let mut out = std::io::stdout().lock();
    let print = |source: &std::sync::Arc<config::diagnostics::Source>| {
        writeln!(out, "# configuration file {}:\n{}", source.name, source.text)
    };
    match loaded.sources.iter().try_for_each(print) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("robin: cannot print the configuration: {error}");
            false
        }
    }
}
