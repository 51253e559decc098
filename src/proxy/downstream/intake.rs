//! What comes from the client, taken apart into requests before Pingora reads it.
//!
//! Pingora gets one message at a time: a head once all of it is here and its request line was judged,
//! then the body up to its end. So no head reaches it behind a body, past this judgement, and what
//! is forwarded does not depend on how the client's bytes were cut. The first byte of a head is
//! given at once: with it Pingora begins to count the time for a head.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::exchange::head::Malformed;
use crate::exchange::raw::{self, Absolute, Chunks, Framing};

/// As much as Pingora would read of a head.
const LONGEST_HEAD: usize = 1 << 20;

/// Which part of the conversation comes next.
#[derive(Debug)]
enum Stage {
    /// A head, looked through for its end so far; whether its first byte was given away.
    Head { searched: usize, given: bool },
    /// So much of a body.
    Length(u64),
    /// A body in chunks.
    Chunked(Chunks),
    /// No request any more, but another protocol.
    Loose,
    /// Nothing that may be read: Pingora gets a byte that it refuses, and then the end.
    Lost,
}

/// What was read and not given to Pingora yet.
#[derive(Debug)]
pub(super) struct Intake {
    stage: Stage,
    bytes: BytesMut,
    /// How many of these may be given.
    ready: usize,
    /// Whether some of the present message had come before the one before it was answered.
    pipelined: bool,
}

/// What became of a head.
#[derive(Debug)]
pub(super) enum Judged {
    /// It may be given, and where its target was written in absolute form, that.
    Sound(Option<Absolute>),
    /// It is refused.
    Refused(Malformed),
}

impl Default for Intake {
    fn default() -> Self {
        let stage = Stage::Head { searched: 0, given: false };
        Self { stage, bytes: BytesMut::new(), ready: 0, pipelined: false }
    }
}

impl Intake {
    /// Whether some of the present message had come before the one before it was answered.
    pub(super) fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    /// Whether a part of the present message may be given.
    pub(super) fn is_ready(&self) -> bool {
        self.ready > 0
    }

    /// Whether what comes is not read any more.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.stage, Stage::Lost)
    }

    /// Whether nothing waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits here.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the present message has come to its end.
    pub(super) fn is_done(&self) -> bool {
        match &self.stage {
            Stage::Length(left) => *left == 0,
            Stage::Chunked(chunks) => chunks.is_done(),
            Stage::Head { .. } | Stage::Loose | Stage::Lost => false,
        }
    }

    /// Takes the message of so many bytes, which has ended with them.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        self.stage = Stage::Length(0);
        self.bytes.split_to(count).freeze()
    }

    /// Puts a message that was taken back, to be read as if it had just come.
    pub(super) fn put_back(&mut self, message: &[u8]) {
        let behind = std::mem::take(&mut self.bytes);
        self.bytes = BytesMut::with_capacity(message.len() + behind.len());
        self.bytes.extend_from_slice(message);
        self.bytes.extend_from_slice(&behind);
        self.stage = Stage::Head { searched: 0, given: false };
    }

    /// Whether nothing of the present head was given away.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.stage, Stage::Head { given: false, .. })
    }

    /// Lets go of memory that nothing is in.
    pub(super) fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Gives what may be given.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ready.min(buf.remaining());
        buf.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        self.ready -= count;
    }

    /// Puts away what was read beyond what may be given.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins with the next head; false where the present message has not ended.
    pub(super) fn expect_head(&mut self) -> bool {
        let within = matches!(self.stage, Stage::Head { .. });
        if !within && !self.is_done() {
            return false;
        }
        if !within {
            self.stage = Stage::Head { searched: 0, given: false };
            self.pipelined = !self.bytes.is_empty();
        }
        true
    }

    /// From now on everything is given as it comes.
    pub(super) fn loosen(&mut self) {
        self.stage = Stage::Loose;
        self.ready = self.bytes.len();
    }

    /// Looks how far the head has come; none where more of it is needed, or its first byte may be
    /// given.
    pub(super) fn judge(&mut self) -> Option<Judged> {
        let Stage::Head { searched, given } = &mut self.stage else { return None };
        if !*given {
            // Lines without anything before a head are passed over (RFC 9112, section 2.2).
            let empty = self.bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.bytes.advance(empty);
        }
        // The first byte stays here until the end, so that there is one head to judge.
        let Some(end) = raw::end(&self.bytes, searched.saturating_sub(3)) else {
            *searched = self.bytes.len();
            if let Err(why) = raw::begins(&self.bytes) {
                return Some(self.refuse(why));
            }
            if self.bytes.len() > LONGEST_HEAD {
                return Some(self.refuse(Malformed::HeadTooLarge));
            }
            return None;
        };
        let sound = match raw::read(&self.bytes[..end]) {
            Ok(sound) => sound,
            Err(why) => return Some(self.refuse(why)),
        };
        let given = usize::from(*given);
        let mut length = end;
        let absolute = sound.rewritten.map(|(absolute, head)| {
            let behind = self.bytes.split_off(end);
            length = head.len();
            self.bytes = BytesMut::from(&head[..]);
            self.bytes.unsplit(behind);
            absolute
        });
        self.bytes.advance(given);
        self.ready = length - given;
        self.stage = match sound.framing {
            Framing::Length(length) => Stage::Length(length),
            Framing::Chunked => Stage::Chunked(Chunks::default()),
        };
        Some(Judged::Sound(absolute))
    }

    /// Gives the first byte of a head that is not whole; false where it was given before or has not
    /// come.
    pub(super) fn give_first(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Stage::Head { given, .. } = &mut self.stage else { return false };
        let Some(first) = self.bytes.first().filter(|_| !*given && buf.remaining() > 0) else {
            return false;
        };
        buf.put_slice(&[*first]);
        *given = true;
        true
    }

    /// Puts what no parser takes in the place of the head: Pingora ends the connection.
    fn refuse(&mut self, why: Malformed) -> Judged {
        self.bytes = BytesMut::from(&b"\0\r\n\r\n"[..]);
        self.ready = self.bytes.len();
        self.stage = Stage::Lost;
        Judged::Refused(why)
    }

    /// Frees as much as belongs to the present body.
    pub(super) fn free(&mut self) {
        let waiting = &self.bytes[self.ready..];
        self.ready += match &mut self.stage {
            Stage::Head { .. } => 0,
            Stage::Length(left) => {
                let taken = (waiting.len() as u64).min(*left);
                *left -= taken;
                // No more than waits.
                usize::try_from(taken).unwrap_or(0)
            }
            Stage::Chunked(chunks) => {
                let taken = chunks.follow(waiting);
                if chunks.is_lost() {
                    // Pingora takes some of these for sound, an empty size for one.
                    self.bytes.truncate(self.ready);
                    self.bytes.extend_from_slice(b"\0");
                    self.stage = Stage::Lost;
                    self.ready += 1;
                    return;
                }
                taken
            }
            Stage::Loose => waiting.len(),
            Stage::Lost => 0,
        };
    }

    /// How many bytes may be read straight into Pingora's buffer: no more than are left of a body
    /// whose length is known. None where they have to be looked at first.
    pub(super) fn straight(&self) -> Option<usize> {
        match &self.stage {
            _ if !self.bytes.is_empty() => None,
            Stage::Length(left) if *left > 0 => Some(usize::try_from(*left).unwrap_or(usize::MAX)),
            Stage::Loose => Some(usize::MAX),
            _ => None,
        }
    }

    /// Takes note of so many bytes that were read so.
    pub(super) fn read_straight(&mut self, count: usize) {
        if let Stage::Length(left) = &mut self.stage {
            *left = left.saturating_sub(count as u64);
        }
    }
}
