//! What a connect to a peer comes to: a socket of either kind. With TLS it is one end of a pair (see
//! [`super::tls`]).

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::protocols::l4::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection to a peer.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// The number that the system knows it by, as long as it is open.
    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(io) => io.as_raw_fd(),
            Self::Unix(io) => io.as_raw_fd(),
        }
    }

    /// Whether nothing has come that was not read, as far as the runtime has heard: not even its end.
    pub(super) fn has_nothing(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(io) => io.try_read(&mut byte),
            Self::Unix(io) => io.try_read(&mut byte),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Has what is written go out without waiting for more.
    pub(super) fn send_at_once(&self) {
        if let Self::Tcp(io) = self {
            // It may have ended already, which the first read tells.
            let _ = io.set_nodelay(true);
        }
    }

    /// The same connection for whose runtime this is called in: that of another wakes other tasks.
    ///
    /// # Errors
    /// Where the system does not let it go or does not watch it here; it is closed then.
    pub(super) fn hand_over(self) -> io::Result<Self> {
        match self {
            Self::Tcp(io) => TcpStream::from_std(io.into_std()?).map(Self::Tcp),
            Self::Unix(io) => UnixStream::from_std(io.into_std()?).map(Self::Unix),
        }
    }

    /// The connection as Pingora takes it.
    pub(super) fn into_stream(self) -> Stream {
        match self {
            Self::Tcp(io) => Stream::from(io),
            Self::Unix(io) => Stream::from(io),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Unix(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Unix(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
