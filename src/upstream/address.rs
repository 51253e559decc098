//! Where a peer is reached: its identity.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The address of a peer. Cheap to clone: a path is shared, never copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddress {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket of the file system.
    Unix(Arc<Path>),
}

impl PeerAddress {
    /// Address and port; none for a socket of the file system.
    #[must_use]
    pub fn as_tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The address without its port; none for a socket of the file system.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_tcp().map(|address| address.ip())
    }

    /// The port; 0 for a socket of the file system, which has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.as_tcp().map_or(0, |address| address.port())
    }
}

impl<T: Into<SocketAddr>> From<T> for PeerAddress {
    fn from(address: T) -> Self {
        Self::Tcp(address.into())
    }
}

impl PartialEq<SocketAddr> for PeerAddress {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_tcp() == Some(*other)
    }
}

impl fmt::Display for PeerAddress {
    /// As nginx's `$upstream_addr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_in_nginx() {
        assert_eq!(PeerAddress::from(([127, 0, 0, 1], 80)).to_string(), "127.0.0.1:80");
        let path = PeerAddress::Unix(Path::new("/run/app.sock").into());
        assert_eq!(path.to_string(), "unix:/run/app.sock");
        assert_eq!((path.as_tcp(), path.port()), (None, 0));
    }
}
