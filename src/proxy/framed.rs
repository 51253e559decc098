//! The bytes of a connection of HTTP/2 on their way to Pingora, with an eye on what they are for.
//!
//! Frames that ask for nothing cost work: PING and SETTINGS want answers, PRIORITY and WINDOW_UPDATE
//! are looked at, and so are frames of unknown kinds. Flow control bounds none of them. They are
//! weighed against what the client asks for and gets; one that sends too many is called a flood.
//!
//! A frame whose length cannot be is named FRAME_SIZE_ERROR (RFC 9113, section 4.2) before the h2 crate
//! sees it, which would say PROTOCOL_ERROR.

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use h2::Reason;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::io::Io;

/// As many frames may be for nothing before anything is asked for.
const ALLOWANCE: u64 = 10_000;
/// As many more for each head, for each piece of a body, and in each second: a head may have a priority
/// changed a few times, clients measure the line with a PING for a piece, and keep it open with others.
const A_HEAD: u64 = 100;
const A_PIECE: u64 = 4;
const A_SECOND: u64 = 10;
/// One more for so many bytes of bodies either way: their receiver says that it has room again.
const BYTES: u64 = 64;

/// Says when a client has sent what ends its connection.
#[derive(Clone, Debug, Default)]
pub struct Offence {
    told: Arc<Notify>,
    reason: Arc<AtomicU32>,
}

impl Offence {
    /// Waits until it has; returns what it is to be told.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub async fn seen(&self) -> Reason {
        self.told.notified().await;
        self.reason.load(Relaxed).into()
    }

    fn tell(&self, reason: Reason) {
        self.reason.store(reason.into(), Relaxed);
        self.told.notify_one();
    }
}

/// A connection that HTTP/2 is spoken on.
#[derive(Debug)]
pub struct Framed {
    io: Io,
    weighed: Weighed,
    since: Instant,
    written: u64,
    offence: Offence,
    /// Whether nothing more is read: what comes is not to be understood.
    deaf: bool,
}

impl Framed {
    /// Watches a connection from its first byte on.
    #[must_use]
    pub fn new(io: Io) -> (Self, Offence) {
        let offence = Offence::default();
        let framed = Self {
            io,
            weighed: Weighed::default(),
            since: Instant::now(),
            written: 0,
            offence: offence.clone(),
            deaf: false,
        };
        (framed, offence)
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Weighed {
    heads: u64,
    /// Frames of bodies, and their bytes.
    pieces: u64,
    payload: u64,
    /// All other frames.
    others: u64,
    /// The head of a frame that is being read.
    head: [u8; 9],
    length: usize,
    /// Bytes of the preface, or of the present frame, that are still to come.
    rest: Option<usize>,
}

impl Weighed {
    /// Bytes of the preface of a connection.
    const PREFACE: usize = 24;

    /// Takes note of what was read; how much of it is before a frame that cannot have its length, if
    /// there is one.
    fn add(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut rest = self.rest.unwrap_or(Self::PREFACE);
        let mut at = 0;
        loop {
            let skipped = rest.min(bytes.len() - at);
            at += skipped;
            rest -= skipped;
            if at == bytes.len() {
                break;
            }
            let begins = at;
            let missing = (self.head.len() - self.length).min(bytes.len() - at);
            self.head[self.length..self.length + missing].copy_from_slice(&bytes[at..at + missing]);
            self.length += missing;
            at += missing;
            if self.length < self.head.len() {
                break;
            }
            self.length = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            rest = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if !can_be(kind, flags, rest) {
                return Err(begins);
            }
            match kind {
                0 if rest > 0 => {
                    self.pieces += 1;
                    self.payload += rest as u64;
                }
                1 => self.heads += 1,
                _ => self.others += 1,
            }
        }
        self.rest = Some(rest);
        Ok(())
    }

    fn is_flood(&self, written: u64, seconds: u64) -> bool {
        let earned = self.heads.saturating_mul(A_HEAD)
            + self.pieces.saturating_mul(A_PIECE)
            + seconds.saturating_mul(A_SECOND)
            + self.payload.saturating_add(written) / BYTES;
        self.others > earned.saturating_add(ALLOWANCE)
    }
}

/// Whether a frame of this kind can have this length (RFC 9113, section 6).
fn can_be(kind: u8, flags: u8, length: usize) -> bool {
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const WINDOW_UPDATE: u8 = 8;
    const ACK: u8 = 1;
    match kind {
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if flags & ACK != 0 => length == 0,
        SETTINGS => length.is_multiple_of(6),
        PING => length == 8,
        GOAWAY => length >= 8,
        _ => true,
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.deaf {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let Self { weighed, written, since, .. } = &mut *self;
            let sound = weighed.add(&buf.filled()[before..]);
            let flood = weighed.is_flood(*written, since.elapsed().as_secs());
            let Err(sound) = sound else {
                if flood {
                    self.offence.tell(Reason::ENHANCE_YOUR_CALM);
                }
                return Poll::Ready(Ok(()));
            };
            self.deaf = true;
            self.offence.tell(Reason::FRAME_SIZE_ERROR);
            if sound > 0 {
                buf.set_filled(before + sound);
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
        // Whoever waits for the offence has been woken, and ends the connection.
        Poll::Pending
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Framed {
    async fn shutdown(&mut self) {
        self.io.shutdown().await;
    }
}

impl UniqueID for Framed {
    fn id(&self) -> UniqueIDType {
        self.io.as_raw_fd()
    }
}

impl Ssl for Framed {}
impl Peek for Framed {}

impl GetTimingDigest for Framed {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Framed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Framed {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = length.to_be_bytes();
        [&[a, b, c, kind, 0, 0, 0, 0, 1][..], &vec![0; length]].concat()
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let frames = [vec![0; 24], frame(4, 6), frame(1, 100), frame(6, 8), frame(0, 1000)];
        let bytes = frames.concat();
        for piece in [1, 7, 9, 33, bytes.len()] {
            let mut weighed = Weighed::default();
            bytes.chunks(piece).for_each(|piece| weighed.add(piece).expect("sound frames"));
            let counted = (weighed.heads, weighed.pieces, weighed.payload, weighed.others);
            assert_eq!(counted, (1, 1, 1000, 2), "pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_cannot_be_so_long_ends_what_is_read() {
        for (kind, length) in [(3, 5), (4, 7), (6, 7), (7, 4), (8, 3)] {
            let bytes = [vec![0; 24], frame(1, 10), frame(kind, length)].concat();
            assert_eq!(Weighed::default().add(&bytes), Err(24 + 19), "kind {kind}");
        }
        assert!(can_be(4, 1, 0) && !can_be(4, 1, 6), "an acknowledgement says nothing");
    }

    #[test]
    fn who_pings_without_end_is_a_flood_and_who_transfers_is_none() {
        let weigh = |frame: &[u8], times: usize| {
            let mut weighed = Weighed::default();
            weighed.add(&[0; 24]).expect("sound frames");
            (0..times).for_each(|_| weighed.add(frame).expect("sound frames"));
            weighed
        };
        assert!(!weigh(&frame(6, 8), 10_000).is_flood(0, 0));
        assert!(weigh(&frame(6, 8), 10_001).is_flood(0, 0));
        assert!(!weigh(&frame(6, 8), 10_100).is_flood(0, 10), "one a second is none");
        assert!(!weigh(&frame(8, 4), 1_000_000).is_flood(1 << 30, 0), "a large answer");
        assert!(!weigh(&[frame(0, 50), frame(6, 8)].concat(), 100_000).is_flood(0, 0));
        assert!(weigh(&frame(0, 0), 20_000).is_flood(0, 0), "empty pieces");
    }
}
