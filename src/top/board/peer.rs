//! A peer as the board knows it.

use std::time::Duration;

use super::rate::{Latest, Rate};
use crate::health::Short;
use crate::observe::view::{PeerView, State};
use crate::top::log::{Attempt, Cells, short};
use crate::upstream::{StatusCounts, Tier};

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Peer {
    pub(in crate::top) address: String,
    pub(in crate::top) host: String,
    pub(in crate::top) backup: bool,
    /// How it stands; none before anything said so.
    pub(in crate::top) standing: Option<Standing>,
    words: String,
    /// When an ejection ends, where the words said so.
    until: Option<u64>,
    /// Since when it has stood so.
    pub(in crate::top) since: Option<u64>,
    pub(in crate::top) in_flight: Option<u64>,
    /// Its attempts, and what came of them.
    pub(in crate::top) requests: u64,
    pub(in crate::top) statuses: StatusCounts,
    pub(in crate::top) ejections: u64,
    /// Its part of the attempts, where a block says it.
    pub(in crate::top) share: Option<f64>,
    told: (Option<f64>, Option<f64>),
    times: Latest,
    pub(in crate::top) rate: Rate,
    /// When its attempts were last told, and how many there were.
    counted: Option<(u64, u64)>,
}

/// How a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Standing {
    In(State),
    /// It is not there any more.
    Left,
}

impl Standing {
    /// As the words say that the dashboard and events have.
    pub(super) fn of(words: &str) -> Option<Self> {
        use State::{Absent, Down, Draining, Ejected, Failing, Full, Probation, Up, Waiting};
        let begins = [
            ("up", Up),
            ("full", Full),
            ("ejected", Ejected),
            ("on probation", Probation),
            ("waiting", Waiting),
            ("failing", Failing),
            ("absent", Absent),
            ("draining", Draining),
            ("down", Down),
        ];
        if words.starts_with("left") {
            return Some(Self::Left);
        }
        begins.iter().find(|(begin, _)| words.starts_with(begin)).map(|(_, state)| Self::In(*state))
    }

    /// The mark of the dashboard.
    pub(in crate::top) fn mark(self) -> char {
        match self {
            Self::In(state) => state.mark(),
            Self::Left => '-',
        }
    }

    /// Whether it serves.
    pub(in crate::top) fn is_up(self) -> bool {
        matches!(self, Self::In(state) if state.is_up())
    }
}

impl Peer {
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), ..Self::default() }
    }

    /// Its words as they are at a moment: what is left of an ejection grows less.
    pub(in crate::top) fn words(&self, now: u64) -> String {
        match self.until {
            None => self.words.clone(),
            Some(until) if until <= now => format!("{}, trial due", self.words),
            Some(until) => format!("{}, {} left", self.words, Short(rounded(until - now))),
        }
    }

    pub(super) fn is_left(&self) -> bool {
        self.standing == Some(Standing::Left)
    }

    /// How it stands, in words that were true at that moment.
    pub(super) fn stands(&mut self, words: &str, at: u64) {
        let left = words.strip_suffix(" left").and_then(|words| words.rsplit_once(", "));
        let left = left.and_then(|(words, left)| Some((words, short(left)?)));
        let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        (self.words, self.until) = match left {
            Some((words, left)) => (words.to_owned(), Some(at.saturating_add(millis(left)))),
            None => (words.to_owned(), None),
        };
        self.standing = Standing::of(words).or(self.standing);
    }

    /// What a row of a block says.
    pub(super) fn row(&mut self, cells: &Cells, at: u64) {
        self.host.clone_from(&cells.host);
        self.backup = cells.backup;
        self.stands(&cells.words, at);
        self.since = cells.lasting_ms.map(|lasting| at.saturating_sub(lasting));
        self.in_flight = cells.in_flight;
        self.share = cells.share;
        self.told = (cells.p50_ms, cells.p99_ms);
    }

    /// What a view says; `counts` where its counts are not known better.
    pub(super) fn view(&mut self, view: &PeerView, at: u64, counts: bool) {
        self.host = view.host.clone().unwrap_or_default();
        self.backup = view.tier == Tier::Backup;
        self.stands(&view.reason, at);
        self.standing = Some(Standing::In(view.state));
        let lasting = u64::try_from(view.lasting.as_millis()).unwrap_or(u64::MAX);
        self.since = Some(at.saturating_sub(lasting));
        self.in_flight = Some(view.in_flight.into());
        self.ejections = view.ejections;
        if counts {
            if let Some((then, before)) = self.counted {
                self.rate.spread(then, at, view.requests.saturating_sub(before));
            }
            self.counted = Some((at, view.requests));
            self.requests = view.requests;
            self.statuses = view.statuses;
            self.told = (view.p50_ms, view.p99_ms);
        }
    }

    /// Forgets the counts that views have told.
    pub(super) fn count_anew(&mut self) {
        (self.requests, self.statuses, self.counted) = (0, StatusCounts::default(), None);
    }

    /// An attempt that has ended.
    pub(super) fn attempted(&mut self, attempt: &Attempt, at: u64) {
        self.requests += 1;
        count(&mut self.statuses, attempt.status);
        self.rate.count(at);
        if attempt.status.is_some() {
            self.times.learn(attempt.millis);
        }
    }

    /// Half, and 99 of 100, of its latest answers came within these.
    pub(in crate::top) fn percentiles(&self) -> (Option<f64>, Option<f64>) {
        let own = |percent| self.times.percentile(percent);
        (own(50).or(self.told.0), own(99).or(self.told.1))
    }
}

/// Whole seconds from one second on: a log tells no more.
fn rounded(millis: u64) -> Duration {
    Duration::from_secs(millis.div_ceil(1000))
}

/// Counts a status by its class.
pub(super) fn count(statuses: &mut StatusCounts, status: Option<u16>) {
    let class = match status.map(|status| status / 100) {
        None => &mut statuses.none,
        Some(0 | 1) => &mut statuses.informational,
        Some(2) => &mut statuses.success,
        Some(3) => &mut statuses.redirection,
        Some(4) => &mut statuses.client_error,
        Some(_) => &mut statuses.server_error,
    };
    *class += 1;
}
