//! A configuration that is read again, and what is said where it is refused.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use super::{ServeError, privileges};
use crate::config::Loaded;
use crate::config::diagnostics::Diagnostics;
use crate::observe::event::Line;
use crate::observe::logger::Target;

/// A configuration that was read again, and where event lines go with it.
#[derive(Clone, Debug)]
pub struct Reread {
    /// The configuration.
    pub loaded: Loaded,
    /// Where event lines go.
    pub events: Target,
}

/// Reads the configuration again.
pub type Read = Arc<dyn Fn() -> Result<Box<Reread>, Refused> + Send + Sync>;

/// Why a configuration is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Each problem in a line.
    lines: Vec<String>,
    /// The problems as `robin -t` prints them.
    text: String,
}

impl Refused {
    /// For one reason, which is of no place in the configuration.
    pub(super) fn because(reason: impl fmt::Display) -> Self {
        let line = reason.to_string();
        Self { text: format!("robin: {line}\n"), lines: vec![line] }
    }

    /// For what another process has said of its start, which it may have said in several lines.
    pub(super) fn by_heir(said: &str) -> Self {
        let refused = Self::because(said);
        let shown = said.contains(" --> ");
        if shown { Self { text: format!("{said}\n"), ..refused } } else { refused }
    }

    /// Because of what the system says; with the place in the configuration where it has one.
    pub(super) fn by(error: &ServeError, loaded: &Loaded) -> Self {
        let place = match error {
            ServeError::Listen(listen) => {
                let help = listen_remedy(listen.source.kind());
                loaded.refuse_listen(&listen.address, error.to_string(), help)
            }
            _ => None,
        };
        match place {
            Some(problems) => Self { lines: problems.lines(), text: problems.to_string() },
            None => Self::because(error).with_remedy(),
        }
    }

    /// The problems as `robin -t` prints them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tells the log.
    pub(super) fn tell(&self) {
        for problem in &self.lines {
            let line = Line::new("reload refused, serving on as before").field("error", problem);
            line.error("robin::serve");
        }
    }

    /// Says what can be done where a right is missing that the process was started with, perhaps.
    fn with_remedy(mut self) -> Self {
        // The doors read files and tell of each in words; what kind of error it was is not kept.
        const DENIED: &str = "Permission denied";
        let Some(user) = privileges::plain_user().filter(|_| self.text.contains(DENIED)) else {
            return self;
        };
        let remedy = format!(
            "robin runs as user `{user}` now: allow that user to do it (for a file, `chown {user}` or \
             `chmod g+r`), or start robin again"
        );
        self.text.push_str(&format!("  = help: {remedy}\n"));
        for line in self.lines.iter_mut().filter(|line| line.contains(DENIED)) {
            line.push_str("; ");
            line.push_str(&remedy);
        }
        self
    }
}

/// What can be done about an address that cannot be listened on.
fn listen_remedy(kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::PermissionDenied => {
            let user = privileges::plain_user();
            let user =
                user.map_or(String::new(), |user| format!("robin runs as user `{user}` now: "));
            Some(format!(
                "{user}start robin again to listen on a port that needs a right it had at its start, or take \
                 one above net.ipv4.ip_unprivileged_port_start"
            ))
        }
        ErrorKind::AddrInUse => Some("another process listens there".to_owned()),
        ErrorKind::AddrNotAvailable => Some("this host does not have that address".to_owned()),
        _ => None,
    }
}

impl From<Diagnostics> for Refused {
    fn from(problems: Diagnostics) -> Self {
        Self { lines: problems.lines(), text: problems.to_string() }.with_remedy()
    }
}
