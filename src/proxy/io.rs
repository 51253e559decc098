//! The bytes of a client's connection, whatever carries them: TCP or a socket of the file system,
//! plain or in TLS.
//!
//! What a proxy before this one says of the connection is read before all else. What comes then can
//! be read ahead of the rest. The first byte tells whether a client that has come to a listener with
//! TLS speaks TLS at all; one that does not is answered in plain text, as nginx does. The first 24
//! tell whether a client that has come to one without TLS speaks HTTP/2.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::exchange::proxy_protocol::{self, Read, Said};

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;

/// What a client that speaks HTTP/2 says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An accepted socket.
#[derive(Debug)]
pub struct Socket {
    carrier: Carrier,
    /// What was read ahead.
    ahead: BytesMut,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(io: TcpStream) -> Self {
        Self { carrier: Carrier::Tcp(io), ahead: BytesMut::new() }
    }
}

impl From<UnixStream> for Socket {
    fn from(io: UnixStream) -> Self {
        Self { carrier: Carrier::Unix(io), ahead: BytesMut::new() }
    }
}

impl Socket {
    /// Waits for the client's first byte and tells whether it begins a TLS handshake. The byte
    /// stays to be read.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::UnexpectedEof`] when the client leaves without a word.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn begins_tls(&mut self) -> io::Result<bool> {
        if self.ahead.is_empty() {
            self.look_ahead(1).await?;
        }
        Ok(self.ahead.first() == Some(&HANDSHAKE))
    }

    /// Waits for as much as tells whether the client speaks HTTP/2 without having asked, which the
    /// first byte nearly always does. All of it stays to be read.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::UnexpectedEof`] when the client leaves before that.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn begins_http2(&mut self) -> io::Result<bool> {
        while PREFACE.starts_with(&self.ahead) {
            let missing = PREFACE.len() - self.ahead.len();
            if missing == 0 {
                return Ok(true);
            }
            self.look_ahead(missing).await?;
        }
        // What follows a header of a proxy's may be more than the preface.
        Ok(self.ahead.starts_with(PREFACE))
    }

    /// Reads so many bytes at most and keeps them.
    async fn look_ahead(&mut self, most: usize) -> io::Result<()> {
        let mut bytes = [0; PREFACE.len()];
        let read = match &mut self.carrier {
            Carrier::Tcp(io) => io.read(&mut bytes[..most]).await?,
            Carrier::Unix(io) => io.read(&mut bytes[..most]).await?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.extend_from_slice(&bytes[..read]);
        Ok(())
    }

    /// Reads what a proxy before this one says of the connection.
    ///
    /// # Errors
    /// The socket's, and [`io::ErrorKind::InvalidData`] for what is no such header.
    ///
    /// # Cancel safety
    /// None: a part of the header may be lost.
    pub async fn proxy_protocol(&mut self) -> io::Result<Said> {
        let mut head = BytesMut::new();
        loop {
            let found = proxy_protocol::read(&head);
            let found = found.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if let Read::Header(said, length) = found {
                head.advance(length);
                self.ahead = head;
                return Ok(said);
            }
            let mut piece = [0; 512];
            match self.read(&mut piece).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => head.extend_from_slice(&piece[..count]),
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match &self.carrier {
            Carrier::Tcp(io) => io.as_raw_fd(),
            Carrier::Unix(io) => io.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match &mut self.carrier {
            Carrier::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Carrier::Unix(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Carrier::Unix(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets keep nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Carrier::Unix(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// A connection that HTTP is spoken on.
#[derive(Debug)]
pub enum Io {
    /// As it comes from the socket.
    Plain(Socket),
    /// In TLS, after the handshake.
    Tls(Box<TlsStream<Socket>>),
}

impl AsRawFd for Io {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(socket) => socket.as_raw_fd(),
            Self::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => match Pin::new(tls).poll_read(cx, buf) {
                // Browsers close without the alert that TLS asks for; nginx takes it for an end, too.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// What HTTP/2 is spoken on: it needs nothing but the bytes.
#[async_trait]
impl Shutdown for Io {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Io {
    fn id(&self) -> UniqueIDType {
        self.as_raw_fd()
    }
}

impl Ssl for Io {}
impl Peek for Io {}

impl GetTimingDigest for Io {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Io {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Io {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    async fn first_of(bytes: &[u8]) -> (bool, Vec<u8>) {
        let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
        client.write_all(bytes).await.expect("room for a few bytes");
        drop(client);
        let mut socket = Socket::from(server);
        let tls = socket.begins_tls().await.expect("there is a byte");
        assert_eq!(socket.begins_tls().await.expect("the byte is kept"), tls);
        let mut read = Vec::new();
        socket.read_to_end(&mut read).await.expect("all is sent");
        (tls, read)
    }

    #[tokio::test]
    async fn the_first_byte_tells_tls_from_plain_text_and_stays_to_be_read() {
        assert_eq!(first_of(b"\x16\x03\x01").await, (true, b"\x16\x03\x01".to_vec()));
        assert_eq!(first_of(b"GET / HTTP/1.1").await, (false, b"GET / HTTP/1.1".to_vec()));
    }

    #[tokio::test]
    async fn the_preface_tells_http2_from_http1_and_stays_to_be_read() {
        for (sent, http2) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"[..], true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", false),
            (b"PUT / HTTP/1.1\r\n", false),
        ] {
            let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
            client.write_all(sent).await.expect("room for a few bytes");
            drop(client);
            let mut socket = Socket::from(server);
            assert_eq!(socket.begins_http2().await.expect("enough is sent"), http2);
            let mut read = Vec::new();
            socket.read_to_end(&mut read).await.expect("all is sent");
            assert_eq!(read, sent);
        }
    }
}
