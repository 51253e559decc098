//! `-s`: a signal to the process whose id is in the pid file.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::options::Order;
use super::start::Setting;
use crate::config::open_failed;

impl Order {
    /// The signal that says it.
    fn signal(self) -> Signal {
        match self {
            Self::Stop => Signal::SIGTERM,
            Self::Quit => Signal::SIGQUIT,
            Self::Reload => Signal::SIGHUP,
            Self::Reopen => Signal::SIGUSR1,
        }
    }
}

impl Setting {
    /// Tells the running process what to do; false where that was not possible.
    pub(super) fn order(&self, order: Order) -> bool {
        // As nginx does: the configuration says where the pid file is, and has to be a good one.
        let Some(loaded) = self.load() else { return false };
        let told = match self.pid_file(&loaded) {
            Some(path) => {
                let name = path.display().to_string();
                read(&name).and_then(|pid| send(pid, order.signal()))
            }
            None => Err("[error] there is no pid file: `pid` names one".to_owned()),
        };
        if let Err(error) = &told {
            eprintln!("{}: {error}", self.name());
        }
        told.is_ok()
    }
}

fn read(path: &str) -> Result<Pid, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("[error] {}", open_failed(path, &error)))?;
    let text = text.trim_end();
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(format!("[error] invalid PID number \"{text}\" in \"{path}\"")),
    }
}

fn send(pid: Pid, signal: Signal) -> Result<(), String> {
    kill(pid, signal).map_err(|error: Errno| {
        let (signal, number) = (signal as i32, error as i32);
        format!("[alert] kill({pid}, {signal}) failed ({number}: {})", error.desc())
    })
}
