//! The two sides of a peer: what traffic says of it, and what probes say, whichever decides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::view::{PeerView, ProbeView, State, age, millis};
use crate::health::{Cause, Standing, Tick, Verdict};
use crate::upstream::PeerState;

/// What traffic says of a peer, whatever probes say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// `up`, `ejected` or `probation`.
    pub state: State,
    /// For how long.
    #[serde(rename = "for_ms", with = "millis")]
    pub lasting: Duration,
    /// What the failure was that ejected it: `connect` or `answer`.
    pub cause: Option<CauseView>,
}

impl Default for TrafficView {
    fn default() -> Self {
        Self { state: State::Up, lasting: Duration::ZERO, cause: None }
    }
}

/// What ejected a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseView {
    /// A connect.
    Connect,
    /// An answer, or that there was none.
    Answer,
}

/// What probes say of a peer, whatever traffic says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbesView {
    /// What they have shown.
    pub state: VerdictView,
    /// For how long.
    #[serde(rename = "for_ms", with = "millis")]
    pub lasting: Duration,
    /// Probes in a row that ended like the last one.
    pub in_a_row: u32,
    /// How the last one ended; none before the first.
    pub last: Option<ProbeView>,
    /// How long ago that was.
    pub age_ms: Option<u64>,
}

/// What probes have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictView {
    /// They pass.
    Passing,
    /// They fail.
    Failing,
    /// They have not decided yet.
    Unknown,
}

impl TrafficView {
    pub(super) fn of(peer: &PeerState, now: Tick) -> Self {
        let (state, cause) = match peer.standing {
            Standing::Ejected { cause: Cause::Connect, .. } => {
                (State::Ejected, Some(CauseView::Connect))
            }
            Standing::Ejected { .. } => (State::Ejected, Some(CauseView::Answer)),
            Standing::Probation { .. } => (State::Probation, None),
            Standing::Up { .. } => (State::Up, None),
        };
        Self { state, lasting: now.since(peer.standing_since), cause }
    }
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passing { .. } => Self::Passing,
            Verdict::Failing { .. } => Self::Failing,
            Verdict::Unknown { .. } => Self::Unknown,
        }
    }
}

impl ProbesView {
    pub(super) fn of(peer: &PeerState, now: Tick, last: Option<&ProbeView>) -> Option<Self> {
        let probes = peer.probes?;
        Some(Self {
            state: probes.verdict.into(),
            lasting: now.since(probes.since),
            in_a_row: probes.in_a_row,
            last: last.cloned(),
            age_ms: peer.last_probe.as_ref().map(|(at, _)| age(*at, now)),
        })
    }
}

impl PeerView {
    /// The cell of what traffic says, empty where nothing else is said of it.
    pub(super) fn traffic_cell(&self) -> String {
        let cause = match self.traffic.cause {
            Some(CauseView::Connect) => " for connect",
            Some(CauseView::Answer) => " for answer",
            None => "",
        };
        match (&self.probes, self.traffic.state) {
            (None, _) => String::new(),
            (_, State::Ejected) => format!("ejected{cause}"),
            (_, State::Probation) => "on probation".into(),
            _ => "up".into(),
        }
    }

    /// The cell of what probes say, empty where there are none.
    pub(super) fn probes_cell(&self) -> String {
        let Some(probes) = &self.probes else { return String::new() };
        let word = match probes.state {
            VerdictView::Passing => "passing",
            VerdictView::Failing => "failing",
            VerdictView::Unknown => "unknown",
        };
        let kind = match &probes.last {
            None => return word.into(),
            Some(ProbeView::Passed { .. }) => "passed",
            Some(ProbeView::Failed { .. }) => "failed",
        };
        format!("{word}, {} {kind}", probes.in_a_row)
    }
}
