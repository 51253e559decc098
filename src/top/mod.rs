//! `robin top`: the health of a stack, live in a terminal.
//!
//! It lives off what robin prints, its events, its dashboard and its access log, or off what robin answers
//! on its control socket. `source` brings that, `log` reads lines, `board` knows what they have told,
//! `view` says how that looks, and `screen` draws it until the user has seen enough.

mod board;
mod log;
mod screen;
mod source;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::observe::status::StatusView;
use board::Board;
pub use source::Source;

/// Asks robin how it stands.
pub type AskStatus = Box<dyn FnMut() -> Result<StatusView, String> + Send>;

/// What to show, and how.
#[derive(Debug)]
pub struct Top {
    /// Where it comes from.
    pub source: Source,
    /// Whether one frame is printed, in place of a screen.
    pub once: bool,
    /// How wide that is. Default: as the terminal, or 80.
    pub width: Option<u16>,
}

impl Top {
    /// Shows it until the user, the end of `--once` or a signal ends it.
    ///
    /// # Errors
    /// What keeps it from being shown, for stderr.
    pub fn run(self) -> Result<ExitCode, String> {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if !self.once {
            return screen::run(self.source, plain);
        }
        let columns = self.columns();
        let mut board = Board::default();
        self.source.read_to_end(&mut board)?;
        let mut out = io::stdout();
        let colours = out.is_terminal() && !plain;
        let text = view::text(&board, columns, colours);
        // Whoever has closed the pipe has seen enough.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        Ok(ExitCode::SUCCESS)
    }

    fn columns(&self) -> usize {
        const USUAL: u16 = 80;
        let said = || std::env::var("COLUMNS").ok()?.parse().ok();
        let terminal = || match io::stdout().is_terminal() {
            true => crossterm::terminal::size().ok().map(|(width, _)| width),
            false => None,
        };
        self.width.or_else(said).or_else(terminal).unwrap_or(USUAL).into()
    }
}
