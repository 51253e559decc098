//! Listening sockets: one a worker and address, with SO_REUSEPORT, so that the kernel shares
//! connections out and no worker waits for another.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::observe::event::Line;

/// nginx's default backlog on Linux.
const BACKLOG: i32 = 511;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
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
pub(super) fn bind(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<Vec<Vec<std::net::TcpListener>>, ListenError> {
    let error = |address| move |source| ListenError { address, source };
    for &address in addresses {
        // Any process of the same user may join in on an address with SO_REUSEPORT. A second robin by
        // mistake is to be told, so each address is tried without it first. It is not listened on:
        // a client that came to this socket would be reset.
        socket(address, false).map_err(error(address))?;
    }
    (0..workers)
        .map(|_| {
            let listening = |&address| {
                let listen = |socket: Socket| socket.listen(BACKLOG).map(|()| socket.into());
                socket(address, true).and_then(listen).map_err(error(address))
            };
            addresses.iter().map(listening).collect()
        })
        .collect()
}

/// A socket bound to an address.
fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address");
        let error = bind(&[address], 2).expect_err("the port is taken");
        assert_eq!(error.address, address);
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
