//! A worker's idle connections to peers, kept for the next request of the express lane.
//!
//! None of them holds a task: the system's word that one has ended waits until somebody asks for it, who is
//! whoever wants to use it, or who looks through all of them twice a second.

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

/// A worker's idle connections to peers.
#[derive(Debug, Default)]
pub struct Idle {
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
    /// Keeps so many at most from now on.
    pub fn fit(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is in there is whole after each step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last; a `fresh` one has not been idle for long, and the system was asked whether
    /// its peer has ended it.
    pub(super) fn take(&self, key: u64, fresh: bool) -> Option<Line> {
        let kept = &mut *self.kept();
        let lines = kept.lines.get_mut(&key)?;
        let now = clock::now();
        loop {
            if fresh && lines.back().is_some_and(|waiting| now >= waiting.since + FRESH) {
                // The others are older still, and good enough for who may ask twice.
                return None;
            }
            let Waiting { mut line, until, .. } = lines.pop_back()?;
            kept.count -= 1;
            if now < until && line.is_quiet(fresh) {
                line.reused = true;
                return Some(line);
            }
        }
    }

    /// Keeps one for so long.
    pub(super) fn put(self: &Arc<Self>, key: u64, line: Line, time: Duration) {
        let since = clock::now();
        let mut kept = self.kept();
        while kept.count >= self.most.load(Relaxed).max(1) {
            kept.drop_oldest();
        }
        kept.count += 1;
        kept.lines.entry(key).or_default().push_back(Waiting { line, since, until: since + time });
        if !std::mem::replace(&mut kept.watched, true) {
            let watched = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    sleep(LOOK).await;
                    let Some(idle) = watched.upgrade() else { return };
                    if !idle.kept().look_through(Instant::now()) {
                        return;
                    }
                }
            });
        }
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

    /// Drops those that have ended or whose time is over; tells whether some are left.
    fn look_through(&mut self, now: Instant) -> bool {
        self.lines.retain(|_, lines| {
            lines.retain_mut(|waiting| now < waiting.until && waiting.line.is_quiet(false));
            !lines.is_empty()
        });
        self.count = self.lines.values().map(VecDeque::len).sum();
        self.watched = self.count > 0;
        self.watched
    }
}
