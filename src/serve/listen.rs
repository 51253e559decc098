//! Listening sockets.
//!
//! An address has one a worker, with SO_REUSEPORT, so that the kernel shares connections out and
//! no worker waits for another. A socket of the file system has one that all workers accept from. Its
//! file is open to all, as nginx's, and goes with the process; one that was left behind is
//! replaced, one that somebody answers at is not.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::model::ListenAddress;
use crate::observe::event::Line;
use crate::proxy;

/// nginx's default backlog on Linux.
const BACKLOG: i32 = 511;
/// Anybody may connect, as nginx has it.
const OPEN_TO_ALL: u32 = 0o666;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: ListenAddress,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A socket that is listened on, before a worker accepts from it.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// All listening sockets of a process.
#[derive(Debug)]
pub(super) struct Bound {
    /// Those of each worker, in the order of the addresses.
    pub(super) workers: Vec<Vec<Listener>>,
    /// The files that go with the process.
    pub(super) files: SocketFiles,
}

/// Files of sockets, removed when dropped.
#[derive(Debug, Default)]
pub(super) struct SocketFiles(Vec<PathBuf>);

impl SocketFiles {
    /// Removes the file of an address that is listened on no more.
    pub(super) fn remove(&mut self, address: &ListenAddress) {
        let is_its = |path: &PathBuf| *address == ListenAddress::Unix(path.clone());
        drop(Self(self.0.extract_if(.., |path| is_its(path)).collect()));
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = fs::remove_file(path) {
                let line = Line::new("socket file stays").field("file", path.display());
                log::warn!(target: "robin::serve", "{}", line.field("error", error));
            }
        }
    }
}

/// Takes as many open files as the system allows: a request needs one for its client and one for its
/// peer. A container often starts with 1024 and may have 524288, but has to ask.
pub(super) fn raise_open_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        let line = Line::new("open files stay limited").field("error", error);
        log::warn!(target: "robin::serve", "{line}");
    }
}

/// The sockets of each worker, in the order of `addresses`.
///
/// # Errors
/// [`ListenError`] names the first address that is taken or not ours.
pub(super) fn bind(addresses: &[ListenAddress], workers: usize) -> Result<Bound, ListenError> {
    // Any process of the same user may join in on an address with SO_REUSEPORT. A second robin by
    // mistake is to be told, so each address is tried without it first. It is not listened on:
    // a client that came to this socket would be reset.
    for address in addresses {
        if let ListenAddress::Tcp(tcp) = address {
            let error = |source| ListenError { address: address.clone(), source };
            tcp_socket(*tcp, false).map_err(error)?;
        }
    }
    let mut bound = Bound {
        workers: (0..workers).map(|_| Vec::with_capacity(addresses.len())).collect(),
        files: SocketFiles::default(),
    };
    for address in addresses {
        bound.add(address).map_err(|source| ListenError { address: address.clone(), source })?;
    }
    Ok(bound)
}

impl Bound {
    fn add(&mut self, address: &ListenAddress) -> io::Result<()> {
        match address {
            ListenAddress::Tcp(address) => {
                for listeners in &mut self.workers {
                    let socket = tcp_socket(*address, true)?;
                    socket.listen(BACKLOG)?;
                    listeners.push(Listener::Tcp(socket.into()));
                }
            }
            ListenAddress::Unix(path) => {
                let socket = unix_socket(path)?;
                self.files.0.push(path.clone());
                fs::set_permissions(path, Permissions::from_mode(OPEN_TO_ALL))?;
                socket.listen(BACKLOG)?;
                let listener = StdUnixListener::from(socket);
                for listeners in &mut self.workers {
                    listeners.push(Listener::Unix(listener.try_clone()?));
                }
            }
        }
        Ok(())
    }
}

/// A socket bound to an address.
fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // As nginx's `ipv6only=on`: `[::]:80` and `0.0.0.0:80` stand side by side.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket bound to a path.
fn unix_socket(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    Ok(socket)
}

/// Whether there is a socket that nobody answers at.
fn is_left_behind(path: &Path) -> bool {
    let socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    socket && StdUnixStream::connect(path).is_err_and(refused)
}

/// A socket that a worker accepts from.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) io: proxy::Socket,
    /// Both ends; none for a socket of the file system.
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
}

impl Accepted {
    /// None for a client that has left already.
    fn tcp(io: TcpStream, client: SocketAddr) -> Option<Self> {
        let local = io.local_addr().ok()?;
        // Without it a slow client gets its last packet 40 ms late; a failure costs only that.
        let _ = io.set_nodelay(true);
        Some(Self { io: io.into(), ends: Some((client, local)) })
    }

    fn unix(io: UnixStream) -> Self {
        Self { io: io.into(), ends: None }
    }
}

impl Accepting {
    /// # Errors
    /// The system's.
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// Waits for a connection; none for one whose client has left already.
    ///
    /// # Cancel safety
    /// No connection is lost when the future is dropped.
    pub(super) async fn accept(&self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(io, client)| Accepted::tcp(io, client))
            }
            Self::Unix(listener) => listener.accept().await.map(|(io, _)| Some(Accepted::unix(io))),
        }
    }

    /// What the kernel has accepted already; closing the socket would reset it.
    ///
    /// The kernel itself is asked: Tokio knows only what it has seen when it last looked, and makes
    /// a task that accepts many wait for its next turn.
    pub(super) fn into_pending(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => listener.into_std().map(Listener::Tcp),
            Self::Unix(listener) => listener.into_std().map(Listener::Unix),
        }
    }
}

impl Listener {
    /// A connection that waits already; none for one whose client has left.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there are no more.
    pub(super) fn accept_now(&self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (io, client) = listener.accept()?;
                io.set_nonblocking(true)?;
                Ok(Accepted::tcp(TcpStream::from_std(io)?, client))
            }
            Self::Unix(listener) => {
                let (io, _) = listener.accept()?;
                io.set_nonblocking(true)?;
                Ok(Some(Accepted::unix(UnixStream::from_std(io)?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_told() {
        let taken = StdTcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address");
        let error = bind(&[ListenAddress::Tcp(address)], 2).expect_err("the port is taken");
        assert_eq!(error.address, ListenAddress::Tcp(address));
        assert!(error.to_string().contains("in use"), "{error}");
    }

    #[test]
    fn a_socket_file_is_open_to_all_and_goes_with_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let bound = bind(&[ListenAddress::Unix(path.clone())], 2).expect("nobody is there");
        assert_eq!(bound.workers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, OPEN_TO_ALL);
        StdUnixStream::connect(&path).expect("it is listened on");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_nobody_answers_at_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let unix = [ListenAddress::Unix(path.clone())];
        let answering = StdUnixListener::bind(&path).expect("a free path");
        let error = bind(&unix, 1).expect_err("somebody answers");
        assert!(error.to_string().ends_with("Address already in use (os error 98)"), "{error}");
        drop(answering);
        assert!(path.exists(), "left behind");
        drop(bind(&unix, 1).expect("nobody answers"));
        fs::write(&path, "precious").expect("a file");
        bind(&unix, 1).expect_err("no socket");
        assert!(path.exists(), "what is no socket stays");
    }
}
