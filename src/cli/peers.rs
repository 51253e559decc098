//! The operator's hand: `robin peers`, `drain`, `undrain`, `down` and `up`, asked through the control
//! socket of the running robin.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::start;
use crate::config::model::Control;
use crate::config::{self, LoadOptions, words};
use crate::observe::peers;
use crate::serve::{self, Answer, Ask, AskError, Told};

/// Which robin is asked, and how it is printed.
#[derive(Args, Debug)]
pub(super) struct Operator {
    #[command(flatten)]
    place: Place,
    /// Print what robin answers as JSON.
    #[arg(long)]
    json: bool,
}

/// Which robin is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct Place {
    /// The configuration, which says where the control socket is. Default: the one that `robin` alone would serve.
    #[arg(short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control socket, whatever the configuration says.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// How long a drain is waited for.
#[derive(Args, Debug)]
pub(super) struct Patience {
    /// How long to wait, such as 30s. Default: for ever.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    words::duration(text).map_err(|_| "expected a time such as 30s or 5m".to_owned())
}

impl Patience {
    pub(super) fn millis(&self) -> Option<u64> {
        let millis = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.timeout.map(millis)
    }
}

/// Why nobody knows where the socket is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlace {
    /// There is none.
    #[error("the configuration says `control: off`")]
    Off,
    /// The configuration that is to say it has mistakes; as `robin -t` prints them.
    #[error("{0}")]
    Broken(String),
}

impl Place {
    /// Whether the command line says it.
    pub(super) fn is_said(&self) -> bool {
        self.config.is_some() || self.socket.is_some()
    }

    /// Where the socket is.
    pub(super) fn path(&self) -> Result<PathBuf, NoPlace> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let control = match &self.config {
            Some(file) => control(file).map_err(NoPlace::Broken)?,
            // Whoever runs with another one has not to have this one in order.
            None => control(&start::own_config()).unwrap_or_default(),
        };
        control.path().map(PathBuf::from).ok_or(NoPlace::Off)
    }
}

impl Operator {
    /// Asks the running robin for something that can be had without the control socket, too, by `instead`.
    ///
    /// # Errors
    /// What keeps it from being done, for stderr.
    pub(super) fn order(&self, ask: &Ask, instead: &str) -> Result<(), String> {
        let without = |error: &dyn std::fmt::Display| {
            format!(
                "robin: {error}\nrobin: without a control socket, `{instead}` asks for the same; see the log then"
            )
        };
        let path = match self.place.path() {
            Ok(path) => path,
            // What cannot be read here, the running robin cannot serve, either.
            Err(NoPlace::Broken(problems)) => return Err(problems),
            Err(off @ NoPlace::Off) => return Err(without(&off)),
        };
        let mut outcome = Err("robin: this robin does not know what is asked".to_owned());
        let asked = serve::ask(&path, ask, |answer| {
            outcome = match &answer {
                Answer::Done(done) => Ok(done.clone()),
                Answer::Refused(why) => Err(why.clone()),
                Answer::Error(error) => Err(format!("robin: {error}")),
                _ => return,
            };
            if self.json {
                // That nobody reads it does not undo it.
                let _ = io::stdout().write_all(json(&answer).as_bytes());
            }
        });
        match asked {
            Err(error @ AskError::NoRobin { .. }) => return Err(without(&error)),
            other => other.map_err(|error| format!("robin: {error}"))?,
        }
        let done = outcome?;
        if !self.json {
            let _ = writeln!(io::stdout(), "{done}");
        }
        Ok(())
    }

    /// Asks the running robin and prints what it answers.
    ///
    /// # Errors
    /// What keeps it from being done, for stderr.
    pub(super) fn ask(&self, ask: &Ask) -> Result<(), String> {
        let path = self.place.path().map_err(|error| format!("robin: {error}"))?;
        let (mut failed, mut left) = (None, 0);
        let asked = serve::ask(&path, ask, |answer| {
            match &answer {
                Answer::InFlight(count) if *count == left && !self.json => return,
                Answer::InFlight(count) => left = *count,
                Answer::Drained(false) => {
                    let requests = if left == 1 { "request" } else { "requests" };
                    let text = format!("{left} {requests} still in flight, still draining");
                    failed = Some(text);
                }
                Answer::Error(error) => failed = Some(error.clone()),
                _ => {}
            }
            let text = if self.json { json(&answer) } else { plain(ask, &answer) };
            // That nobody reads it is no reason not to drain.
            let mut out = io::stdout();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        });
        asked.map_err(|error| format!("robin: {error}"))?;
        failed.map_or(Ok(()), |failed| Err(format!("robin: {failed}")))
    }
}

/// What the configuration says of the control socket.
fn control(file: &Path) -> Result<Control, String> {
    let loaded = config::load(file, &LoadOptions::default());
    loaded.map(|loaded| loaded.config.control).map_err(|problems| problems.to_string())
}

fn json(answer: &Answer) -> String {
    // Nothing in an answer is a map with keys of its own or a number that JSON has not.
    serde_json::to_string(answer).unwrap_or_default() + "\n"
}

fn plain(ask: &Ask, answer: &Answer) -> String {
    match answer {
        Answer::Upstreams(upstreams) => peers::table(upstreams) + "\n",
        Answer::Status(status) => peers::table(&status.upstreams) + "\n",
        Answer::Told(told) => told.iter().map(|told| line(ask, told)).collect(),
        Answer::InFlight(count) => format!("waiting, {count} in flight\n"),
        Answer::Drained(true) => "drained\n".to_owned(),
        Answer::Done(done) => format!("{done}\n"),
        Answer::Drained(false) | Answer::Refused(_) | Answer::Error(_) => String::new(),
    }
}

/// What a peer was told; that it had been told so before is said, too.
fn line(ask: &Ask, told: &Told) -> String {
    let Told { upstream, peer, changed, reason, in_flight } = told;
    let before = if *changed { "" } else { ", as before" };
    let in_flight = match ask {
        Ask::Drain { .. } | Ask::Down { .. } => format!(", {in_flight} in flight"),
        _ => String::new(),
    };
    format!("{upstream}/{peer}: {reason}{before}{in_flight}\n")
}
