//! Bytes on their way to the client.
//!
//! Small writes are gathered, larger ones go to the socket directly. When the socket is full, what
//! comes waits here as far as the route allows: first in memory, then in a temporary file; so that
//! a client that reads slowly holds no peer. The file is not used before writes have had to wait
//! for some time: a client that is only a little slower than the peer needs none. Whatever waits
//! is written as soon as the socket takes it, whenever the stream is polled.

mod pace;

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

use self::pace::Progress;
pub(in crate::proxy) use self::pace::{Pace, SLOW_SPAN};
use crate::health::clock;
use crate::proxy::spool::{PIECE, Piece, TempFile};

/// Writes below this many bytes are gathered; one of this size goes out by itself. A head and
/// a small body fit.
pub(super) const GATHERED: usize = 4096;

/// How long the writes of one answer wait for the client in all before a file takes them.
const PATIENCE: Duration = Duration::from_millis(100);

/// How much comes from the file at once: this much each client holds that does not read.
const READ: u64 = 8 << 10;

/// nginx's default of `send_timeout`.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How the present answer is sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// Without progress for so long, the connection is given up.
    pub(super) timeout: Duration,
    /// What may wait; none when writes wait for the client.
    pub(super) keep: Option<Keep>,
    /// The same of an answer that is complete.
    pub(super) rest: Option<Keep>,
    /// How fast it goes out; none for as fast as it can.
    pub(super) pace: Option<Pace>,
    /// Bytes a second below which the connection is given up; 0 for never.
    pub(super) min_rate: u64,
}

impl Default for Sending {
    fn default() -> Self {
        Self { timeout: SEND_TIMEOUT, keep: None, rest: None, pace: None, min_rate: 0 }
    }
}

/// How much of an answer may wait for its client.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Keep {
    /// Bytes in memory.
    memory: usize,
    /// Bytes in a file; 0 for no file.
    file: u64,
    /// Where files are made.
    directory: Option<PathBuf>,
    /// How long writes still wait before there is a file.
    patience: Duration,
}

impl Keep {
    /// Up to `memory` bytes in memory and `file` bytes in a file.
    pub(in crate::proxy) fn new(memory: u64, file: u64, directory: Option<PathBuf>) -> Self {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        Self { memory, file, directory, patience: PATIENCE }
    }
}

/// What is to be written, in this order: the front, then what is in the file, then its tail.
pub(super) struct Outgoing {
    front: Vec<u8>,
    /// How many bytes of the front are written.
    written: usize,
    /// How many writes are gathered.
    writes: usize,
    /// Whether the stream may hold back what was written, as TLS does.
    unflushed: bool,
    /// Whether all that waits was asked to go out, and has not.
    asked: bool,
    spill: Option<Spill>,
    sending: Arc<Mutex<Sending>>,
    /// Runs while the socket is full.
    stall: Timer,
    /// How fast the client takes what waits for it.
    progress: Progress,
    /// Runs while the answer's rate has no room.
    pause: Timer,
    /// Runs while a write waits for room in memory.
    patience: Timer,
    /// Why nothing more can be written.
    failed: Option<io::ErrorKind>,
}

impl Outgoing {
    pub(super) fn new(sending: Arc<Mutex<Sending>>) -> Self {
        Self {
            front: Vec::new(),
            written: 0,
            writes: 0,
            unflushed: false,
            asked: false,
            spill: None,
            sending,
            stall: Timer::default(),
            progress: Progress::default(),
            pause: Timer::default(),
            patience: Timer::default(),
            failed: None,
        }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> u64 {
        let front = self.front.len() - self.written;
        front as u64 + self.spill.as_ref().map_or(0, Spill::waiting)
    }

    /// Whether something waits that is not just gathered for the next flush: several writes, one that
    /// the socket had no room for, or one that had to wait at the last flush. A head alone waits for its body, as in nginx.
    pub(super) fn is_due(&self) -> bool {
        self.writes > 1
            || self.written > 0
            || self.front.len() > GATHERED
            || self.spill.is_some()
            || self.unflushed
            || self.asked
    }

    /// Lets go of memory that nothing is in.
    pub(super) fn rest(&mut self) {
        if self.front.is_empty() {
            self.front = Vec::new();
        }
    }

    /// Adds `bytes` whatever the limits are.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.front.capacity() == 0 {
            self.front.reserve(GATHERED);
        }
        self.front.extend_from_slice(bytes);
        self.writes += 1;
    }

    /// Takes bytes, or waits for room.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.spill.is_none() && self.front.len() + bytes.len() <= GATHERED {
            self.push(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.poll_drain(io, cx)?.is_ready() {
            if bytes.len() < GATHERED {
                self.push(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            if let Poll::Ready(count) = self.poll_socket(io, cx, bytes)? {
                return Poll::Ready(Ok(count));
            }
        }
        self.poll_keep(cx, bytes)
    }

    /// Writes and flushes all that waits.
    pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.asked = true;
        loop {
            while self.written < self.front.len() {
                let front = std::mem::take(&mut self.front);
                let written = self.poll_socket(io, cx, &front[self.written..]);
                self.front = front;
                if written.is_pending() {
                    self.settle(cx);
                }
                // What waits for its file waits for the socket no more.
                if !self.front.is_empty() {
                    self.written += ready!(written)?;
                }
            }
            self.front.clear();
            self.written = 0;
            self.writes = 0;
            let Some(spill) = &mut self.spill else {
                ready!(self.poll_flush(io, cx))?;
                self.progress.stop();
                self.asked = false;
                if self.front.capacity() > 2 * GATHERED {
                    self.front.shrink_to(GATHERED);
                }
                return Poll::Ready(Ok(()));
            };
            match ready!(spill.poll_next(cx))? {
                Some(bytes) => self.front = bytes,
                None => self.spill = None,
            }
        }
    }

    /// Writes to the socket; fails when it has taken nothing for too long.
    fn poll_socket<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(failed) = self.failed {
            return Poll::Ready(Err(failed.into()));
        }
        let (pace, min_rate) = {
            let sending = self.sending();
            (sending.pace, sending.min_rate)
        };
        let room = match &pace {
            Some(pace) => ready!(pace.poll_room(&mut self.pause, cx)).min(bytes.len()),
            None => bytes.len(),
        };
        let written = match Pin::new(io).poll_write(cx, &bytes[..room]) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => written,
        };
        self.unflushed |= written.is_ready();
        // One that gets its bytes slowly is not to blame for it.
        let min_rate = if pace.is_some() { 0 } else { min_rate };
        let count = match &written {
            Poll::Ready(Ok(count)) => Some(*count),
            _ => None,
        };
        if self.progress.is_too_slow(count, min_rate, clock::now()) {
            self.failed = Some(io::ErrorKind::TimedOut);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let (Poll::Ready(Ok(count)), Some(mut pace)) = (&written, pace) {
            pace.sent(*count, &mut self.pause);
            self.sending().pace = Some(pace);
        }
        self.judge(cx, written)
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            let flushed = Pin::new(io).poll_flush(cx);
            ready!(self.judge(cx, flushed))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the time limit of a socket that has taken something, and makes errors last.
    fn judge<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let error = match done {
            Poll::Ready(Ok(done)) => {
                self.stall.stop();
                return Poll::Ready(Ok(done));
            }
            Poll::Ready(Err(error)) => error,
            Poll::Pending => {
                let timeout = || {
                    let sending = self.sending.lock();
                    sending.unwrap_or_else(PoisonError::into_inner).timeout
                };
                ready!(self.stall.poll(cx, timeout));
                io::ErrorKind::TimedOut.into()
            }
        };
        self.failed = Some(error.kind());
        Poll::Ready(Err(error))
    }

    /// Lets a client that reads slowly hold no more memory than it must, once its answer is complete:
    /// all that waits goes to a file.
    fn settle(&mut self, cx: &mut Context<'_>) {
        let Some(rest) = self.sending().rest.clone().filter(|rest| rest.file > 0) else { return };
        let waiting = self.front.len() - self.written;
        let room = self.spill.as_ref().map_or(waiting as u64 <= rest.file, |s| s.has_room(waiting));
        let spills = waiting > READ as usize && room;
        let is_loose = self.front.capacity() > 2 * waiting.max(GATHERED);
        if spills || is_loose {
            if self.patience.poll(cx, || rest.patience).is_pending() {
                return;
            }
            self.patience.stop();
            self.front.drain(..std::mem::take(&mut self.written));
            if spills {
                let new = || Spill::new(rest.directory.clone(), rest.file);
                self.spill.get_or_insert_with(new).first = std::mem::take(&mut self.front);
            } else {
                self.front.shrink_to(GATHERED);
            }
        }
        if let Some(spill) = &mut self.spill {
            spill.settle(cx);
        }
    }

    /// Keeps bytes that the socket has no room for, if the answer allows it.
    fn poll_keep(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(keep) = self.sending().keep.clone() else { return Poll::Pending };
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => {
                let room = keep.memory.saturating_sub(self.front.len() - self.written);
                if room > 0 {
                    let waited = self.patience.stop();
                    if !waited.is_zero()
                        && let Some(keep) = &mut self.sending().keep
                    {
                        keep.patience = keep.patience.saturating_sub(waited);
                    }
                    if self.written > self.front.len() / 2 {
                        self.front.drain(..self.written);
                        self.written = 0;
                    }
                    let count = room.min(bytes.len());
                    self.push(&bytes[..count]);
                    return Poll::Ready(Ok(count));
                }
                if keep.file == 0 {
                    return Poll::Pending;
                }
                ready!(self.patience.poll(cx, || keep.patience));
                if let Some(keep) = &mut self.sending().keep {
                    keep.patience = Duration::ZERO;
                }
                self.patience.stop();
                self.spill.insert(Spill::new(keep.directory.clone(), keep.file))
            }
        };
        spill.poll_take(cx, bytes).map(Ok)
    }
}

/// Before or behind what is in a file already.
#[derive(Clone, Copy)]
enum Place {
    First,
    Last,
}

/// The part of an answer that is in a file or on its way to it.
struct Spill {
    directory: Option<PathBuf>,
    /// How many bytes the file may have.
    most: u64,
    file: Option<TempFile>,
    job: Option<Job>,
    /// What comes before the file.
    first: Vec<u8>,
    /// Which parts of the file are still to be sent, in this order.
    parts: VecDeque<Range<u64>>,
    /// How many bytes the file has.
    end: u64,
    /// What comes after the file.
    tail: Vec<u8>,
    /// How many bytes are on their way to the file.
    writing: usize,
    /// Whether the file takes nothing more.
    broken: bool,
}

enum Job {
    Make(JoinHandle<io::Result<TempFile>>),
    /// Of what comes first, or last.
    Write(JoinHandle<Piece>, Place),
    Read(JoinHandle<Piece>),
}

impl Spill {
    fn new(directory: Option<PathBuf>, most: u64) -> Self {
        Self {
            directory,
            most,
            file: None,
            job: None,
            first: Vec::new(),
            parts: VecDeque::new(),
            end: 0,
            tail: Vec::new(),
            writing: 0,
            broken: false,
        }
    }

    fn waiting(&self) -> u64 {
        let in_file: u64 = self.parts.iter().map(|part| part.end - part.start).sum();
        in_file + (self.first.len() + self.writing + self.tail.len()) as u64
    }

    /// Whether so many bytes may come into the file before all others.
    fn has_room(&self, bytes: usize) -> bool {
        !self.broken
            && !matches!(self.job, Some(Job::Read(_)))
            && self.end + (self.writing + bytes) as u64 <= self.most
    }

    /// Takes bytes behind all others.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        loop {
            let room = PIECE.saturating_sub(self.tail.len());
            if room > 0 {
                let count = room.min(bytes.len());
                self.tail.extend_from_slice(&bytes[..count]);
                return Poll::Ready(count);
            }
            ready!(self.poll_spill(cx));
        }
    }

    /// Sends what is in memory on its way to the file, as soon as there is one and it has room.
    fn poll_spill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // A read is for the socket, which will want it when it has room.
            if self.broken || matches!(self.job, Some(Job::Read(_))) {
                return Poll::Pending;
            }
            ready!(self.poll_job(cx));
            let (bytes, place) = match self.first.is_empty() {
                true => (&mut self.tail, Place::Last),
                false => (&mut self.first, Place::First),
            };
            match &self.file {
                None if self.broken => {}
                None => {
                    let made = TempFile::create(self.directory.as_deref());
                    self.job = Some(Job::Make(made));
                }
                Some(_) if self.end + bytes.len() as u64 > self.most => return Poll::Pending,
                Some(file) => {
                    let bytes = std::mem::take(bytes);
                    self.writing = bytes.len();
                    self.job = Some(Job::Write(file.write_at(bytes, self.end), place));
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Brings what is in memory to the file, where it is enough to be worth it.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.first.len().max(self.tail.len()) > GATHERED {
            // It is called again when the file is ready for it.
            let _ = self.poll_spill(cx);
        }
        // What was written is given back.
        let _ = self.poll_job(cx);
    }

    /// Ends the job that makes the file or writes to it, if there is one.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.job {
            Some(Job::Make(making)) => match ready!(Pin::new(making).poll(cx)) {
                Ok(Ok(file)) => self.file = Some(file),
                _ => self.broken = true,
            },
            Some(Job::Write(writing, place)) => {
                let place = *place;
                let Ok((bytes, written)) = ready!(Pin::new(writing).poll(cx)) else {
                    // The process ends.
                    self.broken = true;
                    self.job = None;
                    return Poll::Ready(());
                };
                self.writing = 0;
                match (written, place) {
                    (Ok(()), _) => self.add_part(bytes.len() as u64, place),
                    (Err(_), Place::First) => (self.first, self.broken) = (bytes, true),
                    (Err(_), Place::Last) => {
                        self.tail.splice(..0, bytes);
                        self.broken = true;
                    }
                }
            }
            _ => return Poll::Ready(()),
        }
        self.job = None;
        Poll::Ready(())
    }

    /// Takes note of what was written at the end of the file.
    fn add_part(&mut self, length: u64, place: Place) {
        let part = self.end..self.end + length;
        self.end = part.end;
        match (place, self.parts.back_mut()) {
            (Place::First, _) => self.parts.push_front(part),
            (Place::Last, Some(last)) if last.end == part.start => last.end = part.end,
            (Place::Last, _) => self.parts.push_back(part),
        }
    }

    /// The next bytes to send; none when all are sent.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            if let Some(Job::Read(reading)) = &mut self.job {
                let piece = ready!(Pin::new(reading).poll(cx));
                self.job = None;
                let (bytes, read) = piece.map_err(io::Error::other)?;
                read?;
                if let Some(part) = self.parts.front_mut() {
                    part.start += bytes.len() as u64;
                }
                self.parts.pop_front_if(|part| part.is_empty());
                return Poll::Ready(Ok(Some(bytes)));
            }
            ready!(self.poll_job(cx));
            if !self.first.is_empty() {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
            }
            match (&self.file, self.parts.front()) {
                (Some(file), Some(part)) => {
                    let count = (part.end - part.start).min(READ) as usize;
                    self.job = Some(Job::Read(file.read_at(count, part.start)));
                }
                _ if self.tail.is_empty() => return Poll::Ready(Ok(None)),
                _ => {
                    // The file is empty: its place can be used again.
                    self.end = 0;
                    return Poll::Ready(Ok(Some(std::mem::take(&mut self.tail))));
                }
            }
        }
    }
}

/// A time limit that runs while something waits.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Timer {
    /// Ready when `limit` has passed since the first of these calls after [`Self::stop`].
    fn poll(&mut self, cx: &mut Context<'_>, limit: impl FnOnce() -> Duration) -> Poll<()> {
        let sleep = match (&mut self.sleep, self.since) {
            (Some(sleep), Some(_)) => sleep,
            (Some(sleep), None) => {
                let now = Instant::now();
                sleep.as_mut().reset(now + limit());
                self.since = Some(now);
                sleep
            }
            (none, _) => {
                self.since = Some(Instant::now());
                none.insert(Box::pin(sleep(limit())))
            }
        };
        sleep.as_mut().poll(cx)
    }

    /// Whether it runs.
    fn is_set(&self) -> bool {
        self.since.is_some()
    }

    /// Starts it anew.
    fn set(&mut self, limit: Duration) {
        let now = Instant::now();
        self.since = Some(now);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(now + limit),
            none => *none = Some(Box::pin(sleep(limit))),
        }
    }

    /// Stops it; tells how long it ran.
    fn stop(&mut self) -> Duration {
        self.since.take().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests;
