//! Sockets that another process has opened for us: systemd, or the robin whose place we take.
//!
//! Both pass them the same way (`sd_listen_fds(3)`): `LISTEN_FDS` says how many there are, from number 3 on, and
//! `LISTEN_FDNAMES` what each is for. A listening socket is known by its address, whatever its name. A robin
//! before us passes its other sockets under names of our own, and one on which it waits to hear that we serve.
//!
//! Files (of sockets, the pid file) belong to whichever of the two goes on: see [`files_stay`].

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use listenfd::ListenFd;
use nix::sys::socket::{AddressFamily, SockType};

use super::listen::Listener;
use crate::config::model::ListenAddress;
use crate::observe::event::Line;

/// A listening socket that clients come to.
pub(super) const LISTENER: &str = "listener";
/// One whose file is somebody else's: systemd has opened it.
pub(super) const FOREIGN: &str = "foreign-listener";
/// A socket of `robin health`.
pub(super) const HEALTH: &str = "robin-health";
/// The operator's socket.
pub(super) const CONTROL: &str = "robin-control";
/// Where the process before us waits to hear that we serve.
pub(super) const HEARS: &str = "robin-hears";
/// What it hears then.
pub(super) const READY: &str = "ready";

/// The process that we took the place of; 0 is none.
static PARENT: AtomicU32 = AtomicU32::new(0);
/// Whether another process has taken ours.
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Whether another process goes on with the files of ours: the one that we were started by lives on, or the
/// one that we have started does.
pub(super) fn files_stay() -> bool {
    HANDED_OVER.load(Relaxed) || parent_lives()
}

/// Whether the process that we were to take the place of is still there.
pub(super) fn parent_lives() -> bool {
    match PARENT.load(Relaxed) {
        0 => false,
        parent => parent_id() == parent,
    }
}

/// Leaves files to another process, or takes them back.
pub(super) fn hand_over(handed: bool) {
    HANDED_OVER.store(handed, Relaxed);
}

/// Sockets that were opened for us.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<Listener>,
    /// Files of those that are neither ours nor of a robin before us.
    foreign: Vec<PathBuf>,
    pub(super) health: Vec<UnixListener>,
    pub(super) control: Option<UnixListener>,
    /// Where the process before us waits.
    hears: Option<UnixStream>,
    /// What cannot be used, to be told once there is a log.
    unusable: Vec<String>,
}

impl Inherited {
    /// Takes what the environment says. To be called once, before there is another thread.
    #[must_use]
    pub fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if let Err(error) = inherited.add(&mut passed, index, name) {
                inherited.unusable.push(format!("{name}: {error}"));
            }
        }
        if inherited.hears.is_some() {
            PARENT.store(parent_id(), Relaxed);
        }
        inherited
    }

    /// Those that we have opened ourselves.
    pub(super) fn of(listeners: Vec<Listener>) -> Self {
        Self { listeners, ..Self::default() }
    }

    fn add(&mut self, passed: &mut ListenFd, index: usize, name: &str) -> io::Result<()> {
        if name == HEARS {
            let (family, kind) = (AddressFamily::Unix as i32, SockType::Stream as i32);
            self.hears = passed.take_custom(index, family, kind, "unix stream socket")?;
            return Ok(());
        }
        let unix = match passed.take_tcp_listener(index) {
            Ok(Some(listener)) => {
                listener.set_nonblocking(true)?;
                self.listeners.push(Listener::Tcp(listener));
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(_) => passed.take_unix_listener(index)?,
        };
        let Some(listener) = unix else { return Ok(()) };
        listener.set_nonblocking(true)?;
        match name {
            HEALTH => self.health.push(listener),
            CONTROL => self.control = Some(listener),
            FOREIGN => {
                let address = listener.local_addr()?;
                self.foreign.extend(address.as_pathname().map(Path::to_owned));
                self.listeners.push(Listener::Unix(listener));
            }
            _ => self.listeners.push(Listener::Unix(listener)),
        }
        Ok(())
    }

    /// Whether the file of a socket is ours to remove: that of a robin before us is, systemd's is not.
    pub(super) fn owns_file(&self, path: &Path) -> bool {
        self.hears.is_some() && !self.foreign.iter().any(|foreign| foreign == path)
    }

    /// Takes those that listen on an address.
    pub(super) fn listeners(&mut self, address: &ListenAddress) -> Vec<Listener> {
        self.listeners.extract_if(.., |listener| is_at(listener, address)).collect()
    }

    /// Takes the operator's socket, if it is at this path.
    pub(super) fn control_at(&mut self, path: &Path) -> Option<UnixListener> {
        self.control.take_if(|listener| is_unix(listener, path))
    }

    /// Says what of it is used by nobody. What a robin before us had and the configuration has no more is closed
    /// silently: that one serves whoever has come to it.
    pub(super) fn tell(&self) {
        for error in &self.unusable {
            let line = Line::new("inherited socket is not usable").field("error", error);
            line.warn("robin::serve");
        }
        for listener in self.listeners.iter().filter(|_| self.hears.is_none()) {
            let line =
                Line::new("inherited socket is closed, the configuration does not listen there");
            line.field("address", name(listener)).warn("robin::serve");
        }
    }

    /// Tells the process before us that we serve.
    pub(super) fn ready(&mut self) {
        self.say(READY);
    }

    /// Tells the process before us, if there is one, why we do not serve.
    pub fn failed(&mut self, why: &str) {
        self.say(why);
    }

    fn say(&mut self, word: &str) {
        if let Some(mut hears) = self.hears.take() {
            // If it is gone, nobody wants to know.
            let _ = hears.write_all(word.trim_end().as_bytes());
        }
    }
}

fn is_at(listener: &Listener, address: &ListenAddress) -> bool {
    match (listener, address) {
        (Listener::Tcp(listener), ListenAddress::Tcp(wanted)) => {
            listener.local_addr().is_ok_and(|address| is_same(address, *wanted))
        }
        (Listener::Unix(listener), ListenAddress::Unix(path)) => is_unix(listener, path),
        _ => false,
    }
}

/// Scope and flow of an IPv6 address do not matter.
fn is_same(address: SocketAddr, wanted: SocketAddr) -> bool {
    (address.ip(), address.port()) == (wanted.ip(), wanted.port())
}

fn is_unix(listener: &UnixListener, path: &Path) -> bool {
    listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
}

fn name(listener: &Listener) -> String {
    let address = match listener {
        Listener::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp).ok(),
        Listener::Unix(listener) => {
            let path = listener.local_addr().ok();
            path.and_then(|path| Some(ListenAddress::Unix(path.as_pathname()?.into())))
        }
    };
    address.map_or_else(|| "unknown".into(), |address| address.to_string())
}
