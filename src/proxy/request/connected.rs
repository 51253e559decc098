//! The connection of an attempt: whether it is still one, and until when the head of an answer has to
//! come over it.
//!
//! Pingora's timeout is that between two reads, of the body too. The time of one attempt
//! (`try_timeout`) is kept here: when it has passed without a head the connection is ended, so that
//! Pingora finds its end, and what it then reports is called by its true name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use pingora::Result;
use pingora::protocols::Digest;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Exchange;
use crate::exchange::failure::Failure;
use crate::health::Short;
use crate::proxy::told;
use crate::proxy::wire::{Use, Wire};
use crate::upstream::Connection as _;

/// The connection of the present attempt, if there is one already.
#[derive(Debug, Default)]
pub(super) struct Connected {
    used: Option<Use>,
    deadline: Option<Deadline>,
    /// Whether it was ended before anything was sent.
    ended: bool,
    /// Whether an answer has begun to come already.
    ahead: bool,
}

impl Connected {
    /// That of an attempt which has begun already.
    pub(super) fn ahead() -> Self {
        Self { ahead: true, ..Self::default() }
    }

    pub(super) fn wire(&self) -> Option<&Arc<Wire>> {
        self.used.as_ref().map(Use::wire)
    }

    /// Whether it had been given up before anything was sent.
    pub(super) fn was_ended(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }
}

impl Exchange {
    /// Takes note of the connection that the attempt has got.
    pub(in crate::proxy) fn use_connection(
        &mut self,
        reused: bool,
        digest: Option<&Digest>,
    ) -> Result<()> {
        let Some(wire) = digest.and_then(Wire::of) else { return Ok(()) };
        self.use_wire(wire, reused)
    }

    /// Takes note of the connection that the attempt has got.
    pub(in crate::proxy) fn use_wire(&mut self, wire: &Arc<Wire>, reused: bool) -> Result<()> {
        let Some(used) = Use::begin(wire, reused) else {
            self.connected.ended = true;
            return Err(told(502));
        };
        self.connected.used = Some(used);
        let limit = self.settings().map(|s| s.retry.try_timeout).unwrap_or_default();
        // A connection that is shared ends for none of those who use it: there Pingora's own timeout is
        // set to what is left (`time_left`).
        if !limit.is_zero() && !self.connected.ahead && !self.speaks_http2() {
            let deadline = Deadline::begin(Arc::clone(wire), self.attempt_began, limit);
            self.connected.deadline = Some(deadline);
        }
        Ok(())
    }

    /// All of the answer is here. A connection that has had its number of requests, or its time, is
    /// ended before Pingora can keep it.
    pub(super) fn retire_connection(&self) {
        let Some((wire, served)) = self.connected.wire().zip(self.served()) else { return };
        let spec = &served.spec;
        let (most, longest) = (spec.keepalive_requests, spec.keepalive_time);
        if most.is_none() && longest.is_none() {
            return;
        }
        let (uses, age) = wire.age();
        if most.is_some_and(|most| uses >= most.get()) || longest.is_some_and(|time| age >= time) {
            if self.speaks_http2() { wire.retire() } else { wire.cut() }
        }
    }

    /// The head of an answer is here; says what failed if it comes too late.
    pub(super) fn meet_deadline(&mut self) -> Option<Failure> {
        let deadline = self.connected.deadline.take()?;
        (!deadline.meet()).then(|| self.overdue(deadline.limit))
    }

    /// What has failed, where the end that Pingora has found is of our making.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let Failure::Broken { peer, reused, .. } = &failure else { return failure };
        match &self.connected {
            Connected { deadline: Some(deadline), .. } if deadline.has_passed() => {
                self.overdue(deadline.limit)
            }
            Connected { used: Some(used), .. }
                if used.wire().is_cut() && used.wire().has_left() =>
            {
                Failure::Broken {
                    peer: peer.clone(),
                    error: "given up: the peer has left DNS".into(),
                    timeout: false,
                    reused: *reused,
                    invalid: false,
                }
            }
            _ => failure,
        }
    }

    fn overdue(&self, limit: Duration) -> Failure {
        let peer = self.lease.as_ref().map(|lease| lease.address().to_string());
        Failure::Broken {
            peer: peer.unwrap_or_default(),
            error: format!("no answer within {}", Short(limit)),
            timeout: true,
            reused: false,
            invalid: false,
        }
    }
}

/// Until when the head of an answer has to be here. It holds no longer than this value lives.
#[derive(Debug)]
struct Deadline {
    state: Arc<AtomicU8>,
    limit: Duration,
    task: AbortHandle,
}

const WAITING: u8 = 0;
const MET: u8 = 1;
const PASSED: u8 = 2;

impl Deadline {
    fn begin(wire: Arc<Wire>, from: Instant, limit: Duration) -> Self {
        let state = Arc::new(AtomicU8::new(WAITING));
        let waiting = Arc::clone(&state);
        let task = tokio::spawn(async move {
            sleep_until(from + limit).await;
            if waiting.compare_exchange(WAITING, PASSED, Relaxed, Relaxed).is_ok() {
                wire.cut();
            }
        });
        Self { state, limit, task: task.abort_handle() }
    }

    /// Whether it is met now, before it has passed.
    fn meet(&self) -> bool {
        self.state.compare_exchange(WAITING, MET, Relaxed, Relaxed).is_ok()
    }

    fn has_passed(&self) -> bool {
        self.state.load(Relaxed) == PASSED
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.task.abort();
    }
}
