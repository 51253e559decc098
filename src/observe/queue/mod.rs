//! Lines on their way to a file: a bounded queue and the one thread that writes.
//!
//! Handing over a line never waits. The queue is bounded in lines and in bytes; what does not fit
//! is dropped and counted, and the writer says how many. A failing sink (closed pipe, full disk)
//! loses lines and is reported when that begins, changes and ends; the writer goes on trying.
//!
//! A thread that sleeps on an empty queue costs whoever hands over the next line a system call to
//! wake it. So after each write the writer rests a moment without listening: one wake and one
//! write serve all the lines of that moment, and the first line after a quiet time is still
//! written at once.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::health::Tick;
use crate::upstream::Count;

/// Lines that may wait: a quarter of a second at 60,000 lines a second.
const LINES: usize = 16 * 1024;
/// Bytes that may wait, since a client chooses how long its lines are.
const BYTES: usize = 16 * 1024 * 1024;
/// Bytes after which a batch is written although more lines wait.
const BATCH_BYTES: usize = 256 * 1024;
/// The writer's rest after a batch; far below what a person following the log can see.
const REST: Duration = Duration::from_millis(5);
/// Dropped lines are reported at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the writer has to say about itself.
#[derive(Debug)]
pub(super) enum Notice {
    /// Lines did not fit into the queue.
    Dropped {
        /// How many since the last notice.
        lines: u64,
    },
    /// Writing fails, or fails in another way than before.
    Failing(io::Error),
    /// Writing works again.
    Recovered {
        /// Lines that failed to be written.
        lost: u64,
    },
}

/// The end that lines are handed to.
pub(super) struct Queue {
    messages: SyncSender<Message>,
    load: Arc<Load>,
    lost: &'static Count,
}

/// What both ends count.
#[derive(Default)]
struct Load {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

enum Message {
    Line(Box<[u8]>),
    /// Everything before it is to be written; then the writer ends and says so.
    Close(SyncSender<()>),
}

impl Queue {
    /// Starts the writer, on a thread of this name. `tell` runs on it; `lost` counts every line that is not
    /// written, at once.
    pub(super) fn start(
        name: &str,
        sink: impl Write + Send + 'static,
        lost: &'static Count,
        tell: impl Fn(Notice) + Send + 'static,
    ) -> io::Result<Self> {
        let (messages, inbox) = sync_channel(LINES);
        let load = Arc::new(Load::default());
        let writer = Writer {
            inbox,
            load: Arc::clone(&load),
            sink,
            lost,
            tell,
            batch: Vec::new(),
            batch_lines: 0,
            failure: None,
            torn: false,
            reported: None,
        };
        thread::Builder::new().name(name.into()).spawn(move || writer.run())?;
        Ok(Self { messages, load, lost })
    }

    /// Hands over a line that ends in a newline. Never waits.
    pub(super) fn push(&self, line: Box<[u8]>) {
        let bytes = line.len();
        let fits = self.load.bytes.fetch_add(bytes, Relaxed) + bytes <= BYTES;
        if fits && self.messages.try_send(Message::Line(line)).is_ok() {
            return;
        }
        self.load.bytes.fetch_sub(bytes, Relaxed);
        self.load.dropped.fetch_add(1, Relaxed);
        self.lost.add();
    }

    /// Has everything written that was handed over and ends the writer; false if `limit` passes
    /// before that is done.
    pub(super) fn close(&self, limit: Duration) -> bool {
        close(&self.messages, Message::Close, limit)
    }
}

/// Has a thread do everything that waits in its channel and end; false if `limit` passes before that is
/// done. The message asks for it, and holds where the thread says that it has.
pub(super) fn close<M>(
    messages: &SyncSender<M>,
    message: impl FnOnce(SyncSender<()>) -> M,
    limit: Duration,
) -> bool {
    let end = Tick::now().after(limit);
    let (done, finished) = sync_channel(1);
    let mut message = message(done);
    loop {
        match messages.try_send(message) {
            Ok(()) => break,
            // Closed by another handle before.
            Err(TrySendError::Disconnected(_)) => return true,
            Err(TrySendError::Full(_)) if Tick::now() >= end => return false,
            Err(TrySendError::Full(back)) => message = back,
        }
        thread::sleep(Duration::from_millis(1));
    }
    let left = end.as_millis().saturating_sub(Tick::now().as_millis());
    // A thread that ends without an answer was closed by another handle in between.
    finished.recv_timeout(Duration::from_millis(left)) != Err(RecvTimeoutError::Timeout)
}

/// The end that writes.
struct Writer<W, T> {
    inbox: Receiver<Message>,
    load: Arc<Load>,
    sink: W,
    lost: &'static Count,
    tell: T,
    batch: Vec<u8>,
    batch_lines: u64,
    /// How writing fails, and how many lines that has cost.
    failure: Option<(io::ErrorKind, u64)>,
    /// Whether a failed write left the sink in the middle of a line.
    torn: bool,
    /// When dropped lines were last reported.
    reported: Option<Tick>,
}

impl<W: Write, T: Fn(Notice)> Writer<W, T> {
    fn run(mut self) {
        while let Ok(first) = self.wait() {
            let closing = self.gather(first);
            let more = self.batch.len() >= BATCH_BYTES;
            self.write_batch();
            self.report_dropped(closing.is_some());
            if let Some(done) = closing {
                // Nobody waits any more if the limit has passed.
                let _ = done.try_send(());
                return;
            }
            if !more {
                thread::sleep(REST);
            }
        }
        self.report_dropped(true);
    }

    /// The next message; none when it is time to report what was dropped.
    fn wait(&self) -> Result<Option<Message>, RecvTimeoutError> {
        if self.load.dropped.load(Relaxed) == 0 {
            return self.inbox.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected);
        }
        match self.inbox.recv_timeout(REPORT_EVERY) {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes a batch of what waits; whom to tell, when the writer is to end after it.
    fn gather(&mut self, first: Option<Message>) -> Option<SyncSender<()>> {
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    self.batch.extend_from_slice(&line);
                    self.batch_lines += 1;
                }
                Message::Close(done) => return Some(done),
            }
            if self.batch.len() >= BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        None
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let outcome = self.write_all();
        self.load.bytes.fetch_sub(self.batch.len(), Relaxed);
        match outcome {
            Ok(()) => {
                if let Some((_, lost)) = self.failure.take() {
                    (self.tell)(Notice::Recovered { lost });
                }
            }
            Err(error) => {
                let (before, lost) = self.failure.map_or((None, 0), |(k, lost)| (Some(k), lost));
                self.failure = Some((error.kind(), lost + self.batch_lines));
                self.lost.add_all(self.batch_lines);
                if before != Some(error.kind()) {
                    (self.tell)(Notice::Failing(error));
                }
            }
        }
        self.batch.clear();
        self.batch.shrink_to(2 * BATCH_BYTES);
        self.batch_lines = 0;
    }

    /// As [`Write::write_all`], but never leaves half a line in front of the next batch, and waits
    /// where a non-blocking pipe is full.
    fn write_all(&mut self) -> io::Result<()> {
        if self.torn {
            self.sink.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = self.batch.as_slice();
        while !rest.is_empty() {
            let error = match self.sink.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    self.torn = rest[written - 1] != b'\n';
                    rest = &rest[written..];
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => thread::sleep(REST),
                _ => return Err(error),
            }
        }
        self.sink.flush()
    }

    fn report_dropped(&mut self, at_once: bool) {
        let now = Tick::now();
        let waits = self.reported.is_some_and(|last| now < last.after(REPORT_EVERY));
        if self.load.dropped.load(Relaxed) == 0 || (waits && !at_once) {
            return;
        }
        self.reported = Some(now);
        (self.tell)(Notice::Dropped { lines: self.load.dropped.swap(0, Relaxed) });
    }
}

#[cfg(test)]
mod tests;
