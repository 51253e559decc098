//! Listening sockets.
//!
//! An address has one a worker, with SO_REUSEPORT, so that the kernel shares connections out and
//! no worker waits for another. A socket of the file system has one that all workers accept from. Its
//! file is open to all, as nginx's, and goes with the process; one that was left behind is
//! replaced, one that somebody answers at is not. Sockets that another process has opened for us are taken as
//! they are: closing one would reset the connections that wait in it.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::heritage::{self, Inherited};
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
    /// Those of each worker, with the position of their address.
    pub(super) workers: Vec<Vec<(usize, Listener)>>,
    /// Those of each address once more, to be handed to a process that takes our place.
    pub(super) originals: Vec<Vec<Listener>>,
    /// The files that go with the process.
    pub(super) files: SocketFiles,
}

/// Files of sockets, removed when dropped.
#[derive(Debug, Default)]
pub(super) struct SocketFiles(Vec<PathBuf>);

impl SocketFiles {
    /// Whether the file of an address is among them.
    pub(super) fn has(&self, address: &ListenAddress) -> bool {
        self.0.iter().any(|path| *address == ListenAddress::Unix(path.clone()))
    }

    /// Removes the file of an address that is listened on no more.
    pub(super) fn remove(&mut self, address: &ListenAddress) {
        let is_its = |path: &PathBuf| *address == ListenAddress::Unix(path.clone());
        drop(Self(self.0.extract_if(.., |path| is_its(path)).collect()));
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        if heritage::files_stay() {
            return;
        }
        for path in &self.0 {
            if let Err(error) = fs::remove_file(path) {
                let line = Line::new("socket file stays").field("file", path.display());
                line.field("error", error).warn("robin::serve");
            }
        }
    }
}

/// Takes as many open files as the system allows: a request needs one for its client and one for its
/// peer. A container often starts with 1024 and may have 524288, but has to ask.
pub(super) fn raise_open_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        let line = Line::new("open files stay limited").field("error", error);
        line.warn("robin::serve");
    }
}

/// The sockets of each worker; those that are inherited are not made anew.
///
/// # Errors
/// [`ListenError`] names the first address that is taken or not ours.
pub(super) fn bind(
    addresses: &[ListenAddress],
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Bound, ListenError> {
    let mut bound = Bound {
        workers: (0..workers).map(|_| Vec::with_capacity(addresses.len())).collect(),
        originals: addresses.iter().map(|address| inherited.listeners(address)).collect(),
        files: SocketFiles::default(),
    };
    // Any process of the same user may join in on an address with SO_REUSEPORT. A second robin by
    // mistake is to be told, so each address is tried without it first. It is not listened on:
    // a client that came to this socket would be reset.
    for (address, originals) in addresses.iter().zip(&bound.originals) {
        if let (ListenAddress::Tcp(tcp), true) = (address, originals.is_empty()) {
            let error = |source| ListenError { address: address.clone(), source };
            tcp_socket(*tcp, false).map_err(error)?;
        }
    }
    // The first comes last: whoever waits until it answers finds the others there too.
    for (n, address) in addresses.iter().enumerate().rev() {
        let error = |source| ListenError { address: address.clone(), source };
        bound.add(n, address, inherited).map_err(error)?;
    }
    Ok(bound)
}

impl Bound {
    /// Opens what is not inherited and shares all out.
    fn add(&mut self, n: usize, address: &ListenAddress, inherited: &Inherited) -> io::Result<()> {
        let originals = &mut self.originals[n];
        let is_new = originals.is_empty();
        match address {
            ListenAddress::Tcp(address) if is_new => {
                for _ in &self.workers {
                    let socket = tcp_socket(*address, true)?;
                    socket.listen(BACKLOG)?;
                    originals.push(Listener::Tcp(socket.into()));
                }
            }
            ListenAddress::Unix(path) if is_new => {
                let socket = unix_socket(path)?;
                self.files.0.push(path.clone());
                fs::set_permissions(path, Permissions::from_mode(OPEN_TO_ALL))?;
                socket.listen(BACKLOG)?;
                originals.push(Listener::Unix(socket.into()));
            }
            ListenAddress::Unix(path) if inherited.owns_file(path) => {
                self.files.0.push(path.clone())
            }
            ListenAddress::Tcp(_) | ListenAddress::Unix(_) => {}
        }
        // With fewer sockets than workers some share one; with more, some workers have several.
        let (sockets, workers) = (originals.len(), self.workers.len());
        for turn in 0..sockets.max(workers) {
            self.workers[turn % workers].push((n, originals[turn % sockets].try_clone()?));
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

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(listener) => listener.into(),
            Listener::Unix(listener) => listener.into(),
        }
    }
}

impl Listener {
    /// The same socket once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

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

    fn none() -> Inherited {
        Inherited::default()
    }

    #[test]
    fn inherited_sockets_are_all_taken_by_however_many_workers() {
        for (sockets, workers, shares) in
            [(1, 3, vec![1, 1, 1]), (3, 2, vec![2, 1]), (2, 3, vec![1, 1, 1])]
        {
            let free: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let first = tcp_socket(free, true).expect("a free port");
            let address = first.local_addr().ok().and_then(|a| a.as_socket()).expect("a port");
            let mut all = vec![first];
            all.extend((1..sockets).map(|_| tcp_socket(address, true).expect("shared")));
            all.iter().for_each(|socket| socket.listen(BACKLOG).expect("listens"));
            let mut inherited =
                Inherited::of(all.into_iter().map(|s| Listener::Tcp(s.into())).collect());
            let address = [ListenAddress::Tcp(address)];
            let bound = bind(&address, workers, &mut inherited).expect("they are there");
            let counts: Vec<usize> = bound.workers.iter().map(Vec::len).collect();
            assert_eq!(counts, shares, "{sockets} sockets for {workers} workers");
            assert_eq!(bound.originals[0].len(), sockets);
        }
    }

    #[test]
    fn an_address_in_use_is_told() {
        let taken = StdTcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address");
        let error =
            bind(&[ListenAddress::Tcp(address)], 2, &mut none()).expect_err("the port is taken");
        assert_eq!(error.address, ListenAddress::Tcp(address));
        assert!(error.to_string().contains("in use"), "{error}");
    }

    #[test]
    fn a_socket_file_is_open_to_all_and_goes_with_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let unix = [ListenAddress::Unix(path.clone())];
        let bound = bind(&unix, 2, &mut none()).expect("nobody is there");
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
        let error = bind(&unix, 1, &mut none()).expect_err("somebody answers");
        assert!(error.to_string().ends_with("Address already in use (os error 98)"), "{error}");
        drop(answering);
        assert!(path.exists(), "left behind");
        drop(bind(&unix, 1, &mut none()).expect("nobody answers"));
        fs::write(&path, "precious").expect("a file");
        bind(&unix, 1, &mut none()).expect_err("no socket");
        assert!(path.exists(), "what is no socket stays");
    }
}
