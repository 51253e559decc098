//! The other end of the operator's socket: `robin peers` and its kin.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Ask};

/// How long an answer may take to begin; that of `drain` says something once a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long that of `reload` and `upgrade` may take: names are looked up, and another process starts.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
/// The longest line that is read: thousands of peers.
const LONGEST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no robin answers at {}: {error}", .path.display())]
    NoRobin {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It broke off.
    #[error("robin has not answered: {0}")]
    Broken(#[from] io::Error),
    /// It is another version, perhaps.
    #[error("robin's answer is not understood: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// Asks the robin whose socket is at `path`; each line of its answer goes to `take`.
///
/// # Errors
/// [`AskError`] says why there is no answer, or no whole one.
pub fn ask(path: &Path, ask: &Ask, mut take: impl FnMut(Answer)) -> Result<(), AskError> {
    let mut stream = UnixStream::connect(path)
        .map_err(|error| AskError::NoRobin { path: path.into(), error })?;
    let patience = match ask {
        Ask::Reload | Ask::Upgrade => LONG_PATIENCE,
        _ => PATIENCE,
    };
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{}\n", serde_json::to_string(ask)?).as_bytes())?;
    let mut lines = BufReader::new(stream).take(LONGEST);
    let mut any = false;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
            return if any { Ok(()) } else { Err(ended.into()) };
        }
        take(serde_json::from_str(&line)?);
        any = true;
        lines.set_limit(LONGEST);
    }
}
