//! What changed about a peer: values that this room returns and `observe` prints.

use std::time::Duration;

use super::{Hand, PanicTurn, Peer, PeerAddress, Tier};
use crate::health::Tick;

/// One change of a peer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which peer.
    pub peer: PeerAddress,
    /// What happened to it.
    pub change: Change,
    /// How it stood before, in a word, and for how long; none where it stands as before, and for a new peer.
    pub was: Option<(&'static str, Duration)>,
    /// How it stands now and what it has done so far.
    pub figures: Figures,
    /// What it made of panic mode.
    pub panics: Vec<PanicTurn>,
}

/// How a peer stands at the moment of an event, and what it has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Why it gets traffic or none.
    pub reason: String,
    /// Attempts begun since it appeared.
    pub requests: u64,
    /// Attempts that have failed since it appeared.
    pub failures: u64,
    /// Attempts begun and not ended.
    pub in_flight: u32,
    /// How long the last probe took, or what it met; none where none has ended.
    pub probe: Option<Result<Duration, String>>,
}

impl Event {
    /// What has just changed about a peer. Makes nothing of panic mode.
    #[must_use]
    pub(super) fn of(peer: &Peer, change: Change, now: Tick) -> Self {
        let mut state = peer.state(now);
        let left = change == Change::Left;
        if left {
            state.hand = Hand::Off;
        }
        let was = match change {
            // A background connect tells of no other state.
            Change::Connects(_) | Change::CutOff { .. } => None,
            _ => peer.turn_told(if left { "left" } else { state.status.word() }, now),
        };
        let figures = Figures {
            reason: if left { "left DNS".into() } else { state.reason(now) },
            requests: state.requests,
            failures: state.failures,
            in_flight: state.in_flight,
            probe: state.last_probe.map(|(_, result)| result),
        };
        Self { peer: state.address, change, was, figures, panics: Vec::new() }
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

#[cfg(test)]
mod tests {
    use super::super::{Member, Policy, Upstream};
    use super::*;
    use crate::health::Outcome;

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn it_says_how_the_peer_stood_before_and_for_how_long() {
        let upstream = Upstream::with("test", Policy::default());
        let members = [1, 2].map(|port| Member::new(([127, 0, 0, 1], port).into()));
        let joined = upstream.publish(&members, at(0));
        assert!(joined.iter().all(|event| event.was.is_none()), "there was nothing before");
        let peer = &upstream.peers()[0];
        let ejected = || upstream.report(peer, Outcome::ConnectFailure, at(192));
        let told: [(&str, Option<Event>, _); 5] = [
            ("ejected", ejected(), ("up", 192)),
            ("readmitted", upstream.connected(peer, at(195)), ("ejected", 3)),
            ("drained", upstream.tell(peer, Hand::Drain, at(200)), ("up", 5)),
            ("down", upstream.tell(peer, Hand::Down, at(260)), ("draining", 60)),
            ("let go", upstream.tell(peer, Hand::Off, at(261)), ("down", 1)),
        ];
        for (what, event, (word, seconds)) in told {
            let was = event.unwrap_or_else(|| panic!("{what} is told")).was;
            assert_eq!(was, Some((word, Duration::from_secs(seconds))), "{what}");
        }
        let left = upstream.publish(&members[1..], at(7461));
        assert_eq!(left[0].was, Some(("up", Duration::from_hours(2))));
        assert_eq!((left.len(), left[0].figures.reason.as_str()), (1, "left DNS"));
    }

    #[test]
    fn it_is_told_once() {
        let upstream = Upstream::with("test", Policy::default());
        let members = [1, 2].map(|port| Member::new(([127, 0, 0, 1], port).into()));
        upstream.publish(&members, at(0));
        let peer = &upstream.peers()[0];
        let fail = |now| upstream.report(peer, Outcome::ConnectFailure, now);
        assert!(fail(at(1)).is_some());
        assert!(fail(at(1)).is_none() && fail(at(2)).is_none(), "it is out already");
        assert!(upstream.publish(&members, at(3)).is_empty());
        assert!(upstream.tell(peer, Hand::Drain, at(4)).is_some());
        assert!(upstream.tell(peer, Hand::Drain, at(5)).is_none());
    }
}
