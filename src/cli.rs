//! The command line: nginx's flags and our own subcommands, each turned into one call.

use std::io::{self, Write as _};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, diagnostics::Syntax, model::Config};
use crate::observe::event;
use crate::serve::{self, demo};

/// Where the configuration is when nobody says: what compose files mount it at.
const DEFAULT_CONFIG: &str = "/etc/robin/robin.yaml";

/// A load balancer and reverse proxy for Docker Compose stacks.
///
/// Without a subcommand it serves the configuration until SIGTERM, SIGINT or SIGQUIT, which let
/// requests in flight finish. Event lines and the health dashboard go to stderr (RUST_LOG sets the
/// level), the access log to stdout.
#[derive(Debug, Parser)]
#[command(name = "robin", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    config: ConfigFile,
    /// Check the configuration and say where it is wrong, then exit.
    #[arg(short = 't')]
    test: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(short = 'c', value_name = "FILE", default_value = DEFAULT_CONFIG)]
    path: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a configuration as YAML with every default filled in.
    Convert {
        /// The configuration.
        file: PathBuf,
    },
    /// Ask the running robin whether every listener is bound: exit code 0 if so, for HEALTHCHECK.
    Health(ConfigFile),
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
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Convert { file }) => load(&file).and_then(|config| {
            let printed = io::stdout().write_all(config::to_yaml(&config).as_bytes());
            printed.map_err(|error| format!("robin: cannot print the configuration: {error}"))
        }),
        Some(Command::Health(config)) => {
            serve::health(&config.path).map_err(|error| format!("robin: not healthy: {error}"))
        }
        Some(Command::Demo { replicas, port }) => {
            let _events = event::init_logging();
            demo::demo(replicas, port).map_err(|error| format!("robin: {error}"))
        }
        None if cli.test => test(&cli.config.path),
        None => load(&cli.config.path).and_then(|config| {
            let _events = event::init_logging();
            serve::run(config, &cli.config.path, || ()).map_err(|error| format!("robin: {error}"))
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// `-t`: of an nginx file it says what nginx says.
fn test(path: &Path) -> Result<(), String> {
    let file = path.display();
    match (load(path), config::syntax(path)) {
        (Ok(_), Syntax::Yaml) => eprintln!("robin: configuration file {file} is ok"),
        (Ok(_), Syntax::Nginx) => {
            eprintln!("nginx: the configuration file {file} syntax is ok");
            eprintln!("nginx: configuration file {file} test is successful");
        }
        (Err(problems), Syntax::Yaml) => return Err(problems),
        (Err(problems), Syntax::Nginx) => {
            return Err(format!("{problems}nginx: configuration file {file} test failed"));
        }
    }
    Ok(())
}

fn load(path: &Path) -> Result<Config, String> {
    config::load(path).map_err(|problems| problems.to_string())
}
