//! When the dashboard is printed: a block at start and on every change, but at most once a
//! second, and a summary line at an interval.
//!
//! A change within the quiet second after a block is kept and printed at its end, also where the
//! peer is back as it was: that it was away is what a reader has to know.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::config::model;
use crate::health::Tick;
use crate::observe::view::{State, UpstreamView};

/// What is to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The block.
    Block,
    /// The summary line.
    Summary,
}

/// Decides when the dashboard is printed. It keeps no timer: whoever drives it asks
/// [`Schedule::due`] after a change and at [`Schedule::next`].
#[derive(Debug)]
pub struct Schedule {
    blocks: bool,
    summary: Duration,
    /// A block has something to say that none has said.
    changed: bool,
    /// The shape last seen; none before the first.
    shape: Option<u64>,
    /// When the next block may be printed.
    block_from: Tick,
    summary_at: Tick,
}

impl Schedule {
    /// Changes within this time of a block wait for its end.
    const QUIET: Duration = Duration::from_secs(1);

    /// A schedule that begins now, with a block due at once.
    #[must_use]
    pub fn new(settings: &model::Dashboard, now: Tick) -> Self {
        Self {
            blocks: settings.enabled,
            summary: settings.summary,
            changed: true,
            shape: None,
            block_from: now,
            summary_at: now.after(settings.summary),
        }
    }

    /// Something changed that a block shows.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// Looks for changes: an upstream or peer that came or went, another state, another trouble.
    /// What changes all the time (counts, times, the words of a failing probe) is none.
    pub fn see(&mut self, upstreams: &[UpstreamView]) {
        let shape = shape(upstreams);
        if self.shape.replace(shape).is_some_and(|before| before != shape) {
            self.changed = true;
        }
    }

    /// What is to be printed now, if anything; the caller prints it and asks again.
    pub fn due(&mut self, now: Tick) -> Option<Due> {
        if self.blocks && self.changed && now >= self.block_from {
            self.changed = false;
            self.block_from = now.after(Self::QUIET);
            return Some(Due::Block);
        }
        if !self.summary.is_zero() && now >= self.summary_at {
            // Counted from now: a process that was asleep owes one line, not all it missed.
            self.summary_at = now.after(self.summary);
            return Some(Due::Summary);
        }
        None
    }

    /// When something is due although nothing changes until then; none if never.
    #[must_use]
    pub fn next(&self) -> Option<Tick> {
        let block = (self.blocks && self.changed).then_some(self.block_from);
        let summary = (!self.summary.is_zero()).then_some(self.summary_at);
        block.into_iter().chain(summary).min()
    }
}

/// A number that differs where a block would show another state of affairs.
fn shape(upstreams: &[UpstreamView]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for upstream in upstreams {
        (&upstream.name, &upstream.trouble, upstream.panic, upstream.peers.len()).hash(&mut hasher);
        for peer in &upstream.peers {
            // That a peer is full changes with each request.
            let state = if peer.state == State::Full { State::Up } else { peer.state };
            (&peer.address, peer.tier as u8, state).hash(&mut hasher);
        }
    }
    hasher.finish()
}
