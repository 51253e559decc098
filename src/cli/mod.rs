//! The command line: nginx's flags and our own subcommands, each turned into one call.
//!
//! Which of the two command lines it is depends on the name that we are called by. As `nginx` (or
//! `nginx-debug`) everything is nginx's: flags, messages, exit codes, `/etc/nginx/nginx.conf`, an
//! error log, a pid file, and SIGTERM as the fast way to end. As `robin` the same flags stand beside
//! subcommands.

mod modules;
mod options;
mod orders;
mod peers;
mod start;
mod top;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, LoadOptions};
use crate::observe::logger;
use crate::serve::{self, Ask, demo};
use options::Options;
use peers::{Operator, Patience};
use start::Setting;

/// A load balancer and reverse proxy for Docker Compose stacks.
///
/// Without a subcommand it serves the configuration until SIGTERM, SIGINT or SIGQUIT, which let
/// requests in flight finish; SIGHUP reads the configuration again, SIGUSR1 opens log files again, SIGUSR2
/// starts the binary again, beside this process.
/// Event lines and the health dashboard go to stderr (RUST_LOG sets the level), the access log to
/// stdout. Called as `nginx` it takes nginx's command line.
#[derive(Debug, Parser)]
#[command(name = "robin", version, disable_version_flag = true)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    /// Print the version, then exit.
    #[arg(long = "version", action = clap::ArgAction::Version)]
    own_version: Option<bool>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration. Default: the one that `robin` alone would serve, or whatever a container's
    /// first process serves.
    #[arg(short = 'c', value_name = "FILE")]
    path: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a configuration as YAML that runs the same.
    Convert {
        /// The configuration.
        file: PathBuf,
    },
    /// Ask the running robin whether every listener is bound, and with --upstream whether it has a peer
    /// available: exit code 0 if so, for HEALTHCHECK.
    Health {
        #[command(flatten)]
        config: ConfigFile,
        /// An upstream that has to have a peer available; may be said more than once.
        #[arg(long, value_name = "NAME")]
        upstream: Vec<String>,
    },
    /// Print how every upstream and peer stands.
    Peers(Operator),
    /// Give peers no new request, and wait until those in flight have ended: exit code 0; 1 when the time is over
    /// before.
    Drain {
        /// A peer's address, upstream/address, an upstream, or the host of a server line.
        what: String,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        operator: Operator,
    },
    /// Take drain back.
    Undrain {
        /// As for drain.
        what: String,
        #[command(flatten)]
        operator: Operator,
    },
    /// Give peers no request at all.
    Down {
        /// As for drain.
        what: String,
        #[command(flatten)]
        operator: Operator,
    },
    /// Take drain and down back.
    Up {
        /// As for drain.
        what: String,
        #[command(flatten)]
        operator: Operator,
    },
    /// Have the running robin read its configuration again: exit code 0 and what has changed, or 1 and what is
    /// wrong with it, while it serves on as before.
    Reload(Operator),
    /// Have the running robin start its binary again, which may be another version by now, and leave its place to
    /// that: exit code 0 once it serves, or 1 and why it does not, while the old one serves on.
    Upgrade(Operator),
    /// Show in the terminal, live, how every upstream and peer stands.
    Top(top::Options),
    /// Run the whole stack in one process: API servers, a site, and robin before them.
    Demo {
        /// How many API servers.
        #[arg(long, default_value = "3")]
        replicas: NonZeroU16,
        /// The port on loopback.
        #[arg(long, default_value = "8080")]
        port: u16,
    },
}

/// Does what the arguments ask for. Exit code 1 means that it could not be done; clap answers
/// a wrong command line with 2.
#[must_use]
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if is_nginx(&name) {
        return nginx(arguments);
    }
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Convert { file }) => convert(&file),
        Some(Command::Health { config, upstream }) => health(config.path.as_deref(), &upstream),
        Some(Command::Peers(operator)) => operator.ask(&Ask::Peers),
        Some(Command::Drain { what, patience, operator }) => {
            operator.ask(&Ask::Drain { what, timeout_ms: patience.millis() })
        }
        Some(Command::Undrain { what, operator }) => operator.ask(&Ask::Undrain { what }),
        Some(Command::Down { what, operator }) => operator.ask(&Ask::Down { what }),
        Some(Command::Up { what, operator }) => operator.ask(&Ask::Up { what }),
        Some(Command::Reload(operator)) => operator.order(&Ask::Reload, "robin -s reload"),
        Some(Command::Upgrade(operator)) => operator.order(&Ask::Upgrade, "kill -USR2"),
        Some(Command::Demo { replicas, port }) => {
            let _events = logger::start(&logger::Target::STDERR);
            demo::demo(replicas, port).map_err(|error| format!("robin: {error}"))
        }
        Some(Command::Top(options)) => match options.run() {
            Ok(code) => return code,
            Err(message) => Err(message),
        },
        None => return serve(&cli.options, false),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Whether this is a name that nginx is called by.
fn is_nginx(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name == "nginx" || name == "nginx-debug"
}

fn nginx(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Options::of_nginx(arguments) {
        Ok(options) if options.help => {
            eprint!("{}", modules::help());
            ExitCode::SUCCESS
        }
        Ok(options) => serve(&options, true),
        Err(message) => {
            eprintln!("nginx: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is nginx's too.
fn serve(options: &Options, as_nginx: bool) -> ExitCode {
    if options.modules {
        eprint!("{}", modules::all());
    } else if options.version {
        eprint!("{}", modules::version());
    }
    if (options.modules || options.version) && !options.only_checks() {
        return ExitCode::SUCCESS;
    }
    let setting = Setting::new(options, as_nginx);
    let done = match options.order {
        Some(order) => setting.order(order),
        None if options.only_checks() => setting.check(options),
        None => setting.serve(),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn health(config: Option<&Path>, upstreams: &[String]) -> Result<(), String> {
    let own = start::own_config();
    let healthy = match config {
        Some(path) => serve::health(&[Some(path)], upstreams),
        None => serve::health(&[Some(&own), None], upstreams),
    };
    let standing = healthy.map_err(|error| format!("robin: not healthy: {error}"))?;
    if !upstreams.is_empty() {
        // That nobody reads it does not make it unhealthy.
        let _ = writeln!(io::stdout(), "{standing}");
    }
    Ok(())
}

fn convert(file: &Path) -> Result<(), String> {
    let loaded = config::load(file, &LoadOptions::default()).map_err(|p| p.to_string())?;
    let printed = io::stdout().write_all(loaded.to_yaml().as_bytes());
    printed.map_err(|error| format!("robin: cannot print the configuration: {error}"))
}
