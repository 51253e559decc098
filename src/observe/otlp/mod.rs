//! Traces on their way to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! As with log lines, handing a span over never waits: a queue that is bounded, and one thread that
//! sends. What does not fit, and what the collector does not take, is dropped, counted and told as an
//! event when that begins and ends. Nothing is sent twice: a collector that is down costs spans,
//! never memory or a request.

mod message;
mod post;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use super::event::Line;
use super::queue;
use crate::config::model::Otlp;
use crate::health::Tick;

/// A part of a trace that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// What the tracing systems before have said.
    pub state: String,
    /// On whose side it is.
    pub side: Side,
    /// What it is called: the method.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub time: Duration,
    /// What is known of it, by OpenTelemetry's names.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed, and why where that is known.
    pub failed: Option<String>,
}

/// On whose side a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request that was served.
    Server,
    /// An attempt at a peer.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Whom spans are handed to. Cheap to clone.
#[derive(Clone)]
pub struct Exporter(Arc<Inner>);

struct Inner {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Spans(Vec<Span>),
    /// What waits is to be sent; then the thread ends and says so.
    Close(SyncSender<()>),
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(otlp: &Otlp) -> io::Result<Self> {
        // A request is one message, with one span at least.
        let (messages, inbox) = sync_channel(otlp.batch_size.saturating_mul(otlp.batch_count));
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            inbox,
            otlp: otlp.clone(),
            dropped: Arc::clone(&dropped),
            failing: false,
            lost: 0,
        };
        thread::Builder::new().name("otlp".into()).spawn(move || sender.run())?;
        Ok(Self(Arc::new(Inner { messages, dropped })))
    }

    /// Hands over the spans of a request. Never waits.
    pub fn export(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.0.messages.try_send(Message::Spans(spans)).is_err() {
            self.0.dropped.fetch_add(count, Relaxed);
        }
    }

    /// Has what waits sent and ends the thread; false if `limit` passes before that is done.
    #[must_use]
    pub fn close(&self, limit: Duration) -> bool {
        queue::close(&self.0.messages, Message::Close, limit)
    }
}

/// The end that sends.
struct Sender {
    inbox: Receiver<Message>,
    otlp: Otlp,
    dropped: Arc<AtomicU64>,
    /// Whether the collector did not take what it was sent last.
    failing: bool,
    /// Spans that were lost since it does not.
    lost: u64,
}

impl Sender {
    fn run(mut self) {
        loop {
            let (batch, closing, more) = self.gather();
            self.send(&batch);
            if let Some(done) = closing {
                // Nobody waits any more if the limit has passed.
                let _ = done.try_send(());
                return;
            }
            if !more {
                return;
            }
        }
    }

    /// What waits, once that is a batch or its oldest part has waited for long enough; whom to tell,
    /// where the thread is to end after it, and whether more can come.
    fn gather(&self) -> (Vec<Span>, Option<SyncSender<()>>, bool) {
        let mut batch = Vec::new();
        let mut due: Option<Tick> = None;
        while batch.len() < self.otlp.batch_size {
            let next = match due {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => {
                    let left = due.as_millis().saturating_sub(Tick::now().as_millis());
                    self.inbox.recv_timeout(Duration::from_millis(left))
                }
            };
            match next {
                Ok(Message::Spans(spans)) => {
                    batch.extend(spans);
                    due.get_or_insert_with(|| Tick::now().after(self.otlp.interval));
                }
                Ok(Message::Close(done)) => return (batch, Some(done), false),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return (batch, None, false),
            }
        }
        (batch, None, true)
    }

    fn send(&mut self, batch: &[Span]) {
        let mut lost = self.dropped.swap(0, Relaxed);
        if batch.is_empty() && lost == 0 {
            return;
        }
        let body = message::encode(&self.otlp.service, batch);
        let sent = post::post(&self.otlp.host, &self.otlp.path, &body);
        let collector = || format!("http://{}{}", self.otlp.host, self.otlp.path);
        match sent {
            Ok(()) if self.failing || lost > 0 => {
                let line = Line::new("spans are exported again").field("collector", collector());
                line.number("lost", self.lost + lost).info("robin::otlp");
                (self.failing, self.lost) = (false, 0);
            }
            Ok(()) => {}
            Err(error) => {
                lost += batch.len() as u64;
                self.lost += lost;
                if !self.failing {
                    self.failing = true;
                    let line =
                        Line::new("spans cannot be exported").field("collector", collector());
                    let line = line.number("lost", self.lost).field("error", error);
                    line.warn("robin::otlp");
                }
            }
        }
    }
}
