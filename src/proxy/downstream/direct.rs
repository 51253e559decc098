//! The client's connection as it is read without Pingora: one whole message after another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, AsyncWrite, ReadBuf};

use super::Downstream;

impl Downstream {
    /// Reads on where nothing of the next request is here yet; false where the client has left.
    pub(in crate::proxy) fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<bool>> {
        if !self.intake.expect_head() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if !self.intake.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.poll_further(cx, space)
    }

    /// Reads what is there and puts it away; false where there is no more.
    pub(in crate::proxy) fn poll_further(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<bool>> {
        let mut read = ReadBuf::new(space);
        ready!(self.poll_socket(cx, &mut read))?;
        self.intake.keep(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }

    /// What has come and was not taken, where it begins a head that nobody has looked at.
    pub(in crate::proxy) fn untouched(&self) -> Option<&[u8]> {
        let plain = !self.connection.plain_to_tls && !self.connection.is_upgraded();
        let free = self.refusing.is_none() && self.replay.is_none() && plain;
        (free && self.intake.is_untouched()).then(|| self.intake.bytes())
    }

    /// Takes a whole message of so many bytes.
    pub(in crate::proxy) fn take_message(&mut self, count: usize) -> Bytes {
        self.intake.take(count)
    }

    /// How many bytes are here that were not taken.
    pub(in crate::proxy) fn held(&self) -> usize {
        self.intake.bytes().len()
    }

    /// Tells of a message that was taken whether some of it had come before the answer before.
    pub(in crate::proxy) fn tell_pipelined(&self) {
        if self.intake.is_pipelined() {
            self.connection.judged(None, true);
        }
    }

    /// Puts it back, to be read as if it had just come.
    pub(in crate::proxy) fn put_back(&mut self, message: &[u8]) {
        self.connection.expect_head();
        self.intake.put_back(message);
    }

    /// Whether the client has left; whatever waits for it goes on its way meanwhile.
    pub(in crate::proxy) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_read(cx, &mut ReadBuf::new(&mut [0]))
    }

    /// Writes all that waits, and lets go of what memory it has waited in.
    pub(in crate::proxy) fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self).poll_flush(cx))?;
        self.rest();
        Poll::Ready(Ok(()))
    }

    /// Lets go of memory that nothing waits in.
    pub(in crate::proxy) fn rest(&mut self) {
        if self.outgoing.waiting() == 0 {
            self.outgoing.rest();
            self.intake.rest();
        }
    }
}
