//! The workers' idle connections to peers, kept for the next request of the express lane.
//!
//! Each worker has a shelf of its own, since a connection belongs to the runtime that watches it. One that has none
//! for a peer takes one that another worker has to spare before it opens one: moving it costs three calls of the
//! system, and the peer nothing. A worker's last one stays, or a few requests would have it moved for each of them.
//! None of them holds a task: the system's word that one has ended waits until somebody asks for it, who is
//! whoever wants to use it, or who looks through all of a worker's twice a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::peer::Line;
use crate::health::clock;
use crate::proxy::dial::FRESH;

/// How often they are looked through.
const LOOK: Duration = Duration::from_millis(500);

/// The idle connections to peers, as a worker sees them.
#[derive(Clone, Debug)]
pub struct Idle {
    shelves: Arc<[Shelf]>,
    /// Which of them is its own.
    own: usize,
}

/// Those of a worker.
#[derive(Debug, Default)]
struct Shelf {
    most: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By the key of the peer's appearance, of which there are few; the last one was used last.
    lines: BTreeMap<u64, VecDeque<Waiting>>,
    count: usize,
    /// Whether they are being looked through.
    watched: bool,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    since: Instant,
    until: Instant,
}

impl Idle {
    /// Those of so many workers, for each of them.
    #[must_use]
    pub fn of_workers(count: usize) -> Vec<Self> {
        let shelves: Arc<[Shelf]> = (0..count).map(|_| Shelf::default()).collect();
        (0..count).map(|own| Self { shelves: Arc::clone(&shelves), own }).collect()
    }

    /// Keeps so many of its own at most from now on.
    pub fn fit(&self, most: usize) {
        if let Some(own) = self.own() {
            own.most.store(most, Relaxed);
        }
    }

    /// The one that was used last, by the worker itself if it has one; a `fresh` one has not been idle for long, and
    /// the system was asked whether its peer has ended it.
    pub(super) fn take(&self, key: u64, fresh: bool) -> Option<Line> {
        let own = self.own().and_then(|own| own.take(key, fresh, 0, fresh));
        own.or_else(|| {
            let others = self.shelves.iter().enumerate().filter(|(number, _)| *number != self.own);
            // What the other runtime has heard of it may be old.
            let spare = |other: &Shelf| other.take(key, fresh, 1, true)?.hand_over();
            others.map(|(_, other)| other).find_map(spare)
        })
    }

    /// Closes its own: nobody looks through them any more.
    pub fn close(&self) {
        let kept = self.own().map(|own| std::mem::take(&mut *own.kept()));
        drop(kept);
    }

    fn own(&self) -> Option<&Shelf> {
        self.shelves.get(self.own)
    }

    /// Keeps one for so long.
    pub(super) fn put(&self, key: u64, line: Line, time: Duration) {
        let Some(own) = self.own() else { return };
        let since = clock::now();
        if own.put(key, Waiting { line, since, until: since + time }) {
            self.watch();
        }
    }

    /// Looks through its own until none is left.
    fn watch(&self) {
        let (shelves, own) = (Arc::downgrade(&self.shelves), self.own);
        tokio::spawn(async move {
            loop {
                sleep(LOOK).await;
                let Some(shelves) = shelves.upgrade() else { return };
                if !shelves.get(own).is_some_and(|own| own.look_through(Instant::now())) {
                    return;
                }
            }
        });
    }
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is in there is whole after each step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last, if more than `spared` are there; `surely` asks the system whether its peer has
    /// ended it.
    fn take(&self, key: u64, fresh: bool, spared: usize, surely: bool) -> Option<Line> {
        // To close one takes its time, which is not that of who waits for the lock.
        let mut ended = Vec::new();
        let kept = &mut *self.kept();
        let lines = kept.lines.get_mut(&key)?;
        let now = clock::now();
        loop {
            if lines.len() <= spared {
                return None;
            }
            if fresh && lines.back().is_some_and(|waiting| now >= waiting.since + FRESH) {
                // The others are older still, and good enough for who may ask twice.
                return None;
            }
            let Waiting { mut line, until, .. } = lines.pop_back()?;
            kept.count = kept.count.saturating_sub(1);
            if now < until && line.is_quiet(surely) {
                line.reused = true;
                return Some(line);
            }
            ended.push(line);
        }
    }

    /// Keeps one; tells whether nobody looks through them yet.
    fn put(&self, key: u64, waiting: Waiting) -> bool {
        let mut kept = self.kept();
        while kept.count >= self.most.load(Relaxed).max(1) {
            kept.drop_oldest();
        }
        kept.count += 1;
        kept.lines.entry(key).or_default().push_back(waiting);
        !std::mem::replace(&mut kept.watched, true)
    }

    /// Drops those that have ended or whose time is over; tells whether some are left.
    fn look_through(&self, now: Instant) -> bool {
        let mut ended = Vec::new();
        let kept = &mut *self.kept();
        kept.lines.retain(|_, lines| {
            for _ in 0..lines.len() {
                let Some(mut waiting) = lines.pop_front() else { break };
                match now < waiting.until && waiting.line.is_quiet(false) {
                    true => lines.push_back(waiting),
                    false => ended.push(waiting),
                }
            }
            !lines.is_empty()
        });
        kept.count = kept.lines.values().map(VecDeque::len).sum();
        kept.watched = kept.count > 0;
        kept.watched
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        let oldest =
            self.lines.iter().filter_map(|(key, lines)| Some((lines.front()?.since, *key)));
        let Some((_, key)) = oldest.min() else {
            self.count = 0;
            return;
        };
        if self.lines.get_mut(&key).and_then(VecDeque::pop_front).is_some() {
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::health::Tick;
    use crate::proxy::socket::Socket;
    use crate::upstream::{Member, Method, Upstream};

    #[tokio::test]
    async fn a_worker_takes_what_another_has_to_spare_and_no_more() {
        let upstream = Upstream::new("test", &Method::default(), None);
        upstream.publish(&[Member::new(([127, 0, 0, 1], 1).into())], Tick::from_millis(0));
        let workers = Idle::of_workers(2);
        workers.iter().for_each(|worker| worker.fit(8));
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            let line = Line::of(Socket::Unix(ours), &upstream.peers()[0]);
            workers[0].put(7, line, Duration::from_secs(60));
            peers.push(theirs);
        }
        assert!(workers[1].take(8, false).is_none(), "it goes to somebody else");
        let mut taken = workers[1].take(7, false).expect("there is one to spare");
        assert!(taken.reused);
        assert!(workers[1].take(7, false).is_none(), "the last one stays");
        assert!(workers[0].take(7, false).is_some());
        peers[1].write_all(b"x").await.expect("it is open");
        assert_eq!(taken.io.read_u8().await.ok(), Some(b'x'));
        workers[1].put(7, taken, Duration::from_secs(60));
        workers[1].close();
        assert_eq!(
            peers[1].read(&mut [0]).await.ok(),
            Some(0),
            "a worker that ends closes its own"
        );
    }
}
