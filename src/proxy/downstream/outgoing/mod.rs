//! Bytes on their way to the client.
//!
//! Small writes are gathered, larger ones go to the socket directly. When the socket is full, what
//! comes waits here as far as the route allows: first in memory, then in a temporary file; so that
//! a client that reads slowly holds no peer. The file is not used before writes have had to wait
//! for some time: a client that is only a little slower than the peer needs none. Whatever waits
//! is written as soon as the socket takes it, whenever the stream is polled.

use std::future::Future as _;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

use crate::proxy::spool::{PIECE, Piece, TempFile};

/// Writes below this many bytes are gathered; one of this size goes out by itself. A head and
/// a small body fit.
pub(super) const GATHERED: usize = 4096;

/// How long the writes of one answer wait for the client in all before a file takes them.
const PATIENCE: Duration = Duration::from_millis(100);

/// nginx's default of `send_timeout`.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How the present answer is sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// Without progress for so long, the connection is given up.
    pub(super) timeout: Duration,
    /// What may wait; none when writes wait for the client.
    pub(super) keep: Option<Keep>,
}

impl Default for Sending {
    fn default() -> Self {
        Self { timeout: SEND_TIMEOUT, keep: None }
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
    spill: Option<Spill>,
    sending: Arc<Mutex<Sending>>,
    /// Runs while the socket is full.
    stall: Timer,
    /// Runs while a write waits for room in memory.
    patience: Timer,
    /// Why nothing more can be written.
    failed: Option<io::ErrorKind>,
}

impl Outgoing {
    pub(super) fn new(sending: Arc<Mutex<Sending>>) -> Self {
        Self {
            front: Vec::with_capacity(GATHERED),
            written: 0,
            writes: 0,
            unflushed: false,
            spill: None,
            sending,
            stall: Timer::default(),
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

    /// Whether something waits that is not just gathered for the next flush: several writes, or
    /// one that the socket had no room for. A head alone waits for its body, as in nginx.
    pub(super) fn is_due(&self) -> bool {
        self.writes > 1
            || self.written > 0
            || self.front.len() > GATHERED
            || self.spill.is_some()
            || self.unflushed
    }

    /// Adds `bytes` whatever the limits are.
    pub(super) fn push(&mut self, bytes: &[u8]) {
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
        loop {
            while self.written < self.front.len() {
                let front = std::mem::take(&mut self.front);
                let written = self.poll_socket(io, cx, &front[self.written..]);
                self.front = front;
                self.written += ready!(written)?;
            }
            self.front.clear();
            self.written = 0;
            self.writes = 0;
            let Some(spill) = &mut self.spill else {
                ready!(self.poll_flush(io, cx))?;
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
        let written = match Pin::new(io).poll_write(cx, bytes) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => written,
        };
        self.unflushed |= written.is_ready();
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
                self.spill.insert(Spill::new(keep.directory.clone()))
            }
        };
        spill.poll_take(cx, bytes, keep.file).map(Ok)
    }
}

/// The part of an answer that is in a file or on its way to it.
struct Spill {
    directory: Option<PathBuf>,
    file: Option<TempFile>,
    job: Option<Job>,
    /// Which bytes of the file are still to be sent.
    from: u64,
    to: u64,
    /// What comes after the file.
    tail: Vec<u8>,
    /// How many bytes are on their way to the file.
    writing: usize,
    /// Whether the file takes nothing more.
    broken: bool,
}

enum Job {
    Make(JoinHandle<io::Result<TempFile>>),
    Write(JoinHandle<Piece>),
    Read(JoinHandle<Piece>),
}

impl Spill {
    fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            file: None,
            job: None,
            from: 0,
            to: 0,
            tail: Vec::new(),
            writing: 0,
            broken: false,
        }
    }

    fn waiting(&self) -> u64 {
        self.to - self.from + (self.writing + self.tail.len()) as u64
    }

    /// Takes bytes behind all others, up to `most` in the file.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8], most: u64) -> Poll<usize> {
        loop {
            let room = PIECE.saturating_sub(self.tail.len());
            if room > 0 {
                let count = room.min(bytes.len());
                self.tail.extend_from_slice(&bytes[..count]);
                return Poll::Ready(count);
            }
            if self.broken {
                return Poll::Pending;
            }
            // A read is for the socket, which will want it when it has room.
            if matches!(self.job, Some(Job::Read(_))) {
                return Poll::Pending;
            }
            ready!(self.poll_job(cx));
            match &self.file {
                None => {
                    let made = TempFile::create(self.directory.as_deref());
                    self.job = Some(Job::Make(made));
                }
                Some(_) if self.to + self.tail.len() as u64 > most => return Poll::Pending,
                Some(file) => {
                    let tail = std::mem::take(&mut self.tail);
                    self.writing = tail.len();
                    self.job = Some(Job::Write(file.write_at(tail, self.to)));
                }
            }
        }
    }

    /// Ends the job that makes the file or writes to it, if there is one.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.job {
            Some(Job::Make(making)) => match ready!(Pin::new(making).poll(cx)) {
                Ok(Ok(file)) => self.file = Some(file),
                _ => self.broken = true,
            },
            Some(Job::Write(writing)) => match ready!(Pin::new(writing).poll(cx)) {
                Ok((_, Ok(()))) => {
                    self.to += self.writing as u64;
                    self.writing = 0;
                }
                Ok((mut bytes, Err(_))) => {
                    bytes.append(&mut self.tail);
                    self.tail = bytes;
                    self.writing = 0;
                    self.broken = true;
                }
                // The process ends.
                Err(_) => self.broken = true,
            },
            _ => return Poll::Ready(()),
        }
        self.job = None;
        Poll::Ready(())
    }

    /// The next bytes to send; none when all are sent.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            if let Some(Job::Read(reading)) = &mut self.job {
                let piece = ready!(Pin::new(reading).poll(cx));
                self.job = None;
                let (bytes, read) = piece.map_err(io::Error::other)?;
                read?;
                self.from += bytes.len() as u64;
                return Poll::Ready(Ok(Some(bytes)));
            }
            ready!(self.poll_job(cx));
            match &self.file {
                Some(file) if self.from < self.to => {
                    let count = (self.to - self.from).min(PIECE as u64) as usize;
                    self.job = Some(Job::Read(file.read_at(count, self.from)));
                }
                _ if self.tail.is_empty() => return Poll::Ready(Ok(None)),
                _ => {
                    // The file is empty: its place can be used again.
                    (self.from, self.to) = (0, 0);
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

    /// Stops it; tells how long it ran.
    fn stop(&mut self) -> Duration {
        self.since.take().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests;
