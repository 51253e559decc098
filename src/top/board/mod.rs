//! What is on the screen: every upstream and peer as the log, or robin itself, has told of them.
//!
//! Lines are fed one by one, in the order of the log; each changes what it speaks of and nothing else. A view
//! (from JSON, or the control socket) is the truth of its moment and takes the place of all that was known;
//! a block's text likewise, row by row, since other lines may come between. Where the access log
//! is there, requests are counted from it; else from what views say of their counts.
//! Time is that of the log: [`Board::tick`] says what time it is where no line does.

mod peer;
mod rate;

use std::collections::{BTreeMap, VecDeque};

pub(super) use peer::{Peer, Standing};
pub(super) use rate::{Latest, Rate, SECONDS};

use super::log::{self, Block, Entry, Request, Row, Told, What};
use crate::observe::latest::EventView;
use crate::observe::status::StatusView;
use crate::observe::view::UpstreamView;
use crate::upstream::StatusCounts;

/// Events that are kept.
const EVENTS: usize = 200;
/// Peers of one upstream that a log may name: what is no log of robin's must not fill the memory.
const PEERS: usize = 4096;
/// Upstreams that a log may name.
const GROUPS: usize = 1024;

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// The moment that it is of, in milliseconds since 1970; 0 before the first.
    pub(super) now: u64,
    pub(super) groups: Vec<Group>,
    /// What has happened lately, the newest last.
    pub(super) events: VecDeque<Happening>,
    /// Requests that were handed to no upstream.
    pub(super) own: StatusCounts,
    /// All requests, where they are counted.
    pub(super) rate: Rate,
    sources: BTreeMap<String, Source>,
    counted: Option<(u64, u64)>,
}

/// What is known of one container whose lines are there.
#[derive(Clone, Debug, Default)]
struct Source {
    block: Block,
    /// When its block was printed.
    at: u64,
    /// The upstream that rows are of, how many of its peers have yet to come, and those that have.
    rows: Option<(String, usize, Vec<String>)>,
    /// Whether its access log is there.
    logs: bool,
}

/// An upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) source: String,
    pub(super) name: String,
    pub(super) peers: Vec<Peer>,
    pub(super) trouble: Option<String>,
    pub(super) panic: bool,
    /// What clients got.
    pub(super) statuses: StatusCounts,
    /// The same for each status from 400 on, where the access log says it.
    pub(super) errors: BTreeMap<u16, u64>,
    pub(super) retries: u64,
    pub(super) rate: Rate,
    pub(super) times: Latest,
    counted: Option<(u64, u64)>,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happening {
    pub(super) at: u64,
    pub(super) level: String,
    pub(super) text: String,
}

impl Board {
    /// Takes a line of a log; false where it is none of robin's.
    pub(super) fn feed(&mut self, line: &[u8]) -> bool {
        let Some(Entry { source, at, what }) = log::read(line) else { return false };
        self.now = self.now.max(at.unwrap_or(0));
        let at = at.unwrap_or(self.now);
        match what {
            What::Event(told) => self.told(&source, &told, at),
            What::Begin(names) => self.begin(&source, &names, at),
            What::Within(row) => return self.row(&source, &row),
            What::Views(views) => self.views(&source, &views, at),
            What::Summary => {}
            What::Request(request) => self.request(&source, &request, at),
        }
        true
    }

    /// Takes what robin answers.
    pub(super) fn status(&mut self, status: StatusView) {
        self.now = status.now_ms;
        self.views("", &status.upstreams, status.now_ms);
        self.own = status.own;
        if let Some((then, before)) = self.counted {
            self.rate.spread(then, self.now, status.requests.saturating_sub(before));
        }
        self.counted = Some((self.now, status.requests));
        self.events = status.events.into_iter().map(Happening::from).collect();
    }

    /// It is that late at least.
    pub(super) fn tick(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Whether lines of several containers are there, so that a reader has to be told whose is which.
    pub(super) fn has_several_sources(&self) -> bool {
        self.groups.windows(2).any(|pair| pair[0].source != pair[1].source)
    }

    /// How many requests there are a second.
    pub(super) fn mean(&self) -> f64 {
        self.rate.mean(self.now)
    }

    fn group(&mut self, source: &str, name: &str) -> Option<&mut Group> {
        let known = self.groups.iter().position(|g| g.source == source && g.name == name);
        let place = match known {
            Some(place) => place,
            None if self.groups.len() >= GROUPS => return None,
            None => {
                let (source, name) = (source.to_owned(), name.to_owned());
                self.groups.push(Group { source, name, ..Group::default() });
                self.groups.len() - 1
            }
        };
        self.groups.get_mut(place)
    }

    fn told(&mut self, source: &str, told: &Told, at: u64) {
        if told.level == "DEBUG" || told.level == "TRACE" {
            return;
        }
        if let Some(upstream) = told.field("upstream")
            && let Some(group) = self.group(source, upstream)
        {
            group.told(told, at);
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let (level, text) = (told.level.clone(), told.text.clone());
        self.events.push_back(Happening { at, level, text });
    }

    fn begin(&mut self, source: &str, names: &[String], at: u64) {
        self.groups.retain(|group| group.source != source || names.contains(&group.name));
        for name in names {
            self.group(source, name);
        }
        let known = self.sources.entry(source.to_owned()).or_default();
        *known = Source { at, logs: known.logs, ..Source::default() };
    }

    fn row(&mut self, source: &str, line: &str) -> bool {
        let Some(known) = self.sources.get_mut(source) else { return false };
        let Some(row) = known.block.read(line) else { return false };
        let at = known.at;
        match row {
            Row::Titles => {}
            Row::Upstream { name, peers, panic, trouble } => {
                known.rows = Some((name.clone(), peers, Vec::new()));
                if let Some(group) = self.group(source, &name) {
                    (group.panic, group.trouble) = (panic, trouble);
                    // Who left is listed again, or forgotten.
                    group.peers.retain(|peer| peers > 0 && !peer.is_left());
                }
            }
            Row::Peer(cells) => {
                let Some((name, waiting, listed)) = &mut known.rows else { return false };
                listed.push(cells.address.clone());
                *waiting = waiting.saturating_sub(1);
                let (name, all) = (name.clone(), (*waiting == 0).then(|| listed.clone()));
                if let Some(group) = self.group(source, &name) {
                    if let Some(peer) = group.peer(&cells.address) {
                        peer.row(&cells, at);
                    }
                    if let Some(all) = all {
                        group.peers.retain(|peer| peer.is_left() || all.contains(&peer.address));
                        group.order(&all);
                    }
                }
            }
        }
        true
    }

    fn views(&mut self, source: &str, views: &[UpstreamView], at: u64) {
        let counts = self.sources.get(source).is_none_or(|source| !source.logs);
        self.groups.retain(|group| {
            group.source != source || views.iter().any(|view| view.name == group.name)
        });
        for view in views {
            if let Some(group) = self.group(source, &view.name) {
                group.view(view, at, counts);
            }
        }
    }

    fn request(&mut self, source: &str, request: &Request, at: u64) {
        let known = self.sources.entry(source.to_owned()).or_default();
        if !std::mem::replace(&mut known.logs, true) {
            // What views have told counts these requests too, or some of them.
            let groups = self.groups.iter_mut().filter(|group| group.source == source);
            groups.for_each(Group::count_anew);
        }
        self.rate.count(at);
        match &request.upstream {
            None => peer::count(&mut self.own, Some(request.status)),
            Some(name) => {
                if let Some(group) = self.group(source, name) {
                    group.request(request, at);
                }
            }
        }
    }
}

impl Group {
    /// Peers that serve and all that are there: primaries, then backups.
    pub(super) fn counts(&self) -> [(usize, usize); 2] {
        [false, true].map(|backup| {
            let of_tier = || self.peers.iter().filter(|p| p.backup == backup && !p.is_left());
            let up = of_tier().filter(|peer| peer.standing.is_some_and(Standing::is_up)).count();
            (up, of_tier().count())
        })
    }

    /// A peer's part of the attempts, in percent.
    pub(super) fn share(&self, peer: &Peer) -> Option<f64> {
        let all: u64 = self.peers.iter().map(|peer| peer.requests).sum();
        match all {
            0 => peer.share,
            all => Some(peer.requests as f64 * 100.0 / all as f64),
        }
    }

    fn peer(&mut self, address: &str) -> Option<&mut Peer> {
        let known = self.peers.iter().position(|peer| peer.address == address);
        let place = match known {
            Some(place) => place,
            None if self.peers.len() >= PEERS => return None,
            None => {
                self.peers.push(Peer::new(address));
                self.peers.len() - 1
            }
        };
        self.peers.get_mut(place)
    }

    /// Puts the peers into an order; those that it does not name come last.
    fn order(&mut self, addresses: &[String]) {
        let place = |peer: &Peer| addresses.iter().position(|address| *address == peer.address);
        self.peers.sort_by_key(|peer| place(peer).unwrap_or(usize::MAX));
    }

    fn told(&mut self, told: &Told, at: u64) {
        let trouble = match told.event.as_str() {
            "panic: too many peers out, using all" => return self.panic = true,
            "panic is over, using only those that are not out" => return self.panic = false,
            "refresh failed, keeping peers"
            | "name has no address any more"
            | "name has no address yet" => Some(told.field("error").map(str::to_owned)),
            "refresh recovered" => Some(None),
            _ => None,
        };
        if let Some(trouble) = trouble {
            self.trouble = trouble;
        }
        let Some(peer) = told.field("peer").and_then(|address| self.peer(address)) else { return };
        if let Some(tier) = told.field("tier") {
            peer.backup = tier == "backup";
        }
        if told.event == "peer ejected" {
            peer.ejections += 1;
        }
        if let Some(reason) = told.field("reason") {
            peer.stands(reason, at);
        }
        if told.field("was").is_some() || peer.since.is_none() {
            peer.since = Some(at);
        }
        peer.in_flight = told.number("in_flight").or(peer.in_flight);
    }

    fn view(&mut self, view: &UpstreamView, at: u64, counts: bool) {
        self.trouble.clone_from(&view.trouble);
        self.panic = view.panic;
        if counts {
            let total = view.statuses.total();
            if let Some((then, before)) = self.counted {
                self.rate.spread(then, at, total.saturating_sub(before));
            }
            self.counted = Some((at, total));
            self.statuses = view.statuses;
            self.retries = view.retries;
        }
        for peer in &view.peers {
            if let Some(known) = self.peer(&peer.address) {
                known.view(peer, at, counts);
            }
        }
        for left in &view.left {
            if let Some(known) = self.peer(&left.address) {
                known.stands(&left.reason, at);
                let lasting = u64::try_from(left.lasting.as_millis()).unwrap_or(u64::MAX);
                known.since = Some(at.saturating_sub(lasting));
                known.in_flight = None;
            }
        }
        let peers = view.peers.iter().map(|peer| &peer.address);
        let all: Vec<String> = peers.chain(view.left.iter().map(|l| &l.address)).cloned().collect();
        self.peers.retain(|peer| all.contains(&peer.address));
        self.order(&all);
    }

    /// Forgets the counts that views have told.
    fn count_anew(&mut self) {
        (self.statuses, self.retries, self.counted) = (StatusCounts::default(), 0, None);
        self.peers.iter_mut().for_each(Peer::count_anew);
    }

    fn request(&mut self, request: &Request, at: u64) {
        peer::count(&mut self.statuses, Some(request.status));
        if request.status >= 400 {
            *self.errors.entry(request.status).or_default() += 1;
        }
        self.retries += request.attempts.len().saturating_sub(1) as u64;
        self.rate.count(at);
        self.times.learn(request.millis);
        for attempt in &request.attempts {
            if let Some(peer) = self.peer(&attempt.peer) {
                peer.attempted(attempt, at);
            }
        }
    }
}

impl From<EventView> for Happening {
    fn from(event: EventView) -> Self {
        Self { at: event.at_ms, level: event.level, text: event.text }
    }
}

#[cfg(test)]
mod tests;
