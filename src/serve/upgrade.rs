//! Another process in our place: the binary is started again, which may be another version by now, and is
//! handed every listening socket.
//!
//! They are the very sockets, not others at the same address: what waits in the queue of one that is closed
//! is reset. The other process accepts from them as we do, until one of us ends. It says when it serves, or why it
//! does not; then nothing has changed. `heritage` is the other end of this.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::sync::mpsc;

use super::heritage::{self, HEARS, READY};

/// How long the other process may take to serve: its names are looked up and its peers probed by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of the first socket that is passed (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// Why no other process is started.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    /// The end of the first process is that of its container.
    #[error(
        "this is the first process of a container, which ends with it: start a container of the new image instead"
    )]
    FirstProcess,
    /// There are two already, be it that the one whose place we have taken still drains.
    #[error("there are two processes already: one that another takes the place of is not gone yet")]
    UnderWay,
    /// The system.
    #[error("cannot start the binary again: {0}")]
    Start(#[from] io::Error),
}

/// What becomes of the other process.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves.
    Ready,
    /// It has ended, with what there is to say of that.
    Ended(String),
}

/// The process that is to take our place.
#[derive(Debug)]
pub(super) struct Heir {
    id: u32,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Heir {
    /// Whether there may be one.
    ///
    /// # Errors
    /// [`UpgradeError`] says why not.
    pub(super) fn check(present: Option<&Self>) -> Result<(), UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        if present.is_some() || heritage::parent_lives() {
            return Err(UpgradeError::UnderWay);
        }
        Ok(())
    }

    /// Starts it with these sockets, each under its name.
    ///
    /// # Errors
    /// [`UpgradeError`] says why it cannot be started.
    pub(super) fn start(sockets: Vec<(&'static str, OwnedFd)>) -> Result<Self, UpgradeError> {
        let (hears, says) = UnixStream::pair()?;
        let mut sockets = sockets;
        sockets.push((HEARS, says.into()));
        let child = spawn(sockets)?;
        let id = child.id();
        let (sender, events) = mpsc::unbounded_channel();
        thread::Builder::new().name("heir".into()).spawn(move || watch(child, hears, &sender))?;
        Ok(Self { id, events })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Waits for what becomes of it.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn event(&mut self) -> Event {
        let unknown = || Event::Ended("nobody knows what became of it".to_owned());
        self.events.recv().await.unwrap_or_else(unknown)
    }
}

/// Starts the binary as we were started.
fn spawn(sockets: Vec<(&'static str, OwnedFd)>) -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "robin".into());
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new(program);
    command.args(arguments).env("LISTEN_FDS", names.len().to_string());
    command.env("LISTEN_FDNAMES", names.join(":")).env_remove("LISTEN_PID");
    let mapping = |((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd };
    let mappings = sockets.into_iter().zip(FIRST..).map(mapping).collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // Our copies of what is passed end with the command.
    command.spawn()
}

/// Waits for its word, then for its end.
fn watch(mut child: Child, mut hears: UnixStream, events: &mpsc::UnboundedSender<Event>) {
    let mut said = String::new();
    let limited = hears.set_read_timeout(Some(PATIENCE));
    if limited.and_then(|()| hears.read_to_string(&mut said)).is_err() {
        said = format!("it has not begun to serve within {} s", PATIENCE.as_secs());
        // One that has ended by itself needs no end.
        let _ = child.kill();
    }
    if said == READY {
        said.clear();
        // Nobody listens when we end ourselves.
        let _ = events.send(Event::Ready);
    }
    let status = child.wait();
    if said.is_empty() {
        said = match status {
            Ok(status) => format!("it has ended: {status}"),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
    }
    let _ = events.send(Event::Ended(said));
}
