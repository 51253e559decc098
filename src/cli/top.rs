//! `robin top`: where what it shows comes from.

use std::fs;
use std::io::{self, BufRead as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::peers::Place;
use crate::serve::{self, Answer, Ask};
use crate::top::{AskStatus, Source, Top};

/// What `robin top` takes.
///
/// With FILE, or with a log on standard input, it reads what robin has printed: `docker compose logs -f proxy |
/// robin top`. Else it asks the running robin through its control socket.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// A log, which is followed as it grows; `-` is standard input.
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "socket"])]
    file: Option<PathBuf>,
    /// Print one frame as text: of all that the log holds, or of how robin stands now.
    #[arg(long)]
    once: bool,
    /// How wide that frame is. Default: COLUMNS, else as the terminal, else 80.
    #[arg(long, value_name = "COLUMNS", requires = "once", value_parser = clap::value_parser!(u16).range(20..))]
    width: Option<u16>,
    #[command(flatten)]
    place: Place,
}

impl Options {
    /// Shows it until the user has seen enough.
    ///
    /// # Errors
    /// What keeps it from being shown, for stderr.
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        Top { source: self.source()?, once: self.once, width: self.width }.run()
    }

    fn source(&self) -> Result<Source, String> {
        match &self.file {
            Some(file) if file == Path::new("-") => Ok(Source::Stdin),
            Some(file) => Ok(Source::File(file.clone())),
            None if !self.place.is_said() && self.has_log() => Ok(Source::Stdin),
            None => Ok(Source::Robin(self.asks()?)),
        }
    }

    /// Whether standard input is a log. For one frame a pipe without a byte is none: `docker-compose exec -T` has
    /// such a one there.
    fn has_log(&self) -> bool {
        let empty = || io::stdin().lock().fill_buf().is_ok_and(<[u8]>::is_empty);
        is_log(Path::new("/dev/stdin")) && !(self.once && empty())
    }

    /// Asks the running robin.
    fn asks(&self) -> Result<AskStatus, String> {
        let path = self.place.path().map_err(|error| format!("robin: {error}"))?;
        Ok(Box::new(move || {
            let mut status = Err("robin: this robin does not say how it stands".to_owned());
            let asked = serve::ask(&path, &Ask::Status, |answer| match answer {
                Answer::Status(view) => status = Ok(*view),
                Answer::Error(error) => status = Err(format!("robin: {error}")),
                _ => {}
            });
            asked.map_err(|error| format!("robin: {error}"))?;
            status
        }))
    }
}

/// Whether a log can be read there: a pipe, a file or a socket. A terminal is none, and neither is
/// `/dev/null`, which `docker exec` without `-i` has there.
fn is_log(stdin: &Path) -> bool {
    fs::metadata(stdin).is_ok_and(|file| {
        let kind = file.file_type();
        kind.is_fifo() || kind.is_file() || kind.is_socket()
    })
}
