//! What changed about a peer: values that this room returns and `observe` prints.

use std::time::Duration;

use super::{Hand, PanicTurn, PeerAddress, Tier};

/// One change of a peer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which peer.
    pub peer: PeerAddress,
    /// What happened to it.
    pub change: Change,
    /// What it made of panic mode.
    pub panics: Vec<PanicTurn>,
}

impl Event {
    /// A change that makes nothing of panic mode.
    #[must_use]
    pub fn new(peer: PeerAddress, change: Change) -> Self {
        Self { peer, change, panics: Vec::new() }
    }

    /// The second of two, with what the first made of panic mode.
    pub(super) fn after(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let mut second = second?;
        let panics = first.map(|first| first.panics).unwrap_or_default();
        second.panics.splice(..0, panics);
        Some(second)
    }
}

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Discovery found it.
    Joined {
        /// Primary or backup.
        tier: Tier,
    },
    /// It is in no answer any more and gets no new request.
    Left,
    /// Its name has no address any more (NXDOMAIN or an empty answer); it gets traffic again when it is found again
    /// or a probe connects.
    Absent,
    /// Its name has no address, but a connect succeeds: it gets traffic.
    Reached,
    /// Its name has an address again.
    Found,
    /// Traffic took it out of rotation.
    Ejected {
        /// Failures that were counted.
        fails: u32,
        /// Outcomes that they are of; none where they came in a row or `max_fails` counts them.
        of: Option<u32>,
        /// For how long.
        lasts: Duration,
        /// Whether the last failure was a failed connect.
        connect: bool,
    },
    /// It is in rotation again: its trial attempt, or a background connect, succeeded.
    Readmitted,
    /// Probes pass: it takes part in the rotation.
    Passing,
    /// Probes fail: it is out of rotation.
    Failing {
        /// What the last probe met.
        error: String,
    },
    /// What was still in flight on it, `drain_timeout` after it had left, was cut off.
    CutOff {
        /// Connections that were in use.
        connections: usize,
    },
    /// A reset or a refusal has shown that another may answer there: it is out until a probe passes.
    Doubted,
    /// A peer that is out can be connected to again, or not any more.
    Connects(bool),
    /// The operator has spoken.
    Told(Hand),
}
