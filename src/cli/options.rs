//! What the flags say, whichever way they were given.
//!
//! Called as `nginx`, the arguments are read as nginx reads them (`ngx_get_options`): a value may be
//! glued to its flag, flags to each other, the last of several wins, and everything else is an
//! error. Called as `robin`, clap reads the same flags beside our subcommands.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What to tell the running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// End at once.
    Stop,
    /// Finish what is in flight, then end.
    Quit,
    /// Read the configuration again.
    Reload,
    /// Open the log files again.
    Reopen,
}

/// What the flags say.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The configuration. Default: /etc/robin/robin.yaml, or where that does not exist
    /// /etc/nginx/nginx.conf.
    #[arg(short = 'c', value_name = "FILE", overrides_with = "config")]
    pub(super) config: Option<PathBuf>,
    /// Where relative names of files begin. Default: of FILE, here; in an nginx configuration, its
    /// folder.
    #[arg(short = 'p', value_name = "PREFIX", overrides_with = "prefix")]
    pub(super) prefix: Option<PathBuf>,
    /// The error log until the configuration names one.
    #[arg(short = 'e', value_name = "FILE", overrides_with = "error_log")]
    pub(super) error_log: Option<PathBuf>,
    /// Directives to read as if they stood at the top of an nginx configuration.
    #[arg(short = 'g', value_name = "DIRECTIVES", overrides_with = "globals")]
    pub(super) globals: Option<String>,
    /// Check the configuration and say where it is wrong, then exit.
    #[arg(short = 't', overrides_with = "test")]
    pub(super) test: bool,
    /// As -t, and print the configuration's files.
    #[arg(short = 'T', overrides_with = "dump")]
    pub(super) dump: bool,
    /// With -t, say nothing but what is wrong.
    #[arg(short = 'q', overrides_with = "quiet")]
    pub(super) quiet: bool,
    /// Tell the process of the configuration's pid file what to do.
    #[arg(short = 's', value_name = "ORDER", overrides_with = "order")]
    pub(super) order: Option<Order>,
    /// Print which nginx this takes the place of, then exit.
    #[arg(short = 'v', overrides_with = "version")]
    pub(super) version: bool,
    /// As -v, and print which of nginx's modules are here.
    #[arg(short = 'V', overrides_with = "modules")]
    pub(super) modules: bool,
    /// The control socket, in place of the one that the configuration names, or
    /// /run/robin/control.sock.
    #[arg(long, value_name = "PATH", overrides_with = "socket")]
    pub(super) socket: Option<PathBuf>,
    /// Read the configuration again as soon as one of its files changes, certificates and keys too.
    #[arg(long)]
    pub(super) watch: bool,
    /// Leave out directives of an nginx configuration that are not supported, and warn.
    #[arg(long)]
    pub(super) lenient: bool,
    /// With -t, list the directives that have no effect here, each with the reason.
    #[arg(long)]
    pub(super) verbose: bool,
    /// Called as nginx: -h or -?.
    #[arg(skip)]
    pub(super) help: bool,
}

impl Options {
    /// Reads the arguments behind the program's name as nginx does.
    ///
    /// # Errors
    /// nginx's words for what it does not take.
    pub(super) fn of_nginx(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            // Ours, which nginx has not.
            match argument.to_str() {
                Some("--lenient") => {
                    options.lenient = true;
                    continue;
                }
                Some("--socket") => {
                    let path = arguments.next();
                    let missing = || "option \"--socket\" requires path".to_owned();
                    options.socket = Some(path.ok_or_else(missing)?.into());
                    continue;
                }
                Some("--watch") => {
                    options.watch = true;
                    continue;
                }
                Some("--verbose") => {
                    options.verbose = true;
                    continue;
                }
                _ => {}
            }
            let Some(flags) = argument.as_bytes().strip_prefix(b"-") else {
                return Err(format!("invalid option: \"{}\"", argument.display()));
            };
            for (at, flag) in flags.iter().enumerate() {
                let mut value = |what: &str| {
                    let glued = Some(&flags[at + 1..]).filter(|glued| !glued.is_empty());
                    let value = glued.map(|glued| OsString::from_vec(glued.to_vec()));
                    let missing = || format!("option \"-{}\" requires {what}", char::from(*flag));
                    value.or_else(|| arguments.next()).ok_or_else(missing)
                };
                match flag {
                    b'?' | b'h' => options.help = true,
                    b'v' => options.version = true,
                    b'V' => options.modules = true,
                    b't' => options.test = true,
                    b'T' => options.dump = true,
                    b'q' => options.quiet = true,
                    b'p' => options.prefix = Some(value("directory name")?.into()),
                    b'e' => options.error_log = Some(value("file name")?.into()),
                    b'c' => options.config = Some(value("file name")?.into()),
                    b'g' => {
                        options.globals = Some(value("parameter")?.to_string_lossy().into_owned());
                    }
                    b's' => options.order = Some(order(&value("parameter")?)?),
                    other => return Err(format!("invalid option: \"{}\"", char::from(*other))),
                }
                if b"pecgs".contains(flag) {
                    break;
                }
            }
        }
        Ok(options)
    }

    /// Whether the configuration is only to be checked.
    pub(super) fn only_checks(&self) -> bool {
        self.test || self.dump
    }
}

fn order(word: &OsString) -> Result<Order, String> {
    let word = word.to_string_lossy();
    Order::from_str(&word, false).map_err(|_| format!("invalid option: \"-s {word}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, String> {
        Options::of_nginx(arguments.iter().map(OsString::from))
    }

    #[test]
    fn flags_may_be_glued_to_each_other_and_to_their_value() {
        let glued = read(&["-tqc/etc/x.conf", "-p/srv"]);
        let apart = read(&["-t", "-q", "-c", "/etc/x.conf", "-p", "/srv"]);
        assert_eq!(glued, apart);
        let options = glued.expect("nginx takes this");
        assert!(options.test && options.quiet && !options.dump);
        assert_eq!(options.config, Some("/etc/x.conf".into()));
    }

    #[test]
    fn the_last_of_several_wins() {
        let options = read(&["-c", "a", "-s", "stop", "-c", "b", "-s", "reload"]).expect("taken");
        assert_eq!((options.config, options.order), (Some("b".into()), Some(Order::Reload)));
    }

    #[test]
    fn what_nginx_does_not_take_is_refused_in_its_words() {
        for (arguments, expected) in [
            (&["convert"][..], "invalid option: \"convert\""),
            (&["-x"], "invalid option: \"x\""),
            (&["-tx"], "invalid option: \"x\""),
            (&["--help"], "invalid option: \"-\""),
            (&["-s", "restart"], "invalid option: \"-s restart\""),
            (&["-s"], "option \"-s\" requires parameter"),
            (&["-tc"], "option \"-c\" requires file name"),
            (&["-p"], "option \"-p\" requires directory name"),
        ] {
            assert_eq!(read(arguments), Err(expected.to_owned()), "{arguments:?}");
        }
    }
}
