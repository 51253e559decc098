//! A terminal to look at: a tmux server of its own, which ends with whoever started it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{PATIENCE, holds_within};

/// A terminal.
pub struct Tmux {
    /// The server's socket.
    socket: PathBuf,
}

impl Tmux {
    /// Runs a line of shell in a terminal of that size, in a folder; none without tmux, which is told.
    ///
    /// # Panics
    /// When tmux is there and does not work.
    #[track_caller]
    pub fn start(line: &str, folder: &Path, width: u16, height: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("SKIPPED: there is no tmux to look at a terminal through");
            return None;
        }
        let tmux = Self { socket: folder.join("tmux.sock") };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let mut command = tmux.command(&["-f", "/dev/null", "new-session", "-d"]);
        command.args(size).arg("-c").arg(folder).arg(line);
        let output = command.output().expect("tmux runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // Whoever runs the tests within tmux has a server already.
        command.env_remove("TMUX").env_remove("NO_COLOR").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command.args(["-u", "-S"]).arg(&self.socket).args(arguments);
        command
    }

    fn tell(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("tmux runs")
    }

    /// What the terminal shows.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.tell(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Presses a key, by tmux's name for it.
    pub fn press(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    /// Makes it another size.
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.tell(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// What it shows, once that satisfies.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_for(&self, what: &str, satisfies: impl Fn(&str) -> bool) -> String {
        let mut shown = String::new();
        let holds = holds_within(PATIENCE, || {
            shown = self.shown();
            satisfies(&shown)
        });
        assert!(holds, "{what}, but it shows:\n{shown}");
        shown
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tell(&["kill-server"]);
    }
}
