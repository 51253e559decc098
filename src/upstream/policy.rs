//! What was written of an upstream, as far as picking a peer and judging it heeds it.

use std::sync::Arc;
use std::time::Duration;

use super::Sessions;
use crate::config::model::{self, Method, Passive, Queue, Sticky};
use crate::health::ProbeRule;

/// How an upstream's peers are chosen and judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// How a peer is chosen.
    pub method: Method,
    /// How probes decide, each health check for itself; empty where there are none.
    pub probes: Arc<[ProbeRule]>,
    /// How failures of traffic are judged.
    pub passive: Passive,
    /// The share of a tier's peers, in percent, that may be out at once; none sets no limit.
    pub panic: Option<u8>,
    /// What keeps a session at one peer; none where nothing does.
    pub sticky: Option<Sticky>,
    /// Where requests wait while no peer can take them; none refuses them.
    pub queue: Option<Queue>,
    /// How long what is in flight on a peer that has left may take; zero sets no limit.
    pub drain_timeout: Duration,
}

impl Policy {
    /// What `spec` says.
    #[must_use]
    pub fn of(spec: &model::Upstream) -> Self {
        Self {
            method: spec.method.clone(),
            probes: spec.health_checks.iter().map(ProbeRule::from).collect(),
            passive: spec.passive,
            panic: spec.panic,
            sticky: spec.sticky.clone(),
            queue: spec.queue,
            drain_timeout: spec.drain_timeout,
        }
    }

    /// An empty table of sessions, where such are learnt.
    pub(super) fn sessions(&self) -> Option<Sessions> {
        match &self.sticky {
            Some(Sticky::Learn(learn)) => Some(Sessions::new(learn)),
            _ => None,
        }
    }
}
