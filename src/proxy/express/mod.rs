//! The express lane: a second plumbing for plain requests over HTTP/1.1, which relays them without
//! Pingora's session.
//!
//! It takes no decision of its own: an [`Exchange`] is led through the same steps as in Pingora's phases, and
//! only reading, connecting and writing are done here. It takes what it fully understands ([`plain`]) on routes
//! that do nothing on the way ([`Lanes`]). Everything else goes to Pingora: a request that is not plain from
//! its first byte, one that comes to no answer of a peer with what it has met so far. Once a byte of an answer
//! has gone out, all that can follow is its end.

mod answer;
mod framing;
mod idle;
mod lanes;
mod lines;
mod own;
mod passed;
mod peer;
mod plain;
mod relay;
mod request;
mod sent;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use self::peer::Peers;
use super::Current;
use super::downstream::Downstream;
use super::request::Exchange;
use crate::config::model::Express;

pub use idle::Idle;
pub use lanes::Lanes;

/// As much is read at once.
const PIECE: usize = 64 * 1024;

thread_local! {
    /// Where a thread reads into: what waits for its next byte holds no room for it.
    static SPACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// Lends the thread's room to read into. It is lent to one at a time, since nobody awaits with it.
fn with_space<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SPACE.with_borrow_mut(|space| read(space))
}

/// What has become of a client's turn.
#[derive(Debug)]
pub enum Turn {
    /// It has its answer; another request may follow.
    Answered,
    /// Its connection ends.
    Over,
    /// Pingora is to go on, with what the request has met so far, if there is one.
    Pingora(Option<Box<Exchange>>),
}

/// What serves a connection's plain requests.
#[derive(Debug)]
pub struct Lane {
    current: Current,
    idle: Idle,
    clock: Clock,
}

impl Lane {
    /// One for a connection, with its worker's idle connections to peers.
    #[must_use]
    pub fn new(current: Current, idle: Idle) -> Self {
        Self { current, idle, clock: Clock::default() }
    }

    /// Waits for a request and serves it, if it is plain and the lane is used. A client that says nothing for so
    /// long is left; `last` tells whether its answer is to be the last one.
    ///
    /// # Cancel safety
    /// None: a request may be lost; while the connection is idle nothing is.
    pub async fn turn(
        &mut self,
        stream: &mut Downstream,
        patience: Duration,
        last: impl Fn() -> bool,
    ) -> Turn {
        let deadline = Instant::now() + patience;
        let begun = poll_fn(|cx| {
            let read = with_space(|space| stream.poll_begin(cx, space));
            match read {
                Poll::Pending => {
                    stream.rest();
                    self.clock.poll(cx, deadline).map(|()| None)
                }
                read => read.map(Some),
            }
        });
        match begun.await {
            Some(Ok(true)) => {}
            // Nobody is there to be answered.
            Some(Ok(false) | Err(_)) | None => return Turn::Over,
        }
        if !takes(self.current.load().lanes.express()) {
            return Turn::Pingora(None);
        }
        // A connection that waits holds no room for what serves it.
        let turn = Box::pin(self.serve(stream, last())).await;
        if matches!(turn, Turn::Over) {
            // The client may be gone already; there is nobody to tell.
            let _ = stream.shutdown().await;
        }
        turn
    }

    async fn serve(&mut self, stream: &mut Downstream, last: bool) -> Turn {
        let runtime = self.current.load_full();
        let Some(message) = plain::read(stream, &runtime).await else {
            return Turn::Pingora(None);
        };
        let peers = Peers { idle: &self.idle, clock: &mut self.clock };
        request::serve(stream, runtime, message, peers, last).await
    }
}

/// Whether the lane is to take the next request.
fn takes(express: Express) -> bool {
    static TURN: AtomicBool = AtomicBool::new(false);
    match express {
        Express::On => true,
        Express::Off => false,
        Express::Alternate => !TURN.fetch_not(Relaxed),
    }
}

/// A time limit for one wait after another, which costs next to nothing where none is ever reached: a timer
/// that is set for an earlier moment is not moved before it has run.
#[derive(Debug, Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Ready once the deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
