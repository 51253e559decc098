//! How each peer fared in the last hour, minute by minute: what the bars of the status page show.
//!
//! It is sampled from views, some times a second, and so knows what a view shows: how many requests,
//! failures and errors a minute had, the worst state that was seen in it, and how long the peer did not serve. Minutes are
//! those of the clock on the wall, so that the bars of all peers stand beneath each other and beside the log.
//!
//! A peer is its upstream's name and its address: it keeps its history over a reload, and while it is listed
//! among those that left. Of more than 2,048 peers those that came last have none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::view::{PeerView, State, UpstreamView};

/// How many minutes are kept.
pub const MINUTES: usize = 60;
/// How many peers have a history: some megabytes.
const MOST: usize = 2048;
const MINUTE: u64 = 60_000;

static HISTORY: LazyLock<Mutex<History>> = LazyLock::new(Mutex::default);

/// The last minutes of one peer: lists of the same length, one entry a minute, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// When the first minute began, in milliseconds since 1970.
    pub from_ms: u64,
    /// Attempts that began.
    pub requests: Vec<u64>,
    /// Attempts that failed.
    pub failures: Vec<u64>,
    /// Answers with a status from 500 on, which are failures only where the configuration says so.
    #[serde(rename = "5xx")]
    pub server_errors: Vec<u64>,
    /// The worst state that was seen; none where nobody looked.
    pub states: Vec<Option<State>>,
    /// How long it did not serve.
    pub out_ms: Vec<u64>,
}

/// Takes what is seen of upstreams into account.
pub fn record(upstreams: &[UpstreamView]) {
    shared().record(upstreams, wall());
}

/// Gives each peer its history.
pub(super) fn fill(upstreams: &mut [UpstreamView]) {
    shared().fill(upstreams);
}

fn shared() -> MutexGuard<'static, History> {
    // A sample that was taken by half is as good as any.
    HISTORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The histories of all peers, by upstream and address.
#[derive(Debug, Default)]
struct History {
    tracks: HashMap<String, HashMap<String, Track>>,
    /// When it was looked last.
    at: u64,
    /// How often it was looked.
    looks: u64,
}

impl History {
    /// Takes what is seen at a moment into account, in milliseconds since 1970, and forgets those of
    /// which nothing is seen.
    fn record(&mut self, upstreams: &[UpstreamView], now: u64) {
        if now / MINUTE < self.at / MINUTE {
            // The clock was set back: what is known has happened at other times than it says.
            self.tracks.clear();
        }
        let passed = now.saturating_sub(self.at);
        self.at = now;
        self.forget(upstreams);
        let mut free = MOST.saturating_sub(self.tracks.values().map(HashMap::len).sum());
        // Requests can name an upstream as the configuration does; the first is meant.
        let mut names = HashSet::new();
        for upstream in upstreams.iter().filter(|upstream| names.insert(&upstream.name)) {
            let tracks = self.tracks.entry(upstream.name.clone()).or_default();
            for peer in &upstream.peers {
                if let Some(track) = tracks.get_mut(&peer.address) {
                    track.see(peer, now, passed);
                } else if free > 0 {
                    free -= 1;
                    tracks.entry(peer.address.clone()).or_default().see(peer, now, 0);
                }
            }
        }
    }

    fn forget(&mut self, upstreams: &[UpstreamView]) {
        self.looks += 1;
        for upstream in upstreams {
            let Some(tracks) = self.tracks.get_mut(&upstream.name) else { continue };
            let peers = upstream.peers.iter().map(|peer| &peer.address);
            for address in peers.chain(upstream.left.iter().map(|left| &left.address)) {
                if let Some(track) = tracks.get_mut(address) {
                    track.look = self.looks;
                }
            }
        }
        self.tracks.retain(|_, tracks| {
            tracks.retain(|_, track| track.look == self.looks);
            !tracks.is_empty()
        });
    }

    fn fill(&self, upstreams: &mut [UpstreamView]) {
        for upstream in upstreams {
            let Some(tracks) = self.tracks.get(&upstream.name) else { continue };
            for peer in &mut upstream.peers {
                peer.history = tracks.get(&peer.address).map(Track::view);
            }
            for left in &mut upstream.left {
                left.history = tracks.get(&left.address).map(Track::view);
            }
        }
    }
}

/// The history of one peer.
#[derive(Debug, Default)]
struct Track {
    /// The minute of the newest slot, counted from 1970.
    minute: u64,
    slots: VecDeque<Slot>,
    /// The number of the last look that found it listed.
    look: u64,
    /// What had been counted when it was seen last.
    counted: Counted,
}

/// What happened in a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u32,
    failures: u32,
    server_errors: u32,
    /// In milliseconds.
    out: u32,
    worst: Option<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    requests: u64,
    failures: u64,
    server_errors: u64,
    ejections: u64,
}

impl Track {
    /// Takes into account how a peer stands at a moment, and that so much time has passed since it was seen last.
    fn see(&mut self, peer: &PeerView, now: u64, passed: u64) {
        self.begin(now / MINUTE);
        let before = std::mem::replace(&mut self.counted, Counted::of(peer));
        let after = self.counted;
        let Some(slot) = self.slots.back_mut() else { return };
        for (count, before, after) in [
            (&mut slot.requests, before.requests, after.requests),
            (&mut slot.failures, before.failures, after.failures),
            (&mut slot.server_errors, before.server_errors, after.server_errors),
        ] {
            *count = count.saturating_add(grown(before, after));
        }
        slot.saw(peer.state);
        // It may have been out between two looks.
        if grown(before.ejections, after.ejections) > 0 {
            slot.saw(State::Ejected);
        }
        if !peer.state.is_up() {
            let out = u64::from(slot.out).saturating_add(passed).min(now % MINUTE);
            slot.out = u32::try_from(out).unwrap_or(u32::MAX);
        }
    }

    /// Begins slots up to that of this minute; the oldest go.
    fn begin(&mut self, minute: u64) {
        let missing = match self.slots.is_empty() {
            true => 1,
            false => usize::try_from(minute.saturating_sub(self.minute)).unwrap_or(usize::MAX),
        };
        for _ in 0..missing.min(MINUTES) {
            if self.slots.len() == MINUTES {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot::default());
        }
        self.minute = minute;
    }

    fn view(&self) -> HistoryView {
        let older = u64::try_from(self.slots.len().saturating_sub(1)).unwrap_or(0);
        let slots = || self.slots.iter();
        HistoryView {
            from_ms: self.minute.saturating_sub(older) * MINUTE,
            requests: slots().map(|slot| slot.requests.into()).collect(),
            failures: slots().map(|slot| slot.failures.into()).collect(),
            server_errors: slots().map(|slot| slot.server_errors.into()).collect(),
            states: slots().map(|slot| slot.worst).collect(),
            out_ms: slots().map(|slot| slot.out.into()).collect(),
        }
    }
}

impl Slot {
    fn saw(&mut self, state: State) {
        if self.worst.is_none_or(|worst| badness(worst) < badness(state)) {
            self.worst = Some(state);
        }
    }
}

impl Counted {
    fn of(peer: &PeerView) -> Self {
        let PeerView { requests, failures, ejections, statuses, .. } = *peer;
        Self { requests, failures, ejections, server_errors: statuses.server_error }
    }
}

/// By how much a counter grew; one that is less than before began anew.
fn grown(before: u64, after: u64) -> u32 {
    let more = after.checked_sub(before).unwrap_or(after);
    u32::try_from(more).unwrap_or(u32::MAX)
}

/// Worse is more: what is out on purpose is no trouble.
fn badness(state: State) -> u8 {
    match state {
        State::Up => 0,
        State::Full => 1,
        State::Down => 2,
        State::Draining => 3,
        State::Absent => 4,
        State::Waiting => 5,
        State::Probation => 6,
        State::Ejected => 7,
        State::Failing => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 minutes after 1970.
    const BEGIN: u64 = 100 * MINUTE;

    fn peer(state: State, requests: u64, failures: u64) -> PeerView {
        PeerView { state, requests, failures, ..PeerView::plain("10.0.0.1:80") }
    }

    fn site(peers: Vec<PeerView>) -> UpstreamView {
        UpstreamView { name: "site".into(), peers, ..UpstreamView::default() }
    }

    /// The history of the first peer after these looks, at milliseconds after the begin.
    fn after(looks: impl IntoIterator<Item = (u64, PeerView)>) -> HistoryView {
        let mut history = History::default();
        for (at, peer) in looks {
            history.record(&[site(vec![peer])], BEGIN + at);
        }
        shown(&history).expect("it was seen")
    }

    fn shown(history: &History) -> Option<HistoryView> {
        let mut views = [site(vec![peer(State::Up, 0, 0)])];
        history.fill(&mut views);
        views[0].peers[0].history.clone()
    }

    #[test]
    fn requests_and_failures_count_in_the_minute_they_were_seen_in() {
        let view = after([
            (1_000, peer(State::Up, 5, 0)),
            (59_000, peer(State::Up, 9, 1)),
            (60_000, peer(State::Up, 10, 1)),
            (61_000, peer(State::Up, 12, 3)),
        ]);
        let expected = HistoryView {
            from_ms: BEGIN,
            requests: vec![9, 3],
            failures: vec![1, 2],
            server_errors: vec![0, 0],
            states: vec![Some(State::Up); 2],
            out_ms: vec![0, 0],
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn the_worst_state_stays_and_the_time_out_adds_up() {
        let view = after([
            (10_000, peer(State::Up, 0, 0)),
            (10_250, peer(State::Ejected, 0, 0)),
            (10_500, peer(State::Ejected, 0, 0)),
            (10_750, peer(State::Probation, 0, 0)),
            (11_000, peer(State::Up, 0, 0)),
            (60_000, peer(State::Up, 0, 0)),
        ]);
        assert_eq!(view.states, [Some(State::Ejected), Some(State::Up)]);
        assert_eq!(view.out_ms, [750, 0]);
    }

    #[test]
    fn what_is_out_on_purpose_is_less_bad_than_what_fails() {
        for (state, worst) in [
            (State::Down, State::Ejected),
            (State::Draining, State::Failing),
            (State::Waiting, State::Failing),
            (State::Up, State::Down),
        ] {
            for looks in [[state, worst], [worst, state]] {
                let looks = looks.into_iter().zip(0..).map(|(state, at)| (at, peer(state, 0, 0)));
                assert_eq!(after(looks).states, [Some(worst)]);
            }
        }
    }

    #[test]
    fn errors_of_the_peer_show_even_where_they_are_no_failures() {
        let mut failing = peer(State::Up, 3, 0);
        failing.statuses.server_error = 2;
        let view = after([(0, peer(State::Up, 0, 0)), (250, failing)]);
        assert_eq!((view.failures, view.server_errors), (vec![0], vec![2]));
    }

    #[test]
    fn an_ejection_between_two_looks_is_seen() {
        let ejected = PeerView { ejections: 1, ..peer(State::Up, 3, 1) };
        let view = after([(0, peer(State::Up, 0, 0)), (250, ejected)]);
        assert_eq!(view.states, [Some(State::Ejected)]);
    }

    #[test]
    fn an_hour_is_kept() {
        let looks = (0..=70).map(|minute| (minute * MINUTE, peer(State::Up, minute, 0)));
        let view = after(looks);
        assert_eq!(view.requests, [1; MINUTES]);
        assert_eq!(view.from_ms, BEGIN + 11 * MINUTE);
    }

    #[test]
    fn minutes_in_which_nobody_looked_are_not_known() {
        let view = after([(0, peer(State::Up, 1, 0)), (3 * MINUTE, peer(State::Failing, 1, 0))]);
        assert_eq!(view.states, [Some(State::Up), None, None, Some(State::Failing)]);
        assert_eq!(view.out_ms, [0; 4], "it is not known when it went out");
        let view = after([(0, peer(State::Up, 1, 0)), (1000 * MINUTE, peer(State::Up, 4, 0))]);
        assert_eq!((view.states.len(), view.states[MINUTES - 1]), (MINUTES, Some(State::Up)));
        assert_eq!(view.requests.iter().sum::<u64>(), 3);
    }

    #[test]
    fn counters_that_began_anew_add_what_they_show() {
        let view = after([(0, peer(State::Up, 50, 7)), (250, peer(State::Up, 4, 1))]);
        assert_eq!((view.requests, view.failures), (vec![54], vec![8]));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_history_anew() {
        let hour = 60 * MINUTE;
        let view = after([(hour, peer(State::Up, 5, 0)), (0, peer(State::Up, 6, 0))]);
        assert_eq!((view.from_ms, view.requests), (BEGIN, vec![6]));
        let view = after([(10_000, peer(State::Up, 5, 0)), (9_000, peer(State::Up, 6, 0))]);
        assert_eq!(view.requests, [6], "within a minute nothing is lost");
    }

    #[test]
    fn a_peer_keeps_its_history_while_it_is_listed_as_left() {
        let left = crate::observe::view::LeftView {
            address: "10.0.0.1:80".into(),
            tier: crate::upstream::Tier::Primary,
            reason: "left DNS".into(),
            lasting: std::time::Duration::ZERO,
            requests: 5,
            history: None,
        };
        let gone = UpstreamView { left: vec![left], ..site(vec![]) };
        let mut history = History::default();
        history.record(&[site(vec![peer(State::Up, 5, 0)])], BEGIN);
        history.record(std::slice::from_ref(&gone), BEGIN + MINUTE);
        let mut views = [gone];
        history.fill(&mut views);
        let kept = views[0].left[0].history.as_ref().expect("it is listed");
        assert_eq!((kept.from_ms, &kept.requests), (BEGIN, &vec![5]));

        history.record(&[site(vec![])], BEGIN + MINUTE);
        assert_eq!(shown(&history), None, "it is listed no more");
    }

    #[test]
    fn no_more_peers_are_followed_than_there_is_room_for() {
        let many = (0..MOST + 5).map(|n| PeerView::plain(&format!("peer{n}"))).collect();
        let mut history = History::default();
        let upstreams = [site(many)];
        for at in [BEGIN, BEGIN + 1] {
            history.record(&upstreams, at);
            assert_eq!(history.tracks["site"].len(), MOST);
        }
        history.record(&[site(vec![peer(State::Up, 0, 0)])], BEGIN + 2);
        assert!(shown(&history).is_some(), "those that went made room");
    }
}
