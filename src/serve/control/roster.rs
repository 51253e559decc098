//! Whom the operator can mean: every upstream of the present configuration, those that only requests
//! name, and their peers.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::health::Tick;
use crate::observe::peers;
use crate::observe::status::StatusView;
use crate::observe::view::UpstreamView;
use crate::proxy::{Current, Runtime, Served};
use crate::upstream::{Peer, PeerState, Status, Upstream, UpstreamState};

/// How many upstreams, and how many peers of each, an answer lists that says what there is.
const LISTED: usize = 10;

/// Who is there. Cheap to clone: clones share all.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Roster {
    current: Current,
    /// What requests that began before a reload are still served from.
    past: Arc<Mutex<Vec<Weak<Runtime>>>>,
}

/// A peer that was meant, with its upstream.
#[derive(Clone, Debug)]
pub(super) struct Meant {
    pub(super) upstream: Arc<Upstream>,
    pub(super) peer: Peer,
    /// Peers at the same address that requests from before a reload have.
    pub(super) former: Vec<Peer>,
}

impl Meant {
    /// Requests in flight, also those from before a reload.
    pub(super) fn in_flight(&self) -> u32 {
        let all = std::iter::once(&self.peer).chain(&self.former);
        all.map(Peer::in_flight).fold(0, u32::saturating_add)
    }
}

impl Roster {
    pub(in crate::serve) fn new(current: Current) -> Self {
        Self { current, past: Arc::default() }
    }

    /// Remembers what requests under way are still served from.
    pub(in crate::serve) fn reloaded(&self, before: &Arc<Runtime>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|runtime| runtime.strong_count() > 0);
        past.push(Arc::downgrade(before));
    }

    fn all(&self) -> Vec<Arc<Served>> {
        self.current.load_full().served()
    }

    /// What is known of each upstream.
    pub(super) fn views(&self) -> Vec<UpstreamView> {
        let now = Tick::now();
        self.all().iter().map(|served| served.view(now)).collect()
    }

    /// What is known of the process.
    pub(super) fn status(&self) -> StatusView {
        self.current.load_full().status()
    }

    /// How the upstream of this name stands, if it has a peer available.
    ///
    /// # Errors
    /// The same where it has none, with the reasons, or which upstreams there are.
    pub(super) fn standing(&self, name: &str) -> Result<String, String> {
        let all = self.all();
        let Some(served) = all.iter().find(|served| served.upstream.name() == name) else {
            let names = listed(all.iter().map(|s| s.upstream.name().to_owned()), ", ");
            return Err(format!("no upstream is called `{name}`; there are: {names}"));
        };
        let now = Tick::now();
        let UpstreamState { primaries, backups, peers, .. } = served.upstream.snapshot(now);
        // One that has as much to do as it may is not out: nothing is gained by calling its proxy sick.
        let is_busy = |peer: &PeerState| peer.status == Status::Full;
        let is_available = primaries.available + backups.available > 0 || peers.iter().any(is_busy);
        let standing = peers::standing(&served.view(now));
        if is_available { Ok(standing) } else { Err(standing) }
    }

    /// The peers that `what` means: an address, `upstream/address`, an upstream, or the host of a server line.
    ///
    /// # Errors
    /// A sentence that says what there is.
    pub(super) fn find(&self, what: &str) -> Result<Vec<Meant>, String> {
        let all = self.all();
        let mut found = Vec::new();
        for served in &all {
            let upstream = &served.upstream;
            let within = what.strip_prefix(upstream.name()).and_then(|w| w.strip_prefix('/'));
            for peer in upstream.peers() {
                let address = peer.address().to_string();
                let host = peer.member().host.as_deref();
                if what == upstream.name()
                    || what == address
                    || within == Some(&address)
                    || host == Some(what)
                {
                    let former = self.former(upstream.name(), &peer);
                    found.push(Meant { upstream: Arc::clone(upstream), peer, former });
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if all.iter().any(|served| served.upstream.name() == what) {
            return Err(format!("upstream `{what}` has no peers"));
        }
        let there = listed(
            all.iter().map(|served| {
                let peers = served.upstream.peers();
                let addresses = listed(peers.iter().map(|peer| peer.address().to_string()), ", ");
                format!("{} ({addresses})", served.upstream.name())
            }),
            "; ",
        );
        Err(format!("no peer, upstream or host is called `{what}`; there are: {there}"))
    }

    fn former(&self, upstream: &str, peer: &Peer) -> Vec<Peer> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut former: Vec<Peer> = Vec::new();
        for runtime in past.iter().filter_map(Weak::upgrade) {
            let served = runtime.upstreams.iter().filter(|s| s.upstream.name() == upstream);
            for other in served.flat_map(|served| served.upstream.peers()) {
                let known = |p: &Peer| p.id() == other.id();
                if other.address() == peer.address() && !known(peer) && !former.iter().any(known) {
                    former.push(other);
                }
            }
        }
        former
    }
}

/// The first of many, and how many more there are.
fn listed(items: impl Iterator<Item = String>, between: &str) -> String {
    let mut items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(LISTED);
    items.truncate(LISTED);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    if items.is_empty() { "none".into() } else { items.join(between) }
}
