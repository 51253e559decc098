//! Host names into members: on a schedule, and at once when asked.
//!
//! A [`Discovery`] looks up every host of one upstream through the [`Resolver`] and turns the
//! answers into members, in an order that does not depend on the order of an answer: round robin
//! stays exact over a refresh that found nothing new. The last good answer stands: a lookup that
//! fails keeps the addresses, and says so once. A name that has no address any more (NXDOMAIN, an
//! empty answer) keeps them too, marked absent, for `upstream` to decide: its peers have left, but
//! one that a probe still reaches may serve.
//!
//! When to refresh is [`Schedule`]'s. The TTL of an answer has no say: Docker sets 600 s on names
//! whose replicas change by the second.

mod event;
mod reason;
mod record;
mod resolver;
mod schedule;
mod servers;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;

use crate::config::model::{self, Host, UpstreamServer};
use crate::health::Tick;
use crate::upstream::{Member, PeerAddress, Tier};
pub use event::Event;
pub use reason::Reason;
use record::{Condition, Record, host_name};
pub use resolver::{Address, Answer, Found, Resolver};
pub use schedule::Schedule;

/// What a refresh came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// All members, in order of their server lines, then of their addresses.
    pub members: Vec<Member>,
    /// What changed about the names since the last refresh.
    pub events: Vec<Event>,
}

/// How the lookups of one name went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// The name.
    pub host: String,
    /// Those that were answered, be it that there is no such name.
    pub good: u64,
    /// Those that were not.
    pub bad: u64,
    /// When the last good one ended.
    pub good_at: Option<Tick>,
    /// Addresses that are known.
    pub addresses: usize,
    /// Why the last one was not good, or found nothing.
    pub error: Option<String>,
}

/// Turns the server lines of one upstream into members.
pub struct Discovery {
    lines: Vec<UpstreamServer>,
    /// The distinct hosts of `lines`, and for each line which of them is its.
    hosts: Vec<Host>,
    host_of: Vec<usize>,
    records: Mutex<Vec<Record>>,
    resolver: ArcSwap<Resolver>,
    refresh: Duration,
}

impl Discovery {
    /// The discovery of `upstream`, before its first refresh.
    #[must_use]
    pub fn new(upstream: &model::Upstream, resolver: Arc<Resolver>) -> Self {
        let mut hosts: Vec<Host> = Vec::new();
        let host_of = upstream.servers.iter().map(|line| {
            hosts.iter().position(|h| *h == line.host).unwrap_or_else(|| {
                hosts.push(line.host.clone());
                hosts.len() - 1
            })
        });
        let host_of = host_of.collect();
        Self {
            lines: upstream.servers.clone(),
            records: Mutex::new(hosts.iter().map(|_| Record::default()).collect()),
            hosts,
            host_of,
            resolver: ArcSwap::new(resolver),
            refresh: upstream.refresh,
        }
    }

    /// Asks another resolver from the next refresh on.
    pub fn ask(&self, resolver: Arc<Resolver>) {
        self.resolver.store(resolver);
    }

    /// Takes over what another one knows of the same names, where nothing is known here.
    pub fn adopt(&self, other: &Self) {
        let theirs: Vec<Option<Found>> = other.records().iter().map(|r| r.known.clone()).collect();
        let mut records = self.records();
        for (record, host) in records.iter_mut().zip(&self.hosts) {
            if record.known.is_none()
                && let Some(index) = other.hosts.iter().position(|theirs| theirs == host)
            {
                record.known = theirs[index].clone();
            }
        }
    }

    /// The members as far as they are known, without asking anybody.
    #[must_use]
    pub fn known(&self) -> Vec<Member> {
        self.members(&self.records())
    }

    /// When to refresh. Literal addresses never need it after the first time.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        if self.hosts.iter().all(|h| matches!(h, Host::Address(_) | Host::Unix(_))) {
            Schedule::once()
        } else {
            Schedule::every(self.refresh)
        }
    }

    /// Looks all names up, side by side, and says what they come to. One at a time: of two
    /// refreshes under way the later to end would have the last word.
    ///
    /// # Cancel safety
    /// May be dropped: nothing is learnt then.
    pub async fn refresh(&self) -> Refreshed {
        let known: Vec<Option<Found>> = self.records().iter().map(|r| r.known.clone()).collect();
        let lookups = self.hosts.iter().zip(&known);
        let resolver = self.resolver.load_full();
        let answers =
            join_all(lookups.map(|(host, known)| resolver.lookup(host, known.as_ref()))).await;
        let now = Tick::now();
        let mut records = self.records();
        let news = records.iter_mut().zip(answers).zip(&self.hosts);
        let events = news.filter_map(|((record, answer), host)| record.learn(answer, host, now));
        Refreshed { events: events.collect(), members: self.members(&records) }
    }

    /// How the lookups of its names went; addresses need none.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookups> {
        let records = self.records();
        let named = self.hosts.iter().zip(records.iter());
        let named = named.filter(|(host, _)| matches!(host, Host::Name(_) | Host::Service(_)));
        let lookups = named.map(|(host, record)| Lookups {
            host: host_name(host),
            good: record.good,
            bad: record.bad,
            good_at: record.good_at,
            addresses: record.addresses().len(),
            error: record.reason.as_ref().map(Reason::to_string),
        });
        lookups.collect()
    }

    /// Why names have no address now, for the answer to a request that finds no peer: "back-end:
    /// no such name (NXDOMAIN)". None when all have.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let records = self.records();
        let without = self.hosts.iter().zip(records.iter()).filter_map(|(host, record)| {
            let gone = record.condition == Condition::Gone;
            (gone || record.known.is_none()).then(|| {
                let reason = record.reason.as_ref().unwrap_or(&Reason::NotAsked);
                format!("{}: {reason}", host_name(host))
            })
        });
        let without: Vec<String> = without.collect();
        (!without.is_empty()).then(|| without.join("; "))
    }

    fn members(&self, records: &[Record]) -> Vec<Member> {
        let all: Vec<Member> = (self.lines.iter().zip(&self.host_of).enumerate())
            .flat_map(|(index, (line, &host))| {
                let absent = records[host].condition == Condition::Gone;
                let addresses = records[host].addresses().iter();
                let copy = self.copy(index);
                addresses.map(move |address| Member { copy, ..member(line, address, absent) })
            })
            .collect();
        // An address that another name still has is not absent; of equals the first line wins.
        let present: HashSet<PeerAddress> =
            all.iter().filter(|m| !m.absent).map(|m| m.address.clone()).collect();
        let mut seen = HashSet::new();
        let mut wanted = |m: &Member| {
            (!m.absent || !present.contains(&m.address)) && seen.insert((m.address.clone(), m.copy))
        };
        all.into_iter().filter(|m| wanted(m)).collect()
    }

    /// How many lines before this one say the same host and port.
    fn copy(&self, index: usize) -> u16 {
        let line = &self.lines[index];
        let same = |other: &&UpstreamServer| other.host == line.host && other.port == line.port;
        u16::try_from(self.lines[..index].iter().filter(same).count()).unwrap_or(u16::MAX)
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        // Learning an answer cannot be left half done by a panic: a poisoned lock is as good.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn member(line: &UpstreamServer, address: &Address, absent: bool) -> Member {
    let plain = Member::new(match &line.host {
        Host::Unix(path) => PeerAddress::Unix(Arc::clone(path)),
        _ => SocketAddr::new(address.ip, address.port.unwrap_or(line.port)).into(),
    });
    Member {
        line: match &line.host {
            Host::Address(_) | Host::Unix(_) => plain.line,
            Host::Name(name) | Host::Service(name) => Member::line_of(name, line.port),
        },
        host: match &line.host {
            Host::Address(_) | Host::Unix(_) => None,
            Host::Name(name) | Host::Service(name) => Some(name.as_str().into()),
        },
        weight: line.weight.get().saturating_mul(address.weight),
        tier: if address.backup { Tier::Backup } else { line.tier },
        down: line.down,
        max_conns: line.max_conns,
        passive: line.passive,
        slow_start: line.slow_start,
        drain: line.drain,
        route: line.route.clone(),
        absent,
        ..plain
    }
}
